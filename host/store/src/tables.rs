//! The tables of the file and what is written to them together.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_verdict::{ApprovalState, Checkpoint, Event, StoredEvent, Subject};
use redb::{Database, ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::chain::Hash;
use crate::file::FileError;
use crate::record::{BadValue, Block, Unpacked, decode, unpack};
use crate::request::{Record, decode_approval, encode_approval};

pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(crate) const IDENTITY: TableDefinition<&str, &[u8]> = TableDefinition::new("identity");
pub(crate) const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
pub(crate) const CHECKPOINTS: TableDefinition<u64, &[u8]> = TableDefinition::new("checkpoints");
pub(crate) const CURSORS: TableDefinition<&str, u64> = TableDefinition::new("cursors");
pub(crate) const SESSIONS: TableDefinition<&str, u64> = TableDefinition::new("sessions");
pub(crate) const SESSION_EVENTS: TableDefinition<(u64, u64), ()> = TableDefinition::new("session_events");
pub(crate) const OPENINGS: TableDefinition<u64, ()> = TableDefinition::new("openings");
pub(crate) const LIVE_SESSIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("live_sessions");
pub(crate) const APPROVALS: TableDefinition<u64, &[u8]> = TableDefinition::new("approvals");
pub(crate) const APPROVAL_IDS: TableDefinition<&str, u64> = TableDefinition::new("approval_ids");
pub(crate) const LIVE_APPROVALS: TableDefinition<u64, ()> = TableDefinition::new("live_approvals");

/// In `meta`: the bytes of all blocks of events.
pub(crate) const EVENT_BYTES: &str = "event_bytes";
/// In `identity`: the log's identifier, and the checkpoint for the event before the first that is kept.
pub(crate) const LOG: &str = "log";
pub(crate) const ORIGIN: &str = "origin";

/// The most sessions whose first event is remembered; others are looked up in the file.
const REMEMBERED_SESSIONS: usize = 65_536;

/// Starts a transaction that is durable when its commit returns.
pub(crate) fn begin(db: &Database) -> Result<WriteTransaction, FileError> {
    let mut txn = db.begin_write()?;
    // Durable when the commit returns is the default; this makes a commit slot valid without trust in its checksum.
    txn.set_two_phase_commit(true);
    Ok(txn)
}

/// The greatest key, or 0.
pub(crate) fn last<V: redb::Value + 'static>(table: &impl ReadableTable<u64, V>) -> Result<u64, FileError> {
    Ok(table.last()?.map_or(0, |(key, _)| key.value()))
}

pub(crate) fn approval(table: &impl ReadableTable<u64, &'static [u8]>, number: u64) -> Result<Record, FileError> {
    let what = "approval";
    let value = table.get(number)?.ok_or(FileError::Missing { what, number })?;
    decode_approval(value.value()).map_err(|error| FileError::Value { what, number, error })
}

pub(crate) fn event(table: &impl ReadableTable<u64, &'static [u8]>, number: u64) -> Result<StoredEvent, FileError> {
    let missing = || FileError::Missing { what: "event", number };
    // A block stands under the number of its last event.
    let (last, value) = table.range(number..)?.next().ok_or_else(missing)??;
    let events = block(last.value(), value.value())?.events().map_err(unreadable(last.value()))?;
    events.into_iter().find(|e| e.number == number).ok_or_else(missing)
}

pub(crate) fn block(last: u64, value: &[u8]) -> Result<Unpacked, FileError> {
    unpack(last, value).map_err(unreadable(last))
}

/// The error for the block whose last event has this number.
pub(crate) fn unreadable(last: u64) -> impl Fn(BadValue) -> FileError {
    move |error| FileError::Value { what: "the block of event", number: last, error }
}

/// The first byte of a checkpoint's value, and of an open session's.
const VERSION: u8 = 1;

pub(crate) fn encode_checkpoint(checkpoint: &Checkpoint) -> Result<Vec<u8>, FileError> {
    Ok(postcard::to_extend(checkpoint, vec![VERSION])?)
}

pub(crate) fn decode_checkpoint(number: u64, bytes: &[u8]) -> Result<Checkpoint, FileError> {
    versioned(bytes).map_err(|error| FileError::Value { what: "the checkpoint for event", number, error })
}

pub(crate) fn decode_subject(number: u64, bytes: &[u8]) -> Result<Subject, FileError> {
    versioned(bytes).map_err(|error| FileError::Value { what: "the open session of event", number, error })
}

fn versioned<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, BadValue> {
    match bytes {
        [] => Err(BadValue::Empty),
        [VERSION, body @ ..] => decode(body),
        [other, ..] => Err(BadValue::Version(*other)),
    }
}

/// What the writer keeps between events: the block under way, the first events of the sessions in it, and those of open sessions.
pub(crate) struct Draft {
    block: Block,
    /// The chain's value after the last event that was put.
    pub(crate) hash: Hash,
    touched: Vec<u64>,
    firsts: HashMap<Arc<str>, u64>,
}

