//! The built-in types whose values the gateway can read and write in both formats.
//!
//! The text form is the one that a server with `DateStyle = ISO` writes. Types that are not listed are [`Class::Other`]: their
//! values pass, or become NULL, and are never made up.

/// What a type's values look like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `char(n)`.
    BpChar,
    /// `boolean`.
    Bool,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// `name`.
    Name,
    /// `numeric`.
    Numeric,
    /// Anything else.
    Other,
    /// `text` and `varchar`.
    Text,
    /// `timestamp`.
    Timestamp,
    /// `timestamp with time zone`.
    TimestampTz,
    /// `uuid`.
    Uuid,
    /// `xml`.
    Xml,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 19] = [
        Self::BpChar,
        Self::Bool,
        Self::Bytea,
        Self::Date,
        Self::Float4,
        Self::Float8,
        Self::Int2,
        Self::Int4,
        Self::Int8,
        Self::Json,
        Self::Jsonb,
        Self::Name,
        Self::Numeric,
        Self::Other,
        Self::Text,
        Self::Timestamp,
        Self::TimestampTz,
        Self::Uuid,
        Self::Xml,
    ];
}

/// OIDs and names as in the server's `pg_type.dat`.
const TYPES: &[(u32, &str, Class)] = &[
    (16, "bool", Class::Bool),
    (17, "bytea", Class::Bytea),
    (18, "char", Class::Other),
    (19, "name", Class::Name),
    (20, "int8", Class::Int8),
    (21, "int2", Class::Int2),
    (23, "int4", Class::Int4),
    (25, "text", Class::Text),
    (26, "oid", Class::Other),
    (114, "json", Class::Json),
    (142, "xml", Class::Xml),
    (600, "point", Class::Other),
    (650, "cidr", Class::Other),
    (700, "float4", Class::Float4),
    (701, "float8", Class::Float8),
    (790, "money", Class::Other),
    (829, "macaddr", Class::Other),
    (869, "inet", Class::Other),
    (1000, "_bool", Class::Other),
    (1005, "_int2", Class::Other),
    (1007, "_int4", Class::Other),
    (1009, "_text", Class::Other),
    (1014, "_bpchar", Class::Other),
    (1015, "_varchar", Class::Other),
    (1016, "_int8", Class::Other),
    (1042, "bpchar", Class::BpChar),
    (1043, "varchar", Class::Text),
    (1082, "date", Class::Date),
    (1083, "time", Class::Other),
    (1114, "timestamp", Class::Timestamp),
    (1184, "timestamptz", Class::TimestampTz),
    (1186, "interval", Class::Other),
    (1266, "timetz", Class::Other),
    (1700, "numeric", Class::Numeric),
    (2249, "record", Class::Other),
    (2950, "uuid", Class::Uuid),
    (3614, "tsvector", Class::Other),
    (3802, "jsonb", Class::Jsonb),
];

/// The name of a built-in type.
pub fn name(oid: u32) -> Option<&'static str> {
    find(oid).map(|(_, name, _)| *name)
}

/// What the values of this type look like.
pub fn class(oid: u32) -> Class {
    find(oid).map_or(Class::Other, |(.., class)| *class)
}

fn find(oid: u32) -> Option<&'static (u32, &'static str, Class)> {
    TYPES.binary_search_by_key(&oid, |t| t.0).ok().and_then(|at| TYPES.get(at))
}

/// A value that is not valid for its type, or not representable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is not valid for its type")]
pub struct BadValue;

const DAY_MICROS: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i64 = 10_957;

/// Appends the text form of a value in the binary format.
pub fn to_text(class: Class, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    use std::io::Write as _;
    let mut text = |arguments: std::fmt::Arguments<'_>| out.write_fmt(arguments).map_err(|_| BadValue);
    match class {
        Class::Text | Class::BpChar | Class::Name | Class::Json | Class::Xml => out.extend_from_slice(value),
        Class::Jsonb => match value {
            [1, json @ ..] => out.extend_from_slice(json),
            _ => return Err(BadValue),
        },
        Class::Bool => match value {
            [0] => out.push(b'f'),
            [1] => out.push(b't'),
            _ => return Err(BadValue),
        },
        Class::Int2 => text(format_args!("{}", i16::from_be_bytes(exact(value)?)))?,
        Class::Int4 => text(format_args!("{}", i32::from_be_bytes(exact(value)?)))?,
        Class::Int8 => text(format_args!("{}", i64::from_be_bytes(exact(value)?)))?,
        Class::Float4 => float_text(f32::from_be_bytes(exact(value)?), out)?,
        Class::Float8 => float_text(f64::from_be_bytes(exact(value)?), out)?,
        Class::Numeric => numeric_text(value, out)?,
        Class::Bytea => {
            text(format_args!("\\x"))?;
            value.iter().try_for_each(|byte| text(format_args!("{byte:02x}")))?;
        }
        Class::Uuid => {
            for (i, byte) in exact::<16>(value)?.iter().enumerate() {
                let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
                text(format_args!("{dash}{byte:02x}"))?;
            }
        }
        Class::Date => match i32::from_be_bytes(exact(value)?) {
            i32::MAX => text(format_args!("infinity"))?,
            i32::MIN => text(format_args!("-infinity"))?,
            days => moment_text(days.into(), None, "", out)?,
        },
        Class::Timestamp | Class::TimestampTz => match i64::from_be_bytes(exact(value)?) {
            i64::MAX => text(format_args!("infinity"))?,
            i64::MIN => text(format_args!("-infinity"))?,
            micros => {
                let zone = if class == Class::TimestampTz { "+00" } else { "" };
                moment_text(micros.div_euclid(DAY_MICROS), Some(micros.rem_euclid(DAY_MICROS)), zone, out)?;
            }
        },
        Class::Other => return Err(BadValue),
    }
    Ok(())
}

