//! A session between a client and a server that the test plays, over real connections, with scripted policies, audit and recorder.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::task::Waker;

use portcullis_verdict::{
    Action, Answer as Told, Appended, ApprovalError, ApprovalRequest, Approvals, AuditError, AuditSink, Batch, Chain,
    Credential, Entry, Grant, Hold, Judge, Mask, Mode, Principal, Receipt, RecordLevel, Recorder, RecordingError,
    Reuse, Room, Ruling, SessionControl, Target, Terms, Verdict, Wants, Watched, Watching,
};
use portcullis_wire::pg::connect::Ready;
use portcullis_wire::pg::frame::{Frame, next};
use portcullis_wire::pg::message::{field, put_query};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::config::UpstreamTls;
use crate::registry::Registry;

/// Denies what drops, holds what alters, and masks and inspects if it is to.
struct Script {
    edits: bool,
}

impl Judge for Script {
    fn wants(&mut self, _: Kind) -> Wants {
        Wants { commands: true, rows: self.edits, conditions: false }
    }

    fn edits(&self, _: &Snapshot) -> bool {
        self.edits
    }

    fn open(&mut self) -> Ruling {
        unreachable!("the session is open already")
    }

    fn check(&mut self, command: &Arc<Command>, _: &[Grant], _: &dyn Fn(&str) -> Arc<Statement>) -> Ruling {
        let mut chain = Chain::new(command.sequence, command.phase, Snapshot::empty());
        if command.statement.text.contains("drop") {
            chain.push(told(Verdict::Deny("not today".into())));
        }
        if command.statement.text.contains("alter") {
            let (any_of, reuse) = (vec!["dba".into()], Reuse::SameCommand);
            chain.push(told(Verdict::Review(Terms {
                any_of,
                quorum: 1,
                ttl_seconds: 60,
                reuse,
                reason: "ask".into(),
            })));
        }
        chain.conclude()
    }

    fn plan(&mut self, _: &Snapshot, _: &Arc<Command>, result: &Arc<ResultSet>) -> Result<RowPlan, Denial> {
        let mut plan = RowPlan::default();
        let wishes = [("a", 0, Action::Inspect), ("b", 0, Action::Mask(Mask::Redact)), ("c", 1, Action::Inspect)];
        for (place, (policy, column, action)) in wishes.into_iter().enumerate() {
            plan.merge(result.columns.len(), column, action, place, &policy.into()).unwrap();
        }
        Ok(plan)
    }

    fn filter(
        &mut self,
        _: &Snapshot,
        _: &Arc<Command>,
        _: &Arc<ResultSet>,
        _: &RowPlan,
        _: &mut Batch,
    ) -> Result<(), Denial> {
        Ok(())
    }

    fn rest(&mut self) {}
}

fn told(verdict: Verdict) -> Told {
    let (policy, digest) = ("a".into(), "00".into());
    Told { policy, digest, mode: Mode::Enforce, verdict: Ok(verdict), findings: vec![], inputs: vec![] }
}

/// What was recorded and what became of the recording, in order.
#[derive(Clone, Default)]
struct Log {
    events: Arc<Mutex<Vec<String>>>,
    fails: Arc<Mutex<bool>>,
}

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.events.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
}

impl AuditSink for Log {
    fn append(&self, event: AuditEvent) -> Appended {
        if *self.fails.lock().unwrap() {
            return Appended::Failed(AuditError::Write("full".into()));
        }
        assert_eq!(event.subject().map(|s| (&*s.session, &*s.principal, &*s.target)), Some(("s", "alice", "shop")));
        match event {
            AuditEvent::Command(e) => self.note(format!("{}: {}", e.outcome, e.text)),
            AuditEvent::Finish(e) => self.note(format!("finish {} {:?}", e.tag, e.masked_by)),
            AuditEvent::Close { reason, .. } => self.note(format!("close: {reason}")),
            other => panic!("{other:?}"),
        }
        Appended::Done(Receipt::accepted())
    }
}

/// Where nobody ever decides.
struct Desk {
    stays_open: bool,
}

impl Approvals for Desk {
    fn request(&self, request: ApprovalRequest) -> Result<Hold, ApprovalError> {
        let (demands, stays_open) = (request.demands, self.stays_open);
        Ok(Hold { id: "k7fq".into(), demands, expires_ms: 0, stays_open, outcome: Box::pin(std::future::pending()) })
    }
}

