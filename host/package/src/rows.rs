//! The rows of a case on their way to the client, as the gateway would show them.

use std::fmt::Write;
use std::sync::Arc;

use portcullis_verdict::mask::{Compiled, HashKey, ValueType};
use portcullis_verdict::{
    Batch, Chunk, Column, ColumnPlan, Command, Denial, Judge, Limit, ResultSet, RowPlan, Snapshot,
};

use crate::case::{Cell, ColumnSpec, ResultSpec};

/// The masking key of test cases. It is public, so that a case can spell out what the mask `hash` yields.
const CASE_KEY: &[u8] = b"portcullis test cases";

/// The most rows of a batch, as the policy interface promises.
const BATCH: usize = 1024;

/// What the client sees of a result.
pub(crate) struct Shown {
    /// The rows, or why the result is refused.
    pub(crate) rows: Result<Vec<Vec<Cell>>, String>,
    /// The row limit in force.
    pub(crate) max_rows: Option<u64>,
}

/// Lets the judge plan and filter the result of a case.
pub(crate) fn show(spec: &ResultSpec, judge: &mut dyn Judge, snapshot: &Snapshot, command: &Arc<Command>) -> Shown {
    let result = result_set(spec);
    let plan = match judge.plan(snapshot, command, &result) {
        Ok(plan) => plan,
        Err(Denial { message, .. }) => return Shown { rows: Err(message), max_rows: None },
    };
    let max_rows = plan.limit.as_ref().map(|limit| limit.max_rows);
    let filter = |batch: &mut Batch| judge.filter(snapshot, command, &result, &plan, batch);
    Shown { rows: edit(spec, &plan, filter), max_rows }
}

/// The result of a case before its first row.
pub(crate) fn result_set(spec: &ResultSpec) -> Arc<ResultSet> {
    Arc::new(ResultSet { id: 1, columns: spec.columns.iter().map(column).collect() })
}

/// As many rows as a batch may have, of the columns that a plan inspects.
pub(crate) fn full_batch(spec: &ResultSpec, plan: &RowPlan) -> Option<Batch> {
    let inspected = inspected(plan);
    if inspected.is_empty() || spec.rows.is_empty() {
        return None;
    }
    let rows: Vec<Vec<Cell>> = spec.rows.iter().cycle().take(BATCH).cloned().collect();
    Some(batch(&rows, &inspected))
}

/// The places of the columns that a plan inspects.
fn inspected(plan: &RowPlan) -> Vec<usize> {
    let inspects = |plan: &ColumnPlan| matches!(plan, ColumnPlan::Inspect(_));
    plan.columns.iter().enumerate().filter(|(_, p)| inspects(p)).map(|(index, _)| index).collect()
}

pub(crate) fn column(spec: &ColumnSpec) -> Column {
    let ColumnSpec { name, type_name, computed, origins, labels } = spec.clone();
    Column { name, type_name, computed, origins, labels }
}

fn edit(
    spec: &ResultSpec,
    plan: &RowPlan,
    mut filter: impl FnMut(&mut Batch) -> Result<(), Denial>,
) -> Result<Vec<Vec<Cell>>, String> {
    let masks = compile(spec, plan)?;
    let inspected = inspected(plan);
    let mut shown: Vec<Vec<Cell>> = Vec::new();
    for rows in spec.rows.chunks(BATCH) {
        let mut batch = batch(rows, &inspected);
        if !inspected.is_empty() {
            filter(&mut batch).map_err(|denial| denial.message)?;
        }
        for (index, row) in rows.iter().enumerate().filter(|(index, _)| !batch.is_dropped(*index)) {
            if let Some(Limit { max_rows, .. }) = plan.limit.as_ref().filter(|l| shown.len() as u64 >= l.max_rows) {
                return Err(format!("the result has more than {max_rows} rows"));
            }
            let mut row = row.clone();
            for chunk in batch.chunks.iter().filter(|chunk| chunk.is_changed(index)) {
                row[chunk.column as usize] = text(chunk.value(index))?;
            }
            for (place, mask) in &masks {
                row[*place] = masked(mask, &row[*place])?;
            }
            shown.push(row);
        }
    }
    Ok(shown)
}

