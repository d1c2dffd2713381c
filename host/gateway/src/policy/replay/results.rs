//! Recorded results against a draft.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use portcullis_engine::{Rehearsal, Script};
use portcullis_package::value_type;
use portcullis_proxy::read_statement;
use portcullis_recording::{ReadError, Reader};
use portcullis_verdict::mask::{Compiled, HashKey};
use portcullis_verdict::{
    Batch, Chunk, Column, ColumnPlan, Command, Entry, Phase, RecordLevel, RecordedColumn, ResultSet, RowPlan, Session,
    Snapshot,
};
use serde::Serialize;

use super::draft::Draft;
use super::sessions::Known;
use crate::client::{Client, Refusal, segment};

/// The most rows of a batch, as the policy interface promises.
const BATCH: usize = 1024;

/// The most columns that are counted by themselves.
const MAX_COLUMNS: usize = 10_000;

/// The most commands of a recording.
const MAX_COMMANDS: usize = 10_000_000;

/// Where recordings are.
pub(super) enum Files {
    Directory(PathBuf),
    Gateway(Client),
}

impl Files {
    pub(super) fn directory(path: &Path) -> anyhow::Result<Self> {
        if !path.is_dir() {
            bail!("`--recordings`: {} is no directory", path.display());
        }
        Ok(Self::Directory(path.to_owned()))
    }

    /// A session's recording; none where there is none any more.
    fn open(&self, session: &str, file: &str) -> anyhow::Result<Option<Box<dyn Read>>> {
        match self {
            Self::Directory(directory) => {
                let below = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
                if file.is_empty() || !below {
                    return Ok(None);
                }
                let path = directory.join(file);
                match File::open(&path) {
                    Ok(file) => Ok(Some(Box::new(file))),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
                }
            }
            Self::Gateway(client) => match client.stream(&format!("sessions/{}/recording", segment(session)?)) {
                Ok(body) => Ok(Some(Box::new(body))),
                Err(error) if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == 404) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }
}

/// Runs the results in recordings, and counts.
pub(super) struct Results {
    files: Files,
    key: HashKey,
    columns: BTreeMap<(String, String, String), Counts>,
    shown: Shown,
}

/// What came of it.
#[derive(Default, Serialize)]
pub(super) struct Shown {
    /// Commands that had a result.
    pub(super) commands: u64,
    pub(super) results: u64,
    pub(super) rows: u64,
    /// Results that the draft would refuse.
    pub(super) refused: u64,
    /// Rows that it would leave out.
    pub(super) dropped: u64,
    /// Cells that policies changed then, in the results of these commands.
    pub(super) masked_then: u64,
    pub(super) columns: Vec<Counted>,
    /// What was not looked at, by why.
    pub(super) missed: BTreeMap<&'static str, u64>,
}

/// What came of the columns of one name and type.
#[derive(Serialize)]
pub(super) struct Counted {
    pub(super) target: String,
    pub(super) name: String,
    pub(super) type_name: String,
    #[serde(flatten)]
    counts: Counts,
}

impl std::ops::Deref for Counted {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.counts
    }
}

/// Values that are not NULL.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Counts {
    pub(super) values: u64,
    /// Those that the draft would change.
    pub(super) changed: u64,
    /// Those that it would inspect and that are recorded in a binary format.
    pub(super) unread: u64,
}

/// A result that the draft has planned.
struct Planned {
    command: Arc<Command>,
    snapshot: Snapshot,
    result: Arc<ResultSet>,
    plan: RowPlan,
    columns: Vec<Way>,
    passed: u64,
}

/// What happens to a column.
struct Way {
    key: (String, String, String),
    mask: Option<Compiled>,
    /// The values are not text.
    binary: bool,
    /// The draft wants to see what it cannot be shown.
    unread: bool,
}

impl Results {
    pub(super) fn new(files: Files) -> Self {
        Self { files, key: HashKey::new(&[0; 32]), columns: BTreeMap::new(), shown: Shown::default() }
    }

    pub(super) fn missed(&mut self, why: &'static str) {
        *self.shown.missed.entry(why).or_default() += 1;
    }

    pub(super) fn finish(self) -> Shown {
        let counted = |((target, name, type_name), counts)| Counted { target, name, type_name, counts };
        Shown { columns: self.columns.into_iter().map(counted).collect(), ..self.shown }
    }