/// Appends the binary format of a value in text form.
pub fn to_binary(class: Class, text: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let str = std::str::from_utf8(text).map_err(|_| BadValue)?;
    match class {
        Class::Text | Class::BpChar | Class::Name | Class::Json | Class::Xml => out.extend_from_slice(text),
        Class::Jsonb => {
            out.push(1);
            out.extend_from_slice(text);
        }
        Class::Bool => out.push(match text {
            b"t" => 1,
            b"f" => 0,
            _ => return Err(BadValue),
        }),
        Class::Int2 => out.extend(number::<i16>(str)?.to_be_bytes()),
        Class::Int4 => out.extend(number::<i32>(str)?.to_be_bytes()),
        Class::Int8 => out.extend(number::<i64>(str)?.to_be_bytes()),
        Class::Float4 => out.extend(number::<f32>(str)?.to_be_bytes()),
        Class::Float8 => out.extend(number::<f64>(str)?.to_be_bytes()),
        Class::Numeric => numeric_binary(str, out)?,
        Class::Bytea => hex(str.strip_prefix("\\x").ok_or(BadValue)?, out)?,
        Class::Uuid => {
            if !is_uuid(text) {
                return Err(BadValue);
            }
            hex(&str.replace('-', ""), out)?;
        }
        Class::Date => match str {
            "infinity" => out.extend(i32::MAX.to_be_bytes()),
            "-infinity" => out.extend(i32::MIN.to_be_bytes()),
            _ => match moment(str)? {
                (days, None) => out.extend(i32::try_from(days).map_err(|_| BadValue)?.to_be_bytes()),
                _ => return Err(BadValue),
            },
        },
        Class::Timestamp | Class::TimestampTz => out.extend(timestamp(class, str)?.to_be_bytes()),
        Class::Other => return Err(BadValue),
    }
    Ok(())
}

/// Whether a text is a valid value of the type, whatever its modifier.
pub fn is_valid_text(class: Class, text: &[u8]) -> bool {
    match class {
        // A NUL cannot be stored.
        Class::Text | Class::BpChar | Class::Name => std::str::from_utf8(text).is_ok() && !text.contains(&0),
        Class::Json | Class::Jsonb => is_json(text),
        // It would take a parser of its own to tell.
        Class::Xml | Class::Other => false,
        _ => to_binary(class, text, &mut Vec::new()).is_ok(),
    }
}

fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], BadValue> {
    value.try_into().map_err(|_| BadValue)
}

/// Rust reads more than PostgreSQL writes: no plus sign, no NaN or infinity by another name.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, BadValue> {
    let plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e')) && !text.starts_with('+');
    let named = matches!(text, "NaN" | "Infinity" | "-Infinity");
    if plain || named { text.parse().map_err(|_| BadValue) } else { Err(BadValue) }
}

