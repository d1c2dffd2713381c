//! The file: its tables, the journal that writes them, and what is read back.

use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_verdict::{ApprovalState, ApprovalView, Event, StoredEvent};
use redb::backends::FileBackend;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition, TableHandle,
    WriteTransaction,
};

use crate::error::StoreError;
use crate::queue::Item;
use crate::record::{BadValue, Record, decode_approval, decode_event, encode_approval, encode_event};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
const SESSIONS: TableDefinition<&str, u64> = TableDefinition::new("sessions");
const SESSION_EVENTS: TableDefinition<(u64, u64), ()> = TableDefinition::new("session_events");
const OPENINGS: TableDefinition<u64, ()> = TableDefinition::new("openings");
const OPEN_SESSIONS: TableDefinition<u64, &str> = TableDefinition::new("open_sessions");
const APPROVALS: TableDefinition<u64, &[u8]> = TableDefinition::new("approvals");
const APPROVAL_IDS: TableDefinition<&str, u64> = TableDefinition::new("approval_ids");
const LIVE_APPROVALS: TableDefinition<u64, ()> = TableDefinition::new("live_approvals");

/// The key in `meta`, and the layout that this version reads and writes.
const FORMAT_KEY: &str = "format";
const FORMAT: u64 = 1;

/// Pages of the file that are kept in memory, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// The most requests that a list of all approvals shows, and the most bytes of their texts.
const LIST_LIMIT: usize = 1000;
const LIST_BYTES: usize = 64 << 20;

/// The most sessions whose first event is remembered; others are looked up in the file.
const REMEMBERED_SESSIONS: usize = 65_536;

const STOPPED: &str = "the gateway stopped";

/// Opens the database; `true` may create it.
pub(crate) type Opener = Box<dyn Fn(bool) -> Result<Database, StoreError> + Send + Sync>;

/// Opens the database in this file. The file is created for its owner alone, as is its directory.
pub(crate) fn opener(path: &Path) -> Opener {
    let path = path.to_path_buf();
    Box::new(move |create| {
        if create && let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(|e| StoreError::io(directory, e))?;
        }
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|e| StoreError::io(&path, e))?;
        let length = file.metadata().map_err(|e| StoreError::io(&path, e))?.len();
        if length == 0 && !create {
            return Err(StoreError::damaged(&path, "it has become empty"));
        }
        let backend = FileBackend::new(file).map_err(|e| StoreError::database(&path, e.into()))?;
        open_backend(&path, backend)
    })
}

