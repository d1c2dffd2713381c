//! DataRow messages, rewritten field by field.

use super::frame::{Fields, HEADER, WireError, peek};

/// What becomes of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It stays as it is.
    Keep,
    /// It becomes NULL.
    Null,
    /// The bytes that were appended are its new value.
    Written,
}

/// The whole messages at the front of `bytes`, one after another. Anything but a DataRow ends the iteration.
pub fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (_, length) = peek(bytes).ok()?.filter(|(tag, _)| *tag == b'D')?;
        let (frame, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some(frame)
    })
}

/// Reads the fields `columns` (increasing) of a DataRow that must have `count` fields.
pub fn read<'a>(
    frame: &'a [u8],
    count: usize,
    columns: &[usize],
    mut each: impl FnMut(usize, Option<&'a [u8]>),
) -> Result<(), WireError> {
    let mut fields = body(frame, count)?;
    let mut next = 0;
    for (place, column) in columns.iter().enumerate() {
        while next < *column {
            fields.value()?;
            next += 1;
        }
        each(place, fields.value()?);
        next += 1;
    }
    Ok(())
}

/// Appends a DataRow with some fields changed. `edit` is called for the fields `columns` (increasing), with their place in
/// that list, their value, and the output to append a new value to.
pub fn rewrite<E: From<WireError>>(
    frame: &[u8],
    count: usize,
    columns: &[usize],
    out: &mut Vec<u8>,
    mut edit: impl FnMut(usize, Option<&[u8]>, &mut Vec<u8>) -> Result<Cell, E>,
) -> Result<(), E> {
    let mut fields = body(frame, count)?;
    let start = out.len();
    let mut copied = 0;
    let mut next = 0;
    let position = |fields: &Fields<'_>| frame.len() - fields.rest().len();
    for (place, column) in columns.iter().enumerate() {
        while next < *column {
            fields.value()?;
            next += 1;
        }
        let field = position(&fields);
        let value = fields.value()?;
        next += 1;
        let mark = out.len() + (field - copied);
        out.extend_from_slice(frame.get(copied..field).unwrap_or_default());
        out.extend_from_slice(&[0; 4]);
        let length = match edit(place, value, out)? {
            Cell::Written => (out.len() - mark - 4) as i32,
            Cell::Null => -1,
            Cell::Keep => {
                out.truncate(mark);
                copied = field;
                continue;
            }
        };
        if length == -1 {
            out.truncate(mark + 4);
        }
        set_i32(out, mark, length);
        copied = position(&fields);
    }
    out.extend_from_slice(frame.get(copied..).unwrap_or_default());
    let length = (out.len() - start - 1) as i32;
    set_i32(out, start + 1, length);
    Ok(())
}

fn body(frame: &[u8], count: usize) -> Result<Fields<'_>, WireError> {
    let mut fields = Fields::new(b'D', frame.get(HEADER..).unwrap_or_default());
    if fields.count()? != count {
        return Err(WireError::Malformed { tag: b'D', what: "it does not have the fields that were described" });
    }
    Ok(fields)
}

fn set_i32(out: &mut [u8], at: usize, value: i32) {
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::put;
    use super::*;

    type Values = Vec<Option<Vec<u8>>>;

    fn encode(values: &Values) -> Vec<u8> {
        let mut out = vec![];
        put(&mut out, b'D', |b| {
            b.extend((values.len() as i16).to_be_bytes());
            for v in values {
                b.extend(v.as_ref().map_or(-1, |v| v.len() as i32).to_be_bytes());
                b.extend(v.iter().flatten());
            }
        });
        out
    }

    fn rewritten(
        row: &Values,
        columns: &[usize],
        mut edit: impl FnMut(usize, &mut Vec<u8>) -> Cell,
    ) -> Result<Vec<u8>, WireError> {
        let mut out = b"before".to_vec();
        rewrite(&encode(row), row.len(), columns, &mut out, |i, _, out| Ok::<_, WireError>(edit(i, out)))?;
        Ok(out.split_off(6))
    }

    proptest! {
        #[test]
        fn edits_touch_what_they_name_and_nothing_else(
            row in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)), 0..8),
            edits in proptest::collection::vec(0..4u8, 8),
        ) {
            let columns: Vec<usize> = (0..row.len()).filter(|i| edits[*i] < 3).collect();
            let mut expected = row.clone();
            for i in &columns {
                match edits[*i] { 1 => expected[*i] = None, 2 => expected[*i] = Some(b"new".to_vec()), _ => {} }
            }
            let out = rewritten(&row, &columns, |place, out| match edits[columns[place]] {
                1 => { out.extend(b"junk"); Cell::Null }
                2 => { out.extend(b"new"); Cell::Written }
                _ => { out.extend(b"junk"); Cell::Keep }
            });
            prop_assert_eq!(out.unwrap(), encode(&expected));
            let mut seen = vec![];
            read(&encode(&row), row.len(), &columns, |_, v| seen.push(v.map(<[u8]>::to_vec))).unwrap();
            let wanted: Vec<_> = columns.iter().map(|i| row[*i].clone()).collect();
            prop_assert_eq!(seen, wanted);
        }

        #[test]
        fn junk_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut out = vec![];
            let _ = rewrite(&bytes, 2, &[0, 1], &mut out, |_, _, _| Ok::<_, WireError>(Cell::Null));
            let _ = read(&bytes, 2, &[1], |_, _| {});
            frames(&bytes).for_each(drop);
        }
    }

    #[test]
    fn a_row_with_other_fields_than_described_is_refused() {
        let row = vec![Some(b"x".to_vec())];
        assert!(read(&encode(&row), 2, &[0], |_, _| {}).is_err());
        assert!(read(&encode(&row)[..9], 1, &[0], |_, _| {}).is_err());
    }

    #[test]
    fn frames_stop_at_what_is_not_whole() {
        let one = encode(&vec![None]);
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(frames(&two).count(), 2);
        assert_eq!(frames(&two[..two.len() - 1]).count(), 1);
        assert_eq!(frames(b"Z\0\0\0\x05I").count(), 0);
    }
}
