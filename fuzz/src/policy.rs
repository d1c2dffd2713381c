//! What policies answer about rows.

use portcullis_verdict::mask::{Compiled, HashKey, ValueType};
use portcullis_verdict::{Batch, Chunk, Edit, Mask};
use portcullis_wire::pg::types::{Class, is_valid_text};

use crate::chunks;

const NAMES: [&str; 7] = ["constant", "date-to-year", "email", "hash", "keep-last", "null", "redact"];

/// A mask of a valid value is a valid value of its type within its length, or NULL.
///
/// The first chunk is the mask's name, the second its parameter, the third a value; their flags choose among known ones.
pub(crate) fn mask(data: &[u8]) {
    let mut chunks = chunks(data);
    let mut chunk = || chunks.next().unwrap_or_default();
    let ((named, name), (bound, parameter), (choice, value)) = (chunk(), chunk(), chunk());
    let words = String::from_utf8_lossy(name);
    let name = if named & 1 == 0 { NAMES[usize::from(named >> 1) % NAMES.len()] } else { &words };
    let parameter = String::from_utf8_lossy(parameter).into_owned();
    let parameters = match named >> 6 {
        0 => vec![],
        1 => vec![("value".to_owned(), parameter)],
        2 => vec![("count".to_owned(), parameter)],
        _ => vec![(parameter, String::new())],
    };
    let Ok(mask) = Mask::parse(name, &parameters) else { return };
    let class = Class::ALL[usize::from(choice) % Class::ALL.len()];
    let max_chars = (bound > 0).then_some(u32::from(bound));
    let Ok(compiled) = mask.compile(&value_type(class, max_chars), &HashKey::new(b"key")) else { return };
    let mut out = b"before".to_vec();
    let written = compiled.apply(value, &mut out);
    let masked = out.strip_prefix(b"before").expect("what was there stays");
    if !written {
        return assert!(masked.is_empty(), "NULL and a value at once");
    }
    let text = std::str::from_utf8(masked);
    if matches!(class, Class::Text | Class::BpChar) {
        let chars = text.map(|t| t.chars().count());
        assert!(chars.is_ok_and(|chars| max_chars.is_none_or(|max| chars <= max as usize)), "{mask:?} is too long");
    }
    // A constant is as good as the check of the policy's settings.
    if !matches!(mask, Mask::Constant(_)) && (is_valid_text(class, value) || matches!(compiled, Compiled::Constant(_)))
    {
        assert!(is_valid_text(class, masked), "{mask:?} of a {class:?} is {text:?}");
    }
}

fn value_type(class: Class, max_chars: Option<u32>) -> ValueType {
    match class {
        Class::Text | Class::Name => ValueType::Text { max_chars, padded: false },
        Class::BpChar => ValueType::Text { max_chars, padded: true },
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

/// An edit that is accepted changes the rows that it names and no others, and gives no value to NULL.
///
/// Chunks are values (the lowest flag is NULL) up to one whose highest flag is set: that one is the policy's answer.
pub(crate) fn batch(data: &[u8]) {
    let mut chunk = Chunk::new(3);
    let mut before: Vec<Option<String>> = vec![];
    for (flags, bytes) in chunks(data) {
        if flags & 0x80 == 0 {
            let value = (flags & 1 == 0).then(|| String::from_utf8_lossy(bytes).into_owned());
            chunk.push(value.as_deref().map(str::as_bytes));
            before.push(value);
            continue;
        }
        let mut batch = Batch { rows: before.len() as u32, chunks: vec![chunk], dropped: vec![] };
        let (edit, named) = edit(flags, bytes);
        let spans = matches!(edit, Edit::Spans { .. });
        let drop_rows: Vec<u32> = named.iter().copied().filter(|_| flags & 0x40 != 0).collect();
        if batch.apply(&[3], vec![edit], &drop_rows).is_err() {
            return;
        }
        for (row, old) in before.iter().enumerate() {
            let new = batch.chunks[0].value(row);
            let is_named = named.contains(&(row as u32));
            assert_eq!(batch.is_dropped(row), drop_rows.contains(&(row as u32)));
            assert!(old.is_some() || new.is_none(), "NULL has a value now");
            assert!(!batch.chunks[0].is_changed(row) || is_named);
            assert!(is_named || new == old.as_deref().map(str::as_bytes), "another row changed");
            if spans {
                assert_eq!(new.map(<[u8]>::len), old.as_ref().map(String::len));
                assert!(new.is_none_or(|new| std::str::from_utf8(new).is_ok()), "a span cuts a character");
            }
        }
        return;
    }
}

/// An answer from bytes, and the rows that it names.
fn edit(flags: u8, bytes: &[u8]) -> (Edit, Vec<u32>) {
    let column = |from: usize| bytes.iter().skip(from).step_by(3).map(|b| u32::from(*b)).collect::<Vec<u32>>();
    let rows = column(0);
    match flags % 4 {
        0 => (Edit::Keep, rows),
        1 => (Edit::Spans { rows: rows.clone(), starts: column(1), lens: column(2), fill: b'*' }, rows),
        2 => (Edit::Spans { rows: rows.clone(), starts: column(1), lens: column(1), fill: flags }, rows),
        _ => {
            let ends: Vec<u32> = column(1)
                .iter()
                .scan(0, |end, length| {
                    *end += length;
                    Some(*end)
                })
                .collect();
            let data = vec![b'x'; ends.last().copied().unwrap_or(0) as usize];
            (Edit::Patch { rows: rows.clone(), nulls: bytes.to_vec(), ends, data }, rows)
        }
    }
}
