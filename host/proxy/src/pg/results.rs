//! Results on their way to the client: masks, inspections and row limits, valid for each column's type in its format.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use portcullis_verdict::mask::{Compiled, HashKey, ValueType};
use portcullis_verdict::{Batch, Chunk, ColumnPlan, Command, Denial, Judge, Limit, ResultSet, RowPlan, Snapshot};
use portcullis_wire::pg::frame::WireError;
use portcullis_wire::pg::message::{Fault, Field};
use portcullis_wire::pg::rows::{self, Cell};
use portcullis_wire::pg::types::{self, Class};

use super::denied;

/// Edits the rows of one result.
pub(crate) struct Editor {
    command: Arc<Command>,
    snapshot: Snapshot,
    result: Arc<ResultSet>,
    plan: RowPlan,
    count: usize,
    /// The columns that change, increasing, and how.
    targets: Vec<usize>,
    how: Vec<How>,
    /// The columns that policies inspect, increasing.
    inspected: Vec<usize>,
    batch: Batch,
    scratch: Vec<u8>,
    passed: u64,
}

enum How {
    Mask { mask: Compiled, class: Class, binary: bool },
    Inspect { chunk: usize, class: Class, binary: bool },
}

/// What came of a batch.
#[derive(Debug, Default)]
pub(crate) struct Edited {
    pub(crate) kept: usize,
    pub(crate) masked: u64,
}

/// Why a result cannot go on.
pub(crate) enum Stop {
    /// The client gets this error.
    Refuse(Fault),
    /// The server broke the protocol.
    Broken(WireError),
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Broken(error)
    }
}

impl Editor {
    /// Fits a plan to the columns of a result, of which so many rows have passed before. The error says why it cannot be fitted.
    pub(crate) fn new(
        command: Arc<Command>,
        snapshot: Snapshot,
        result: Arc<ResultSet>,
        plan: RowPlan,
        (shape, passed): (&[Field], u64),
        key: &HashKey,
    ) -> Result<Self, Fault> {
        let (mut targets, mut how, mut inspected, mut batch) = (vec![], vec![], vec![], Batch::default());
        for (index, (plan, field)) in plan.columns.iter().zip(shape).enumerate() {
            let (class, binary) = (types::class(field.type_oid), field.binary);
            match plan {
                ColumnPlan::Keep => continue,
                ColumnPlan::Mask(mask, policy) => {
                    let unusable = |why: String| denied(policy, &format!("column \"{}\": {why}", field.name));
                    let mask = mask.compile(&value_type(class, field.type_modifier), key).map_err(unusable)?;
                    how.push(How::Mask { mask: for_format(mask, class, binary), class, binary });
                }
                ColumnPlan::Inspect(_) => {
                    if binary && !is_convertible(class) {
                        let what = format!("column \"{}\" cannot be inspected in its type's binary format", field.name);
                        return Err(denied("portcullis", &what).with_hint("ask for the column as text"));
                    }
                    how.push(How::Inspect { chunk: inspected.len(), class, binary });
                    inspected.push(index);
                    batch.chunks.push(Chunk::new(index as u32));
                }
            }
            targets.push(index);
        }
        let (count, scratch) = (shape.len(), Vec::new());
        Ok(Self { command, snapshot, result, plan, count, targets, how, inspected, batch, scratch, passed })
    }

