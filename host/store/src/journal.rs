//! The one place that numbers events, chains and signs them, and writes them.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use portcullis_verdict::Checkpoint;
use redb::{Database, ReadableDatabase};

use crate::chain::{LogId, SigningKey};
use crate::file::{File, FileError, Position, check_format, identity, position};
use crate::queue::Item;
use crate::tables::{CHECKPOINTS, Draft, EVENTS, IDENTITY, Tables, begin};

/// Numbers, chains, encodes and writes events. There is one, and the writer has it.
pub(crate) struct Journal {
    pub(crate) file: Arc<File>,
    pub(crate) position: Position,
    signer: Signer,
    pub(crate) draft: Draft,
}

/// Where the file stands after a commit that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Before,
    After,
}

/// Signs how far the log has come.
pub(crate) struct Signer {
    key: SigningKey,
    log: LogId,
    signed: u64,
    at: Instant,
}

impl Signer {
    pub(crate) fn new(key: SigningKey, log: LogId, signed: u64) -> Self {
        Self { key, log, signed, at: Instant::now() }
    }

    fn sign(&self, position: &Position, now_ms: u64) -> Checkpoint {
        self.key.checkpoint(&self.log, position.last, now_ms, &position.hash)
    }

    fn signed(&mut self, last: u64) {
        (self.signed, self.at) = (last, Instant::now());
    }
}

impl Journal {
    pub(crate) fn new(file: Arc<File>, position: Position, signer: Signer) -> Self {
        Self { file, position, signer, draft: Draft::new(position.hash) }
    }

    /// Whether there are events that no checkpoint vouches for.
    pub(crate) fn is_unsigned(&self) -> bool {
        self.position.last > self.signer.signed
    }

    /// When the last checkpoint was made.
    pub(crate) fn signed_at(&self) -> Instant {
        self.signer.at
    }

    /// After a transaction that was given up.
    pub(crate) fn forget_draft(&mut self) {
        self.draft = Draft::new(self.position.hash);
    }

    /// Writes the batch in one durable transaction, with a checkpoint at its end if `sign` says when. After an error only
    /// [`Journal::reopen`] can tell what became of it.
    pub(crate) fn commit(&mut self, batch: &[Item], sign: Option<u64>) -> Result<(), FileError> {
        let committed = self.write(batch, sign);
        match &committed {
            Ok(position) => self.position = *position,
            Err(_) => self.forget_draft(),
        }
        if sign.is_some() && committed.is_ok() {
            self.signer.signed(self.position.last);
        }
        committed.map(drop)
    }

    fn write(&mut self, batch: &[Item], sign: Option<u64>) -> Result<Position, FileError> {
        let db = self.file.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| FileError::Closed(self.file.path.clone()))?;
        let txn = begin(db)?;
        let mut position = self.position;
        {
            let mut tables = Tables::open(&txn)?;
            for item in batch {
                if let Some(event) = &item.event {
                    position.last += 1;
                    tables.put(&mut self.draft, position.last, item.at_ms, event)?;
                }
                if let Some(record) = &item.record {
                    tables.put_approval(record)?;
                }
                if let Some((name, number)) = &item.cursor {
                    tables.cursors.insert(name.as_str(), number)?;
                }
            }
            tables.seal(&mut self.draft, position.last)?;
            tables.account(0)?;
            position.hash = self.draft.hash;
            if let Some(now_ms) = sign {
                position.checkpoint = position.last;
                tables.put_checkpoint(&self.signer.sign(&position, now_ms))?;
            }
        }
        txn.commit()?;
        Ok(position)
    }

    /// Closes the database and opens it again, then looks whether the last batch, of `events` events, is in it.
    pub(crate) fn reopen(&mut self, events: u64) -> Result<Outcome, FileError> {
        // Closed first: the file cannot be opened twice. Opening may take long, and readers are not to wait for it.
        drop(self.file.exchange(None));
        let opened = (self.file.opener)(false)?;
        check_format(&opened, &self.file.path)?;
        let txn = opened.begin_read()?;
        let origin = identity(&txn.open_table(IDENTITY)?)?.1;
        let found = position(&txn.open_table(EVENTS)?, &txn.open_table(CHECKPOINTS)?, &origin)?;
        drop(txn);
        let outcome = match found.last.checked_sub(self.position.last) {
            // A batch of no events may be written once more.
            Some(0) if found.hash == self.position.hash => Outcome::Before,
            Some(more) if more == events => Outcome::After,
            _ => return Err(FileError::Moved { found: found.last, expected: self.position.last }),
        };
        self.position = found;
        self.signer.signed = found.checkpoint;
        self.draft = Draft::new(found.hash);
        self.file.exchange(Some(opened));
        Ok(outcome)
    }

    /// Closes the database, so that another process may open it.
    pub(crate) fn close(self) {
        if let Some(Err(error)) = self.file.exchange(None).map(Database::close) {
            tracing::warn!(path = %self.file.path.display(), %error, "the store was not closed cleanly; the next start repairs it");
        }
    }
}
