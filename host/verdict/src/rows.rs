use std::sync::Arc;

use crate::command::ColumnRef;
use crate::mask::Mask;

/// One result of a command, before its first row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// Unique within its session.
    pub id: u64,
    /// Its columns, in order.
    pub columns: Arc<[Column]>,
}

/// A column of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// The name that the client sees. It proves nothing: an alias is free to choose.
    pub name: String,
    /// The server's name of its type, such as `text` or `int4`.
    pub type_name: String,
    /// Whether it is computed: not a plain copy of one base column.
    pub computed: bool,
    /// The base columns that it may derive from. Empty and `computed` means that the host does not know.
    pub origins: Vec<ColumnRef>,
    /// The labels that the configuration gives its origins.
    pub labels: Vec<String>,
}

impl Column {
    /// One that may be anything.
    pub fn unknown() -> Self {
        Self { name: "?".into(), type_name: "text".into(), computed: true, ..Self::default() }
    }
}

/// What a policy asks for one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave it alone.
    Keep,
    /// Let the host mask it.
    Mask(Mask),
    /// Hand its values to the policy.
    Inspect,
    /// Refuse the whole result, with this message.
    Deny(String),
}

/// What happens to one column, over all policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ColumnPlan {
    /// It passes as it is.
    #[default]
    Keep,
    /// The host masks it; the policy that said so is named.
    Mask(Mask, Arc<str>),
    /// The policies with these places in the chain see its values.
    Inspect(Vec<usize>),
}

/// What happens to a result: the answers of every policy, combined.
///
/// A mask beats an inspection of the same column, and of two masks the first in the chain stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowPlan {
    /// One entry per column, or none at all when every column passes as it is.
    pub columns: Vec<ColumnPlan>,
    /// The smallest row limit that a policy set.
    pub limit: Option<Limit>,
    /// The policies that asked to mask or to inspect a column, each with its place in the chain, in that order.
    pub asked: Vec<(usize, Arc<str>)>,
}

/// A bound on the rows of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// As many rows pass; one more refuses the rest of the result.
    pub max_rows: u64,
    /// The policy that set it.
    pub policy: Arc<str>,
}

impl RowPlan {
    /// Whether rows may pass without being looked at.
    pub fn passes(&self) -> bool {
        self.limit.is_none() && self.masks_nothing()
    }

    /// Whether every value may pass as it is.
    pub fn masks_nothing(&self) -> bool {
        self.columns.iter().all(|c| *c == ColumnPlan::Keep)
    }

    /// The policies that mask or inspect a column in the end, in the order of the chain.
    pub fn touching(&self) -> impl Iterator<Item = &Arc<str>> {
        let touches = |place: usize, name: &Arc<str>| {
            self.columns.iter().any(|column| match column {
                ColumnPlan::Keep => false,
                ColumnPlan::Mask(_, policy) => policy == name,
                ColumnPlan::Inspect(places) => places.contains(&place),
            })
        };
        self.asked.iter().filter(move |(place, name)| touches(*place, name)).map(|(_, name)| name)
    }

    /// Merges what one policy, at `place` in the chain, asks for `column` of `count`.
    pub fn merge(
        &mut self,
        count: usize,
        column: usize,
        action: Action,
        place: usize,
        policy: &Arc<str>,
    ) -> Result<(), String> {
        if column >= count {
            return Err(format!("a rule names column {column} of a result with {count} columns"));
        }
        if let Action::Deny(message) = action {
            return Err(message);
        }
        self.columns.resize(count, ColumnPlan::Keep);
        if action != Action::Keep
            && let Err(at) = self.asked.binary_search_by_key(&place, |(place, _)| *place)
        {
            self.asked.insert(at, (place, policy.clone()));
        }
        let Some(slot) = self.columns.get_mut(column) else {
            return Ok(());
        };
        match (action, &mut *slot) {
            (Action::Mask(mask), ColumnPlan::Keep | ColumnPlan::Inspect(_)) => {
                *slot = ColumnPlan::Mask(mask, policy.clone());
            }
            (Action::Inspect, ColumnPlan::Keep) => *slot = ColumnPlan::Inspect(vec![place]),
            (Action::Inspect, ColumnPlan::Inspect(places)) if places.last() != Some(&place) => places.push(place),
            _ => {}
        }
        Ok(())
    }
}

