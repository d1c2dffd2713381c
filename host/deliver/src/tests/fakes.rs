//! A log, its cursors and a desk of approvals, in memory.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use portcullis_verdict::{
    ApprovalDesk, ApprovalError, ApprovalEvent, ApprovalState, ApprovalView, AuditError, AuditReader, ChainedEvent,
    Checkpoint, CommandEvent, Cursors, Effects, Event, Facts, Filter, Found, Head, RecordedSession, Reviewer,
    SqlStatement, Stats, StoredEvent, Subject, Words,
};
use tokio::sync::watch;

use super::PATIENCE;
use crate::Services;

pub(super) struct Log {
    state: Mutex<State>,
    /// How often cursors or the log changed, for those who wait in a test.
    changed: Condvar,
    /// The last event and the last one with a checkpoint.
    progress: watch::Sender<(u64, u64)>,
    pub(super) stats: Arc<Stats>,
    /// Readings of the log.
    pub(super) reads: AtomicU64,
}

#[derive(Default)]
struct State {
    events: Vec<ChainedEvent>,
    checkpoints: Vec<Checkpoint>,
    base: u64,
    cursors: HashMap<String, u64>,
    views: HashMap<String, ApprovalView>,
    /// Reading, or keeping cursors, fails so many times.
    read_failures: u32,
    cursor_failures: u32,
}

pub(super) fn subject() -> Arc<Subject> {
    Arc::new(Subject { session: "s1".into(), principal: "ann".into(), target: "orders".into() })
}

pub(super) fn command(text: &str) -> Event {
    let statement = SqlStatement { verb: "SELECT".into(), effects: Effects::READ, ..SqlStatement::default() };
    Event::Command(CommandEvent {
        subject: subject(),
        sequence: 1,
        kind: "sql".into(),
        phase: "execute".into(),
        text: text.into(),
        rewrite: None,
        facts: Arc::new(Facts { fingerprint: "f".into(), sql: Ok(vec![statement]) }),
        parameters: Vec::new(),
        reason: None,
        outcome: "allow".into(),
        message: None,
        answers: Vec::new(),
        approval: None,
        micros: 1,
    })
}

pub(super) fn approval(what: &'static str, id: &str) -> Event {
    Event::Approval(ApprovalEvent {
        subject: subject(),
        sequence: 1,
        approval: id.into(),
        what: what.into(),
        by: String::new(),
        reason: String::new(),
        via: String::new(),
    })
}

pub(super) fn view(id: &str, principal: &str) -> ApprovalView {
    ApprovalView {
        number: 1,
        id: id.into(),
        state: ApprovalState::Open,
        session: "s1".into(),
        sequence: 1,
        principal: principal.into(),
        target: "orders".into(),
        text: "drop table t".into(),
        digest: format!("digest of {id}"),
        parameters: Vec::new(),
        demands: Vec::new(),
        approvers: Vec::new(),
        broken_glass: false,
        waiting: true,
        opened_ms: now_ms(),
        expires_ms: now_ms() + 600_000,
        reason: None,
        decided: None,
    }
}

pub(super) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn signed(number: u64) -> Checkpoint {
    let (log, key, signature) = ("ab".repeat(16), "cd".repeat(32), "ef".repeat(64));
    Checkpoint { log, number, at_ms: now_ms(), hash: hash(number), key, signature }
}

fn hash(number: u64) -> String {
    format!("{number:064x}")
}