impl Draft {
    pub(crate) fn new(hash: Hash) -> Self {
        Self { block: Block::new(), hash, touched: Vec::new(), firsts: HashMap::new() }
    }
}

pub(crate) struct Tables<'t> {
    pub(crate) meta: Table<'t, &'static str, u64>,
    pub(crate) identity: Table<'t, &'static str, &'static [u8]>,
    pub(crate) events: Table<'t, u64, &'static [u8]>,
    pub(crate) checkpoints: Table<'t, u64, &'static [u8]>,
    pub(crate) cursors: Table<'t, &'static str, u64>,
    pub(crate) sessions: Table<'t, &'static str, u64>,
    pub(crate) session_events: Table<'t, (u64, u64), ()>,
    pub(crate) openings: Table<'t, u64, ()>,
    pub(crate) live_sessions: Table<'t, u64, &'static [u8]>,
    pub(crate) approvals: Table<'t, u64, &'static [u8]>,
    pub(crate) approval_ids: Table<'t, &'static str, u64>,
    pub(crate) live_approvals: Table<'t, u64, ()>,
    /// Bytes of the blocks that were added.
    added: u64,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(txn: &'t WriteTransaction) -> Result<Self, FileError> {
        Ok(Self {
            meta: txn.open_table(META)?,
            identity: txn.open_table(IDENTITY)?,
            events: txn.open_table(EVENTS)?,
            checkpoints: txn.open_table(CHECKPOINTS)?,
            cursors: txn.open_table(CURSORS)?,
            sessions: txn.open_table(SESSIONS)?,
            session_events: txn.open_table(SESSION_EVENTS)?,
            openings: txn.open_table(OPENINGS)?,
            live_sessions: txn.open_table(LIVE_SESSIONS)?,
            approvals: txn.open_table(APPROVALS)?,
            approval_ids: txn.open_table(APPROVAL_IDS)?,
            live_approvals: txn.open_table(LIVE_APPROVALS)?,
            added: 0,
        })
    }

    /// Adds an event to the block under way, and writes the block when it is full.
    pub(crate) fn put(&mut self, draft: &mut Draft, number: u64, at_ms: u64, event: &Event) -> Result<(), FileError> {
        draft.hash = draft.block.add(&draft.hash, number, at_ms, event)?;
        if let Some(subject) = event.subject() {
            self.index(draft, number, event, subject)?;
        }
        if draft.block.is_full() { self.seal(draft, number) } else { Ok(()) }
    }

    fn index(&mut self, draft: &mut Draft, number: u64, event: &Event, subject: &Subject) -> Result<(), FileError> {
        let session = &subject.session;
        let first = match draft.firsts.get(session) {
            Some(first) => *first,
            None => self.first_of(session, number)?,
        };
        draft.touched.push(first);
        match event {
            Event::Open(open) => {
                self.openings.insert(number, ())?;
                if open.refused.is_none() {
                    self.live_sessions.insert(first, postcard::to_extend(subject, vec![VERSION])?.as_slice())?;
                    if draft.firsts.len() >= REMEMBERED_SESSIONS {
                        draft.firsts.clear();
                    }
                    draft.firsts.insert(session.clone(), first);
                }
            }
            Event::Close { .. } => {
                self.live_sessions.remove(first)?;
                draft.firsts.remove(session);
            }
            Event::Approval(_)
            | Event::Command(_)
            | Event::Finish(_)
            | Event::Inputs(_)
            | Event::Recording(_)
            | Event::System(_) => {}
        }
        Ok(())
    }

    /// Writes the block under way, whose last event has this number, and its place in each session that it tells of.
    pub(crate) fn seal(&mut self, draft: &mut Draft, last: u64) -> Result<(), FileError> {
        if draft.block.is_empty() {
            return Ok(());
        }
        let bytes = draft.block.seal(&draft.hash).map_err(FileError::Compress)?;
        self.added += bytes.len() as u64;
        self.events.insert(last, bytes)?;
        draft.touched.sort_unstable();
        draft.touched.dedup();
        for first in draft.touched.drain(..) {
            self.session_events.insert((first, last), ())?;
        }
        Ok(())
    }

    /// Notes how much the events take, now that this much of them was removed.
    pub(crate) fn account(&mut self, removed: u64) -> Result<(), FileError> {
        let before = self.meta.get(EVENT_BYTES)?.map_or(0, |bytes| bytes.value());
        let added = std::mem::take(&mut self.added);
        self.meta.insert(EVENT_BYTES, (before + added).saturating_sub(removed))?;
        Ok(())
    }

    pub(crate) fn put_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), FileError> {
        self.checkpoints.insert(checkpoint.number, encode_checkpoint(checkpoint)?.as_slice())?;
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

    pub(crate) fn put_approval(&mut self, record: &Record) -> Result<(), FileError> {
        self.approvals.insert(record.number, encode_approval(record)?.as_slice())?;
        self.approval_ids.insert(&*record.id, record.number)?;
        if record.state == ApprovalState::Open || record.is_reusable() {
            self.live_approvals.insert(record.number, ())?;
        } else {
            self.live_approvals.remove(record.number)?;
        }
        Ok(())
    }
}
