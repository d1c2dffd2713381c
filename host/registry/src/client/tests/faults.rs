//! Servers that stall, lie, send too much, and send on to where nobody should go.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// What a server does with a request.
#[derive(Clone)]
enum Act {
    /// These headers, and this body with its length.
    Send(u16, Vec<(String, String)>, Bytes),
    /// It claims so many bytes, sends these and hangs up.
    Cut(u64, Bytes),
    /// It sends the head, some bytes, and nothing more, until the test is over.
    Stall,
    /// It sends bytes without an end.
    Endless,
}

/// What a server was asked: the first line, and the header `authorization`.
type Asked = (String, Option<String>);

struct Faulty {
    address: String,
    asked: Receiver<Asked>,
    /// The stalled connections, kept open until the end.
    _stalled: Arc<Mutex<Vec<TcpStream>>>,
}

/// A server that does what is said for a path, and has nothing else.
fn serve(acts: HashMap<String, Act>) -> Faulty {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, asked) = channel();
    let stalled = Arc::new(Mutex::new(Vec::new()));
    let kept = stalled.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (acts, tell, kept) = (acts.clone(), tell.clone(), kept.clone());
            thread::spawn(move || answer(stream, &acts, &tell, &kept));
        }
    });
    Faulty { address, asked, _stalled: stalled }
}