/// Opens the database in this storage, with a check of every page: a damaged file is an error here and no surprise later.
pub(crate) fn open_backend(path: &Path, backend: impl StorageBackend) -> Result<Database, StoreError> {
    let open = || {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        builder.create_with_backend(backend)
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|e| StoreError::database(path, e.into())),
        Err(_) => Err(StoreError::damaged(path, "the database could not make sense of it")),
    }
}

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("{path} is closed while it cannot be written", path = .0.display())]
    Closed(PathBuf),
    #[error("{0}")]
    Database(Box<redb::Error>),
    #[error("an event cannot be encoded: {0}")]
    Encode(#[from] postcard::Error),
    #[error("{what} {number} is missing")]
    Missing { what: &'static str, number: u64 },
    #[error("another program wrote to the file: it ends with event {found} instead of {expected}")]
    Moved { found: u64, expected: u64 },
    #[error("{0}")]
    Open(#[from] StoreError),
    #[error("{what} {number} cannot be read: {error}")]
    Value { what: &'static str, number: u64, error: BadValue },
}

macro_rules! from_database_error {
    ($($error:ty),*) => { $(
        impl From<$error> for FileError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )* };
}

from_database_error!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError);

impl FileError {
    fn into_store_error(self, path: &Path) -> StoreError {
        match self {
            Self::Database(error) => StoreError::database(path, *error),
            Self::Open(error) => error,
            other => StoreError::damaged(path, other),
        }
    }
}

/// The open database, shared by the writer and the readers. It is shut while the writer recovers from a failure.
pub(crate) struct File {
    path: PathBuf,
    opener: Opener,
    db: RwLock<Option<Database>>,
}

/// What an opened file holds that the store goes on with.
pub(crate) struct Opened {
    pub(crate) file: Arc<File>,
    pub(crate) journal: Journal,
    /// Granted requests that serve later commands.
    pub(crate) reusable: Vec<Record>,
    /// The number of the next approval request.
    pub(crate) next_approval: u64,
}

/// Opens the file, or makes it, and ends what an earlier run left open.
pub(crate) fn open(path: &Path, opener: Opener, now_ms: u64) -> Result<Opened, StoreError> {
    let db = opener(true)?;
    let opened = catch_unwind(AssertUnwindSafe(|| start(&db, path, now_ms)));
    let opened = opened.unwrap_or_else(|_| Err(StoreError::damaged(path, "the database could not make sense of it").into()));
    let started = opened.map_err(|e| e.into_store_error(path))?;
    let file = Arc::new(File { path: path.into(), opener, db: RwLock::new(Some(db)) });
    let journal =
        Journal { file: file.clone(), next: started.next, firsts: HashMap::new(), scratch: Vec::with_capacity(1024) };
    Ok(Opened { file, journal, reusable: started.reusable, next_approval: started.next_approval })
}

struct Started {
    next: u64,
    reusable: Vec<Record>,
    next_approval: u64,
}

fn start(db: &Database, path: &Path, now_ms: u64) -> Result<Started, FileError> {
    check_format(db, path)?;
    let txn = begin(db)?;
    let started = {
        let mut tables = Tables::open(&txn)?;
        tables.meta.insert(FORMAT_KEY, FORMAT)?;
        let mut number = last(&tables.events)?;
        let mut put = |tables: &mut Tables<'_>, event: Event| {
            number += 1;
            tables.put(number, now_ms, &event, &mut HashMap::new(), &mut Vec::new())
        };
        let reusable = end_approvals(&mut tables, now_ms, &mut put)?;
        end_sessions(&mut tables, &mut put)?;
        Started { next: number + 1, reusable, next_approval: last(&tables.approvals)? + 1 }
    };
    txn.commit()?;
    Ok(started)
}

/// An empty database is a new store; any other must say that it is one, of this format.
fn check_format(db: &Database, path: &Path) -> Result<(), FileError> {
    let txn = db.begin_read()?;
    if txn.list_tables()?.next().is_none() {
        return Ok(());
    }
    let foreign = || StoreError::Foreign { path: path.into() };
    if !txn.list_tables()?.any(|t| t.name() == META.name()) {
        return Err(foreign().into());
    }
    let meta = match txn.open_table(META) {
        Err(redb::TableError::TableTypeMismatch { .. }) => return Err(foreign().into()),
        other => other?,
    };
    match meta.get(FORMAT_KEY)?.map(|f| f.value()) {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(StoreError::Version { path: path.into(), found, known: FORMAT }.into()),
        None => Err(foreign().into()),
    }
}

/// Withdraws the requests that were open, forgets grants that have expired, and gives the others back.
fn end_approvals(
    tables: &mut Tables<'_>,
    now_ms: u64,
    put: &mut impl FnMut(&mut Tables<'_>, Event) -> Result<(), FileError>,
) -> Result<Vec<Record>, FileError> {
    let live = tables.live_approvals.iter()?.map(|entry| Ok(entry?.0.value()));
    let live = live.collect::<Result<Vec<u64>, redb::StorageError>>()?;
    let mut reusable = Vec::new();
    for number in live {
        let mut record = approval(&tables.approvals, number)?;
        if record.state == ApprovalState::Open {
            record.state = ApprovalState::Withdrawn;
            record.decided = Some(STOPPED.into());
            let event = Event::Approval {
                session: record.session.clone(),
                sequence: record.sequence,
                approval: record.id.clone(),
                what: "withdrawn".into(),
                by: String::new(),
                reason: STOPPED.into(),
            };
            put(tables, event)?;
            tables.put_approval(&record, &mut Vec::new())?;
        } else if record.is_reusable() && record.expires_ms > now_ms {
            reusable.push(record);
        } else {
            tables.live_approvals.remove(number)?;
        }
    }
    Ok(reusable)
}

fn end_sessions(
    tables: &mut Tables<'_>,
    put: &mut impl FnMut(&mut Tables<'_>, Event) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let open = tables.open_sessions.iter()?.map(|entry| Ok(entry?.1.value().into()));
    for session in open.collect::<Result<Vec<Arc<str>>, redb::StorageError>>()? {
        put(tables, Event::Close { session, reason: STOPPED.into() })?;
    }
    Ok(())
}

fn begin(db: &Database) -> Result<WriteTransaction, FileError> {
    let mut txn = db.begin_write()?;
    // Durable when the commit returns is the default; this makes a commit slot valid without trust in its checksum.
    txn.set_two_phase_commit(true);
    Ok(txn)
}

fn last<V: redb::Value + 'static>(table: &impl ReadableTable<u64, V>) -> Result<u64, FileError> {
    Ok(table.last()?.map_or(0, |(key, _)| key.value()))
}

fn approval(table: &impl ReadableTable<u64, &'static [u8]>, number: u64) -> Result<Record, FileError> {
    let what = "approval";
    let value = table.get(number)?.ok_or(FileError::Missing { what, number })?;
    decode_approval(value.value()).map_err(|error| FileError::Value { what, number, error })
}

fn event(table: &impl ReadableTable<u64, &'static [u8]>, number: u64) -> Result<StoredEvent, FileError> {
    let what = "event";
    let value = table.get(number)?.ok_or(FileError::Missing { what, number })?;
    decode_event(number, value.value()).map_err(|error| FileError::Value { what, number, error })
}

struct Tables<'t> {
    meta: Table<'t, &'static str, u64>,
    events: Table<'t, u64, &'static [u8]>,
    sessions: Table<'t, &'static str, u64>,
    session_events: Table<'t, (u64, u64), ()>,
    openings: Table<'t, u64, ()>,
    open_sessions: Table<'t, u64, &'static str>,
    approvals: Table<'t, u64, &'static [u8]>,
    approval_ids: Table<'t, &'static str, u64>,
    live_approvals: Table<'t, u64, ()>,
}

impl<'t> Tables<'t> {
    fn open(txn: &'t WriteTransaction) -> Result<Self, FileError> {
        Ok(Self {
            meta: txn.open_table(META)?,
            events: txn.open_table(EVENTS)?,
            sessions: txn.open_table(SESSIONS)?,
            session_events: txn.open_table(SESSION_EVENTS)?,
            openings: txn.open_table(OPENINGS)?,
            open_sessions: txn.open_table(OPEN_SESSIONS)?,
            approvals: txn.open_table(APPROVALS)?,
            approval_ids: txn.open_table(APPROVAL_IDS)?,
            live_approvals: txn.open_table(LIVE_APPROVALS)?,
        })
    }

    /// Writes an event and its place in its session. `firsts` remembers the first events of open sessions.
    fn put(
        &mut self,
        number: u64,
        at_ms: u64,
        event: &Event,
        firsts: &mut HashMap<Arc<str>, u64>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), FileError> {
        encode_event(scratch, at_ms, event)?;
        self.events.insert(number, scratch.as_slice())?;
        let session = session_of(event);
        let first = match firsts.get(session) {
            Some(first) => *first,
            None => self.first_of(session, number)?,
        };
        self.session_events.insert((first, number), ())?;
        match event {
            Event::Open(open) => {
                self.openings.insert(number, ())?;
                if open.refused.is_none() {
                    self.open_sessions.insert(first, &**session)?;
                    if firsts.len() >= REMEMBERED_SESSIONS {
                        firsts.clear();
                    }
                    firsts.insert(session.clone(), first);
                }
            }
            Event::Close { .. } => {
                self.open_sessions.remove(first)?;
                firsts.remove(session);
            }
            Event::Approval { .. } | Event::Command(_) | Event::Finish(_) => {}
        }
        Ok(())
    }

    /// The session's first event, which is this one if there is none yet.
    fn first_of(&mut self, session: &str, number: u64) -> Result<u64, FileError> {
        let known = self.sessions.get(session)?.map(|first| first.value());
        match known {
            Some(first) => Ok(first),
            None => {
                self.sessions.insert(session, number)?;
                Ok(number)
            }
        }
    }

    fn put_approval(&mut self, record: &Record, scratch: &mut Vec<u8>) -> Result<(), FileError> {
        encode_approval(scratch, record)?;
        self.approvals.insert(record.number, scratch.as_slice())?;
        self.approval_ids.insert(&*record.id, record.number)?;
        if record.state == ApprovalState::Open || record.is_reusable() {
            self.live_approvals.insert(record.number, ())?;
        } else {
            self.live_approvals.remove(record.number)?;
        }
        Ok(())
    }
}

fn session_of(event: &Event) -> &Arc<str> {
    match event {
        Event::Open(e) => &e.session,
        Event::Command(e) => &e.session,
        Event::Finish(e) => &e.session,
        Event::Close { session, .. } | Event::Approval { session, .. } => session,
    }
}

/// Numbers, encodes and writes events. There is one, and the writer has it.
pub(crate) struct Journal {
    file: Arc<File>,
    next: u64,
    firsts: HashMap<Arc<str>, u64>,
    scratch: Vec<u8>,
}

/// Where the file stands after a commit that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Before,
    After,
}

