//! The thread that owns every write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::journal::{Journal, Outcome};
use crate::prune::Retention;
use crate::queue::{Item, Queue};

/// How many items a batch may have before its memory is given back.
const KEPT_CAPACITY: usize = 16_384;

/// Between two looks whether something is too old or too much.
const PRUNE: Duration = Duration::from_secs(60);

pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) journal: Journal,
    /// Between two attempts to write a batch that failed.
    pub(crate) pause: Duration,
    /// Between two checkpoints, while there is something to sign.
    pub(crate) checkpoint: Duration,
    pub(crate) retention: Retention,
}

impl Writer {
    /// Writes until the queue is closed and empty. A panic ends the queue too: the sink then refuses everything.
    pub(crate) fn run(mut self) {
        let _ended = EndOnDrop(self.queue.clone());
        let mut batch = Vec::with_capacity(1024);
        let (mut last_commit, mut last_prune) = (Instant::now(), None);
        loop {
            let prune = self.retention.is_limited().then(|| last_prune.map_or(last_commit, |at: Instant| at + PRUNE));
            let signing = self.journal.is_unsigned().then(|| self.journal.signed_at() + self.checkpoint);
            let open = self.queue.next_batch(&mut batch, last_commit, signing.into_iter().chain(prune).min());
            last_commit = Instant::now();
            let unsigned = self.journal.is_unsigned() || batch.iter().any(|item| item.event.is_some());
            // The end is signed too, so that nothing is left that no checkpoint vouches for.
            let wanted = self.queue.take_wish_to_sign();
            let sign = unsigned && (!open || wanted || self.journal.signed_at() + self.checkpoint <= last_commit);
            if (sign || !batch.is_empty()) && !self.write(&mut batch, sign) || !open {
                break;
            }
            if prune.is_some_and(|at| at <= last_commit) {
                last_prune = self.prune().then_some(last_commit);
            }
            if batch.capacity() > KEPT_CAPACITY {
                batch = Vec::with_capacity(1024);
            }
        }
        self.journal.close();
    }

    /// Writes the batch, however often it takes; false when the store is closed before it succeeds.
    fn write(&mut self, batch: &mut Vec<Item>, sign: bool) -> bool {
        let sign = sign.then(|| self.queue.now_ms());
        let mut outcome = self.journal.commit(batch, sign).map_err(|e| e.to_string());
        while let Err(reason) = outcome {
            self.queue.fail(batch, &reason);
            let open = self.queue.pause(self.pause);
            outcome = self.retry(batch, sign);
            if !open && outcome.is_err() {
                return false;
            }
        }
        let position = self.journal.position;
        self.queue.committed(batch, position.last, position.checkpoint);
        true
    }

    /// A failed commit may have become durable all the same, and the database refuses further work until it is opened
    /// anew: only the file itself can tell whether the batch is in it.
    fn retry(&mut self, batch: &[Item], sign: Option<u64>) -> Result<(), String> {
        let events = batch.iter().filter(|item| item.event.is_some()).count() as u64;
        match self.journal.reopen(events).map_err(|e| e.to_string())? {
            Outcome::After if events > 0 => Ok(()),
            Outcome::Before | Outcome::After => self.journal.commit(batch, sign).map_err(|e| e.to_string()),
        }
    }

    /// Removes a piece of what is too old or too much; true when nothing is left to be removed.
    fn prune(&mut self) -> bool {
        let now_ms = self.queue.now_ms();
        match self.journal.prune(&self.retention, now_ms) {
            Ok(None) => {}
            Ok(Some(pruned)) => {
                tracing::info!(%pruned, "events were removed from the audit log");
                let position = self.journal.position;
                self.queue.committed(&mut Vec::new(), position.last, position.checkpoint);
                return false;
            }
            Err(error) => {
                tracing::error!(%error, "events that are too old cannot be removed from the audit log, and are kept");
                self.journal.forget_draft();
            }
        }
        true
    }
}

struct EndOnDrop(Arc<Queue>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}
