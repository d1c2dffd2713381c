//! A client that sends exactly the bytes that it is given, and keeps every byte that it gets.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use portcullis_tests::gateway::{Gateway, USER_PASSWORD};
use portcullis_tests::postgres::{PASSWORD, Postgres, ROLE};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use rustls::pki_types::{CertificateDer, ServerName};

/// The connection beneath.
trait Duplex: Read + Write + Send {}
impl<T: Read + Write + Send> Duplex for T {}

/// See the module.
pub(crate) struct Raw {
    stream: Box<dyn Duplex>,
    tcp: TcpStream,
    /// Every byte that came.
    pub(crate) got: Vec<u8>,
    /// What BackendKeyData said.
    pub(crate) key: Vec<u8>,
}

/// A message: its type and its body.
pub(crate) type Message = (u8, Vec<u8>);

/// What came for what was sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) messages: Vec<Message>,
    /// The other side has hung up.
    ended: bool,
}

impl Raw {
    /// A connection to this port on which nothing was said.
    pub(crate) fn dial(port: u16) -> Self {
        let tcp = tcp(port);
        Self::over(tcp.try_clone().unwrap(), tcp)
    }

    fn over(stream: impl Read + Write + Send + 'static, tcp: TcpStream) -> Self {
        Self { stream: Box::new(stream), tcp, got: vec![], key: vec![] }
    }

    /// A connection with TLS, begun after a request (without ALPN) or at once (naming these protocols).
    pub(crate) fn dial_tls(port: u16, authority: CertificateDer<'static>, direct: Option<&[&[u8]]>) -> Self {
        let mut stream = tcp(port);
        let tcp = stream.try_clone().unwrap();
        if direct.is_none() {
            stream.write_all(&request(SSL)).unwrap();
            let mut answer = [0];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"S");
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = direct.unwrap_or_default().iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        Self::over(rustls::StreamOwned::new(connection, stream), tcp)
    }

    /// A session of this user.
    pub(crate) fn open(gateway: &Gateway, user: &str) -> Self {
        let mut raw = Self::dial(gateway.port);
        raw.log_in(&startup(3 << 16, &[("user", user), ("database", "shop")]), USER_PASSWORD);
        raw
    }

    /// A session at the server itself, as the role that the gateway has there.
    pub(crate) fn past(postgres: &Postgres) -> Self {
        let mut raw = Self::dial(postgres.port);
        raw.log_in(&startup(3 << 16, &[("user", ROLE), ("database", "shop")]), PASSWORD);
        raw
    }

    /// Logs in, and says how that went.
    pub(crate) fn try_log_in(&mut self, startup: &[u8], password: &str) -> Answer {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        self.send(startup);
        let mut messages = vec![];
        let ended = loop {
            let Some((tag, body)) = self.next() else { break true };
            messages.push((tag, body.clone()));
            match (tag, body.get(..4)) {
                (b'R', Some([0, 0, 0, 10])) => {
                    let first = scram.message();
                    let length = u32::try_from(first.len()).unwrap().to_be_bytes();
                    self.send(&message(b'p', &[b"SCRAM-SHA-256\0", &length[..], first].concat()));
                }
                (b'R', Some([0, 0, 0, 11])) => {
                    scram.update(&body[4..]).unwrap();
                    self.send(&message(b'p', scram.message()));
                }
                (b'R', Some([0, 0, 0, 12])) => scram.finish(&body[4..]).unwrap(),
                (b'K', _) => self.key = body,
                (b'Z', _) => break false,
                _ => {}
            }
        };
        Answer { messages, ended }
    }

    fn log_in(&mut self, startup: &[u8], password: &str) {
        let answer = self.try_log_in(startup, password);
        assert!(answer.story().ends_with("ZI"), "{}", answer.told());
        self.got.clear();
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends what may be too late for somebody who has hung up.
    pub(crate) fn send_at_last(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// Sends nothing more, and still listens.
    pub(crate) fn stop_sending(&self) {
        self.tcp.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads so many bytes that are no message.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The next message, unless the other side has hung up.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut header = [0; 5];
        if let Err(error) = self.stream.read_exact(&mut header) {
            let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut].contains(&error.kind());
            assert!(!waits, "nothing came");
            return None;
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).unwrap();
        self.got.extend(header.iter().chain(&body));
        Some((header[0], body))
    }

    /// What comes up to a message of this type, or the end.
    pub(crate) fn until(&mut self, last: u8) -> Answer {
        self.until_any(&[last])
    }

    /// The same for several types.
    pub(crate) fn until_any(&mut self, last: &[u8]) -> Answer {
        let mut messages = vec![];
        let ended = loop {
            let Some(message) = self.next() else { break true };
            let tag = message.0;
            messages.push(message);
            if last.contains(&tag) {
                break false;
            }
        };
        Answer { messages, ended }
    }

    /// Sends this, and reads up to the ReadyForQuery or the end.
    pub(crate) fn turn(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes);
        self.until(b'Z')
    }

    /// Reads up to the end. What has not come by then does not come any more.
    pub(crate) fn end(&mut self) -> Answer {
        let mut messages = vec![];
        messages.extend(std::iter::from_fn(|| self.next()));
        Answer { messages, ended: true }
    }
}

