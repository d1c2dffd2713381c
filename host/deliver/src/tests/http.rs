use std::io::BufReader;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};

use portcullis_verdict::ChainedEvent;
use rcgen::{CertificateParams, KeyPair};

use super::fakes::{Log, command};
use super::receiver::{Receiver, Reply, Request, read};
use super::*;

const EVENTS: &str = "sink/siem/events";

fn to(receiver: &Receiver) -> Destination {
    Destination::Http { url: receiver.url(), token: Some("t0ken".into()), ca: None }
}

#[test]
fn a_batch_comes_again_until_it_is_taken() {
    let log = Log::of(3);
    let script = [Reply::Status(500), Reply::Close, Reply::CloseMidAnswer, Reply::Status(429), Reply::Status(503)];
    let receiver = Receiver::start(script);
    let deliveries = deliver(&log, sink(Content::Events, to(&receiver)));
    for _ in 0..6 {
        let request = receiver.next();
        assert_eq!(request.numbers(), [1, 2, 3]);
        assert_eq!(request.headers["content-type"], "application/x-ndjson");
        assert_eq!(request.headers["authorization"], "Bearer t0ken");
    }
    log.await_cursor(EVENTS, 3);
    assert_eq!(log.failures(), 5);
    // And what comes later comes alone.
    log.commands(1);
    assert_eq!(receiver.next().numbers(), [4]);
    deliveries.stop();
    assert!(receiver.rest().is_empty());
}

#[test]
fn a_refusal_of_the_configuration_drops_nothing() {
    let log = Log::of(2);
    let receiver = Receiver::start([Reply::Status(401), Reply::Status(404), Reply::Status(400)]);
    let deliveries = deliver(&log, sink(Content::Events, to(&receiver)));
    for _ in 0..4 {
        assert_eq!(receiver.next().numbers(), [1, 2]);
    }
    log.await_cursor(EVENTS, 2);
    assert_eq!(log.failures(), 3);
    deliveries.stop();
}

#[test]
fn a_status_is_enough_even_if_the_answer_is_cut_after_it() {
    let log = Log::of(1);
    let receiver = Receiver::start([Reply::CloseMidBody]);
    let deliveries = deliver(&log, sink(Content::Events, to(&receiver)));
    log.await_cursor(EVENTS, 1);
    assert_eq!(log.failures(), 0);
    deliveries.stop();
}

#[test]
fn no_redirect_is_followed() {
    let log = Log::of(1);
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", elsewhere.local_addr().unwrap());
    let receiver = Receiver::start([Reply::Redirect(url)]);
    let deliveries = deliver(&log, sink(Content::Events, to(&receiver)));
    assert_eq!((receiver.next().numbers(), receiver.next().numbers()), (vec![1], vec![1]));
    log.await_cursor(EVENTS, 1);
    deliveries.stop();
    assert!(elsewhere.accept().is_err());
}

#[test]
fn nothing_is_missing_after_a_restart() {
    let log = Log::of(3);
    let script = std::iter::once(Reply::Status(200)).chain((0..100_000).map(|_| Reply::Status(500)));
    let receiver = Receiver::start(script);
    let deliveries = deliver(&log, sink(Content::Events, to(&receiver)));
    assert_eq!(receiver.next().numbers(), [1, 2, 3]);
    log.await_cursor(EVENTS, 3);
    log.commands(2);
    log.await_failures(1);
    deliveries.stop();
    log.commands(600);
    let again = Receiver::start([]);
    let deliveries = deliver(&log, sink(Content::Events, to(&again)));
    log.await_cursor(EVENTS, 605);
    deliveries.stop();
    let seen: Vec<_> = again.rest().iter().flat_map(Request::numbers).collect();
    assert!(seen.into_iter().eq(4..=605));
}

