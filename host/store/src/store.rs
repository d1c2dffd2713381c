use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use portcullis_verdict::{
    Appended, ApprovalDesk, ApprovalError, ApprovalRequest, ApprovalView, Approvals, AuditError, AuditReader,
    AuditSink, ChainedEvent, Checkpoint, Cursors, Event, Filter, Found, Head, Hold, RecordedSession, Reviewer, Stats,
    StoredEvent, SystemEvent, Words,
};

use crate::approvals::Desk;
use crate::chain::SigningKey;
use crate::error::StoreError;
use crate::file::{self, File, FileError, Opener};
use crate::prune::Retention;
use crate::queue::{Item, Queue, Refused};
use crate::start::STOPPED_EVENT;
use crate::writer::Writer;

/// The bounds of a store, and when its events are durable.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// When an event counts as kept.
    pub durability: Durability,
    /// Events that may wait for the writer. Their texts are bounded too, to 64 MiB.
    pub queue: usize,
    /// Approval requests that may be open at a time.
    pub max_open_approvals: usize,
    /// What becomes of commands while events cannot be kept.
    pub on_failure: OnFailure,
    /// The longest time until events are signed, while there are any that are not.
    pub checkpoint: Duration,
    /// How long and how much is kept.
    pub retention: Retention,
}

impl Default for StoreOptions {
    fn default() -> Self {
        let durability = Durability::Interval(Duration::from_millis(50));
        Self {
            durability,
            queue: 65_536,
            max_open_approvals: 1000,
            on_failure: OnFailure::Refuse,
            checkpoint: Duration::from_secs(1),
            retention: Retention::default(),
        }
    }
}

/// What becomes of what an event was to record, while it cannot be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It does not happen.
    #[default]
    Refuse,
    /// It happens; how many events were lost, and when, is kept as soon as possible.
    Continue,
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
    /// Opens the store in this file, or makes it: the file with mode 0600, a missing directory with 0700. A file of an earlier format is
    /// brought up to this version's. Sessions and requests that an earlier run left open are ended. Checkpoints are signed with
    /// `key`; failures to write are counted in `stats`.
    ///
    /// # Errors
    /// When the file is in use, damaged, of another program or another version. It is left as it is.
    pub fn open(
        path: &Path,
        options: StoreOptions,
        key: SigningKey,
        stats: Arc<Stats>,
    ) -> Result<Arc<Self>, StoreError> {
        let opener = file::opener(path);
        Self::open_in(path, options, key, stats, Surroundings { opener, clock: now_ms, pause: Duration::from_secs(1) })
    }

    pub(crate) fn open_in(
        path: &Path,
        options: StoreOptions,
        key: SigningKey,
        stats: Arc<Stats>,
        surroundings: Surroundings,
    ) -> Result<Arc<Self>, StoreError> {
        let Surroundings { opener, clock, pause } = surroundings;
        let opened = file::open(path, opener, key, clock())?;
        let interval = match options.durability {
            Durability::Interval(interval) => Some(interval),
            Durability::Strict => None,
        };
        let at = opened.started.position;
        let durability = (interval, options.on_failure);
        let queue = Arc::new(Queue::new(durability, options.queue, clock, stats, (at.last, at.checkpoint)));
        let (journal, file) = (opened.journal, opened.file);
        let StoreOptions { checkpoint, retention, .. } = options;
        let writer = Writer { queue: queue.clone(), journal, pause, checkpoint, retention };
        let writer = std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run());
        let writer = Mutex::new(Some(writer.map_err(|e| StoreError::io(path, e))?));
        let desk = Desk::new(queue.clone(), file.clone(), options.max_open_approvals);
        desk.load(opened.started.reusable, opened.started.open, opened.started.next_approval);
        Ok(Arc::new(Self { queue, file, desk: Arc::new(desk), writer }))
    }

    /// Withdraws the approval requests that do not outlive their client, and says in the log that it ends here: nothing is to follow.
    pub fn stop(&self) {
        self.desk.close();
        self.queue.note(Event::System(SystemEvent {
            what: STOPPED_EVENT.into(),
            by: String::new(),
            detail: String::new(),
        }));
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
        read(&self.file).map_err(|e| AuditError::Read(format!("{}: {e}", self.file.path.display())))
    }

    /// So that a reader sees what was appended before it asked. While nothing can be written, it sees what could be.
    fn settled(&self) -> &Self {
        let _ = self.queue.flush();
        self
    }

    /// Ends the approval requests whose time is over. Clients that wait notice by themselves; of a request without one, nobody would.
    pub fn expire_overdue(&self) {
        self.desk.expire_overdue();
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

    fn note(&self, event: Event) {
        self.queue.note(event);
    }

    fn flush(&self) -> Result<(), AuditError> {
        self.queue.flush()
    }
}

impl AuditReader for Store {
    fn sessions(&self, before: Option<u64>, limit: usize) -> Result<Vec<RecordedSession>, AuditError> {
        self.settled().read(|file| file.sessions(before, limit))
    }

    fn session(&self, id: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, AuditError> {
        self.settled().read(|file| file.session(id, after, limit))
    }

    fn search(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Found, AuditError> {
        self.settled().read(|file| file.search(filter, before, limit))
    }

    fn export(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, AuditError> {
        self.read(|file| file.export(after, limit))
    }

    fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, AuditError> {
        self.read(|file| file.checkpoints(after, limit))
    }

    fn head(&self) -> Result<Head, AuditError> {
        // Whoever asks how far the log has come is about to show it to somebody.
        let _ = self.queue.flush_signed();
        self.read(File::head)
    }

    fn grown(&self, after: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.progressed(move |(last, _)| last > after)
    }

    fn checkpointed(&self, after: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.progressed(move |(_, checkpoint)| checkpoint > after)
    }
}

impl Store {
    fn progressed(
        &self,
        enough: impl Fn((u64, u64)) -> bool + Send + Sync + 'static,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let (queue, mut progress) = (self.queue.clone(), self.queue.progress());
        Box::pin(async move {
            // The sender lives in the queue, which this future keeps.
            let _ = progress.wait_for(|progress| enough(*progress) || queue.has_ended()).await;
        })
    }
}

impl Cursors for Store {
    fn cursor(&self, name: &str) -> Result<Option<u64>, AuditError> {
        self.read(|file| file.cursor(name))
    }

    fn set_cursor(&self, name: &str, number: u64) -> Result<(), AuditError> {
        let item = Item::of_cursor(name, number);
        self.queue.push(item).map(drop).map_err(|refused| match refused {
            Refused::Full(_) => AuditError::Write("too many events wait for the disk".into()),
            Refused::Failed(error) => error,
        })
    }
}

impl Approvals for Store {
    fn request(&self, request: ApprovalRequest) -> Result<Hold, ApprovalError> {
        self.desk.request(request)
    }
}

impl ApprovalDesk for Store {
    fn list(&self, all: bool, before: Option<u64>, limit: usize) -> Result<Vec<ApprovalView>, ApprovalError> {
        self.desk.list(all, before, limit)
    }

    fn show(&self, id: &str) -> Result<ApprovalView, ApprovalError> {
        self.desk.show(id)
    }

    fn approve(&self, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError> {
        self.desk.approve(id, reviewer, words)
    }

    fn deny(&self, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError> {
        self.desk.deny(id, reviewer, words)
    }

    fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        self.desk.changed(seen)
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod evidence;
#[cfg(test)]
mod tests;
