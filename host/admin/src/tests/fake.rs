//! What stands behind the API in tests.

use std::fs::File;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use portcullis_verdict::{
    AnswerRecord, Appended, ApprovalDesk, ApprovalError, ApprovalEvent, ApprovalState, ApprovalView, AuditError,
    AuditReader, AuditSink, ChainedEvent, Checkpoint, ColumnRef, CommandEvent, Demand, Effects, Event, Facts, Filter,
    Finding, FinishEvent, Found, Head, Input, InputsEvent, LiveSession, Mode, OpenEvent, Origin, Policies,
    PolicyInputs, PolicyState, PolicyStatus, Receipt, RecordLevel, RecordedSession, RecordingEvent, RecordingFiles,
    Refusal, Relation, Reuse, Reviewer, Rollout, RolloutCounts, RolloutStep, SessionControl, SqlStatement, StoredEvent,
    Subject, SystemEvent, Terms, Watched, Watching, Words,
};
use tokio::sync::{mpsc, watch};

/// How the fake's sink takes events.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) enum Sinking {
    #[default]
    Done,
    Later,
    Never,
    Failed,
}

pub(super) struct Fake {
    calls: Mutex<Vec<String>>,
    pub(super) sinking: Mutex<Sinking>,
    /// What the next watcher of `s1` sees.
    pub(super) watched: Mutex<Option<mpsc::UnboundedReceiver<Watched>>>,
    /// The requests, oldest first.
    pub(super) approvals: Mutex<Vec<ApprovalView>>,
    pub(super) changes: watch::Sender<u64>,
    pub(super) recording: Vec<u8>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            calls: Mutex::default(),
            sinking: Mutex::default(),
            watched: Mutex::default(),
            approvals: Mutex::new(vec![view(1, "a1")]),
            changes: watch::Sender::new(0),
            recording: (0..300_000_u32).flat_map(u32::to_be_bytes).map(|byte| byte & 0x7f).collect(),
        }
    }
}

impl Fake {
    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }

    /// What was called since this was asked last.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// Succeeds the first time.
    pub(super) fn reload(&self) -> Result<String, String> {
        let mut calls = self.calls.lock().unwrap();
        let first = !calls.iter().any(|call| call == "reload");
        calls.push("reload".into());
        if first { Ok("generation 5".into()) } else { Err("line 3: unknown key".into()) }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<ApprovalView>)) {
        change(&mut self.approvals.lock().unwrap());
        self.changes.send_modify(|count| *count += 1);
    }

    fn decide(&self, verb: &str, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError> {
        let Reviewer { name, groups, break_glass } = reviewer;
        let Words { reason, break_glass: breaks, link } = words;
        let link = link.as_deref().unwrap_or("-");
        self.note(format!(
            "{verb} {id} as {name} of {} ({break_glass}) because {reason:?} {breaks} {link}",
            groups.join("+")
        ));
        match id {
            "used" => Err(ApprovalError::LinkUsed),
            "glass" => Err(ApprovalError::NoBreakGlass(name.clone())),
            "terse" => Err(ApprovalError::NoJustification(10)),
            _ => self.show(id),
        }
    }
}

impl Policies for Fake {
    fn status(&self) -> Vec<PolicyStatus> {
        let (name, digest, last_fault) = ("pii \"x\"".into(), "d1".into(), Some("it trapped".into()));
        let (mode, state) = (Mode::Enforce, PolicyState::HeldClosed);
        let (last_backtrace, canary) = (None, Some(5));
        vec![PolicyStatus { name, digest, mode, state, calls: 9, faults: 3, last_fault, last_backtrace, canary }]
    }

    fn generation(&self) -> u64 {
        4
    }
}

impl Rollout for Fake {
    fn origins(&self) -> Vec<Origin> {
        vec![Origin {
            policy: "block".into(),
            package: "block".into(),
            version: "1.2.0".into(),
            source: "oci://registry.example/policies/block:1".into(),
            artifact: Some("sha256:00".into()),
            signers: vec!["platform".into()],
            since_ms: 1,
            rolled_back: false,
            previous: Some("1.1.0".into()),
        }]
    }

    fn refusal(&self) -> Option<Refusal> {
        Some(Refusal { step: RolloutStep::Verify, reason: "nobody signed it".into(), at_ms: 2 })
    }

    fn counts(&self) -> RolloutCounts {
        RolloutCounts { applied: 3, refused: 2, rolled_back: 1 }
    }

