//! Values of the built-in types.

use portcullis_wire::pg::types::{Class, is_valid_text, to_binary, to_text};

/// What is written from a text reads back as the same value, and what the server can send survives both ways.
pub(crate) fn types(data: &[u8]) {
    let Some((choice, value)) = data.split_first() else { return };
    let class = Class::ALL[usize::from(*choice) % Class::ALL.len()];
    let valid = is_valid_text(class, value);
    match binary(class, value) {
        Some(encoded) => {
            let shown = text(class, &encoded).expect("what was written can be read");
            assert_eq!(binary(class, &shown).as_ref(), Some(&encoded), "{class:?} {}", String::from_utf8_lossy(&shown));
        }
        None => assert!(!valid, "{class:?} is valid and cannot be written"),
    }
    let Some(shown) = text(class, value) else { return };
    match binary(class, &shown) {
        Some(again) if is_canonical(class, value) => assert_eq!(again, value, "{class:?} changes on the way"),
        Some(again) => {
            let shown = text(class, &again).expect("what was written can be read");
            assert_eq!(binary(class, &shown), Some(again), "{class:?} is not stable");
        }
        None => assert!(!is_canonical(class, value), "{class:?} {}", String::from_utf8_lossy(&shown)),
    }
}

fn binary(class: Class, text: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![];
    to_binary(class, text, &mut out).ok().map(|()| out)
}

fn text(class: Class, value: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![];
    to_text(class, value, &mut out).ok().map(|()| out)
}

/// Whether a server could have sent these bytes, and only these, for the value.
fn is_canonical(class: Class, value: &[u8]) -> bool {
    let micros = || value.try_into().map(i64::from_be_bytes);
    match class {
        Class::Date => {
            let days = value.try_into().map(i32::from_be_bytes);
            // 4714-11-24 BC to 5874897-12-31, or endless.
            days.is_ok_and(|days| (-2_451_545..2_145_031_949).contains(&days) || [i32::MIN, i32::MAX].contains(&days))
        }
        Class::Timestamp | Class::TimestampTz => {
            // 4714-11-24 BC to 294276-12-31, or endless.
            let within = -211_813_488_000_000_000..9_223_371_331_200_000_000;
            micros().is_ok_and(|micros| within.contains(&micros) || [i64::MIN, i64::MAX].contains(&micros))
        }
        Class::Float4 => value.try_into().is_ok_and(|bytes| !f32::from_be_bytes(bytes).is_nan()),
        Class::Float8 => value.try_into().is_ok_and(|bytes| !f64::from_be_bytes(bytes).is_nan()),
        Class::Numeric => is_canonical_numeric(value),
        Class::Int2 | Class::Int4 | Class::Int8 | Class::Bool | Class::Bytea | Class::Uuid => true,
        Class::Jsonb => std::str::from_utf8(value).is_ok(),
        // Values of the others are only read.
        class => class.is_text() && std::str::from_utf8(value).is_ok(),
    }
}

/// Groups of four digits without zero groups at the ends, and no minus before zero.
fn is_canonical_numeric(value: &[u8]) -> bool {
    let words: Vec<u16> = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [_, weight, sign, scale, groups @ ..] = &words[..] else { return false };
    let (weight, scale) = (i32::from(*weight as i16), i32::from(*scale));
    let ends = [groups.first(), groups.last()];
    // Digits behind those that are shown do not survive.
    let shown = weight + 1 + (scale + 3) / 4;
    let step = [1, 1000, 100, 10][scale as usize % 4];
    let cut = groups.len() as i32 == shown && groups.last().is_some_and(|last| last % step != 0);
    let fits = (groups.len() as i32..1000).contains(&shown) && !cut;
    match (sign, groups.is_empty()) {
        (0 | 0x4000, false) => fits && !cut && groups.iter().all(|g| *g < 10_000) && !ends.contains(&Some(&0)),
        (0, true) => weight == 0,
        _ => false,
    }
}
