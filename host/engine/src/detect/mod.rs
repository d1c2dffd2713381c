//! Native detectors of personal data and secrets: one pass over all values of a batch, whatever is looked for.
//!
//! A pass is fast by what it skips. [`Places`] finds the few bytes that an address, a number or a secret cannot do without, many
//! at a time and across the ends of values; only there a detector looks closer, within its value. Each look reads a bounded
//! number of bytes or ends where the next one begins, so that the time is linear.

mod email;
mod number;
mod places;
mod secret;
#[cfg(test)]
mod tests;

use self::places::{Place, Places};

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detector {
    Email,
    Card,
    Ssn,
    Iban,
    Phone,
    Secret,
}

impl Detector {
    /// All of them, in the order of their names in the interface.
    pub(crate) const ALL: [Self; 6] = [Self::Email, Self::Card, Self::Ssn, Self::Iban, Self::Phone, Self::Secret];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::Ssn => "ssn",
            Self::Iban => "iban",
            Self::Phone => "phone",
            Self::Secret => "secret",
        }
    }

    /// What it finds at this byte: an address around its `@`, anything else from its first byte on.
    fn look(self, value: &[u8], at: usize) -> Option<Span> {
        match self {
            Self::Email => email::address(value, at),
            Self::Card => number::card(value, at),
            Self::Ssn => number::ssn(value, at),
            Self::Iban => number::iban(value, at),
            Self::Phone => number::phone(value, at),
            Self::Secret => secret::secret(value, at),
        }
    }

    /// A checksum makes sure.
    fn score(self) -> u8 {
        match self {
            Self::Card | Self::Iban => 100,
            _ => 50,
        }
    }
}

/// A set of detectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set(u8);

impl Set {
    const fn with(self, detector: Detector) -> Self {
        Self(self.0 | 1 << detector as u8)
    }

    fn has(self, detector: Detector) -> bool {
        self.0 >> detector as u8 & 1 == 1
    }
}

type Span = std::ops::Range<usize>;

/// Bytes `start..start+len` of value `value` look like what `wanted[detector]` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) value: usize,
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) detector: usize,
    pub(crate) score: u8,
}

/// Finds what is wanted in the values `data[ends[i-1]..ends[i]]`, in order and without overlaps: of two hits that overlap, the surer
/// one stands for both. Ends do not decrease, and the last is that of the data.
pub(crate) fn scan(wanted: &[Detector], ends: &[u32], data: &[u8]) -> Vec<Hit> {
    let mut places = Places::new(wanted.iter().fold(Set::default(), |set, d| set.with(*d)), data);
    let (mut hits, mut start) = (Vec::new(), 0);
    for (index, end) in ends.iter().enumerate() {
        let end = *end as usize;
        // Most values have no place at all.
        if places.enter(start, end) < end
            && let Some(value) = data.get(start..end)
        {
            search(wanted, (index, start), value, &mut places, &mut hits);
        }
        start = end;
    }
    hits
}

/// Looks closer at the places of one value, which has this index and begins there in the data.
fn search(
    wanted: &[Detector],
    (index, start): (usize, usize),
    value: &[u8],
    places: &mut Places<'_>,
    hits: &mut Vec<Hit>,
) {
    let first = hits.len();
    // Where the last hit ends: what begins before is a part of it.
    let mut end = 0;
    while let Some((at, place)) = places.next_before(start + value.len()) {
        for (at, set) in looks(value, at - start, place) {
            if at < end || set == Set::default() {
                continue;
            }
            for (detector, look) in wanted.iter().enumerate().filter(|(_, detector)| set.has(**detector)) {
                if let Some(span) = look.look(value, at) {
                    end = end.max(span.end);
                    let hit = Hit { value: index, start: span.start, len: span.len(), detector, score: look.score() };
                    add(hits, first, hit);
                }
            }
        }
    }
}

/// Where to look closer because of a place, in order, and what for.
fn looks(value: &[u8], at: usize, place: Place) -> [(usize, Set); 2] {
    const EMAIL: Set = Set(0).with(Detector::Email);
    const SECRET: Set = Set(0).with(Detector::Secret);
    match place {
        Place::At => [(at, EMAIL), (at, Set(0))],
        Place::Prefix => [(at, SECRET), (at, Set(0))],
        Place::Digits => number::looks(value, at),
    }
}

/// Adds a hit to those of its value, which begin at `first`.
fn add(hits: &mut Vec<Hit>, first: usize, mut hit: Hit) {
    while hits.len() > first
        && let Some(last) = hits.pop_if(|last| last.start + last.len > hit.start)
    {
        let (start, end) = (last.start.min(hit.start), (last.start + last.len).max(hit.start + hit.len));
        let surer = if (hit.score, hit.len) > (last.score, last.len) { hit } else { last };
        hit = Hit { start, len: end - start, ..surer };
    }
    hits.push(hit);
}

fn is_word(value: &[u8], at: usize) -> bool {
    value.get(at).is_some_and(u8::is_ascii_alphanumeric)
}

/// Whether a word or number may begin here.
fn begins(value: &[u8], at: usize) -> bool {
    at == 0 || !is_word(value, at - 1)
}

/// Takes down that a look reads so many bytes, for the test that they are linear in all.
fn reads(bytes: usize) {
    #[cfg(test)]
    tests::READ.with(|read| read.set(read.get() + bytes));
    let _ = bytes;
}
