//! The client's login: negotiation of TLS and of the protocol version, startup parameters, and SCRAM-SHA-256.

use super::frame::{Fields, WireError, next, put, put_cstr, put_untagged};
use super::message::Fault;
use super::scram::{Exchange, MECHANISM, ScramError, Verifier};

/// The longest startup message, as in PostgreSQL.
const STARTUP_LIMIT: usize = 10_000;
/// The longest message of the SCRAM exchange.
const SASL_LIMIT: usize = 4096;

const CANCEL: i32 = 80_877_102;
const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;

/// The login of one connection: feed it with [`Login::handle`], write out [`Login::take_output`] after every call.
#[derive(Debug)]
pub struct Login {
    state: State,
    tls: Tls,
    output: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Startup { asked_tls: bool, asked_gss: bool },
    Decide,
    SaslInitial { verifier: Verifier, nonce: String },
    SaslFinal(Box<Exchange>),
    Done,
}

/// Where TLS stands on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// It is up.
    Active,
    /// It can be had by asking.
    Offered,
    /// It cannot be had.
    Unavailable,
}

/// What came of the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    NeedMore,
    /// Write the output, then do the TLS handshake and call [`Login::tls_established`].
    StartTls,
    /// The connection only carries a cancel request; close it without an answer.
    Cancel(Vec<u8>),
    /// The client has said who it is and what it wants. Answer with [`Login::challenge`], [`Login::accept`] or a refusal.
    Startup(Startup),
    /// The client has proved its name.
    Authenticated,
}

/// A client's startup message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// The user, never empty.
    pub user: String,
    /// The database; the user's name where the client named none.
    pub database: String,
    /// The other parameters, in order.
    pub parameters: Vec<(String, String)>,
    /// The minor version of protocol 3 that is spoken: 0 or 2.
    pub minor: u16,
}

/// Why a login cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// Bytes follow a request for TLS before TLS is up: somebody may have put them there.
    #[error("bytes follow the request for encryption in plain text")]
    InjectedBytes,
    /// The exchange failed.
    #[error(transparent)]
    Scram(#[from] ScramError),
    /// A parameter has an unusable value.
    #[error("the startup message is unusable: {0}")]
    Startup(&'static str),
    /// A protocol version other than 3.
    #[error("protocol version {0}.{1} is not supported")]
    Version(u16, u16),
    /// The client broke the protocol.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl LoginError {
    /// What the client is told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::InjectedBytes => Fault::fatal("08P01", "received unencrypted data after a request for encryption"),
            Self::Scram(ScramError::WrongProof) => Fault::fatal("28P01", "password authentication failed"),
            Self::Scram(e) => Fault::fatal("28000", e.to_string()),
            Self::Startup(what) => Fault::fatal("08P01", format!("the startup message is unusable: {what}")),
            Self::Version(..) => Fault::fatal("0A000", self.to_string()).with_hint("use protocol 3.0 or 3.2"),
            Self::Wire(e) => Fault::fatal("08P01", e.to_string()),
        }
    }
}

impl Login {
    /// A connection that was just accepted, or on which TLS was negotiated directly.
    pub fn new(tls: Tls) -> Self {
        Self { state: State::Startup { asked_tls: false, asked_gss: false }, tls, output: Vec::new() }
    }

    /// What is to be written to the client now.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// TLS is up.
    pub fn tls_established(&mut self) {
        self.tls = Tls::Active;
    }