    /// Runs the results of a session's chosen commands.
    pub(super) fn run(&mut self, draft: &mut Draft, known: &Known, file: &str) -> anyhow::Result<()> {
        let (Ok(session), false) = (&known.session, known.finished.is_empty()) else { return Ok(()) };
        let Some(ends) = self.read(session, file)?.map(ends) else { return Ok(()) };
        // Another reading of the same: what comes before a command's end is its result.
        let Some(reader) = self.read(session, file)? else { return Ok(()) };
        let Some(mut rehearsal) = draft.rehearse(session)? else { return Ok(()) };
        self.play(reader, &ends, &mut rehearsal, session, &known.finished);
        Ok(())
    }

    /// A session's recording, if it holds results.
    fn read(&mut self, session: &Session, file: &str) -> anyhow::Result<Option<Reader<Box<dyn Read>>>> {
        let why = match self.files.open(&session.id, file)? {
            None => "there is no recording of its session any more",
            Some(file) => match Reader::new(file) {
                Ok(reader) if reader.header().subject.session != session.id => "its recording is another session's",
                // The configuration did not ask for results then.
                Ok(reader) if reader.header().level != RecordLevel::Results => return Ok(None),
                Ok(reader) => return Ok(Some(reader)),
                Err(_) => "its recording cannot be read",
            },
        };
        self.missed(why);
        Ok(None)
    }

    fn play(
        &mut self,
        reader: Reader<Box<dyn Read>>,
        ends: &[u64],
        rehearsal: &mut Rehearsal,
        session: &Session,
        finished: &BTreeMap<u64, u64>,
    ) {
        let (mut at, mut texts, mut planned, mut id) = (0, BTreeMap::new(), None, 0);
        let began_ms = reader.header().started_ms;
        for entry in reader {
            let Ok(entry) = entry else {
                self.missed("its recording is cut or damaged from there on");
                break;
            };
            let current = ends.get(at).filter(|sequence| finished.contains_key(sequence));
            match entry.entry {
                Entry::Command { sequence, text } if finished.contains_key(&sequence) => {
                    texts.insert(sequence, text.into_owned());
                }
                Entry::Columns { columns } => {
                    id += 1;
                    let text = current.and_then(|sequence| Some((*sequence, texts.get(sequence)?.as_str())));
                    let now_ms = began_ms + entry.at_micros / 1000;
                    planned = text.and_then(|(sequence, text)| {
                        let command = command(sequence, text);
                        self.plan(rehearsal, command, &session.target.name, columns, (id, now_ms))
                    });
                }
                Entry::Rows { data, .. } => {
                    let goes_on = planned.as_mut().is_none_or(|planned| self.rows(rehearsal, planned, &data));
                    if !goes_on {
                        planned = None;
                    }
                }
                Entry::End { sequence, .. } => {
                    if let (Some(masked), Some(_)) = (finished.get(&sequence), texts.remove(&sequence)) {
                        self.shown.commands += 1;
                        self.shown.masked_then += masked;
                    }
                    (at, planned) = (at + 1, None);
                }
                _ => {}
            }
        }
    }

    /// Lets the draft plan a result; none if it would refuse it.
    fn plan(
        &mut self,
        rehearsal: &mut Rehearsal,
        command: Arc<Command>,
        target: &str,
        columns: Vec<RecordedColumn>,
        (id, now_ms): (u64, u64),
    ) -> Option<Planned> {
        self.shown.results += 1;
        // Whatever it says of the command: the answer names the policies that decide on the rows.
        let script = Script { now_ms, ..Script::default() };
        let (ruling, _) = rehearsal.check(&command, &[], &read_statement, script);
        let snapshot = ruling.snapshot;
        let result = Arc::new(ResultSet { id, columns: columns.iter().map(column).collect() });
        let Ok(mut plan) = rehearsal.plan(&snapshot, &command, &result) else {
            self.shown.refused += 1;
            return None;
        };
        let mut ways = Vec::new();
        for (place, column) in columns.into_iter().enumerate() {
            let Ok(way) = self.way(&mut plan, place, column, target) else {
                self.shown.refused += 1;
                return None;
            };
            ways.push(way);
        }
        Some(Planned { command, snapshot, result, plan, columns: ways, passed: 0 })
    }

    fn way(&self, plan: &mut RowPlan, place: usize, column: RecordedColumn, target: &str) -> Result<Way, String> {
        let RecordedColumn { name, type_name, binary } = column;
        let text = ["text", "varchar", "bpchar", "name", "json", "xml", "citext"].contains(&&*type_name);
        let binary = binary && !text;
        let (mut mask, mut unread) = (None, false);
        match plan.columns.get_mut(place) {
            Some(ColumnPlan::Mask(wanted, _)) => mask = Some(wanted.compile(&value_type(&type_name), &self.key)?),
            Some(slot @ ColumnPlan::Inspect(_)) if binary => (*slot, unread) = (ColumnPlan::Keep, true),
            _ => {}
        }
        let key = (target.to_owned(), name, type_name);
        let others = || (String::new(), "(others)".to_owned(), String::new());
        let key = if self.columns.len() < MAX_COLUMNS || self.columns.contains_key(&key) { key } else { others() };
        Ok(Way { key, mask, binary, unread })
    }

