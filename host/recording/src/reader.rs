use std::io::{self, BufRead, BufReader, Read};

use portcullis_verdict::TimedEntry;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::format::{self, Closing, Header, MAGIC, MAX_HEADER, MAX_RECORD, Record, VERSION, Varint};

/// Frames that need a larger window are refused (2^20 bytes).
const WINDOW_LOG: u32 = 20;

/// So much is decompressed at a time.
const STEP: usize = 128 << 10;

/// Reads a recording: its header, then its entries in order. Memory is bounded by the longest record.
///
/// The iterator ends with `None` after a closing record, which [`Reader::closing`] then tells, and with an error otherwise; the entries before
/// the error are whole.
pub struct Reader<R: Read> {
    content: Content<R>,
    header: Header,
    entries: u64,
    at_micros: u64,
    closing: Option<Closing>,
    failed: bool,
}

/// Why a recording cannot be read, or not further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is something else.
    #[error("this is not a recording of Portcullis")]
    NotARecording,
    /// It is newer than this program.
    #[error("the recording has format version {0}, and this program reads version {VERSION}: use a newer one")]
    Version(u8),
    /// It has no end. So it is with a recording that is still under way, and with one that a crash has cut.
    #[error("the recording is cut off at byte {byte}, after {entries} whole entries")]
    Cut {
        /// Where the file ends.
        byte: u64,
        /// The entries before.
        entries: u64,
    },
    /// Its bytes are not what was written.
    #[error("the recording is damaged in the frame that begins at byte {byte}, after {entries} whole entries: {what}")]
    Damaged {
        /// Where in the file the frame with the damage begins.
        byte: u64,
        /// The entries before.
        entries: u64,
        /// What was found.
        what: String,
    },
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut content = Content::new(input)?;
        if !content.frames.begins_as_zstd()? || content.take(MAGIC.len()).map_err(|f| f.after(0))? != MAGIC {
            return Err(ReadError::NotARecording);
        }
        let version = content.byte().map_err(|f| f.after(0))?;
        if version != VERSION {
            return Err(ReadError::Version(version));
        }
        let header = content.header().map_err(|f| f.after(0))?;
        Ok(Self { content, header, entries: 0, at_micros: 0, closing: None, failed: false })
    }

    /// What the recording is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The entries read so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// How the recording ended; none before its end was read, and for one that is cut.
    pub fn closing(&self) -> Option<Closing> {
        self.closing
    }

    fn advance(&mut self) -> Result<Option<TimedEntry>, Fault> {
        let kind = self.content.byte()?;
        let delta = self.content.varint()?;
        let len = self.content.varint()?;
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_RECORD);
        let len = len.ok_or_else(|| self.content.damaged("a record that is too long"))?;
        let read = format::record(kind, self.content.take(len)?);
        let read = read.map_err(|what| self.content.damaged(what))?;
        match read {
            Record::Entry(entry) => {
                let at = self.at_micros.checked_add(delta);
                self.at_micros = at.ok_or_else(|| self.content.damaged("a time that is too late"))?;
                self.entries += 1;
                Ok(Some(TimedEntry { at_micros: self.at_micros, entry }))
            }
            Record::Closing(closing) => {
                if closing.entries != self.entries {
                    return Err(self.content.damaged("entries are missing before the closing record"));
                }
                if !self.content.is_at_end()? {
                    return Err(self.content.damaged("something follows the closing record"));
                }
                self.closing = Some(closing);
                Ok(None)
            }
        }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<TimedEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.closing.is_some() {
            return None;
        }
        match self.advance() {
            Ok(entry) => entry.map(Ok),
            Err(fault) => {
                self.failed = true;
                Some(Err(fault.after(self.entries)))
            }
        }
    }
}

/// A [`ReadError`] before it is known after how many entries.
enum Fault {
    Cut { byte: u64 },
    Damaged { byte: u64, what: String },
    Io(io::Error),
}

