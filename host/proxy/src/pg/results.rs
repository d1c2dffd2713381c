//! Results on their way to the client: masks, inspections and row limits, valid for each column's type in its format.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use portcullis_verdict::mask::{Compiled, HashKey, ValueType};
use portcullis_verdict::{Batch, Chunk, ColumnPlan, Command, Denial, Judge, Limit, Mask, ResultSet, RowPlan, Snapshot};
use portcullis_wire::pg::frame::WireError;
use portcullis_wire::pg::message::{Fault, Field};
use portcullis_wire::pg::rows::{self, Cell};
use portcullis_wire::pg::types::{self, BadValue, Class, Form, Inner, Make, Type};

use super::denied;

/// A masked row may be larger than what the server sent, but not by any amount.
const MOST_ROW_BYTES: usize = 256 << 20;

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
    Mask { mask: Fitted, ty: Type, binary: bool },
    Inspect { chunk: usize, ty: Type, binary: bool },
}

/// A mask that is fitted to a type.
enum Fitted {
    Null,
    Plain(Compiled),
    /// For the elements of an array, or for each field of a row.
    Inner(Vec<Fitted>),
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
    /// Fits a plan to the columns of a result, of which so many rows have passed before. `make` tells how types are made that are not
    /// built in. The error says why it cannot be fitted.
    pub(crate) fn new<'a>(
        command: Arc<Command>,
        snapshot: Snapshot,
        result: Arc<ResultSet>,
        plan: RowPlan,
        (shape, passed): (&[Field], u64),
        key: &HashKey,
        make: &dyn Fn(u32) -> Make<'a>,
    ) -> Result<Self, Fault> {
        let (mut targets, mut how, mut inspected, mut batch) = (vec![], vec![], vec![], Batch::default());
        for (index, (plan, field)) in plan.columns.iter().zip(shape).enumerate() {
            let (ty, binary) = (Type::of(field.type_oid, field.type_modifier, make), field.binary);
            match plan {
                ColumnPlan::Keep => continue,
                ColumnPlan::Mask(mask, policy) => {
                    let unusable = |why: String| denied(policy, &format!("column \"{}\": {why}", field.name));
                    let mask = fit(mask, &ty, binary, key).map_err(unusable)?;
                    how.push(How::Mask { mask, ty, binary });
                }
                ColumnPlan::Inspect(_) => {
                    if binary && !ty.is_readable() {
                        let what = format!("column \"{}\" cannot be inspected in its type's binary format", field.name);
                        return Err(denied("portcullis", &what).with_hint("ask for the column as text"));
                    }
                    how.push(How::Inspect { chunk: inspected.len(), ty, binary });
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
            if self.is_unchanged(index) {
                out.extend_from_slice(frame);
            } else if let Err(stop) = self.edit_row(index, frame, out, &mut edited.masked) {
                out.truncate(start);
                return Err((edited, stop));
            }
            edited.kept += 1;
            self.passed += 1;
        }
        Ok(edited)
    }

    /// Whether a row passes as it is: policies have seen all that could change, and changed nothing.
    fn is_unchanged(&self, row: usize) -> bool {
        !self.inspected.is_empty()
            && self.inspected.len() == self.targets.len()
            && !self.batch.chunks.iter().any(|chunk| chunk.is_changed(row))
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
        let (batch, scratch) = (&mut self.batch, &mut self.scratch);
        // The type of each inspected column whose values have to be converted.
        let converted = self.how.iter().filter_map(|how| match how {
            How::Inspect { ty, binary, .. } => Some(Some(ty).filter(|ty| *binary && !ty.is_text())),
            How::Mask { .. } => None,
        });
        let converted: Vec<Option<&Type>> = converted.collect();
        let mut unreadable = false;
        for frame in rows::frames(frames) {
            batch.rows += 1;
            rows::read(frame, self.count, &self.inspected, |place, value| match (value, converted[place]) {
                (Some(value), Some(ty)) => {
                    scratch.clear();
                    unreadable |= ty.to_text(value, scratch).is_err();
                    batch.chunks[place].push(Some(scratch));
                }
                (value, _) => batch.chunks[place].push(value),
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
        let (how, batch, start) = (&self.how, &self.batch, out.len());
        rows::rewrite(frame, self.count, &self.targets, out, |place, value, out| {
            let Some(value) = value else { return Ok(Cell::Keep) };
            if out.len() - start > MOST_ROW_BYTES {
                let what = "a row is too large when it is masked";
                return Err(Stop::Refuse(Fault::error("54000", what).with_hint("select fewer columns")));
            }
            let cell = match &how[place] {
                How::Mask { mask, ty, binary } => mask.apply(ty, *binary, value, out),
                How::Inspect { chunk, ty, binary } => {
                    let chunk = &batch.chunks[*chunk];
                    if !chunk.is_changed(row) {
                        return Ok(Cell::Keep);
                    }
                    match chunk.value(row) {
                        None => Cell::Null,
                        Some(text) => put(text, ty, *binary, out)?,
                    }
                }
            };
            *masked += u64::from(cell != Cell::Keep);
            Ok(cell)
        })
    }
}

/// Fits a mask to a type, and to the format in which its values are sent. The error says why a constant is not valid for it.
fn fit(mask: &Mask, ty: &Type, binary: bool, key: &HashKey) -> Result<Fitted, String> {
    let inner = |fitted: Vec<Fitted>| match fitted.iter().all(|mask| matches!(mask, Fitted::Null)) {
        true => Fitted::Null,
        false => Fitted::Inner(fitted),
    };
    match &ty.form {
        _ if *mask == Mask::Null => Ok(Fitted::Null),
        Form::Array(element) => Ok(inner(vec![fit(mask, element, binary, key)?])),
        // A field that cannot hold the constant is hidden as one that cannot hold the mask is.
        Form::Record(fields) if !fields.is_empty() => {
            Ok(inner(fields.iter().map(|field| fit(mask, field, binary, key).unwrap_or(Fitted::Null)).collect()))
        }
        Form::Plain(class) => Ok(match mask.compile(&value_type(*class, ty.modifier), key)? {
            Compiled::Null => Fitted::Null,
            // Encoded once instead of once per row.
            Compiled::Constant(text) if binary && !class.is_text() => {
                let mut encoded = Vec::new();
                let valid = types::to_binary(*class, &text, &mut encoded).is_ok();
                if valid { Fitted::Plain(Compiled::Constant(encoded)) } else { Fitted::Null }
            }
            mask => Fitted::Plain(mask),
        }),
        _ => mask.compile(&ValueType::Other, key).map(|_| Fitted::Null),
    }
}

impl Fitted {
    /// Appends the masked form of a value that is not NULL. What cannot be read or written becomes NULL.
    fn apply(&self, ty: &Type, binary: bool, value: &[u8], out: &mut Vec<u8>) -> Cell {
        let written = match (self, &ty.form) {
            (Self::Plain(mask), _) => masked(mask, ty, binary, value, out),
            (Self::Inner(masks), Form::Array(element)) => masks.first().is_some_and(|mask| {
                let each = &mut |_, value: &[u8], out: &mut Vec<u8>| Ok(mask.within(element, binary, value, out));
                ty.edit::<BadValue>(binary, value, out, each).is_ok()
            }),
            (Self::Inner(masks), Form::Record(fields)) => {
                let each = &mut |place: usize, value: &[u8], out: &mut Vec<u8>| {
                    let (mask, field) = masks.get(place).zip(fields.get(place)).ok_or(BadValue)?;
                    Ok(mask.within(field, binary, value, out))
                };
                ty.edit::<BadValue>(binary, value, out, each).is_ok()
            }
            _ => false,
        };
        if written { Cell::Written } else { Cell::Null }
    }

    fn within(&self, ty: &Type, binary: bool, value: &[u8], out: &mut Vec<u8>) -> Inner {
        if self.apply(ty, binary, value, out) == Cell::Written { Inner::Written } else { Inner::Null }
    }
}

/// Appends the masked form of a single value. False is NULL.
fn masked(mask: &Compiled, ty: &Type, binary: bool, value: &[u8], out: &mut Vec<u8>) -> bool {
    // A constant is in the column's format already, and for characters both formats are the same.
    if !binary || ty.is_text() || matches!(mask, Compiled::Constant(_)) {
        return mask.apply(value, out);
    }
    let (mut shown, mut made) = (Vec::new(), Vec::new());
    ty.to_text(value, &mut shown).is_ok() && mask.apply(&shown, &mut made) && ty.to_binary(&made, out).is_ok()
}

/// Appends a new value in the column's format, or refuses the result: what a policy made up must be valid for the type. What a policy
/// changed within an array or a row may have cost it its form: then it is hidden altogether.
fn put(text: &[u8], ty: &Type, binary: bool, out: &mut Vec<u8>) -> Result<Cell, Stop> {
    let valid = if binary && !ty.is_text() {
        ty.to_binary(text, out).is_ok()
    } else {
        out.extend_from_slice(text);
        ty.is_valid_text(text)
    };
    match ty.form {
        _ if valid => Ok(Cell::Written),
        Form::Array(_) | Form::Record(_) => Ok(Cell::Null),
        _ => Err(Stop::Refuse(denied("portcullis", "a policy's new value is not valid for the column's type"))),
    }
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
