//! Requests that wait for people, and the grants that serve later commands.
//!
//! A request is open while it is in [`State::open`], and only there. Whoever takes it out under the lock has decided how it ends:
//! reviewer, client, clock and shutdown race for nothing else. The outcome is handed to the waiting command once it is durable.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_verdict::{
    ApprovalError, ApprovalOutcome, ApprovalRequest, ApprovalState, ApprovalView, Demand, Event, Hold, Reviewer,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::file::File;
use crate::queue::{Item, Queue, Refused};
use crate::record::{Given, Record};

/// The most bytes of a reviewer's words that are kept.
const REASON_BYTES: usize = 1024;

/// What an identifier is written in: no letter that could be read as a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

pub(crate) struct Desk {
    queue: Arc<Queue>,
    file: Arc<File>,
    max_open: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<Arc<str>, Entry>,
    /// By principal, target and digest.
    reusable: HashMap<(String, String, String), Vec<Record>>,
    next: u64,
    closed: bool,
}

struct Entry {
    record: Record,
    outcome: Outcome,
}

type Outcome = watch::Sender<Option<ApprovalOutcome>>;

impl Desk {
    pub(crate) fn new(queue: Arc<Queue>, file: Arc<File>, max_open: usize) -> Self {
        Self { queue, file, max_open, state: Mutex::default() }
    }

    /// Takes over what an earlier run left.
    pub(crate) fn load(&self, reusable: Vec<Record>, next: u64) {
        let mut state = self.lock();
        state.next = next;
        reusable.into_iter().for_each(|record| state.add_reusable(record));
    }

    pub(crate) fn request(self: &Arc<Self>, request: ApprovalRequest) -> Result<Hold, ApprovalError> {
        let id = self.free_id()?;
        let now = self.queue.now_ms();
        let mut state = self.lock();
        self.sweep(&mut state, now);
        if let Some(hold) = state.served(&request, now) {
            return Ok(hold);
        }
        if state.closed {
            return Err(ApprovalError::Store("the gateway is stopping".into()));
        }
        if state.open.len() >= self.max_open {
            return Err(ApprovalError::TooMany(self.max_open));
        }
        let Some(ttl_seconds) = request.demands.iter().map(|d| d.terms.ttl_seconds).min() else {
            return Err(ApprovalError::Store("the request demands nothing".into()));
        };
        if state.open.contains_key(&id) {
            return Err(ApprovalError::Store("its identifier is taken; try again".into()));
        }
        let record = open_record(id.clone(), state.next, request, now, ttl_seconds);
        self.push(&record, "requested", "", "", None)?;
        state.next += 1;
        let (outcome, ended) = watch::channel(None);
        state.open.insert(id.clone(), Entry { record, outcome });
        drop(state);
        let guard = WithdrawOnDrop { desk: self.clone(), id: id.clone() };
        let deadline = Instant::now() + Duration::from_secs(ttl_seconds.into());
        Ok(Hold { id, ttl_seconds, outcome: Box::pin(wait(guard, ended, deadline)) })
    }

    pub(crate) fn approve(
        self: &Arc<Self>,
        id: &str,
        reviewer: &Reviewer,
        reason: &str,
    ) -> Result<ApprovalView, ApprovalError> {
        let id = canonical(id);
        let mut state = self.open_for_decision(&id, reviewer)?;
        let Some(entry) = state.open.get_mut(&*id) else { return Err(ApprovalError::Unknown(id)) };
        let mut record = entry.record.clone();
        if record.given.iter().any(|g| g.by == reviewer.name) {
            return Err(ApprovalError::Repeated(reviewer.name.clone()));
        }
        let unmet = |i: &usize| !record.is_met(*i);
        let demands = eligible(&record.demands, reviewer, unmet)?;
        let (by, reason) = (reviewer.name.clone(), bounded(reason));
        record.given.push(Given { by, reason: reason.clone(), at_ms: self.queue.now_ms(), demands });
        let granted = (0..record.demands.len()).all(|i| record.is_met(i));
        let mut then = None;
        if granted {
            let names: Vec<&str> = record.given.iter().map(|g| &*g.by).collect();
            record.decided = Some(format!("approved by {}", names.join(", ")));
            record.state = ApprovalState::Approved;
            then = Some(self.grant_when_durable(&record, &entry.outcome));
        }
        let ticket = self.push(&record, "approved", &reviewer.name, &reason, then)?;
        let view = record.view();
        if granted {
            state.open.remove(&*id);
        } else {
            entry.record = record;
        }
        drop(state);
        self.settle(ticket, view)
    }

