use std::sync::Arc;

use portcullis_verdict::{ApprovalState, Entry, RecordedColumn, TimedEntry, Watched};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::described::validate;
use super::fake::view;
use super::{Role, Running, Setup, request, start, start_with, token};

/// Every endpoint that answers with events.
pub(super) const STREAMS: [&str; 2] = ["/v1/sessions/s1/watch", "/v1/approvals/watch"];

/// A stream that is being read.
struct Open {
    stream: TcpStream,
    read: String,
}

impl Running {
    async fn open(&self, who: &str, path: &str) -> Open {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request(who, "GET", path, "", "").as_bytes()).await.unwrap();
        let mut open = Open { stream, read: String::new() };
        open.until("\r\n\r\n").await;
        open
    }

    /// A session whose watcher sees what is sent here.
    fn watched(&self) -> mpsc::UnboundedSender<Watched> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.fake.watched.lock().unwrap() = Some(receiver);
        sender
    }
}

impl Open {
    /// Reads until this has come, and gives what came up to its end.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.read.find(text) {
                let rest = self.read.split_off(at + text.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let mut buf = [0; 4096];
            let read = self.stream.read(&mut buf).await.unwrap();
            assert!(read > 0, "the stream ended without {text:?}: {:?}", self.read);
            self.read += std::str::from_utf8(&buf[..read]).unwrap();
        }
    }

    /// The next event: its name and data.
    async fn event(&mut self) -> (String, Value) {
        self.until("event: ").await;
        let name = self.until("\ndata: ").await;
        let data = self.until("\n\n").await;
        (name.trim_end_matches("\ndata: ").to_owned(), serde_json::from_str(data.trim_end()).unwrap())
    }

    async fn approval(&mut self) -> (String, String) {
        let (name, view) = self.event().await;
        assert_eq!(name, "approval");
        validate(&json!({ "$ref": "#/components/schemas/ApprovalView" }), &view);
        (view["id"].as_str().unwrap().to_owned(), view["state"].as_str().unwrap().to_owned())
    }

    async fn ends(&mut self) {
        let mut rest = vec![];
        (&mut self.stream).take(1000).read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < 1000, "it goes on");
    }
}

fn entries() -> Vec<Entry<'static>> {
    let columns = vec![RecordedColumn { name: "c".into(), type_name: "text".into(), binary: false }];
    vec![
        Entry::Command { sequence: 1, text: "select\n1".into() },
        Entry::Columns { columns },
        Entry::Rows { count: 1, data: b"row".into() },
        Entry::Data { channel: "copy".into(), data: b"x".into() },
        Entry::Message { severity: "ERROR".into(), code: "42P01".into(), text: "no".into() },
        Entry::End { sequence: 1, tag: "SELECT 1".into() },
        Entry::Resize { columns: 80, rows: 24 },
    ]
}

#[tokio::test]
async fn a_session_is_followed_to_its_end() {
    let running = start().await;
    let session = running.watched();
    let mut watcher = running.open("aude", "/v1/sessions/s1/watch").await;
    assert_eq!(watcher.event().await, ("level".into(), json!({ "level": "results" })));
    for entry in entries() {
        let entry = Arc::new(TimedEntry { at_micros: 5, entry });
        session.send(Watched::Entry(entry.clone())).unwrap();
        let (name, data) = watcher.event().await;
        validate(&json!({ "$ref": "#/components/schemas/TimedEntry" }), &data);
        assert_eq!((name.as_str(), serde_json::from_value(data).unwrap()), ("entry", (*entry).clone()));
    }
    session.send(Watched::Lost(7)).unwrap();
    assert_eq!(watcher.event().await, ("lost".into(), json!({ "count": 7 })));
    drop(session);
    assert_eq!(watcher.event().await, ("end".into(), json!({})));
    watcher.ends().await;
    assert_eq!(running.get("aude", "/v1/sessions/nobody/watch").await.status, 404);
}

#[tokio::test]
async fn streams_are_for_those_who_may_see_them() {
    let running = start().await;
    for path in STREAMS {
        assert_eq!(running.get("", path).await.status, 401);
        assert_eq!(running.get("eve", path).await.status, 401);
    }
    assert_eq!(running.get("rita", "/v1/sessions/s1/watch").await.status, 403);
    assert_eq!(running.fake.calls(), [""; 0]);
    for who in ["rita", "aude", "olaf"] {
        running.open(who, "/v1/approvals/watch").await.approval().await;
    }
}

