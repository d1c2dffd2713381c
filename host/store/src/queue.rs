//! Between the appenders and the writer: a bounded queue, and how far the writer has come.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portcullis_verdict::{Appended, AuditError, Event, Receipt, Stats, SystemEvent};
use tokio::sync::{Notify, oneshot, watch};

use crate::request::Record;
use crate::store::OnFailure;

/// The texts of events that wait, in bytes. A single larger event is taken when nothing else waits.
const QUEUE_BYTES: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// How long an appender waits for room, and a caller for its change to be durable.
pub(crate) const STALL: Duration = Duration::from_secs(5);

/// An event on its way to the file, with what belongs to the same transaction.
#[derive(Default)]
pub(crate) struct Item {
    pub(crate) at_ms: u64,
    pub(crate) event: Option<Event>,
    /// The approval request as it stands after the event.
    pub(crate) record: Option<Box<Record>>,
    /// How far a consumer of the log has come.
    pub(crate) cursor: Option<(String, u64)>,
    /// Runs once the event is durable.
    pub(crate) then: Option<Box<dyn FnOnce() + Send>>,
    receipt: Option<oneshot::Sender<Result<Receipt, AuditError>>>,
}

impl Item {
    pub(crate) fn new(event: Event) -> Self {
        Self { event: Some(event), ..Self::default() }
    }

    pub(crate) fn of_cursor(name: &str, number: u64) -> Self {
        Self { cursor: Some((name.into(), number)), ..Self::default() }
    }

    fn weight(&self) -> usize {
        let record = self.record.as_ref().map_or(0, |record| record.weight());
        self.event.as_ref().map_or(0, Event::weight) + record
    }

    /// Tells whoever waits that the event is durable.
    pub(crate) fn finish(&mut self) {
        if let Some(receipt) = self.receipt.take() {
            // The appender may have left; the event is kept all the same.
            let _ = receipt.send(Ok(Receipt::accepted()));
        }
        if let Some(then) = self.then.take() {
            then();
        }
    }

    /// Tells whoever waits for a receipt that there will be none. What has been decided on approvals still holds.
    fn refuse(&mut self, error: &AuditError) -> bool {
        // As above, the appender may have left.
        self.receipt.take().is_some_and(|r| r.send(Err(error.clone())).is_ok())
    }
}

/// Why an item was not taken.
pub(crate) enum Refused {
    Full(Box<Item>),
    Failed(AuditError),
}

pub(crate) struct Queue {
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Callers that need durability wait here.
    done: Condvar,
    /// Appenders that found the queue full wait here.
    room: Notify,
    /// The last event that is durable, and the last that a checkpoint is for.
    progress: watch::Sender<(u64, u64)>,
    /// `None` makes each receipt wait for its commit.
    interval: Option<Duration>,
    on_failure: OnFailure,
    capacity: usize,
    clock: fn() -> u64,
    stats: Arc<Stats>,
}

#[derive(Default)]
struct State {
    items: Vec<Item>,
    bytes: usize,
    /// Counts the items taken; the count after a push is the item's ticket.
    accepted: u64,
    /// Counts the items that are durable.
    committed: u64,
    waiting: Waiting,
    /// Someone waits for durability: do not let the interval pass first.
    urgent: bool,
    /// Someone waits for a checkpoint.
    sign: bool,
    failed: Option<Arc<str>>,
    /// Events that could not be kept since it failed, or since there was no room: how many, and the times of the first and the last.
    lost: Option<(u64, u64, u64)>,
    closing: bool,
    /// The writer has ended and takes nothing more.
    ended: bool,
}

/// What the writer waits for. Waking it costs a system call, so appenders do it only when it changes something.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Waiting {
    #[default]
    Nothing,
    FirstItem,
    Interval,
}

