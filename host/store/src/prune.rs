//! Removing what is too old or too much: whole stretches that end in a checkpoint, and only if the chain holds in them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::PoisonError;
use std::time::Duration;

use portcullis_verdict::{Checkpoint, Event, SystemEvent};
use redb::ReadableTable;

use crate::file::{FileError, identity};
use crate::journal::Journal;
use crate::record::block_head;
use crate::tables::{
    EVENT_BYTES, ORIGIN, Tables, approval, begin, block, decode_checkpoint, encode_checkpoint, last, unreadable,
};
use crate::verify::Verifier;

/// The blocks that are removed in one transaction, or as many more as there are to the next checkpoint: the audit waits meanwhile.
const STRETCH: usize = 256;

/// So much more than the bound may there be before anything goes: what is removed has to be worth the event that tells it.
const SLACK: u64 = 64 << 10;

/// The most approval requests that are looked at with each stretch.
const OLD_APPROVALS: usize = 1000;

/// How long and how much is kept. What is not given is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Events that are older are removed.
    pub max_age: Option<Duration>,
    /// The bytes of all events as they are stored; the oldest beyond it are removed.
    pub max_bytes: Option<u64>,
}

impl Retention {
    pub(crate) fn is_limited(&self) -> bool {
        self.max_age.is_some() || self.max_bytes.is_some()
    }
}

/// Events that were removed: the first and the last of them. The log tells it in the same transaction, and a verification takes the removal
/// on the word of that event only, since it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// Reads what [`Pruned`] writes.
impl FromStr for Pruned {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (first, last) =
            text.strip_prefix("events ").and_then(|rest| rest.split(';').next()?.split_once(" to ")).ok_or(())?;
        Ok(Self { first: first.parse().map_err(drop)?, last: last.parse().map_err(drop)? })
    }
}

