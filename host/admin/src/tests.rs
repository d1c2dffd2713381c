//! The API over real connections, with fakes behind it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use portcullis_verdict::{
    ApprovalError, ApprovalState, ApprovalView, AuditError, Event, LiveSession, Mode, PolicyState, PolicyStatus,
    RecordedSession, Reviewer, StoredEvent,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::*;

#[derive(Default)]
struct Fake {
    calls: Mutex<Vec<String>>,
}

impl Fake {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Policies for Fake {
    fn status(&self) -> Vec<PolicyStatus> {
        let (name, digest, last_fault) = ("pii \"x\"".into(), "d1".into(), Some("it trapped".into()));
        vec![PolicyStatus {
            name,
            digest,
            mode: Mode::Enforce,
            state: PolicyState::HeldClosed,
            calls: 9,
            faults: 3,
            last_fault,
        }]
    }

    fn generation(&self) -> u64 {
        4
    }

    fn last_refusal(&self) -> Option<String> {
        Some("no such component".into())
    }
}

impl SessionControl for Fake {
    fn live(&self) -> Vec<LiveSession> {
        let (principal, target, client_address) = ("ann".into(), "orders".into(), "127.0.0.1:5000".into());
        vec![LiveSession { id: "s1".into(), principal, target, client_address, opened_ms: 5, commands: 2 }]
    }

    fn kill(&self, id: &str, by: &str) -> bool {
        self.note(format!("kill {id} by {by}"));
        id == "s1"
    }
}

impl AuditReader for Fake {
    fn sessions(&self, limit: usize) -> Result<Vec<RecordedSession>, AuditError> {
        self.note(format!("sessions {limit}"));
        let ended = Some("client left".to_owned());
        let openings = self.session("s1", 0, 1)?.into_iter();
        Ok(openings.map(|opening| RecordedSession { opening, ended: ended.clone() }).collect())
    }

    fn session(&self, id: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, AuditError> {
        self.note(format!("session {id} {after} {limit}"));
        match id {
            "s1" if after == 0 => {
                let event = Event::Close { session: "s1".into(), reason: "client left".into() };
                Ok(vec![StoredEvent { number: 7, at_ms: 8, event }])
            }
            "broken" => Err(AuditError("the disk is full".into())),
            "panics" => panic!("a panic in the store"),
            _ => Ok(vec![]),
        }
    }
}

impl ApprovalDesk for Fake {
    fn list(&self, all: bool) -> Result<Vec<ApprovalView>, ApprovalError> {
        self.note(format!("list {all}"));
        Ok(vec![self.show("a1")?])
    }

    fn show(&self, id: &str) -> Result<ApprovalView, ApprovalError> {
        let id = match id {
            "none" => return Err(ApprovalError::Unknown(id.into())),
            "own" => return Err(ApprovalError::OwnRequest("rita".into())),
            "other" => return Err(ApprovalError::NotAReviewer { reviewer: "rita".into(), groups: "dba".into() }),
            "ended" => return Err(ApprovalError::NotOpen { id: id.into(), state: "expired".into() }),
            "twice" => return Err(ApprovalError::Repeated("rita".into())),
            "disk" => return Err(ApprovalError::Store("the disk is full".into())),
            id => id.into(),
        };
        let (session, principal, target, text) = ("s1".into(), "ann".into(), "orders".into(), "drop table t".into());
        let (digest, demands, approvers, opened_ms, expires_ms) = ("d".into(), vec![], vec![], 1, 2);
        let (state, sequence, reason, decided) = (ApprovalState::Open, 3, None, None);
        Ok(ApprovalView {
            id,
            state,
            session,
            sequence,
            principal,
            target,
            text,
            digest,
            parameters: vec![],
            demands,
            approvers,
            opened_ms,
            expires_ms,
            reason,
            decided,
        })
    }

    fn approve(&self, id: &str, reviewer: &Reviewer, reason: &str) -> Result<ApprovalView, ApprovalError> {
        self.note(format!("approve {id} as {} of {} because {reason}", reviewer.name, reviewer.groups.join("+")));
        self.show(id)
    }