impl Queue {
    pub(crate) fn new(
        (interval, on_failure): (Option<Duration>, OnFailure),
        capacity: usize,
        clock: fn() -> u64,
        stats: Arc<Stats>,
        progress: (u64, u64),
    ) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            room: Notify::new(),
            progress: watch::Sender::new(progress),
            interval,
            on_failure,
            capacity: capacity.max(1),
            clock,
            stats,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Follows how far the log has come.
    pub(crate) fn progress(&self) -> watch::Receiver<(u64, u64)> {
        self.progress.subscribe()
    }

    /// Appends as the configuration demands.
    pub(crate) fn append(self: &Arc<Self>, event: Event) -> Appended {
        let mut item = Item::new(event);
        let receipt = self.interval.is_none().then(|| {
            let (sender, receiver) = oneshot::channel();
            item.receipt = Some(sender);
            receiver
        });
        match (self.push(item), receipt) {
            (Ok(_), None) => Appended::Done(Receipt::accepted()),
            (Ok(_), Some(receipt)) => {
                let queue = self.clone();
                Appended::Pending(Box::pin(async move { received(receipt).await.or_else(|error| queue.go_on(error)) }))
            }
            (Err(Refused::Failed(error)), _) => match self.lose(&error) {
                Ok(receipt) => Appended::Done(receipt),
                Err(error) => Appended::Failed(error),
            },
            (Err(Refused::Full(item)), receipt) => {
                let queue = self.clone();
                // Whoever gives up waiting has lost the event.
                let waiting = LoseOnDrop(Some(self.clone()));
                Appended::Pending(Box::pin(async move {
                    let taken = queue.push_when_room(item).await;
                    waiting.defuse();
                    if let Err(error) = taken {
                        return queue.lose(&error);
                    }
                    match receipt {
                        Some(receipt) => received(receipt).await.or_else(|error| queue.go_on(error)),
                        None => Ok(Receipt::accepted()),
                    }
                }))
            }
        }
    }

    /// Takes an event of what has happened already. It is lost only where the gateway goes on without an audit.
    pub(crate) fn note(&self, event: Event) {
        let state = self.lock();
        match &state.failed {
            // Whoever goes on would pile them up without end.
            Some(reason) if self.on_failure == OnFailure::Continue => {
                let error = AuditError::Write(reason.to_string());
                drop(state);
                drop(self.lose(&error));
            }
            _ => self.settle_in(state, Item::new(event)),
        }
    }

    /// An event cannot be kept. That is counted, and told in the log when it can be written again; whether what the event was to record
    /// may happen all the same is for the configuration to say.
    fn lose(&self, error: &AuditError) -> Result<Receipt, AuditError> {
        Stats::bump(&self.stats.audit_failures);
        let now = (self.clock)();
        let mut state = self.lock();
        state.lost = Some(state.lost.map_or((1, now, now), |(count, first, _)| (count + 1, first, now)));
        drop(state);
        self.go_on(error.clone())
    }

    fn go_on(&self, error: AuditError) -> Result<Receipt, AuditError> {
        match self.on_failure {
            OnFailure::Refuse => Err(error),
            OnFailure::Continue => Ok(Receipt::accepted()),
        }
    }

    /// Takes an item if there is room and the sink has not failed; gives its ticket.
    pub(crate) fn push(&self, mut item: Item) -> Result<u64, Refused> {
        let weight = item.weight();
        let state = self.lock();
        state.check().map_err(Refused::Failed)?;
        let full = state.items.len() >= self.capacity || state.bytes + weight > QUEUE_BYTES;
        if full && !state.items.is_empty() {
            return Err(Refused::Full(Box::new(item)));
        }
        item.at_ms = (self.clock)();
        Ok(self.take_in(state, item, weight))
    }

    /// Takes an item that records what has happened already, however the sink fares. Its number must be bounded by the caller.
    pub(crate) fn push_settled(&self, item: Item) {
        self.settle_in(self.lock(), item);
    }

