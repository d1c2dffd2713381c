//! How a recording is laid out in its file. `docs/store-format.md` tells the same at length, for whoever writes another reader.
//!
//! A file is a sequence of zstd frames (RFC 8878). Where a frame ends means nothing: what counts is the content of all of them, one after
//! another.
//!
//! ```text
//! content = "PORTCREC"  version: 1 byte  header  record*  [closing]
//! header  = length: varint               postcard of `Header`, at most 64 KiB
//! record  = kind: 1 byte   delta: varint   length: varint   payload: `length` bytes
//! ```
//!
//! A varint is an unsigned LEB128 of at most 64 bits; `delta` is the time since the record before, in microseconds (for the first one, since
//! the recording began); a string is a varint of its length and that many bytes of UTF-8. What a payload ends in has no length of its own.
//!
//! | kind | entry | payload |
//! |---|---|---|
//! | 1 | [`Entry::Command`] | sequence: varint, text |
//! | 2 | [`Entry::Columns`] | count: varint, then for each: name: string, type: string, binary: 1 byte, 0 or 1 |
//! | 3 | [`Entry::Rows`] | count: varint, data as it was given |
//! | 4 | [`Entry::Data`] | channel: string, data |
//! | 5 | [`Entry::Message`] | severity: string, code: string, text |
//! | 6 | [`Entry::End`] | sequence: varint, tag |
//! | 7 | [`Entry::Resize`] | columns: varint, rows: varint |
//! | 127 | the closing record | entries: varint, reason: 1 byte, [`Closing`] |

use std::borrow::Cow;

use portcullis_verdict::{Entry, Medium, RecordLevel, RecordedColumn, Subject};
use serde::{Deserialize, Serialize};

/// What the content of every recording begins with.
pub const MAGIC: &[u8; 8] = b"PORTCREC";

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u8 = 1;

/// The longest payload of a record.
pub const MAX_RECORD: usize = 64 << 20;

/// The longest header.
pub const MAX_HEADER: usize = 64 << 10;

/// The channel of [`Entry::Data`] that holds rows which are too long for a record, in pieces.
pub const ROWS_CHANNEL: &str = "rows";

/// Bytes for a stream of more than a record are cut into pieces of this size.
const PIECE: usize = 1 << 20;

const CLOSING: u8 = 127;

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The session, who, and the target.
    pub subject: Subject,
    /// The protocol's name, such as `postgres`.
    pub protocol: String,
    /// What it shows.
    pub medium: Medium,
    /// How much of it.
    pub level: RecordLevel,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
}

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The entries in it.
    pub entries: u64,
    /// Why nothing follows.
    pub reason: ClosingReason,
}

/// Why nothing follows in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClosingReason {
    /// The session ended (0).
    Session,
    /// The recording reached its limit (1).
    Limit,
    /// The gateway stopped (2).
    Shutdown,
}

/// An entry, or its end.
#[derive(Debug, PartialEq)]
pub(crate) enum Record {
    Entry(Entry<'static>),
    Closing(Closing),
}

/// An entry that no record can hold, of so many bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong(pub(crate) usize);

/// Appends the beginning of a recording.
pub(crate) fn put_header(out: &mut Vec<u8>, header: &Header) -> Result<(), TooLong> {
    // Strings and numbers always encode; only the length can be wrong.
    let header = postcard::to_stdvec(header).map_err(|_| TooLong(0))?;
    if header.len() > MAX_HEADER {
        return Err(TooLong(header.len()));
    }
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    put_varint(out, header.len() as u64);
    out.extend_from_slice(&header);
    Ok(())
}

/// Reads the header's postcard.
pub(crate) fn header(bytes: &[u8]) -> Option<Header> {
    postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(header, _)| header)
}

/// Appends an entry and tells in how many records: bytes that are too long for one are cut into pieces.
pub(crate) fn put_entry(out: &mut Vec<u8>, delta: u64, entry: &Entry<'_>) -> Result<u64, TooLong> {
    match entry {
        Entry::Rows { data, .. } if data.len() > MAX_RECORD - 16 => put_pieces(out, delta, ROWS_CHANNEL, data),
        Entry::Data { channel, data } if data.len() > PIECE && channel.len() <= 256 => {
            put_pieces(out, delta, channel, data)
        }
        _ => put_record(out, delta, entry).map(|()| 1),
    }
}

