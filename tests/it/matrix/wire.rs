//! The protocol, message by message and byte by byte, between a client that does what clients should not and a real server.

use portcullis_tests::gateway::{Gateway, Options};

use super::script::scripts;
use super::{ALICE, V3, await_sleepers, orders, refusing};
use crate::raw::{
    Answer, Message, Raw, SSL, bind, close, describe, execute, extended, field, flush, message, parse, query, request,
    startup, sync,
};
use crate::support::{common, shop};

#[test]
fn however_the_bytes_are_cut_the_answers_are_the_same() {
    let common = common();
    let before = orders(&common.postgres);
    let conversation = [
        query("select email from customers where id = 1"),
        extended("select * from customers order by id", &[1, 0, 0, 0, 0, 0, 0]),
        query("drop table orders"),
        extended("delete from orders", &[]),
        query("select 1; select email from customers; drop table orders"),
        query(""),
        [parse("s", "select product from orders where id = $1"), describe(b'S', "s"), sync()].concat(),
        [bind("", "s", &["7"], &[]), execute("", 0), bind("", "s", &["8"], &[]), execute("", 0), sync()].concat(),
        query("begin"),
        [parse("", "select id from orders order by id"), bind("p", "", &[], &[1]), execute("p", 3), flush()].concat(),
        [execute("p", 2), close(b'P', "p"), sync()].concat(),
        query("drop table orders"),
        query("commit"),
        [
            query("copy orders from stdin"),
            message(b'd', b"100\t2\t"),
            message(b'd', b"x\t3\t2026-01-01\n"),
            message(b'f', b"no\0"),
        ]
        .concat(),
        query("copy customers to stdout"),
        [query("copy orders from '/x'"), message(b'd', b"late"), message(b'c', b"")].concat(),
        message(b'F', &[0; 12]),
        query("select 1/0; select 2"),
        [parse("", "select nothing"), bind("", "", &[], &[]), execute("", 0), sync()].concat(),
        extended("select 7", &[]),
        message(b'X', b""),
    ]
    .concat();
    let in_pieces_of = |size: usize| {
        let mut raw = Raw::open(&common.gateway, "alice");
        conversation.chunks(size).for_each(|piece| raw.send(piece));
        let answer = raw.end();
        (answer.story(), raw.got)
    };
    let (story, bytes) = in_pieces_of(conversation.len());
    assert!(story.contains("E42501") && story.contains("E0A000") && story.ends_with("T D C ZI ."), "{story}");
    for size in [1, 2, 3, 5, 7, 64, 1000] {
        let (cut, cut_bytes) = in_pieces_of(size);
        assert_eq!(cut, story, "in pieces of {size}");
        assert_eq!(cut_bytes, bytes, "in pieces of {size}");
    }
    assert_eq!(orders(&common.postgres), before);
}