    fn rollback(&self, policy: &str) -> Result<String, String> {
        if policy == "block" {
            Ok("block 1.1.0 is in force again".into())
        } else {
            Err("there is no such policy".into())
        }
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

    fn watch(&self, id: &str) -> Option<Box<dyn Watching>> {
        self.note(format!("watch {id}"));
        let watched = self.watched.lock().unwrap().take().unwrap_or_else(|| mpsc::unbounded_channel().1);
        (id == "s1").then(|| Box::new(FakeWatching(watched)) as Box<dyn Watching>)
    }
}

struct FakeWatching(mpsc::UnboundedReceiver<Watched>);

impl Watching for FakeWatching {
    fn level(&self) -> RecordLevel {
        RecordLevel::Results
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Watched>> {
        self.0.poll_recv(cx)
    }
}

impl RecordingFiles for Fake {
    fn open(&self, session: &str) -> std::io::Result<Option<File>> {
        self.note(format!("recording {session}"));
        match session {
            "s1" => {
                let path = std::env::temp_dir().join(format!("portcullis-admin-{}-{:p}", std::process::id(), self));
                File::create(&path)?.write_all(&self.recording)?;
                let file = File::open(&path)?;
                std::fs::remove_file(&path)?;
                Ok(Some(file))
            }
            "broken" => Err(std::io::Error::other("the disk is full")),
            _ => Ok(None),
        }
    }
}

impl AuditSink for Fake {
    fn append(&self, event: Event) -> Appended {
        if let Event::System(SystemEvent { what, by, detail }) = &event {
            self.note(format!("append {what} by {by}: {detail}"));
        }
        match *self.sinking.lock().unwrap() {
            Sinking::Done => Appended::Done(Receipt::accepted()),
            Sinking::Later => Appended::Pending(Box::pin(async { Ok(Receipt::accepted()) })),
            Sinking::Never => Appended::Pending(Box::pin(std::future::pending())),
            Sinking::Failed => Appended::Failed(AuditError::Write("the disk is full".into())),
        }
    }
}

/// How many events the fake has kept.
pub(super) const EVENTS: u64 = 1234;

/// An event of each kind in turn.
fn event(number: u64) -> StoredEvent {
    let subject = Arc::new(Subject { session: "s1".into(), principal: "ann".into(), target: "orders".into() });
    let event = match number % 8 {
        0 => Event::Close { subject, reason: "client left".into() },
        1 => open(subject),
        2 => command(subject),
        3 => finish(subject),
        4 => {
            let (approval, what, by) = ("a1".into(), "approved".into(), "rita".into());
            let (reason, via) = ("fine".into(), "api".into());
            Event::Approval(ApprovalEvent { subject, sequence: 3, approval, what, by, reason, via })
        }
        5 => {
            let (state, file, sha256, detail) = ("ended".into(), "a/b".into(), "ab".into(), String::new());
            Event::Recording(RecordingEvent { subject, state, file, bytes: 9, sha256, entries: 2, detail })
        }
        6 => {
            let (policy, digest, inputs) = ("p".into(), "00".into(), inputs());
            let inputs = vec![PolicyInputs { policy, digest, inputs }];
            Event::Inputs(InputsEvent { subject, sequence: 3, phase: "execute".into(), inputs })
        }
        _ => Event::System(SystemEvent { what: "started".into(), by: String::new(), detail: "0.1.0".into() }),
    };
    StoredEvent { number, at_ms: 8, event }
}

fn inputs() -> Vec<Input> {
    let (put, increment) = (|e: &str| Input::Put(Err(e.into())), |e: &str| Input::Increment(Err(e.into())));
    let state = [Input::Get(None), Input::Get(Some(vec![2])), Input::Put(Ok(())), put("full"), increment("full")];
    let other = [Input::Increment(Ok(-1)), Input::Clock(8), Input::Random(vec![1]), Input::Truncated];
    state.into_iter().chain(other).collect()
}

fn open(subject: Arc<Subject>) -> Event {
    let (protocol, groups, credential) = ("postgres".into(), vec!["dev".into()], "certificate".into());
    let (client_address, reason, refused) = ("127.0.0.1:5000".into(), Some("a ticket".into()), None);
    Event::Open(OpenEvent { subject, protocol, groups, credential, client_address, reason, refused })
}

fn command(subject: Arc<Subject>) -> Event {
    let relations = vec![Relation { schema: "s".into(), name: "t".into(), effects: Effects::READ | Effects::WRITE }];
    let columns_read = vec![ColumnRef { name: "c".into(), ..ColumnRef::default() }];
    let statement = SqlStatement { verb: "UPDATE".into(), relations, columns_read, ..SqlStatement::default() };
    let findings = vec![Finding { rule: "r".into(), message: "m".into() }];
    let (policy, digest, message) = ("p".into(), "d".into(), String::new());
    let answer = AnswerRecord { policy, digest, mode: Mode::Monitor, verdict: "allow".into(), message, findings };
    Event::Command(CommandEvent {
        subject,
        sequence: 3,
        kind: "sql".into(),
        phase: "execute".into(),
        text: "update t set c = 1".into(),
        rewrite: None,
        facts: Arc::new(Facts { fingerprint: "f".into(), sql: Ok(vec![statement]) }),
        parameters: vec!["1".into()],
        reason: None,
        outcome: "allow".into(),
        message: None,
        answers: vec![answer],
        approval: Some("a1".into()),
        micros: 7,
    })
}

fn finish(subject: Arc<Subject>) -> Event {
    let (tag, masked_by, error) = ("UPDATE 1".into(), vec!["p".into()], Some("42P01".into()));
    Event::Finish(FinishEvent { subject, sequence: 3, tag, rows: 1, bytes: 2, masked: 3, masked_by, micros: 4, error })
}

fn checkpoint(number: u64) -> Checkpoint {
    let (log, hash, key, signature) = ("l".into(), "ab".into(), "k".into(), "s".into());
    Checkpoint { log, number, at_ms: 9, hash, key, signature }
}

impl AuditReader for Fake {
    fn sessions(&self, before: Option<u64>, limit: usize) -> Result<Vec<RecordedSession>, AuditError> {
        self.note(format!("sessions {before:?} {limit}"));
        let numbers = (1..before.unwrap_or(EVENTS + 1)).rev().filter(|number| number % 8 == 1);
        let session = |number| RecordedSession { opening: event(number), ended: Some("client left".into()) };
        Ok(numbers.take(limit).map(session).collect())
    }

