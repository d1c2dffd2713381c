//! The HTTP interface: who may see and do what, over TLS and without, a page at a time and as it happens.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::gateway::{Gateway, Options, token};
use portcullis_tests::place::{Scratch, root};
use portcullis_tests::process::until;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::held::{SOON, hold, hold_as, refused};
use crate::support::{Authority, guarded, shop, write_private};

/// What a request was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Self { status, head: head.to_lowercase(), body: body.into() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// That this is a problem as RFC 9457 has it, and why.
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert!(problem["type"] == "about:blank" && problem["status"] == status, "{problem}");
        assert!(problem["title"].is_string(), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

fn request(method: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}{kind}Content-Length: {length}\r\n\r\n{body}")
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", gateway.admin)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn ask(gateway: &Gateway, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
    exchange(connect(gateway), &request(method, path, token, body)).unwrap()
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Result<Answer> {
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut bytes, deadline) = (Vec::new(), [0; 65_536], Instant::now() + SOON);
    loop {
        let count = stream.read(&mut bytes)?;
        answer.extend_from_slice(&bytes[..count]);
        if count == 0 {
            return Ok(Answer::read(&String::from_utf8(answer)?));
        }
        // A stream is no answer.
        ensure!(Instant::now() < deadline, "it goes on: {}", String::from_utf8_lossy(&answer));
    }
}

fn get(gateway: &Gateway, name: &str, path: &str) -> Answer {
    ask(gateway, "GET", path, Some(token(name).unwrap()), "")
}

/// A session that stays open until its client is killed.
fn open_session(gateway: &Gateway) -> (Child, String) {
    let mut psql = gateway.psql("alice", &["-c", "select pg_sleep(600)"]).unwrap();
    let child = psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let id = until("the session opens", SOON, || {
        let sessions = get(gateway, "rita", "/v1/sessions").json();
        let id = sessions["items"][0]["id"].as_str().with_context(|| sessions.to_string())?;
        Ok(id.to_owned())
    });
    (child, id.unwrap())
}

/// The interface over TLS as a client of this authority sees it.
fn secure(gateway: &Gateway, authority: &Authority) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    Ok(StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, connect(gateway)))
}

#[test]
fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let postgres = shop();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let scratch = Scratch::new("admin-tls").unwrap();
    let (certificate, key) = authority.issue("localhost", true);
    write_private(&scratch, "server.crt", &certificate);
    write_private(&scratch, "server.key", &key);
    let ca = write_private(&scratch, "ca.crt", &authority.pem());
    let other_ca = write_private(&scratch, "other-ca.crt", &stranger.pem());
    let mut options = Options::before(&postgres);
    options.admin = "[admin.tls]\ncertificate = \"server.crt\"\nkey = \"file:server.key\"\n".into();
    let gateway = Gateway::start_in(scratch, options).unwrap();

    let list = ["sessions", "list", "--recent"];
    let trusting = |ca: &str| gateway.cli("rita", &[&list[..], &["--ca", ca]].concat()).unwrap();
    // Whoever says nothing, or begins and stops, stalls nobody.
    let silent: Vec<_> = (0..20).map(|_| connect(&gateway)).collect();
    for mut half in silent.iter().take(10) {
        half.write_all(b"\x16\x03\x01\x02").unwrap();
    }
    assert!(trusting(&ca).status.success());
    let why = refused(&gateway.cli("rita", &list).unwrap());
    assert!(why.contains("certificate"), "the system's authorities do not vouch for it: {why}");
    assert!(refused(&trusting(&other_ca)).contains("certificate"));
    let plain = format!("http://127.0.0.1:{}", gateway.admin);
    refused(&gateway.cli("rita", &[&list[..], &["--admin", &plain]].concat()).unwrap());
    let ignored = refused(&gateway.cli("rita", &[&list[..], &["--admin", &plain, "--ca", &ca]].concat()).unwrap());
    assert!(ignored.contains("`--ca`"), "{ignored}");

    let wanted = request("GET", "/v1/sessions", Some(token("rita").unwrap()), "");
    let mut answer = Vec::new();
    let mut stream = connect(&gateway);
    stream.write_all(wanted.as_bytes()).unwrap();
    // It may be a TLS alert, or a connection that was cut.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|part| part == b"HTTP"), "{answer:?}");
    assert_eq!(exchange(secure(&gateway, &authority).unwrap(), &wanted).unwrap().status, 200);
    assert!(exchange(secure(&gateway, &stranger).unwrap(), &wanted).is_err());

    // Another certificate is taken while it runs.
    let (certificate, key) = stranger.issue("localhost", true);
    fs::write(gateway.directory().join("server.key"), key).unwrap();
    fs::write(gateway.directory().join("server.crt"), certificate).unwrap();
    until("the new certificate is shown", SOON, || {
        ensure!(trusting(&other_ca).status.success(), "it is the old one");
        Ok(())
    })
    .unwrap();
    assert!(!trusting(&ca).status.success());
    drop(silent);
}

