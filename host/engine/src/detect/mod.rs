//! Native detectors of personal data and secrets: one pass over a value, whatever is looked for.
//!
//! A byte that may begin (or, for an address, stand in) what a detector looks for triggers a closer look there. Each look
//! reads a bounded number of bytes or ends where the next one begins, so that the time is linear.

mod email;
mod number;
mod secret;

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

    /// Whether it has to look closer at this byte.
    const fn triggers(self, byte: u8) -> bool {
        match self {
            Self::Email => byte == b'@',
            Self::Card | Self::Ssn => byte.is_ascii_digit(),
            Self::Iban => byte.is_ascii_alphabetic(),
            Self::Phone => byte.is_ascii_digit() || byte == b'+' || byte == b'(',
            Self::Secret => matches!(byte, b'-' | b'A' | b'e' | b'g' | b'n' | b'r' | b's' | b'x'),
        }
    }

    /// What it finds where it was triggered.
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

type Span = std::ops::Range<usize>;

/// Which detectors look closer at which byte: bit `d` is for `Detector::ALL[d]`.
const TRIGGERS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut detector = 0;
        while detector < Detector::ALL.len() {
            if Detector::ALL[detector].triggers(byte as u8) {
                table[byte] |= 1 << detector;
            }
            detector += 1;
        }
        byte += 1;
    }
    table
};

/// Bytes `start..start+len` look like what `wanted[detector]` looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) detector: usize,
    pub(crate) score: u8,
}

/// Finds what is wanted, in order and without overlaps: of two hits that overlap, the surer one stands for both.
pub(crate) fn scan(wanted: &[Detector], value: &[u8], found: impl FnMut(Hit)) {
    let mask = wanted.iter().fold(0, |mask, d| mask | 1 << *d as u8);
    let mut hits: Vec<Hit> = Vec::new();
    let mut at = 0;
    while let Some(next) = trigger(value, at, mask) {
        at = next + 1;
        let looks = TRIGGERS[value[next] as usize];
        for (index, detector) in wanted.iter().enumerate().filter(|(_, d)| looks >> **d as u8 & 1 == 1) {
            if let Some(span) = detector.look(value, next) {
                at = at.max(span.end);
                let hit = Hit { start: span.start, len: span.len(), detector: index, score: detector.score() };
                add(&mut hits, hit);
            }
        }
    }
    hits.into_iter().for_each(found);
}

/// The next byte that some wanted detector is triggered by.
fn trigger(value: &[u8], from: usize, mask: u8) -> Option<usize> {
    let rest = value.get(from..)?;
    let offset = if mask == 1 << Detector::Email as u8 {
        memchr::memchr(b'@', rest)
    } else {
        rest.iter().position(|byte| TRIGGERS[*byte as usize] & mask != 0)
    };
    offset.map(|offset| from + offset)
}