    fn session(&self, id: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, AuditError> {
        self.note(format!("session {id} {after} {limit}"));
        match id {
            "s1" => Ok((after + 1..=EVENTS).take(limit).map(event).collect()),
            "broken" => Err(AuditError::Write("the disk is full".into())),
            "panics" => panic!("a panic in the store"),
            _ => Ok(vec![]),
        }
    }

    fn search(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Found, AuditError> {
        self.note(format!("search {before:?} {limit}"));
        let numbers: Vec<u64> = (1..before.unwrap_or(EVENTS + 1)).rev().take(limit).collect();
        let next = numbers.last().copied().filter(|number| *number > 1);
        let events = numbers.into_iter().map(event).filter(|event| filter.passes(event)).collect();
        Ok(Found { events, next })
    }

    fn export(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, AuditError> {
        self.note(format!("export {after} {limit}"));
        // Few of them fill a page, and no more are given than are 16 MiB.
        let chained = |number| ChainedEvent { stored: event(number), encoded: "A".repeat(100_000), hash: "ab".into() };
        Ok((after + 1..=EVENTS).take(limit.min(168)).map(chained).collect())
    }

    fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, AuditError> {
        self.note(format!("checkpoints {after} {limit}"));
        Ok((after + 1..=EVENTS).filter(|number| number % 100 == 0).take(limit).map(checkpoint).collect())
    }

    fn head(&self) -> Result<Head, AuditError> {
        let (log, public_key, hash) = ("l".into(), "k".into(), "ab".into());
        Ok(Head { log, public_key, base: 0, origin: checkpoint(0), last: EVENTS, checkpoint: 1200, hash })
    }

    fn grown(&self, _: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }

    fn checkpointed(&self, _: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// An open request.
pub(super) fn view(number: u64, id: &str) -> ApprovalView {
    let terms = Terms {
        any_of: vec!["dba".into()],
        quorum: 2,
        ttl_seconds: 900,
        reuse: Reuse::SameCommand,
        reason: "it <drops> a table".into(),
    };
    ApprovalView {
        number,
        id: id.into(),
        state: ApprovalState::Open,
        session: "s1".into(),
        sequence: 3,
        principal: "ann".into(),
        target: "orders".into(),
        text: "drop table t\u{202e} --<script>".into(),
        digest: "d".into(),
        parameters: vec!["a&b".into()],
        demands: vec![Demand { policy: "p".into(), terms }],
        approvers: vec![],
        broken_glass: false,
        waiting: true,
        opened_ms: 1,
        expires_ms: 2_000_000_000_000,
        reason: None,
        decided: None,
    }
}

impl ApprovalDesk for Fake {
    fn list(&self, all: bool, before: Option<u64>, limit: usize) -> Result<Vec<ApprovalView>, ApprovalError> {
        self.note(format!("list {all} {before:?} {limit}"));
        let views = self.approvals.lock().unwrap();
        let wanted = |view: &&ApprovalView| {
            (all || view.state == ApprovalState::Open) && before.is_none_or(|before| view.number < before)
        };
        Ok(views.iter().rev().filter(wanted).take(limit).cloned().collect())
    }

    fn show(&self, id: &str) -> Result<ApprovalView, ApprovalError> {
        match id {
            "own" => return Err(ApprovalError::OwnRequest("rita".into())),
            "other" => return Err(ApprovalError::NotAReviewer { reviewer: "rita".into(), groups: "dba".into() }),
            "ended" => return Err(ApprovalError::NotOpen { id: id.into(), state: "expired".into() }),
            "twice" => return Err(ApprovalError::Repeated("rita".into())),
            "disk" => return Err(ApprovalError::Store("the disk is full".into())),
            _ => {}
        }
        let views = self.approvals.lock().unwrap();
        views.iter().find(|view| view.id == id).cloned().ok_or_else(|| ApprovalError::Unknown(id.into()))
    }

    fn approve(&self, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError> {
        self.decide("approve", id, reviewer, words)
    }

    fn deny(&self, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError> {
        self.decide("deny", id, reviewer, words)
    }

    fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        let mut changes = self.changes.subscribe();
        Box::pin(async move { *changes.wait_for(|count| *count != seen).await.unwrap() })
    }
}