fn float_text<T: std::fmt::Display + Into<f64> + Copy>(value: T, out: &mut Vec<u8>) -> Result<(), BadValue> {
    let wide: f64 = value.into();
    let text = match wide {
        _ if wide.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => format!("{value}"),
    };
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Digit groups of four, most significant first: count, weight of the first, sign, digits after the point, groups.
fn numeric_text(value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
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

fn numeric_binary(text: &str, out: &mut Vec<u8>) -> Result<(), BadValue> {
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

fn push(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), BadValue> {
    out.extend_from_slice(bytes);
    Ok(())
}

fn hex(text: &str, out: &mut Vec<u8>) -> Result<(), BadValue> {
    let digit = |b: u8| (b as char).to_digit(16).ok_or(BadValue);
    for pair in text.as_bytes().chunks(2) {
        let &[high, low] = pair else { return Err(BadValue) };
        out.push((digit(high)? << 4 | digit(low)?) as u8);
    }
    Ok(())
}

fn is_uuid(text: &[u8]) -> bool {
    let fits = |(i, b): (usize, &u8)| if matches!(i, 8 | 13 | 18 | 23) { *b == b'-' } else { b.is_ascii_hexdigit() };
    text.len() == 36 && text.iter().enumerate().all(fits)
}

fn is_json(text: &[u8]) -> bool {
    // What serde ignores it does not check for UTF-8.
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = <serde::de::IgnoredAny as serde::Deserialize>::deserialize(&mut reader);
    read.is_ok() && reader.end().is_ok()
}

/// Writes a date, and a time where there is one. Days count from 2000-01-01.
fn moment_text(days: i64, micros: Option<i64>, zone: &str, out: &mut Vec<u8>) -> Result<(), BadValue> {
    let (year, month, day) = civil(days + EPOCH_DAYS);
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let mut text = format!("{shown:04}-{month:02}-{day:02}");
    if let Some(micros) = micros {
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        text += &format!(" {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        if fraction > 0 {
            text += format!(".{fraction:06}").trim_end_matches('0');
        }
        text += zone;
    }
    text += era;
    push(out, text.as_bytes())
}

fn timestamp(class: Class, text: &str) -> Result<i64, BadValue> {
    match text {
        "infinity" => return Ok(i64::MAX),
        "-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let zoned = class == Class::TimestampTz;
    let (text, era) = text.strip_suffix(" BC").map_or((text, ""), |rest| (rest, " BC"));
    let cut = text.get(10..).and_then(|t| t.find(['+', '-']).map(|at| at + 10)).filter(|_| zoned).unwrap_or(text.len());
    let (local, zone) = text.split_at(cut);
    if zoned == zone.is_empty() {
        return Err(BadValue);
    }
    let (days, Some(micros)) = moment(&format!("{local}{era}"))? else { return Err(BadValue) };
    let utc = days.checked_mul(DAY_MICROS).and_then(|d| d.checked_add(micros)).ok_or(BadValue)?;
    utc.checked_sub(zone_micros(zone)?).ok_or(BadValue)
}

/// `+02`, `-03:30`, `+00:19:32`; empty for none.
fn zone_micros(zone: &str) -> Result<i64, BadValue> {
    let Some((sign, rest)) = zone.split_at_checked(1).filter(|(sign, _)| !sign.is_empty()) else { return Ok(0) };
    let mut micros = 0;
    let mut unit = 3_600_000_000;
    for part in rest.split(':') {
        micros += i64::from(two_digits(part, 60)?) * unit;
        unit /= 60;
    }
    if unit < 16_000 { Err(BadValue) } else { Ok(if sign == "-" { -micros } else { micros }) }
}

/// Reads `YYYY-MM-DD`, with `HH:MM:SS[.ffffff]` behind it or not, and with ` BC` at the end or not.
fn moment(text: &str) -> Result<(i64, Option<i64>), BadValue> {
    let (text, bc) = text.strip_suffix(" BC").map_or((text, false), |rest| (rest, true));
    let (date, time) = text.split_once(' ').map_or((text, None), |(date, time)| (date, Some(time)));
    let mut parts = date.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(BadValue);
    };
    if !(4..=7).contains(&year.len()) || !year.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadValue);
    }
    let year: i64 = year.parse().map_err(|_| BadValue)?;
    let year = if bc { 1 - year } else { year };
    let (month, day) = (i64::from(two_digits(month, 13)?), i64::from(two_digits(day, 32)?));
    let days = days_from_civil(year, month, day);
    // A day that does not exist, such as 30 February, comes back as another.
    if (year <= 0) != bc || civil(days) != (year, month, day) {
        return Err(BadValue);
    }
    Ok((days - EPOCH_DAYS, time.map(time_micros).transpose()?))
}

fn time_micros(time: &str) -> Result<i64, BadValue> {
    let (clock, fraction) = time.split_once('.').map_or((time, None), |(clock, f)| (clock, Some(f)));
    let mut parts = clock.split(':');
    let (Some(h), Some(m), Some(s), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(BadValue);
    };
    let seconds =
        i64::from(two_digits(h, 24)?) * 3600 + i64::from(two_digits(m, 60)?) * 60 + i64::from(two_digits(s, 60)?);
    let fraction = match fraction {
        None => 0,
        Some(f) if (1..=6).contains(&f.len()) && f.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{f:0<6}").parse().map_err(|_| BadValue)?
        }
        Some(_) => return Err(BadValue),
    };
    Ok(seconds * 1_000_000 + fraction)
}