impl Fault {
    fn after(self, entries: u64) -> ReadError {
        match self {
            Self::Cut { byte } => ReadError::Cut { byte, entries },
            Self::Damaged { byte, what } => ReadError::Damaged { byte, entries, what },
            Self::Io(error) => ReadError::Io(error),
        }
    }
}

/// The content of a file's frames.
struct Content<R: Read> {
    frames: Frames<R>,
    /// Decompressed; what is before `start` has been taken.
    bytes: Vec<u8>,
    start: usize,
}

impl<R: Read> Content<R> {
    fn new(input: R) -> io::Result<Self> {
        Ok(Self { frames: Frames::new(input)?, bytes: Vec::new(), start: 0 })
    }

    /// The next `len` bytes. What a length claims is not allocated before the bytes are there.
    fn take(&mut self, len: usize) -> Result<&[u8], Fault> {
        while self.bytes.len() - self.start < len {
            self.bytes.drain(..self.start);
            self.start = 0;
            if !self.frames.step(&mut self.bytes)? {
                return Err(Fault::Cut { byte: self.frames.at });
            }
        }
        let taken = self.start..self.start + len;
        self.start = taken.end;
        Ok(self.bytes.get(taken).unwrap_or_default())
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut varint = Varint::default();
        loop {
            let byte = self.byte()?;
            if let Some(value) = varint.push(byte).map_err(|what| self.damaged(what))? {
                return Ok(value);
            }
        }
    }

    fn header(&mut self) -> Result<Header, Fault> {
        let len = usize::try_from(self.varint()?).ok().filter(|len| *len <= MAX_HEADER);
        let len = len.ok_or_else(|| self.damaged("a header that is too long"))?;
        let header = format::header(self.take(len)?);
        header.ok_or_else(|| self.damaged("a header that cannot be read"))
    }

    fn is_at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.start == self.bytes.len() && !self.frames.step(&mut self.bytes)?)
    }

    fn damaged(&self, what: &str) -> Fault {
        Fault::Damaged { byte: self.frames.frame, what: what.into() }
    }
}

/// Decompresses the frames of a file and knows where it is.
struct Frames<R: Read> {
    input: BufReader<R>,
    decoder: Decoder<'static>,
    output: Box<[u8]>,
    /// Bytes of the file that the decoder has taken.
    at: u64,
    /// Where the frame that it is in begins, or the last one it was in.
    frame: u64,
    /// Whether it is inside of a frame.
    inside: bool,
}