impl Log {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            progress: watch::Sender::new((0, 0)),
            stats: Arc::default(),
            reads: AtomicU64::new(0),
        })
    }

    /// A log with so many commands.
    pub(super) fn of(count: usize) -> Arc<Self> {
        let log = Self::new();
        log.commands(count);
        log
    }

    pub(super) fn services(self: &Arc<Self>) -> Services {
        Services { audit: self.clone(), cursors: self.clone(), approvals: self.clone(), stats: self.stats.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn append(&self, event: Event) {
        self.append_at(now_ms(), event);
    }

    pub(super) fn append_at(&self, at_ms: u64, event: Event) {
        let mut state = self.state();
        let number = state.base + state.events.len() as u64 + 1;
        let stored = StoredEvent { number, at_ms, event };
        state.events.push(ChainedEvent { stored, encoded: "AAAA".into(), hash: hash(number) });
        drop(state);
        self.progress.send_modify(|progress| progress.0 = number);
    }

    pub(super) fn commands(&self, count: usize) {
        (0..count).for_each(|n| self.append(command(&format!("select {n}"))));
    }

    pub(super) fn checkpoint(&self) {
        let mut state = self.state();
        let number = state.base + state.events.len() as u64;
        state.checkpoints.push(signed(number));
        drop(state);
        self.progress.send_modify(|progress| progress.1 = number);
    }

    /// Removes the events up to this one.
    pub(super) fn prune(&self, number: u64) {
        let mut state = self.state();
        state.events.retain(|event| event.stored.number > number);
        state.checkpoints.retain(|checkpoint| checkpoint.number > number);
        state.base = number;
    }

    pub(super) fn opened(&self, view: ApprovalView) {
        self.state().views.insert(view.id.clone(), view);
    }

    pub(super) fn fail(&self, readings: u32, cursors: u32) {
        let mut state = self.state();
        (state.read_failures, state.cursor_failures) = (readings, cursors);
    }

    pub(super) fn failures(&self) -> u64 {
        self.stats.delivery_failures.load(Ordering::Relaxed)
    }

    /// From now on it calls those who wait at once.
    pub(super) fn close(&self) {
        self.progress.send_replace((u64::MAX, u64::MAX));
    }

    /// Waits until a cursor has come this far.
    pub(super) fn await_cursor(&self, name: &str, number: u64) {
        let behind = |state: &mut State| state.cursors.get(name).is_none_or(|at| *at < number);
        let (state, waited) = self.changed.wait_timeout_while(self.state(), PATIENCE, behind).unwrap();
        assert!(!waited.timed_out(), "{name} came to {:?} and not to {number}", state.cursors.get(name));
    }

    /// Waits until so many failures were counted.
    pub(super) fn await_failures(&self, count: u64) {
        let until = std::time::Instant::now() + PATIENCE;
        while self.failures() < count {
            assert!(std::time::Instant::now() < until, "{} failures instead of {count}", self.failures());
            std::thread::yield_now();
        }
    }

    pub(super) fn set(&self, name: &str, number: u64) {
        self.state().cursors.insert(name.into(), number);
    }

    pub(super) fn at(&self, name: &str) -> Option<u64> {
        self.state().cursors.get(name).copied()
    }
}

fn fails(left: &mut u32) -> Result<(), AuditError> {
    let fails = *left > 0;
    *left = left.saturating_sub(1);
    if fails { Err(AuditError::Write("the disk is on fire".into())) } else { Ok(()) }
}

impl AuditReader for Log {
    fn sessions(&self, _: Option<u64>, _: usize) -> Result<Vec<RecordedSession>, AuditError> {
        unreachable!("deliveries do not ask for sessions")
    }

    fn session(&self, _: &str, _: u64, _: usize) -> Result<Vec<StoredEvent>, AuditError> {
        unreachable!("deliveries do not ask for sessions")
    }

    fn search(&self, _: &Filter, _: Option<u64>, _: usize) -> Result<Found, AuditError> {
        unreachable!("deliveries do not search")
    }

    fn export(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, AuditError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        fails(&mut state.read_failures)?;
        Ok(state.events.iter().filter(|event| event.stored.number > after).take(limit).cloned().collect())
    }

    fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, AuditError> {
        Ok(self.state().checkpoints.iter().filter(|c| c.number > after).take(limit).cloned().collect())
    }

    fn head(&self) -> Result<Head, AuditError> {
        let state = self.state();
        let last = state.base + state.events.len() as u64;
        let checkpoint = state.checkpoints.last().map_or(0, |c| c.number);
        let (log, public_key) = ("ab".repeat(16), "cd".repeat(32));
        Ok(Head { log, public_key, base: state.base, origin: signed(state.base), last, checkpoint, hash: hash(last) })
    }

    fn grown(&self, after: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.progressed(move |(last, _)| last > after)
    }

    fn checkpointed(&self, after: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.progressed(move |(_, checkpoint)| checkpoint > after)
    }
}

impl Log {
    fn progressed(
        &self,
        enough: impl Fn((u64, u64)) -> bool + Send + Sync + 'static,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut progress = self.progress.subscribe();
        Box::pin(async move {
            let _ = progress.wait_for(|progress| enough(*progress)).await;
        })
    }
}

impl Cursors for Log {
    fn cursor(&self, name: &str) -> Result<Option<u64>, AuditError> {
        Ok(self.state().cursors.get(name).copied())
    }

    fn set_cursor(&self, name: &str, number: u64) -> Result<(), AuditError> {
        let mut state = self.state();
        fails(&mut state.cursor_failures)?;
        state.cursors.insert(name.into(), number);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }
}

impl ApprovalDesk for Log {
    fn list(&self, _: bool, _: Option<u64>, _: usize) -> Result<Vec<ApprovalView>, ApprovalError> {
        unreachable!("deliveries do not list")
    }

    fn show(&self, id: &str) -> Result<ApprovalView, ApprovalError> {
        self.state().views.get(id).cloned().ok_or_else(|| ApprovalError::Unknown(id.into()))
    }

    fn approve(&self, _: &str, _: &Reviewer, _: &Words) -> Result<ApprovalView, ApprovalError> {
        unreachable!("deliveries do not decide")
    }

    fn deny(&self, _: &str, _: &Reviewer, _: &Words) -> Result<ApprovalView, ApprovalError> {
        unreachable!("deliveries do not decide")
    }

    fn changed(&self, _: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        unreachable!("deliveries follow the log")
    }
}
