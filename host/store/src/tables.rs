//! The tables of the file and what is written to them together.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_verdict::{ApprovalState, Event, StoredEvent};
use redb::{Database, ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::file::FileError;
use crate::record::{Block, Record, decode_approval, decode_block, encode_approval};

pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(crate) const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
pub(crate) const SESSIONS: TableDefinition<&str, u64> = TableDefinition::new("sessions");
pub(crate) const SESSION_EVENTS: TableDefinition<(u64, u64), ()> = TableDefinition::new("session_events");
pub(crate) const OPENINGS: TableDefinition<u64, ()> = TableDefinition::new("openings");
pub(crate) const OPEN_SESSIONS: TableDefinition<u64, &str> = TableDefinition::new("open_sessions");
pub(crate) const APPROVALS: TableDefinition<u64, &[u8]> = TableDefinition::new("approvals");
pub(crate) const APPROVAL_IDS: TableDefinition<&str, u64> = TableDefinition::new("approval_ids");
pub(crate) const LIVE_APPROVALS: TableDefinition<u64, ()> = TableDefinition::new("live_approvals");

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
    let events = block(last.value(), value.value())?;
    events.into_iter().find(|e| e.number == number).ok_or_else(missing)
}

pub(crate) fn block(last: u64, value: &[u8]) -> Result<Vec<StoredEvent>, FileError> {
    decode_block(last, value).map_err(|error| FileError::Value { what: "the block of event", number: last, error })
}

/// What the writer keeps between events: the block under way, the first events of the sessions in it, and those of open sessions.
#[derive(Default)]
pub(crate) struct Draft {
    block: Block,
    touched: Vec<u64>,
    firsts: HashMap<Arc<str>, u64>,
}

pub(crate) struct Tables<'t> {
    pub(crate) meta: Table<'t, &'static str, u64>,
    pub(crate) events: Table<'t, u64, &'static [u8]>,
    pub(crate) sessions: Table<'t, &'static str, u64>,
    pub(crate) session_events: Table<'t, (u64, u64), ()>,
    pub(crate) openings: Table<'t, u64, ()>,
    pub(crate) open_sessions: Table<'t, u64, &'static str>,
    pub(crate) approvals: Table<'t, u64, &'static [u8]>,
    pub(crate) approval_ids: Table<'t, &'static str, u64>,
    pub(crate) live_approvals: Table<'t, u64, ()>,
}

impl<'t> Tables<'t> {
    pub(crate) fn open(txn: &'t WriteTransaction) -> Result<Self, FileError> {
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

    /// Adds an event to the block under way, and writes the block when it is full.
    pub(crate) fn put(&mut self, draft: &mut Draft, number: u64, at_ms: u64, event: &Event) -> Result<(), FileError> {
        draft.block.add(at_ms, event)?;
        let session = session_of(event);
        let first = match draft.firsts.get(session) {
            Some(first) => *first,
            None => self.first_of(session, number)?,
        };
        draft.touched.push(first);
        match event {
            Event::Open(open) => {
                self.openings.insert(number, ())?;
                if open.refused.is_none() {
                    self.open_sessions.insert(first, &**session)?;
                    if draft.firsts.len() >= REMEMBERED_SESSIONS {
                        draft.firsts.clear();
                    }
                    draft.firsts.insert(session.clone(), first);
                }
            }
            Event::Close { .. } => {
                self.open_sessions.remove(first)?;
                draft.firsts.remove(session);
            }
            Event::Approval { .. } | Event::Command(_) | Event::Finish(_) => {}
        }
        if draft.block.is_full() { self.seal(draft, number) } else { Ok(()) }
    }

    /// Writes the block under way, whose last event has this number, and its place in each session that it tells of.
    pub(crate) fn seal(&mut self, draft: &mut Draft, last: u64) -> Result<(), FileError> {
        if draft.block.is_empty() {
            return Ok(());
        }
        self.events.insert(last, draft.block.seal())?;
        draft.touched.sort_unstable();
        draft.touched.dedup();
        for first in draft.touched.drain(..) {
            self.session_events.insert((first, last), ())?;
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

pub(crate) fn session_of(event: &Event) -> &Arc<str> {
    match event {
        Event::Open(e) => &e.session,
        Event::Command(e) => &e.session,
        Event::Finish(e) => &e.session,
        Event::Close { session, .. } | Event::Approval { session, .. } => session,
    }
}
