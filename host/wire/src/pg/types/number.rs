//! Numbers.

use super::class::{exact, push};
use super::{BadValue, Class};

/// Rust reads more than PostgreSQL writes: no plus sign, no NaN or infinity by another name.
pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Result<T, BadValue> {
    let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e')) && !text.starts_with('+');
    let named = matches!(text, "NaN" | "Infinity" | "-Infinity");
    if plain || named { text.parse().map_err(|_| BadValue) } else { Err(BadValue) }
}

/// Whole numbers, and places that are made of them.
pub(super) fn whole_text(class: Class, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let text = match class {
        Class::Int2 => i16::from_be_bytes(exact(value)?).to_string(),
        Class::Int4 => i32::from_be_bytes(exact(value)?).to_string(),
        Class::Int8 => i64::from_be_bytes(exact(value)?).to_string(),
        Class::Oid => u32::from_be_bytes(exact(value)?).to_string(),
        Class::Xid8 => u64::from_be_bytes(exact(value)?).to_string(),
        Class::PgLsn => {
            let place = u64::from_be_bytes(exact(value)?);
            format!("{:X}/{:X}", place >> 32, place & 0xffff_ffff)
        }
        Class::Tid => {
            let (block, offset) = value.split_at_checked(4).ok_or(BadValue)?;
            format!("({},{})", u32::from_be_bytes(exact(block)?), u16::from_be_bytes(exact(offset)?))
        }
        _ => return Err(BadValue),
    };
    push(out, text.as_bytes())
}

/// From so many digits before the point on, the server writes a `float8` with an exponent.
pub(super) const FLOAT8_DIGITS: i32 = 15;
/// The same of a `float4`.
pub(super) const FLOAT4_DIGITS: i32 = 6;

/// The fewest digits that read back as the same number, with an exponent where the number is very large or small.
pub(super) fn float_text<T>(value: T, digits: i32, out: &mut Vec<u8>) -> Result<(), BadValue>
where
    T: std::fmt::Display + std::fmt::LowerExp + Into<f64> + Copy,
{
    let wide: f64 = value.into();
    let text = match wide {
        _ if wide.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => {
            let text = format!("{value:e}");
            let (mantissa, exponent) = text.split_once('e').ok_or(BadValue)?;
            match exponent.parse::<i32>().map_err(|_| BadValue)? {
                exponent if wide != 0.0 && !(-4..digits).contains(&exponent) => {
                    let sign = if exponent < 0 { '-' } else { '+' };
                    format!("{mantissa}e{sign}{:02}", exponent.abs())
                }
                _ => format!("{value}"),
            }
        }
    };
    push(out, text.as_bytes())
}

/// Digit groups of four, most significant first: count, weight of the first, sign, digits after the point, groups.
pub(super) fn numeric_text(value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let (header, groups) = value.split_at_checked(8).ok_or(BadValue)?;
    let field = |i: usize| u16::from_be_bytes([header[2 * i], header[2 * i + 1]]);
    let (count, weight, sign, scale) = (usize::from(field(0)), field(1) as i16, field(2), usize::from(field(3)));
    match sign {
        0xC000 => return push(out, b"NaN"),
        0xD000 => return push(out, b"Infinity"),
        0xF000 => return push(out, b"-Infinity"),
        0x4000 => out.push(b'-'),
        0 => {}
        _ => return Err(BadValue),
    }
    if groups.len() != count * 2 || scale > 16_383 {
        return Err(BadValue);
    }
    let group = |at: i32| {
        let pair = usize::try_from(at).ok().and_then(|at| groups.get(2 * at..2 * at + 2));
        pair.map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
    };
    let weight = i32::from(weight);
    if weight < 0 {
        out.push(b'0');
    }
    for at in 0..=weight {
        let digits = if at == 0 { format!("{}", group(at)) } else { format!("{:04}", group(at)) };
        out.extend_from_slice(digits.as_bytes());
    }
    if scale > 0 {
        out.push(b'.');
        let mut digits = String::new();
        let mut at = weight + 1;
        while digits.len() < scale {
            digits.push_str(&format!("{:04}", group(at)));
            at += 1;
        }
        out.extend_from_slice(digits.get(..scale).unwrap_or_default().as_bytes());
    }
    Ok(())
}

pub(super) fn numeric_binary(text: &str, out: &mut Vec<u8>) -> Result<(), BadValue> {
    let special = match text {
        "NaN" => Some(0xC000u16),
        "Infinity" => Some(0xD000),
        "-Infinity" => Some(0xF000),
        _ => None,
    };
    if let Some(sign) = special {
        out.extend([0; 4]);
        out.extend(sign.to_be_bytes());
        return push(out, &[0; 2]);
    }
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.len() > 100_000 {
        return Err(BadValue);
    }
    let padded = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let weight = padded.len() / 4;
    let padded = format!("{padded}{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let groups: Vec<u16> =
        padded.as_bytes().chunks(4).map(|c| c.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'))).collect();
    let first = groups.iter().position(|g| *g != 0).unwrap_or(groups.len());
    let end = groups.iter().rposition(|g| *g != 0).map_or(first, |last| last + 1);
    let kept = groups.get(first..end).unwrap_or_default();
    let field = |n: usize| i16::try_from(n).map_err(|_| BadValue);
    let weight =
        if kept.is_empty() { 0 } else { i16::try_from(weight as i64 - 1 - first as i64).map_err(|_| BadValue)? };
    out.extend(field(kept.len())?.to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(if negative && !kept.is_empty() { 0x4000u16 } else { 0 }.to_be_bytes());
    out.extend(field(fraction.len())?.to_be_bytes());
    kept.iter().for_each(|g| out.extend(g.to_be_bytes()));
    Ok(())
}
