//! Messages that the gateway writes or reads itself.

use std::sync::Arc;

use super::frame::{Fields, WireError, put, put_cstr};

/// An error or a notice (documentation section "Error and Notice Message Fields").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `ERROR`, `FATAL`, `NOTICE`, …
    pub severity: &'static str,
    /// The SQLSTATE, five characters.
    pub code: &'static str,
    /// The primary message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Fault {
    /// An error that leaves the session usable.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "ERROR", code, message: message.into(), detail: None, hint: None }
    }

    /// An error that ends the session.
    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "FATAL", ..Self::error(code, message) }
    }

    /// A notice.
    pub fn notice(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: "NOTICE", ..Self::error(code, message) }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Appends it as an ErrorResponse, or as a NoticeResponse if it is a notice.
    pub fn put(&self, out: &mut Vec<u8>) {
        let tag = if self.severity == "NOTICE" { b'N' } else { b'E' };
        put(out, tag, |b| {
            let mut field = |kind: u8, text: &str| {
                b.push(kind);
                put_cstr(b, text.as_bytes());
            };
            field(b'S', self.severity);
            field(b'V', self.severity);
            field(b'C', self.code);
            field(b'M', &self.message);
            if let Some(detail) = &self.detail {
                field(b'D', detail);
            }
            if let Some(hint) = &self.hint {
                field(b'H', hint);
            }
            b.push(0);
        });
    }
}

/// The SQLSTATE in the body of an ErrorResponse, if it is well formed.
pub fn sqlstate(body: &[u8]) -> Option<&str> {
    field(body, b'C').and_then(|code| std::str::from_utf8(code).ok()).filter(|c| c.len() == 5)
}

/// A field of the body of an ErrorResponse or NoticeResponse.
pub fn field(body: &[u8], kind: u8) -> Option<&[u8]> {
    let mut fields = Fields::new(b'E', body);
    while let Ok(found) = fields.u8() {
        let text = fields.cstr().ok()?;
        if found == kind {
            return Some(text);
        }
    }
    None
}

/// Appends a Query.
pub fn put_query(out: &mut Vec<u8>, text: &str) {
    put(out, b'Q', |b| put_cstr(b, text.as_bytes()));
}

/// Appends a ParameterStatus.
pub fn put_parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, b'S', |b| {
        put_cstr(b, name.as_bytes());
        put_cstr(b, value.as_bytes());
    });
}

/// The transaction status of a ReadyForQuery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxStatus {
    /// In a transaction that has failed: only its end is accepted.
    Failed,
    /// Not in a transaction.
    #[default]
    Idle,
    /// In a transaction.
    Open,
}

impl TxStatus {
    /// Reads the body of a ReadyForQuery.
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        match body {
            b"I" => Ok(Self::Idle),
            b"T" => Ok(Self::Open),
            b"E" => Ok(Self::Failed),
            _ => Err(WireError::Malformed { tag: b'Z', what: "the transaction status is unknown" }),
        }
    }
}

/// The columns of a result.
pub type Shape = Arc<[Field]>;

/// One column of a RowDescription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name that the client sees.
    pub name: String,
    /// The OID of the relation that it comes from, or 0.
    pub table: u32,
    /// The attribute number in that relation, or 0.
    pub attribute: i16,
    /// The OID of its type.
    pub type_oid: u32,
    /// The type's modifier, or -1.
    pub type_modifier: i32,
    /// Whether values come in the type's binary format. Unknown (false) when a statement is described before it is bound.
    pub binary: bool,
}

/// Reads the body of a RowDescription.
pub fn row_description(body: &[u8]) -> Result<Shape, WireError> {
    let mut fields = Fields::new(b'T', body);
    let count = fields.count()?;
    let mut shape = Vec::with_capacity(count.min(1664));
    for _ in 0..count {
        let name = String::from_utf8_lossy(fields.cstr()?).into_owned();
        let table = fields.i32()? as u32;
        let attribute = fields.i16()?;
        let type_oid = fields.i32()? as u32;
        fields.i16()?;
        let type_modifier = fields.i32()?;
        let binary = match fields.i16()? {
            0 => false,
            1 => true,
            _ => return Err(WireError::Malformed { tag: b'T', what: "a format code is neither 0 nor 1" }),
        };
        shape.push(Field { name, table, attribute, type_oid, type_modifier, binary });
    }
    fields.end()?;
    Ok(shape.into())
}

#[cfg(test)]
mod tests {
    use super::super::frame::next;
    use super::*;

    #[test]
    fn a_fault_is_read_back() {
        let mut out = vec![];
        Fault::error("42501", "no\0hidden").with_hint("ask").put(&mut out);
        let frame = next(&out, 1000).unwrap().unwrap();
        assert_eq!((frame.tag, sqlstate(frame.body)), (b'E', Some("42501")));
        assert_eq!(field(frame.body, b'M'), Some(&b"no"[..]));
        assert_eq!(field(frame.body, b'H'), Some(&b"ask"[..]));
        assert_eq!(field(frame.body, b'X'), None);
    }

    #[test]
    fn a_row_description_is_checked() {
        let body = b"\0\x01id\0\0\0\0\x07\0\x02\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01";
        let shape = row_description(body).unwrap();
        let expected =
            Field { name: "id".into(), table: 7, attribute: 2, type_oid: 23, type_modifier: -1, binary: true };
        assert_eq!(*shape, [expected]);
        for cut in 0..body.len() {
            assert!(row_description(&body[..cut]).is_err());
        }
        assert!(row_description(b"\0\0extra").is_err());
    }
}
