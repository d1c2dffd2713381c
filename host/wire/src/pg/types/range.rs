//! Ranges: `[1,10)`, `empty`, and lists of them. They are shown, never made.

use super::made::Quotes;
use super::{BadValue, Fields, Room, Type};

const QUOTES: Quotes = Quotes { special: b"()[],", doubled: true, null: b"" };

const EMPTY: u8 = 0x01;
const LOWER_INCLUDED: u8 = 0x02;
const UPPER_INCLUDED: u8 = 0x04;
const LOWER_INFINITE: u8 = 0x08;
const UPPER_INFINITE: u8 = 0x10;

/// Appends the text form of a range in the binary format: flags, and the bounds that there are.
pub(super) fn to_text(bound: &Type, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let mut fields = Fields(value);
    let [flags] = fields.fixed()?;
    let has = |flag: u8| flags & flag != 0;
    if has(EMPTY) {
        out.extend_from_slice(b"empty");
        return fields.end();
    }
    out.push(if has(LOWER_INCLUDED) { b'[' } else { b'(' });
    let mut text = Vec::new();
    for (infinite, after) in [(LOWER_INFINITE, b','), (UPPER_INFINITE, if has(UPPER_INCLUDED) { b']' } else { b')' })] {
        if !has(infinite) {
            text.clear();
            bound.to_text(fields.value()?.ok_or(BadValue)?, &mut text)?;
            QUOTES.put(&text, out);
        }
        out.push(after);
    }
    fields.end()
}

/// Appends the text form of a list of ranges in the binary format.
pub(super) fn list_to_text(range: &Type, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let mut fields = Fields(value);
    let (count, room) = (fields.i32()?, Room::behind(out, value.len()));
    out.push(b'{');
    for place in 0..count {
        if place > 0 {
            out.push(b',');
        }
        range.to_text(fields.value()?.ok_or(BadValue)?, out)?;
        room.check(out)?;
    }
    out.push(b'}');
    fields.end()
}