fn put_pieces(out: &mut Vec<u8>, delta: u64, channel: &str, data: &[u8]) -> Result<u64, TooLong> {
    let mut records = 0;
    for piece in data.chunks(PIECE) {
        let piece = Entry::Data { channel: Cow::Borrowed(channel), data: Cow::Borrowed(piece) };
        put_record(out, if records == 0 { delta } else { 0 }, &piece)?;
        records += 1;
    }
    Ok(records)
}

fn put_record(out: &mut Vec<u8>, delta: u64, entry: &Entry<'_>) -> Result<(), TooLong> {
    let text = |text: &str| varint_len(text.len() as u64) + text.len();
    match entry {
        Entry::Command { sequence, text } => {
            begin(out, 1, delta, varint_len(*sequence) + text.len())?;
            put_varint(out, *sequence);
            out.extend_from_slice(text.as_bytes());
        }
        Entry::Columns { columns } => {
            let each = columns.iter().map(|c| text(&c.name) + text(&c.type_name) + 1);
            begin(out, 2, delta, varint_len(columns.len() as u64) + each.sum::<usize>())?;
            put_varint(out, columns.len() as u64);
            for column in columns {
                put_string(out, &column.name);
                put_string(out, &column.type_name);
                out.push(u8::from(column.binary));
            }
        }
        Entry::Rows { count, data } => {
            begin(out, 3, delta, varint_len((*count).into()) + data.len())?;
            put_varint(out, (*count).into());
            out.extend_from_slice(data);
        }
        Entry::Data { channel, data } => {
            begin(out, 4, delta, text(channel) + data.len())?;
            put_string(out, channel);
            out.extend_from_slice(data);
        }
        Entry::Message { severity, code, text: words } => {
            begin(out, 5, delta, text(severity) + text(code) + words.len())?;
            put_string(out, severity);
            put_string(out, code);
            out.extend_from_slice(words.as_bytes());
        }
        Entry::End { sequence, tag } => {
            begin(out, 6, delta, varint_len(*sequence) + tag.len())?;
            put_varint(out, *sequence);
            out.extend_from_slice(tag.as_bytes());
        }
        Entry::Resize { columns, rows } => {
            begin(out, 7, delta, varint_len((*columns).into()) + varint_len((*rows).into()))?;
            put_varint(out, (*columns).into());
            put_varint(out, (*rows).into());
        }
    }
    Ok(())
}

/// Appends the closing record.
pub(crate) fn put_closing(out: &mut Vec<u8>, delta: u64, closing: Closing) {
    out.push(CLOSING);
    put_varint(out, delta);
    put_varint(out, varint_len(closing.entries) as u64 + 1);
    put_varint(out, closing.entries);
    out.push(match closing.reason {
        ClosingReason::Session => 0,
        ClosingReason::Limit => 1,
        ClosingReason::Shutdown => 2,
    });
}

fn begin(out: &mut Vec<u8>, kind: u8, delta: u64, len: usize) -> Result<(), TooLong> {
    if len > MAX_RECORD {
        return Err(TooLong(len));
    }
    out.push(kind);
    put_varint(out, delta);
    put_varint(out, len as u64);
    Ok(())
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads a record; the error says what is wrong with it.
pub(crate) fn record(kind: u8, payload: &[u8]) -> Result<Record, &'static str> {
    let mut at = Payload(payload);
    let entry = match kind {
        1 => Entry::Command { sequence: at.varint()?, text: at.rest_text()? },
        2 => Entry::Columns { columns: at.columns()? },
        3 => Entry::Rows { count: at.small()?, data: Cow::Owned(at.rest()) },
        4 => Entry::Data { channel: Cow::Owned(at.string()?), data: Cow::Owned(at.rest()) },
        5 => {
            Entry::Message { severity: Cow::Owned(at.string()?), code: Cow::Owned(at.string()?), text: at.rest_text()? }
        }
        6 => Entry::End { sequence: at.varint()?, tag: at.rest_text()? },
        7 => Entry::Resize { columns: at.small()?, rows: at.small()? },
        CLOSING => return at.closing().map(Record::Closing),
        _ => return Err("a record of an unknown kind"),
    };
    if at.0.is_empty() { Ok(Record::Entry(entry)) } else { Err("a record that goes on behind its end") }
}

const SHORT: &str = "a record that ends too early";

/// What of a payload is still to be read.
struct Payload<'a>(&'a [u8]);

