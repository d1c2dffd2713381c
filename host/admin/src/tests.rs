//! The API over real connections, with fakes behind it. Every answer is held against the document.

mod api;
mod described;
mod fake;
mod links;
mod streams;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_verdict::{AuditSink, LinkKey, RecordingFiles, Stats};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use fake::Fake;

use crate::{Admin, AdminError, Role, Services, Token, Tokens};

/// What is not the same in every test.
struct Setup {
    audit_on: bool,
    recordings_on: bool,
    links_on: bool,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { audit_on: true, recordings_on: true, links_on: true, tls: None }
    }
}

struct Running {
    fake: Arc<Fake>,
    tokens: Tokens,
    draining: Arc<AtomicBool>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<Result<(), AdminError>>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_else(|| panic!("no problem: {}", self.body)).to_owned()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let prefix = format!("{name}: ");
        self.head.lines().find_map(|line| line.strip_prefix(&prefix))
    }
}

fn token(name: &str, role: Role) -> Token {
    Token {
        sha256: Sha256::digest(format!("{name}-secret")).into(),
        name: name.into(),
        groups: vec!["dba".into()],
        role,
        break_glass: role == Role::Operator,
    }
}

fn link_key() -> LinkKey {
    LinkKey::new(b"the gateway's secret")
}

async fn start() -> Running {
    start_with(Setup::default()).await
}

async fn start_with(setup: Setup) -> Running {
    let fake = Arc::new(Fake::default());
    let tokens = [("rita", Role::Approver), ("aude", Role::Reader), ("olaf", Role::Operator)];
    let tokens = Tokens::new(tokens.map(|(name, role)| token(name, role)).into());
    let (stats, draining) = (Arc::new(Stats::default()), Arc::new(AtomicBool::new(false)));
    stats.rows.store(42, Ordering::Relaxed);
    stats.glass_broken.store(3, Ordering::Relaxed);
    let reloading = fake.clone();
    let services = Services {
        stats,
        policies: fake.clone(),
        rollout: fake.clone(),
        sessions: fake.clone(),
        approvals: fake.clone(),
        audit: fake.clone(),
        sink: setup.audit_on.then(|| fake.clone() as Arc<dyn AuditSink>),
        recordings: setup.recordings_on.then(|| fake.clone() as Arc<dyn RecordingFiles>),
        links: setup.links_on.then(link_key),
        reload: Box::new(move || reloading.reload()),
        draining: draining.clone(),
    };
    let admin = Admin::bind(SocketAddr::from(([127, 0, 0, 1], 0)), setup.tls).await.unwrap();
    let address = admin.local_addr();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let served = tokio::spawn(admin.serve(tokens.clone(), services, shutdown));
    Running { fake, tokens, draining, address, stop: Some(stop), served }
}

fn request(who: &str, method: &str, path: &str, headers: &str, body: &str) -> String {
    let authorization = if who.is_empty() { String::new() } else { format!("Authorization: Bearer {who}-secret\r\n") };
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}{headers}Content-Length: {length}\r\n\r\n{body}")
}

impl Running {
    /// Sends a request and reads until the connection is closed.
    async fn raw(&self, request: String) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        exchange(&mut stream, &request).await
    }

    /// Sends a request with a JSON body, and holds the answer against the document.
    async fn ask(&self, who: &str, method: &str, path: &str, body: &str) -> Answer {
        self.ask_with(who, method, path, "Content-Type: application/json\r\n", body).await
    }

    async fn ask_with(&self, who: &str, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let answer = self.raw(request(who, method, path, headers, body)).await;
        let head = &answer.head;
        for header in ["connection: close", "cache-control: no-store", "x-content-type-options: nosniff"] {
            assert!(head.contains(header), "{header} is missing: {head}");
        }
        assert!(!head.contains("access-control"), "{head}");
        described::check(method, path, &answer);
        answer
    }

    async fn get(&self, who: &str, path: &str) -> Answer {
        self.ask(who, "GET", path, "").await
    }

    async fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        (&mut self.served).await.unwrap().unwrap();
    }
}

async fn exchange(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that has refused a long body may reset the connection behind its answer.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    Answer { status: head[9..12].parse().unwrap(), head: lower(head), body: body.to_owned() }
}

/// Header names in lower case; hyper writes them so already, but that is no promise.
fn lower(head: &str) -> String {
    let lower = |line: &str| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.to_owned(),
    };
    head.lines().map(lower).collect::<Vec<_>>().join("\n")
}
