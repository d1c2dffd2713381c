use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use portcullis_verdict::{
    Appended, AuditError, AuditSink, Event, Medium, RecordLevel, Recorder, Recorders, RecordingError, RecordingEvent,
    RecordingFiles, Session, Stats, Subject,
};

use crate::closer::{Closer, Task};
use crate::format::{self, Header};
use crate::recorder::{FileRecorder, NoRecorder, Shared};
use crate::writer::{Order, Recording, Writer};

/// How the name of a whole recording ends.
pub(crate) const WHOLE: &str = ".rec.zst";
/// How the name of a recording ends that is under way, or that a crash has left.
pub(crate) const PART: &str = ".rec.zst.part";

/// No recording begins while so many wait for the disk to take their end.
pub(crate) const MAX_WAITING: usize = 4096;

/// What holds for all recordings.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest size of one recording's file, compressed.
    pub max_bytes: u64,
    /// What becomes of a session whose recording has reached it.
    pub on_limit: OnLimit,
    /// What becomes of a session whose recording cannot be written.
    pub on_failure: OnLimit,
}

/// What becomes of a session whose recording cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimit {
    /// It ends.
    End,
    /// It goes on without a recording, and the client is told.
    Stop,
}

/// The directory of recordings: `YYYY-MM-DD/<session>.rec.zst`, by the day in UTC on which they began. One process uses it at a time.
pub struct Directory {
    pub(crate) desk: Arc<Desk>,
    create: Create,
    next: AtomicU64,
    orders: Sender<Order>,
    closer: Mutex<Option<Sender<Task>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Holds the lock of the directory.
    lock: Mutex<Option<File>>,
}

/// How a recording's file is made; tests give others.
pub(crate) type Create = Box<dyn Fn(&Path) -> io::Result<File> + Send + Sync>;

/// What all parts of a directory share.
pub(crate) struct Desk {
    pub(crate) root: PathBuf,
    pub(crate) options: Options,
    pub(crate) stats: Arc<Stats>,
    /// Recordings that do not have their final name yet.
    pub(crate) unfinished: AtomicUsize,
    /// Recorders that are not dropped yet.
    pub(crate) live: AtomicUsize,
    audit: Arc<dyn AuditSink>,
}

impl Desk {
    /// Recordings whose session has ended, and that are not closed yet.
    fn waiting(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed).saturating_sub(self.live.load(Ordering::Relaxed))
    }

    pub(crate) fn append(&self, event: &RecordingEvent) -> Appended {
        self.audit.append(Event::Recording(event.clone()))
    }

    /// Waits until the audit has on disk what was appended.
    pub(crate) fn flush(&self) -> Result<(), AuditError> {
        self.audit.flush()
    }
}

/// A recording's place.
#[derive(Clone)]
pub(crate) struct Name {
    pub(crate) subject: Arc<Subject>,
    root: PathBuf,
    /// Below the root, when it is whole.
    file: String,
}

impl Name {
    pub(crate) fn new(root: &Path, subject: Arc<Subject>, day: &str) -> Self {
        let file = format!("{day}/{}{WHOLE}", subject.session);
        Self { subject, root: root.into(), file }
    }

    /// Where it is when it is whole.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.join(&self.file)
    }

    /// Where it is until then.
    pub(crate) fn part(&self) -> PathBuf {
        self.root.join(format!("{}.part", self.file))
    }

    /// Gives it its final name.
    pub(crate) fn complete(&self) -> io::Result<()> {
        if self.path().try_exists()? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is another recording of this session"));
        }
        fs::rename(self.part(), self.path())
    }

    pub(crate) fn event(
        &self,
        state: &'static str,
        bytes: u64,
        sha256: String,
        entries: u64,
        detail: String,
    ) -> RecordingEvent {
        let (subject, file) = (self.subject.clone(), self.file.clone());
        RecordingEvent { subject, state: state.into(), file, bytes, sha256, entries, detail }
    }
}

impl Directory {
    /// Opens it, and makes it where it is missing. What a crash has left in it is counted, entered in the audit and given its final
    /// name; that takes as long as reading those files.
    pub fn open(path: &Path, options: Options, audit: Arc<dyn AuditSink>, stats: Arc<Stats>) -> io::Result<Arc<Self>> {
        let create = |path: &Path| File::options().write(true).create_new(true).mode(0o600).open(path);
        Self::open_with(path, options, audit, stats, Box::new(create))
    }

