//! What happens when a file is opened: a new one gets its identity, an old one is brought up to this version's format, and what an
//! earlier run left open is ended.

use std::path::Path;
use std::sync::Arc;

use portcullis_verdict::{ApprovalEvent, ApprovalState, Checkpoint, Event, Subject, SystemEvent};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use crate::chain::{self, LogId, SigningKey};
use crate::file::{FORMAT, FORMAT_KEY, FileError, Position, check_format, identity, position};
use crate::request::{Record, encode_approval};
use crate::tables::{
    Draft, LOG, ORIGIN, Tables, approval, begin, block, decode_checkpoint, decode_subject, encode_checkpoint, event,
    last, unreadable,
};
use crate::v1::Translator;
use crate::verify::{Problem, Verifier};

/// The last event of an orderly end.
pub(crate) const STOPPED_EVENT: &str = "stopped";

pub(crate) const STOPPED: &str = "the gateway stopped";

/// In format 1 the sessions that are open were kept by name.
const OPEN_SESSIONS_V1: TableDefinition<'_, u64, &str> = TableDefinition::new("open_sessions");

/// What an opened file holds that the store goes on with.
pub(crate) struct Started {
    pub(crate) log: LogId,
    pub(crate) position: Position,
    /// Granted requests that serve later commands.
    pub(crate) reusable: Vec<Record>,
    /// Requests that stay open without a client.
    pub(crate) open: Vec<Record>,
    /// The number of the next approval request.
    pub(crate) next_approval: u64,
}

/// Events that are put while the file is opened.
struct Putting<'a, 't> {
    tables: &'a mut Tables<'t>,
    draft: Draft,
    last: u64,
    now_ms: u64,
}

impl Putting<'_, '_> {
    fn put(&mut self, event: &Event) -> Result<(), FileError> {
        self.last += 1;
        self.tables.put(&mut self.draft, self.last, self.now_ms, event)
    }
}

pub(crate) fn start(db: &Database, path: &Path, key: &SigningKey, now_ms: u64) -> Result<Started, FileError> {
    let format = check_format(db, path)?;
    let txn = begin(db)?;
    let started = {
        let mut tables = Tables::open(&txn)?;
        if format != Some(FORMAT) {
            let log = *uuid::Uuid::new_v4().as_bytes();
            let origin = key.checkpoint(&log, 0, now_ms, &chain::beginning(&log));
            tables.identity.insert(LOG, log.as_slice())?;
            tables.identity.insert(ORIGIN, encode_checkpoint(&origin)?.as_slice())?;
            tables.meta.insert(FORMAT_KEY, FORMAT)?;
        }
        let (log, origin) = identity(&tables.identity)?;
        let before = match format {
            Some(1) => migrate(&txn, &mut tables, &log, now_ms)?,
            _ => position(&tables.events, &tables.checkpoints, &origin)?,
        };
        let signed = newest_checkpoint(&tables, &origin)?;
        let tampering = match format {
            Some(FORMAT) => tampering(&tables, &origin, &signed)?,
            _ => None,
        };
        let mut putting = Putting { tables: &mut tables, draft: Draft::new(before.hash), last: before.last, now_ms };
        if let Some(detail) = tampering {
            tracing::error!(detail, "the audit log was changed while the gateway did not run");
            putting.put(&system("tampered", detail))?;
        }
        if before.last > signed.number && format == Some(FORMAT) {
            let detail = format!(
                "events {} to {} were not signed when the gateway ended; it vouches for them from here on only",
                signed.number + 1,
                before.last
            );
            putting.put(&system("unsigned", detail))?;
        }
        if signed.key != key.public_hex() {
            let detail =
                format!("checkpoints are signed with {} from here on, before it was {}", key.public_hex(), signed.key);
            putting.put(&system("key-changed", detail))?;
        }
        let (reusable, open) = end_approvals(&mut putting)?;
        end_sessions(&mut putting)?;
        let Putting { mut draft, last: newest, .. } = putting;
        tables.seal(&mut draft, newest)?;
        tables.account(0)?;
        let mut position = Position { last: newest, hash: draft.hash, ..before };
        if newest > position.checkpoint {
            tables.put_checkpoint(&key.checkpoint(&log, newest, now_ms, &position.hash))?;
            position.checkpoint = newest;
        }
        Started { log, position, reusable, open, next_approval: last(&tables.approvals)? + 1 }
    };
    txn.commit()?;
    Ok(started)
}

fn system(what: &'static str, detail: String) -> Event {
    Event::System(SystemEvent { what: what.into(), by: String::new(), detail })
}

fn newest_checkpoint(tables: &Tables<'_>, origin: &Checkpoint) -> Result<Checkpoint, FileError> {
    match tables.checkpoints.last()? {
        Some((number, value)) => decode_checkpoint(number.value(), value.value()),
        None => Ok(origin.clone()),
    }
}