#[test]
fn the_document_is_served_as_it_is_published_and_everything_in_it_is_guarded() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let served = ask(&gateway, "GET", "/v1/openapi.json", None, "");
    assert!(served.status == 200 && served.head.contains("content-type: application/json"), "{}", served.head);
    let published = fs::read_to_string(root().join("docs/openapi.json")).unwrap();
    assert!(served.body == published, "docs/openapi.json is out of date: `portcullis openapi > docs/openapi.json`");

    let document = served.json();
    let mut open = BTreeSet::new();
    for (template, methods) in document["paths"].as_object().unwrap() {
        let path = template.replace("{id}", "x").replace("{token}", "x.y");
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let body = if method == "POST" { "{}" } else { "" };
            let answers = [None, Some("not-a-token"), Some("")].map(|token| ask(&gateway, &method, &path, token, body));
            if answers.iter().any(|answer| answer.status != 401) {
                open.insert(format!("{method} {template}"));
                continue;
            }
            for answer in answers {
                answer.problem(401);
                assert!(answer.head.contains("www-authenticate: bearer"), "{answer:?}");
            }
        }
    }
    let expected =
        ["GET /healthz", "GET /readyz", "GET /v1/links/{token}", "GET /v1/openapi.json", "POST /v1/links/{token}"];
    assert_eq!(open.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    // And what is not in it is not there.
    let nowhere = get(&gateway, "olga", "/v1/secrets").problem(404);
    assert!(nowhere.contains("/v1/openapi.json"), "{nowhere}");
}

#[test]
fn each_role_opens_what_it_should() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let (mut client, id) = open_session(&gateway);
    let session = |what: &str| format!("/v1/sessions/{id}{what}");
    let endpoints = [
        // What it is, who may, and what those are answered.
        ("GET", "/v1/sessions".to_owned(), "rita olga", 200),
        ("GET", "/v1/sessions/recent".into(), "rita olga", 200),
        ("GET", session("/events"), "rita olga", 200),
        ("GET", session("/recording"), "rita olga", 404),
        ("GET", "/v1/audit/head".into(), "rita olga", 200),
        ("GET", "/v1/audit/events".into(), "rita olga", 200),
        ("GET", "/v1/audit/export".into(), "rita olga", 200),
        ("GET", "/v1/audit/checkpoints".into(), "rita olga", 200),
        ("GET", "/v1/policies".into(), "rita olga", 200),
        ("GET", "/v1/approvals".into(), "rita bob olga", 200),
        ("GET", "/v1/approvals/none".into(), "rita bob olga", 404),
        ("GET", "/metrics".into(), "rita bob olga", 200),
        ("POST", "/v1/approvals/none/approve".into(), "bob olga", 404),
        ("POST", "/v1/approvals/none/deny".into(), "bob olga", 404),
        ("POST", "/v1/reload".into(), "olga", 200),
        ("DELETE", session(""), "olga", 200),
    ];
    for (method, path, who, status) in &endpoints {
        for name in ["rita", "bob", "olga"] {
            let body = if path.contains("approvals/") && *method == "POST" { "{}" } else { "" };
            let answer = ask(&gateway, method, path, Some(token(name).unwrap()), body);
            if who.contains(name) {
                assert_eq!(answer.status, *status, "{method} {path} as {name}: {answer:?}");
            } else {
                let why = answer.problem(403);
                assert!(why.contains(&format!("the role of {name}'s token")), "{method} {path}: {why}");
            }
        }
    }
    assert!(!client.wait().unwrap().success());

    // A token opens nothing any more once it is taken out of the configuration.
    let config = gateway.directory().join("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("token = \"env:RITA_TOKEN\"", "token = \"env:BOB_TOKEN\"").replace("\"bob\"", "\"robert\""),
    )
    .unwrap();
    assert!(!gateway.reload().unwrap().status.success(), "two people with the same token are none");
    fs::write(&config, text.replace("\"env:RITA_TOKEN\"", "\"file:rita.token\"")).unwrap();
    fs::write(gateway.directory().join("rita.token"), "rita-token-of-tomorrow-0123456789").unwrap();
    assert!(gateway.reload().unwrap().status.success());
    get(&gateway, "rita", "/v1/sessions").problem(401);
    assert_eq!(ask(&gateway, "GET", "/v1/sessions", Some("rita-token-of-tomorrow-0123456789"), "").status, 200);
}