impl Payload<'_> {
    fn byte(&mut self) -> Result<u8, &'static str> {
        let (&byte, rest) = self.0.split_first().ok_or(SHORT)?;
        self.0 = rest;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let mut varint = Varint::default();
        loop {
            if let Some(value) = varint.push(self.byte()?)? {
                return Ok(value);
            }
        }
    }

    fn small<T: TryFrom<u64>>(&mut self) -> Result<T, &'static str> {
        T::try_from(self.varint()?).map_err(|_| "a number that is too large")
    }

    fn string(&mut self) -> Result<String, &'static str> {
        let len: usize = self.small()?;
        let (text, rest) = self.0.split_at_checked(len).ok_or(SHORT)?;
        self.0 = rest;
        text_of(text.to_vec())
    }

    fn columns(&mut self) -> Result<Vec<RecordedColumn>, &'static str> {
        // The number is not believed: every column takes bytes.
        let count = self.varint()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            let (name, type_name) = (self.string()?, self.string()?);
            let binary = match self.byte()? {
                0 => false,
                1 => true,
                _ => return Err("a column that is neither text nor binary"),
            };
            columns.push(RecordedColumn { name, type_name, binary });
        }
        Ok(columns)
    }

    fn closing(&mut self) -> Result<Closing, &'static str> {
        let entries = self.varint()?;
        let reason = match self.byte()? {
            0 => ClosingReason::Session,
            1 => ClosingReason::Limit,
            2 => ClosingReason::Shutdown,
            _ => return Err("a closing record with an unknown reason"),
        };
        if self.0.is_empty() { Ok(Closing { entries, reason }) } else { Err("a record that goes on behind its end") }
    }

    fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0).to_vec()
    }

    fn rest_text(&mut self) -> Result<Cow<'static, str>, &'static str> {
        text_of(self.rest()).map(Cow::Owned)
    }
}

fn text_of(bytes: Vec<u8>) -> Result<String, &'static str> {
    String::from_utf8(bytes).map_err(|_| "a text that is not UTF-8")
}

/// Puts a varint together byte by byte.
#[derive(Default)]
pub(crate) struct Varint {
    value: u64,
    shift: u32,
}

