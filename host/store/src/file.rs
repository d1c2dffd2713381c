//! The file: how it is opened, what is ended then, and what is read back.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_verdict::{ApprovalState, ApprovalView, Event, RecordedSession, StoredEvent};
use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableHandle};

use crate::error::StoreError;
use crate::journal::Journal;
use crate::record::{BadValue, Record, decode_approval};
use crate::tables::{
    APPROVAL_IDS, APPROVALS, Draft, EVENTS, META, OPEN_SESSIONS, OPENINGS, SESSION_EVENTS, SESSIONS, Tables, approval,
    begin, block, event, last, session_of,
};

/// Pages of the file that are kept in memory, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// The most requests that a list of all approvals shows, and the most bytes of their texts.
const LIST_LIMIT: usize = 1000;
const LIST_BYTES: usize = 64 << 20;

/// The key in `meta`, and the layout that this version reads and writes.
const FORMAT_KEY: &str = "format";
const FORMAT: u64 = 1;

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

/// Opens the database in this storage. After a crash it is repaired first, which reads all of it; a file that was closed
/// opens at once, so damage to its older pages shows only when they are read, as an error or a panic of the reader.
pub(crate) fn open_backend(path: &Path, backend: impl StorageBackend) -> Result<Database, StoreError> {
    let open = || {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
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
    pub(crate) path: PathBuf,
    pub(crate) opener: Opener,
    pub(crate) db: RwLock<Option<Database>>,
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
    let opened =
        opened.unwrap_or_else(|_| Err(StoreError::damaged(path, "the database could not make sense of it").into()));
    let started = opened.map_err(|e| e.into_store_error(path))?;
    let file = Arc::new(File { path: path.into(), opener, db: RwLock::new(Some(db)) });
    let journal = Journal::new(file.clone(), started.next);
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
        let (mut number, mut draft) = (last(&tables.events)?, Draft::default());
        let mut put = |tables: &mut Tables<'_>, event: Event| {
            number += 1;
            tables.put(&mut draft, number, now_ms, &event)?;
            tables.seal(&mut draft, number)
        };
        let reusable = end_approvals(&mut tables, now_ms, &mut put)?;
        end_sessions(&mut tables, &mut put)?;
        Started { next: number + 1, reusable, next_approval: last(&tables.approvals)? + 1 }
    };
    txn.commit()?;
    Ok(started)
}

/// An empty database is a new store; any other must say that it is one, of this format.
pub(crate) fn check_format(db: &Database, path: &Path) -> Result<(), FileError> {
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
            tables.put_approval(&record)?;
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

impl File {
    /// The newest sessions first, at most `limit`.
    pub(crate) fn sessions(&self, limit: usize) -> Result<Vec<RecordedSession>, FileError> {
        self.read(|txn| {
            let (openings, events) = (txn.open_table(OPENINGS)?, txn.open_table(EVENTS)?);
            let newest = openings.iter()?.rev().take(limit);
            let session = |number| {
                let opening = event(&events, number)?;
                let ended = ending(txn, session_of(&opening.event))?;
                Ok(RecordedSession { opening, ended })
            };
            newest.map(|entry| session(entry?.0.value())).collect()
        })
    }

    /// The events of a session after event `after`, in order, at most `limit`.
    pub(crate) fn session(&self, id: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, FileError> {
        self.read(|txn| {
            let mut found = Vec::new();
            let Some(first) = txn.open_table(SESSIONS)?.get(id)?.map(|first| first.value()) else { return Ok(found) };
            let (index, events) = (txn.open_table(SESSION_EVENTS)?, txn.open_table(EVENTS)?);
            // A block stands under its last event: the first one after `after` may begin before it.
            for entry in index.range((first, after.saturating_add(1))..=(first, u64::MAX))? {
                if found.len() >= limit {
                    break;
                }
                let (what, number) = ("the block of event", entry?.0.value().1);
                let value = events.get(number)?.ok_or(FileError::Missing { what, number })?;
                let wanted = |e: &StoredEvent| e.number > after && **session_of(&e.event) == *id;
                found.extend(block(number, value.value())?.into_iter().filter(wanted));
            }
            found.truncate(limit);
            Ok(found)
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

    /// Closes the database after a panic of its own, which may make it panic once more.
    pub(crate) fn abandon(&self) {
        let db = self.exchange(None);
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::error!(path = %self.path.display(), "the store was not closed cleanly; the next start repairs it");
        }
    }

    pub(crate) fn exchange(&self, db: Option<Database>) -> Option<Database> {
        std::mem::replace(&mut *self.db.write().unwrap_or_else(PoisonError::into_inner), db)
    }
}

/// How a session ended, if it was open and is not any more. The closing event is among its last.
fn ending(txn: &ReadTransaction, id: &str) -> Result<Option<String>, FileError> {
    let Some(first) = txn.open_table(SESSIONS)?.get(id)?.map(|first| first.value()) else { return Ok(None) };
    // An open one may have told of much, and has no closing event to be found.
    if txn.open_table(OPEN_SESSIONS)?.get(first)?.is_some() {
        return Ok(None);
    }
    let (index, events) = (txn.open_table(SESSION_EVENTS)?, txn.open_table(EVENTS)?);
    for entry in index.range((first, 0)..=(first, u64::MAX))?.rev() {
        let (what, number) = ("the block of event", entry?.0.value().1);
        let value = events.get(number)?.ok_or(FileError::Missing { what, number })?;
        let closing = block(number, value.value())?.into_iter().find_map(|stored| match stored.event {
            Event::Close { session, reason } if *session == *id => Some(reason),
            _ => None,
        });
        if closing.is_some() {
            return Ok(closing);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