#[test]
fn a_large_backlog_comes_in_pieces_and_in_order() {
    let log = Log::new();
    (0..5).for_each(|_| log.append(command(&"x".repeat(300 << 10))));
    let receiver = Receiver::start([Reply::Status(200), Reply::Status(500)]);
    let deliveries = deliver(&log, sink(Content::Events, to(&receiver)));
    // The piece that was taken does not come again.
    let numbers: Vec<_> = (0..4).map(|_| receiver.next().numbers()).collect();
    assert_eq!(numbers, [vec![1, 2], vec![3, 4], vec![3, 4], vec![5]]);
    deliveries.stop();
}

#[test]
fn a_checkpoint_follows_the_events_that_it_covers() {
    let log = Log::of(2);
    log.checkpoint();
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, sink(Content::Both, to(&receiver)));
    let lines: Vec<_> = (0..3).flat_map(|_| receiver.next().lines()).collect();
    let seen: Vec<_> = lines.iter().map(|l| (l["type"].as_str().unwrap(), l["number"].as_u64().unwrap())).collect();
    // The first is the one in which the chain begins.
    assert_eq!(seen, [("checkpoint", 0), ("event", 1), ("event", 2), ("checkpoint", 2)]);
    let event: ChainedEvent = serde_json::from_value(lines[1].clone()).unwrap();
    assert_eq!((event.encoded.as_str(), event.stored.number), ("AAAA", 1));
    assert_eq!(lines[3]["signature"], "ef".repeat(64));
    // One that comes without events finds its way too.
    log.commands(1);
    assert_eq!(receiver.next().numbers(), [3]);
    log.await_cursor(EVENTS, 3);
    log.checkpoint();
    assert_eq!(receiver.next().lines()[0]["type"], "checkpoint");
    log.await_cursor("sink/siem/checkpoints", 3);
    deliveries.stop();
    // After a restart the chain does not begin again.
    log.commands(1);
    let deliveries = deliver(&log, sink(Content::Both, to(&receiver)));
    assert_eq!(receiver.next().numbers(), [4]);
    deliveries.stop();
}

#[test]
fn checkpoints_alone_begin_with_the_one_of_the_base() {
    let log = Log::of(2);
    log.prune(2);
    log.commands(2);
    log.checkpoint();
    let receiver = Receiver::start([Reply::Status(500)]);
    let deliveries = deliver(&log, sink(Content::Checkpoints, to(&receiver)));
    assert_eq!(receiver.next().numbers(), [2, 4]);
    assert_eq!(receiver.next().numbers(), [2, 4]);
    log.await_cursor("sink/siem/checkpoints", 4);
    log.commands(1);
    log.checkpoint();
    assert_eq!(receiver.next().numbers(), [5]);
    deliveries.stop();
    // What was pruned is passed over, and where the chain begins now is told.
    log.commands(2);
    log.prune(6);
    log.checkpoint();
    let deliveries = deliver(&log, sink(Content::Checkpoints, to(&receiver)));
    assert_eq!(receiver.next().numbers(), [6, 7]);
    deliveries.stop();
}

#[test]
fn events_go_out_as_ocsf_where_that_is_asked_for() {
    let log = Log::of(1);
    log.checkpoint();
    let receiver = Receiver::start([]);
    let sink = Sink { format: Format::Ocsf, ..sink(Content::Both, to(&receiver)) };
    let deliveries = deliver(&log, sink);
    assert_eq!(receiver.next().lines()[0]["type"], "checkpoint");
    let event = receiver.next().lines().remove(0);
    assert_eq!((event["class_uid"].as_u64(), event["unmapped"]["hash"].as_str().map(str::len)), (Some(6005), Some(64)));
    assert_eq!(receiver.next().lines()[0]["type"], "checkpoint");
    deliveries.stop();
}

