//! Messages of RFC 5424 to a syslog server.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::time::Duration;

use portcullis_verdict::Subject;

use crate::follow::{Consumer, Failure};
use crate::item::Item;
use crate::visible::{Lines, visible};
use crate::{Format, SyslogAddress};

/// How long connecting or a write may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest datagram. Servers take different sizes; all of today's take this one.
const DATAGRAM_BYTES: usize = 8 << 10;

/// So much is written to a stream before the cursor moves.
const PIECE_BYTES: usize = 1 << 20;

/// "log audit" of RFC 5424 §6.2.1.
const FACILITY: u8 = 13;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;

/// The longest value of a parameter of structured data, in characters.
const VALUE_CHARS: usize = 128;

pub(super) struct SyslogSink {
    address: SyslogAddress,
    form: Form,
    connection: Option<Connection>,
}

/// How messages are written.
struct Form {
    format: Format,
    /// The machine's name.
    host: String,
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Datagrams(UnixDatagram),
    Stream(UnixStream),
}

impl SyslogSink {
    pub(super) fn new(address: SyslogAddress, format: Format) -> Self {
        Self { address, form: Form { format, host: host() }, connection: None }
    }

    fn send(&mut self, items: &[Item]) -> io::Result<usize> {
        let mut connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            _ => Connection::open(&self.address)?,
        };
        let taken = connection.send(items, &self.form)?;
        self.connection = Some(connection);
        Ok(taken)
    }
}

impl Consumer for SyslogSink {
    fn deliver(&mut self, items: &[Item]) -> Result<usize, Failure> {
        self.send(items).map_err(|error| {
            let peer = match &self.address {
                SyslogAddress::Udp(peer) | SyslogAddress::Tcp(peer) => peer.clone(),
                SyslogAddress::Unix(path) => path.display().to_string(),
            };
            let error = match error.kind() {
                io::ErrorKind::WouldBlock => "it did not take anything in time".to_owned(),
                _ => error.to_string(),
            };
            Failure::new(format!("the syslog server {peer} cannot be reached: {error}"))
        })
    }
}

impl Connection {
    fn open(address: &SyslogAddress) -> io::Result<Self> {
        match address {
            SyslogAddress::Udp(peer) => each(peer, |peer| {
                let any: SocketAddr = match peer {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(peer)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Udp(socket))
            }),
            SyslogAddress::Tcp(peer) => each(peer, |peer| {
                let stream = TcpStream::connect_timeout(&peer, PATIENCE)?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(stream))
            }),
            SyslogAddress::Unix(path) => Self::local(path),
        }
    }

    fn local(path: &Path) -> io::Result<Self> {
        let datagrams = UnixDatagram::unbound()?;
        if let Err(error) = datagrams.connect(path) {
            let stream = UnixStream::connect(path).map_err(|_| error)?;
            stream.set_write_timeout(Some(PATIENCE))?;
            return Ok(Self::Stream(stream));
        }
        datagrams.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::Datagrams(datagrams))
    }

    /// Whether the server has not closed it yet. What is written after that would be lost without an error.
    fn is_open(&self) -> bool {
        let Self::Tcp(stream) = self else { return true };
        let seen = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
        let quiet = matches!(&seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).is_ok() && (quiet || matches!(seen, Ok(1..)))
    }

    /// Sends as many of the first as go at once, at least one.
    fn send(&mut self, items: &[Item], form: &Form) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => datagrams(items, form, |message| socket.send(message)),
            Self::Datagrams(socket) => datagrams(items, form, |message| socket.send(message)),
            Self::Tcp(stream) => pieces(items, form, stream, |message, text| {
                text.extend_from_slice(format!("{} ", message.len()).as_bytes());
                text.extend_from_slice(&message);
            }),
            Self::Stream(stream) => pieces(items, form, stream, |message, text| {
                text.extend_from_slice(&message);
                text.push(b'\n');
            }),
        }
    }
}

/// The first address that works.
fn each<T>(peer: &str, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut failed = io::Error::other("its name has no address");
    for address in peer.to_socket_addrs()? {
        match open(address) {
            Ok(opened) => return Ok(opened),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn datagrams(items: &[Item], form: &Form, mut send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
    for (taken, item) in items.iter().enumerate() {
        let mut message = form.message(item, &item.line(form.format));
        if message.len() > DATAGRAM_BYTES {
            message = form.message(item, &item.short_line());
        }
        match send(&message) {
            Ok(_) => {}
            // Those before it are gone; it comes again with the error, if that stays.
            Err(_) if taken > 0 => return Ok(taken),
            Err(error) => return Err(error),
        }
    }
    Ok(items.len())
}

fn pieces(
    items: &[Item],
    form: &Form,
    stream: &mut impl io::Write,
    frame: impl Fn(Vec<u8>, &mut Vec<u8>),
) -> io::Result<usize> {
    let (mut text, mut taken) = (Vec::new(), 0);
    for item in items {
        frame(form.message(item, &item.line(form.format)), &mut text);
        taken += 1;
        if text.len() >= PIECE_BYTES {
            break;
        }
    }
    stream.write_all(&text)?;
    Ok(taken)
}

impl Form {
    /// RFC 5424 §6: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA BOM MSG`.
    fn message(&self, item: &Item, line: &str) -> Vec<u8> {
        let severity = if item.is_warning() { WARNING } else { INFORMATIONAL };
        let priority = FACILITY * 8 + severity;
        let (time, host, process) = (time(item.at_ms()), &self.host, std::process::id());
        let mut data = String::new();
        let mut parameter = |name, value: &str| {
            let _ = write!(data, " {name}=\"{}\"", escaped(value));
        };
        parameter("number", &item.number().to_string());
        parameter("hash", item.hash());
        if let Some(Subject { session, principal, target }) = item.subject() {
            parameter("session", session);
            parameter("principal", principal);
            parameter("target", target);
        }
        let kind = item.kind();
        format!("<{priority}>1 {time} {host} portcullis {process} {kind} [portcullis@32473{data}] \u{feff}{line}")
            .into_bytes()
    }
}

/// UTC with milliseconds; the nil value for what is no time.
fn time(at_ms: u64) -> String {
    let time = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or("-".into(), |time| format!("{time:.3}"))
}

/// The machine's name, which RFC 5424 wants in visible ASCII.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".into() } else { name }
}

/// A parameter's value by RFC 5424 §6.3.3, with control characters written out.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in visible(value, VALUE_CHARS, Lines::One).chars() {
        if matches!(c, '"' | '\\' | ']') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_by_rfc_5424() {
        assert_eq!(escaped(r#"a"b\c]d"#), r#"a\"b\\c\]d"#);
        assert_eq!(escaped("a\nb\u{202e}"), r"a\\u{a}b\\u{202e}");
        assert_eq!(escaped(&"x".repeat(9999)).chars().count(), VALUE_CHARS);
    }

    #[test]
    fn times_are_utc_with_milliseconds_and_what_is_no_time_is_nil() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_785_000_000_123), "2026-07-25T17:20:00.123Z");
        assert_eq!(time(u64::MAX), "-");
        assert_eq!(time(i64::MAX as u64), "-");
    }
}
