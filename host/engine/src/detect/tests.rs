use std::cell::Cell;

use proptest::prelude::*;

use super::*;

thread_local! {
    /// How many bytes looks have read.
    pub(super) static READ: Cell<usize> = const { Cell::new(0) };
}

fn one(wanted: &[Detector], value: &[u8]) -> Vec<Hit> {
    scan(wanted, &[value.len() as u32], value)
}

/// What all detectors find, as `name:text`.
fn found(text: &str) -> Vec<String> {
    let named = |hit: Hit| {
        let text = &text[hit.start..hit.start + hit.len];
        format!("{}:{text}", Detector::ALL[hit.detector].as_str())
    };
    one(&Detector::ALL, text.as_bytes()).into_iter().map(named).collect()
}

/// What `scan` is to find: every detector looks at every byte that it can begin with, value by value.
fn model(wanted: &[Detector], values: &[Vec<u8>]) -> Vec<Hit> {
    let triggers = |detector: Detector, byte: u8| match detector {
        Detector::Email => byte == b'@',
        Detector::Card | Detector::Ssn => byte.is_ascii_digit(),
        Detector::Iban => byte.is_ascii_alphabetic(),
        Detector::Phone => byte.is_ascii_digit() || byte == b'+' || byte == b'(',
        Detector::Secret => matches!(byte, b'-' | b'A' | b'e' | b'g' | b'n' | b'r' | b's' | b'x'),
    };
    let mut hits = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let (first, mut end) = (hits.len(), 0);
        for at in 0..value.len() {
            if at < end {
                continue;
            }
            for (detector, look) in wanted.iter().enumerate().filter(|(_, d)| triggers(**d, value[at])) {
                if let Some(span) = look.look(value, at) {
                    end = end.max(span.end);
                    let hit = Hit { value: index, start: span.start, len: span.len(), detector, score: look.score() };
                    add(&mut hits, first, hit);
                }
            }
        }
    }
    hits
}

/// Values together, as a batch has them.
fn together(values: &[Vec<u8>]) -> (Vec<u32>, Vec<u8>) {
    let ends = values.iter().scan(0, |end, value| {
        *end += value.len() as u32;
        Some(*end)
    });
    (ends.collect(), values.concat())
}

/// Pieces of what is looked for, and what stands around it.
const PIECES: [&str; 44] = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "378282246310005",
    "123-45-6789",
    "078 05 1120",
    "DE89",
    "DE89370400440532013000",
    "3704 0044 0532 0130 00",
    "GB82WEST12345698765432",
    "+49 30 123456",
    "(555) 234-5678",
    "555.234.5678",
    "1-800-555-0199",
    "1 (555) 234-5678",
    "AKIA",
    "IOSFODNN7EXAMPLE",
    "AIza",
    "ghp_",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "glpat-",
    "sk_live_",
    "xoxb-",
    "eyJ",
    "eyJhbGciOi.",
    "eyJhbGciOi.sig",
    "-----BEGIN ",
    "RSA PRIVATE KEY",
    "-----",
    "-----END ",
    "a@b.cc",
    "@",
    ".com",
    "é",
    "卡",
    "'",
    " ",
    "-",
    ".",
    "(",
    "+",
    "1",
    "23",
    "A",
    "_",
];

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..PIECES.len()).prop_map(|piece| PIECES[piece].as_bytes().to_vec()),
        2 => proptest::sample::select(b"0149AZaz@.-+( )_'".to_vec()).prop_map(|byte| vec![byte]),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

/// Values that are cut where nobody would expect it.
fn values() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat());
    (text, proptest::collection::vec(any::<proptest::sample::Index>(), 0..6)).prop_map(|(text, cuts)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|cut| text[cut[0]..cut[1]].to_vec()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_batch_is_searched_as_each_of_its_values_would_be(
        values in values(),
        wanted in proptest::collection::vec(proptest::sample::select(&Detector::ALL[..]), 0..8),
    ) {
        let (ends, data) = together(&values);
        prop_assert_eq!(scan(&wanted, &ends, &data), model(&wanted, &values));
        prop_assert_eq!(scan(&Detector::ALL, &ends, &data), model(&Detector::ALL, &values));
    }
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
            let hits = one(&Detector::ALL, &value);
            for hit in &hits {
                assert!(hit.start >= end && hit.len > 0 && hit.start + hit.len <= value.len(), "{value:?}");
                end = hit.start + hit.len;
            }
            assert_eq!(hits, model(&Detector::ALL, &[value]));
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

/// What is read in all is a small multiple of what there is, however the values are made.
#[test]
fn the_work_is_linear_in_the_worst_values_too() {
    const MOST_READS_OF_A_BYTE: usize = 50;
    let patterns = [
        "0",
        "7",
        "@",
        "a@",
        "@a.",
        "a.@b",
        "4 ",
        "4-",
        "1 (",
        "+",
        "+1",
        "(5",
        "(555",
        "5",
        "555-",
        "1-",
        "1.",
        "eyJ",
        "eyJ-",
        "eyJ.",
        "eyJaaaaaaa.",
        "eyJaaaaaaa.eyJaaaaaaa ",
        "xoxb-",
        "xoxb-x ",
        "glpat-",
        "AKIA ",
        "AKIA",
        "ghp_ ",
        "-",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY",
        "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY----- -----END ",
        "DE89",
        "DE89 ",
        "DE89 3704 ",
        "é@",
    ];
    for pattern in patterns {
        let value = pattern.repeat(100_000 / pattern.len());
        for values in [vec![value.clone().into_bytes()], value.as_bytes().chunks(7).map(<[u8]>::to_vec).collect()] {
            let (ends, data) = together(&values);
            READ.set(0);
            scan(&Detector::ALL, &ends, &data);
            let read = READ.get();
            assert!(read <= MOST_READS_OF_A_BYTE * data.len(), "{pattern}: {read} reads of {} bytes", data.len());
        }
    }
}