#[test]
fn broken_messages_end_the_session_and_run_nothing() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let before = orders(&postgres);
    let with_length = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes(), b"drop table orders\0"].concat();
    let body = |tag: u8, body: &[u8]| message(tag, body);
    let mut cases = vec![
        ("a text without an end", body(b'Q', b"drop table orders")),
        ("a text with a zero byte", body(b'Q', b"select 1\0; drop table orders\0")),
        ("bytes behind a text", body(b'Q', b"drop table orders\0\0")),
        ("a Query without a body", body(b'Q', b"")),
        ("a Parse without an end", body(b'P', b"\0drop table orders")),
        ("a Parse without a count", body(b'P', b"\0drop table orders\0")),
        ("a negative count of types", body(b'P', b"\0drop table orders\0\xff\xff")),
        ("more types than bytes", body(b'P', b"\0drop table orders\0\x7f\xff\0\0\0\x17")),
        ("bytes behind the types", body(b'P', b"\0drop table orders\0\0\0\0")),
        ("a Describe of nothing", body(b'D', b"X\0")),
        ("a Describe without a name", body(b'D', b"S")),
        ("a Close of nothing", body(b'C', b"X\0")),
        ("an Execute without a limit", body(b'E', b"\0")),
        ("bytes behind an Execute", body(b'E', b"\0\0\0\0\0\0")),
        ("a startup message", startup(V3, &ALICE)),
        ("a request for TLS", request(SSL)),
        ("an answer to no question", body(b'p', b"password\0")),
    ];
    for length in [0, 3, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] {
        cases.push(("an impossible length", with_length(b'Q', length)));
    }
    for tag in *b"\0\x01!1ATZRKWGv~\x80\xff" {
        cases.push(("a message that no client sends", body(tag, b"")));
    }
    let bound = parse("s", "select $1::text");
    for (what, wrong) in [
        ("a negative length", &b"\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0"[..]),
        ("a value beyond its message", b"\0s\0\0\0\0\x01\0\0\0\x09x\0\0"),
        ("a length that wraps", b"\0s\0\0\0\0\x01\x7f\xff\xff\xffx\0\0"),
        ("a negative count of values", b"\0s\0\0\0\xff\xff\0\0"),
        ("a negative count of formats", b"\0s\0\xff\xff\0\0\0\0"),
        ("bytes behind a Bind", b"\0s\0\0\0\0\x01\0\0\0\x01x\0\0\0"),
        ("a format that there is not", b"\0s\0\0\0\0\x01\0\0\0\x01x\0\x01\0\x07"),
        ("a Bind that ends early", b"\0s\0\0\0\0\x01\0\0\0\x01x"),
    ] {
        cases.push((what, [&bound[..], &message(b'B', wrong)].concat()));
    }
    for (what, bytes) in cases {
        let mut raw = Raw::open(&gateway, "alice");
        raw.send(&bytes);
        // Whatever follows is not looked at.
        raw.send_at_last(&[query("drop table orders"), sync()].concat());
        let answer = raw.end();
        assert_eq!(answer.error().as_deref(), Some("08P01"), "{what}: {}", answer.told());
        assert!(answer.bodies(b'E').all(|error| field(error, b'S') == "FATAL"), "{what}");
        assert!(!answer.story().contains('Z'), "{what}: {}", answer.story());
    }
    assert_eq!(orders(&postgres), before);
    assert_eq!(gateway.query("alice", "select 7").unwrap().0, "7");
}

#[test]
fn a_function_is_not_called_by_its_number() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let mut raw = Raw::open(&gateway, "alice");
    for (name, argument) in [
        ("query_to_xml(text, boolean, boolean, text)", "select email from customers"),
        ("pg_read_file(text)", "PG_VERSION"),
        ("lo_import(text)", "/etc/passwd"),
        ("current_setting(text)", "data_directory"),
    ] {
        let oid: u32 = postgres.sql("shop", &format!("select '{name}'::regprocedure::oid")).unwrap().parse().unwrap();
        let length = u32::try_from(argument.len()).unwrap();
        let call =
            [&oid.to_be_bytes()[..], b"\0\0\0\x01", &length.to_be_bytes(), argument.as_bytes(), b"\0\0"].concat();
        let answer = raw.turn(&message(b'F', &call));
        assert_eq!(answer.story(), "E0A000 ZI", "{name}");
    }
    assert!(!raw.got.windows(4).any(|w| w == b"ada@"));
}