/// What is wrong with the events that no checkpoint vouches for, if anything is: they are about to be signed.
fn tampering(tables: &Tables<'_>, origin: &Checkpoint, signed: &Checkpoint) -> Result<Option<String>, FileError> {
    let mut verifier = Verifier::new(&[]);
    verifier.begins_at(signed.number);
    verifier.checkpoint(signed);
    for entry in tables.events.range(signed.number + 1..)? {
        let (last, value) = entry?;
        for encoded in block(last.value(), value.value())?.encoded() {
            let encoded = encoded.map_err(unreadable(last.value()))?;
            verifier.link(encoded.number, encoded.bytes, encoded.claim);
        }
    }
    let newest = last(&tables.events)?.max(origin.number);
    let mut problems = verifier.finish().problems;
    // The verifier has seen nothing of what stands before the checkpoint, and that nothing behind it is signed is known.
    problems.retain(|p| !matches!(p, Problem::Cut { .. } | Problem::Nothing | Problem::Unsigned { .. }));
    if newest < signed.number {
        problems.push(Problem::Cut { last: newest, checkpoint: signed.number });
    }
    let mut told: Vec<String> = problems.iter().take(10).map(Problem::to_string).collect();
    if newest > signed.number && ended_in_order(tables, signed.number)? {
        told.push(format!("events {} to {newest} stand behind the end of an orderly run", signed.number + 1));
    }
    Ok((!told.is_empty()).then(|| told.join("; ")))
}

/// Whether the run that signed this event had come to its end.
fn ended_in_order(tables: &Tables<'_>, number: u64) -> Result<bool, FileError> {
    if tables.events.get(number)?.is_none() {
        return Ok(false);
    }
    let signed = event(&tables.events, number)?.event;
    Ok(matches!(signed, Event::System(SystemEvent { what, .. }) if what == STOPPED_EVENT))
}

/// Withdraws the requests that were open, but for those that need no client; forgets grants that have expired, and gives back the others.
fn end_approvals(putting: &mut Putting<'_, '_>) -> Result<(Vec<Record>, Vec<Record>), FileError> {
    let live = putting.tables.live_approvals.iter()?.map(|entry| Ok(entry?.0.value()));
    let live = live.collect::<Result<Vec<u64>, redb::StorageError>>()?;
    let (mut reusable, mut open) = (Vec::new(), Vec::new());
    for number in live {
        let mut record = approval(&putting.tables.approvals, number)?;
        let in_time = record.expires_ms > putting.now_ms;
        if record.state == ApprovalState::Open && record.stays_open() && in_time {
            open.push(record);
        } else if record.state == ApprovalState::Open {
            record.state = ApprovalState::Withdrawn;
            record.decided = Some(STOPPED.into());
            putting.put(&Event::Approval(ApprovalEvent {
                subject: Arc::new(record.subject()),
                sequence: record.sequence,
                approval: record.id.clone(),
                what: "withdrawn".into(),
                by: String::new(),
                reason: STOPPED.into(),
                via: String::new(),
            }))?;
            putting.tables.put_approval(&record)?;
        } else if record.is_reusable() && in_time {
            reusable.push(record);
        } else {
            putting.tables.live_approvals.remove(number)?;
        }
    }
    Ok((reusable, open))
}

fn end_sessions(putting: &mut Putting<'_, '_>) -> Result<(), FileError> {
    let mut open: Vec<Subject> = Vec::new();
    for entry in putting.tables.live_sessions.iter()? {
        let (number, value) = entry?;
        open.push(decode_subject(number.value(), value.value())?);
    }
    for subject in open {
        putting.put(&Event::Close { subject: Arc::new(subject), reason: STOPPED.into() })?;
    }
    Ok(())
}

/// Writes a file of format 1 anew: its events get their places in the chain, which vouches for them from now on.
fn migrate(txn: &WriteTransaction, tables: &mut Tables<'_>, log: &LogId, now_ms: u64) -> Result<Position, FileError> {
    let mut translator = Translator::default();
    let numbers = tables.events.iter()?.map(|entry| Ok(entry?.0.value()));
    let numbers = numbers.collect::<Result<Vec<u64>, redb::StorageError>>()?;
    let mut putting = Putting { tables, draft: Draft::new(chain::beginning(log)), last: 0, now_ms };
    for block in numbers {
        let removed = putting.tables.events.remove(block)?.map(|value| value.value().to_vec());
        let events = translator.block(&removed.unwrap_or_default()).map_err(unreadable(block))?;
        for (at_ms, event) in events {
            putting.last += 1;
            putting.tables.put(&mut putting.draft, putting.last, at_ms, &event)?;
        }
        putting.tables.seal(&mut putting.draft, putting.last)?;
        if putting.last != block {
            return Err(FileError::Missing { what: "event", number: putting.last + 1 });
        }
    }
    txn.delete_table(OPEN_SESSIONS_V1)?;
    let numbers = putting.tables.approvals.iter()?.map(|entry| Ok(entry?.0.value()));
    for number in numbers.collect::<Result<Vec<u64>, redb::StorageError>>()? {
        // Reading takes either version; what is written has this one.
        let record = approval(&putting.tables.approvals, number)?;
        putting.tables.approvals.insert(number, encode_approval(&record)?.as_slice())?;
    }
    let detail = match putting.last {
        0 => "the store had format 1, and no events".into(),
        last => format!("the store had format 1, in which nothing vouched for its events, 1 to {last}"),
    };
    putting.put(&system("migrated", detail))?;
    let Putting { tables, mut draft, last, .. } = putting;
    tables.seal(&mut draft, last)?;
    Ok(Position { last, hash: draft.hash, checkpoint: 0 })
}
