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
        (Class::Enum, "red"),
        (Class::Inet, "10.0.0.1"),
        (Class::Other, "x"),
    ] {
        assert!(!is_valid_text(class, text.as_bytes()), "{class:?} {text}");
    }
    assert!(!is_valid_text(Class::Jsonb, b"{\"\xff\": 1}"));
    assert!(is_valid_text(Class::Json, b" {\"a\": [1, null]} "));
}

/// The text form of a value in the binary format, given as hexadecimal digits with blanks between.
fn shown(oid: u32, hex: &str) -> Result<String, BadValue> {
    let digits: Vec<u8> = hex.bytes().filter(|b| *b != b' ').collect();
    let value: Vec<u8> =
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
    let mut out = vec![];
    Type::builtin(oid).to_text(&value, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn what_is_only_read_is_shown_as_the_server_shows_it() {
    for (oid, hex, text) in [
        (18, "c3", "\\303"),
        (18, "00", ""),
        (26, "ffffffff", "4294967295"),
        (27, "00000007 0002", "(7,2)"),
        (3220, "00000016 b374d848", "16/B374D848"),
        (1083, "0000000008bb8b98", "00:02:26.508696"),
        (1083, "000000141dd76000", "24:00:00"),
        (1266, "0000000000000000 00003138", "00:00:00-03:30"),
        (1266, "0000000000000000 ffffe3e0", "00:00:00+02"),
        (1186, "0000000000000000 00000000 00000000", "00:00:00"),
        (1186, "00000002259b28a3 00000003 0000000e", "1 year 2 mons 3 days 02:33:40.860067"),
        (1186, "00000000000f4240 ffffffff 00000001", "1 mon -1 days +00:00:01"),
        (1186, "fffffffffff0bdc0 00000000 00000000", "-00:00:01"),
        (1186, "7fffffffffffffff 7fffffff 7fffffff", "infinity"),
        (869, "02 20 00 04 0a000001", "10.0.0.1"),
        (869, "02 18 00 04 0a000001", "10.0.0.1/24"),
        (650, "02 20 01 04 0a000001", "10.0.0.1/32"),
        (869, "03 80 00 10 20010db8000000000000000000000001", "2001:db8::1"),
        (869, "03 80 00 10 00000000000000000000000000000001", "::1"),
        (869, "03 80 00 10 00000000000000000000000000000005", "::5"),
        (869, "03 80 00 10 0000000000000000000000000a1f2107", "::10.31.33.7"),
        (829, "08002b010203", "08:00:2b:01:02:03"),
        (1562, "0000000b a5e0", "10100101111"),
        (600, "3ff8000000000000 4415af1d78b58c40", "(1.5,1e+20)"),
        (602, "00 00000001 0000000000000000 bff0000000000000", "[(0,-1)]"),
        (718, "0000000000000000 0000000000000000 4000000000000000", "<(0,0),2>"),
        (3904, "02 00000004 00000001 00000004 0000000a", "[1,10)"),
        (3904, "18", "(,)"),
        (3904, "01", "empty"),
        (4451, "00000001 00000011 02 00000004 00000001 00000004 0000000a", "{[1,10)}"),
        (2249, "00000003 00000017 00000004 00000007 00000019 00000003 612c62 00000019 ffffffff", "(7,\"a,b\",)"),
        (1007, "00000000 00000000 00000017", "{}"),
        (
            1007,
            "00000002 00000001 00000017 00000002 00000001 00000002 00000001 00000004 00000001 ffffffff 00000004 00000003 00000004 00000004",
            "{{1,NULL},{3,4}}",
        ),
        (1007, "00000001 00000000 00000017 00000001 00000005 00000004 00000001", "[5:5]={1}"),
    ] {
        assert_eq!(shown(oid, hex).as_deref(), Ok(text), "{oid}");
        // Neither a part of it nor more than it is a value.
        if !matches!(oid, 18 | 1562) {
            let digits = hex.replace(' ', "");
            assert_eq!(shown(oid, &digits[..digits.len() - 2]), Err(BadValue), "a part of {text}");
            assert_eq!(shown(oid, &(digits + "00")), Err(BadValue), "more than {text}");
        }
    }
    for (oid, hex) in [
        // More dimensions than there may be, an impossible length, more elements than there are, and a huge number of them.
        (1007, "00000007 00000000 00000017"),
        (1007, "00000001 00000000 00000017 00000000 00000001"),
        (1007, "00000001 00000000 00000017 7fffffff 00000001"),
        (1007, "00000002 00000000 00000017 7fffffff 00000001 7fffffff 00000001"),
        (2249, "7fffffff"),
        (4451, "7fffffff"),
        (604, "7fffffff"),
        (1083, "ffffffffffffffff"),
        (869, "02 21 00 04 0a000001"),
    ] {
        assert!(shown(oid, hex).is_err(), "{oid} {hex}");
    }
}

/// Makes every inner value `<value>` in one format, or NULL where it is `x`.
fn marked(ty: &Type, binary: bool, value: &[u8]) -> Result<Vec<u8>, BadValue> {
    let mut out = vec![];
    ty.edit(binary, value, &mut out, &mut |_, value, out: &mut Vec<u8>| {
        if value == b"x" {
            out.extend_from_slice(b"junk");
            return Ok(Inner::Null);
        }
        out.extend_from_slice(b"<");
        out.extend_from_slice(value);
        out.extend_from_slice(b">");
        Ok::<_, BadValue>(Inner::Written)
    })?;
    Ok(out)
}

fn person() -> Type {
    Type::of(20_000, -1, &|oid| match oid {
        20_000 => Make::Record(&[(25, -1), (20_001, -1), (1009, -1)]),
        20_001 => Make::Domain { base: 1043, modifier: 12 },
        _ => Make::Plain(Class::Other),
    })
}

#[test]
fn values_within_others_are_made_anew_in_both_formats() {
    for (ty, text, expected) in [
        (Type::builtin(1009), "{}", "{}"),
        (Type::builtin(1009), "{a,NULL,\"NULL\",\"\"}", "{<a>,NULL,<NULL>,<>}"),
        (Type::builtin(1009), "{x,b}", "{NULL,<b>}"),
        (Type::builtin(1009), r#"{"a b","c\"d\\e","{f}"}"#, r#"{"<a b>","<c\"d\\e>","<{f}>"}"#),
        (Type::builtin(1009), "{{a,b},{c,x}}", "{{<a>,<b>},{<c>,NULL}}"),
        (Type::builtin(1009), "[0:1][-1:-1]={{a},{b}}", "[0:1][-1:-1]={{<a>},{<b>}}"),
        (person(), r#"(a,"b ""c\\",)"#, r#"(<a>,"<b ""c\\>",)"#),
    ] {
        assert_eq!(String::from_utf8(marked(&ty, false, text.as_bytes()).unwrap()).unwrap(), expected);
        let (mut binary, mut shown) = (vec![], vec![]);
        ty.to_binary(text.as_bytes(), &mut binary).unwrap();
        ty.to_text(&marked(&ty, true, &binary).unwrap(), &mut shown).unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), expected);
        assert!(ty.is_valid_text(text.as_bytes()) && ty.is_valid_text(expected.as_bytes()), "{text}");
    }
    let domain = &person();
    let Form::Record(fields) = &domain.form else { panic!("no row") };
    assert_eq!((fields[1].oid, fields[1].modifier, &fields[1].form), (20_001, 12, &Form::Plain(Class::Text)));
}

#[test]
fn what_is_no_array_and_no_row_is_refused() {
    let (texts, numbers) = (Type::builtin(1009), Type::builtin(1007));
    for text in [
        "",
        "a",
        "{",
        "}",
        "{}}",
        "{a",
        "{a,}",
        "{,a}",
        "{a}b",
        "{a}{b}",
        "{\"a}",
        "{\"a\"b}",
        "{a b}",
        "{a\"b\"}",
        "{{a},b}",
        "{a,{b}}",
        "{{a},{}}",
        "{{a},{b,c}}",
        "{{},{}}",
        "{{{{{{{a}}}}}}}",
        "[1:2]={a}",
        "[1:1={a}",
        "[1:1][1:1]={a}",
        "[1:1]={}",
        "=a",
        "{\"a\\",
    ] {
        assert!(!texts.is_valid_text(text.as_bytes()), "{text}");
        assert!(texts.to_binary(text.as_bytes(), &mut vec![]).is_err(), "{text}");
    }
    assert!(numbers.is_valid_text(b"{1,NULL,3}") && !numbers.is_valid_text(b"{1,***}"));
    let person = person();
    assert!(person.is_valid_text(b"(a,b,{c})"));
    for text in ["", "(", "()", "(a,b)", "(a,b,c,d)", "(a,b,{c}) ", "(a,b,{c)", "(\"a,b,{c})", "(a b,c,)"] {
        assert!(!person.is_valid_text(text.as_bytes()), "{text}");
    }
    assert!(!Type::builtin(2249).is_valid_text(b"(a)"), "the fields are not known");
}

#[test]
fn nothing_grows_beyond_bounds() {
    // Many short elements under a long mask.
    let many = Type::builtin(1009);
    let text = format!("{{{}a}}", "a,".repeat(100_000));
    let mut binary = vec![];
    many.to_binary(text.as_bytes(), &mut binary).unwrap();
    for (is_binary, value) in [(false, text.as_bytes()), (true, &binary[..])] {
        for (len, fits) in [(20, true), (1000, false)] {
            let mut out = vec![];
            let long = &mut |_, _: &[u8], out: &mut Vec<u8>| {
                out.resize(out.len() + len, b'*');
                Ok::<_, BadValue>(Inner::Written)
            };
            assert_eq!(many.edit(is_binary, value, &mut out, long).is_ok(), fits, "{is_binary} {len}");
            assert!(out.len() < 20 * value.len());
        }
    }
    // Numbers that are much shorter in the binary format: ten bytes for 10^131067.
    let number = [&[0, 0, 0, 10, 0, 1, 0x7f, 0xfe, 0, 0, 0, 0, 0, 1][..]].concat();
    let mut numbers = [1, 0, 1700, 1000, 1].iter().flat_map(|n: &i32| n.to_be_bytes()).collect::<Vec<u8>>();
    numbers.extend(number.repeat(1000));
    let mut out = vec![];
    assert!(Type::builtin(1231).to_text(&numbers, &mut out).is_err() && out.len() < 1 << 20);
}

proptest! {
    #[test]
    fn what_is_written_within_others_is_read_again(
        values in proptest::collection::vec(proptest::option::of("[a-zA-Z\"\\\\{}(), \t]{0,6}|NULL|null|é"), 1..6),
    ) {
        let row = Type { oid: 2249, modifier: -1, form: Form::Record(vec![Type::builtin(25); values.len()]) };
        for ty in [Type::builtin(1009), row] {
            let is_row = matches!(ty.form, Form::Record(_));
            let mut binary = if is_row { (values.len() as i32).to_be_bytes().to_vec() } else {
                [1, i32::from(values.contains(&None)), 25, values.len() as i32, 1].iter().flat_map(|n| n.to_be_bytes()).collect()
            };
            for value in &values {
                if is_row {
                    binary.extend(25u32.to_be_bytes());
                }
                binary.extend(value.as_ref().map_or(-1, |v| v.len() as i32).to_be_bytes());
                binary.extend(value.iter().flat_map(|v| v.bytes()));
            }
            let (mut text, mut again) = (vec![], vec![]);
            ty.to_text(&binary, &mut text).unwrap();
            ty.to_binary(&text, &mut again).unwrap();
            prop_assert_eq!(&again, &binary, "{}", String::from_utf8_lossy(&text));
            let mut same = vec![];
            ty.edit(false, &text, &mut same, &mut |_, value, out| { out.extend_from_slice(value); Ok::<_, BadValue>(Inner::Written) }).unwrap();
            prop_assert_eq!(same, text);
        }
    }

    #[test]
    fn junk_within_others_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "[{}\\[\\]\"\\\\,:=()a1 ]{0,16}") {
        for ty in [1009, 1007, 2249, 2287, 3904, 4451, 3905, 602, 604].map(Type::builtin).into_iter().chain([person()]) {
            for junk in [&bytes[..], text.as_bytes()] {
                let _ = ty.to_text(junk, &mut vec![]);
                let written = ty.to_binary(junk, &mut vec![]).is_ok();
                prop_assert!(written || !ty.is_valid_text(junk));
                let _ = marked(&ty, true, junk);
                let _ = marked(&ty, false, junk);
            }
        }
    }

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
