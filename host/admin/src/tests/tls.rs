use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Answer, Running, Setup, exchange, request, start_with};

/// A gateway that speaks TLS, and a client that trusts it.
async fn secure() -> (Running, TlsConnector) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["gate.example".into()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let server = server.unwrap().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
    let running = start_with(Setup { tls: Some(Arc::new(server)), ..Setup::default() }).await;
    (running, TlsConnector::from(Arc::new(client)))
}

async fn connect(running: &Running, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let name = ServerName::try_from("gate.example").unwrap();
    connector.connect(name, stream).await.unwrap()
}

async fn ask(running: &Running, connector: &TlsConnector, path: &str) -> Answer {
    let mut stream = connect(running, connector).await;
    exchange(&mut stream, &request("aude", "GET", path, "", "")).await
}

#[tokio::test]
async fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let (mut running, connector) = secure().await;
    assert_eq!(ask(&running, &connector, "/v1/sessions").await.status, 200);
    let answer = ask(&running, &connector, "/v1/sessions/s1/recording").await;
    assert!(answer.body.as_bytes() == running.fake.recording);
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(request("aude", "GET", "/v1/sessions", "", "").as_bytes()).await.unwrap();
    let mut answer = vec![];
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    running.stop().await;
}

#[tokio::test]
async fn who_does_not_shake_hands_stalls_nobody() {
    let (mut running, connector) = secure().await;
    let mut silent = vec![];
    for _ in 0..20 {
        silent.push(TcpStream::connect(running.address).await.unwrap());
    }
    assert_eq!(ask(&running, &connector, "/v1/sessions").await.status, 200);
    // Nor a stop.
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_its_time() {
    let (running, _) = secure().await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    assert!((5..60).contains(&begun.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn behind_the_handshake_the_head_has_its_time_and_the_request_more() {
    let (running, connector) = secure().await;
    let head = "POST /v1/approvals/k7wz/deny HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer rita-secret\r\n\
                Content-Type: application/json\r\nContent-Length: 2\r\n\r\n";
    for (sent, seconds) in [(&head[..head.len() - 1], 5..20), (head, 55..70)] {
        let mut stream = connect(&running, &connector).await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        let begun = tokio::time::Instant::now();
        let _ = stream.read(&mut [0]).await;
        let elapsed = begun.elapsed().as_secs();
        assert!(seconds.contains(&elapsed), "{elapsed} {sent}");
    }
}
