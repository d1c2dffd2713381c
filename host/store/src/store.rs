use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_verdict::{
    Appended, ApprovalDesk, ApprovalError, ApprovalRequest, ApprovalView, Approvals, AuditError, AuditReader,
    AuditSink, Event, Hold, RecordedSession, Reviewer, Stats, StoredEvent,
};

use crate::approvals::Desk;
use crate::error::StoreError;
use crate::file::{self, File, FileError, Opener};
use crate::queue::Queue;
use crate::writer::Writer;

/// The bounds of a store, and when its events are durable.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// When an event counts as kept.
    pub durability: Durability,
    /// Events that may wait for the writer. Their texts are bounded too, to 64 MiB.
    pub queue: usize,
    /// Approval requests that may be open at a time.
    pub max_open_approvals: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let durability = Durability::Interval(Duration::from_millis(50));
        Self { durability, queue: 65_536, max_open_approvals: 1000 }
    }
}

/// When an event counts as kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// At once; it is on disk within this time. A loss of power may take the events of one interval.
    Interval(Duration),
    /// When it is on disk. Events that arrive during a commit share the next one.
    Strict,
}

/// Everything that the gateway keeps, in one file.
///
/// Reading, [`Store::flush`], [`Store::close`], and deciding on approvals block for the disk: at most 5 s, and not on a thread
/// that drives futures. [`AuditSink::append`] and [`Approvals::request`] do not wait.
///
/// With [`Durability::Strict`] an event whose receipt was refused because a commit failed is written all the same when the file can be
/// written again: it tells what was decided, and that the command did not end tells that it did not run.
pub struct Store {
    queue: Arc<Queue>,
    file: Arc<File>,
    desk: Arc<Desk>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What only tests change.
pub(crate) struct Surroundings {
    pub(crate) opener: Opener,
    /// Milliseconds since the Unix epoch.
    pub(crate) clock: fn() -> u64,
    /// Between two attempts to write a batch that failed.
    pub(crate) pause: Duration,
}

impl Store {
    /// Opens the store in this file, or makes it: the file with mode 0600, a missing directory with 0700. Sessions and requests that
    /// an earlier run left open are ended. Failures to write are counted in `stats`.
    ///
    /// # Errors
    /// When the file is in use, damaged, of another program or another version. It is left as it is.
    pub fn open(path: &Path, options: StoreOptions, stats: Arc<Stats>) -> Result<Arc<Self>, StoreError> {
        let opener = file::opener(path);
        Self::open_in(path, options, stats, Surroundings { opener, clock: now_ms, pause: Duration::from_secs(1) })
    }

    pub(crate) fn open_in(
        path: &Path,
        options: StoreOptions,
        stats: Arc<Stats>,
        surroundings: Surroundings,
    ) -> Result<Arc<Self>, StoreError> {
        let Surroundings { opener, clock, pause } = surroundings;
        let opened = file::open(path, opener, clock())?;
        let interval = match options.durability {
            Durability::Interval(interval) => Some(interval),
            Durability::Strict => None,
        };
        let queue = Arc::new(Queue::new(interval, options.queue, clock, stats));
        let (journal, file) = (opened.journal, opened.file);
        let writer = Writer { queue: queue.clone(), journal, pause };
        let writer = std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run());
        let writer = Mutex::new(Some(writer.map_err(|e| StoreError::io(path, e))?));
        let desk = Desk::new(queue.clone(), file.clone(), options.max_open_approvals);
        desk.load(opened.reusable, opened.next_approval);
        Ok(Arc::new(Self { queue, file, desk: Arc::new(desk), writer }))
    }

    /// Waits until everything that was appended is durable.
    ///
    /// # Errors
    /// When the file cannot be written, or within 5 s.
    pub fn flush(&self) -> Result<(), AuditError> {
        self.queue.flush()
    }

    /// Withdraws the open approval requests, writes what was appended and closes the file. What comes later is refused.
    pub fn close(&self) {
        self.desk.close();
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|w| w.join().is_err()) {
            tracing::error!("the store's writer had stopped before the store was closed");
            self.file.abandon();
        }
    }

    fn read<T>(&self, read: impl FnOnce(&File) -> Result<T, FileError>) -> Result<T, AuditError> {
        // So that a reader sees what was appended before it asked.
        self.queue.flush()?;
        read(&self.file).map_err(|e| AuditError(format!("{} cannot be read: {e}", self.file.path.display())))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

impl AuditSink for Store {
    fn append(&self, event: Event) -> Appended {
        self.queue.append(event)
    }
}

impl AuditReader for Store {
    fn sessions(&self, limit: usize) -> Result<Vec<RecordedSession>, AuditError> {
        self.read(|file| file.sessions(limit))
    }

    fn session(&self, id: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, AuditError> {
        self.read(|file| file.session(id, after, limit))
    }
}

impl Approvals for Store {
    fn request(&self, request: ApprovalRequest) -> Result<Hold, ApprovalError> {
        self.desk.request(request)
    }
}

impl ApprovalDesk for Store {
    fn list(&self, all: bool) -> Result<Vec<ApprovalView>, ApprovalError> {
        if all { self.desk.list_all() } else { Ok(self.desk.list_open()) }
    }

    fn show(&self, id: &str) -> Result<ApprovalView, ApprovalError> {
        self.desk.show(id)
    }

    fn approve(&self, id: &str, reviewer: &Reviewer, reason: &str) -> Result<ApprovalView, ApprovalError> {
        self.desk.approve(id, reviewer, reason)
    }

    fn deny(&self, id: &str, reviewer: &Reviewer, reason: &str) -> Result<ApprovalView, ApprovalError> {
        self.desk.deny(id, reviewer, reason)
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests;
