//! The thread that owns every write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::journal::{Journal, Position};
use crate::queue::{Item, Queue};

/// How many items a batch may have before its memory is given back.
const KEPT_CAPACITY: usize = 16_384;

pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) journal: Journal,
    /// Between two attempts to write a batch that failed.
    pub(crate) pause: Duration,
}

impl Writer {
    /// Writes until the queue is closed and empty. A panic ends the queue too: the sink then refuses everything.
    pub(crate) fn run(mut self) {
        let _ended = EndOnDrop(self.queue.clone());
        let mut batch = Vec::with_capacity(1024);
        let mut last_commit = Instant::now();
        while self.queue.next_batch(&mut batch, last_commit) {
            last_commit = Instant::now();
            if !self.write(&mut batch) {
                break;
            }
            if batch.capacity() > KEPT_CAPACITY {
                batch = Vec::with_capacity(1024);
            }
        }
        self.journal.close();
    }

    /// Writes the batch, however often it takes; false when the store is closed before it succeeds.
    fn write(&mut self, batch: &mut Vec<Item>) -> bool {
        let mut outcome = self.journal.commit(batch).map_err(|e| e.to_string());
        while let Err(reason) = outcome {
            self.queue.fail(batch, &reason);
            let open = self.queue.pause(self.pause);
            outcome = self.retry(batch);
            if !open && outcome.is_err() {
                return false;
            }
        }
        self.queue.committed(batch);
        true
    }

    /// A failed commit may have become durable all the same, and the database refuses further work until it is opened
    /// anew: only the file itself can tell whether the batch is in it.
    fn retry(&mut self, batch: &[Item]) -> Result<(), String> {
        match self.journal.reopen(batch.len() as u64).map_err(|e| e.to_string())? {
            Position::After => Ok(()),
            Position::Before => self.journal.commit(batch).map_err(|e| e.to_string()),
        }
    }
}

struct EndOnDrop(Arc<Queue>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}