#[tokio::test]
async fn approvals_are_followed_from_how_they_stand_to_their_ends() {
    let running = start().await;
    running.fake.change(|views| {
        views.push(view(2, "a2"));
        views[1].state = ApprovalState::Expired;
    });
    let mut watcher = running.open("rita", "/v1/approvals/watch").await;
    assert_eq!(watcher.approval().await, ("a1".into(), "open".into()));
    running.fake.change(|views| views.push(view(3, "a3")));
    assert_eq!(watcher.approval().await, ("a3".into(), "open".into()));
    // What was told is not told again.
    running.fake.change(|views| views[0].approvers.push("rita".into()));
    assert_eq!(watcher.approval().await, ("a1".into(), "open".into()));
    running.fake.change(|views| views[2].state = ApprovalState::Denied);
    assert_eq!(watcher.approval().await, ("a3".into(), "denied".into()));
    // One that comes and goes between two looks.
    running.fake.change(|views| {
        views.push(view(4, "a4"));
        views[3].state = ApprovalState::Withdrawn;
    });
    assert_eq!(watcher.approval().await, ("a4".into(), "withdrawn".into()));
    let calls = running.fake.calls();
    let mut looks = calls.iter().filter(|call| call.starts_with("list true"));
    assert!(looks.all(|look| look.ends_with(" 1")), "no more are read than have come: {calls:?}");
    // One that is gone altogether is nothing to tell; the stream goes on.
    running.fake.change(|views| drop(views.remove(0)));
    running.fake.change(|views| views.extend((5..=125).map(|number| view(number, &format!("b{number}")))));
    let mut told = vec![];
    for _ in 5..=125 {
        told.push(watcher.approval().await.0);
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 121);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_lives_on_while_its_token_counts() {
    let running = start().await;
    let _session = running.watched();
    let mut watcher = running.open("aude", "/v1/sessions/s1/watch").await;
    watcher.event().await;
    let begun = tokio::time::Instant::now();
    for _ in 0..20 {
        watcher.until(":\n\n").await;
    }
    assert!(begun.elapsed().as_secs() >= 300, "a connection lives for 60 s otherwise");
    running.tokens.replace(vec![token("nils", Role::Reader)]);
    watcher.ends().await;
}

#[tokio::test]
async fn streams_are_bounded_in_number_and_leave_room_for_others() {
    let running = start().await;
    let mut held = vec![];
    for _ in 0..32 {
        let mut watcher = running.open("rita", "/v1/approvals/watch").await;
        watcher.approval().await;
        held.push(watcher);
    }
    let answer = running.get("rita", "/v1/approvals/watch").await;
    assert!(answer.status == 503 && answer.detail().contains("the limit"), "{}", answer.body);
    assert_eq!(running.get("rita", "/v1/approvals").await.status, 200);
}

#[tokio::test]
async fn streams_end_when_the_gateway_stops() {
    let mut running = start().await;
    let _session = running.watched();
    let mut session = running.open("aude", "/v1/sessions/s1/watch").await;
    session.event().await;
    let mut approvals = running.open("aude", "/v1/approvals/watch").await;
    approvals.approval().await;
    running.stop().await;
    session.ends().await;
    approvals.ends().await;
}

#[tokio::test]
async fn a_recording_is_given_as_it_is_on_disk() {
    let running = start().await;
    let answer = running.get("aude", "/v1/sessions/s1/recording").await;
    assert_eq!(answer.header("content-length"), Some("1200000"));
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"s1.zst\""));
    assert!(answer.body.as_bytes() == running.fake.recording);
    assert_eq!(running.get("aude", "/v1/sessions/s2/recording").await.status, 404);
    let answer = running.get("aude", "/v1/sessions/broken/recording").await;
    assert!(answer.status == 503 && answer.detail().contains("disk is full"), "{}", answer.body);
    let running = start_with(Setup { recordings_on: false, ..Setup::default() }).await;
    assert_eq!(running.get("aude", "/v1/sessions/s1/recording").await.status, 404);
}