/// The inspected columns of some consecutive rows of a result. Values are in the text form of their type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// How many rows.
    pub rows: u32,
    /// The inspected columns, in the order of the result.
    pub chunks: Vec<Chunk>,
    /// One bit per row: the client will not see it. Empty while none is dropped.
    pub dropped: Vec<u8>,
}

/// One column of a batch: value `i` is `data[ends[i-1]..ends[i]]`, and NULL where bit `i` of `nulls` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The column's index in the result.
    pub column: u32,
    /// One bit per row, least significant first.
    pub nulls: Vec<u8>,
    /// One end per row.
    pub ends: Vec<u32>,
    /// The values, one after another; a NULL takes no byte.
    pub data: Vec<u8>,
    /// One bit per row: a policy changed the value. Empty while none is changed.
    pub changed: Vec<u8>,
}

/// What a policy changes in one column of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Nothing.
    Keep,
    /// Overwrites bytes `start..start+len` of the value in each row with `fill`.
    Spans {
        /// The rows; a row may be named more than once.
        rows: Vec<u32>,
        /// Byte offsets in the value.
        starts: Vec<u32>,
        /// Lengths in bytes.
        lens: Vec<u32>,
        /// An ASCII character.
        fill: u8,
    },
    /// Gives new values to some rows.
    Patch {
        /// The rows, strictly increasing.
        rows: Vec<u32>,
        /// One bit per entry of `rows`: the new value is NULL.
        nulls: Vec<u8>,
        /// One end per entry of `rows`.
        ends: Vec<u32>,
        /// The new values.
        data: Vec<u8>,
    },
}

/// An edit that does not fit its batch: the policy's answer is bad.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadEdit(pub String);

fn bad<T>(message: impl Into<String>) -> Result<T, BadEdit> {
    Err(BadEdit(message.into()))
}

fn bit(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|b| b >> (index % 8) & 1 == 1)
}

fn set_bit(bits: &mut Vec<u8>, index: usize, len: usize) {
    bits.resize(len.div_ceil(8), 0);
    if let Some(b) = bits.get_mut(index / 8) {
        *b |= 1 << (index % 8);
    }
}

impl Batch {
    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.dropped.clear();
        for chunk in &mut self.chunks {
            chunk.clear();
        }
    }

    /// Whether a policy dropped this row.
    pub fn is_dropped(&self, row: usize) -> bool {
        bit(&self.dropped, row)
    }

    /// Applies one policy's answer. Every index and length is checked first; after an error the batch is not to be used.
    ///
    /// `edits` belong to the chunks named by `columns`, in that order.
    pub fn apply(&mut self, columns: &[u32], edits: Vec<Edit>, drop_rows: &[u32]) -> Result<(), BadEdit> {
        if edits.len() != columns.len() {
            return bad(format!("{} edits for {} columns", edits.len(), columns.len()));
        }
        let rows = self.rows;
        for (column, edit) in columns.iter().zip(edits) {
            let Some(chunk) = self.chunks.iter_mut().find(|c| c.column == *column) else {
                return bad(format!("column {column} is not in the batch"));
            };
            chunk.apply(rows as usize, edit)?;
        }
        for row in drop_rows {
            if *row >= rows {
                return bad(format!("row {row} is to be dropped from a batch of {rows}"));
            }
            set_bit(&mut self.dropped, *row as usize, rows as usize);
        }
        Ok(())
    }
}

impl Chunk {
    /// An empty chunk of this column.
    pub fn new(column: u32) -> Self {
        Self { column, ..Self::default() }
    }

    /// Forgets the values and keeps the memory.
    pub fn clear(&mut self) {
        self.nulls.clear();
        self.ends.clear();
        self.data.clear();
        self.changed.clear();
    }

    /// Appends a value to a chunk that has `ends.len()` rows.
    pub fn push(&mut self, value: Option<&[u8]>) {
        let row = self.ends.len();
        if row.is_multiple_of(8) {
            self.nulls.push(0);
        }
        match value {
            Some(bytes) => self.data.extend_from_slice(bytes),
            None => set_bit(&mut self.nulls, row, row + 1),
        }
        self.ends.push(self.data.len() as u32);
    }

    /// The value in this row; `None` is NULL.
    pub fn value(&self, row: usize) -> Option<&[u8]> {
        if bit(&self.nulls, row) {
            return None;
        }
        let (start, end) = self.range(row);
        self.data.get(start..end)
    }

    /// Whether a policy changed the value in this row.
    pub fn is_changed(&self, row: usize) -> bool {
        bit(&self.changed, row)
    }

