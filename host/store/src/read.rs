//! What is read back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_verdict::{ChainedEvent, Checkpoint, Event, Filter, Found, Head, RecordedSession, StoredEvent};
use redb::{ReadTransaction, ReadableTable};

use crate::chain::hex;
use crate::file::{File, FileError, identity, position};
use crate::record::block_head;
use crate::tables::{
    CHECKPOINTS, CURSORS, EVENTS, IDENTITY, LIVE_SESSIONS, OPENINGS, SESSION_EVENTS, SESSIONS, block,
    decode_checkpoint, event, unreadable,
};
use crate::verify::Claim;

/// The most blocks that one search unpacks, and the most that it looks at.
const UNPACKED: usize = 2_000;
const LOOKED_AT: usize = 100_000;

/// The most bytes of encoded events in a page of an export; at least one block is in it.
const EXPORT_BYTES: usize = 16 << 20;

impl File {
    /// The newest sessions first, at most `limit`, of those that opened before event `before` if one is given.
    pub(crate) fn sessions(&self, before: Option<u64>, limit: usize) -> Result<Vec<RecordedSession>, FileError> {
        self.read(|txn| {
            let (openings, events) = (txn.open_table(OPENINGS)?, txn.open_table(EVENTS)?);
            let newest = openings.range(..before.unwrap_or(u64::MAX))?.rev().take(limit);
            let session = |number| {
                let opening = event(&events, number)?;
                let id = opening.event.subject().map(|subject| subject.session.clone()).unwrap_or_default();
                let ended = ending(txn, &id)?;
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
                let wanted = |e: &StoredEvent| e.number > after && e.event.subject().is_some_and(|s| *s.session == *id);
                found.extend(block_events(&events, entry?.0.value().1)?.into_iter().filter(wanted));
            }
            found.truncate(limit);
            Ok(found)
        })
    }

    /// The newest events first that a filter passes.
    pub(crate) fn search(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Found, FileError> {
        self.read(|txn| {
            let events = txn.open_table(EVENTS)?;
            let (mut found, before) = (Vec::new(), before.unwrap_or(u64::MAX));
            let (mut looked_at, mut unpacked) = (0, 0);
            // The block that holds the event before `before` stands under that event or a later one.
            let newest = events.range(before.saturating_sub(1)..)?.next().transpose()?.map(|(last, _)| last.value());
            let mut next = None;
            for entry in events.range(..=newest.unwrap_or(u64::MAX))?.rev() {
                let (last, value) = entry?;
                let (last, value) = (last.value(), value.value());
                let head = block_head(value).map_err(unreadable(last))?;
                if found.len() >= limit || unpacked >= UNPACKED || looked_at >= LOOKED_AT {
                    next = Some(next.unwrap_or(last + 1));
                    break;
                }
                looked_at += 1;
                if filter.from_ms.is_some_and(|from| head.times.1 < from)
                    || filter.to_ms.is_some_and(|to| head.times.0 >= to)
                {
                    continue;
                }
                unpacked += 1;
                for stored in block(last, value)?.events().map_err(unreadable(last))?.into_iter().rev() {
                    if stored.number >= before || !filter.passes(&stored) {
                        continue;
                    }
                    if found.len() >= limit {
                        next = Some(stored.number + 1);
                        break;
                    }
                    found.push(stored);
                }
            }
            Ok(Found { events: found, next })
        })
    }

    /// Events with their links in the chain, after event `after`, in order, at most `limit`.
    pub(crate) fn export(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, FileError> {
        self.read(|txn| {
            let events = txn.open_table(EVENTS)?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            for entry in events.range(after.saturating_add(1)..)? {
                let (last, value) = entry?;
                let last = last.value();
                for encoded in block(last, value.value())?.encoded() {
                    let encoded = encoded.map_err(unreadable(last))?;
                    if encoded.number <= after || found.len() >= limit {
                        continue;
                    }
                    bytes += encoded.bytes.len();
                    let hash = match encoded.claim {
                        Claim::Whole(hash) => hex(&hash),
                        Claim::Part(part) => hex(&part),
                    };
                    let stored = encoded.event().map_err(unreadable(last))?;
                    found.push(ChainedEvent { stored, encoded: STANDARD.encode(encoded.bytes), hash });
                }
                if found.len() >= limit || bytes >= EXPORT_BYTES {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// The checkpoints for events after event `after`, in order, at most `limit`.
    pub(crate) fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, FileError> {
        self.read(|txn| {
            let table = txn.open_table(CHECKPOINTS)?;
            let some = table.range(after.saturating_add(1)..)?.take(limit);
            some.map(|entry| {
                let (number, value) = entry?;
                decode_checkpoint(number.value(), value.value())
            })
            .collect()
        })
    }

    pub(crate) fn head(&self) -> Result<Head, FileError> {
        self.read(|txn| {
            let (log, origin) = identity(&txn.open_table(IDENTITY)?)?;
            let at = position(&txn.open_table(EVENTS)?, &txn.open_table(CHECKPOINTS)?, &origin)?;
            let public_key = self.public_key.clone();
            let base = origin.number;
            Ok(Head {
                log: hex(&log),
                public_key,
                base,
                origin,
                last: at.last,
                checkpoint: at.checkpoint,
                hash: hex(&at.hash),
            })
        })
    }

    pub(crate) fn cursor(&self, name: &str) -> Result<Option<u64>, FileError> {
        self.read(|txn| Ok(txn.open_table(CURSORS)?.get(name)?.map(|number| number.value())))
    }
}

fn block_events(events: &impl ReadableTable<u64, &'static [u8]>, last: u64) -> Result<Vec<StoredEvent>, FileError> {
    let missing = FileError::Missing { what: "the block of event", number: last };
    let value = events.get(last)?.ok_or(missing)?;
    block(last, value.value())?.events().map_err(unreadable(last))
}

/// How a session ended, if it was open and is not any more. The closing event is among its last.
fn ending(txn: &ReadTransaction, id: &str) -> Result<Option<String>, FileError> {
    let Some(first) = txn.open_table(SESSIONS)?.get(id)?.map(|first| first.value()) else { return Ok(None) };
    // An open one may have told of much, and has no closing event to be found.
    if txn.open_table(LIVE_SESSIONS)?.get(first)?.is_some() {
        return Ok(None);
    }
    let (index, events) = (txn.open_table(SESSION_EVENTS)?, txn.open_table(EVENTS)?);
    for entry in index.range((first, 0)..=(first, u64::MAX))?.rev() {
        let closing = block_events(&events, entry?.0.value().1)?.into_iter().find_map(|stored| match stored.event {
            Event::Close { subject, reason } if *subject.session == *id => Some(reason),
            _ => None,
        });
        if closing.is_some() {
            return Ok(closing);
        }
    }
    Ok(None)
}
