//! The file: how it is opened, what is ended then, and what is read back.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_verdict::{ApprovalView, Checkpoint};
use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableHandle};

use crate::chain::{self, Hash, LogId, SigningKey};
use crate::error::StoreError;
use crate::journal::{Journal, Signer};
use crate::record::{BadValue, block_head};
use crate::request::{Record, decode_approval};
use crate::start::{Started, start};
use crate::tables::{APPROVAL_IDS, APPROVALS, LOG, META, ORIGIN, approval, decode_checkpoint, last, unreadable};

/// Pages of the file that are kept in memory, in bytes.
const CACHE_BYTES: usize = 64 << 20;

/// The most bytes of a list of approvals.
pub(crate) const LIST_BYTES: usize = 16 << 20;

/// The key in `meta`, the layout that this version writes, and the oldest that it can bring up to that.
pub(crate) const FORMAT_KEY: &str = "format";
pub(crate) const FORMAT: u64 = 2;
const OLDEST_FORMAT: u64 = 1;

/// Opens the database; `true` may create it.
pub(crate) type Opener = Box<dyn Fn(bool) -> Result<Database, StoreError> + Send + Sync>;

/// Opens the database in this file. The file is created for its owner alone, as is its directory.
pub(crate) fn opener(path: &Path) -> Opener {
    let path = path.to_path_buf();
    Box::new(move |create| {
        let length = std::fs::metadata(&path).map(|metadata| metadata.len());
        match length {
            Ok(0) if !create => return Err(StoreError::damaged(&path, "it has become empty")),
            Ok(0) => make(&path)?,
            Err(error) if create && error.kind() == ErrorKind::NotFound => make(&path)?,
            Ok(_) | Err(_) => {}
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|e| StoreError::io(&path, e))?;
        let backend = FileBackend::new(file).map_err(|e| StoreError::database(&path, e.into()))?;
        open_backend(&path, backend)
    })
}

/// Makes an empty database under another name first: whenever the power goes, there is a whole file or none.
fn make(path: &Path) -> Result<(), StoreError> {
    let failed = |e| StoreError::io(path, e);
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|e| StoreError::io(directory, e))?;
    let draft = path.with_extension("new");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft);
    let backend = FileBackend::new(file.map_err(failed)?).map_err(|e| StoreError::database(path, e.into()))?;
    open_backend(path, backend)?.close().map_err(|e| StoreError::database(path, e.into()))?;
    std::fs::rename(&draft, path).map_err(failed)?;
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
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
    #[error("events cannot be compressed: {0}")]
    Compress(std::io::Error),
    #[error("an event cannot be encoded: {0}")]
    Encode(#[from] postcard::Error),
    #[error("it has no identity: the log's own identifier or its origin is missing")]
    Identity,
    #[error("{what} {number} is missing")]
    Missing { what: &'static str, number: u64 },
    #[error("another program wrote to the file: it ends with event {found} instead of {expected}")]
    Moved { found: u64, expected: u64 },
    #[error("{0}")]
    Open(#[from] StoreError),
    #[error("the chain of events does not hold: {0}")]
    Unverified(String),
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
    pub(crate) public_key: String,
}

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The last event, or 0.
    pub(crate) last: u64,
    /// The chain's value after it.
    pub(crate) hash: Hash,
    /// The last event that a checkpoint is for.
    pub(crate) checkpoint: u64,
}

/// How far this file has come, and where what is kept begins.
pub(crate) fn position(
    events: &impl ReadableTable<u64, &'static [u8]>,
    checkpoints: &impl ReadableTable<u64, &'static [u8]>,
    origin: &Checkpoint,
) -> Result<Position, FileError> {
    let checkpoint = last(checkpoints)?.max(origin.number);
    let Some((number, value)) = events.last()? else {
        let hash = chain::from_hex(&origin.hash).ok_or(FileError::Identity)?;
        return Ok(Position { last: origin.number, hash, checkpoint });
    };
    let head = block_head(value.value()).map_err(unreadable(number.value()))?;
    Ok(Position { last: number.value(), hash: head.hash, checkpoint })
}

/// The log's identifier and origin.
pub(crate) fn identity(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<(LogId, Checkpoint), FileError> {
    let log = table.get(LOG)?.and_then(|log| log.value().try_into().ok()).ok_or(FileError::Identity)?;
    let origin = table.get(ORIGIN)?.ok_or(FileError::Identity)?;
    Ok((log, decode_checkpoint(0, origin.value())?))
}

/// What an opened file holds that the store goes on with.
pub(crate) struct Opened {
    pub(crate) file: Arc<File>,
    pub(crate) journal: Journal,
    pub(crate) started: Started,
}

/// Opens the file, or makes it, brings it up to this version's format, and ends what an earlier run left open.
pub(crate) fn open(path: &Path, opener: Opener, signing_key: SigningKey, now_ms: u64) -> Result<Opened, StoreError> {
    let db = opener(true)?;
    let opened = catch_unwind(AssertUnwindSafe(|| start(&db, path, &signing_key, now_ms)));
    let opened =
        opened.unwrap_or_else(|_| Err(StoreError::damaged(path, "the database could not make sense of it").into()));
    let started = opened.map_err(|e| e.into_store_error(path))?;
    let public_key = signing_key.public_hex();
    let signer = Signer::new(signing_key, started.log, started.position.checkpoint);
    let file = Arc::new(File { path: path.into(), opener, db: RwLock::new(Some(db)), public_key });
    let journal = Journal::new(file.clone(), started.position, signer);
    Ok(Opened { file, journal, started })
}

/// The format of a store, or none for an empty database, which is a new store. Anything else is refused.
pub(crate) fn check_format(db: &impl ReadableDatabase, path: &Path) -> Result<Option<u64>, FileError> {
    let txn = db.begin_read()?;
    if txn.list_tables()?.next().is_none() {
        return Ok(None);
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
        Some(format) if (OLDEST_FORMAT..=FORMAT).contains(&format) => Ok(Some(format)),
        Some(found) => Err(StoreError::Version { path: path.into(), found, known: FORMAT }.into()),
        None => Err(foreign().into()),
    }
}

impl File {
    /// The newest approval requests first, of those before a number if one is given, bounded in number and in bytes.
    pub(crate) fn approvals(&self, before: Option<u64>, limit: usize) -> Result<Vec<ApprovalView>, FileError> {
        self.read(|txn| {
            let table = txn.open_table(APPROVALS)?;
            let (mut views, mut bytes) = (Vec::new(), 0);
            for entry in table.range(..before.unwrap_or(u64::MAX))?.rev().take(limit) {
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

    pub(crate) fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, FileError>) -> Result<T, FileError> {
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

#[cfg(test)]
mod tests;
