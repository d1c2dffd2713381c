//! The bytes of a batch that are worth a closer look.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::{Detector, Set, secret};

/// Why a byte is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It is an `@`.
    At,
    /// A run of digits begins here.
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
    /// Digits at the beginning of the value go on from those at the end of the one before.
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

    /// Begins the value that begins here; all places before it have been taken. Returns where the next place is.
    pub(super) fn enter(&mut self, start: usize) -> usize {
        let is_digit = |at: usize| self.data.get(at).is_some_and(u8::is_ascii_digit);
        let is_cut = self.digits.wanted && start > 0 && is_digit(start - 1) && is_digit(start);
        self.cut = if is_cut { start } else { NONE };
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

/// Where runs of digits begin, found eight bytes at a time.
struct Digits<'a> {
    words: std::slice::Chunks<'a, u8>,
    /// Where the word at hand begins.
    base: usize,
    /// The highest bit of each of its bytes at which a run begins, as far as they have not been taken.
    starts: u64,
    /// Whether its last byte is a digit.
    goes_on: bool,
}

impl<'a> Digits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { words: data.chunks(8), base: 0usize.wrapping_sub(8), starts: 0, goes_on: false }
    }
}

impl Iterator for Digits<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        const EACH: u64 = 0x0101_0101_0101_0101;
        while self.starts == 0 {
            let bytes = self.words.next()?;
            let word = <[u8; 8]>::try_from(bytes).unwrap_or_else(|_| {
                let mut last = [0; 8];
                last.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                last
            });
            // A digit differs from `0` by less than ten: for all others the addition or the difference sets the highest bit.
            let value = u64::from_le_bytes(word) ^ (EACH * 0x30);
            let others = ((value & (EACH * 0x7f)) + EACH * (0x80 - 10)) | value;
            let digits = !others & (EACH * 0x80);
            self.starts = digits & !(digits << 8 | u64::from(self.goes_on) << 7);
            self.goes_on = digits >> 63 == 1;
            self.base = self.base.wrapping_add(8);
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
