//! Points and what is made of them.

use super::class::push;
use super::number::{FLOAT8_DIGITS, float_text};
use super::{BadValue, Class, Fields};

/// Appends the text form of a geometric value.
pub(super) fn text(class: Class, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let mut fields = Fields(value);
    match class {
        Class::Point => point(&mut fields, out)?,
        Class::Lseg => points(&mut fields, 2, (b"[", b"]"), out)?,
        Class::Box => points(&mut fields, 2, (b"", b""), out)?,
        Class::Polygon => {
            let count = fields.i32()?;
            points(&mut fields, count, (b"(", b")"), out)?;
        }
        Class::Path => {
            let around: (&[u8], &[u8]) = match fields.fixed()? {
                [0] => (b"[", b"]"),
                [1] => (b"(", b")"),
                _ => return Err(BadValue),
            };
            let count = fields.i32()?;
            points(&mut fields, count, around, out)?;
        }
        Class::Line => {
            for before in [b"{", b",", b","] {
                push(out, before)?;
                float_text(fields.f64()?, FLOAT8_DIGITS, out)?;
            }
            push(out, b"}")?;
        }
        Class::Circle => {
            push(out, b"<")?;
            point(&mut fields, out)?;
            push(out, b",")?;
            float_text(fields.f64()?, FLOAT8_DIGITS, out)?;
            push(out, b">")?;
        }
        _ => return Err(BadValue),
    }
    fields.end()
}

fn points(
    fields: &mut Fields<'_>,
    count: i32,
    (before, after): (&[u8], &[u8]),
    out: &mut Vec<u8>,
) -> Result<(), BadValue> {
    push(out, before)?;
    for number in 0..count {
        push(out, if number > 0 { b"," } else { b"" })?;
        point(fields, out)?;
    }
    push(out, after)
}

fn point(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), BadValue> {
    push(out, b"(")?;
    float_text(fields.f64()?, FLOAT8_DIGITS, out)?;
    push(out, b",")?;
    float_text(fields.f64()?, FLOAT8_DIGITS, out)?;
    push(out, b")")
}