fn two_digits(text: &str, below: u32) -> Result<u32, BadValue> {
    let valid = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|n| valid && *n < below);
    number.ok_or(BadValue)
}

/// The proleptic Gregorian date of a day counted from 1970-01-01, by way of eras of 400 years that begin on 1 March.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(class: Class, text: &str) -> Result<String, BadValue> {
        let (mut binary, mut back) = (vec![], vec![]);
        to_binary(class, text.as_bytes(), &mut binary)?;
        to_text(class, &binary, &mut back)?;
        Ok(String::from_utf8(back).unwrap())
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(TYPES.is_sorted_by_key(|t| t.0));
        assert_eq!((name(1043), class(1043), class(424_242)), (Some("varchar"), Class::Text, Class::Other));
    }

    #[test]
    fn values_survive_both_ways() {
        for (class, texts) in [
            (Class::Bool, &["t", "f"][..]),
            (Class::Int2, &["-32768", "32767"]),
            (Class::Int8, &["-9223372036854775808", "0"]),
            (Class::Float8, &["1.5", "-0.1", "NaN", "Infinity"]),
            (
                Class::Numeric,
                &["0", "0.00", "-1.5", "10000", "12345678.9012", "0.0001", "0.000010", "NaN", "99999999999999999999"],
            ),
            (Class::Uuid, &["00112233-4455-6677-8899-aabbccddeeff"]),
            (Class::Date, &["2000-01-01", "1999-12-31", "2024-02-29", "0044-03-15 BC", "5874897-12-31", "infinity"]),
            (Class::Timestamp, &["2026-11-23 15:45:56", "1970-01-01 00:00:00.000001", "-infinity"]),
            (Class::TimestampTz, &["2026-11-23 15:45:56.25+00"]),
            (Class::Jsonb, &["{\"a\": 1}"]),
            (Class::Bytea, &["\\x", "\\x00ff"]),
        ] {
            for text in texts {
                assert_eq!(round(class, text).as_deref(), Ok(*text), "{class:?}");
            }
        }
        assert_eq!(round(Class::TimestampTz, "2026-01-01 01:30:00+01:30").as_deref(), Ok("2026-01-01 00:00:00+00"));
        assert_eq!(round(Class::Numeric, "-0.0").as_deref(), Ok("0.0"));
    }

    #[test]
    fn bytes_are_as_the_server_writes_them() {
        for (class, text, bytes) in [
            (Class::Numeric, "12345.678", &[0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c][..]),
            (Class::Date, "2000-01-02", &[0, 0, 0, 1]),
            (Class::Timestamp, "2000-01-01 00:00:01", &[0, 0, 0, 0, 0, 0x0f, 0x42, 0x40]),
            (Class::Int4, "-2", &[0xff, 0xff, 0xff, 0xfe]),
        ] {
            let mut out = vec![];
            to_binary(class, text.as_bytes(), &mut out).unwrap();
            assert_eq!(out, bytes, "{text}");
        }
    }

    #[test]
    fn what_the_type_cannot_hold_is_refused() {
        for (class, text) in [
            (Class::Bool, "true"),
            (Class::Int2, "32768"),
            (Class::Int4, "+1"),
            (Class::Int4, " 1"),
            (Class::Int4, "****"),
            (Class::Float8, "inf"),
            (Class::Numeric, "1e5"),
            (Class::Numeric, "."),
            (Class::Date, "2026-02-30"),
            (Class::Date, "****-**-**"),
            (Class::Timestamp, "2026-01-01"),
            (Class::Timestamp, "2026-01-01 24:00:00"),
            (Class::TimestampTz, "2026-01-01 00:00:00"),
            (Class::Uuid, "00112233-4455-6677-8899-aabbccddeefg"),
            (Class::Json, "{\"a\": ****}"),
            (Class::Jsonb, "{} x"),
            (Class::Text, "a\0b"),
            (Class::Xml, "<a/>"),
            (Class::Other, "x"),
        ] {
            assert!(!is_valid_text(class, text.as_bytes()), "{class:?} {text}");
        }
        assert!(!is_valid_text(Class::Jsonb, b"{\"\xff\": 1}"));
        assert!(is_valid_text(Class::Json, b" {\"a\": [1, null]} "));
    }

    proptest! {
        #[test]
        fn junk_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            for class in Class::ALL {
                let mut out = vec![];
                let _ = to_text(class, &bytes, &mut out);
                let _ = to_binary(class, &bytes, &mut out);
                is_valid_text(class, &bytes);
            }
        }

        #[test]
        fn every_day_has_a_date(days in -2_000_000i64..2_000_000) {
            let (y, m, d) = civil(days);
            prop_assert_eq!(days_from_civil(y, m, d), days);
        }
    }
}