fn answer(mut stream: TcpStream, acts: &HashMap<String, Act>, tell: &Sender<Asked>, kept: &Mutex<Vec<TcpStream>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(std::result::Result::ok);
    let Some(first) = lines.next() else { return };
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let auth = head.iter().find_map(|line| line.strip_prefix("authorization: ")).map(str::to_owned);
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let _ = tell.send((first, auth.clone()));
    let act = acts.get(&path).cloned().unwrap_or(Act::Send(404, Vec::new(), Bytes::new()));
    // Whoever hangs up early has seen enough.
    let _ = match act {
        Act::Send(401, headers, _) if auth.is_some() => send(&mut stream, 404, &headers, b""),
        Act::Send(status, headers, body) => send(&mut stream, status, &headers, &body),
        Act::Cut(claimed, body) => write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {claimed}\r\n\r\n")
            .and_then(|()| stream.write_all(&body))
            .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
            .map(|()| drop(stream.read(&mut [0; 1]))),
        Act::Stall => {
            let sent = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{{");
            kept.lock().unwrap().push(stream);
            sent
        }
        Act::Endless => write!(stream, "HTTP/1.1 200 OK\r\n\r\n").and_then(|()| {
            loop {
                stream.write_all(&[b' '; 65536])?;
            }
        }),
    };
}

fn send(stream: &mut impl Write, status: u16, headers: &[(String, String)], body: &[u8]) -> std::io::Result<()> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}

fn ok(body: &Bytes) -> Act {
    Act::Send(200, Vec::new(), body.clone())
}

fn sends_on(to: &str) -> Act {
    Act::Send(307, vec![("location".into(), to.into())], Bytes::new())
}

fn manifest_of(artifact: &Artifact) -> String {
    format!("/v2/block/manifests/{}", artifact.digest())
}

fn blob(content: &Bytes) -> String {
    format!("/v2/block/blobs/{}", Digest::of(content))
}

/// A registry that serves a package without a fault.
fn honest(artifact: &Artifact) -> HashMap<String, Act> {
    let parts = [artifact.config(), artifact.component(), artifact.metadata(), artifact.sbom()];
    let mut acts: HashMap<_, _> = parts.iter().map(|part| (blob(part), ok(part))).collect();
    acts.insert(manifest_of(artifact), ok(artifact.manifest_bytes()));
    acts
}

fn impatient() -> RegistryOptions {
    RegistryOptions { idle: Duration::from_millis(300), ..options() }
}

/// Pulls from a registry that is honest but for one path.
async fn pull_with(path: String, act: Act, options: RegistryOptions) -> std::result::Result<Pulled, RegistryError> {
    let block = artifact("x");
    let mut acts = honest(&block);
    acts.insert(path, act);
    let server = serve(acts);
    Registry::new(options).unwrap().pull(&reference(&server.address, "block:1.2.0"), Some(block.digest())).await
}

#[tokio::test]
async fn an_honest_server_is_pulled_from() {
    let block = artifact("x");
    pull_with("/unused".into(), ok(&Bytes::new()), options()).await.unwrap();
    // Blobs may be elsewhere.
    let elsewhere = serve(honest(&block));
    let to = format!("http://{}{}", elsewhere.address, blob(block.component()));
    pull_with(blob(block.component()), sends_on(&to), options()).await.unwrap();
}

#[tokio::test]
async fn whatever_dies_stalls_or_lies_is_refused() {
    let block = artifact("x");
    let other = Bytes::from_static(b"{\"schemaVersion\":2}");
    let places = [
        manifest_of(&block),
        blob(block.config()),
        blob(block.component()),
        blob(block.metadata()),
        blob(block.sbom()),
    ];
    for place in places {
        let pull = async |act| pull_with(place.clone(), act, impatient()).await.unwrap_err();
        let error = pull(Act::Cut(100_000, other.clone())).await;
        assert!(matches!(error.problem, Problem::Unreachable(_)), "{error}");
        let error = pull(Act::Stall).await;
        assert!(matches!(error.problem, Problem::Unreachable(_)), "{error}");
        let error = pull(ok(&other)).await;
        assert!(matches!(&error.problem, Problem::Artifact(ArtifactError::Digest { .. })), "{error}");
        let error = pull(Act::Send(500, Vec::new(), Bytes::new())).await;
        assert!(matches!(error.problem, Problem::Unreachable(_)), "{error}");
        let error = pull(Act::Send(404, Vec::new(), Bytes::new())).await;
        assert!(matches!(error.problem, Problem::Absent(_)), "{error}");
        assert!(error.to_string().starts_with("oci://127.0.0.1:"), "{error}");
    }
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_off() {
    let block = artifact("x");
    for place in [manifest_of(&block), blob(block.config()), blob(block.component()), blob(block.metadata())] {
        let error = pull_with(place, Act::Endless, options()).await.unwrap_err();
        assert!(matches!(&error.problem, Problem::Artifact(ArtifactError::TooLarge { .. })), "{error}");
    }
}

#[tokio::test]
async fn an_operation_ends_however_slowly_bytes_come() {
    let block = artifact("x");
    let total = Duration::from_millis(300);
    let error =
        pull_with(blob(block.component()), Act::Stall, RegistryOptions { total, ..options() }).await.unwrap_err();
    assert!(error.to_string().contains("was not done within 0.3 s"), "{error}");
}

#[tokio::test]
async fn credentials_stay_with_the_registry() {
    let block = artifact("x");
    let elsewhere = serve(honest(&block));
    let to = format!("http://{}{}", elsewhere.address, blob(block.component()));
    let mut acts = honest(&block);
    let challenge = vec![("www-authenticate".to_owned(), "Basic realm=\"x\"".to_owned())];
    // The first question is answered with a challenge, and everything after it with credentials.
    acts.insert("/v2/block/tags/list".into(), Act::Send(401, challenge, Bytes::new()));
    acts.insert(blob(block.component()), sends_on(&to));
    let home = serve(acts);
    let basic = Credentials::Basic { username: "u".into(), password: "p".into() };
    let credentials = BTreeMap::from([(home.address.clone(), basic)]);
    let client = Registry::new(RegistryOptions { credentials, ..options() }).unwrap();
    let tagged = reference(&home.address, "block:1.2.0");
    client.tags(&tagged).await.unwrap_err();
    client.pull(&tagged, Some(block.digest())).await.unwrap();
    let asked: Vec<_> = home.asked.try_iter().collect();
    let component = asked.iter().find(|(first, _)| first.contains(&blob(block.component()))).unwrap();
    assert_eq!(component.1.as_deref(), Some("Basic dTpw"));
    let elsewhere: Vec<_> = elsewhere.asked.try_iter().collect();
    assert!(elsewhere.len() == 1 && elsewhere[0].1.is_none(), "{elsewhere:?}");
}

#[tokio::test]
async fn it_is_not_led_astray() {
    let block = artifact("x");
    let pull =
        async |to: &str| pull_with(blob(block.component()), sends_on(to), options()).await.unwrap_err().to_string();
    let error = pull(&blob(block.component())).await;
    assert!(error.contains("sends on more than 5 times"), "{error}");
    let error = pull("http://registry.invalid/x?signature=s3cret").await;
    assert!(error.contains("sends on to http://registry.invalid, without TLS") && !error.contains("s3cret"), "{error}");
    let error = pull("http://user:s3cret@127.0.0.1/x").await;
    assert!(error.contains("with a user in the address") && !error.contains("s3cret"), "{error}");
    let error = pull("file:///etc/passwd").await;
    assert!(error.contains("which is no HTTP"), "{error}");
    let plain = http::Plain::for_tests();
    let url = |text: &str| text.parse().unwrap();
    let error = plain.check(&url("https://127.0.0.1/x"), &url("http://127.0.0.1/x")).unwrap_err().to_string();
    assert!(error.contains("out of TLS"), "{error}");
    plain.check(&url("http://127.0.0.1/x"), &url("https://registry.invalid/x")).unwrap();
}

#[tokio::test]
async fn images_that_are_no_packages_are_refused_with_words() {
    let pull = async |manifest: &str| {
        let acts = HashMap::from([("/v2/block/manifests/1.2.0".to_owned(), ok(&Bytes::from(manifest.to_owned())))]);
        let server = serve(acts);
        client().pull(&reference(&server.address, "block:1.2.0"), None).await.unwrap_err().to_string()
    };
    let error =
        pull(r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#).await;
    assert!(error.contains("is an index of several images"), "{error}");
    assert!(pull("<html>").await.contains("cannot be read"));
    let block = artifact("x");
    let plain = str::from_utf8(block.manifest_bytes()).unwrap().replace("dev.portcullis.package.metadata", "x");
    let error = pull(&plain).await;
    assert!(error.contains("is a plain Wasm component"), "{error}");
}

#[tokio::test]
async fn the_registrys_own_list_of_referrers_is_used() {
    let block = artifact("x");
    let word = signature(Signature::MINISIGN, "one");
    let mut acts = honest(&block);
    let enter = |acts: &mut HashMap<String, Act>, subject: Descriptor| {
        let manifest = word.referrer(subject).to_bytes();
        let mut found = Descriptor::of(IMAGE_MANIFEST, &manifest);
        found.artifact_type = Some(Signature::MINISIGN.into());
        acts.insert(format!("/v2/block/manifests/{}", found.digest), ok(&manifest));
        found
    };
    let mine = enter(&mut acts, block.descriptor());
    // One for another package, which the list names all the same.
    let replayed = enter(&mut acts, artifact("y").descriptor());
    let bytes = Bytes::from(word.bytes.clone());
    acts.insert(blob(&bytes), ok(&bytes));
    let list = format!("/v2/block/referrers/{}", block.digest());
    let next = vec![("link".to_owned(), format!("<{list}?last=x>; rel=\"next\""))];
    acts.insert(list.clone(), Act::Send(200, next, Index::new(vec![replayed]).to_bytes()));
    acts.insert(format!("{list}?last=x"), ok(&Index::new(vec![mine.clone()]).to_bytes()));
    let server = serve(acts.clone());
    let tagged = reference(&server.address, "block:1.2.0");
    assert_eq!(client().pull(&tagged, Some(block.digest())).await.unwrap().signatures, std::slice::from_ref(&word));
    acts.insert(list, ok(&Index::new(vec![mine; 65]).to_bytes()));
    let server = serve(acts);
    let error = client().pull(&reference(&server.address, "block:1.2.0"), Some(block.digest())).await.unwrap_err();
    assert!(error.to_string().contains("more than 64"), "{error}");
}

#[tokio::test]
async fn a_token_is_fetched_once_and_for_what_is_needed() {
    let block = artifact("x");
    let path = "/token?scope=repository%3Ablock%3Apull&service=s";
    let token = serve(HashMap::from([(path.to_owned(), ok(&Bytes::from_static(b"{\"token\":\"t0ken\"}")))]));
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\",scope=\"registry:catalog:*\"", token.address);
    let mut acts = honest(&block);
    let challenge = vec![("www-authenticate".to_owned(), realm)];
    acts.insert("/v2/block/tags/list".into(), Act::Send(401, challenge, Bytes::new()));
    let home = serve(acts);
    let tagged = reference(&home.address, "block:1.2.0");
    let client = client();
    client.tags(&tagged).await.unwrap_err();
    client.pull(&tagged, Some(block.digest())).await.unwrap();
    assert_eq!(token.asked.try_iter().count(), 1);
    let asked: Vec<_> = home.asked.try_iter().collect();
    assert!(asked[1..].iter().all(|(_, auth)| auth.as_deref() == Some("Bearer t0ken")), "{asked:?}");
    assert!(!format!("{client:?}").contains("t0ken"));
}

/// A server with TLS that sends everybody on, and its certificate.
fn serve_tls(to: &'static str) -> (String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config.clone()).unwrap(), stream);
            // Who does not trust the certificate asks nothing.
            let asked = BufReader::new(&mut tls).lines().map_while(std::result::Result::ok).any(|line| line.is_empty());
            if asked {
                let _ = send(&mut tls, 307, &[("location".into(), to.into())], b"");
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    (address, made.cert.pem().into_bytes())
}

#[tokio::test]
async fn tls_is_verified_and_never_left() {
    let (address, ca) = serve_tls("http://127.0.0.1:1/x");
    let (_, another) = serve_tls("/");
    let pull = async |ca: &[u8]| {
        let client = Registry::new(RegistryOptions { ca: Some(ca.to_vec()), ..options() }).unwrap();
        client.pull(&reference(&address, "block:1.2.0"), None).await.unwrap_err()
    };
    let error = pull(&ca).await;
    assert!(matches!(error.problem, Problem::Refused(_)) && error.to_string().contains("out of TLS"), "{error}");
    let error = pull(&another).await;
    assert!(matches!(error.problem, Problem::Unreachable(_)) && error.to_string().contains("certificate"), "{error}");
    let error = Registry::new(RegistryOptions { ca: Some(b"x".to_vec()), ..options() }).unwrap_err().to_string();
    assert!(error.contains("has no certificate (PEM)"), "{error}");
}
