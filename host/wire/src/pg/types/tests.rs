use proptest::prelude::*;

use super::time::{civil, days_from_civil};
use super::*;

fn round(class: Class, text: &str) -> Result<String, BadValue> {
    let (mut binary, mut back) = (vec![], vec![]);
    to_binary(class, text.as_bytes(), &mut binary)?;
    to_text(class, &binary, &mut back)?;
    Ok(String::from_utf8(back).unwrap())
}

#[test]
fn the_table_is_sorted() {
    assert!(table::TYPES.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!((name(1043), class(1043), class(424_242)), (Some("varchar"), Class::Text, Class::Other));
}

#[test]
fn values_survive_both_ways() {
    for (class, texts) in [
        (Class::Bool, &["t", "f"][..]),
        (Class::Int2, &["-32768", "32767"]),
        (Class::Int8, &["-9223372036854775808", "0"]),
        (Class::Float8, &["1.5", "-0.1", "NaN", "Infinity"]),
        (
            Class::Numeric,
            &["0", "0.00", "-1.5", "10000", "12345678.9012", "0.0001", "0.000010", "NaN", "99999999999999999999"],
        ),
        (Class::Uuid, &["00112233-4455-6677-8899-aabbccddeeff"]),
        (Class::Date, &["2000-01-01", "1999-12-31", "2024-02-29", "0044-03-15 BC", "5874897-12-31", "infinity"]),
        (Class::Timestamp, &["2026-11-23 15:45:56", "1970-01-01 00:00:00.000001", "-infinity"]),
        (Class::TimestampTz, &["2026-11-23 15:45:56.25+00"]),
        (Class::Jsonb, &["{\"a\": 1}"]),
        (Class::Bytea, &["\\x", "\\x00ff"]),
    ] {
        for text in texts {
            assert_eq!(round(class, text).as_deref(), Ok(*text), "{class:?}");
        }
    }
    assert_eq!(round(Class::TimestampTz, "2026-01-01 01:30:00+01:30").as_deref(), Ok("2026-01-01 00:00:00+00"));
    assert_eq!(round(Class::Numeric, "-0.0").as_deref(), Ok("0.0"));
}

#[test]
fn bytes_are_as_the_server_writes_them() {
    for (class, text, bytes) in [
        (Class::Numeric, "12345.678", &[0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c][..]),
        (Class::Date, "2000-01-02", &[0, 0, 0, 1]),
        (Class::Timestamp, "2000-01-01 00:00:01", &[0, 0, 0, 0, 0, 0x0f, 0x42, 0x40]),
        (Class::Int4, "-2", &[0xff, 0xff, 0xff, 0xfe]),
    ] {
        let mut out = vec![];
        to_binary(class, text.as_bytes(), &mut out).unwrap();
        assert_eq!(out, bytes, "{text}");
    }
}

#[test]
fn what_the_type_cannot_hold_is_refused() {
    for (class, text) in [
        (Class::Bool, "true"),
        (Class::Int2, "32768"),
        (Class::Int4, "+1"),
        (Class::Int4, " 1"),
        (Class::Int4, "****"),
        (Class::Float8, "inf"),
        (Class::Numeric, "1e5"),
        (Class::Numeric, "."),
        (Class::Date, "2026-02-30"),
        (Class::Date, "****-**-**"),
        (Class::Timestamp, "2026-01-01"),
        (Class::Timestamp, "2026-01-01 24:00:00"),
        (Class::TimestampTz, "2026-01-01 00:00:00"),
        (Class::Uuid, "00112233-4455-6677-8899-aabbccddeefg"),
        (Class::Json, "{\"a\": ****}"),
        (Class::Jsonb, "{} x"),
        (Class::Text, "a\0b"),
        (Class::Xml, "<a/>"),
        (Class::Other, "x"),
    ] {
        assert!(!is_valid_text(class, text.as_bytes()), "{class:?} {text}");
    }
    assert!(!is_valid_text(Class::Jsonb, b"{\"\xff\": 1}"));
    assert!(is_valid_text(Class::Json, b" {\"a\": [1, null]} "));
}

proptest! {
    #[test]
    fn junk_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
        for class in Class::ALL {
            let mut out = vec![];
            let _ = to_text(class, &bytes, &mut out);
            let _ = to_binary(class, &bytes, &mut out);
            is_valid_text(class, &bytes);
        }
    }

    #[test]
    fn every_day_has_a_date(days in -2_000_000i64..2_000_000) {
        let (y, m, d) = civil(days);
        prop_assert_eq!(days_from_civil(y, m, d), days);
    }
}
