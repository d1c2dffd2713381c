//! Reads along with what goes to a client in a session: for recordings and for watchers, never for a decision.
//!
//! The bytes may come in any pieces. Rows are not looked into: whole ones are copied as they are, many at a time.

use std::borrow::Cow;

use super::frame::{Fields, HEADER, WireError, peek};
use super::message::{Shape, field, row_description};

/// The largest message that is gathered, in bytes.
pub const MAX_MESSAGE: usize = 64 << 20;
/// Rows and copied data are given in pieces of about so many bytes.
const PIECE: usize = 64 << 10;

/// Something that a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The columns of a result that is about to run. The description of a statement is none.
    Columns(Shape),
    /// Rows, one after another: for each the number of its values (16 bits), and for each value its length (32 bits, -1 for NULL)
    /// and its bytes; big-endian.
    Rows {
        /// How many.
        count: u32,
        /// The rows.
        data: &'a [u8],
    },
    /// COPY data. Where one message ends is not told.
    Copy(&'a [u8]),
    /// An error, a notice or a notification.
    Message {
        /// The severity in English, such as `ERROR`; `NOTIFY` for a notification.
        severity: Cow<'a, str>,
        /// The SQLSTATE, or empty.
        code: Cow<'a, str>,
        /// The message, with detail and hint on lines of their own; a notification's channel and payload.
        text: String,
    },
    /// A statement has ended with this tag, which is empty where the text was, or where its portal was suspended.
    Complete(Cow<'a, str>),
    /// The server is ready for the next command.
    Ready,
    /// A message was too large to be gathered.
    Oversized {
        /// Its type.
        tag: u8,
        /// Its size in bytes.
        bytes: usize,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Tap {
    /// Whether rows, columns and copied data are given.
    results: bool,
    max_message: usize,
    /// The beginning of a message that is not whole.
    partial: Vec<u8>,
    /// Bytes of a message that are still to come and are passed over, or copied.
    left: usize,
    copies: bool,
    bulk: Bulk,
    /// The next RowDescription is about a statement, not about a result.
    of_statement: bool,
}

/// Rows, or copied data, that belong together and were not given yet.
#[derive(Debug, Default)]
struct Bulk {
    rows: u32,
    data: Vec<u8>,
}

impl Bulk {
    fn give(&mut self, each: &mut impl FnMut(Item<'_>)) {
        if self.rows > 0 {
            each(Item::Rows { count: self.rows, data: &self.data });
        } else if !self.data.is_empty() {
            each(Item::Copy(&self.data));
        }
        self.rows = 0;
        self.data.clear();
    }

    fn row(&mut self, body: &[u8], each: &mut impl FnMut(Item<'_>)) {
        // Copied data before it is given first: the two are not mixed.
        if self.data.len() + body.len() > PIECE || self.rows == 0 {
            self.give(each);
        }
        if body.len() > PIECE {
            return each(Item::Rows { count: 1, data: body });
        }
        self.rows += 1;
        self.data.extend_from_slice(body);
    }

    fn copy(&mut self, bytes: &[u8], each: &mut impl FnMut(Item<'_>)) {
        if self.data.len() + bytes.len() > PIECE || self.rows > 0 {
            self.give(each);
        }
        if bytes.len() > PIECE {
            return each(Item::Copy(bytes));
        }
        self.data.extend_from_slice(bytes);
    }
}

impl Tap {
    /// A tap that begins between two messages. Without `results` it gives no columns, no rows and no copied data.
    pub fn new(results: bool) -> Self {
        Self {
            results,
            max_message: MAX_MESSAGE,
            partial: Vec::new(),
            left: 0,
            copies: false,
            bulk: Bulk::default(),
            of_statement: false,
        }
    }

    /// Takes the next bytes and gives what is whole. After an error the tap is of no more use.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Item<'_>)) -> Result<(), WireError> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, rest) = bytes.split_at(self.left.min(bytes.len()));
                if self.copies {
                    self.bulk.copy(now, &mut each);
                }
                self.left -= now.len();
                bytes = rest;
            } else if self.partial.is_empty() {
                bytes = self.whole(bytes, &mut each)?;
            } else {
                bytes = self.gather(bytes, &mut each)?;
            }
        }
        self.bulk.give(&mut each);
        Ok(())
    }

    /// Takes the whole messages at the front, and keeps the beginning of the next one.
    fn whole<'a>(&mut self, mut bytes: &'a [u8], each: &mut impl FnMut(Item<'_>)) -> Result<&'a [u8], WireError> {
        while let Some((tag, length)) = peek(bytes)? {
            if self.is_not_gathered(tag, length, each) {
                self.left = length - HEADER;
                return Ok(bytes.get(HEADER..).unwrap_or_default());
            }
            let Some((message, rest)) = bytes.split_at_checked(length) else { break };
            self.message(tag, message.get(HEADER..).unwrap_or_default(), each)?;
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        Ok(&[])
    }

    /// Goes on with a message of which only the beginning has come.
    fn gather<'a>(&mut self, bytes: &'a [u8], each: &mut impl FnMut(Item<'_>)) -> Result<&'a [u8], WireError> {
        let header = HEADER.saturating_sub(self.partial.len());
        let (now, bytes) = bytes.split_at(header.min(bytes.len()));
        self.partial.extend_from_slice(now);
        let Some((tag, length)) = peek(&self.partial)? else { return Ok(bytes) };
        let missing = length - self.partial.len();
        if self.is_not_gathered(tag, length, each) {
            self.left = missing;
            self.partial.clear();
            return Ok(bytes);
        }
        let (now, rest) = bytes.split_at(missing.min(bytes.len()));
        self.partial.extend_from_slice(now);
        if now.len() == missing {
            let message = std::mem::take(&mut self.partial);
            self.message(tag, message.get(HEADER..).unwrap_or_default(), each)?;
            if message.capacity() <= PIECE {
                self.partial = message;
                self.partial.clear();
            }
        }
        Ok(rest)
    }

    /// Whether a message that begins is passed over, or its body copied as it comes.
    fn is_not_gathered(&mut self, tag: u8, length: usize, each: &mut impl FnMut(Item<'_>)) -> bool {
        let streams = match tag {
            b'A' | b'C' | b'E' | b'I' | b'N' | b'Z' | b's' => false,
            b'D' | b'T' | b'n' | b't' => !self.results,
            _ => true,
        };
        let oversized = !streams && length > self.max_message;
        if oversized {
            self.bulk.give(each);
            each(Item::Oversized { tag, bytes: length });
        }
        self.copies = tag == b'd' && self.results;
        streams || oversized
    }

    fn message(&mut self, tag: u8, body: &[u8], each: &mut impl FnMut(Item<'_>)) -> Result<(), WireError> {
        if tag == b'D' {
            self.bulk.row(body, each);
            return Ok(());
        }
        self.bulk.give(each);
        match tag {
            b'A' => each(notification(body)?),
            b'C' => each(Item::Complete(String::from_utf8_lossy(Fields::new(tag, body).cstr()?))),
            b'E' | b'N' => each(spoken(body)),
            b'I' | b's' => each(Item::Complete("".into())),
            b'Z' => each(Item::Ready),
            b't' => self.of_statement = true,
            b'n' => self.of_statement = false,
            b'T' if std::mem::take(&mut self.of_statement) => {}
            b'T' => each(Item::Columns(row_description(body)?)),
            _ => {}
        }
        Ok(())
    }
}

fn spoken(body: &[u8]) -> Item<'_> {
    let text = |kind| field(body, kind).map(String::from_utf8_lossy);
    let mut message = text(b'M').unwrap_or_default().into_owned();
    for (kind, name) in [(b'D', "DETAIL"), (b'H', "HINT")] {
        if let Some(more) = text(kind) {
            message.extend(["\n", name, ": ", &more]);
        }
    }
    let severity = text(b'V').or_else(|| text(b'S')).unwrap_or_default();
    Item::Message { severity, code: text(b'C').unwrap_or_default(), text: message }
}

fn notification(body: &[u8]) -> Result<Item<'_>, WireError> {
    let mut fields = Fields::new(b'A', body);
    fields.i32()?;
    let (channel, payload) = (fields.cstr()?, fields.cstr()?);
    let text = format!("{}: {}", String::from_utf8_lossy(channel), String::from_utf8_lossy(payload));
    Ok(Item::Message { severity: "NOTIFY".into(), code: "".into(), text })
}

#[cfg(test)]
mod tests;
