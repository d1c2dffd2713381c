//! How a consumer follows the log: it reads on from its cursor, hands over what is there, moves the cursor, and waits for more.
//!
//! The cursor moves only after the consumer has taken an item, so each arrives at least once. A failure is repeated until it succeeds,
//! ever more slowly; nothing is skipped but what the log itself does not hold any more, and what a consumer gives up by its own rules.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use portcullis_verdict::{AuditError, Checkpoint, Stats};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::Services;
use crate::item::Item;

/// How many items are read at a time.
const BATCH: usize = 500;

/// Takes what a follower reads.
pub(crate) trait Consumer: Send {
    /// Takes as many of the first items as it does in one piece, at least one, and tells how many.
    fn deliver(&mut self, items: &[Item]) -> Result<usize, Failure>;
}

/// Why something was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The same words for the same cause, since only changes are logged.
    what: String,
    kind: FailureKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureKind {
    Passing,
    Configuration,
    GivenUp,
}

impl Failure {
    /// One that may pass by itself.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), kind: FailureKind::Passing }
    }

    /// One that someone has to set right; it is tried again all the same, slowly.
    pub(crate) fn configuration(what: impl Into<String>) -> Self {
        Self { what: what.into(), kind: FailureKind::Configuration }
    }

    /// The first item is not worth another attempt.
    pub(crate) fn give_up(self) -> Self {
        Self { kind: FailureKind::GivenUp, ..self }
    }
}

/// The pauses between attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// After the first failure; doubled with each.
    pub(crate) first: Duration,
    /// The longest, and the one after a failure of the configuration.
    pub(crate) most: Duration,
    /// Between attempts to find more, when calls come in vain.
    pub(crate) idle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { first: seconds(1), most: seconds(60), idle: seconds(1) }
    }
}

impl Pace {
    /// The pause after so many failures: between half and all of what is due, so that those who failed together do not return together.
    fn pause(&self, failures: u32) -> Duration {
        let due = self.first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(self.most);
        let chance = RandomState::new().hash_one(failures) % 1024;
        due / 2 + due.mul_f64(chance as f64 / 2048.0)
    }
}

/// Waits for things, and for the end.
pub(crate) struct Signal {
    runtime: Runtime,
    stop: watch::Receiver<bool>,
}

impl Signal {
    pub(crate) fn new(stop: watch::Receiver<bool>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { runtime, stop })
    }

    fn stopped(&self) -> bool {
        // A sender that is gone stops as well.
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    fn wait(&mut self, until: impl Future<Output = ()>, most: Option<Duration>) {
        let stop = &mut self.stop;
        self.runtime.block_on(async {
            let late = async {
                match most {
                    Some(most) => tokio::time::sleep(most).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                () = until => {}
                () = late => {}
            }
        });
    }
}

/// Where a new consumer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the oldest event that is kept.
    Base,
    /// After the newest event.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Events(Start),
    Checkpoints,
}

/// How far a stream has come, for those who wait for it.
#[derive(Clone)]
pub(crate) struct Progress {
    source: Source,
    /// One more than the number of the last item that was dealt with; 0 before that is known.
    next: Arc<AtomicU64>,
}

impl Progress {
    fn new(source: Source) -> Self {
        Self { source, next: Arc::default() }
    }

    fn set(&self, number: u64) {
        self.next.store(number.saturating_add(1), Ordering::Relaxed);
    }

    /// Whether everything was dealt with up to this event or checkpoint, whichever the stream is of.
    pub(crate) fn reached(&self, event: u64, checkpoint: u64) -> bool {
        let number = match self.source {
            Source::Events(_) => event,
            Source::Checkpoints => checkpoint,
        };
        self.next.load(Ordering::Relaxed) > number
    }
}

/// A sequence of items with its cursor.
pub(crate) struct Stream {
    source: Source,
    cursor: String,
    /// The last item that was taken; none before the cursor has been read.
    at: Option<u64>,
    /// The checkpoint in which the chain begins, if the consumer has to see it first.
    origin: Option<Checkpoint>,
    progress: Progress,
}

