use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

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

async fn ask(running: &Running, connector: &TlsConnector, path: &str) -> Answer {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let name = ServerName::try_from("gate.example").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    exchange(&mut stream, &request("aude", "GET", path, "", "")).await
}

#[tokio::test]
async fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let (mut running, connector) = secure().await;
    assert_eq!(ask(&running, &connector, "/v1/sessions").await.status, 200);
    let answer = ask(&running, &connector, "/v1/sessions/s1/recording").await;
    assert!(answer.body.as_bytes() == running.fake.recording);
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, request("aude", "GET", "/v1/sessions", "", "").as_bytes())
        .await
        .unwrap();
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