#[test]
fn pages_give_everything_once_while_more_comes() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let opened = |number: u32| gateway.query("alice", &format!("select {number}")).unwrap();
    for number in 0..25 {
        opened(number);
    }
    let walk = |path: &str, limit: usize, grows: bool| {
        let (mut items, mut cursor, mut sizes) = (Vec::new(), None::<String>, Vec::new());
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let at = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
            let page = get(&gateway, "rita", &format!("{path}{sign}limit={limit}{at}")).json();
            let new = page["items"].as_array().unwrap().clone();
            sizes.push(new.len());
            items.extend(new);
            if grows {
                opened(99);
            }
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return (items, sizes);
            }
        }
    };
    let (sessions, sizes) = walk("/v1/sessions/recent", 7, true);
    assert!(sizes.iter().all(|size| *size <= 7) && sizes.len() >= 4, "{sizes:?}");
    let numbers: Vec<_> = sessions.iter().map(number).collect();
    assert_eq!(numbers.len(), 25, "those that came meanwhile are newer than the beginning");
    assert!(numbers.is_sorted_by(|newer, older| newer > older), "{numbers:?}");
    let all: Vec<_> = walk("/v1/sessions/recent", 1000, false).0.iter().map(number).collect();
    assert!(all.ends_with(&numbers), "the same as in one piece: {all:?}");

    let (commands, _) = walk("/v1/audit/events?kind=command&text=select%201&principal=alice", 3, false);
    let texts: BTreeSet<_> = commands.iter().map(number).collect();
    assert_eq!((commands.len(), texts.len()), (11, 11), "1 and 10 to 19: {commands:#?}");
    let head = get(&gateway, "rita", "/v1/audit/head").json();
    let last = head["last"].as_u64().unwrap();
    let mut numbers: Vec<_> = Vec::new();
    let mut cursor = Some("0".to_owned());
    while let Some(at) = cursor.filter(|_| numbers.last() < Some(&last)) {
        let page = get(&gateway, "rita", &format!("/v1/audit/export?limit=10&cursor={at}")).json();
        numbers.extend(page["items"].as_array().unwrap().iter().map(number));
        cursor = page["next"].as_str().map(str::to_owned);
    }
    let base = head["base"].as_u64().unwrap();
    assert!(numbers.iter().copied().eq(base + 1..=*numbers.last().unwrap()), "{numbers:?}");
    assert!(numbers.last() >= Some(&last), "{numbers:?} {head}");

    for path in [
        "/v1/sessions/recent?cursor=abc",
        "/v1/sessions/recent?cursor=-1",
        "/v1/sessions/recent?limit=many",
        "/v1/sessions/recent?offset=3",
        "/v1/audit/events?sql=1",
    ] {
        get(&gateway, "rita", path).problem(400);
    }
    let long = format!("{{\"reason\": \"{}\"}}", "x".repeat(70_000));
    ask(&gateway, "POST", "/v1/approvals/none/deny", Some(token("bob").unwrap()), &long).problem(413);
}

/// The number of an event, or of a session's opening.
fn number(event: &Value) -> u64 {
    event["number"].as_u64().unwrap_or_else(|| panic!("{event} has no number"))
}

/// Server-sent events over a plain connection.
struct Stream {
    stream: TcpStream,
    text: String,
    ended: bool,
}

impl Stream {
    /// HTTP/1.0 has no chunks, so that what comes is what was sent.
    fn open(gateway: &Gateway, name: &str, path: &str) -> Self {
        let mut stream = connect(gateway);
        let token = token(name).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { stream, text: String::new(), ended: false }
    }

    fn read(&mut self) {
        let mut bytes = [0; 65_536];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.ended = true,
            Ok(count) => self.text.push_str(std::str::from_utf8(&bytes[..count]).unwrap()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("{error} after {}", self.text),
        }
    }

    /// The events so far, by name and data.
    fn events(&self) -> Vec<(String, Value)> {
        let body = self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let whole = body.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        let parts = whole.split("\n\n").filter_map(|part| part.strip_prefix("event: ")?.split_once("\ndata: "));
        parts.map(|(name, data)| (name.to_owned(), serde_json::from_str(data).unwrap())).collect()
    }

