//! Requests that wait for people, and the grants that serve later commands.
//!
//! A request is open while it is in [`State::open`], and only there. Whoever takes it out under the lock has decided how it ends:
//! reviewer, client, clock and shutdown race for nothing else. The outcome is handed to the waiting commands once it is durable.
//!
//! Most requests live as long as their client waits. One whose every demand may be reused outlives it: clients come and go, and restarts
//! pass, until people decide or its time is up. Since leaving them open costs nothing, nobody may have more than a share.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_verdict::{
    ApprovalError, ApprovalEvent, ApprovalOutcome, ApprovalRequest, ApprovalState, ApprovalView, Event, Grant, Hold,
    Reviewer, Stats, Subject, Words,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::file::{File, LIST_BYTES};
use crate::queue::{Item, Queue, Refused};
use crate::request::{self, Key, Record};
use crate::start::STOPPED;

/// What an identifier is written in: no letter that could be read as a digit.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The most memory for the commands of all open requests, in bytes.
const OPEN_BYTES: usize = 64 << 20;

/// Each principal may have this part of the open requests, and of their memory.
const SHARE: usize = 10;

const BROKEN_GLASS: &str = "broken-glass";
const EXPIRED: &str = "nobody decided in time";
const LEFT: &str = "the client cancelled or left";

pub(crate) struct Desk {
    queue: Arc<Queue>,
    file: Arc<File>,
    max_open: usize,
    /// Counts what happened to requests.
    changes: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<Arc<str>, Entry>,
    reusable: HashMap<Key, Vec<Granted>>,
    next: u64,
    closed: bool,
}

/// An open request.
struct Entry {
    record: Record,
    /// What the waiting clients listen to. They are told if it goes without an outcome.
    outcome: watch::Sender<Option<ApprovalOutcome>>,
    /// Clients that wait.
    waiting: usize,
    /// The memory of its texts.
    weight: usize,
}

type Ended = watch::Receiver<Option<ApprovalOutcome>>;

/// An approved request that serves later commands, once it is durable.
struct Granted {
    record: Record,
    ended: Ended,
}

type Then = Box<dyn FnOnce() + Send>;

impl Desk {
    pub(crate) fn new(queue: Arc<Queue>, file: Arc<File>, max_open: usize) -> Self {
        Self { queue, file, max_open, changes: watch::Sender::new(0), state: Mutex::default() }
    }

    /// Takes over what an earlier run left: grants, and requests that outlive their client.
    pub(crate) fn load(&self, reusable: Vec<Record>, open: Vec<Record>, next: u64) {
        let mut state = self.lock();
        state.next = next;
        for record in reusable {
            let (_, ended) = watch::channel(Some(ApprovalOutcome::Granted(record.grants())));
            state.add_reusable(record, ended);
        }
        state.open.extend(open.into_iter().map(|record| (record.id.clone(), Entry::new(record))));
    }

    pub(crate) fn request(self: &Arc<Self>, request: ApprovalRequest) -> Result<Hold, ApprovalError> {
        let now = self.queue.now_ms();
        let mut state = self.lock();
        self.sweep(&mut state, now);
        if let Some(hold) = state.served(&request) {
            return Ok(hold);
        }
        let (subject, sequence) = (Arc::new(request.session.subject()), request.sequence);
        if let Some(entry) = state.open.values_mut().find(|entry| entry.record.can_be_joined_by(&request)) {
            let joined = ApprovalEvent { subject: subject.clone(), sequence, ..event(&entry.record, "joined") };
            self.push(joined, None, None)?;
            return Ok(self.hold(entry, subject, sequence, now));
        }
        if state.closed {
            return Err(stopping());
        }
        let id: Arc<str> = new_id(state.next).into();
        // Only one that an earlier version made could be the same. No command may rest on another's request.
        if state.open.contains_key(&id) {
            return Err(ApprovalError::Store("its identifier is taken; try again".into()));
        }
        let record = Record::open(id.clone(), state.next, request, now)?;
        state.check_room(&record, self.max_open)?;
        self.push(event(&record, "requested"), Some(&record), None)?;
        state.next += 1;
        let entry = state.open.entry(id).or_insert_with(|| Entry::new(record));
        Ok(self.hold(entry, subject, sequence, now))
    }