    /// Consumes from the front of `input` what belongs to the login.
    pub fn handle(&mut self, input: &mut impl Input) -> Result<Progress, LoginError> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Startup { asked_tls, asked_gss } => match self.startup(input, asked_tls, asked_gss)? {
                    Some(progress) => return Ok(progress),
                    None => continue,
                },
                State::SaslInitial { verifier, nonce } => {
                    let Some(frame) = next(input.bytes(), SASL_LIMIT)? else {
                        self.state = State::SaslInitial { verifier, nonce };
                        return Ok(Progress::NeedMore);
                    };
                    let exchange = initial_response(frame.tag, frame.body, verifier, &nonce)?;
                    input.consume(frame.raw.len());
                    put_auth(&mut self.output, 11, exchange.server_first().as_bytes());
                    self.state = State::SaslFinal(Box::new(exchange));
                }
                State::SaslFinal(exchange) => {
                    let Some(frame) = next(input.bytes(), SASL_LIMIT)? else {
                        self.state = State::SaslFinal(exchange);
                        return Ok(Progress::NeedMore);
                    };
                    if frame.tag != b'p' {
                        return Err(unexpected(frame.tag));
                    }
                    let last = exchange.finish(frame.body)?;
                    input.consume(frame.raw.len());
                    put_auth(&mut self.output, 12, last.as_bytes());
                    self.accept();
                    return Ok(Progress::Authenticated);
                }
                state @ (State::Decide | State::Done) => {
                    self.state = state;
                    return Ok(Progress::NeedMore);
                }
            }
        }
    }

    /// Asks the client to prove its name. `nonce` is random and printable, without commas.
    pub fn challenge(&mut self, verifier: Verifier, nonce: String) {
        put(&mut self.output, b'R', |b| {
            b.extend(10i32.to_be_bytes());
            put_cstr(b, MECHANISM.as_bytes());
            b.push(0);
        });
        self.state = State::SaslInitial { verifier, nonce };
    }

    /// Accepts the client. Parameters, key and ReadyForQuery are still to come.
    pub fn accept(&mut self) {
        put_auth(&mut self.output, 0, b"");
        self.state = State::Done;
    }

    fn startup(
        &mut self,
        input: &mut impl Input,
        asked_tls: bool,
        asked_gss: bool,
    ) -> Result<Option<Progress>, LoginError> {
        self.state = State::Startup { asked_tls, asked_gss };
        let Some((body, length)) = startup_frame(input.bytes())? else { return Ok(Some(Progress::NeedMore)) };
        let mut fields = Fields::new(0, body);
        match fields.i32()? {
            SSL if !asked_tls => {
                input.consume(length);
                self.state = State::Startup { asked_tls: true, asked_gss };
                self.answer_tls(input.bytes().is_empty())
            }
            // Never an error: some drivers would reconnect and leave encryption out.
            GSS if !asked_gss => {
                input.consume(length);
                self.output.push(b'N');
                self.state = State::Startup { asked_tls, asked_gss: true };
                Ok(None)
            }
            CANCEL => {
                fields.i32()?;
                let key = body.get(4..).filter(|k| (8..=260).contains(&k.len()));
                let key = key.ok_or(LoginError::Startup("the cancel key has an impossible length"))?.to_vec();
                input.consume(length);
                Ok(Some(Progress::Cancel(key)))
            }
            version => {
                let (major, minor) = ((version >> 16) as u16, version as u16);
                if major != 3 {
                    return Err(LoginError::Version(major, minor));
                }
                let startup = self.parameters(fields, minor)?;
                input.consume(length);
                self.state = State::Decide;
                Ok(Some(Progress::Startup(startup)))
            }
        }
    }

    fn answer_tls(&mut self, clean: bool) -> Result<Option<Progress>, LoginError> {
        match self.tls {
            // What came in plain text before the handshake must not be read as if it had come after it.
            Tls::Offered if !clean => Err(LoginError::InjectedBytes),
            Tls::Offered => {
                self.output.push(b'S');
                Ok(Some(Progress::StartTls))
            }
            Tls::Active | Tls::Unavailable => {
                self.output.push(b'N');
                Ok(None)
            }
        }
    }

    /// Reads the parameters, and negotiates the version down where the client asks for more than 3.2.
    fn parameters(&mut self, mut fields: Fields<'_>, minor: u16) -> Result<Startup, LoginError> {
        let mut startup = Startup { minor: if minor >= 2 { 2 } else { 0 }, ..Startup::default() };
        let mut unknown = Vec::new();
        loop {
            let name = fields.str()?;
            if name.is_empty() {
                break;
            }
            let value = fields.str()?.to_owned();
            match name {
                "user" => startup.user = value,
                "database" => startup.database = value,
                _ if name.starts_with("_pq_.") => unknown.push(name.to_owned()),
                _ => startup.parameters.push((name.to_owned(), value)),
            }
        }
        fields.end()?;
        if startup.user.is_empty() {
            return Err(LoginError::Startup("it names no user"));
        }
        if startup.database.is_empty() {
            startup.database.clone_from(&startup.user);
        }
        if minor != startup.minor || !unknown.is_empty() {
            put(&mut self.output, b'v', |b| {
                b.extend((3i32 << 16 | i32::from(startup.minor)).to_be_bytes());
                b.extend((unknown.len() as i32).to_be_bytes());
                unknown.iter().for_each(|name| put_cstr(b, name.as_bytes()));
            });
        }
        Ok(startup)
    }
}