    fn range(&self, row: usize) -> (usize, usize) {
        let start = if row == 0 { 0 } else { self.ends.get(row - 1).copied().unwrap_or(0) };
        (start as usize, self.ends.get(row).copied().unwrap_or(start) as usize)
    }

    fn apply(&mut self, rows: usize, edit: Edit) -> Result<(), BadEdit> {
        match edit {
            Edit::Keep => Ok(()),
            Edit::Spans { rows: at, starts, lens, fill } => self.blank(rows, &at, &starts, &lens, fill),
            Edit::Patch { rows: at, nulls, ends, data } => self.patch(rows, &at, &nulls, &ends, &data),
        }
    }

    fn blank(&mut self, rows: usize, at: &[u32], starts: &[u32], lens: &[u32], fill: u8) -> Result<(), BadEdit> {
        if at.len() != starts.len() || at.len() != lens.len() {
            return bad(format!("spans with {} rows, {} starts and {} lengths", at.len(), starts.len(), lens.len()));
        }
        if !fill.is_ascii() || fill.is_ascii_control() {
            return bad(format!("spans filled with byte {fill:#04x}, which is not a printable ASCII character"));
        }
        for ((row, start), len) in at.iter().zip(starts).zip(lens) {
            let row = self.editable(rows, *row)?;
            let (from, to) = self.range(row);
            let first = from + *start as usize;
            let Some(span) = first.checked_add(*len as usize).filter(|e| *e <= to) else {
                return bad(format!("a span of {len} bytes from {start} in a value of {} bytes", to - from));
            };
            let cuts = |i: usize| i < to && self.data.get(i).is_some_and(|b| b & 0xC0 == 0x80);
            if cuts(first) || cuts(span) {
                return bad("a span cuts a UTF-8 character");
            }
            if let Some(bytes) = self.data.get_mut(first..span) {
                bytes.fill(fill);
            }
            set_bit(&mut self.changed, row, rows);
        }
        Ok(())
    }

    fn patch(&mut self, rows: usize, at: &[u32], nulls: &[u8], ends: &[u32], data: &[u8]) -> Result<(), BadEdit> {
        if at.len() != ends.len() {
            return bad(format!("a patch with {} rows and {} ends", at.len(), ends.len()));
        }
        if !at.is_sorted_by(|a, b| a < b) {
            return bad("the rows of a patch do not increase");
        }
        if !ends.is_sorted() || ends.last().copied().unwrap_or(0) as usize != data.len() {
            return bad("the ends of a patch do not fit its data");
        }
        let mut out = Chunk { column: self.column, ..Chunk::default() };
        out.changed = std::mem::take(&mut self.changed);
        let mut next = 0;
        for row in 0..self.ends.len() {
            if at.get(next).is_some_and(|r| *r as usize == row) {
                self.editable(rows, row as u32)?;
                let start = if next == 0 { 0 } else { ends.get(next - 1).copied().unwrap_or(0) };
                let value = data.get(start as usize..ends.get(next).copied().unwrap_or(start) as usize);
                out.push(if bit(nulls, next) { None } else { value });
                set_bit(&mut out.changed, row, rows);
                next += 1;
            } else {
                out.push(self.value(row));
            }
        }
        if next < at.len() {
            return bad(format!("a patch names row {} of {rows}", at.get(next).copied().unwrap_or(0)));
        }
        *self = out;
        Ok(())
    }