fn add(hits: &mut Vec<Hit>, mut hit: Hit) {
    while let Some(last) = hits.last().copied().filter(|last| last.start + last.len > hit.start) {
        hits.pop();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What all detectors find, as `name:text`.
    fn found(text: &str) -> Vec<String> {
        let mut all = Vec::new();
        scan(&Detector::ALL, text.as_bytes(), |hit| {
            let text = &text[hit.start..hit.start + hit.len];
            all.push(format!("{}:{text}", Detector::ALL[hit.detector].as_str()));
        });
        all
    }

    #[test]
    fn finds_what_is_there() {
        let cases = [
            ("mail me@acme.com, or a.b+c@sub.acme.co.uk.", vec!["email:me@acme.com", "email:a.b+c@sub.acme.co.uk"]),
            ("andré@acme.fr", vec!["email:andré@acme.fr"]),
            ("pay 4111 1111 1111 1111 now", vec!["card:4111 1111 1111 1111"]),
            ("4111-1111-1111-1111,378282246310005", vec!["card:4111-1111-1111-1111", "card:378282246310005"]),
            ("no 12 4111111111111111 34", vec!["card:4111111111111111"]),
            ("卡5555555555554444", vec!["card:5555555555554444"]),
            ("ssn 123-45-6789.", vec!["ssn:123-45-6789"]),
            ("IBAN DE89 3704 0044 0532 0130 00!", vec!["iban:DE89 3704 0044 0532 0130 00"]),
            ("gb82west12345698765432", vec!["iban:gb82west12345698765432"]),
            ("call +49 (0)30 123456-78 today", vec!["phone:+49 (0)30 123456-78"]),
            ("(555) 234-5678 or 555.234.5678", vec!["phone:(555) 234-5678", "phone:555.234.5678"]),
            ("1-800-555-0199", vec!["phone:1-800-555-0199"]),
            ("id AKIAIOSFODNN7EXAMPLE;", vec!["secret:AKIAIOSFODNN7EXAMPLE"]),
        ];
        for (text, expected) in cases {
            assert_eq!(found(text), expected, "{text}");
        }
    }

    #[test]
    fn finds_secrets_by_their_form() {
        let letters = "abcdefghijklmnopqrstuvwxyz0123456789";
        for secret in [
            format!("ghp_{letters}"),
            format!("github_pat_{letters}"),
            format!("glpat-{letters}"),
            format!("npm_{letters}"),
            ["sk", "live", letters].join("_"),
            ["xoxb", "123456789012", letters].join("-"),
            format!("eyJ{letters}.eyJ{letters}.{letters}-_"),
            format!("-----BEGIN RSA PRIVATE KEY-----\n{letters}\n-----END RSA PRIVATE KEY-----"),
        ] {
            assert_eq!(found(&format!("x={secret} y")), [format!("secret:{secret}")]);
            assert_eq!(found(&format!("word{secret}")).len(), usize::from(secret.starts_with('-')), "{secret}");
        }
        assert_eq!(found("-----BEGIN PRIVATE KEY-----\nMIIE cut off").len(), 1);
    }

    #[test]
    fn leaves_alone_what_only_looks_similar() {
        for text in [
            "",
            "@",
            "a@b",
            "@acme.com",
            "me@acme",
            "me@.com",
            "me@acme.c",
            "4111 1111 1111 1112",
            "14111111111111111",
            "41111111111111114111111111111111",
            "0000000000000000",
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "123-00-4567",
            "123-45-0000",
            "123-45-67890",
            "1123-45-6789",
            "DE89 3704 0044 0532 0130 01",
            "XX89370400440532013000",
            "DE8937040044053201300",
            "+49 30",
            "+1234567890123456",
            "2024-01-02 10:11:12",
            "192.168.100.1000",
            "555-1234",
            "AKIAshort",
            "eyJhello.world",
            "ghp_short",
            "-----BEGIN PUBLIC KEY-----",
        ] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn hits_are_in_order_and_apart() {
        let text = "555-234-5678@acme.com 4111111111111111@acme.com a@b.cc";
        assert_eq!(found(text), ["email:555-234-5678@acme.com", "card:4111111111111111@acme.com", "email:a@b.cc"]);
    }

    /// Every text of up to six bytes from this alphabet: no look leaves the value, and every hit is within it.
    #[test]
    fn stays_within_any_value() {
        let alphabet = b"A4@.+-(\xc3";
        for len in 0..=6 {
            for number in 0..alphabet.len().pow(len) {
                let digit = |i: u32| alphabet[number / alphabet.len().pow(i) % alphabet.len()];
                let value: Vec<u8> = (0..len).map(digit).collect();
                let mut end = 0;
                scan(&Detector::ALL, &value, |hit| {
                    assert!(hit.start >= end && hit.len > 0 && hit.start + hit.len <= value.len(), "{value:?}");
                    end = hit.start + hit.len;
                });
            }
        }
    }

    #[test]
    fn every_card_with_a_wrong_digit_fails_its_checksum() {
        let card = b"4111111111111111";
        for place in 1..card.len() {
            for digit in b'0'..=b'9' {
                let mut other = *card;
                other[place] = digit;
                assert_eq!(number::card(&other, 0).is_some(), other == *card, "{place} {digit}");
            }
        }
    }

    #[test]
    fn long_values_take_linear_time() {
        for pattern in ["a@", "4 ", "+", "(5", "eyJ", "eyJ-", "xoxb-", "-----BEGIN ", "1-", "DE89"] {
            scan(&Detector::ALL, pattern.repeat(200_000).as_bytes(), |_| {});
        }
    }
}
