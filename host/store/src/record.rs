//! What the file holds of events, byte by byte: `docs/store-format.md` describes it.

use std::io;

use portcullis_verdict::{Event, StoredEvent};
use serde::de::DeserializeOwned;
use zstd::bulk::{Compressor, Decompressor};

use crate::chain::{self, Hash};
use crate::verify::Claim;

/// The first byte of a block of events. Any change of the encoded types needs a new one.
const VERSION: u8 = 2;

/// What is before the compressed events and their tags: version, count, the times of the earliest and the latest event, the chain's hash
/// after the last one, and the length of the events before they are compressed.
const HEADER: usize = 1 + 1 + 8 + 8 + 32 + 4;

/// The first bytes of the chain's hash after an event.
const TAG: usize = 8;

/// A value that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadValue {
    #[error("it is empty")]
    Empty,
    #[error("it is damaged: {0}")]
    Malformed(String),
    #[error("it has version {0}, which this program does not read")]
    Version(u8),
}

/// Consecutive events, which share one entry of the file: an entry for each would cost several times as much.
pub(crate) struct Block {
    bytes: Vec<u8>,
    body: Vec<u8>,
    tags: Vec<u8>,
    times: (u64, u64),
    zstd: Compressor<'static>,
}

impl Block {
    /// The most events of a block, and the bytes after which it takes no more.
    const EVENTS: usize = 64;
    const BYTES: usize = 32 << 10;

    pub(crate) fn new() -> Self {
        let zstd = Compressor::new(1).expect("zstd has a level 1");
        Self { bytes: Vec::new(), body: Vec::new(), tags: Vec::new(), times: (0, 0), zstd }
    }

    /// Adds event `number` and gives the chain's value after it.
    pub(crate) fn add(
        &mut self,
        before: &Hash,
        number: u64,
        at_ms: u64,
        event: &Event,
    ) -> Result<Hash, postcard::Error> {
        let start = self.body.len();
        self.body.extend([0; 4]);
        self.body = postcard::to_extend(&(at_ms, event), std::mem::take(&mut self.body))?;
        let (length, encoded) = self.body.split_at_mut(start + 4);
        length[start..].copy_from_slice(&(encoded.len() as u32).to_be_bytes());
        let hash = chain::next(before, number, encoded);
        // A clock that is set back must not hide an event from a search.
        self.times =
            if self.tags.is_empty() { (at_ms, at_ms) } else { (self.times.0.min(at_ms), self.times.1.max(at_ms)) };
        self.tags.extend(&hash[..TAG]);
        Ok(hash)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.tags.len() >= Self::EVENTS * TAG || self.body.len() >= Self::BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// Forgets the events under way.
    pub(crate) fn clear(&mut self) {
        self.body.clear();
        self.tags.clear();
    }

    /// Its encoding, where the chain's value after its last event is this; the next event starts another block.
    pub(crate) fn seal(&mut self, hash: &Hash) -> io::Result<&[u8]> {
        self.bytes.clear();
        self.bytes.extend([VERSION, (self.tags.len() / TAG) as u8]);
        self.bytes.extend(self.times.0.to_be_bytes());
        self.bytes.extend(self.times.1.to_be_bytes());
        self.bytes.extend(hash);
        self.bytes.extend((self.body.len() as u32).to_be_bytes());
        self.bytes.extend(&self.tags);
        self.bytes.extend(self.zstd.compress(&self.body)?);
        self.clear();
        if self.body.capacity() > 4 * Self::BYTES {
            self.body = Vec::new();
        }
        Ok(&self.bytes)
    }
}

/// What a block says of itself without being unpacked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHead {
    pub(crate) count: u64,
    /// The times of its earliest and its latest event, in milliseconds since the Unix epoch.
    pub(crate) times: (u64, u64),
    /// The chain's value after its last event.
    pub(crate) hash: Hash,
    length: usize,
}

/// A block as it was read.
pub(crate) struct Unpacked {
    pub(crate) head: BlockHead,
    pub(crate) first: u64,
    body: Vec<u8>,
    tags: Vec<u8>,
}