/// A buffer that a machine reads from and consumes.
pub trait Input {
    /// What has come and is not consumed.
    fn bytes(&self) -> &[u8];
    /// Drops `count` bytes from the front.
    fn consume(&mut self, count: usize);
}

impl Input for bytes::BytesMut {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn consume(&mut self, count: usize) {
        bytes::Buf::advance(self, count);
    }
}

fn unexpected(tag: u8) -> LoginError {
    WireError::Unexpected { tag, state: "during authentication" }.into()
}

fn startup_frame(input: &[u8]) -> Result<Option<(&[u8], usize)>, LoginError> {
    let Some((length, _)) = input.split_first_chunk::<4>() else { return Ok(None) };
    let length = i32::from_be_bytes(*length);
    if length < 8 {
        return Err(WireError::BadLength { tag: 0, length: length.into() }.into());
    }
    let length = length as usize;
    if length > STARTUP_LIMIT {
        return Err(WireError::TooLong { tag: 0, length, limit: STARTUP_LIMIT }.into());
    }
    Ok(input.get(4..length).map(|body| (body, length)))
}

fn initial_response(tag: u8, body: &[u8], verifier: Verifier, nonce: &str) -> Result<Exchange, LoginError> {
    if tag != b'p' {
        return Err(unexpected(tag));
    }
    let mut fields = Fields::new(tag, body);
    if fields.cstr()? != MECHANISM.as_bytes() {
        return Err(ScramError::Malformed.into());
    }
    let first = fields.value()?.ok_or(ScramError::Malformed)?;
    fields.end()?;
    Ok(Exchange::start(verifier, first, nonce)?)
}

fn put_auth(out: &mut Vec<u8>, kind: i32, data: &[u8]) {
    put(out, b'R', |b| {
        b.extend(kind.to_be_bytes());
        b.extend(data);
    });
}

/// Appends a startup message of protocol 3.0.
pub fn put_startup(out: &mut Vec<u8>, parameters: &[(&str, &str)]) {
    put_untagged(out, |b| {
        b.extend((3i32 << 16).to_be_bytes());
        for (name, value) in parameters {
            put_cstr(b, name.as_bytes());
            put_cstr(b, value.as_bytes());
        }
        b.push(0);
    });
}

/// Appends a request for TLS.
pub fn put_ssl_request(out: &mut Vec<u8>) {
    put_untagged(out, |b| b.extend(SSL.to_be_bytes()));
}