    /// Runs recorded rows. False when the draft would refuse what follows.
    fn rows(&mut self, rehearsal: &mut Rehearsal, planned: &mut Planned, data: &[u8]) -> bool {
        let Some(rows) = rows(data, planned.columns.len()) else {
            self.missed("rows that do not fit their columns");
            return false;
        };
        rows.chunks(BATCH).all(|rows| self.batch(rehearsal, planned, rows))
    }

    fn batch(&mut self, rehearsal: &mut Rehearsal, planned: &mut Planned, rows: &[Vec<Option<&[u8]>>]) -> bool {
        let Planned { command, snapshot, result, plan, columns, passed } = planned;
        let inspected = plan.columns.iter().enumerate().filter(|(_, plan)| matches!(plan, ColumnPlan::Inspect(_)));
        let chunk = |(place, _)| {
            let mut chunk = Chunk::new(place as u32);
            rows.iter().for_each(|row: &Vec<Option<&[u8]>>| chunk.push(row.get(place).copied().flatten()));
            chunk
        };
        let chunks: Vec<Chunk> = inspected.map(chunk).collect();
        let mut batch = Batch { rows: rows.len() as u32, chunks, dropped: Vec::new() };
        if !batch.chunks.is_empty() && rehearsal.filter(snapshot, command, result, plan, &mut batch).is_err() {
            self.shown.refused += 1;
            return false;
        }
        for (index, row) in rows.iter().enumerate() {
            self.shown.rows += 1;
            if batch.is_dropped(index) {
                self.shown.dropped += 1;
                continue;
            }
            if plan.limit.as_ref().is_some_and(|limit| *passed >= limit.max_rows) {
                self.shown.refused += 1;
                return false;
            }
            *passed += 1;
            for (place, (way, value)) in columns.iter().zip(row).enumerate() {
                let Some(value) = value else { continue };
                let edited = batch.chunks.iter().any(|c| c.column as usize == place && c.is_changed(index));
                let counts = self.columns.entry(way.key.clone()).or_default();
                counts.values += 1;
                counts.changed += u64::from(edited || way.changes(value));
                counts.unread += u64::from(way.unread);
            }
        }
        true
    }
}

impl Way {
    /// Whether a mask makes another value of it. What has been masked the same way stays as it is.
    fn changes(&self, value: &[u8]) -> bool {
        let Some(mask) = &self.mask else { return false };
        let mut out = Vec::new();
        // Of a binary format nothing is known, and it is not what a mask yields.
        self.binary || !mask.apply(value, &mut out) || out != value
    }
}

/// The numbers of the commands of a recording in the order in which they ended.
fn ends(reader: Reader<Box<dyn Read>>) -> Vec<u64> {
    let whole = reader.map_while(|entry: Result<_, ReadError>| entry.ok());
    let ends = whole.filter_map(|timed| match timed.entry {
        Entry::End { sequence, .. } => Some(sequence),
        _ => None,
    });
    ends.take(MAX_COMMANDS).collect()
}

fn command(sequence: u64, text: &str) -> Arc<Command> {
    let statement = read_statement(text);
    Arc::new(Command {
        sequence,
        phase: Phase::Execute,
        statement,
        parameters: Vec::new(),
        reason: None,
        origins: None,
    })
}

/// Recordings do not keep where a column comes from.
fn column(column: &RecordedColumn) -> Column {
    let RecordedColumn { name, type_name, .. } = column.clone();
    Column { name, type_name, computed: true, origins: Vec::new(), labels: Vec::new() }
}

/// The values of recorded rows; none where they are not of so many columns.
pub(super) fn rows(mut data: &[u8], columns: usize) -> Option<Vec<Vec<Option<&[u8]>>>> {
    let mut rows = Vec::new();
    while !data.is_empty() {
        let count = u16::from_be_bytes(*take(&mut data)?);
        if usize::from(count) != columns {
            return None;
        }
        let value = |_| match i32::from_be_bytes(*take(&mut data)?) {
            -1 => Some(None),
            length => {
                let (value, rest) = data.split_at_checked(usize::try_from(length).ok()?)?;
                data = rest;
                Some(Some(value))
            }
        };
        rows.push((0..count).map(value).collect::<Option<Vec<_>>>()?);
    }
    Some(rows)
}

fn take<'a, const N: usize>(data: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (first, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(first)
}
