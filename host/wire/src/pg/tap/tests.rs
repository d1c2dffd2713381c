//! What is given, whatever the pieces in which it came.

use proptest::prelude::*;

use super::super::frame::{put, put_cstr};
use super::super::message::{Fault, Field};
use super::*;

/// An item that has forgotten in how many pieces it came.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Item(Item<'static>),
    Rows(u32, Vec<u8>),
    Copy(Vec<u8>),
}

#[derive(Default)]
struct Notes(Vec<Seen>);

impl Notes {
    fn take(&mut self, item: Item<'_>) {
        let item = match item {
            Item::Rows { count, data } => {
                if let Some(Seen::Rows(rows, all)) = self.0.last_mut() {
                    *rows += count;
                    return all.extend(data);
                }
                Seen::Rows(count, data.to_vec())
            }
            Item::Copy(data) => {
                if let Some(Seen::Copy(all)) = self.0.last_mut() {
                    return all.extend(data);
                }
                Seen::Copy(data.to_vec())
            }
            Item::Message { severity, code, text } => Seen::Item(Item::Message {
                severity: severity.into_owned().into(),
                code: code.into_owned().into(),
                text,
            }),
            Item::Complete(tag) => Seen::Item(Item::Complete(tag.into_owned().into())),
            Item::Columns(shape) => Seen::Item(Item::Columns(shape)),
            Item::Ready => Seen::Item(Item::Ready),
            Item::Oversized { tag, bytes } => Seen::Item(Item::Oversized { tag, bytes }),
        };
        self.0.push(item);
    }
}

fn tap(results: bool, max_message: usize) -> Tap {
    Tap { max_message, ..Tap::new(results) }
}

fn seen<'a>(mut tap: Tap, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut notes = Notes::default();
    for piece in pieces {
        tap.feed(piece, |item| notes.take(item)).unwrap();
    }
    assert!(tap.partial.is_empty() && tap.left == 0, "the end of the input is the end of a message");
    notes.0
}

fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (values.len() as i16).to_be_bytes().to_vec();
    for value in values {
        body.extend(value.map_or(-1, |v| v.len() as i32).to_be_bytes());
        body.extend_from_slice(value.unwrap_or_default());
    }
    body
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, tag, |b| b.extend_from_slice(body));
    out
}

const ID: &[u8] = b"\0\x01id\0\0\0\0\x07\0\x02\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01";

fn id_shape() -> Shape {
    [Field { name: "id".into(), table: 7, attribute: 2, type_oid: 23, type_modifier: -1, binary: true }].into()
}

/// A conversation with everything in it, and what is seen of it.
fn everything() -> (Vec<u8>, Vec<Seen>) {
    let (first, second) = (row(&[Some(b"one"), None]), row(&[]));
    let mut fault = vec![];
    Fault::error("42501", "no").with_detail("really").with_hint("ask").put(&mut fault);
    let mut notice = vec![];
    Fault::notice("01000", "hm").put(&mut notice);
    let mut notification = vec![];
    put(&mut notification, b'A', |b| {
        b.extend([0, 0, 0, 9]);
        put_cstr(b, b"channel");
        put_cstr(b, b"payload");
    });
    let bytes = [
        message(b'1', b""),
        message(b't', b"\0\0"),
        message(b'T', ID),
        message(b'2', b""),
        message(b'T', ID),
        message(b'D', &first),
        message(b'D', &second),
        notice,
        message(b'D', &first),
        message(b'C', b"SELECT 3\0"),
        message(b'H', b"\0\0\0"),
        message(b'd', b"a\tb\n"),
        message(b'd', b""),
        message(b'd', b"c\n"),
        message(b'c', b""),
        message(b'C', b"COPY 2\0"),
        message(b'I', b""),
        message(b's', b""),
        message(b'S', b"TimeZone\0UTC\0"),
        notification,
        message(b'n', b""),
        fault,
        message(b'Z', b"I"),
    ]
    .concat();
    let spoken = |severity: &'static str, code: &'static str, text: &str| {
        Seen::Item(Item::Message { severity: severity.into(), code: code.into(), text: text.into() })
    };
    let complete = |tag: &'static str| Seen::Item(Item::Complete(tag.into()));
    let expected = vec![
        Seen::Item(Item::Columns(id_shape())),
        Seen::Rows(2, [first.clone(), second].concat()),
        spoken("NOTICE", "01000", "hm"),
        Seen::Rows(1, first),
        complete("SELECT 3"),
        Seen::Copy(b"a\tb\nc\n".to_vec()),
        complete("COPY 2"),
        complete(""),
        complete(""),
        spoken("NOTIFY", "", "channel: payload"),
        spoken("ERROR", "42501", "no\nDETAIL: really\nHINT: ask"),
        Seen::Item(Item::Ready),
    ];
    (bytes, expected)
}

#[test]
fn everything_that_a_client_sees_is_given_in_order() {
    let (bytes, expected) = everything();
    assert_eq!(seen(Tap::new(true), [&bytes[..]]), expected);
}