impl Pruned {
    /// What an event says was removed, if it says so.
    pub(crate) fn told_by(event: &Event) -> Option<Self> {
        match event {
            Event::System(SystemEvent { what, detail, .. }) if what == "pruned" => detail.parse().ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        write!(f, "events {first} to {last}; the checkpoint for event {last} vouches for them and is kept")
    }
}

/// Blocks that may go: the last event of each, its bytes, and the checkpoint in which they end.
struct Stretch {
    blocks: Vec<u64>,
    bytes: u64,
    end: Checkpoint,
}

impl Journal {
    /// Removes one stretch that is too old or too much, if there is one.
    pub(crate) fn prune(&mut self, retention: &Retention, now_ms: u64) -> Result<Option<Pruned>, FileError> {
        let db = self.file.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or_else(|| FileError::Closed(self.file.path.clone()))?;
        let txn = begin(db)?;
        let (pruned, position) = {
            let mut tables = Tables::open(&txn)?;
            let origin = identity(&tables.identity)?.1;
            let Some(stretch) = stretch(&tables, retention, now_ms)? else {
                // Nothing was changed, and nothing needs to be written.
                drop(tables);
                txn.abort()?;
                return Ok(None);
            };
            verify(&tables, &origin, &stretch)?;
            remove(&mut tables, &stretch)?;
            let pruned = Pruned { first: origin.number + 1, last: stretch.end.number };
            let (what, by, detail) = ("pruned".into(), String::new(), pruned.to_string());
            let mut position = self.position;
            position.last += 1;
            tables.put(&mut self.draft, position.last, now_ms, &Event::System(SystemEvent { what, by, detail }))?;
            tables.seal(&mut self.draft, position.last)?;
            tables.account(0)?;
            position.hash = self.draft.hash;
            (pruned, position)
        };
        txn.commit()?;
        self.position = position;
        Ok(Some(pruned))
    }
}

/// The oldest blocks that are too old or too much, up to the last checkpoint among them.
fn stretch(tables: &Tables<'_>, retention: &Retention, now_ms: u64) -> Result<Option<Stretch>, FileError> {
    let total = tables.meta.get(EVENT_BYTES)?.map_or(0, |bytes| bytes.value());
    let excess = retention.max_bytes.filter(|max| total > max + SLACK).map_or(0, |max| total - max);
    let oldest = retention.max_age.map_or(0, |age| now_ms.saturating_sub(age.as_millis() as u64));
    // The newest block always stays: the log goes on from it.
    let newest = last(&tables.events)?;
    let (mut blocks, mut bytes, mut found) = (Vec::new(), 0, None);
    for entry in tables.events.iter()? {
        if blocks.len() >= STRETCH && found.is_some() {
            break;
        }
        let (number, value) = entry?;
        let (number, value) = (number.value(), value.value());
        let too_old = block_head(value).map_err(unreadable(number))?.times.1 < oldest;
        if (!too_old && bytes >= excess) || number == newest {
            break;
        }
        blocks.push(number);
        bytes += value.len() as u64;
        if let Some(checkpoint) = tables.checkpoints.get(number)? {
            let end = decode_checkpoint(number, checkpoint.value())?;
            found = Some((blocks.len(), bytes, end));
        }
    }
    Ok(found.map(|(count, bytes, end)| {
        blocks.truncate(count);
        Stretch { blocks, bytes, end }
    }))
}

fn verify(tables: &Tables<'_>, origin: &Checkpoint, stretch: &Stretch) -> Result<(), FileError> {
    // The key may have changed between them.
    let mut verifier = Verifier::new(&[origin.key.clone(), stretch.end.key.clone()]);
    verifier.begins_at(origin.number);
    verifier.checkpoint(origin);
    verifier.checkpoint(&stretch.end);
    for number in &stretch.blocks {
        let value = tables.events.get(number)?.ok_or(FileError::Missing { what: "event", number: *number })?;
        let block = block(*number, value.value())?;
        for encoded in block.encoded() {
            let encoded = encoded.map_err(unreadable(*number))?;
            verifier.link(encoded.number, encoded.bytes, encoded.claim);
        }
    }
    match verifier.finish().problems.first() {
        Some(problem) => Err(FileError::Unverified(problem.to_string())),
        None => Ok(()),
    }
}

fn remove(tables: &mut Tables<'_>, stretch: &Stretch) -> Result<(), FileError> {
    let (end, mut until) = (stretch.end.number, 0);
    let mut sessions = BTreeSet::new();
    for number in &stretch.blocks {
        let removed = tables.events.remove(number)?.map(|value| value.value().to_vec()).unwrap_or_default();
        let removed = block(*number, &removed)?;
        until = removed.head.times.1;
        for event in removed.events().map_err(unreadable(*number))? {
            if let Some(subject) = event.event.subject() {
                sessions.insert(subject.session.clone());
            }
        }
    }
    for session in sessions {
        let Some(first) = tables.sessions.get(&*session)?.map(|first| first.value()) else { continue };
        tables.session_events.retain_in((first, 0)..=(first, end), |_, ()| false)?;
        let is_live = tables.live_sessions.get(first)?.is_some();
        if !is_live && tables.session_events.range((first, 0)..=(first, u64::MAX))?.next().is_none() {
            tables.sessions.remove(&*session)?;
        }
    }
    tables.openings.retain_in(..=end, |_, ()| false)?;
    tables.checkpoints.retain_in(..=end, |_, _| false)?;
    tables.identity.insert(ORIGIN, encode_checkpoint(&stretch.end)?.as_slice())?;
    remove_approvals(tables, until)?;
    tables.account(stretch.bytes)
}

/// Removes the requests that were opened before this time and serve nothing any more, as far as some of the oldest go. The newest stays, since
/// the next one is numbered after it.
fn remove_approvals(tables: &mut Tables<'_>, until_ms: u64) -> Result<(), FileError> {
    let newest = last(&tables.approvals)?;
    let mut old = Vec::new();
    for entry in tables.approvals.range(..newest)?.take(OLD_APPROVALS) {
        let number = entry?.0.value();
        let record = approval(&tables.approvals, number)?;
        if record.opened_ms >= until_ms {
            break;
        }
        if tables.live_approvals.get(number)?.is_none() || record.expires_ms < until_ms {
            old.push((number, record.id));
        }
    }
    for (number, id) in old {
        tables.approvals.remove(number)?;
        tables.approval_ids.remove(&*id)?;
        tables.live_approvals.remove(number)?;
    }
    Ok(())
}
