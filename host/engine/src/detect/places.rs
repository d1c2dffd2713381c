//! The bytes of a batch that are worth a closer look.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::{Detector, Set, secret};

/// Why a byte is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is an `@`.
    At,
    /// Digits begin here: a number, or what follows the country of an IBAN.
    Digits,
    /// The prefix of a secret begins here.
    Prefix,
}

/// All places of a batch, in order. The ends of values are unknown to it, but for what `enter` tells.
pub(super) struct Places<'a> {
    data: &'a [u8],
    ats: Head<memchr::Memchr<'a>>,
    digits: Head<Digits<'a>>,
    prefixes: Head<Prefixes<'a>>,
    /// Digits that would not begin here but for the end of the value before.
    cut: usize,
}

const NONE: usize = usize::MAX;

impl<'a> Places<'a> {
    pub(super) fn new(wanted: Set, data: &'a [u8]) -> Self {
        let numbers = [Detector::Card, Detector::Ssn, Detector::Iban, Detector::Phone];
        Self {
            data,
            ats: Head::new(memchr::memchr_iter(b'@', data), wanted.has(Detector::Email)),
            digits: Head::new(Digits::new(data), numbers.into_iter().any(|n| wanted.has(n))),
            prefixes: Head::new(Prefixes { data, from: 0 }, wanted.has(Detector::Secret)),
            cut: NONE,
        }
    }

    /// Enters the value `start..end`; all places before it have been taken. Returns where the next place is.
    pub(super) fn enter(&mut self, start: usize, end: usize) -> usize {
        self.cut = match self.data.get(start.saturating_sub(1)..end) {
            Some([before, value @ ..]) if self.digits.wanted && start > 0 && before.is_ascii_alphanumeric() => {
                match value {
                    [b'0'..=b'9', ..] => start,
                    [first, second, b'0'..=b'9', ..] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
                        start + 2
                    }
                    _ => NONE,
                }
            }
            _ => NONE,
        };
        self.next()
    }

    fn next(&self) -> usize {
        self.ats.at.min(self.digits.at).min(self.prefixes.at).min(self.cut)
    }

    /// Takes the next place before `end`.
    pub(super) fn next_before(&mut self, end: usize) -> Option<(usize, Place)> {
        let at = Some(self.next()).filter(|at| *at < end)?;
        let place = if at == self.cut {
            self.cut = NONE;
            Place::Digits
        } else if at == self.digits.at {
            self.digits.advance();
            Place::Digits
        } else if at == self.ats.at {
            self.ats.advance();
            Place::At
        } else {
            self.prefixes.advance();
            Place::Prefix
        };
        Some((at, place))
    }
}

/// Places of one kind: the next one, and those behind it.
struct Head<I> {
    at: usize,
    rest: I,
    wanted: bool,
}

impl<I: Iterator<Item = usize>> Head<I> {
    fn new(rest: I, wanted: bool) -> Self {
        let mut head = Self { at: NONE, rest, wanted };
        if wanted {
            head.advance();
        }
        head
    }

    fn advance(&mut self) {
        self.at = self.rest.next().unwrap_or(NONE);
    }
}

/// Where a word begins with digits, or with two letters and then digits, found eight bytes at a time.
///
/// Of a word's bytes the highest bits tell what each of them is; shifted by bytes they tell what stands before it.
struct Digits<'a> {
    words: std::slice::Chunks<'a, u8>,
    /// Where the word at hand begins.
    base: usize,
    /// The beginnings in it that have not been taken.
    starts: u64,
    /// What its bytes are.
    digits: u64,
    letters: u64,
}

impl<'a> Digits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { words: data.chunks(8), base: 0usize.wrapping_sub(8), starts: 0, digits: 0, letters: 0 }
    }

    fn read(&mut self, bytes: &[u8]) {
        const EACH: u64 = 0x0101_0101_0101_0101;
        const LOW: u64 = EACH * 0x7f;
        const HIGHEST: u64 = EACH * 0x80;
        let word = <[u8; 8]>::try_from(bytes).unwrap_or_else(|_| {
            let mut last = [0; 8];
            last.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            last
        });
        let word = u64::from_le_bytes(word);
        // Of seven bits that are at least `from`, the sum has the highest bit; no sum carries into the next byte.
        let at_least = |bits: u64, from: u8| bits + EACH * u64::from(0x80 - from);
        let (plain, lower) = (word & LOW, (word & LOW) | (EACH * 0x20));
        let digits = at_least(plain, b'0') & !at_least(plain, b'9' + 1) & !word & HIGHEST;
        let letters = at_least(lower, b'a') & !at_least(lower, b'z' + 1) & !word & HIGHEST;
        let before = |now: u64, earlier: u64, bytes: u32| now << (8 * bytes) | earlier >> (64 - 8 * bytes);
        let letter_before = |bytes| before(letters, self.letters, bytes);
        let word_before = |bytes| before(digits | letters, self.digits | self.letters, bytes);
        let country_before = letter_before(1) & letter_before(2) & !word_before(3);
        self.starts = digits & (!word_before(1) | country_before);
        (self.digits, self.letters) = (digits, letters);
        self.base = self.base.wrapping_add(8);
    }
}

impl Iterator for Digits<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.starts == 0 {
            let bytes = self.words.next()?;
            self.read(bytes);
        }
        let offset = self.starts.trailing_zeros() as usize / 8;
        self.starts &= self.starts - 1;
        Some(self.base + offset)
    }
}

/// Where prefixes of secrets begin. They may overlap: one that lies across the end of a value must not hide another.
struct Prefixes<'a> {
    data: &'a [u8],
    from: usize,
}

static PREFIXES: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(secret::prefixes());
    automaton.expect("two dozen short prefixes make a small automaton")
});

impl Iterator for Prefixes<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let found = PREFIXES.find(Input::new(self.data).range(self.from..))?;
        self.from = found.start() + 1;
        Some(found.start())
    }
}