#[test]
fn it_is_the_same_split_at_every_byte() {
    let (bytes, expected) = everything();
    assert_eq!(seen(Tap::new(true), bytes.chunks(1)), expected);
    for cut in 0..bytes.len() {
        let (front, back) = bytes.split_at(cut);
        assert_eq!(seen(Tap::new(true), [front, back]), expected, "split at {cut}");
    }
}

#[test]
fn without_results_only_words_and_ends_are_given() {
    let (bytes, expected) = everything();
    let is_result = |seen: &Seen| !matches!(seen, Seen::Item(Item::Columns(_)) | Seen::Rows(..) | Seen::Copy(_));
    let expected: Vec<Seen> = expected.into_iter().filter(is_result).collect();
    assert_eq!(seen(Tap::new(false), [&bytes[..]]), expected);
    assert_eq!(seen(Tap::new(false), bytes.chunks(1)), expected);
}

#[test]
fn many_rows_are_given_in_pieces_and_none_is_lost() {
    let body = row(&[Some(&[7; 1000])]);
    let bytes = message(b'D', &body).repeat(200);
    let mut pieces = vec![];
    Tap::new(true)
        .feed(&bytes, |item| match item {
            Item::Rows { count, data } => {
                assert_eq!(data, body.repeat(count as usize));
                assert!(data.len() <= PIECE);
                pieces.push(count);
            }
            other => panic!("{other:?}"),
        })
        .unwrap();
    assert_eq!(pieces.iter().sum::<u32>(), 200);
    assert!(pieces.len() < 10, "{pieces:?}");
}

#[test]
fn a_large_row_in_pieces_is_given_whole_and_its_memory_back() {
    let body = row(&[Some(&vec![7; 3 * PIECE])]);
    let bytes = message(b'D', &body);
    let (mut tap, mut notes) = (Tap::new(true), Notes::default());
    bytes.chunks(1000).for_each(|piece| tap.feed(piece, |item| notes.take(item)).unwrap());
    assert_eq!(notes.0, [Seen::Rows(1, body)]);
    assert!(tap.partial.capacity() <= PIECE && tap.bulk.data.capacity() <= 2 * PIECE);
}

#[test]
fn what_is_too_large_is_told_and_takes_no_memory() {
    let large = message(b'D', &row(&[Some(&[7; 500])]));
    let small = message(b'D', &row(&[Some(b"x")]));
    let copied = message(b'd', &[8; 500]);
    let bytes = [small.clone(), large.clone(), small.clone(), copied].concat();
    let one = Seen::Rows(1, row(&[Some(b"x")]));
    let too_large = Seen::Item(Item::Oversized { tag: b'D', bytes: large.len() });
    let expected = [one.clone(), too_large, one, Seen::Copy(vec![8; 500])];
    assert_eq!(seen(tap(true, 100), [&bytes[..]]), expected);
    assert_eq!(seen(tap(true, 100), bytes.chunks(1)), expected);
    let mut begun = tap(true, 100);
    large[..400].chunks(7).for_each(|piece| begun.feed(piece, |_| {}).unwrap());
    assert!(begun.partial.capacity() < 100);
}

#[test]
fn what_is_no_message_is_an_error() {
    assert!(Tap::new(true).feed(b"Z\0\0\0\x03", |_| {}).is_err());
    assert!(Tap::new(true).feed(&message(b'T', b"\0\x02"), |_| {}).is_err());
    assert!(Tap::new(true).feed(&message(b'C', b"SELECT"), |_| {}).is_err());
    assert!(Tap::new(true).feed(&message(b'A', b""), |_| {}).is_err());
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60));
    prop_oneof![
        4 => proptest::collection::vec(value, 0..4)
            .prop_map(|values| message(b'D', &row(&values.iter().map(Option::as_deref).collect::<Vec<_>>()))),
        2 => proptest::collection::vec(any::<u8>(), 0..150).prop_map(|data| message(b'd', &data)),
        1 => Just(message(b'T', ID)),
        1 => Just(message(b't', b"\0\0")),
        1 => Just(message(b'n', b"")),
        1 => "[A-Z]{0,9}".prop_map(|tag| message(b'C', format!("{tag}\0").as_bytes())),
        1 => "[a-z]{0,150}".prop_map(|text| {
            let mut out = vec![];
            Fault::error("XX000", text).put(&mut out);
            out
        }),
        1 => Just(message(b'Z', b"T")),
        1 => proptest::collection::vec(any::<u8>(), 0..150).prop_map(|data| message(b'S', &data)),
    ]
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same(
        messages in proptest::collection::vec(any_message(), 0..20),
        cuts in proptest::collection::vec(0..200usize, 0..30),
        results in any::<bool>(),
    ) {
        let bytes = messages.concat();
        let mut pieces: Vec<&[u8]> = vec![];
        let mut rest = &bytes[..];
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        // Some rows and words are over the limit.
        let whole = seen(tap(results, 100), [&bytes[..]]);
        prop_assert_eq!(seen(tap(results, 100), pieces), whole);
    }

    #[test]
    fn junk_is_no_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..9)) {
        let mut tap = tap(true, 1000);
        for piece in &pieces {
            if tap.feed(piece, |_| {}).is_err() {
                break;
            }
        }
    }
}