    /// Waits for so many events, and gives all that have come.
    fn wait(&mut self, count: usize) -> Vec<(String, Value)> {
        until("the events come", SOON, || {
            self.read();
            let events = self.events();
            ensure!(events.len() >= count, "only {}", self.text);
            Ok(events)
        })
        .unwrap()
    }

    fn wait_for_end(&mut self) {
        until("the stream ends", 2 * SOON, || {
            self.read();
            ensure!(self.ended, "it goes on: {}", self.text);
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn approvals_are_followed_from_the_open_ones_on_to_the_end_of_the_gateway() {
    let postgres = shop();
    let rule = "[[policy.settings.rules]]\nname = \"schema-change\"\neffects = [\"ddl\"]\nany_of = [\"reviewers\"]\nquorum = 2";
    let mut gateway =
        Gateway::start(Options::before(&postgres).with("review", "policies/review-schema-changes", rule)).unwrap();
    let held = [hold(&gateway, "create table held_1 ()"), hold_as(&gateway, "dora", &["create table held_2 ()"])];
    let ids = held.each_ref().map(|held| held.id.clone());
    let mut stream = Stream::open(&gateway, "rita", "/v1/approvals/watch");
    let first = stream.wait(2);
    assert!(stream.text.to_lowercase().contains("content-type: text/event-stream"), "{}", stream.text);
    let open: BTreeSet<_> = first.iter().map(|(name, view)| (name.as_str(), view["id"].as_str().unwrap())).collect();
    assert_eq!(open, ids.iter().map(|id| ("approval", id.as_str())).collect());
    assert!(first.iter().all(|(_, view)| view["state"] == "open" && view["waiting"] == true), "{first:?}");
    let told = |events: Vec<(String, Value)>| {
        let view = &events.last().unwrap().1;
        (view["id"].as_str().unwrap().to_owned(), view["state"].as_str().unwrap().to_owned(), view["approvers"].clone())
    };
    gateway.ask("bob", &["approvals", "approve", &ids[1]]).unwrap();
    assert_eq!(told(stream.wait(3)), (ids[1].clone(), "open".into(), serde_json::json!(["bob"])));
    gateway.ask("alice", &["approvals", "approve", &ids[1]]).unwrap();
    assert_eq!(told(stream.wait(4)), (ids[1].clone(), "approved".into(), serde_json::json!(["bob", "alice"])));
    let third = hold(&gateway, "create table held_3 ()");
    assert_eq!(told(stream.wait(5)), (third.id.clone(), "open".into(), serde_json::json!([])));
    for id in [&ids[0], &third.id] {
        gateway.ask("bob", &["approvals", "deny", id]).unwrap();
    }
    let ended = stream.wait(7);
    assert!(ended[5..].iter().all(|(_, view)| view["state"] == "denied"), "{ended:?}");
    for held in held.into_iter().chain([third]) {
        held.end();
    }
    gateway.stop().unwrap();
    stream.wait_for_end();
    assert_eq!(stream.events().len(), 7, "each change is told once: {}", stream.text);
}

#[test]
fn a_live_session_is_for_readers_and_as_long_as_they_are() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let (mut client, id) = open_session(&gateway);
    let path = format!("/v1/sessions/{id}/watch");
    get(&gateway, "bob", &path).problem(403);
    ask(&gateway, "GET", &path, None, "").problem(401);
    let why = refused(&gateway.cli("bob", &["sessions", "watch", &id]).unwrap());
    assert!(why.contains("the role of bob's token"), "{why}");
    get(&gateway, "rita", "/v1/sessions/01a20f80-5689-7145-8a4f-982bac8a997b/watch").problem(404);

    let mut rita = Stream::open(&gateway, "rita", &path);
    let mut olga = Stream::open(&gateway, "olga", &path);
    for stream in [&mut rita, &mut olga] {
        assert_eq!(stream.wait(1)[0].0, "level");
    }
    // Who is no reader any more sees no more, and the others do.
    let config = gateway.directory().join("portcullis.toml");
    let text = fs::read_to_string(&config).unwrap();
    let reader = "name = \"rita\"\ngroups = []\nrole = \"reader\"";
    assert!(text.contains(reader), "{text}");
    fs::write(&config, text.replace(reader, &reader.replace("reader", "approver"))).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    rita.wait_for_end();
    get(&gateway, "rita", &path).problem(403);
    olga.read();
    assert!(!olga.ended, "{}", olga.text);
    gateway.ask("olga", &["sessions", "kill", &id]).unwrap();
    assert!(!client.wait().unwrap().success());
    olga.wait_for_end();
    assert_eq!(olga.events().last().unwrap().0, "end", "{}", olga.text);
}