impl<R: Read> Frames<R> {
    fn new(input: R) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        let (input, output) = (BufReader::with_capacity(64 << 10, input), vec![0; STEP].into());
        Ok(Self { input, decoder, output, at: 0, frame: 0, inside: false })
    }

    /// Whether the file, as far as it goes, begins as a zstd frame does.
    fn begins_as_zstd(&mut self) -> io::Result<bool> {
        const FRAME: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
        let begin = self.input.fill_buf()?;
        Ok(begin.iter().zip(FRAME).all(|(byte, expected)| *byte == expected))
    }

    /// Appends some content; false at the end of the file.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let wrote = self.decode()?;
        out.extend_from_slice(self.output.get(..wrote).unwrap_or_default());
        Ok(wrote > 0)
    }

    /// Decompresses until there is some content; 0 at the end of the file.
    fn decode(&mut self) -> Result<usize, Fault> {
        loop {
            let input = match self.input.fill_buf() {
                Ok(input) => input,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Fault::Io(e)),
            };
            let ended = input.is_empty();
            if ended && !self.inside {
                return Ok(0);
            }
            if !self.inside {
                (self.frame, self.inside) = (self.at, true);
            }
            let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(&mut *self.output));
            let left = self.decoder.run(&mut from, &mut to);
            let (read, wrote) = (from.pos(), to.pos());
            self.input.consume(read);
            self.at += read as u64;
            match left {
                Err(e) => return Err(Fault::Damaged { byte: self.frame, what: e.to_string() }),
                Ok(0) => {
                    self.inside = false;
                    self.decoder.reinit().map_err(Fault::Io)?;
                }
                // Content that the decoder still held back would have come.
                Ok(_) if ended && wrote == 0 => return Err(Fault::Cut { byte: self.at }),
                Ok(_) => {}
            }
            if wrote > 0 {
                return Ok(wrote);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use portcullis_verdict::{Entry, Medium, RecordLevel, Subject};
    use proptest::prelude::*;

    use super::*;
    use crate::format::ClosingReason;
    use crate::format::tests::any_entry;

    /// A recording in frames of `frame` bytes of content.
    fn recording(entries: &[Entry<'_>], closed: bool, frame: usize) -> Vec<u8> {
        frames(&content(entries, closed), frame)
    }

    fn content(entries: &[Entry<'_>], closed: bool) -> Vec<u8> {
        let header = Header {
            subject: Subject { session: "s".into(), principal: "ann".into(), target: "shop".into() },
            protocol: "postgres".into(),
            medium: Medium::Results,
            level: RecordLevel::Results,
            started_ms: 1,
        };
        let mut content = Vec::new();
        format::put_header(&mut content, &header).unwrap();
        for entry in entries {
            format::put_entry(&mut content, 5, entry).unwrap();
        }
        if closed {
            let closing = Closing { entries: entries.len() as u64, reason: ClosingReason::Session };
            format::put_closing(&mut content, 0, closing);
        }
        content
    }

    fn frames(content: &[u8], frame: usize) -> Vec<u8> {
        let mut press = zstd::bulk::Compressor::new(1).unwrap();
        press.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true)).unwrap();
        content.chunks(frame).flat_map(|part| press.compress(part).unwrap()).collect()
    }

    /// The entries, how it was closed, and why it ended else.
    fn read(file: &[u8]) -> (Vec<TimedEntry>, Option<Closing>, Option<ReadError>) {
        let mut reader = match Reader::new(file) {
            Ok(reader) => reader,
            Err(error) => return (Vec::new(), None, Some(error)),
        };
        let (mut entries, mut error) = (Vec::new(), None);
        for next in reader.by_ref() {
            match next {
                Ok(entry) => entries.push(entry),
                Err(e) => error = Some(e),
            }
        }
        assert!(reader.next().is_none());
        assert_eq!(reader.entries(), entries.len() as u64);
        (entries, reader.closing(), error)
    }

    fn some_entries() -> Vec<Entry<'static>> {
        let data: Vec<u8> = (0..300u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        vec![
            Entry::Command { sequence: 1, text: "SELECT".into() },
            Entry::Rows { count: 1, data: Cow::Owned(data.clone()) },
            Entry::Data { channel: "copy".into(), data: Cow::Owned(data) },
            Entry::End { sequence: 1, tag: "SELECT 1".into() },
        ]
    }

    proptest! {
        #[test]
        fn every_entry_is_read_back(entries in prop::collection::vec(any_entry(), 0..20), frame in 1usize..5000) {
            let (read, closing, error) = read(&recording(&entries, true, frame));
            prop_assert!(error.is_none(), "{error:?}");
            prop_assert_eq!(closing.map(|c| c.entries), Some(entries.len() as u64));
            for (index, (read, entry)) in read.into_iter().zip(entries).enumerate() {
                prop_assert_eq!(read.at_micros, 5 * (index as u64 + 1));
                prop_assert_eq!(read.entry, entry);
            }
        }

        #[test]
        fn junk_is_an_error(content in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&content).2.is_some());
            // Junk that is well compressed gets further.
            prop_assert!(read(&frames(&content, 100)).2.is_some());
            let mut after_header = super::tests::content(&[], false);
            after_header.extend_from_slice(&content);
            let _ = read(&frames(&after_header, 1000));
        }
    }

    #[test]
    fn a_recording_cut_at_any_byte_gives_the_entries_before_and_says_where() {
        for frame in [100, 1000, 100_000] {
            let file = recording(&some_entries(), true, frame);
            let (whole, _, error) = read(&file);
            assert!(error.is_none());
            let mut most = 0;
            for cut in 0..file.len() {
                let (entries, closing, error) = read(&file[..cut]);
                assert_eq!(entries, whole[..entries.len()]);
                assert_eq!(closing, None);
                match error {
                    Some(ReadError::Cut { byte, entries: count }) => {
                        assert_eq!((byte, count), (cut as u64, entries.len() as u64));
                    }
                    error => panic!("cut at {cut}: {error:?}"),
                }
                assert!(entries.len() >= most, "a longer file has no fewer entries");
                most = entries.len();
            }
            assert!(most > 0 || frame > 1000, "frames before the cut are read");
        }
    }

    #[test]
    fn a_flipped_bit_is_found_and_what_came_before_is_whole() {
        let file = recording(&some_entries(), true, 700);
        let (whole, ..) = read(&file);
        for byte in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[byte] ^= 1 << bit;
                let (entries, closing, error) = read(&flipped);
                // Some bits of a frame's header mean nothing.
                let harmless = error.is_none() && entries == whole && closing.is_some();
                assert!(harmless || (error.is_some() && entries == whole[..entries.len()]), "{byte} {bit} {error:?}");
            }
        }
    }

    #[test]
    fn entries_that_are_missing_or_too_many_are_found() {
        let entries = some_entries();
        let mut missing = content(&entries[..2], false);
        format::put_closing(&mut missing, 0, Closing { entries: 3, reason: ClosingReason::Session });
        let error = read(&frames(&missing, 1000)).2.unwrap();
        assert!(error.to_string().contains("entries are missing"), "{error}");
        let mut more = content(&entries, true);
        format::put_entry(&mut more, 1, &entries[0]).unwrap();
        let error = read(&frames(&more, 1000)).2.unwrap();
        assert!(error.to_string().contains("something follows"), "{error}");
        // A whole recording with a frame of another behind it.
        let mut appended = recording(&entries, true, 1000);
        appended.extend(frames(b"x", 10));
        assert!(read(&appended).2.is_some());
    }

    #[test]
    fn other_files_are_told_by_what_they_are() {
        let error = |file: &[u8]| Reader::new(file).err().unwrap();
        assert!(matches!(error(b""), ReadError::Cut { byte: 0, entries: 0 }));
        assert!(matches!(error(b"PK\x03\x04 a file of another kind"), ReadError::NotARecording));
        assert!(matches!(error(&frames(b"some other text in zstd", 100)), ReadError::NotARecording));
        let mut newer = content(&[], true);
        newer[8] = 2;
        assert!(matches!(error(&frames(&newer, 100)), ReadError::Version(2)));
    }

    #[test]
    fn lengths_and_windows_are_bounded() {
        let mut long = content(&[], false);
        long.extend_from_slice(b"\x01\x00\xff\xff\xff\xff\x0f");
        let error = read(&frames(&long, 1000)).2.unwrap();
        assert!(error.to_string().contains("too long"), "{error}");

        let mut header = MAGIC.to_vec();
        header.push(VERSION);
        header.extend_from_slice(b"\xff\xff\x7f");
        let error = read(&frames(&header, 1000)).2.unwrap();
        assert!(error.to_string().contains("header that is too long"), "{error}");

        let mut press = zstd::bulk::Compressor::new(1).unwrap();
        press.set_parameter(zstd::zstd_safe::CParameter::WindowLog(24)).unwrap();
        let mut wide = content(&[], false);
        format::put_entry(&mut wide, 0, &Entry::Rows { count: 0, data: Cow::Owned(vec![1; 20 << 20]) }).unwrap();
        let error = read(&press.compress(&wide).unwrap()).2.unwrap();
        assert!(matches!(error, ReadError::Damaged { byte: 0, .. }), "{error}");
    }
}