impl Varint {
    /// The value when this was the last byte.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<u64>, &'static str> {
        let bits = u64::from(byte & 0x7f);
        if self.shift > 63 || (self.shift == 63 && bits > 1) {
            return Err("a number that is too large");
        }
        self.value |= bits << self.shift;
        self.shift += 7;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any_entry() -> impl Strategy<Value = Entry<'static>> {
        let text = || ".{0,40}".prop_map(Cow::Owned);
        let bytes = || prop::collection::vec(any::<u8>(), 0..300).prop_map(Cow::Owned);
        let column = (".{0,20}", ".{0,20}", any::<bool>()).prop_map(|(name, type_name, binary)| RecordedColumn {
            name,
            type_name,
            binary,
        });
        prop_oneof![
            (any::<u64>(), text()).prop_map(|(sequence, text)| Entry::Command { sequence, text }),
            prop::collection::vec(column, 0..5).prop_map(|columns| Entry::Columns { columns }),
            (any::<u32>(), bytes()).prop_map(|(count, data)| Entry::Rows { count, data }),
            (text(), bytes()).prop_map(|(channel, data)| Entry::Data { channel, data }),
            (text(), text(), text()).prop_map(|(severity, code, text)| Entry::Message { severity, code, text }),
            (any::<u64>(), text()).prop_map(|(sequence, tag)| Entry::End { sequence, tag }),
            (any::<u16>(), any::<u16>()).prop_map(|(columns, rows)| Entry::Resize { columns, rows }),
        ]
    }

    /// The kind, delta and payload of a lone record.
    fn taken_apart(record: &[u8]) -> (u8, u64, &[u8]) {
        let mut at = Payload(&record[1..]);
        let delta = at.varint().unwrap();
        let len: usize = at.small().unwrap();
        assert_eq!(at.0.len(), len);
        (record[0], delta, at.0)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(entry in any_entry(), delta in any::<u64>()) {
            let mut out = Vec::new();
            prop_assert_eq!(put_entry(&mut out, delta, &entry), Ok(1));
            let (kind, read, payload) = taken_apart(&out);
            prop_assert_eq!(read, delta);
            let Ok(Record::Entry(read)) = record(kind, payload) else { panic!("{entry:?} is not read back") };
            prop_assert_eq!(read, entry);
        }

        #[test]
        fn junk_is_an_error_or_what_could_have_been_written(
            kind in 0u8..9,
            payload in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            for kind in [kind, CLOSING] {
                let Ok(read) = record(kind, &payload) else { continue };
                let mut out = Vec::new();
                match &read {
                    Record::Entry(entry) => put_record(&mut out, 0, entry).unwrap(),
                    Record::Closing(closing) => put_closing(&mut out, 0, *closing),
                }
                let (kept, _, again) = taken_apart(&out);
                prop_assert_eq!(kept, kind);
                prop_assert_eq!(record(kind, again), Ok(read));
                // Numbers may have been longer than they need to be, and nothing else.
                prop_assert!(again.len() < payload.len() || again == payload);
            }
            let read = header(&payload);
            prop_assert_eq!(read.as_ref().and_then(|read| header(&postcard::to_stdvec(read).unwrap())), read);
        }
    }

    #[test]
    fn the_bytes_of_each_record_stay_as_they_are() {
        let column = RecordedColumn { name: "id".into(), type_name: "int4".into(), binary: true };
        let entries: [(Entry<'_>, &[u8]); 7] = [
            (Entry::Command { sequence: 1, text: "SELECT".into() }, b"\x01\x05\x07\x01SELECT"),
            (Entry::Columns { columns: vec![column] }, b"\x02\x05\x0a\x01\x02id\x04int4\x01"),
            (Entry::Rows { count: 300, data: Cow::Borrowed(b"\0\0") }, b"\x03\x05\x04\xac\x02\0\0"),
            (Entry::Data { channel: "copy".into(), data: Cow::Borrowed(b"ab") }, b"\x04\x05\x07\x04copyab"),
            (
                Entry::Message { severity: "ERROR".into(), code: "42".into(), text: "no".into() },
                b"\x05\x05\x0b\x05ERROR\x0242no",
            ),
            (Entry::End { sequence: 1, tag: "OK".into() }, b"\x06\x05\x03\x01OK"),
            (Entry::Resize { columns: 80, rows: 24 }, b"\x07\x05\x02\x50\x18"),
        ];
        for (entry, bytes) in entries {
            let mut out = Vec::new();
            put_entry(&mut out, 5, &entry).unwrap();
            assert_eq!(out, bytes, "{entry:?}");
        }
        let mut out = Vec::new();
        put_closing(&mut out, 5, Closing { entries: 200, reason: ClosingReason::Limit });
        assert_eq!(out, b"\x7f\x05\x03\xc8\x01\x01");
    }

    #[test]
    fn the_bytes_of_the_header_stay_as_they_are() {
        let mut header = Header {
            subject: Subject { session: "s1".into(), principal: "ann".into(), target: "shop".into() },
            protocol: "postgres".into(),
            medium: Medium::Results,
            level: RecordLevel::Results,
            started_ms: 300,
        };
        let mut out = Vec::new();
        put_header(&mut out, &header).unwrap();
        assert_eq!(out, b"PORTCREC\x01\x19\x02s1\x03ann\x04shop\x08postgres\x00\x02\xac\x02");
        assert_eq!(super::header(&out[10..]), Some(header.clone()));
        header.medium = Medium::Terminal { columns: 80, rows: 24, term: "vt".into() };
        out.clear();
        put_header(&mut out, &header).unwrap();
        assert_eq!(out, b"PORTCREC\x01\x1e\x02s1\x03ann\x04shop\x08postgres\x01\x50\x18\x02vt\x02\xac\x02");
        header.protocol = "x".repeat(MAX_HEADER);
        assert!(put_header(&mut out, &header).is_err());
    }

    #[test]
    fn long_bytes_are_cut_into_pieces_and_nothing_of_them_is_lost() {
        let data: Vec<u8> = (0..PIECE * 2 + 3).map(|i| (i % 251) as u8).collect();
        let mut out = Vec::new();
        let entry = Entry::Data { channel: "copy".into(), data: Cow::Borrowed(&data) };
        assert_eq!(put_entry(&mut out, 9, &entry), Ok(3));
        assert!(out.len() < data.len() + 100);
        let rows = Entry::Rows { count: 1, data: Cow::Owned(vec![0; MAX_RECORD]) };
        out.clear();
        assert_eq!(put_entry(&mut out, 9, &rows), Ok(64));
        assert!(out[..20].windows(4).any(|name| name == b"rows"));
        let text = Entry::Command { sequence: 1, text: "x".repeat(MAX_RECORD).into() };
        assert_eq!(put_entry(&mut out, 9, &text), Err(TooLong(MAX_RECORD + 1)));
    }

    #[test]
    fn numbers_of_more_than_64_bits_are_refused() {
        let read = |bytes: &[u8]| Payload(bytes).varint();
        assert_eq!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Ok(u64::MAX));
        assert!(read(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02").is_err());
        assert!(read(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00").is_err());
        assert_eq!(read(b"\x80"), Err(SHORT));
        for value in [0, 1, 127, 128, 16383, 16384, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
        }
    }
}