    fn deny(&self, id: &str, reviewer: &Reviewer, reason: &str) -> Result<ApprovalView, ApprovalError> {
        self.note(format!("deny {id} as {} of {} because {reason}", reviewer.name, reviewer.groups.join("+")));
        self.show(id)
    }
}

struct Running {
    fake: Arc<Fake>,
    tokens: Tokens,
    draining: Arc<AtomicBool>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<(), AdminError>>,
}

fn token(name: &str, role: Role) -> Token {
    Token {
        sha256: Sha256::digest(format!("{name}-secret")).into(),
        name: name.into(),
        groups: vec!["dba".into()],
        role,
    }
}

async fn start(audit: bool) -> Running {
    let fake = Arc::new(Fake::default());
    let tokens = [("rita", Role::Reviewer), ("aude", Role::Auditor), ("olaf", Role::Operator)];
    let tokens = Tokens::new(tokens.map(|(name, role)| token(name, role)).into());
    let (stats, draining) = (Arc::new(Stats::default()), Arc::new(AtomicBool::new(false)));
    stats.rows.store(42, Ordering::Relaxed);
    let reload_fake = fake.clone();
    let reload = Box::new(move || {
        let mut calls = reload_fake.calls.lock().unwrap();
        calls.push("reload".into());
        if calls.len() == 1 { Ok("generation 5".into()) } else { Err("line 3: unknown key".into()) }
    });
    let kept = audit.then(|| fake.clone() as Arc<dyn AuditReader>);
    let (policies, sessions, approvals) = (fake.clone(), fake.clone(), fake.clone());
    let services = Services { stats, policies, sessions, audit: kept, approvals, reload, draining: draining.clone() };
    let admin = Admin::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = admin.local_addr();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let served = tokio::spawn(admin.serve(tokens.clone(), services, shutdown));
    Running { fake, tokens, draining, address, stop, served }
}

impl Running {
    /// Sends a request and reads until the connection is closed: the status, the head and the body.
    async fn raw(&self, request: String) -> (u16, String, String) {
        let address = self.address;
        let exchange = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_string())
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }

