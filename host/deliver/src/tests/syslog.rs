use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};

use portcullis_verdict::Event;
use serde_json::Value;

use super::fakes::{Log, command};
use super::*;
use crate::SyslogAddress;

const EVENTS: &str = "sink/siem/events";

fn events(address: SyslogAddress) -> Sink {
    sink(Content::Events, Destination::Syslog(address))
}

/// A message of RFC 5424 in its parts.
struct Message {
    priority: u8,
    time: String,
    msgid: String,
    data: Vec<(String, String)>,
    json: Value,
}

impl Message {
    fn parse(message: &[u8]) -> Self {
        let text = std::str::from_utf8(message).unwrap();
        let (head, rest) = text.split_once(" [portcullis@32473").unwrap();
        let head: Vec<_> = head.split(' ').collect();
        let [version, time, host, app, process, msgid] = head[..] else { panic!("{head:?}") };
        let (priority, version) = version.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!((version, app), ("1", "portcullis"));
        assert_eq!(process, std::process::id().to_string());
        assert!(!host.is_empty());
        let (data, rest) = parameters(rest);
        let json = rest.strip_prefix(" \u{feff}").unwrap();
        assert!(!json.contains('\n'));
        Self {
            priority: priority.parse().unwrap(),
            time: time.into(),
            msgid: msgid.into(),
            data,
            json: serde_json::from_str(json).unwrap(),
        }
    }

    fn value(&self, name: &str) -> &str {
        &self.data.iter().find(|(key, _)| key == name).unwrap().1
    }
}

/// The parameters up to the closing bracket, without their escapes, and what follows.
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut data = Vec::new();
    loop {
        if let Some(rest) = text.strip_prefix(']') {
            return (data, rest);
        }
        let (name, rest) = text.strip_prefix(' ').unwrap().split_once("=\"").unwrap();
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        loop {
            match chars.next().unwrap() {
                (_, '\\') => value.push(chars.next().unwrap().1),
                (end, '"') => {
                    text = &rest[end + 1..];
                    break;
                }
                (_, c) => value.push(c),
            }
        }
        data.push((name.to_owned(), value));
    }
}

/// A message with octet counting.
fn counted(stream: &mut BufReader<TcpStream>) -> Message {
    let mut length = Vec::new();
    stream.read_until(b' ', &mut length).unwrap();
    let length: usize = std::str::from_utf8(&length).unwrap().trim_end().parse().unwrap();
    let mut message = vec![0; length];
    stream.read_exact(&mut message).unwrap();
    Message::parse(&message)
}

fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// A command that was denied, with names that need escapes.
fn denied() -> Event {
    let Event::Command(mut event) = command("drop \"t\"\n") else { unreachable!() };
    event.outcome = "deny".into();
    event.subject = Arc::new(portcullis_verdict::Subject {
        session: "s]1".into(),
        principal: "an\"n\n".into(),
        target: "or\\ders".into(),
    });
    Event::Command(event)
}

#[test]
fn over_tcp_messages_are_counted_and_say_who_and_how_grave() {
    let log = Log::new();
    log.append_at(1_785_000_000_123, denied());
    log.commands(1);
    log.checkpoint();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = SyslogAddress::Tcp(listener.local_addr().unwrap().to_string());
    let deliveries = deliver(&log, Sink { content: Content::Both, ..events(address) });
    let mut stream = accept(&listener);
    let origin = counted(&mut stream);
    assert_eq!((origin.msgid.as_str(), origin.value("number")), ("checkpoint", "0"));
    let message = counted(&mut stream);
    assert_eq!((message.priority, message.msgid.as_str()), (13 * 8 + 4, "command"));
    assert_eq!(message.time, "2026-07-25T17:20:00.123Z");
    assert_eq!((message.value("number"), message.value("hash").len()), ("1", 64));
    assert_eq!((message.value("session"), message.value("target")), ("s]1", "or\\ders"));
    assert_eq!(message.value("principal"), "an\"n\\u{a}");
    assert_eq!(message.json["event"]["Command"]["text"], "drop \"t\"\n");
    assert_eq!(counted(&mut stream).priority, 13 * 8 + 6);
    let checkpoint = counted(&mut stream);
    assert_eq!((checkpoint.msgid.as_str(), checkpoint.value("number")), ("checkpoint", "2"));
    deliveries.stop();
}