#[test]
fn stopping_does_not_wait_for_a_peer_that_hangs() {
    let log = Log::of(1);
    let (hold, held) = mpsc::channel();
    let receiver = Receiver::start([Reply::Hang(held)]);
    let deliveries = deliver(&log, sink(Content::Events, to(&receiver)));
    receiver.next();
    deliveries.stop();
    // The delivery still hangs, with all that it holds: it was not waited for.
    assert!(Arc::strong_count(&log) > 1);
    assert_eq!(log.at(EVENTS), Some(0));
    drop(hold);
}

#[test]
fn a_token_that_no_header_can_carry_is_not_shown() {
    let mut to = Destination::Http { url: "http://127.0.0.1:1/".into(), token: Some("a\nsecret".into()), ca: None };
    let error = crate::post::bearer("a\nsecret").unwrap_err();
    assert!(!error.contains("secret"), "{error}");
    for bad in ["", "collector.example", "ftp://collector.example/", "https://", "https://[::1"] {
        if let Destination::Http { url, .. } = &mut to {
            *url = bad.into();
        }
        assert!(sink(Content::Events, to.clone()).check().is_err(), "{bad}");
    }
}

#[test]
fn a_ca_without_a_usable_certificate_is_refused() {
    let check = |ca: &[u8]| {
        let to = Destination::Http { url: "https://127.0.0.1/".into(), token: None, ca: Some(ca.to_vec()) };
        sink(Content::Events, to).check()
    };
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = KeyPair::generate().unwrap().serialize_pem();
    for bad in ["", "no certificate", broken, &key] {
        assert!(check(bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(check(Authority::new().pem.as_bytes()), Ok(()));
}

/// A server's certificate that vouches for itself.
struct Authority {
    pem: String,
    config: Arc<rustls::ServerConfig>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self { pem: certificate.pem(), config: Arc::new(config) }
    }

    /// A server that answers 200; its URL, and what came.
    fn serve(&self) -> (String, mpsc::Receiver<Request>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/in?key=hush", listener.local_addr().unwrap().port());
        let (config, (sender, requests)) = (self.config.clone(), mpsc::channel());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream.unwrap()));
                if let Some(request) = read(&mut stream) {
                    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                    std::io::Write::write_all(stream.get_mut(), answer).unwrap();
                    let _ = sender.send(request);
                }
            }
        });
        (url, requests)
    }
}

#[test]
fn over_tls_only_the_server_that_is_vouched_for_gets_anything() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (url, requests) = ours.serve();
    for (ca, vouched) in [(Some(&ours), true), (Some(&other), false), (None, false)] {
        let log = Log::of(1);
        let ca = ca.map(|authority| authority.pem.clone().into_bytes());
        let to = Destination::Http { url: url.clone(), token: Some("t0ken".into()), ca };
        let deliveries = deliver(&log, sink(Content::Events, to));
        if vouched {
            assert_eq!(requests.recv_timeout(PATIENCE).unwrap().numbers(), [1]);
            log.await_cursor(EVENTS, 1);
        } else {
            log.await_failures(2);
        }
        deliveries.stop();
        assert!(requests.try_recv().is_err());
    }
}

#[test]
fn a_destination_is_shown_without_what_may_be_secret_in_it() {
    let http = |url: &str| Destination::Http { url: url.into(), token: Some("token".into()), ca: None };
    for (url, shown) in [
        ("https://collector.example/services/T0/secret?key=secret", "https://collector.example"),
        ("https://name:secret@collector.example:8088/", "https://collector.example:8088"),
        ("http://[::1]:80/secret", "http://[::1]:80"),
        ("secret", "a URL that is none"),
        ("ftp://secret/", "a URL that is none"),
    ] {
        assert_eq!(http(url).shown(), shown);
    }
    assert_eq!(Destination::File("/var/log/audit.jsonl".into()).shown(), "file:/var/log/audit.jsonl");
    for address in ["udp://[::1]:514", "tcp://log.example:601", "unix:/dev/log"] {
        assert_eq!(Destination::Syslog(address.parse().unwrap()).shown(), format!("syslog+{address}"));
    }
}