impl Stream {
    /// The log's events, with a cursor of this name.
    pub(crate) fn events(cursor: String, start: Start) -> Self {
        Self::new(Source::Events(start), cursor)
    }

    /// The log's checkpoints, with a cursor of this name.
    pub(crate) fn checkpoints(cursor: String) -> Self {
        Self::new(Source::Checkpoints, cursor)
    }

    fn new(source: Source, cursor: String) -> Self {
        Self { source, cursor, at: None, origin: None, progress: Progress::new(source) }
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn is_of_events(&self) -> bool {
        matches!(self.source, Source::Events(_))
    }

    /// The last item that was taken.
    fn position(&mut self, consumer: &str, services: &Services) -> Result<u64, Failure> {
        if let Some(at) = self.at {
            return Ok(at);
        }
        let head = services.audit.head().map_err(unreadable)?;
        let kept = services.cursors.cursor(&self.cursor).map_err(unreadable)?;
        let at = match (self.source, kept) {
            (_, Some(at)) if at > head.last => {
                tracing::error!(
                    "{consumer} has seen event {at}, and the log ends with {}: it is not the log that was; going on with what is new",
                    head.last
                );
                head.last
            }
            (Source::Checkpoints, Some(at)) if at >= head.base => at,
            (Source::Checkpoints, _) => {
                self.origin = Some(head.origin);
                head.base
            }
            (Source::Events(_), Some(at)) => at,
            (Source::Events(start), None) => {
                let at = if start == Start::Base { head.base } else { head.last };
                services.cursors.set_cursor(&self.cursor, at).map_err(unkept)?;
                at
            }
        };
        if self.origin.is_none() {
            self.progress.set(at);
        }
        Ok(*self.at.insert(at))
    }

    fn read(&self, after: u64, services: &Services) -> Result<Vec<Item>, Failure> {
        if self.is_of_events() {
            let events = services.audit.export(after, BATCH).map_err(unreadable)?;
            return Ok(events.into_iter().map(Item::Event).collect());
        }
        let checkpoints = services.audit.checkpoints(after, BATCH).map_err(unreadable)?;
        Ok(self.origin.iter().cloned().chain(checkpoints).map(Item::Checkpoint).collect())
    }

    /// Tells, once, what was pruned before it was taken.
    fn note_gap(&mut self, consumer: &str, after: u64, items: &[Item], services: &Services) -> Result<(), Failure> {
        match items.first().map(Item::number) {
            Some(first) if first > after + 1 && self.is_of_events() => {
                let missed = first - after - 1;
                tracing::error!(
                    "{consumer} missed {missed} events, which were pruned from the log; it goes on with event {first}"
                );
                self.move_to(first - 1, services)
            }
            _ => Ok(()),
        }
    }

    /// Even if the cursor cannot be kept, what was taken is not handed over again before the next start.
    fn move_to(&mut self, number: u64, services: &Services) -> Result<(), Failure> {
        (self.at, self.origin) = (Some(number), None);
        self.progress.set(number);
        services.cursors.set_cursor(&self.cursor, number).map_err(unkept)
    }

    /// Resolves when there may be more.
    async fn grown(&self, services: &Services) {
        let after = self.at.unwrap_or_default();
        if self.is_of_events() {
            services.audit.grown(after).await;
        } else {
            services.audit.checkpointed(after).await;
        }
    }
}

fn unreadable(error: AuditError) -> Failure {
    Failure::new(error.to_string())
}

fn unkept(error: AuditError) -> Failure {
    Failure::new(format!("how far it has come cannot be kept: {error}"))
}

/// A consumer on its way along the log.
pub(crate) struct Follower {
    name: String,
    streams: Vec<Stream>,
    consumer: Box<dyn Consumer>,
    services: Services,
    pace: Pace,
    signal: Signal,
    trouble: Option<Trouble>,
    /// How often in a row it was woken for nothing.
    in_vain: u32,
}

/// Failures since the last success.
struct Trouble {
    what: String,
    failures: u32,
}

impl Follower {
    pub(crate) fn new(
        name: String,
        streams: Vec<Stream>,
        consumer: Box<dyn Consumer>,
        services: Services,
        pace: Pace,
        signal: Signal,
    ) -> Self {
        Self { name, streams, consumer, services, pace, signal, trouble: None, in_vain: 0 }
    }