impl Answer {
    /// The messages by type: an error with its SQLSTATE, a ReadyForQuery with its status, `.` where the connection ended. Parameters are
    /// left out.
    pub(crate) fn story(&self) -> String {
        let mut story = String::new();
        for (tag, body) in self.messages.iter().filter(|(tag, _)| *tag != b'S') {
            let _ = match tag {
                b'E' => write!(story, "E{} ", field(body, b'C')),
                b'Z' => write!(story, "Z{} ", char::from(body[0])),
                tag => write!(story, "{} ", char::from(*tag)),
            };
        }
        if self.ended {
            story.push('.');
        }
        story.trim_end().to_owned()
    }

    /// The SQLSTATE of the first error.
    pub(crate) fn error(&self) -> Option<String> {
        self.bodies(b'E').next().map(|body| field(body, b'C'))
    }

    /// What the client is told in errors and notices.
    pub(crate) fn told(&self) -> String {
        let spoken = self.messages.iter().filter(|(tag, _)| matches!(tag, b'E' | b'N'));
        spoken.map(|(_, body)| format!("{} {}\n", field(body, b'C'), field(body, b'M'))).collect()
    }

    /// The bodies of the messages of this type.
    pub(crate) fn bodies(&self, tag: u8) -> impl Iterator<Item = &[u8]> {
        self.messages.iter().filter(move |(t, _)| *t == tag).map(|(_, body)| &body[..])
    }

    /// Completion tags.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.bodies(b'C').map(|body| String::from_utf8_lossy(body).trim_end_matches('\0').to_owned()).collect()
    }

    /// The values of all rows.
    pub(crate) fn rows(&self) -> Vec<Vec<Option<Vec<u8>>>> {
        self.bodies(b'D').map(row).collect()
    }

    /// The same as text.
    pub(crate) fn texts(&self) -> Vec<Vec<String>> {
        let text = |value: Option<Vec<u8>>| value.map_or("NULL".to_owned(), |v| String::from_utf8(v).unwrap());
        self.rows().into_iter().map(|row| row.into_iter().map(text).collect()).collect()
    }

    /// The types of the columns of the last description.
    pub(crate) fn types(&self) -> Vec<u32> {
        let Some(body) = self.bodies(b'T').last() else { return vec![] };
        let (mut types, mut rest) = (vec![], &body[2..]);
        while let Some(end) = rest.iter().position(|byte| *byte == 0) {
            types.push(u32::from_be_bytes(rest[end + 7..end + 11].try_into().unwrap()));
            rest = &rest[end + 19..];
        }
        types
    }
}

fn row(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let (mut values, mut rest) = (vec![], &body[2..]);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length);
        let count = usize::try_from(length).unwrap_or(0);
        values.push((length >= 0).then(|| after[..count].to_vec()));
        rest = &after[count..];
    }
    values
}

/// A field of an error or a notice.
pub(crate) fn field(body: &[u8], kind: u8) -> String {
    let found = body.split(|byte| *byte == 0).find(|part| part.first() == Some(&kind));
    String::from_utf8_lossy(found.unwrap_or(b" ").get(1..).unwrap_or_default()).into_owned()
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) const SSL: u32 = 80_877_103;
pub(crate) const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;

/// A request for encryption.
pub(crate) fn request(code: u32) -> Vec<u8> {
    [8u32.to_be_bytes(), code.to_be_bytes()].concat()
}

/// A request to cancel what the session with this key does.
pub(crate) fn cancel(key: &[u8]) -> Vec<u8> {
    let length = u32::try_from(key.len() + 8).unwrap().to_be_bytes();
    [&length[..], &CANCEL.to_be_bytes(), key].concat()
}

/// A startup message.
pub(crate) fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()
}

/// Any message.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
}

pub(crate) fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"].concat())
}

pub(crate) fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\0"].concat())
}

/// A Bind of text parameters, with these format codes of the result.
pub(crate) fn bind(portal: &str, statement: &str, parameters: &[&str], formats: &[u16]) -> Vec<u8> {
    let values: Vec<&[u8]> = parameters.iter().map(|value| value.as_bytes()).collect();
    bind_raw(portal, statement, (0, &values), formats)
}

/// The same for parameters in this format.
pub(crate) fn bind_raw(portal: &str, statement: &str, (format, values): (u16, &[&[u8]]), formats: &[u16]) -> Vec<u8> {
    let count = |count: usize| u16::try_from(count).unwrap().to_be_bytes();
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0\0\x01", &format.to_be_bytes()].concat();
    body.extend(count(values.len()));
    for value in values {
        body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        body.extend(*value);
    }
    body.extend(count(formats.len()));
    body.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
    message(b'B', &body)
}

/// About a statement (`S`) or a portal (`P`).
pub(crate) fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind], name.as_bytes(), b"\0"].concat())
}

pub(crate) fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[&[kind], name.as_bytes(), b"\0"].concat())
}

pub(crate) fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &rows.to_be_bytes()].concat())
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub(crate) fn flush() -> Vec<u8> {
    message(b'H', b"")
}

/// Parse, Bind, Describe, Execute and Sync in one piece, as drivers send them.
pub(crate) fn extended(text: &str, formats: &[u16]) -> Vec<u8> {
    [parse("", text), bind("", "", &[], formats), describe(b'P', ""), execute("", 0), sync()].concat()
}
