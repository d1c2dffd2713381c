//! Single values: their text form and their binary format.

use super::{BadValue, geometry, network, number, time};

/// What a type's values look like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `bit(n)` and `varbit`.
    Bits,
    /// `boolean`.
    Bool,
    /// `box`.
    Box,
    /// `char(n)`.
    BpChar,
    /// `bytea`.
    Bytea,
    /// `"char"`, one byte.
    Char,
    /// `cidr`.
    Cidr,
    /// `circle`.
    Circle,
    /// `date`.
    Date,
    /// An enumeration, whose labels are the same in both formats.
    Enum,
    /// `real`.
    Float4,
    /// `double precision`.
    Float8,
    /// `inet`.
    Inet,
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `interval`.
    Interval,
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// `jsonpath`.
    JsonPath,
    /// `line`.
    Line,
    /// `lseg`.
    Lseg,
    /// `macaddr` and `macaddr8`.
    MacAddr,
    /// `name`.
    Name,
    /// `numeric`.
    Numeric,
    /// `oid`, `xid` and `cid`.
    Oid,
    /// Anything else.
    Other,
    /// `path`.
    Path,
    /// `pg_lsn`.
    PgLsn,
    /// `point`.
    Point,
    /// `polygon`.
    Polygon,
    /// `text` and `varchar`.
    Text,
    /// `tid`.
    Tid,
    /// `time`.
    Time,
    /// `time with time zone`.
    TimeTz,
    /// `timestamp`.
    Timestamp,
    /// `timestamp with time zone`.
    TimestampTz,
    /// `uuid`.
    Uuid,
    /// `xid8`.
    Xid8,
    /// `xml`.
    Xml,
}

impl Class {
    /// Every class; the last are those whose values are only read.
    pub const ALL: [Self; 40] = [
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
        Self::Bits,
        Self::Box,
        Self::Char,
        Self::Cidr,
        Self::Circle,
        Self::Enum,
        Self::Inet,
        Self::Interval,
        Self::JsonPath,
        Self::Line,
        Self::Lseg,
        Self::MacAddr,
        Self::Oid,
        Self::Path,
        Self::PgLsn,
        Self::Point,
        Self::Polygon,
        Self::Tid,
        Self::Time,
        Self::TimeTz,
        Self::Xid8,
    ];

    /// Whether both formats are the same characters.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::BpChar | Self::Name | Self::Json | Self::Xml | Self::Enum)
    }
}

/// Appends the text form of a value in the binary format.
pub fn to_text(class: Class, value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    match class {
        _ if class.is_text() => push(out, value),
        Class::Jsonb | Class::JsonPath => match value {
            // The version of the format.
            [1, text @ ..] => push(out, text),
            _ => Err(BadValue),
        },
        Class::Bool => match value {
            [0] => push(out, b"f"),
            [1] => push(out, b"t"),
            _ => Err(BadValue),
        },
        Class::Char => match value {
            [0] => Ok(()),
            [byte @ 1..=0x7f] => push(out, &[*byte]),
            [byte] => push(out, format!("\\{byte:03o}").as_bytes()),
            _ => Err(BadValue),
        },
        Class::Bits => bits_text(value, out),
        Class::Bytea => {
            out.extend_from_slice(b"\\x");
            value.iter().try_for_each(|byte| push(out, format!("{byte:02x}").as_bytes()))
        }
        Class::Uuid => {
            let dash = |i| if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            let mut bytes = exact::<16>(value)?.into_iter().enumerate();
            bytes.try_for_each(|(i, byte)| push(out, format!("{}{byte:02x}", dash(i)).as_bytes()))
        }
        Class::Int2 | Class::Int4 | Class::Int8 | Class::Oid | Class::Xid8 | Class::Tid | Class::PgLsn => {
            number::whole_text(class, value, out)
        }
        Class::Float4 => number::float_text(f32::from_be_bytes(exact(value)?), number::FLOAT4_DIGITS, out),
        Class::Float8 => number::float_text(f64::from_be_bytes(exact(value)?), number::FLOAT8_DIGITS, out),
        Class::Numeric => number::numeric_text(value, out),
        Class::Date | Class::Time | Class::TimeTz | Class::Timestamp | Class::TimestampTz | Class::Interval => {
            time::text(class, value, out)
        }
        Class::Inet => network::address_text(value, false, out),
        Class::Cidr => network::address_text(value, true, out),
        Class::MacAddr => network::mac_text(value, out),
        Class::Point | Class::Lseg | Class::Box | Class::Path | Class::Polygon | Class::Line | Class::Circle => {
            geometry::text(class, value, out)
        }
        _ => Err(BadValue),
    }
}

/// Appends the binary format of a value in text form.
pub fn to_binary(class: Class, text: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let str = std::str::from_utf8(text).map_err(|_| BadValue)?;
    match class {
        _ if class.is_text() => out.extend_from_slice(text),
        Class::Jsonb => {
            out.push(1);
            out.extend_from_slice(text);
        }
        Class::Bool => out.push(match text {
            b"t" => 1,
            b"f" => 0,
            _ => return Err(BadValue),
        }),
        Class::Int2 => out.extend(number::parse::<i16>(str)?.to_be_bytes()),
        Class::Int4 => out.extend(number::parse::<i32>(str)?.to_be_bytes()),
        Class::Int8 => out.extend(number::parse::<i64>(str)?.to_be_bytes()),
        Class::Float4 => out.extend(number::parse::<f32>(str)?.to_be_bytes()),
        Class::Float8 => out.extend(number::parse::<f64>(str)?.to_be_bytes()),
        Class::Numeric => number::numeric_binary(str, out)?,
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
            _ => match time::moment(str)? {
                (days, None) => out.extend(i32::try_from(days).map_err(|_| BadValue)?.to_be_bytes()),
                _ => return Err(BadValue),
            },
        },
        Class::Timestamp | Class::TimestampTz => out.extend(time::timestamp(class, str)?.to_be_bytes()),
        // Policies cannot make up values of the others.
        _ => return Err(BadValue),
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
        Class::Xml | Class::Enum | Class::Other => false,
        _ => to_binary(class, text, &mut Vec::new()).is_ok(),
    }
}

/// How many bits, and the bits.
fn bits_text(value: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    let (count, bytes) = value.split_at_checked(4).ok_or(BadValue)?;
    let count = usize::try_from(i32::from_be_bytes(exact(count)?)).map_err(|_| BadValue)?;
    if bytes.len() != count.div_ceil(8) {
        return Err(BadValue);
    }
    let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| b'0' + (byte >> (7 - bit) & 1)));
    out.extend(bits.take(count));
    Ok(())
}

pub(super) fn exact<const N: usize>(value: &[u8]) -> Result<[u8; N], BadValue> {
    value.try_into().map_err(|_| BadValue)
}

pub(super) fn push(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), BadValue> {
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