pub(crate) fn block_head(bytes: &[u8]) -> Result<BlockHead, BadValue> {
    match bytes.first() {
        None => return Err(BadValue::Empty),
        Some(&VERSION) => {}
        Some(other) => return Err(BadValue::Version(*other)),
    }
    let head = bytes.get(..HEADER).ok_or_else(|| BadValue::Malformed("it is cut short".into()))?;
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| head[at + i]));
    let length = u32::from_be_bytes(std::array::from_fn(|i| head[50 + i])) as usize;
    let hash = std::array::from_fn(|i| head[18 + i]);
    Ok(BlockHead { count: head[1].into(), times: (number(2), number(10)), hash, length })
}

/// The block whose last event has this number.
pub(crate) fn unpack(last: u64, bytes: &[u8]) -> Result<Unpacked, BadValue> {
    let malformed = |what: &str| BadValue::Malformed(what.into());
    let head = block_head(bytes)?;
    let first =
        last.checked_add(1).and_then(|end| end.checked_sub(head.count)).filter(|first| head.count > 0 && *first > 0);
    let first = first.ok_or_else(|| malformed("it has no events, or too many"))?;
    let (tags, packed) = bytes
        .get(HEADER..)
        .and_then(|rest| rest.split_at_checked(head.count as usize * TAG))
        .ok_or_else(|| malformed("it is cut short"))?;
    let unpacked = Decompressor::new().and_then(|mut zstd| zstd.decompress(packed, head.length));
    let body = unpacked.map_err(|error| BadValue::Malformed(error.to_string()))?;
    if body.len() != head.length {
        return Err(malformed("it has not the length that it says"));
    }
    Ok(Unpacked { head, first, body, tags: tags.to_vec() })
}

/// One event of a block, as the chain covers it.
pub(crate) struct Encoded<'b> {
    pub(crate) number: u64,
    pub(crate) bytes: &'b [u8],
    pub(crate) claim: Claim,
}

impl Unpacked {
    /// The encoded events in order. An error ends them.
    pub(crate) fn encoded(&self) -> impl Iterator<Item = Result<Encoded<'_>, BadValue>> {
        let (mut rest, last) = (self.body.as_slice(), self.first + self.head.count - 1);
        (self.first..).zip(self.tags.chunks_exact(TAG)).map(move |(number, tag)| {
            let cut = || BadValue::Malformed(format!("event {number} is cut short"));
            let (length, left) = rest.split_at_checked(4).ok_or_else(cut)?;
            let length = u32::from_be_bytes(std::array::from_fn(|i| length[i])) as usize;
            let (bytes, left) = left.split_at_checked(length).ok_or_else(cut)?;
            rest = left;
            if number == last && !rest.is_empty() {
                return Err(BadValue::Malformed(format!("{} bytes follow its end", rest.len())));
            }
            let claim = if number == last {
                Claim::Whole(self.head.hash)
            } else {
                Claim::Part(std::array::from_fn(|i| tag[i]))
            };
            Ok(Encoded { number, bytes, claim })
        })
    }

    /// The events in order.
    pub(crate) fn events(&self) -> Result<Vec<StoredEvent>, BadValue> {
        self.encoded().map(|encoded| encoded?.event()).collect()
    }
}

impl Encoded<'_> {
    pub(crate) fn event(&self) -> Result<StoredEvent, BadValue> {
        let (at_ms, event) = decode_event(self.bytes)?;
        Ok(StoredEvent { number: self.number, at_ms, event })
    }
}

/// The time and the event in the bytes that the chain covers.
pub(crate) fn decode_event(bytes: &[u8]) -> Result<(u64, Event), BadValue> {
    decode(bytes)
}

/// A postcard value that ends where the bytes end.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadValue> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|e| BadValue::Malformed(e.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(BadValue::Malformed(format!("{} bytes follow its end", rest.len()))) }
}

#[cfg(test)]
mod tests;
