//! The gateway's login to a server: it proves the target's role and waits until the server is ready.

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::frame::{Fields, WireError, next, put, put_cstr};
use super::login::{Input, put_startup};
use super::message::{TxStatus, field, sqlstate};
use super::scram::MECHANISM;

/// A hostile server may ask for endless hashing; PostgreSQL's own default is 4096.
const MAX_ITERATIONS: u32 = 1_000_000;
/// Servers report about 15.
const MAX_PARAMETERS: usize = 256;
const MESSAGE_LIMIT: usize = 64 << 10;

/// A login to a server: write [`Connect::take_output`], feed [`Connect::handle`].
pub struct Connect {
    user: String,
    password: Option<String>,
    scram: Option<ScramSha256>,
    scram_done: bool,
    accepted: bool,
    ready: Ready,
    output: Vec<u8>,
}

/// What the server said on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Its ParameterStatus messages, in order.
    pub parameters: Vec<(String, String)>,
    /// Process number and secret to cancel with; empty if the server gave none.
    pub cancel_key: Vec<u8>,
}

/// Why the login failed. The texts hold neither host, role nor password; the server's own message is for the log only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The server wants a method that the gateway does not have.
    #[error("the server asks for authentication method {0}, which the gateway does not support")]
    Method(i32),
    /// The server wants a password and the target has none.
    #[error("the server asks for a password and the target has none")]
    NoPassword,
    /// The server refused.
    #[error("the server refused the login with SQLSTATE {code}")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// The server's message, for the log.
        message: String,
    },
    /// The SCRAM exchange failed: the server may not know the password either.
    #[error("the SCRAM exchange with the server failed: {0}")]
    Scram(&'static str),
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Wire(#[from] WireError),
}

impl Connect {
    /// Starts a login. `parameters` are sent as they are, after user and database.
    pub fn new(user: &str, database: &str, password: Option<String>, parameters: &[(String, String)]) -> Self {
        let mut output = Vec::new();
        let mut all = vec![("user", user), ("database", database)];
        all.extend(parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        put_startup(&mut output, &all);
        let ready = Ready::default();
        Self { user: user.to_owned(), password, scram: None, scram_done: false, accepted: false, ready, output }
    }

    /// What is to be written to the server now.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Consumes what the server sent; gives what it said once it is ready.
    pub fn handle(&mut self, input: &mut BytesMut) -> Result<Option<Ready>, ConnectError> {
        loop {
            let Some(frame) = next(input.bytes(), MESSAGE_LIMIT)? else { return Ok(None) };
            let (tag, length) = (frame.tag, frame.raw.len());
            let mut fields = Fields::new(tag, frame.body);
            match tag {
                b'R' => self.authenticate(fields)?,
                b'S' => {
                    let name = fields.str()?.to_owned();
                    if self.ready.parameters.len() >= MAX_PARAMETERS {
                        return Err(WireError::Unexpected { tag, state: "so often during the login" }.into());
                    }
                    self.ready.parameters.push((name, fields.str()?.to_owned()));
                }
                b'K' => self.ready.cancel_key = frame.body.to_vec(),
                b'N' | b'v' => {}
                b'E' => {
                    let text = |kind| String::from_utf8_lossy(field(frame.body, kind).unwrap_or_default()).into_owned();
                    let code = sqlstate(frame.body).unwrap_or("XX000").to_owned();
                    return Err(ConnectError::Refused { code, message: text(b'M') });
                }
                // A server that is ready without having accepted the login may skip its proof that way.
                b'Z' if self.accepted => {
                    TxStatus::parse(frame.body)?;
                    input.consume(length);
                    return Ok(Some(std::mem::take(&mut self.ready)));
                }
                _ => return Err(WireError::Unexpected { tag, state: "during the login" }.into()),
            }
            input.consume(length);
        }
    }

    fn authenticate(&mut self, mut fields: Fields<'_>) -> Result<(), ConnectError> {
        match fields.i32()? {
            // A server that starts SCRAM and then skips its proof may be an impostor.
            0 if self.scram.is_some() && !self.scram_done => Err(ConnectError::Scram("the server gave no proof")),
            0 => {
                self.accepted = true;
                Ok(())
            }
            // A server that knows the verifier has no need of the password: whoever asks for it now is another.
            3 | 5 if self.scram.is_some() => Err(ConnectError::Scram("the server changed its method")),
            3 => {
                let password = self.password()?.to_owned();
                put(&mut self.output, b'p', |b| put_cstr(b, password.as_bytes()));
                Ok(())
            }
            5 => {
                let salt = fields.bytes(4)?;
                let salt = [salt[0], salt[1], salt[2], salt[3]];
                let hash = md5_hash(self.user.as_bytes(), self.password()?.as_bytes(), salt);
                put(&mut self.output, b'p', |b| put_cstr(b, hash.as_bytes()));
                Ok(())
            }
            10 => self.sasl_start(fields),
            11 => self.sasl_continue(fields.rest()),
            12 => {
                let scram = self.scram.as_mut().ok_or(ConnectError::Scram("it ended before it began"))?;
                scram.finish(fields.rest()).map_err(|_| ConnectError::Scram("the server's proof is wrong"))?;
                self.scram_done = true;
                Ok(())
            }
            method => Err(ConnectError::Method(method)),
        }
    }

    fn sasl_start(&mut self, mut fields: Fields<'_>) -> Result<(), ConnectError> {
        let mut offered = false;
        loop {
            match fields.cstr()? {
                b"" => break,
                name => offered |= name == MECHANISM.as_bytes(),
            }
        }
        if !offered {
            return Err(ConnectError::Scram("it offers no mechanism that the gateway has"));
        }
        let scram = ScramSha256::new(self.password()?.as_bytes(), ChannelBinding::unsupported());
        put(&mut self.output, b'p', |b| {
            put_cstr(b, MECHANISM.as_bytes());
            b.extend((scram.message().len() as i32).to_be_bytes());
            b.extend(scram.message());
        });
        self.scram = Some(scram);
        Ok(())
    }

    fn sasl_continue(&mut self, server_first: &[u8]) -> Result<(), ConnectError> {
        let text = std::str::from_utf8(server_first).unwrap_or("");
        let iterations = text.split(',').find_map(|a| a.strip_prefix("i=")).and_then(|i| i.parse::<u32>().ok());
        if !iterations.is_some_and(|i| (1..=MAX_ITERATIONS).contains(&i)) {
            return Err(ConnectError::Scram("the iteration count is missing or out of bounds"));
        }
        let scram = self.scram.as_mut().ok_or(ConnectError::Scram("it went on before it began"))?;
        scram.update(server_first).map_err(|_| ConnectError::Scram("the server's message is malformed"))?;
        let message = scram.message().to_vec();
        put(&mut self.output, b'p', |b| b.extend(&message));
        Ok(())
    }

    fn password(&self) -> Result<&str, ConnectError> {
        self.password.as_deref().ok_or(ConnectError::NoPassword)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(messages: &[(u8, &[u8])]) -> BytesMut {
        let mut out = vec![];
        for (tag, body) in messages {
            put(&mut out, *tag, |b| b.extend_from_slice(body));
        }
        BytesMut::from(&out[..])
    }

    fn connect(password: Option<&str>) -> Connect {
        let mut c = Connect::new("app", "shop", password.map(String::from), &[("a".into(), "b".into())]);
        assert_eq!(c.take_output(), b"\0\0\0\x24\0\x03\0\0user\0app\0database\0shop\0a\0b\0\0");
        c
    }

    #[test]
    fn trust_and_what_the_server_says() {
        let messages: &[(u8, &[u8])] =
            &[(b'R', &[0; 4]), (b'S', b"x\0y\0"), (b'N', b"\0"), (b'K', &[1; 8]), (b'Z', b"I")];
        let ready = connect(None).handle(&mut server(messages)).unwrap().unwrap();
        assert_eq!(ready.parameters, [("x".to_owned(), "y".to_owned())]);
        assert_eq!(ready.cancel_key, [1; 8]);
        // Some servers and poolers give no key; clients get the gateway's own all the same.
        let ready = connect(None).handle(&mut server(&[(b'R', &[0; 4]), (b'Z', b"I")])).unwrap().unwrap();
        assert!(ready.cancel_key.is_empty());
    }

    #[test]
    fn passwords_are_only_sent_when_there_is_one() {
        let mut c = connect(Some("pw"));
        c.handle(&mut server(&[(b'R', &[0, 0, 0, 3])])).unwrap();
        assert_eq!(c.take_output(), b"p\0\0\0\x07pw\0");
        c.handle(&mut server(&[(b'R', &[0, 0, 0, 5, 1, 2, 3, 4])])).unwrap();
        assert!(c.take_output()[5..].starts_with(b"md5"));
        let error = connect(None).handle(&mut server(&[(b'R', &[0, 0, 0, 3])]));
        assert_eq!(error, Err(ConnectError::NoPassword));
    }

    #[test]
    fn hostile_scram_is_refused() {
        let sasl = |first: &str| {
            let mut c = connect(Some("pw"));
            c.handle(&mut server(&[(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")])).unwrap();
            c.handle(&mut server(&[(b'R', &[&[0, 0, 0, 11], first.as_bytes()].concat())]))
        };
        assert!(matches!(sasl("r=x,s=AAAA,i=2000000000"), Err(ConnectError::Scram(_))));
        assert!(matches!(sasl("r=x,s=AAAA,i=4096"), Err(ConnectError::Scram(_))));
        let mut c = connect(Some("pw"));
        c.handle(&mut server(&[(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")])).unwrap();
        assert!(matches!(c.handle(&mut server(&[(b'R', &[0; 4])])), Err(ConnectError::Scram(_))));
        let only_plus = server(&[(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0")]);
        assert!(connect(Some("pw")).handle(&mut only_plus.clone()).is_err());
        assert_eq!(connect(None).handle(&mut server(&[(b'R', &[0, 0, 0, 9])])), Err(ConnectError::Method(9)));
    }

    #[test]
    fn a_server_is_not_ready_before_it_has_accepted_the_login() {
        let sasl: (u8, &[u8]) = (b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        for messages in [&[(b'Z', &b"I"[..])][..], &[sasl, (b'Z', b"I")]] {
            let error = connect(Some("pw")).handle(&mut server(messages)).unwrap_err();
            assert!(matches!(error, ConnectError::Wire(WireError::Unexpected { tag: b'Z', .. })), "{error}");
        }
    }

    #[test]
    fn a_refusal_does_not_show_the_servers_words() {
        let e = connect(None).handle(&mut server(&[(b'E', b"C28P01\0Mrole \"app\" on 10.0.0.1\0\0")])).unwrap_err();
        assert!(!e.to_string().contains("app") && e.to_string().contains("28P01"), "{e}");
    }
}
