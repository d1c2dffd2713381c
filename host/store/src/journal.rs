//! The one place that numbers events and writes them.

use std::sync::{Arc, PoisonError};

use redb::{Database, ReadableDatabase};

use crate::file::{File, FileError, check_format};
use crate::queue::Item;
use crate::tables::{Draft, EVENTS, Tables, begin, last};

/// Numbers, encodes and writes events. There is one, and the writer has it.
pub(crate) struct Journal {
    file: Arc<File>,
    next: u64,
    draft: Draft,
}

/// Where the file stands after a commit that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Position {
    Before,
    After,
}

impl Journal {
    pub(crate) fn new(file: Arc<File>, next: u64) -> Self {
        Self { file, next, draft: Draft::default() }
    }

    /// Writes the batch in one durable transaction. After an error only [`Journal::reopen`] can tell what became of it.
    pub(crate) fn commit(&mut self, batch: &[Item]) -> Result<(), FileError> {
        let db = self.file.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| FileError::Closed(self.file.path.clone()))?;
        let txn = begin(db)?;
        {
            let mut tables = Tables::open(&txn)?;
            for (number, item) in (self.next..).zip(batch) {
                tables.put(&mut self.draft, number, item.at_ms, &item.event)?;
                if let Some(record) = &item.record {
                    tables.put_approval(record)?;
                }
            }
            tables.seal(&mut self.draft, self.next + batch.len() as u64 - 1)?;
        }
        txn.commit()?;
        self.next += batch.len() as u64;
        Ok(())
    }

    /// Closes the database and opens it again, then looks whether the last batch, of `len` events, is in it.
    pub(crate) fn reopen(&mut self, len: u64) -> Result<Position, FileError> {
        // Closed first: the file cannot be opened twice. Opening may take long, and readers are not to wait for it.
        drop(self.file.exchange(None));
        self.draft = Draft::default();
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