    pub(crate) fn deny(&self, id: &str, reviewer: &Reviewer, reason: &str) -> Result<ApprovalView, ApprovalError> {
        let id = canonical(id);
        let mut state = self.open_for_decision(&id, reviewer)?;
        let Some(entry) = state.open.get(&*id) else { return Err(ApprovalError::Unknown(id)) };
        // Whoever may approve any part may stop the whole, also after having approved.
        eligible(&entry.record.demands, reviewer, |_| true)?;
        let (by, reason) = (reviewer.name.clone(), bounded(reason));
        let mut record = entry.record.clone();
        record.state = ApprovalState::Denied;
        record.decided =
            Some(if reason.is_empty() { format!("denied by {by}") } else { format!("denied by {by}: {reason}") });
        let outcome = entry.outcome.clone();
        let denied = ApprovalOutcome::Denied { by, reason: reason.clone() };
        let then: Box<dyn FnOnce() + Send> = Box::new(move || drop(outcome.send_replace(Some(denied))));
        let ticket = self.push(&record, "denied", &reviewer.name, &reason, Some(then))?;
        state.open.remove(&*id);
        drop(state);
        self.settle(ticket, record.view())
    }

    /// The open requests, newest first.
    pub(crate) fn list_open(&self) -> Vec<ApprovalView> {
        let mut state = self.lock();
        self.sweep(&mut state, self.queue.now_ms());
        let mut records: Vec<&Record> = state.open.values().map(|e| &e.record).collect();
        records.sort_unstable_by_key(|r| std::cmp::Reverse(r.number));
        records.into_iter().map(Record::view).collect()
    }

    /// The newest requests, ended ones too.
    pub(crate) fn list_all(&self) -> Result<Vec<ApprovalView>, ApprovalError> {
        self.sweep(&mut self.lock(), self.queue.now_ms());
        self.queue.flush().map_err(stored)?;
        self.file.approvals().map_err(|e| ApprovalError::Store(e.to_string()))
    }

    pub(crate) fn show(&self, id: &str) -> Result<ApprovalView, ApprovalError> {
        let id = canonical(id);
        {
            let mut state = self.lock();
            self.sweep(&mut state, self.queue.now_ms());
            if let Some(entry) = state.open.get(&*id) {
                return Ok(entry.record.view());
            }
        }
        self.ended(id)
    }