    pub(crate) fn approve(&self, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError> {
        let what = if words.break_glass { BROKEN_GLASS } else { "approved" };
        let approve = |record: &Record| record.approve(reviewer, words, self.queue.now_ms());
        self.decide(self.swept(), &canonical(id), reviewer, words, what, approve)
    }

    pub(crate) fn deny(&self, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError> {
        let (id, state) = (canonical(id), self.swept());
        if state.granted(&id).is_some() {
            return self.revoke(state, &id, reviewer, words);
        }
        self.decide(state, &id, reviewer, words, "denied", |record| record.deny(reviewer, words))
    }

    /// The requests, newest first, bounded in number and in bytes; only the open ones unless `all`.
    pub(crate) fn list(
        &self,
        all: bool,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ApprovalView>, ApprovalError> {
        let state = self.swept();
        if !all {
            let listed = |entry: &&Entry| before.is_none_or(|before| entry.record.number < before);
            let mut entries: Vec<&Entry> = state.open.values().filter(listed).collect();
            entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.record.number));
            let mut bytes = 0;
            let fits = |entry: &&Entry| {
                let is_first = bytes == 0;
                bytes += entry.record.command_bytes();
                is_first || bytes <= LIST_BYTES
            };
            return Ok(entries.into_iter().take(limit).take_while(fits).map(Entry::view).collect());
        }
        drop(state);
        self.queue.flush().map_err(stored)?;
        let mut views = self.file.approvals(before, limit).map_err(unreadable)?;
        // Who waits is not in the file.
        let state = self.lock();
        for view in &mut views {
            if let Some(entry) = state.open.get(&*view.id) {
                *view = entry.view();
            }
        }
        Ok(views)
    }

    pub(crate) fn show(&self, id: &str) -> Result<ApprovalView, ApprovalError> {
        let id = canonical(id);
        if let Some(entry) = self.swept().open.get(&*id) {
            return Ok(entry.view());
        }
        self.stored(id).map(|record| record.view())
    }

    pub(crate) fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        let mut changes = self.changes.subscribe();
        Box::pin(async move {
            let count = changes.wait_for(|count| *count != seen).await.map(|count| *count);
            match count {
                Ok(count) => count,
                // The desk is gone, and nothing changes any more.
                Err(_) => std::future::pending().await,
            }
        })
    }