/// What a recorder says when it is asked for room.
type Said = Poll<Result<Room, RecordingError>>;

/// A recorder that is told what to say.
#[derive(Clone, Default)]
struct Notebook {
    entries: Arc<Mutex<Vec<Entry<'static>>>>,
    room: Arc<Mutex<Option<Said>>>,
    waker: Arc<Mutex<Option<Waker>>>,
    log: Log,
}

impl Notebook {
    /// What it says until it has said it; `Pending` until something else is to be said.
    fn says(&self, room: Said) {
        *self.room.lock().unwrap() = Some(room);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }

    /// The entries so far, each in a few words.
    fn entries(&self) -> Vec<String> {
        self.entries.lock().unwrap().iter().map(show).collect()
    }
}

fn show(entry: &Entry<'_>) -> String {
    match entry {
        Entry::Command { sequence, text } => format!("{sequence} {text}"),
        Entry::Columns { columns } => {
            columns.iter().map(|c| format!("{}:{}", c.name, c.type_name)).collect::<Vec<_>>().join(" ")
        }
        Entry::Rows { count, .. } => format!("{count} rows"),
        Entry::Message { severity, code, text } => format!("{severity} {code} {text}"),
        Entry::End { sequence, tag } => format!("{sequence} ends {tag}"),
        other => format!("{other:?}"),
    }
}