    /// Appends the DataRow messages in `frames` to `out`, edited. On [`Stop::Refuse`] what was appended is whole and may be sent.
    pub(crate) fn edit(
        &mut self,
        judge: &mut dyn Judge,
        frames: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Edited, (Edited, Stop)> {
        let mut edited = Edited::default();
        if let Err(stop) = self.inspect(judge, frames) {
            return Err((edited, stop));
        }
        for (index, frame) in rows::frames(frames).enumerate() {
            if self.batch.is_dropped(index) {
                continue;
            }
            if let Some(fault) = self.over_limit() {
                return Err((edited, Stop::Refuse(fault)));
            }
            let start = out.len();
            if let Err(stop) = self.edit_row(index, frame, out, &mut edited.masked) {
                out.truncate(start);
                return Err((edited, stop));
            }
            edited.kept += 1;
            self.passed += 1;
        }
        Ok(edited)
    }

    fn over_limit(&self) -> Option<Fault> {
        let Limit { max_rows, policy } = self.plan.limit.as_ref().filter(|l| self.passed >= l.max_rows)?;
        Some(denied(policy, &format!("the result has more than {max_rows} rows")).with_hint("select fewer rows"))
    }

    fn inspect(&mut self, judge: &mut dyn Judge, frames: &[u8]) -> Result<(), Stop> {
        if self.inspected.is_empty() {
            return Ok(());
        }
        self.batch.clear();
        let (batch, how, scratch) = (&mut self.batch, &self.how, &mut self.scratch);
        let classes: Vec<(Class, bool)> = how
            .iter()
            .filter_map(|h| match h {
                How::Inspect { class, binary, .. } => Some((*class, *binary)),
                How::Mask { .. } => None,
            })
            .collect();
        let mut unreadable = false;
        for frame in rows::frames(frames) {
            batch.rows += 1;
            rows::read(frame, self.count, &self.inspected, |place, value| {
                let (class, binary) = classes[place];
                match value {
                    Some(value) if binary => {
                        scratch.clear();
                        unreadable |= types::to_text(class, value, scratch).is_err();
                        batch.chunks[place].push(Some(scratch));
                    }
                    value => batch.chunks[place].push(value),
                }
            })?;
        }
        if unreadable {
            let what = "a value is not valid for its type, so that policies cannot inspect it";
            return Err(Stop::Refuse(denied("portcullis", what)));
        }
        let filtered = judge.filter(&self.snapshot, &self.command, &self.result, &self.plan, batch);
        filtered.map_err(|Denial { policy, message }| Stop::Refuse(denied(&policy, &message)))
    }

    fn edit_row(&mut self, row: usize, frame: &[u8], out: &mut Vec<u8>, masked: &mut u64) -> Result<(), Stop> {
        let (how, batch, scratch) = (&self.how, &self.batch, &mut self.scratch);
        rows::rewrite(frame, self.count, &self.targets, out, |place, value, out| {
            let Some(value) = value else { return Ok(Cell::Keep) };
            let cell = match &how[place] {
                How::Mask { mask, class, binary } => apply(mask, *class, *binary, value, scratch, out)?,
                How::Inspect { chunk, class, binary } => {
                    let chunk = &batch.chunks[*chunk];
                    if !chunk.is_changed(row) {
                        return Ok(Cell::Keep);
                    }
                    match chunk.value(row) {
                        None => Cell::Null,
                        Some(text) => put(text, *class, *binary, out)?,
                    }
                }
            };
            *masked += u64::from(cell != Cell::Keep);
            Ok(cell)
        })
    }
}

fn apply(
    mask: &Compiled,
    class: Class,
    binary: bool,
    value: &[u8],
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Cell, Stop> {
    // A constant is in the column's format already, and for characters both formats are the same.
    if !binary || is_text(class) || matches!(mask, Compiled::Null | Compiled::Constant(_)) {
        return Ok(if mask.apply(value, out) { Cell::Written } else { Cell::Null });
    }
    scratch.clear();
    if types::to_text(class, value, scratch).is_err() {
        return Ok(Cell::Null);
    }
    let text = scratch.len();
    let value = scratch.clone();
    if !mask.apply(&value, scratch) {
        return Ok(Cell::Null);
    }
    put(scratch.get(text..).unwrap_or_default(), class, binary, out)
}

/// Appends a new value in the column's format, or refuses the result: what a policy made up must be valid for the type.
fn put(text: &[u8], class: Class, binary: bool, out: &mut Vec<u8>) -> Result<Cell, Stop> {
    let valid = if binary && !is_text(class) {
        types::to_binary(class, text, out).is_ok()
    } else {
        out.extend_from_slice(text);
        types::is_valid_text(class, text)
    };
    if valid {
        return Ok(Cell::Written);
    }
    Err(Stop::Refuse(denied("portcullis", "a policy's new value is not valid for the column's type")))
}

/// Encodes a constant once instead of once per row. One that cannot be encoded becomes NULL.
fn for_format(mask: Compiled, class: Class, binary: bool) -> Compiled {
    match mask {
        Compiled::Constant(text) if binary && !is_text(class) => {
            let mut encoded = Vec::new();
            match types::to_binary(class, &text, &mut encoded) {
                Ok(()) => Compiled::Constant(encoded),
                Err(_) => Compiled::Null,
            }
        }
        other => other,
    }
}

/// Whether a type's text and binary formats are the same characters.
fn is_text(class: Class) -> bool {
    matches!(class, Class::Text | Class::BpChar | Class::Name | Class::Json | Class::Xml)
}

fn is_convertible(class: Class) -> bool {
    class != Class::Other
}

fn value_type(class: Class, modifier: i32) -> ValueType {
    // The modifier of varchar(n) and char(n) is n + 4, or -1.
    let max_chars = modifier.checked_sub(4).and_then(|chars| u32::try_from(chars).ok());
    match class {
        Class::Text => ValueType::Text { max_chars, padded: false },
        Class::BpChar => ValueType::Text { max_chars, padded: true },
        Class::Name => ValueType::Text { max_chars: Some(15), padded: false },
        Class::Bool => ValueType::Bool,
        Class::Int2 => ValueType::Integer { min: i16::MIN.into(), max: i16::MAX.into() },
        Class::Int4 => ValueType::Integer { min: i32::MIN.into(), max: i32::MAX.into() },
        Class::Int8 => ValueType::Integer { min: i64::MIN, max: i64::MAX },
        Class::Float4 | Class::Float8 | Class::Numeric => ValueType::Number,
        Class::Json | Class::Jsonb => ValueType::Json,
        Class::Uuid => ValueType::Uuid,
        Class::Date => ValueType::Date,
        Class::Timestamp | Class::TimestampTz => ValueType::Timestamp,
        _ => ValueType::Other,
    }
}