    pub(crate) fn open_with(
        path: &Path,
        options: Options,
        audit: Arc<dyn AuditSink>,
        stats: Arc<Stats>,
        create: Create,
    ) -> io::Result<Arc<Self>> {
        make_directory(path)?;
        let lock = lock(path)?;
        let desk = Desk {
            root: path.into(),
            options,
            stats,
            unfinished: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            audit,
        };
        let desk = Arc::new(desk);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let closer = Closer { desk: desk.clone(), runtime };
        // Waiting for the audit is not possible on a thread that drives futures, such as this may be.
        let salvage =
            thread::Builder::new().name("recording-salvage".into()).spawn(|| closer.salvage().map(|()| closer))?;
        let closer =
            salvage.join().map_err(|_| io::Error::other("the thread that salvages recordings has panicked"))??;

        let (orders, order_queue) = mpsc::channel();
        let (tasks, task_queue) = mpsc::channel();
        let writer = Writer::new(desk.clone(), tasks.clone())?;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.into()).spawn(run);
        let threads = vec![
            spawn("recording", Box::new(move || writer.run(&order_queue)))?,
            spawn("recording-close", Box::new(move || closer.run(&task_queue)))?,
        ];
        Ok(Arc::new(Self {
            desk,
            create,
            next: AtomicU64::new(0),
            orders,
            closer: Mutex::new(Some(tasks)),
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(lock)),
        }))
    }

    /// Writes out and closes all recordings, and returns when they are durable. A session that still goes on must end: its recorder gives an
    /// error.
    pub fn close(&self) {
        let _ = self.orders.send(Order::Stop);
        // With the writer's own, the last sender is gone and the closer ends.
        drop(locked(&self.closer).take());
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the recordings has panicked; what it left is found at the next start");
            }
        }
        drop(locked(&self.lock).take());
    }

    fn begin(
        &self,
        subject: &Arc<Subject>,
        protocol: &str,
        level: RecordLevel,
        medium: Medium,
    ) -> Result<FileRecorder, String> {
        if !is_id(&subject.session) {
            return Err("the session's identifier cannot be the name of a file".into());
        }
        let waiting = self.desk.waiting();
        if waiting >= MAX_WAITING {
            return Err(format!("{waiting} recordings wait for the disk to take their end"));
        }
        let now = Timestamp::now();
        let header = Header {
            subject: (**subject).clone(),
            protocol: protocol.into(),
            medium,
            level,
            started_ms: u64::try_from(now.as_millisecond()).unwrap_or_default(),
        };
        let mut beginning = Vec::new();
        format::put_header(&mut beginning, &header).map_err(|_| "its header is too long".to_string())?;
        let name = Name::new(&self.desk.root, subject.clone(), &day_of(now));
        let file = self.create(&name).map_err(|error| format!("{}: {error}", name.part().display()))?;
        self.started(&name)?;

        let shared = Shared::new();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let recording = Recording::new(name, file, beginning, shared.clone());
        let orders = self.orders.clone();
        self.desk.unfinished.fetch_add(1, Ordering::Relaxed);
        orders.send(Order::Open(id, Box::new(recording))).map_err(|_| "recordings have been closed".to_string())?;
        Ok(FileRecorder::new(id, level, shared, orders, self.desk.clone()))
    }

    fn create(&self, name: &Name) -> io::Result<File> {
        // Identifiers are unique, so that other days need no look; while one is under way, its file itself is in the way.
        if name.path().try_exists()? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a recording of this session"));
        }
        let part = name.part();
        let create = || {
            part.parent().map_or(Ok(()), make_directory)?;
            (self.create)(&part)
        };
        match create() {
            // The day's directory was empty, and pruned in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(),
            created => created,
        }
    }

    /// Enters the beginning in the audit.
    fn started(&self, name: &Name) -> Result<(), String> {
        let event = name.event("started", 0, String::new(), 0, String::new());
        match self.desk.append(&event) {
            Appended::Failed(error) => {
                if let Err(also) = fs::remove_file(name.part()) {
                    tracing::warn!(session = %name.subject.session, "an empty recording cannot be removed: {also}");
                }
                Err(error.to_string())
            }
            appended => {
                self.hand_over(event, appended);
                Ok(())
            }
        }
    }

    /// Where a session's recording is, whole or under way.
    fn find(&self, session: &str) -> io::Result<Option<PathBuf>> {
        if !is_id(session) {
            return Ok(None);
        }
        // The second look at the whole one is for a file that was given its name in between.
        let names = [WHOLE, PART, WHOLE].map(|end| format!("{session}{end}"));
        let in_day = |day: PathBuf| names.iter().map(|name| day.join(name)).find(|file| file.exists());
        if let Some(file) = likely_days(session).map(|day| self.desk.root.join(day)).find_map(in_day) {
            return Ok(Some(file));
        }
        Ok(days(&self.desk.root)?.into_iter().find_map(in_day))
    }
}