    /// Withdraws what is open; nothing opens any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let open: Vec<Entry> = state.open.drain().map(|(_, entry)| entry).collect();
        for entry in open {
            self.end(entry.record, ApprovalState::Withdrawn, "withdrawn", "the gateway stopped");
        }
    }

    /// The lock, held over an open request that is not the reviewer's own.
    fn open_for_decision(&self, id: &str, reviewer: &Reviewer) -> Result<MutexGuard<'_, State>, ApprovalError> {
        let mut state = self.lock();
        self.sweep(&mut state, self.queue.now_ms());
        match state.open.get(id) {
            Some(entry) if entry.record.principal == reviewer.name => {
                Err(ApprovalError::OwnRequest(reviewer.name.clone()))
            }
            Some(_) => Ok(state),
            None => {
                drop(state);
                let view = self.ended(id.into())?;
                Err(ApprovalError::NotOpen { id: view.id, state: format!("{:?}", view.state).to_lowercase() })
            }
        }
    }

    /// A request that is not open any more, from the file.
    fn ended(&self, id: String) -> Result<ApprovalView, ApprovalError> {
        self.queue.flush().map_err(stored)?;
        let record = self.file.approval(&id).map_err(|e| ApprovalError::Store(e.to_string()))?;
        record.map(|r| r.view()).ok_or(ApprovalError::Unknown(id))
    }

    fn grant_when_durable(self: &Arc<Self>, record: &Record, outcome: &Outcome) -> Box<dyn FnOnce() + Send> {
        let (desk, record, outcome) = (self.clone(), record.clone(), outcome.clone());
        Box::new(move || {
            let grants = record.grants();
            if record.is_reusable() {
                desk.lock().add_reusable(record);
            }
            outcome.send_replace(Some(ApprovalOutcome::Granted(grants)));
        })
    }

    /// Queues a request as it stands, with the event that brought it there.
    fn push(
        &self,
        record: &Record,
        what: &str,
        by: &str,
        reason: &str,
        then: Option<Box<dyn FnOnce() + Send>>,
    ) -> Result<u64, ApprovalError> {
        let mut item = step(record, what, by, reason);
        item.then = then;
        self.queue.push(item).map_err(|refused| match refused {
            Refused::Full(_) => ApprovalError::Store("too many events wait for the disk; try again".into()),
            Refused::Failed(error) => stored(error),
        })
    }

    /// Waits until a decision is durable. One that is not yet still holds, and takes effect when it is.
    fn settle(&self, ticket: u64, view: ApprovalView) -> Result<ApprovalView, ApprovalError> {
        match self.queue.wait(ticket) {
            Ok(()) => Ok(view),
            Err(error) => Err(ApprovalError::Store(format!("{}; the decision takes effect when it can be", error.0))),
        }
    }

    /// Ends a request that nobody decided. That needs no room and no working disk: it only closes a door.
    fn end(&self, mut record: Record, state: ApprovalState, what: &str, reason: &str) {
        record.state = state;
        record.decided = Some(reason.into());
        self.queue.push_settled(step(&record, what, "", reason));
    }

    /// Ends this request as withdrawn or expired, unless something else has ended it already.
    fn end_if_open(&self, id: &str, to: ApprovalState, what: &str, reason: &str) -> bool {
        let mut state = self.lock();
        match state.open.remove(id) {
            Some(entry) => {
                self.end(entry.record, to, what, reason);
                true
            }
            None => false,
        }
    }

    /// Ends what has expired: a timer may be late, and a client's future may not be polled.
    fn sweep(&self, state: &mut State, now: u64) {
        for (_, entry) in state.open.extract_if(|_, entry| entry.record.expires_ms <= now) {
            entry.outcome.send_replace(Some(ApprovalOutcome::Expired));
            self.end(entry.record, ApprovalState::Expired, "expired", EXPIRED);
        }
        state.reusable.retain(|_, records| {
            records.retain(|r| r.expires_ms > now);
            !records.is_empty()
        });
    }

    fn free_id(&self) -> Result<Arc<str>, ApprovalError> {
        loop {
            let id = new_id();
            match self.file.approval(&id) {
                Ok(None) => return Ok(id.into()),
                Ok(Some(_)) => {}
                Err(error) => return Err(ApprovalError::Store(error.to_string())),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const EXPIRED: &str = "nobody decided in time";

impl State {
    fn add_reusable(&mut self, record: Record) {
        let key = (record.principal.clone(), record.target.clone(), record.digest.clone());
        self.reusable.entry(key).or_default().push(record);
    }

    /// A hold that is granted already, if an earlier grant serves the request.
    fn served(&self, request: &ApprovalRequest, now: u64) -> Option<Hold> {
        let session = &request.session;
        let key = (session.principal.name.clone(), session.target.name.clone(), request.digest.clone());
        let records = self.reusable.get(&key)?;
        let (record, grants) = records.iter().find_map(|r| Some((r, r.covers(&request.demands)?)))?;
        if grants.is_empty() {
            return None;
        }
        let ttl_seconds = u32::try_from(record.expires_ms.saturating_sub(now) / 1000).unwrap_or(u32::MAX);
        let outcome = Box::pin(std::future::ready(ApprovalOutcome::Granted(grants)));
        Some(Hold { id: record.id.clone(), ttl_seconds, outcome })
    }
}

fn open_record(id: Arc<str>, number: u64, request: ApprovalRequest, now: u64, ttl_seconds: u32) -> Record {
    let session = &request.session;
    Record {
        number,
        id,
        state: ApprovalState::Open,
        session: session.id.clone(),
        sequence: request.sequence,
        principal: session.principal.name.clone(),
        target: session.target.name.clone(),
        text: request.text,
        digest: request.digest,
        parameters: request.parameters,
        demands: request.demands,
        given: Vec::new(),
        opened_ms: now,
        expires_ms: now.saturating_add(u64::from(ttl_seconds) * 1000),
        reason: request.reason.as_deref().map(str::to_owned),
        decided: None,
    }
}

fn step(record: &Record, what: &str, by: &str, reason: &str) -> Item {
    let mut item = Item::new(Event::Approval {
        session: record.session.clone(),
        sequence: record.sequence,
        approval: record.id.clone(),
        what: what.into(),
        by: by.into(),
        reason: reason.into(),
    });
    item.record = Some(Box::new(record.clone()));
    item
}

/// The demands that an approval by this reviewer counts for, among those that `relevant` picks.
fn eligible(
    demands: &[Demand],
    reviewer: &Reviewer,
    relevant: impl Fn(&usize) -> bool,
) -> Result<Vec<u32>, ApprovalError> {
    let relevant: Vec<(usize, &Demand)> = demands.iter().enumerate().filter(|(i, _)| relevant(i)).collect();
    let may = |d: &Demand| d.terms.any_of.iter().any(|group| reviewer.groups.contains(group));
    let counts: Vec<u32> = relevant.iter().filter(|(_, d)| may(d)).map(|(i, _)| *i as u32).collect();
    if counts.is_empty() {
        let mut groups: Vec<&str> = relevant.iter().flat_map(|(_, d)| &d.terms.any_of).map(String::as_str).collect();
        groups.sort_unstable();
        groups.dedup();
        return Err(ApprovalError::NotAReviewer { reviewer: reviewer.name.clone(), groups: groups.join(" or ") });
    }
    Ok(counts)
}

/// Waits for the end of a request. The clock may end it only while it is open; once someone has decided, the decision counts.
async fn wait(
    guard: WithdrawOnDrop,
    mut ended: watch::Receiver<Option<ApprovalOutcome>>,
    deadline: Instant,
) -> ApprovalOutcome {
    let decided = tokio::time::timeout_at(deadline, ended.wait_for(Option::is_some)).await.is_ok();
    if !decided && guard.desk.end_if_open(&guard.id, ApprovalState::Expired, "expired", EXPIRED) {
        return ApprovalOutcome::Expired;
    }
    match ended.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()) {
        Some(outcome) => outcome,
        // Every sender is gone: the store was closed, or its writer has stopped.
        None => ApprovalOutcome::Denied { by: "portcullis".into(), reason: "the gateway's store was closed".into() },
    }
}

struct WithdrawOnDrop {
    desk: Arc<Desk>,
    id: Arc<str>,
}

impl Drop for WithdrawOnDrop {
    fn drop(&mut self) {
        let reason = "the client cancelled or left";
        self.desk.end_if_open(&self.id, ApprovalState::Withdrawn, "withdrawn", reason);
    }
}

fn stored(error: portcullis_verdict::AuditError) -> ApprovalError {
    ApprovalError::Store(error.0)
}

fn bounded(reason: &str) -> String {
    reason.get(..reason.floor_char_boundary(REASON_BYTES)).unwrap_or_default().into()
}

/// Eight characters, 40 random bits: short enough to type, and one among a thousand open requests is not guessed.
fn new_id() -> String {
    let random = uuid::Uuid::new_v4();
    // The first five bytes of a version 4 UUID are random; its version and variant come later.
    let bits = random.as_bytes().iter().take(5).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    (0..8).rev().filter_map(|i| ALPHABET.get((bits >> (5 * i) & 31) as usize)).map(|c| *c as char).collect()
}

/// An identifier as people type it: in any case, with the letters that look like digits.
fn canonical(id: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        'o' => '0',
        'i' | 'l' => '1',
        c => c,
    };
    id.trim().chars().take(64).map(plain).collect()
}

#[cfg(test)]
mod tests;