impl Journal {
    /// Writes the batch in one durable transaction. After an error only [`Journal::reopen`] can tell what became of it.
    pub(crate) fn commit(&mut self, batch: &[Item]) -> Result<(), FileError> {
        let db = self.file.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| FileError::Closed(self.file.path.clone()))?;
        let txn = begin(db)?;
        {
            let mut tables = Tables::open(&txn)?;
            for (number, item) in (self.next..).zip(batch) {
                tables.put(number, item.at_ms, &item.event, &mut self.firsts, &mut self.scratch)?;
                if let Some(record) = &item.record {
                    tables.put_approval(record, &mut self.scratch)?;
                }
            }
        }
        txn.commit()?;
        self.next += batch.len() as u64;
        Ok(())
    }

    /// Closes the database and opens it again, then looks whether the last batch, of `len` events, is in it.
    pub(crate) fn reopen(&mut self, len: u64) -> Result<Position, FileError> {
        // Closed first: the file cannot be opened twice. Opening may take long, and readers are not to wait for it.
        drop(self.file.exchange(None));
        self.firsts.clear();
        let opened = (self.file.opener)(false)?;
        check_format(&opened, &self.file.path)?;
        let found = last(&opened.begin_read()?.open_table(EVENTS)?)?;
        let expected = self.next - 1;
        let position = match found.checked_sub(expected) {
            Some(0) => Position::Before,
            Some(more) if more == len => Position::After,
            _ => return Err(FileError::Moved { found, expected }),
        };
        if position == Position::After {
            self.next += len;
        }
        self.file.exchange(Some(opened));
        Ok(position)
    }

    /// Closes the database, so that another process may open it.
    pub(crate) fn close(self) {
        if let Some(Err(error)) = self.file.exchange(None).map(Database::close) {
            tracing::warn!(path = %self.file.path.display(), %error, "the store was not closed cleanly; the next start repairs it");
        }
    }
}