fn compile(spec: &ResultSpec, plan: &RowPlan) -> Result<Vec<(usize, Compiled)>, String> {
    let key = HashKey::new(CASE_KEY);
    let mut masks = Vec::new();
    for (place, (column, plan)) in spec.columns.iter().zip(&plan.columns).enumerate() {
        if let ColumnPlan::Mask(mask, _) = plan {
            let unusable = |why| format!("column \"{}\": {why}", column.name);
            masks.push((place, mask.compile(&value_type(&column.type_name), &key).map_err(unusable)?));
        }
    }
    Ok(masks)
}

fn batch(rows: &[Vec<Cell>], inspected: &[usize]) -> Batch {
    let chunk = |place: &usize| {
        let mut chunk = Chunk::new(*place as u32);
        rows.iter().for_each(|row| chunk.push(row[*place].0.as_deref().map(str::as_bytes)));
        chunk
    };
    Batch { rows: rows.len() as u32, chunks: inspected.iter().map(chunk).collect(), dropped: Vec::new() }
}

fn masked(mask: &Compiled, cell: &Cell) -> Result<Cell, String> {
    // NULL stays NULL.
    let Some(value) = &cell.0 else { return Ok(Cell(None)) };
    let mut out = Vec::new();
    let kept = mask.apply(value.as_bytes(), &mut out);
    text(kept.then_some(&out))
}

fn text(value: Option<&[u8]>) -> Result<Cell, String> {
    let read = value.map(|bytes| String::from_utf8(bytes.to_vec())).transpose();
    read.map(Cell).map_err(|_| "a policy's new value is not valid UTF-8".into())
}

/// What masks have to know of a type of PostgreSQL, by its name in the catalogue.
pub fn value_type(name: &str) -> ValueType {
    let integer = |min: i64, max: i64| ValueType::Integer { min, max };
    match name {
        "bool" => ValueType::Bool,
        "bpchar" | "text" | "varchar" | "citext" => ValueType::TEXT,
        "date" => ValueType::Date,
        "float4" | "float8" | "numeric" => ValueType::Number,
        "int2" => integer(i16::MIN.into(), i16::MAX.into()),
        "int4" => integer(i32::MIN.into(), i32::MAX.into()),
        "int8" => integer(i64::MIN, i64::MAX),
        "json" | "jsonb" => ValueType::Json,
        // 63 bytes of which a UTF-8 character may take four.
        "name" => ValueType::Text { max_chars: Some(15), padded: false },
        "timestamp" | "timestamptz" => ValueType::Timestamp,
        "uuid" => ValueType::Uuid,
        _ => ValueType::Other,
    }
}

/// Both tables, one above the other, with the rows that differ marked.
pub(crate) fn side_by_side(columns: &[ColumnSpec], expected: &[Vec<Cell>], actual: &[Vec<Cell>]) -> String {
    let show = |cell: &Cell| cell.0.as_ref().map_or("NULL".to_owned(), |text| format!("{text:?}"));
    let width = |(place, column): (usize, &ColumnSpec)| {
        let cells =
            expected.iter().chain(actual).filter_map(|row| row.get(place)).map(|cell| show(cell).chars().count());
        cells.max().unwrap_or(0).max(column.name.chars().count())
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(width).collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
        padded.collect::<Vec<_>>().join(" | ").trim_end().to_owned()
    };
    let header = line(columns.iter().map(|column| column.name.clone()).collect());
    let mut out = String::new();
    for (title, rows, others) in [("expected", expected, actual), ("actual", actual, expected)] {
        let separator = if out.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = write!(out, "{separator}  {title}, {} rows:\n    {header}", rows.len());
        for (index, row) in rows.iter().enumerate() {
            let mark = if others.get(index) == Some(row) { ' ' } else { '!' };
            let _ = write!(out, "\n  {mark} {}", line(row.iter().map(show).collect()));
        }
    }
    out
}