    async fn ask(&self, who: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
        let authorization =
            if who.is_empty() { String::new() } else { format!("Authorization: Bearer {who}-secret\r\n") };
        let json = "Content-Type: application/json\r\n";
        let len = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{authorization}{json}Content-Length: {len}\r\n\r\n");
        let (status, head, body) = self.raw(head + body).await;
        assert!(head.contains("connection: close") && head.contains("cache-control: no-store"), "{head}");
        assert!(!head.contains("access-control"), "{head}");
        let body: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
        assert!(status < 400 || path == "/readyz" || body["error"].is_string(), "{status}: {body}");
        (status, body)
    }
}

/// Every endpoint but the two without a token, and who may use it: reviewer, auditor, operator.
const ENDPOINTS: [(&str, &str, &str, [bool; 3]); 12] = [
    ("GET", "/metrics", "", [true, true, true]),
    ("GET", "/v1/sessions", "", [false, true, true]),
    ("GET", "/v1/sessions/recent", "", [false, true, true]),
    ("GET", "/v1/sessions/s1/events", "", [false, true, true]),
    ("DELETE", "/v1/sessions/s1", "", [false, false, true]),
    ("GET", "/v1/approvals", "", [true, true, true]),
    ("GET", "/v1/approvals?all=true", "", [true, true, true]),
    ("GET", "/v1/approvals/a1", "", [true, true, true]),
    ("POST", "/v1/approvals/a1/approve", "{}", [true, false, true]),
    ("POST", "/v1/approvals/a1/deny", "{}", [true, false, true]),
    ("GET", "/v1/policies", "", [false, true, true]),
    ("POST", "/v1/reload", "", [false, false, true]),
];

#[tokio::test]
async fn each_role_opens_what_it_should_and_no_more() {
    let running = start(true).await;
    for (method, path, body, allowed) in ENDPOINTS {
        for (who, allowed) in ["rita", "aude", "olaf"].iter().zip(allowed) {
            running.fake.calls();
            let (status, _) = running.ask(who, method, path, body).await;
            assert_eq!(status, if allowed { 200 } else { 403 }, "{who}: {method} {path}");
            assert!(allowed || running.fake.calls().is_empty(), "{who}: {method} {path} did something");
        }
        running.fake.calls();
        for stranger in ["", "eve"] {
            let (status, _) = running.ask(stranger, method, path, body).await;
            assert_eq!(status, 401, "{stranger}: {method} {path}");
            assert!(running.fake.calls().is_empty(), "{stranger}: {method} {path} did something");
        }
    }
}

#[tokio::test]
async fn only_a_bearer_token_counts() {
    let running = start(true).await;
    let get = |header: &str| running.raw(format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n"));
    assert_eq!(get("Authorization: bearer olaf-secret").await.0, 200);
    for header in [
        "Authorization: Basic olaf-secret",
        "Authorization: Bearer",
        "Authorization: olaf-secret",
        "Cookie: olaf-secret",
    ] {
        let (status, head, _) = get(header).await;
        assert!(status == 401 && head.contains("www-authenticate: bearer"), "{header}: {head}");
    }
}

#[tokio::test]
async fn replaced_tokens_count_at_once() {
    let running = start(true).await;
    running.tokens.replace(vec![token("nils", Role::Operator)]);
    assert_eq!(running.ask("olaf", "GET", "/v1/sessions", "").await.0, 401);
    assert_eq!(running.ask("nils", "GET", "/v1/sessions", "").await.0, 200);
    running.tokens.replace(vec![]);
    assert_eq!(running.ask("nils", "GET", "/v1/sessions", "").await.0, 401);
}

#[tokio::test]
async fn health_and_readiness_tell_strangers_little() {
    let running = start(true).await;
    assert_eq!(running.ask("", "GET", "/healthz", "").await, (200, json!({ "alive": true })));
    assert_eq!(running.ask("", "GET", "/readyz", "").await, (200, json!({ "ready": true })));
    let (status, body) = running.ask("rita", "GET", "/readyz", "").await;
    let expected =
        json!({ "ready": true, "reasons": [], "held_closed": ["pii \"x\""], "last_refusal": "no such component" });
    assert_eq!((status, body), (200, expected));
    running.draining.store(true, Ordering::Relaxed);
    assert_eq!(running.ask("", "GET", "/readyz", "").await, (503, json!({ "ready": false })));
    let (status, body) = running.ask("rita", "GET", "/readyz", "").await;
    assert!(status == 503 && body["reasons"][0].as_str().unwrap().contains("drains"), "{body}");
    assert_eq!(running.ask("eve", "GET", "/readyz", "").await.0, 401);
    assert_eq!(running.ask("", "GET", "/healthz", "").await.0, 200);
}

#[tokio::test]
async fn metrics_are_what_was_counted() {
    let running = start(true).await;
    let (status, page) = running.ask("aude", "GET", "/metrics", "").await;
    let page = page.as_str().unwrap();
    assert_eq!(status, 200);
    for line in [
        "# TYPE portcullis_rows counter",
        "portcullis_rows_total 42",
        "portcullis_sessions_active 0",
        "portcullis_policy_generation 4",
        "portcullis_policy_refused 1",
        "portcullis_policy_calls_total{policy=\"pii \\\"x\\\"\"} 9",
        "portcullis_policy_faults_total{policy=\"pii \\\"x\\\"\"} 3",
        "portcullis_policy_serving{policy=\"pii \\\"x\\\"\"} 0",
        concat!("portcullis_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "# EOF",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is missing in\n{page}");
    }
}

#[tokio::test]
async fn sessions_are_shown_and_ended() {
    let running = start(true).await;
    let (_, body) = running.ask("aude", "GET", "/v1/sessions", "").await;
    assert_eq!(body["sessions"][0]["principal"], "ann");
    let (_, body) = running.ask("aude", "GET", "/v1/sessions/recent?limit=9999999", "").await;
    assert_eq!((&body["sessions"][0]["number"], &body["sessions"][0]["ended"]), (&json!(7), &json!("client left")));
    let (_, body) = running.ask("aude", "GET", "/v1/sessions/s1/events", "").await;
    assert_eq!(body["events"][0]["event"]["Close"]["reason"], "client left");
    assert_eq!(
        running.ask("aude", "GET", "/v1/sessions/s1/events?after=7&limit=5", "").await,
        (200, json!({ "events": [] }))
    );
    let calls = ["sessions 1000", "session s1 0 1", "session s1 0 100", "session s1 7 5"];
    assert_eq!(running.fake.calls(), calls);
    let (status, body) = running.ask("aude", "GET", "/v1/sessions/nobody/events", "").await;
    assert!(status == 404 && body["error"].as_str().unwrap().contains("sessions list"), "{body}");
    let (status, body) = running.ask("aude", "GET", "/v1/sessions/broken/events", "").await;
    assert!(status == 503 && body["error"].as_str().unwrap().contains("disk is full"), "{body}");
    let (status, body) = running.ask("aude", "GET", "/v1/sessions/panics/events", "").await;
    assert!(status == 500 && !body.to_string().contains("a panic in the store"), "{body}");
    running.fake.calls();
    assert_eq!(running.ask("olaf", "DELETE", "/v1/sessions/s1", "").await, (200, json!({ "killed": "s1" })));
    assert_eq!(running.ask("olaf", "DELETE", "/v1/sessions/s2", "").await.0, 404);
    assert_eq!(running.fake.calls(), ["kill s1 by olaf", "kill s2 by olaf"]);
}

#[tokio::test]
async fn without_an_audit_there_is_nothing_to_show() {
    let running = start(false).await;
    for path in ["/v1/sessions/recent", "/v1/sessions/s1/events"] {
        let (status, body) = running.ask("aude", "GET", path, "").await;
        assert!(status == 404 && body["error"].as_str().unwrap().contains("audit.enabled"), "{body}");
    }
}

#[tokio::test]
async fn decisions_are_made_as_the_token_s_holder() {
    let running = start(true).await;
    let (status, body) = running.ask("rita", "POST", "/v1/approvals/a1/approve", r#"{"reason": "fine"}"#).await;
    assert_eq!((status, &body["id"], &body["state"]), (200, &json!("a1"), &json!("open")));
    assert_eq!(running.ask("olaf", "POST", "/v1/approvals/a1/deny", r#"{"reason": "no"}"#).await.0, 200);
    let calls = ["approve a1 as rita of dba because fine", "deny a1 as olaf of dba because no"];
    assert_eq!(running.fake.calls(), calls);
    let refusals = [("none", 404), ("own", 403), ("other", 403), ("ended", 409), ("twice", 409), ("disk", 503)];
    for (id, expected) in refusals {
        for verb in ["approve", "deny"] {
            let (status, _) = running.ask("rita", "POST", &format!("/v1/approvals/{id}/{verb}"), "{}").await;
            assert_eq!(status, expected, "{verb} {id}");
        }
    }
    running.fake.calls();
    for body in ["", "no json", r#"{"by": "ann"}"#, r#"{"reason": 1}"#] {
        let (status, _) = running.ask("rita", "POST", "/v1/approvals/a1/approve", body).await;
        assert!((400..500).contains(&status), "{body}: {status}");
    }
    let (status, _) = running.ask("rita", "POST", "/v1/approvals/a1/approve", &"x".repeat((64 << 10) + 1)).await;
    assert_eq!(status, 413);
    // What a page of another site can send without being asked for permission: no JSON.
    let request = "POST /v1/approvals/a1/approve HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\
                   Authorization: Bearer rita-secret\r\n\r\n{}";
    assert_eq!(running.raw(request.into()).await.0, 415);
    assert_eq!(running.fake.calls(), [""; 0]);
}

#[tokio::test]
async fn approvals_policies_and_reloads_are_told() {
    let running = start(true).await;
    let (_, body) = running.ask("rita", "GET", "/v1/approvals", "").await;
    assert_eq!(body["approvals"][0]["text"], "drop table t");
    running.ask("rita", "GET", "/v1/approvals?all=true", "").await;
    assert_eq!(running.fake.calls(), ["list false", "list true"]);
    assert_eq!(running.ask("rita", "GET", "/v1/approvals/none", "").await.0, 404);
    let (_, body) = running.ask("olaf", "GET", "/v1/policies", "").await;
    assert_eq!((&body["generation"], &body["last_refusal"]), (&json!(4), &json!("no such component")));
    assert_eq!(body["policies"][0]["state"], "held-closed");
    assert_eq!(running.ask("olaf", "POST", "/v1/reload", "").await, (200, json!({ "reloaded": "generation 5" })));
    let refused = json!({ "error": "line 3: unknown key" });
    assert_eq!(running.ask("olaf", "POST", "/v1/reload", "").await, (409, refused));
}

#[tokio::test]
async fn what_is_not_there_is_an_error_in_the_same_shape() {
    let running = start(true).await;
    assert_eq!(running.ask("olaf", "GET", "/v2", "").await, (404, json!({ "error": "not found" })));
    assert_eq!(running.ask("olaf", "PUT", "/v1/reload", "").await.0, 405);
    assert_eq!(running.ask("olaf", "GET", "/v1/approvals?al=true", "").await.0, 400);
    assert_eq!(running.ask("olaf", "GET", "/v1/sessions/s1/events?after=x", "").await.0, 400);
}

#[tokio::test]
async fn it_stops_and_an_address_in_use_is_named() {
    let running = start(true).await;
    let Err(error) = Admin::bind(running.address).await else { panic!("bound twice") };
    assert!(error.to_string().contains(&running.address.to_string()), "{error}");
    running.stop.send(()).unwrap();
    running.served.await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).is_err());
}
