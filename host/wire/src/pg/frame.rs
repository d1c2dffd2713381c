//! Frames: a tag byte, a length that counts itself, and a body. Only the startup frames have no tag.

/// A peer broke the protocol. The connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A message is longer than the limit.
    #[error("a message of type {} with {length} bytes exceeds the limit of {limit} bytes", show(*.tag))]
    TooLong {
        /// The message type, 0 for a startup message.
        tag: u8,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A length field is impossible.
    #[error("a message of type {} has the impossible length {length}", show(*.tag))]
    BadLength {
        /// The message type, 0 for a startup message.
        tag: u8,
        /// The length field.
        length: i64,
    },
    /// A message's body does not have the form of its type.
    #[error("a message of type {} is malformed: {what}", show(*.tag))]
    Malformed {
        /// The message type.
        tag: u8,
        /// What is wrong.
        what: &'static str,
    },
    /// A message is not expected in this state, or its type is unknown.
    #[error("a message of type {} is not expected {state}", show(*.tag))]
    Unexpected {
        /// The message type.
        tag: u8,
        /// When it came.
        state: &'static str,
    },
}

fn show(tag: u8) -> String {
    match tag {
        0 => "startup".into(),
        0x21..=0x7e => format!("'{}'", tag as char),
        _ => format!("{tag:#04x}"),
    }
}

/// The bytes of a tag and a length.
pub const HEADER: usize = 5;

/// A complete message with a tag.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The message type.
    pub tag: u8,
    /// What follows the length.
    pub body: &'a [u8],
    /// The whole message.
    pub raw: &'a [u8],
}

/// The tag and the length in bytes, header included, of the message at the front; `None` if the header is not whole.
pub fn peek(input: &[u8]) -> Result<Option<(u8, usize)>, WireError> {
    let Some((&[tag, a, b, c, d], _)) = input.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = i32::from_be_bytes([a, b, c, d]);
    if length < 4 {
        return Err(WireError::BadLength { tag, length: length.into() });
    }
    Ok(Some((tag, length as usize + 1)))
}

/// The message at the front, if it is whole. A message longer than `limit` bytes is refused as soon as its length is known.
pub fn next(input: &[u8], limit: usize) -> Result<Option<Frame<'_>>, WireError> {
    let Some((tag, length)) = peek(input)? else { return Ok(None) };
    if length > limit {
        return Err(WireError::TooLong { tag, length, limit });
    }
    Ok(input.get(..length).map(|raw| Frame { tag, body: raw.get(HEADER..).unwrap_or_default(), raw }))
}

/// Reads the fields of a message's body in order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    tag: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Over the body of a message of this type.
    pub fn new(tag: u8, body: &'a [u8]) -> Self {
        Self { tag, rest: body }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn malformed<T>(&self, what: &'static str) -> Result<T, WireError> {
        Err(WireError::Malformed { tag: self.tag, what })
    }

    /// `count` bytes.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else { return self.malformed("it ends early") };
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.bytes(1)?[0])
    }

    /// A big-endian 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        let b = self.bytes(2)?;
        Ok(i16::from_be_bytes([b[0], b[1]]))
    }

    /// A big-endian 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        let b = self.bytes(4)?;
        Ok(i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A count of things that follow: 16 bits without a sign, as the server and libpq read it.
    pub fn count(&mut self) -> Result<usize, WireError> {
        let b = self.bytes(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]).into())
    }

    /// A string that ends with a NUL, without it.
    pub fn cstr(&mut self) -> Result<&'a [u8], WireError> {
        let Some(end) = memchr::memchr(0, self.rest) else { return self.malformed("a string has no end") };
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    /// A string that ends with a NUL, as UTF-8.
    pub fn str(&mut self) -> Result<&'a str, WireError> {
        let bytes = self.cstr()?;
        std::str::from_utf8(bytes).or_else(|_| self.malformed("a string is not UTF-8"))
    }

    /// A value with a length before it; a length of -1 is NULL.
    pub fn value(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        match self.i32()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) => self.bytes(length).map(Some),
                Err(_) => self.malformed("a value has a negative length"),
            },
        }
    }

    /// Refuses anything left over.
    pub fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { self.malformed("it is longer than its fields") }
    }
}

/// Appends a message whose body `fill` writes.
pub fn put(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    put_untagged(out, fill);
}

/// Appends a message without a tag, as at startup.
pub fn put_untagged(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = (out.len() - at) as u32;
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a string and its NUL. A NUL inside would end it early, so the string is cut there.
pub fn put_cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text.split(|b| *b == 0).next().unwrap_or_default());
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_when_it_is_whole() {
        let mut bytes = vec![];
        put(&mut bytes, b'Q', |b| put_cstr(b, b"select 1"));
        for cut in 0..bytes.len() {
            assert!(next(&bytes[..cut], 100).unwrap().is_none());
        }
        bytes.push(b'X');
        let frame = next(&bytes, 100).unwrap().unwrap();
        assert_eq!((frame.tag, frame.body, frame.raw.len()), (b'Q', &b"select 1\0"[..], bytes.len() - 1));
    }

    #[test]
    fn impossible_and_excessive_lengths_are_refused_at_once() {
        for length in [0u32, 3, 0x8000_0000, 0xffff_ffff] {
            let mut bytes = vec![b'Q'];
            bytes.extend(length.to_be_bytes());
            assert!(matches!(next(&bytes, 100), Err(WireError::BadLength { .. })), "{length}");
        }
        let bytes = [b'Q', 0x7f, 0xff, 0xff, 0xff];
        let error = next(&bytes, 100).unwrap_err().to_string();
        assert!(error.contains("'Q'") && error.contains("limit of 100"), "{error}");
    }

    #[test]
    fn fields_end_where_the_body_ends() {
        let mut f = Fields::new(b'B', b"ab\0\0\x01\0\0\0\x02xy\xff\xff\xff\xff");
        assert_eq!(f.str().unwrap(), "ab");
        assert_eq!(f.count().unwrap(), 1);
        assert_eq!(f.value().unwrap(), Some(&b"xy"[..]));
        assert!(f.end().is_err());
        assert_eq!(f.value().unwrap(), None);
        f.end().unwrap();
        assert!(f.u8().is_err() && f.i16().is_err() && f.cstr().is_err());
        assert!(Fields::new(b'B', b"\xff\xff\xff\xfe").value().is_err());
        // As many parameters as a command may have.
        assert_eq!(Fields::new(b'B', b"\xff\xff").count().unwrap(), 65_535);
    }
}