    /// Goes on until it is stopped.
    pub(crate) fn run(mut self) {
        while !self.signal.stopped() {
            match self.round() {
                Ok(true) => self.in_vain = 0,
                Ok(false) => self.rest(),
                Err(failure) => self.failed(failure),
            }
        }
    }

    /// Hands over what is there; true if there was something.
    fn round(&mut self) -> Result<bool, Failure> {
        // A checkpoint does not overtake the events that it covers.
        let mut bound = u64::MAX;
        for stream in self.streams.iter_mut().filter(|stream| stream.is_of_events()) {
            bound = stream.position(&self.name, &self.services)?;
        }
        let mut moved = false;
        for index in 0..self.streams.len() {
            moved |= self.advance(index, bound)?;
        }
        Ok(moved)
    }

    fn advance(&mut self, index: usize, bound: u64) -> Result<bool, Failure> {
        let stream = &mut self.streams[index];
        let after = stream.position(&self.name, &self.services)?;
        let mut items = stream.read(after, &self.services)?;
        items.retain(|item| stream.is_of_events() || item.number() <= bound);
        stream.note_gap(&self.name, after, &items, &self.services)?;
        let mut left = items.as_slice();
        while !left.is_empty() && !self.signal.stopped() {
            let (taken, dropped) = match self.consumer.deliver(left) {
                Ok(taken) => (taken.clamp(1, left.len()), false),
                Err(Failure { what, kind: FailureKind::GivenUp }) => {
                    Stats::bump(&self.services.stats.delivery_failures);
                    tracing::error!("{} gives up event {}: {what}", self.name, left[0].number());
                    (1, true)
                }
                Err(failure) => return Err(failure),
            };
            self.streams[index].move_to(left[taken - 1].number(), &self.services)?;
            left = &left[taken..];
            if !dropped {
                self.recovered();
            }
        }
        Ok(!items.is_empty())
    }

    /// Waits until there may be more.
    fn rest(&mut self) {
        self.recovered();
        if self.in_vain > 1 {
            // A log that was closed calls at once and always.
            self.signal.wait(std::future::pending(), Some(self.pace.idle));
        }
        let Self { streams, services, signal, .. } = self;
        let grown = async {
            let mut calls: Vec<_> = streams.iter().map(|stream| Box::pin(stream.grown(services))).collect();
            std::future::poll_fn(|cx| {
                let came = calls.iter_mut().any(|call| call.as_mut().poll(cx).is_ready());
                if came { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        };
        signal.wait(grown, None);
        self.in_vain += 1;
    }

    fn failed(&mut self, failure: Failure) {
        Stats::bump(&self.services.stats.delivery_failures);
        let Failure { what, kind } = failure;
        let failures = self.trouble.as_ref().map_or(1, |trouble| trouble.failures.saturating_add(1));
        if self.trouble.as_ref().is_none_or(|trouble| trouble.what != what) {
            let again = match kind {
                FailureKind::Configuration => "this is for someone to set right; it is tried again, slowly",
                _ => "it is tried again",
            };
            tracing::error!("{} failed: {what}; {again}", self.name);
        }
        self.trouble = Some(Trouble { what, failures });
        let pause = match kind {
            FailureKind::Configuration => self.pace.most,
            _ => self.pace.pause(failures),
        };
        self.signal.wait(std::future::pending(), Some(pause));
    }

    fn recovered(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            tracing::info!("{} works again after {} failures", self.name, trouble.failures);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_the_same_for_all() {
        let pace = Pace::default();
        for (failures, due) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (99, 60), (u32::MAX, 60)] {
            let due = Duration::from_secs(due);
            let pauses: Vec<_> = (0..64).map(|_| pace.pause(failures)).collect();
            assert!(pauses.iter().all(|pause| *pause >= due / 2 && *pause <= due), "{failures}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failures}");
        }
    }
}