#[test]
fn limits_are_told_and_hold() {
    let postgres = shop();
    let mut options = refusing(&postgres);
    options.more = "[limits]\nclient_message_bytes = 100000\nprepared = 5\n".into();
    let gateway = Gateway::start(options).unwrap();
    // As soon as the length is known, not when the bytes have come.
    let mut raw = Raw::open(&gateway, "alice");
    raw.send(b"Q\0\x10\0\0select");
    let answer = raw.end();
    assert_eq!(answer.story(), "E08P01 .");
    assert!(answer.told().contains("limit of 100000"), "{}", answer.told());
    let mut raw = Raw::open(&gateway, "alice");
    let just = format!("select '{}'", "x".repeat(99_000));
    assert_eq!(raw.turn(&query(&just)).story(), "T D C ZI");
    let prepare = |n: u32| [parse(&format!("s{n}"), "select 1"), sync()].concat();
    let stories: Vec<String> = (0..7).map(|n| raw.turn(&prepare(n)).story()).collect();
    assert_eq!(stories[4..], ["1 ZI", "E53400 ZI", "E53400 ZI"]);
    assert_eq!(raw.turn(&[close(b'S', "s0"), sync()].concat()).story(), "3 ZI");
    assert_eq!(raw.turn(&prepare(9)).story(), "1 ZI");
    // Thousands on their way before the first answer is read.
    let mut raw = Raw::open(&gateway, "alice");
    let mut many: Vec<u8> = (0..3000).flat_map(|_| extended("select 1", &[])).collect();
    many.extend(message(b'X', b""));
    raw.send(&many);
    assert_eq!(raw.end().bodies(b'Z').count(), 3000);
}

#[test]
fn whoever_stops_sending_has_left() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let mut raw = Raw::open(&gateway, "alice");
    raw.send(&query("select pg_sleep(600)"));
    await_sleepers(&postgres, 1);
    raw.stop_sending();
    assert_eq!(raw.end().story(), ".");
    await_sleepers(&postgres, 0);
}

/// What a client must see through the gateway as it sees it at the server.
const FAITHFUL: &str = include_str!("faithful.txt");
/// Where denials stand, and what the gateway says in the server's place.
const DENIALS: &str = include_str!("denials.txt");

#[test]
fn what_is_allowed_looks_as_it_does_at_the_server() {
    let postgres = shop();
    let open = Gateway::start(Options::before(&postgres)).unwrap();
    // Long values take a debug build long.
    let patient = "limits = { call_ms = 10000 }";
    let mut options = Options::before(&postgres).with("hide", "policies/hide-personal-data", patient);
    options = options.with("limit", "policies/fair-use", &format!("capabilities = [\"state\"]\n{patient}"));
    let hiding = Gateway::start(options).unwrap();
    for script in scripts(FAITHFUL) {
        let (expected, _) = script.play(&mut Raw::past(&postgres));
        for (gateway, how) in [(&open, "without policies"), (&hiding, "with masks and limits")] {
            let (answers, _) = script.play(&mut Raw::open(gateway, "alice"));
            for (answer, expected) in answers.iter().zip(&expected) {
                assert_eq!(answer.story(), expected.story(), "{}, {how}: {}", script.title, answer.told());
                // With masks the words of errors and notices may be withheld.
                let compared = |answer: &Answer| {
                    let words = |m: &&Message| matches!(m.0, b'E' | b'N') && std::ptr::eq(gateway, &hiding);
                    answer.messages.iter().filter(|m| !words(m)).cloned().collect::<Vec<_>>()
                };
                assert!(compared(answer) == compared(expected), "{}, {how}: {}", script.title, answer.told());
            }
        }
    }
}

#[test]
fn a_denial_stands_in_its_place_and_the_session_goes_on() {
    let postgres = shop();
    let gateway = Gateway::start(refusing(&postgres)).unwrap();
    let before = orders(&postgres);
    for script in scripts(DENIALS) {
        let mut raw = Raw::open(&gateway, "alice");
        let (answers, compared) = script.play(&mut raw);
        for (expected, story) in compared {
            let told: String = answers.iter().map(Answer::told).collect();
            assert_eq!(story, expected, "{}: {told}", script.title);
        }
        assert_eq!(raw.turn(&query("select 'the end'")).texts(), [["the end"]], "{}", script.title);
        assert_eq!(orders(&postgres), before, "{}", script.title);
    }
    // What is no text at all.
    let mut raw = Raw::open(&gateway, "alice");
    assert_eq!(raw.turn(&message(b'Q', b"select '\xff'\0")).story(), "E22021 ZI");
    let parse = message(b'P', b"\0select '\xc0\x80'\0\0\0");
    assert_eq!(raw.turn(&[&parse[..], &sync()].concat()).story(), "E22021 ZI");
}