#[test]
fn a_server_that_comes_back_gets_what_follows() {
    let log = Log::of(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let deliveries = deliver(&log, events(SyslogAddress::Tcp(address.to_string())));
    let mut stream = accept(&listener);
    assert_eq!(counted(&mut stream).value("number"), "1");
    log.await_cursor(EVENTS, 1);
    drop((stream, listener));
    log.commands(2);
    log.await_failures(1);
    let listener = TcpListener::bind(address).unwrap();
    let mut stream = accept(&listener);
    assert_eq!((counted(&mut stream).value("number"), counted(&mut stream).value("number")), ("2", "3"));
    deliveries.stop();
}

#[test]
fn over_udp_each_message_is_a_datagram_and_a_large_one_says_what_it_leaves_out() {
    let log = Log::of(1);
    log.append(command(&"x".repeat(9000)));
    log.commands(1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let deliveries = deliver(&log, events(SyslogAddress::Udp(socket.local_addr().unwrap().to_string())));
    let mut buffer = vec![0; 65_536];
    for number in 1..=3 {
        let length = socket.recv(&mut buffer).unwrap();
        assert!(length <= 8192);
        let message = Message::parse(&buffer[..length]);
        assert_eq!(message.json["number"], number);
        assert_eq!(message.json["hash"], message.value("hash"));
        assert_eq!(message.json["truncated"].as_bool().unwrap_or_default(), number == 2);
        assert_eq!(message.json["type"], "event");
    }
    deliveries.stop();
}

#[test]
fn a_socket_of_this_machine_may_be_of_datagrams_or_a_stream() {
    let path = std::env::temp_dir().join(format!("portcullis-deliver-syslog-{}", std::process::id()));
    let log = Log::of(2);
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let deliveries = deliver(&log, events(SyslogAddress::Unix(path.clone())));
    let mut buffer = vec![0; 65_536];
    for number in ["1", "2"] {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(Message::parse(&buffer[..length]).value("number"), number);
    }
    log.await_cursor(EVENTS, 2);
    // The server stops, and comes back as another kind.
    drop(socket);
    std::fs::remove_file(&path).unwrap();
    log.append(command(&"x".repeat(9000)));
    log.await_failures(1);
    let listener = UnixListener::bind(&path).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let message = Message::parse(line.trim_end_matches('\n').as_bytes());
    assert_eq!(message.json["event"]["Command"]["text"].as_str().map(str::len), Some(9000));
    deliveries.stop();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn stopping_does_not_wait_for_a_server_that_reads_nothing() {
    let log = Log::new();
    (0..40).for_each(|_| log.append(command(&"x".repeat(1 << 20))));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = SyslogAddress::Tcp(listener.local_addr().unwrap().to_string());
    let deliveries = deliver(&log, events(address));
    let mut stream = accept(&listener);
    // It has begun to write; more than any buffer holds is to come.
    stream.fill_buf().unwrap();
    deliveries.stop();
    assert!(log.at(EVENTS) < Some(40));
}

#[test]
fn addresses_are_read_and_others_refused() {
    for (text, address) in [
        ("udp://log.example:514", SyslogAddress::Udp("log.example:514".into())),
        ("tcp://[::1]:601", SyslogAddress::Tcp("[::1]:601".into())),
        ("unix:/dev/log", SyslogAddress::Unix("/dev/log".into())),
    ] {
        assert_eq!(text.parse(), Ok(address));
    }
    for bad in
        ["", "log.example", "udp://log.example", "tcp://:514", "tcp://h:0", "tcp://h:99999", "tls://h:1", "unix:log"]
    {
        assert!(bad.parse::<SyslogAddress>().is_err(), "{bad}");
    }
}