/// Appends a cancel request: `key` is the process number and the secret.
pub fn put_cancel_request(out: &mut Vec<u8>, key: &[u8]) {
    put_untagged(out, |b| {
        b.extend(CANCEL.to_be_bytes());
        b.extend(key);
    });
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn startup(version: i32, parameters: &[(&str, &str)]) -> Vec<u8> {
        let mut out = vec![];
        put_startup(&mut out, parameters);
        out[4..8].copy_from_slice(&version.to_be_bytes());
        out
    }

    fn request(code: i32) -> Vec<u8> {
        let mut out = vec![];
        put_untagged(&mut out, |b| b.extend(code.to_be_bytes()));
        out
    }

    /// Feeds one byte at a time and gives the first real progress and all output.
    fn drip(login: &mut Login, bytes: &[u8]) -> (Result<Progress, LoginError>, Vec<u8>) {
        let mut input = BytesMut::new();
        for (i, byte) in bytes.iter().enumerate() {
            input.extend_from_slice(&[*byte]);
            match login.handle(&mut input) {
                Ok(Progress::NeedMore) if i + 1 < bytes.len() => {}
                other => return (other, login.take_output()),
            }
        }
        (Ok(Progress::NeedMore), login.take_output())
    }

    #[test]
    fn the_database_defaults_to_the_user() {
        let (progress, out) = drip(&mut Login::new(Tls::Offered), &startup(3 << 16, &[("user", "al"), ("a", "b")]));
        let expected =
            Startup { user: "al".into(), database: "al".into(), parameters: vec![("a".into(), "b".into())], minor: 0 };
        assert_eq!((progress, out), (Ok(Progress::Startup(expected)), vec![]));
    }

    #[test]
    fn newer_versions_and_unknown_options_are_negotiated_down() {
        let bytes = startup(3 << 16 | 9999, &[("user", "al"), ("_pq_.grease", "1")]);
        let (progress, out) = drip(&mut Login::new(Tls::Offered), &bytes);
        assert!(matches!(progress, Ok(Progress::Startup(Startup { minor: 2, .. }))));
        assert_eq!(out, b"v\0\0\0\x18\0\x03\0\x02\0\0\0\x01_pq_.grease\0");
        let (progress, out) = drip(&mut Login::new(Tls::Offered), &startup(3 << 16 | 2, &[("user", "al")]));
        assert!(matches!(progress, Ok(Progress::Startup(Startup { minor: 2, .. }))) && out.is_empty());
        let (progress, _) = drip(&mut Login::new(Tls::Offered), &startup(2 << 16, &[("user", "al")]));
        assert_eq!(progress, Err(LoginError::Version(2, 0)));
    }

    #[test]
    fn encryption_requests() {
        let mut login = Login::new(Tls::Offered);
        assert_eq!(drip(&mut login, &request(GSS)), (Ok(Progress::NeedMore), b"N".to_vec()));
        assert_eq!(drip(&mut login, &request(SSL)), (Ok(Progress::StartTls), b"S".to_vec()));
        login.tls_established();
        assert!(drip(&mut login, &request(SSL)).0.is_err());
        assert_eq!(drip(&mut Login::new(Tls::Unavailable), &request(SSL)), (Ok(Progress::NeedMore), b"N".to_vec()));
    }

    #[test]
    fn bytes_before_the_handshake_are_refused() {
        let mut input = BytesMut::from(&[request(SSL), startup(3 << 16, &[("user", "eve")])].concat()[..]);
        assert_eq!(Login::new(Tls::Offered).handle(&mut input), Err(LoginError::InjectedBytes));
    }

    #[test]
    fn cancel_keys_of_both_versions() {
        for length in [8, 36, 260] {
            let mut bytes = vec![];
            put_cancel_request(&mut bytes, &vec![7; length]);
            assert_eq!(drip(&mut Login::new(Tls::Offered), &bytes).0, Ok(Progress::Cancel(vec![7; length])));
        }
        let mut bytes = vec![];
        put_cancel_request(&mut bytes, &[7; 5]);
        assert!(drip(&mut Login::new(Tls::Offered), &bytes).0.is_err());
    }

    #[test]
    fn unusable_startups_are_refused() {
        for bytes in [
            startup(3 << 16, &[("database", "x")]),
            vec![0, 0, 0, 4],
            vec![0xff, 0xff, 0xff, 0xff],
            vec![0, 1, 0, 0],
            [&[0, 0, 0, 12, 0, 3, 0, 0][..], b"user"].concat(),
        ] {
            assert!(drip(&mut Login::new(Tls::Offered), &bytes).0.is_err(), "{bytes:?}");
        }
    }
}