impl Recorders for Directory {
    fn open(
        &self,
        session: &Arc<Session>,
        level: RecordLevel,
        medium: Medium,
    ) -> Result<Box<dyn Recorder>, RecordingError> {
        if level == RecordLevel::None {
            return Ok(Box::new(NoRecorder(None)));
        }
        let subject = Arc::new(session.subject());
        match self.begin(&subject, session.protocol, level, medium) {
            Ok(recorder) => Ok(Box::new(recorder)),
            Err(why) => self.failed(&subject, &why),
        }
    }
}

impl Directory {
    /// Reports a recording that could not begin.
    fn failed(&self, subject: &Arc<Subject>, why: &str) -> Result<Box<dyn Recorder>, RecordingError> {
        let session = &subject.session;
        let why = format!("the recording of this session cannot begin: {why}");
        tracing::warn!(%session, "{why}");
        Stats::bump(&self.desk.stats.recordings_stopped);
        let event = RecordingEvent {
            subject: subject.clone(),
            state: "failed".into(),
            file: String::new(),
            bytes: 0,
            sha256: String::new(),
            entries: 0,
            detail: why.clone(),
        };
        let appended = self.desk.append(&event);
        self.hand_over(event, appended);
        match self.desk.options.on_failure {
            OnLimit::End => Err(RecordingError(why)),
            OnLimit::Stop => Ok(Box::new(NoRecorder(Some(why)))),
        }
    }

    /// Lets the closer wait for the audit.
    fn hand_over(&self, event: RecordingEvent, appended: Appended) {
        if let Some(closer) = &*locked(&self.closer) {
            // Were the closer gone, recordings would be closed, which the next order tells.
            let _ = closer.send(Task::Await(event, appended));
        }
    }
}

impl RecordingFiles for Directory {
    fn open(&self, session: &str) -> io::Result<Option<File>> {
        // It may get its final name, or be pruned, between the two steps.
        for _ in 0..2 {
            let Some(path) = self.find(session)? else {
                break;
            };
            match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened.map(Some),
            }
        }
        Ok(None)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.close();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a session's identifier can be the name of a file.
pub(crate) fn is_id(session: &str) -> bool {
    (1..=64).contains(&session.len()) && session.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The name of a day's directory.
fn day_of(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

/// The days on which a session's recording has begun if its identifier is a UUID of version 7, which begins with milliseconds since the Unix
/// epoch (RFC 9562 §5.7): that time's, and the next, since a recording begins a little later.
pub(crate) fn likely_days(session: &str) -> impl Iterator<Item = String> {
    let digits: String = session.chars().filter(|c| *c != '-').take(12).collect();
    let time = i64::from_str_radix(&digits, 16).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let times = [time, time.and_then(|time| time.checked_add(SignedDuration::from_hours(24)).ok())];
    times.into_iter().flatten().map(day_of)
}

/// The directories of days below the root.
pub(crate) fn days(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut days = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            days.push(entry.path());
        }
    }
    Ok(days)
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A second process would take the recordings of the first for what a crash has left.
fn lock(root: &Path) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(root.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let what = format!("the recordings in {} are in use by another process", root.display());
            Err(io::Error::new(io::ErrorKind::WouldBlock, what))
        }
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}