impl Recorder for Notebook {
    fn record(&mut self, entry: Entry<'_>) {
        self.entries.lock().unwrap().push(entry.into_owned());
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<Room, RecordingError>> {
        let mut room = self.room.lock().unwrap();
        match room.take() {
            None => Poll::Ready(Ok(Room::Free)),
            Some(Poll::Pending) => {
                *room = Some(Poll::Pending);
                *self.waker.lock().unwrap() = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(ready) => ready,
        }
    }
}

/// The session takes its recorder with it.
struct Held(Notebook);

impl Recorder for Held {
    fn record(&mut self, entry: Entry<'_>) {
        self.0.record(entry);
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<Room, RecordingError>> {
        self.0.poll_room(cx)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.log.note("the recording is closed");
    }
}

/// The far end of a connection.
struct Peer {
    stream: TcpStream,
    input: BytesMut,
}

impl Peer {
    /// Takes messages up to one of this type, and shows them.
    async fn until(&mut self, tag: u8) -> Vec<String> {
        let mut seen = vec![];
        loop {
            while let Some(frame) = next(&self.input, 1 << 20).unwrap() {
                let (length, found) = (frame.raw.len(), frame.tag);
                seen.push(peek(frame));
                bytes::Buf::advance(&mut self.input, length);
                if found == tag {
                    return seen;
                }
            }
            assert!(self.stream.read_buf(&mut self.input).await.unwrap() > 0, "it ended after {seen:?}");
        }
    }

    /// Takes everything up to the end.
    async fn rest(&mut self) -> Vec<String> {
        let mut rest = vec![];
        // A connection that is closed with something unread is reset.
        let _ = self.stream.read_to_end(&mut rest).await;
        self.input.extend_from_slice(&rest);
        let mut seen = vec![];
        while let Some(frame) = next(&self.input, 1 << 20).unwrap() {
            let length = frame.raw.len();
            seen.push(peek(frame));
            bytes::Buf::advance(&mut self.input, length);
        }
        seen
    }

    async fn say(&mut self, messages: &[Vec<u8>]) {
        self.stream.write_all(&messages.concat()).await.unwrap();
    }

    async fn query(&mut self, text: &str) {
        let mut out = vec![];
        put_query(&mut out, text);
        self.say(&[out]).await;
    }
}

fn peek(frame: Frame<'_>) -> String {
    let tag = char::from(frame.tag);
    let text = |kind| String::from_utf8_lossy(field(frame.body, kind).unwrap_or_default()).into_owned();
    match frame.tag {
        b'E' if !frame.body.starts_with(b"S") => tag.into(),
        b'E' | b'N' => format!("{} {} {} {}", text(b'V'), text(b'C'), text(b'M'), text(b'D')).trim_end().to_owned(),
        b'Q' => format!("Q {}", String::from_utf8_lossy(frame.body).trim_end_matches('\0')),
        _ => tag.into(),
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, tag, |b| b.extend_from_slice(body));
    out
}

/// Two columns of characters.
fn described() -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, b'T', |b| {
        b.extend([0, 2]);
        for name in ["name", "mail"] {
            put_cstr(b, name.as_bytes());
            b.extend(b"\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0");
        }
    });
    out
}

fn row() -> Vec<u8> {
    message(b'D', b"\0\x02\0\0\0\x01a\0\0\0\x01b")
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn syntax_error() -> Vec<u8> {
    let mut out = vec![];
    Fault::error("42601", "syntax error").put(&mut out);
    out
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (near, listener.accept().await.unwrap().0)
}

struct Rig {
    client: Peer,
    server: Peer,
    session: Session,
    registry: Arc<Registry>,
    notebook: Notebook,
    log: Log,
    /// Where cancel requests and readings of the catalogue arrive.
    target: TcpListener,
}

impl Rig {
    async fn new(record: RecordLevel, edits: bool) -> Self {
        Self::with(record, edits, true).await
    }

    async fn with(record: RecordLevel, edits: bool, stays_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Arc::new(PgTarget {
            target: Arc::new(Target { name: "shop".into(), labels: BTreeMap::new() }),
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            database: "shop".into(),
            user: "gateway".into(),
            password: None,
            tls: UpstreamTls::Disable,
            column_labels: [].into(),
            max_sessions: 1,
            record,
        });
        let info = Arc::new(verdict::Session {
            id: "s".into(),
            protocol: "postgres",
            principal: Principal { name: "alice".into(), groups: vec![], credential: Credential::Scram },
            target: target.target.clone(),
            client_address: ([192, 0, 2, 1], 40000).into(),
            reason: None,
        });
        let limits = Limits::default();
        let shared = Shared {
            facts: Arc::default(),
            catalogue: Arc::new(Catalogue::new((*target).clone(), limits.clone(), None)),
            target,
            limits,
            hash_key: verdict::mask::HashKey::new(b"key"),
            audited: true,
        };
        let (log, registry) = (Log::default(), Arc::<Registry>::default());
        let notebook = Notebook { log: log.clone(), ..Notebook::default() };
        let recorder: Option<Box<dyn Recorder>> =
            (record != RecordLevel::None).then(|| Box::new(Held(notebook.clone())) as _);
        let judge = Box::new(Script { edits });
        let pipeline = Pipeline::new(
            info.clone(),
            judge,
            Some(Arc::new(log.clone())),
            Arc::new(Desk { stays_open }),
            Arc::default(),
            false,
            true,
        );
        let place =
            registry.join(&info, b"key".to_vec(), &shared.target, None).unwrap_or_else(|fault| panic!("{fault:?}"));
        let ((client, near_client), (near_server, server)) = (pair().await, pair().await);
        let upstream = upstream::Upstream {
            stream: Stream::Plain(near_server),
            ready: Ready { parameters: vec![], cancel_key: b"secret..".to_vec() },
            input: BytesMut::new(),
        };
        let (client_side, transcript) = (Stream::Plain(near_client), Transcript::new(recorder, record));
        let session = Session::new(shared, pipeline, transcript, place, (client_side, BytesMut::new()), upstream);
        let peer = |stream| Peer { stream, input: BytesMut::new() };
        let (client, server) = (peer(client), peer(server));
        Self { client, server, session, registry, notebook, log, target: listener }
    }

    fn start(self) -> Running {
        let Self { client, server, session, registry, notebook, log, target } = self;
        Running { client, server, registry, notebook, log, target, end: tokio::spawn(session.run()) }
    }
}

struct Running {
    client: Peer,
    server: Peer,
    registry: Arc<Registry>,
    notebook: Notebook,
    log: Log,
    target: TcpListener,
    end: JoinHandle<End>,
}

impl Running {
    /// The client leaves; the end of the session.
    async fn leave(self) -> (Vec<String>, Vec<String>) {
        drop(self.client);
        assert_eq!(self.end.await.unwrap().to_string(), "the client left");
        (self.notebook.entries(), self.log.all())
    }
}

#[tokio::test]
async fn what_a_client_asks_and_sees_is_recorded_in_order() {
    let mut rig = Rig::new(RecordLevel::Results, false).await.start();
    rig.client.query("select name, mail from t").await;
    assert_eq!(rig.server.until(b'Q').await, ["Q select name, mail from t"]);
    rig.server.say(&[described(), row(), row(), complete("SELECT 2"), ready()]).await;
    assert_eq!(rig.client.until(b'Z').await, ["T", "D", "D", "C", "Z"]);
    rig.client.query("drop table t").await;
    rig.server.until(b'Q').await;
    rig.server.say(&[syntax_error(), ready()]).await;
    let denial = "ERROR 42501 denied by policy \"a\": not today";
    assert_eq!(rig.client.until(b'Z').await, [denial, "Z"]);
    let (entries, _) = rig.leave().await;
    let expected =
        ["1 select name, mail from t", "name:text mail:text", "2 rows", "1 ends SELECT 2", "2 drop table t", denial];
    assert_eq!(entries, expected);
}

#[tokio::test]
async fn results_that_the_client_does_not_describe_have_columns_too() {
    let mut rig = Rig::new(RecordLevel::Results, false).await.start();
    let parse = message(b'P', b"\0select name, mail from t\0\0\0");
    let bind = message(b'B', b"\0\0\0\0\0\0\0\0");
    rig.client.say(&[parse, bind, message(b'E', b"\0\0\0\0\0"), message(b'S', b"")]).await;
    assert_eq!(rig.server.until(b'S').await, ["P", "B", "D", "E", "S"]);
    let (parsed, bound) = (message(b'1', b""), message(b'2', b""));
    rig.server.say(&[parsed, bound, described(), row(), complete("SELECT 1"), ready()]).await;
    assert_eq!(rig.client.until(b'Z').await, ["1", "2", "D", "C", "Z"]);
    let (entries, _) = rig.leave().await;
    assert_eq!(entries, ["1 select name, mail from t", "name:text mail:text", "1 rows", "1 ends SELECT 1"]);
}

#[tokio::test]
async fn an_error_of_a_recorded_command_keeps_its_words() {
    let mut rig = Rig::new(RecordLevel::Results, false).await.start();
    rig.client.query("select 1/0").await;
    rig.server.until(b'Q').await;
    let mut error = vec![];
    Fault::error("P0001", "with values").put(&mut error);
    rig.server.say(&[error, ready()]).await;
    assert_eq!(rig.client.until(b'Z').await, ["ERROR P0001 with values", "Z"]);
    let (entries, _) = rig.leave().await;
    assert_eq!(entries, ["1 select 1/0", "ERROR P0001 with values", "1 ends "]);
}

#[tokio::test]
async fn an_error_in_binding_for_a_recorded_command_keeps_its_words_too() {
    let mut rig = Rig::new(RecordLevel::Results, false).await.start();
    let parse = message(b'P', b"\0select $1::int\0\0\0");
    let bind = message(b'B', b"\0\0\0\0\0\x01\0\0\0\x01x\0\0");
    rig.client.say(&[parse, bind, message(b'E', b"\0\0\0\0\0"), message(b'S', b"")]).await;
    rig.server.until(b'S').await;
    let mut error = vec![];
    Fault::error("22P02", "invalid input syntax for type integer: \"x\"").put(&mut error);
    rig.server.say(&[message(b'1', b""), error, ready()]).await;
    let expected = ["1", "ERROR 22P02 invalid input syntax for type integer: \"x\"", "Z"];
    assert_eq!(rig.client.until(b'Z').await, expected);
    rig.leave().await;
}

#[tokio::test]
async fn nothing_is_read_while_there_is_no_room_to_record_it() {
    let mut rig = Rig::new(RecordLevel::Results, false).await;
    let mut cx = Context::from_waker(Waker::noop());
    rig.notebook.says(Poll::Pending);
    let mut notice = vec![];
    Fault::notice("01000", "hm").put(&mut notice);
    rig.server.say(&[notice]).await;
    rig.client.query("select 1").await;
    for side in [&rig.session.server, &rig.session.client] {
        let Stream::Plain(tcp) = &side.stream else { unreachable!() };
        tcp.readable().await.unwrap();
    }
    // The first tick comes at once.
    while let Poll::Ready(woken) = rig.session.poll(&mut cx) {
        assert!(matches!(woken, Woken::Tick));
    }
    assert!(rig.session.server.input.is_empty() && rig.session.client.input.is_empty());
    rig.notebook.says(Poll::Ready(Ok(Room::Free)));
    assert!(matches!(rig.session.poll(&mut cx), Poll::Ready(Woken::Io)));
    assert!(!rig.session.server.input.is_empty() && !rig.session.client.input.is_empty());
}

#[tokio::test]
async fn a_recording_that_fails_ends_the_session_and_is_closed_before_it() {
    let mut rig = Rig::new(RecordLevel::Commands, false).await.start();
    rig.client.query("select 1").await;
    rig.server.until(b'Q').await;
    rig.notebook.says(Poll::Ready(Err(RecordingError("the disk is full".into()))));
    rig.server.say(&[complete("SELECT 1")]).await;
    let last = rig.client.rest().await.pop();
    let fatal = "FATAL 58000 terminating the session, which cannot be recorded: the disk is full";
    assert_eq!(last.as_deref(), Some(fatal));
    drop(rig.target);
    assert_eq!(rig.end.await.unwrap().to_string(), "the recording could not go on: the disk is full");
    let expected =
        ["allow: select 1", "the recording is closed", "close: the recording could not go on: the disk is full"];
    assert_eq!(rig.log.all(), expected);
    assert_eq!(rig.notebook.entries().last().map(String::as_str), Some(fatal));
}

#[tokio::test]
async fn a_client_is_warned_when_its_recording_stops() {
    let mut rig = Rig::new(RecordLevel::Commands, false).await.start();
    rig.notebook.says(Poll::Ready(Ok(Room::Stopped("it has 1024 MiB".into()))));
    rig.client.query("select 1").await;
    let warning = "WARNING 01000 portcullis: this session is no longer recorded: it has 1024 MiB";
    assert_eq!(rig.client.until(b'N').await, [warning]);
    rig.server.until(b'Q').await;
    rig.server.say(&[complete("SELECT 1"), ready()]).await;
    assert_eq!(rig.client.until(b'Z').await, ["C", "Z"]);
    rig.leave().await;
}

async fn next_of(watching: &mut Box<dyn Watching>) -> Option<String> {
    match poll_fn(|cx| watching.poll_next(cx)).await? {
        Watched::Entry(timed) => Some(show(&timed.entry)),
        Watched::Lost(count) => Some(format!("{count} lost")),
    }
}

#[tokio::test]
async fn a_session_that_is_not_recorded_can_be_watched_to_its_end() {
    let rig = Rig::new(RecordLevel::None, false).await;
    assert!(rig.registry.watch("another").is_none());
    let mut watching = rig.registry.watch("s").unwrap();
    assert_eq!(watching.level(), RecordLevel::Commands);
    let mut rig = rig.start();
    rig.client.query("select 1").await;
    rig.server.until(b'Q').await;
    rig.server.say(&[described(), row(), complete("SELECT 1"), ready()]).await;
    rig.client.until(b'Z').await;
    assert_eq!(next_of(&mut watching).await.as_deref(), Some("1 select 1"));
    assert_eq!(next_of(&mut watching).await.as_deref(), Some("1 ends SELECT 1"));
    let registry = rig.registry.clone();
    rig.leave().await;
    assert_eq!(next_of(&mut watching).await, None);
    assert!(registry.watch("s").is_none() && registry.live().is_empty());
}

#[tokio::test]
async fn a_slow_watcher_loses_entries_and_the_session_does_not_wait() {
    let rig = Rig::new(RecordLevel::None, false).await;
    let mut watching = rig.registry.watch("s").unwrap();
    let mut rig = rig.start();
    for _ in 0..200 {
        rig.client.query("select 1").await;
        rig.server.until(b'Q').await;
        rig.server.say(&[complete("SELECT 1"), ready()]).await;
        rig.client.until(b'Z').await;
    }
    assert_eq!(next_of(&mut watching).await.as_deref(), Some("144 lost"));
    assert_eq!(next_of(&mut watching).await.as_deref(), Some("73 select 1"));
    rig.leave().await;
}

#[tokio::test]
async fn a_killed_session_is_closed_at_both_ends_before_its_cancel_is_answered() {
    let mut rig = Rig::new(RecordLevel::Commands, false).await.start();
    rig.client.query("select pg_sleep(1000)").await;
    rig.server.until(b'Q').await;
    assert!(rig.registry.kill("s", "bob"));
    // The server takes the request and does not answer.
    let (mut cancel, _) = rig.target.accept().await.unwrap();
    let mut request = [0; 16];
    cancel.read_exact(&mut request).await.unwrap();
    assert_eq!(&request[4..], b"\x04\xd2\x16\x2esecret..");
    let words = "FATAL 57P01 terminating the session due to administrator command";
    assert_eq!(rig.client.rest().await, [words]);
    assert_eq!(rig.server.rest().await, [""; 0]);
    assert!(!rig.end.is_finished());
    drop(cancel);
    assert_eq!(rig.end.await.unwrap().to_string(), "killed by bob");
    assert_eq!(rig.log.all().last().map(String::as_str), Some("close: killed by bob"));
}

#[tokio::test]
async fn a_command_that_cannot_be_audited_does_not_run() {
    let mut rig = Rig::new(RecordLevel::None, false).await.start();
    *rig.log.fails.lock().unwrap() = true;
    rig.client.query("select 1").await;
    assert_eq!(rig.server.until(b'Q').await, ["Q portcullis: denied"]);
    rig.server.say(&[syntax_error(), ready()]).await;
    let denial = "ERROR 42501 denied by portcullis: commands are refused while the audit log cannot be written";
    assert_eq!(rig.client.until(b'Z').await, [denial, "Z"]);
    *rig.log.fails.lock().unwrap() = false;
    rig.client.query("select 2").await;
    assert_eq!(rig.server.until(b'Q').await, ["Q select 2"]);
    rig.server.say(&[complete("SELECT 1"), ready()]).await;
    rig.client.until(b'Z').await;
    rig.leave().await;
}

/// Answers readings of the catalogue: there is nothing in it.
async fn empty_catalogue(target: TcpListener) {
    let mut peer = Peer { stream: target.accept().await.unwrap().0, input: BytesMut::new() };
    let length = peer.stream.read_i32().await.unwrap();
    let mut startup = vec![0; length as usize - 4];
    peer.stream.read_exact(&mut startup).await.unwrap();
    peer.say(&[message(b'R', &[0; 4]), ready()]).await;
    for _ in 0..11 {
        peer.until(b'Q').await;
        peer.say(&[complete("SELECT 0"), ready()]).await;
    }
}

#[tokio::test]
async fn the_audit_names_the_policies_that_touch_a_result() {
    let mut rig = Rig::new(RecordLevel::None, true).await.start();
    rig.client.query("select name, mail from t; select name, mail from t").await;
    rig.server.until(b'Q').await;
    let result = [described(), row(), complete("SELECT 1")].concat();
    rig.server.say(&[result.clone(), result, ready()]).await;
    empty_catalogue(rig.target).await;
    assert_eq!(rig.client.until(b'Z').await, ["T", "D", "C", "T", "D", "C", "Z"]);
    assert_eq!(rig.log.all()[1], "finish SELECT 1 [\"b\", \"c\"]");
}

#[tokio::test]
async fn a_held_client_is_told_what_leaving_means() {
    for (stays_open, notice, after) in [
        (false, "Cancelling or disconnecting withdraws it.", "The approval request is withdrawn."),
        (true, "once it is approved the same command passes.", "The request stays open."),
    ] {
        let mut rig = Rig::with(RecordLevel::Commands, false, stays_open).await.start();
        rig.client.query("alter table t add c int").await;
        let told = rig.client.until(b'N').await.remove(0);
        let expected =
            "NOTICE 01000 portcullis: held for approval k7fq policy \"a\": ask. 1 of dba must approve. Until ";
        assert!(told.starts_with(expected) && told.ends_with(notice), "{told}");
        rig.registry.cancel(b"key");
        rig.server.until(b'Q').await;
        rig.server.say(&[syntax_error(), ready()]).await;
        let error = format!("ERROR 57014 canceling statement due to user request {after}");
        assert_eq!(rig.client.until(b'Z').await, [&error[..], "Z"]);
        let (entries, _) = rig.leave().await;
        assert_eq!(entries[1], "1 alter table t add c int", "{entries:?}");
        assert!(entries[0].starts_with("NOTICE") && entries[2].ends_with(after), "{entries:?}");
    }
}