impl File {
    /// The newest opening events first, at most `limit`.
    pub(crate) fn sessions(&self, limit: usize) -> Result<Vec<StoredEvent>, FileError> {
        self.read(|txn| {
            let (openings, events) = (txn.open_table(OPENINGS)?, txn.open_table(EVENTS)?);
            let newest = openings.iter()?.rev().take(limit);
            newest.map(|entry| event(&events, entry?.0.value())).collect()
        })
    }

    /// The events of a session after event `after`, in order, at most `limit`.
    pub(crate) fn session(&self, id: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, FileError> {
        self.read(|txn| {
            let Some(first) = txn.open_table(SESSIONS)?.get(id)?.map(|first| first.value()) else {
                return Ok(Vec::new());
            };
            let (index, events) = (txn.open_table(SESSION_EVENTS)?, txn.open_table(EVENTS)?);
            let range = (Bound::Excluded((first, after)), Bound::Included((first, u64::MAX)));
            if after == u64::MAX {
                return Ok(Vec::new());
            }
            let numbers = index.range::<(u64, u64)>(range)?.take(limit);
            numbers.map(|entry| event(&events, entry?.0.value().1)).collect()
        })
    }

    /// The newest approval requests first, bounded in number and in bytes.
    pub(crate) fn approvals(&self) -> Result<Vec<ApprovalView>, FileError> {
        self.read(|txn| {
            let table = txn.open_table(APPROVALS)?;
            let (mut views, mut bytes) = (Vec::new(), 0);
            for entry in table.iter()?.rev().take(LIST_LIMIT) {
                let (number, value) = entry?;
                let (what, number) = ("approval", number.value());
                bytes += value.value().len();
                if bytes > LIST_BYTES && !views.is_empty() {
                    break;
                }
                let record = decode_approval(value.value());
                views.push(record.map_err(|error| FileError::Value { what, number, error })?.view());
            }
            Ok(views)
        })
    }

    /// One approval request.
    pub(crate) fn approval(&self, id: &str) -> Result<Option<Record>, FileError> {
        self.read(|txn| {
            let number = txn.open_table(APPROVAL_IDS)?.get(id)?.map(|n| n.value());
            number.map(|n| approval(&txn.open_table(APPROVALS)?, n)).transpose()
        })
    }

    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, FileError>) -> Result<T, FileError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| FileError::Closed(self.path.clone()))?;
        read(&db.begin_read()?)
    }

    fn exchange(&self, db: Option<Database>) -> Option<Database> {
        std::mem::replace(&mut *self.db.write().unwrap_or_else(PoisonError::into_inner), db)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