    /// Withdraws what does not outlive its client, and lets go of the rest, which the file keeps; nothing opens any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let open: Vec<Entry> = state.open.drain().map(|(_, entry)| entry).collect();
        for entry in open.into_iter().filter(|entry| !entry.record.stays_open()) {
            self.end(entry, ApprovalState::Withdrawn, "withdrawn", STOPPED);
        }
    }

    /// One more client waits for the request.
    fn hold(self: &Arc<Self>, entry: &mut Entry, subject: Arc<Subject>, sequence: u64, now: u64) -> Hold {
        let record = &entry.record;
        entry.waiting += 1;
        let waiter = Waiter { desk: self.clone(), id: record.id.clone(), subject, sequence };
        let deadline = Instant::now() + Duration::from_millis(record.expires_ms.saturating_sub(now));
        Hold {
            id: record.id.clone(),
            demands: record.unmet(),
            expires_ms: record.expires_ms,
            stays_open: record.stays_open(),
            outcome: Box::pin(wait(waiter, entry.outcome.subscribe(), deadline)),
        }
    }

    /// Puts a decision into the record and into force, or tells why it does not count.
    fn decide(
        &self,
        state: MutexGuard<'_, State>,
        id: &str,
        reviewer: &Reviewer,
        words: &Words,
        what: &'static str,
        decision: impl FnOnce(&Record) -> Result<Record, ApprovalError>,
    ) -> Result<ApprovalView, ApprovalError> {
        let mut state = self.open_for_decision(state, id, words)?;
        let Some(entry) = state.open.get_mut(id) else { return Err(ApprovalError::Unknown(id.into())) };
        let record = decision(&entry.record)?;
        let outcome = request::outcome(&record, reviewer, words);
        let ended = outcome.is_some();
        let then = outcome.map(|outcome| {
            let waiting = entry.outcome.clone();
            Box::new(move || drop(waiting.send_replace(Some(outcome)))) as Then
        });
        let ticket = self.push(decided(&record, what, reviewer, words), Some(&record), then)?;
        if what == BROKEN_GLASS {
            Stats::bump(&self.queue.stats().glass_broken);
            let (approval, principal, target) = (&*record.id, &*record.principal, &*record.target);
            tracing::warn!(by = reviewer.name, approval, principal, target, "an approval was given by breaking glass");
        }
        let view = if ended {
            let view = record.view();
            if record.is_reusable() {
                let ended = entry.outcome.subscribe();
                state.add_reusable(record, ended);
            }
            state.open.remove(id);
            view
        } else {
            entry.record = record;
            entry.view()
        };
        drop(state);
        self.settle(ticket, view)
    }

    /// Takes back a grant that would serve later commands. Those that it let go run on.
    fn revoke(
        &self,
        mut state: MutexGuard<'_, State>,
        id: &str,
        reviewer: &Reviewer,
        words: &Words,
    ) -> Result<ApprovalView, ApprovalError> {
        if state.closed {
            return Err(stopping());
        }
        let Some(granted) = state.granted(id) else { return Err(ApprovalError::Unknown(id.into())) };
        let record = granted.deny(reviewer, words)?;
        let ticket = self.push(decided(&record, "revoked", reviewer, words), Some(&record), None)?;
        state.forget(&record);
        drop(state);
        self.settle(ticket, record.view())
    }

    /// The lock, held over a request that is open.
    fn open_for_decision<'a>(
        &self,
        state: MutexGuard<'a, State>,
        id: &str,
        words: &Words,
    ) -> Result<MutexGuard<'a, State>, ApprovalError> {
        if state.closed {
            return Err(stopping());
        }
        if state.open.contains_key(id) {
            return Ok(state);
        }
        drop(state);
        let record = self.stored(id.into())?;
        record.check_link(words)?;
        let state = format!("{:?}", record.state).to_lowercase();
        Err(ApprovalError::NotOpen { id: record.id.to_string(), state })
    }

    /// A request as the file has it, which is how it ended if it is not open any more.
    fn stored(&self, id: String) -> Result<Record, ApprovalError> {
        self.queue.flush().map_err(stored)?;
        self.file.approval(&id).map_err(unreadable)?.ok_or(ApprovalError::Unknown(id))
    }

    /// Queues an event, with the request as it stands after it if that has changed.
    fn push(&self, event: ApprovalEvent, record: Option<&Record>, then: Option<Then>) -> Result<u64, ApprovalError> {
        let mut item = Item::new(Event::Approval(event));
        item.record = record.cloned().map(Box::new);
        item.then = then;
        let ticket = self.queue.push(item).map_err(|refused| match refused {
            Refused::Full(_) => ApprovalError::Store("too many events wait for the disk; try again".into()),
            Refused::Failed(error) => stored(error),
        })?;
        self.changes.send_modify(|count| *count += 1);
        Ok(ticket)
    }

    /// As [`Desk::push`], for what needs no room and no working disk: it only closes a door, once for each request and client that was
    /// taken in.
    fn push_settled(&self, event: ApprovalEvent, record: Option<Record>) {
        let mut item = Item::new(Event::Approval(event));
        item.record = record.map(Box::new);
        self.queue.push_settled(item);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Waits until a decision is durable. One that is not yet still holds, and takes effect when it is.
    fn settle(&self, ticket: u64, view: ApprovalView) -> Result<ApprovalView, ApprovalError> {
        match self.queue.wait(ticket) {
            Ok(()) => Ok(view),
            Err(error) => Err(ApprovalError::Store(format!("{error}; the decision takes effect when it can be"))),
        }
    }

    /// A waiting client gives up.
    fn leave(&self, waiter: &Waiter) {
        let mut state = self.lock();
        match state.open.get_mut(&waiter.id) {
            Some(entry) if entry.record.stays_open() => {
                entry.waiting = entry.waiting.saturating_sub(1);
                let (subject, sequence) = (waiter.subject.clone(), waiter.sequence);
                let left = ApprovalEvent { subject, sequence, reason: LEFT.into(), ..event(&entry.record, "left") };
                self.push_settled(left, None);
            }
            _ => self.end_if_open(state, &waiter.id, ApprovalState::Withdrawn, "withdrawn", LEFT),
        }
    }

    /// A client's clock says that the time is up.
    fn expire(&self, id: &str) {
        self.end_if_open(self.lock(), id, ApprovalState::Expired, "expired", EXPIRED);
    }

    /// Ends this request, unless something else has ended it already.
    fn end_if_open(
        &self,
        mut state: MutexGuard<'_, State>,
        id: &str,
        to: ApprovalState,
        what: &'static str,
        why: &str,
    ) {
        if let Some(entry) = state.open.remove(id) {
            self.end(entry, to, what, why);
        }
    }

    /// Ends a request that nobody decided.
    fn end(&self, entry: Entry, to: ApprovalState, what: &'static str, why: &str) {
        let mut record = entry.record;
        record.state = to;
        record.decided = Some(why.into());
        let ended = ApprovalEvent { reason: why.into(), ..event(&record, what) };
        self.push_settled(ended, Some(record));
        if to == ApprovalState::Expired {
            entry.outcome.send_replace(Some(ApprovalOutcome::Expired));
        }
    }

    /// Ends what has expired.
    pub(crate) fn expire_overdue(&self) {
        drop(self.swept());
    }

    /// The lock, with nothing under it that has expired.
    fn swept(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        self.sweep(&mut state, self.queue.now_ms());
        state
    }

    /// Ends what has expired: a timer may be late, a client's future may not be polled, and there may be no client.
    fn sweep(&self, state: &mut State, now: u64) {
        for (_, entry) in state.open.extract_if(|_, entry| entry.record.expires_ms <= now) {
            self.end(entry, ApprovalState::Expired, "expired", EXPIRED);
        }
        state.reusable.retain(|_, grants| {
            grants.retain(|granted| granted.record.expires_ms > now);
            !grants.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there is room for one more open request: among all, and in its principal's share.
    fn check_room(&self, record: &Record, max_open: usize) -> Result<(), ApprovalError> {
        let weight = record.weight();
        let (mut bytes, mut own, mut own_bytes) = (weight, 1, weight);
        for entry in self.open.values() {
            bytes += entry.weight;
            if entry.record.principal == record.principal {
                own += 1;
                own_bytes += entry.weight;
            }
        }
        let (most_own, most_own_bytes) = ((max_open / SHARE).max(1), OPEN_BYTES / SHARE);
        let principal = || record.principal.clone();
        if self.open.len() >= max_open {
            Err(ApprovalError::TooMany(max_open))
        } else if own > most_own {
            Err(ApprovalError::TooManyOfPrincipal { principal: principal(), most: most_own })
        } else if own_bytes > most_own_bytes {
            Err(ApprovalError::TooMuchTextOfPrincipal { principal: principal(), most: most_own_bytes })
        } else if bytes > OPEN_BYTES {
            Err(ApprovalError::TooMuchText(OPEN_BYTES))
        } else {
            Ok(())
        }
    }

    fn add_reusable(&mut self, record: Record, ended: Ended) {
        self.reusable.entry(record.key()).or_default().push(Granted { record, ended });
    }

    /// The approved request with this identifier, if it serves later commands.
    fn granted(&self, id: &str) -> Option<&Record> {
        self.reusable.values().flatten().map(|granted| &granted.record).find(|record| *record.id == *id)
    }

    /// Lets no later command rest on this request any more.
    fn forget(&mut self, record: &Record) {
        if let Some(grants) = self.reusable.get_mut(&record.key()) {
            grants.retain(|granted| granted.record.id != record.id);
        }
    }

    /// A hold on an earlier grant, if one serves the request. It waits for no more than the disk.
    fn served(&self, request: &ApprovalRequest) -> Option<Hold> {
        let granted = self.reusable.get(&Key::of(request))?.iter();
        let (Granted { record, ended }, grants) =
            granted.filter_map(|granted| Some((granted, granted.record.covers(&request.demands)?))).next()?;
        if grants.is_empty() {
            return None;
        }
        Some(Hold {
            id: record.id.clone(),
            demands: Vec::new(),
            expires_ms: record.expires_ms,
            stays_open: true,
            outcome: Box::pin(rest_on(ended.clone(), grants)),
        })
    }
}

impl Entry {
    fn new(record: Record) -> Self {
        Self { weight: record.weight(), record, outcome: watch::Sender::new(None), waiting: 0 }
    }

    fn view(&self) -> ApprovalView {
        ApprovalView { waiting: self.waiting > 0, ..self.record.view() }
    }
}

/// A client that waits for a request. Dropping it tells that the client has left.
struct Waiter {
    desk: Arc<Desk>,
    id: Arc<str>,
    subject: Arc<Subject>,
    sequence: u64,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.desk.leave(self);
    }
}

/// Waits for the end of a request. The clock may end it only while it is open; once someone has decided, the decision counts.
async fn wait(waiter: Waiter, mut ended: Ended, deadline: Instant) -> ApprovalOutcome {
    match tokio::time::timeout_at(deadline, outcome(&mut ended)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            waiter.desk.expire(&waiter.id);
            outcome(&mut ended).await
        }
    }
}

/// Waits until an earlier grant is durable.
async fn rest_on(mut ended: Ended, grants: Vec<Grant>) -> ApprovalOutcome {
    match outcome(&mut ended).await {
        ApprovalOutcome::Granted(_) => ApprovalOutcome::Granted(grants),
        other => other,
    }
}

async fn outcome(ended: &mut Ended) -> ApprovalOutcome {
    let outcome = ended.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
    // Without one, every sender is gone: the store was closed, or its writer has stopped.
    outcome.unwrap_or_else(|| ApprovalOutcome::Denied {
        by: "portcullis".into(),
        reason: "the gateway's store was closed".into(),
    })
}

/// What happened to a request; the opener's session is the one it is about.
fn event(record: &Record, what: &'static str) -> ApprovalEvent {
    ApprovalEvent {
        subject: Arc::new(record.subject()),
        sequence: record.sequence,
        approval: record.id.clone(),
        what: what.into(),
        by: String::new(),
        reason: String::new(),
        via: String::new(),
    }
}

/// What a reviewer made of a request.
fn decided(record: &Record, what: &'static str, reviewer: &Reviewer, words: &Words) -> ApprovalEvent {
    let (by, reason) = (reviewer.name.clone(), request::bounded(&words.reason).to_owned());
    ApprovalEvent { by, reason, via: request::via(words), ..event(record, what) }
}

fn stored(error: portcullis_verdict::AuditError) -> ApprovalError {
    ApprovalError::Store(error.to_string())
}

fn unreadable(error: crate::file::FileError) -> ApprovalError {
    ApprovalError::Store(error.to_string())
}

fn stopping() -> ApprovalError {
    ApprovalError::Store("the gateway is stopping".into())
}

/// Five random characters, so that one among a thousand open requests is not guessed, and then the request's number, so that no two
/// are alike, whatever the file holds: nobody waits for the disk for an identifier.
fn new_id(number: u64) -> String {
    let random = uuid::Uuid::new_v4();
    // The first four bytes of a version 4 UUID are random; its version and variant come later.
    let bits = random.as_bytes().iter().take(4).fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let digits = (64 - number.leading_zeros()).div_ceil(5);
    let letters = (0..5).map(|i| bits >> (5 * i)).chain((0..digits).rev().map(|i| number >> (5 * i)));
    letters.filter_map(|bits| ALPHABET.get((bits & 31) as usize)).map(|c| *c as char).collect()
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
