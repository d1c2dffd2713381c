//! Values of the built-in types.

use portcullis_wire::pg::types::{BadValue, Class, Form, Inner, Type, is_valid_text, to_binary, to_text};

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

/// `int4[]`, `text[]`, `date[]`, `jsonb[]`, `record`, `record[]`, `int4range`, `tsrange[]`, `nummultirange`.
const MADE: [u32; 9] = [1007, 1009, 1182, 3807, 2249, 2287, 3904, 3909, 4532];

/// What is shown of an array of numbers in the binary format is written as the same array; a text that is valid can be written; and an
/// array of which every value is made anew as it was stays valid. Of ranges and rows nothing is written.
pub(crate) fn made(data: &[u8]) {
    let Some((choice, value)) = data.split_first() else { return };
    let ty = Type::builtin(MADE[usize::from(*choice) % MADE.len()]);
    let show = |value: &[u8]| {
        let mut out = vec![];
        ty.to_text(value, &mut out).ok().map(|()| out)
    };
    let write = |text: &[u8]| {
        let mut out = vec![];
        ty.to_binary(text, &mut out).ok().map(|()| out)
    };
    if let Some(shown) = show(value) {
        let again = write(&shown);
        assert!(again.is_some() || ty.oid != 1007, "{}", String::from_utf8_lossy(&shown));
        if let Some(again) = again {
            assert_eq!(show(&again), Some(shown), "it changes on the way");
        }
    }
    for binary in [false, true] {
        let mut out = b"before".to_vec();
        let same = ty.edit(binary, value, &mut out, &mut |_, value, out: &mut Vec<u8>| {
            out.extend_from_slice(value);
            Ok::<_, BadValue>(Inner::Written)
        });
        let edited = out.strip_prefix(b"before").expect("what was there stays");
        if same.is_ok() && matches!(ty.form, Form::Array(_)) && !binary {
            assert_eq!(write(edited), write(value), "{}", String::from_utf8_lossy(edited));
        }
    }
    assert!(!ty.is_valid_text(value) || write(value).is_some(), "it is valid and cannot be written");
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