    fn settle_in(&self, state: MutexGuard<'_, State>, mut item: Item) {
        if state.ended {
            Stats::bump(&self.stats.audit_failures);
            return;
        }
        item.at_ms = (self.clock)();
        self.take_in(state, item, 0);
    }

    fn take_in(&self, mut state: MutexGuard<'_, State>, item: Item, weight: usize) -> u64 {
        state.items.push(item);
        state.bytes += weight;
        state.accepted += 1;
        let ticket = state.accepted;
        let wake = match state.waiting {
            Waiting::Nothing => false,
            Waiting::FirstItem => true,
            Waiting::Interval => self.is_half_full(&state),
        };
        if wake {
            state.waiting = Waiting::Nothing;
            drop(state);
            self.work.notify_one();
        }
        ticket
    }

    async fn push_when_room(&self, item: Box<Item>) -> Result<(), AuditError> {
        let deadline = tokio::time::Instant::now() + STALL;
        let mut item = item;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the attempt, so that room made between the two is not missed.
            room.as_mut().enable();
            item = match self.push(*item) {
                Ok(_) => return Ok(()),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Full(item)) => item,
            };
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                return Err(AuditError::Write(format!("no room for {} s; the disk is too slow", STALL.as_secs())));
            }
        }
    }

    /// Waits until everything taken so far is durable.
    pub(crate) fn flush(&self) -> Result<(), AuditError> {
        let ticket = self.lock().accepted;
        self.wait(ticket)
    }

    /// Waits until everything taken so far is durable and signed.
    pub(crate) fn flush_signed(&self) -> Result<(), AuditError> {
        self.flush()?;
        let last = self.progress.borrow().0;
        let deadline = Instant::now() + STALL;
        let mut state = self.lock();
        while self.progress.borrow().1 < last {
            state.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AuditError::Write("it is not signed yet; the disk is too slow".into()));
            }
            state.sign = true;
            self.work.notify_one();
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    pub(crate) fn take_wish_to_sign(&self) -> bool {
        std::mem::take(&mut self.lock().sign)
    }

    /// Waits until the item with this ticket is durable.
    pub(crate) fn wait(&self, ticket: u64) -> Result<(), AuditError> {
        let deadline = Instant::now() + STALL;
        let mut state = self.lock();
        while state.committed < ticket {
            if let Some(reason) = &state.failed {
                return Err(AuditError::Write(reason.to_string()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AuditError::Write(format!(
                    "it is not durable after {} s; the disk is too slow",
                    STALL.as_secs()
                )));
            }
            if !state.urgent {
                state.urgent = true;
                self.work.notify_one();
            }
            state = self.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Refuses new events; the writer ends once it has written what was taken.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
        self.room.notify_waiters();
    }

    // === the writer's side ===

    /// Waits for a batch that is due, or for a time, and swaps what there is with the empty `batch`; false when the queue is closed and
    /// empty.
    pub(crate) fn next_batch(&self, batch: &mut Vec<Item>, last_commit: Instant, until: Option<Instant>) -> bool {
        let mut state = self.lock();
        loop {
            let due = self.interval.map_or(Duration::ZERO, |i| i.saturating_sub(last_commit.elapsed()));
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if state.items.is_empty() && state.closing {
                return false;
            } else if state.sign || left.is_some_and(|left| left.is_zero()) {
                break;
            } else if state.items.is_empty() {
                state.urgent = false;
                state.waiting = Waiting::FirstItem;
                state = match left {
                    Some(left) => self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                    None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                };
            } else if due.is_zero() || state.urgent || state.closing || self.is_half_full(&state) {
                break;
            } else {
                state.waiting = Waiting::Interval;
                let due = left.map_or(due, |left| left.min(due));
                state = self.work.wait_timeout(state, due).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        state.waiting = Waiting::Nothing;
        state.urgent = false;
        state.bytes = 0;
        std::mem::swap(&mut state.items, batch);
        drop(state);
        self.room.notify_waiters();
        true
    }

    fn is_half_full(&self, state: &State) -> bool {
        state.items.len() > self.capacity / 2 || state.bytes > QUEUE_BYTES / 2
    }

    /// The batch is durable, and with it the log has come to `last`, and is signed to `checkpoint`.
    pub(crate) fn committed(&self, batch: &mut Vec<Item>, last: u64, checkpoint: u64) {
        // Before anyone can see the commit: who waited for an approval to be durable finds it in force.
        batch.iter_mut().for_each(Item::finish);
        let mut state = self.lock();
        state.committed += batch.len() as u64;
        if state.failed.take().is_some() {
            tracing::warn!("the audit log can be written again");
        }
        let lost = state.lost.take();
        drop(state);
        self.progress.send_replace((last, checkpoint));
        self.done.notify_all();
        batch.clear();
        if let Some((count, first, last)) = lost {
            let what = match self.on_failure {
                OnFailure::Refuse => "what they were to record did not happen",
                OnFailure::Continue => "what they were to record went on, as `audit.on_failure` says",
            };
            let detail = format!(
                "{count} events from {first} to {last} (milliseconds since the Unix epoch) could not be kept; {what}"
            );
            tracing::error!(detail, "events are missing in the audit log");
            self.push_settled(Item::new(Event::System(SystemEvent { what: "lost".into(), by: String::new(), detail })));
        }
    }

    /// The batch could not be written and is kept. Everything new is refused until it is.
    pub(crate) fn fail(&self, batch: &mut [Item], reason: &str) {
        let error = AuditError::Write(reason.into());
        let mut state = self.lock();
        if state.failed.is_none() {
            tracing::error!(reason, kept = batch.len() + state.items.len(), "the audit log cannot be written");
        }
        state.failed = Some(reason.into());
        let refused = batch.iter_mut().chain(&mut state.items).filter_map(|i| i.refuse(&error).then_some(())).count();
        drop(state);
        self.stats.audit_failures.fetch_add(1 + refused as u64, std::sync::atomic::Ordering::Relaxed);
        self.done.notify_all();
        self.room.notify_waiters();
    }

    /// Lets the pause before the next attempt pass; false when the queue is closed meanwhile.
    pub(crate) fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.lock();
        while !state.closing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// The writer is gone, for whatever reason: nothing is taken any more, and whoever waits is told.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        if state.failed.is_none() {
            let reason =
                if state.closing { "the store is closed" } else { "its writer has stopped; restart the gateway" };
            state.failed = Some(reason.into());
        }
        let lost = state.accepted - state.committed;
        // Dropping an item ends the waits of its receipt and of its approval.
        let items = std::mem::take(&mut state.items);
        drop(state);
        drop(items);
        if lost > 0 {
            tracing::error!(lost, "the audit log ends without events that it had taken");
            self.stats.audit_failures.fetch_add(lost, std::sync::atomic::Ordering::Relaxed);
        }
        self.done.notify_all();
        self.room.notify_waiters();
        // Whoever follows the log sees that it does not go on.
        self.progress.send_modify(|_| {});
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<(), AuditError> {
        match &self.failed {
            Some(reason) => Err(AuditError::Write(reason.to_string())),
            None if self.closing => Err(AuditError::Write("the store is closed".into())),
            None => Ok(()),
        }
    }
}

/// An event that waits for room.
struct LoseOnDrop(Option<Arc<Queue>>);

impl LoseOnDrop {
    fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for LoseOnDrop {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            // It is counted; nobody waits for the answer.
            let _ = queue.lose(&AuditError::Write("nobody waited for room".into()));
        }
    }
}

async fn received(receipt: oneshot::Receiver<Result<Receipt, AuditError>>) -> Result<Receipt, AuditError> {
    receipt.await.unwrap_or_else(|_| Err(AuditError::Write("its writer has stopped; restart the gateway".into())))
}
