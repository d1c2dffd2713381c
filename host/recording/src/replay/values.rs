//! Rows and values as people read them.

use std::borrow::Cow;

use portcullis_verdict::RecordedColumn;
use portcullis_verdict::text::hex;

use super::safe;

/// Shown for NULL.
const NULL: &str = "∅";

/// The cells of the rows of an entry, as far as they can be read.
pub(super) struct Rows<'a> {
    data: &'a [u8],
    /// The bytes do not hold rows.
    pub(super) broken: bool,
}

impl<'a> Rows<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, broken: false }
    }

    fn row(&mut self) -> Option<Vec<Option<&'a [u8]>>> {
        let count = i16::from_be_bytes(self.array()?);
        let mut row = Vec::new();
        for _ in 0..count {
            let len = i32::from_be_bytes(self.array()?);
            row.push(match usize::try_from(len) {
                Ok(len) => Some(self.split(len)?),
                Err(_) => None,
            });
        }
        (count >= 0).then_some(row)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.split(N)?.try_into().ok()
    }

    fn split(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.data.split_at_checked(len)?;
        self.data = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Vec<Option<&'a [u8]>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.data.is_empty() || self.broken {
            return None;
        }
        let row = self.row();
        self.broken = row.is_none();
        row
    }
}

/// A value on one line.
pub(super) fn show(value: Option<&[u8]>, column: Option<&RecordedColumn>) -> String {
    match (value, column) {
        (None, _) => NULL.into(),
        (Some(value), Some(column)) if column.binary => binary(value, &column.type_name),
        (Some(value), _) => safe(&String::from_utf8_lossy(value)),
    }
}

/// Whether values of a type stand at the right of their column.
pub(super) fn is_number(column: &RecordedColumn) -> bool {
    matches!(&*column.type_name, "int2" | "int4" | "int8" | "oid" | "float4" | "float8" | "numeric" | "money")
}

fn binary(value: &[u8], type_name: &str) -> String {
    match type_name {
        "bool" => value.try_into().ok().map(|[b]: [u8; 1]| if b == 0 { "f" } else { "t" }.to_string()),
        "int2" => value.try_into().ok().map(|b| i16::from_be_bytes(b).to_string()),
        "int4" => value.try_into().ok().map(|b| i32::from_be_bytes(b).to_string()),
        "int8" => value.try_into().ok().map(|b| i64::from_be_bytes(b).to_string()),
        "oid" => value.try_into().ok().map(|b| u32::from_be_bytes(b).to_string()),
        "float4" => value.try_into().ok().map(|b| f32::from_be_bytes(b).to_string()),
        "float8" => value.try_into().ok().map(|b| f64::from_be_bytes(b).to_string()),
        "text" | "varchar" | "bpchar" | "name" | "char" | "unknown" | "citext" | "json" | "xml" => text(value),
        "jsonb" => value.strip_prefix(&[1]).and_then(text),
        "uuid" => value.try_into().ok().map(uuid),
        _ => None,
    }
    .unwrap_or_else(|| format!("\\x{}", hex(value)))
}

fn text(value: &[u8]) -> Option<String> {
    match String::from_utf8_lossy(value) {
        Cow::Borrowed(text) => Some(safe(text)),
        // Bytes that are not what the type says.
        Cow::Owned(_) => None,
    }
}

fn uuid(bytes: [u8; 16]) -> String {
    let digits = hex(&bytes);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(type_name: &str, binary: bool) -> RecordedColumn {
        RecordedColumn { name: "c".into(), type_name: type_name.into(), binary }
    }

    #[test]
    fn values_of_known_types_are_read_and_others_are_hexadecimal() {
        let shown = |type_name: &str, value: &[u8]| show(Some(value), Some(&column(type_name, true)));
        assert_eq!(shown("bool", &[1]), "t");
        assert_eq!(shown("bool", &[0]), "f");
        assert_eq!(shown("int2", &(-2i16).to_be_bytes()), "-2");
        assert_eq!(shown("int4", &7i32.to_be_bytes()), "7");
        assert_eq!(shown("int8", &i64::MIN.to_be_bytes()), "-9223372036854775808");
        assert_eq!(shown("float4", &1.5f32.to_be_bytes()), "1.5");
        assert_eq!(shown("float8", &f64::NAN.to_be_bytes()), "NaN");
        assert_eq!(shown("text", "a\x1b".as_bytes()), "a\\u{1b}");
        assert_eq!(shown("jsonb", b"\x01{}"), "{}");
        assert_eq!(shown("uuid", &[0x11; 16]), "11111111-1111-1111-1111-111111111111");
        assert_eq!(shown("bytea", &[0, 255]), "\\x00ff");
        for wrong in ["bool", "int4", "text", "jsonb", "uuid"] {
            assert_eq!(shown(wrong, &[255, 255]), "\\xffff", "{wrong}");
        }
        assert_eq!(show(Some(b"\xff\n"), Some(&column("int4", false))), "\u{fffd}\\n");
        assert_eq!(show(None, None), NULL);
    }

    #[test]
    fn rows_that_are_cut_or_forged_end() {
        let mut whole = Vec::new();
        whole.extend_from_slice(&2i16.to_be_bytes());
        whole.extend_from_slice(&1i32.to_be_bytes());
        whole.push(b'x');
        whole.extend_from_slice(&(-1i32).to_be_bytes());
        let mut rows = Rows::new(&whole);
        assert_eq!(rows.next(), Some(vec![Some(&b"x"[..]), None]));
        assert_eq!((rows.next(), rows.broken), (None, false));
        for cut in 1..whole.len() {
            let mut rows = Rows::new(&whole[..cut]);
            assert_eq!((rows.next(), rows.broken), (None, true), "{cut}");
        }
        let mut rows = Rows::new(&[255, 255]);
        assert_eq!((rows.next(), rows.broken), (None, true));
    }
}