    /// NULL stays NULL: a policy that gives it a value would invent data.
    fn editable(&self, rows: usize, row: u32) -> Result<usize, BadEdit> {
        let row = row as usize;
        if row >= rows {
            return bad(format!("an edit of row {row} in a batch of {rows}"));
        }
        if bit(&self.nulls, row) {
            return bad(format!("an edit of row {row}, whose value is NULL"));
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(values: &[Option<&str>]) -> Batch {
        let mut chunk = Chunk::new(3);
        for v in values {
            chunk.push(v.map(str::as_bytes));
        }
        Batch { rows: values.len() as u32, chunks: vec![chunk], dropped: vec![] }
    }

    fn texts(b: &Batch) -> Vec<Option<String>> {
        let show = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
        (0..b.rows as usize).map(|r| b.chunks[0].value(r).map(show)).collect()
    }

    #[test]
    fn values_and_nulls_come_back() {
        let values =
            [Some("a"), None, Some(""), Some("four"), None, Some("x"), Some("y"), Some("z"), None, Some("end")];
        let b = batch(&values);
        assert_eq!(texts(&b), values.map(|v| v.map(String::from)));
    }

    #[test]
    fn spans_blank_in_place() {
        let mut b = batch(&[Some("keep"), Some("call 555-1234"), None]);
        let edit = Edit::Spans { rows: vec![1], starts: vec![5], lens: vec![8], fill: b'*' };
        b.apply(&[3], vec![edit], &[2]).unwrap();
        assert_eq!(texts(&b), [Some("keep".into()), Some("call ********".into()), None]);
        assert!(b.chunks[0].is_changed(1) && !b.chunks[0].is_changed(0));
        assert!(b.is_dropped(2) && !b.is_dropped(1));
    }

    #[test]
    fn a_patch_gives_new_values() {
        let mut b = batch(&[Some("a"), Some("b"), None, Some("d")]);
        let edit = Edit::Patch { rows: vec![0, 1, 3], nulls: vec![0b010], ends: vec![3, 3, 4], data: b"newD".into() };
        b.apply(&[3], vec![edit], &[]).unwrap();
        assert_eq!(texts(&b), [Some("new".into()), None, None, Some("D".into())]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let spans = |rows: Vec<u32>, starts, lens| Edit::Spans { rows, starts, lens, fill: b'*' };
        let patch = |rows, ends, data: &[u8]| Edit::Patch { rows, nulls: vec![], ends, data: data.into() };
        let cases = [
            (spans(vec![9], vec![0], vec![1]), vec![], "row 9"),
            (spans(vec![2], vec![0], vec![0]), vec![], "NULL"),
            (spans(vec![0], vec![0], vec![9]), vec![], "span of 9"),
            (spans(vec![0], vec![u32::MAX], vec![u32::MAX]), vec![], "span of"),
            (spans(vec![1], vec![1], vec![1]), vec![], "UTF-8"),
            (spans(vec![0, 0], vec![0], vec![1]), vec![], "2 rows, 1 starts"),
            (Edit::Spans { rows: vec![0], starts: vec![0], lens: vec![1], fill: 0xff }, vec![], "ASCII"),
            (patch(vec![1, 0], vec![1, 2], b"xy"), vec![], "increase"),
            (patch(vec![0], vec![5], b"xy"), vec![], "ends"),
            (patch(vec![0, 8], vec![1, 2], b"xy"), vec![], "row 8"),
            (patch(vec![2], vec![1], b"x"), vec![], "NULL"),
            (Edit::Keep, vec![3], "row 3"),
        ];
        for (edit, drop, expected) in cases {
            let mut b = batch(&[Some("ab"), Some("é"), None]);
            let error = b.apply(&[3], vec![edit.clone()], &drop).unwrap_err().to_string();
            assert!(error.contains(expected), "{edit:?}: {error}");
        }
        assert!(batch(&[]).apply(&[3], vec![], &[]).is_err());
        assert!(batch(&[]).apply(&[1], vec![Edit::Keep], &[]).is_err());
    }

    #[test]
    fn a_mask_beats_an_inspection_and_the_first_mask_stands() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut plan = RowPlan::default();
        plan.merge(2, 0, Action::Inspect, 0, &a).unwrap();
        plan.merge(2, 0, Action::Mask(Mask::Null), 1, &b).unwrap();
        plan.merge(2, 0, Action::Mask(Mask::Redact), 2, &a).unwrap();
        plan.merge(2, 1, Action::Inspect, 0, &a).unwrap();
        plan.merge(2, 1, Action::Inspect, 1, &b).unwrap();
        assert_eq!(plan.columns, [ColumnPlan::Mask(Mask::Null, b.clone()), ColumnPlan::Inspect(vec![0, 1])]);
        assert_eq!(plan.touching().collect::<Vec<_>>(), [&a, &b]);
        assert!(plan.merge(2, 2, Action::Keep, 0, &a).is_err());
        assert!(plan.merge(2, 0, Action::Deny("no".into()), 0, &a).is_err());
    }

    #[test]
    fn a_policy_whose_every_wish_another_overrides_touches_nothing() {
        let (a, b, c): (Arc<str>, Arc<str>, Arc<str>) = ("a".into(), "b".into(), "c".into());
        let mut plan = RowPlan::default();
        plan.merge(1, 0, Action::Inspect, 0, &a).unwrap();
        plan.merge(1, 0, Action::Keep, 1, &c).unwrap();
        plan.merge(1, 0, Action::Mask(Mask::Null), 2, &b).unwrap();
        assert_eq!(plan.touching().collect::<Vec<_>>(), [&b]);
    }
}
