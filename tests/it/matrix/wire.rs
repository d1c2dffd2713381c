//! The protocol, message by message and byte by byte, between a client that does what clients should not and a real server.

use std::time::Duration;

use anyhow::ensure;
use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;

use crate::raw::{
    Answer, GSS, Raw, SSL, bind, bind_raw, cancel, close, describe, execute, extended, field, flush, message, parse, query,
    request, startup, sync,
};
use crate::support::{Authority, common, guarded, shop, write_private};

const V3: u32 = 3 << 16;
const ALICE: [(&str, &str); 2] = [("user", "alice"), ("database", "shop")];

/// A gateway with only the policy that refuses.
fn refusing(postgres: &Postgres) -> Options {
    Options::before(postgres).with("no-destructive-sql", "policies/no-destructive-sql", "capabilities = [\"clock\"]")
}

fn orders(postgres: &Postgres) -> String {
    postgres.sql("shop", "select count(*), sum(cents) from orders").unwrap()
}

#[test]
fn however_the_bytes_are_cut_the_answers_are_the_same() {
    let common = common();
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
        [query("copy orders from stdin"), message(b'd', b"1\t2\t"), message(b'd', b"x\t3\n"), message(b'f', b"no\0")].concat(),
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
    assert!(story.contains("E42501") && story.contains("E0A000") && story.ends_with("T D C ZI"), "{story}");
    for size in [1, 2, 3, 5, 7, 64, 1000] {
        let (cut, cut_bytes) = in_pieces_of(size);
        assert_eq!(cut, story, "in pieces of {size}");
        assert_eq!(cut_bytes, bytes, "in pieces of {size}");
    }
    assert_eq!(orders(&common.postgres), orders(&shop()));
}

#[test]
fn broken_messages_end_the_session_and_run_nothing() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
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
    assert_eq!(orders(&postgres), orders(&shop()));
    assert_eq!(gateway.query("alice", "select 7").unwrap().0, "7");
}

/// A gateway that offers TLS, or demands it.
fn with_tls(postgres: &Postgres, required: bool) -> (Gateway, Authority) {
    let (scratch, authority) = (Scratch::new("matrix").unwrap(), Authority::new());
    let (certificate, key) = authority.issue("localhost", true);
    write_private(&scratch, "server.crt", &certificate);
    write_private(&scratch, "server.key", &key);
    let mut options = Options::before(postgres);
    options.listener =
        format!("[postgres.tls]\ncertificate = \"server.crt\"\nkey = \"file:server.key\"\nrequired = {required}\n");
    (Gateway::start_in(scratch, options).unwrap(), authority)
}

fn logs_in(raw: &mut Raw) -> bool {
    raw.try_log_in(&startup(V3, &ALICE), USER_PASSWORD).story().ends_with("ZI") && raw.turn(&query("select 1")).story() == "T D C ZI"
}

#[test]
fn encryption_is_asked_for_in_every_order() {
    let postgres = shop();
    let (gateway, authority) = with_tls(&postgres, false);
    let plain = Gateway::start(Options::before(&postgres)).unwrap();
    // Without TLS to offer the answer is no, never an error, and the client may go on.
    for asked in [&[SSL][..], &[GSS], &[GSS, SSL], &[SSL, GSS]] {
        let mut raw = Raw::dial(plain.port);
        for code in asked {
            raw.send(&request(*code));
            assert_eq!(raw.bytes(1), b"N", "{asked:?}");
        }
        assert!(logs_in(&mut raw), "{asked:?}");
    }
    for asked in [&[SSL, SSL][..], &[GSS, GSS]] {
        let mut raw = Raw::dial(plain.port);
        raw.send(&request(asked[0]));
        assert_eq!(raw.bytes(1), b"N");
        raw.send(&request(asked[1]));
        assert_eq!(raw.end().error().as_deref(), Some("0A000"), "asked twice: {asked:?}");
    }
    let mut raw = Raw::dial(gateway.port);
    raw.send(&request(GSS));
    assert_eq!(raw.bytes(1), b"N");
    raw.send(&request(SSL));
    assert_eq!(raw.bytes(1), b"S");
    // By request, and at once; the latter only in the protocol's own name.
    assert!(logs_in(&mut Raw::dial_tls(gateway.port, authority.certificate(), None)));
    assert!(logs_in(&mut Raw::dial_tls(gateway.port, authority.certificate(), Some(&[b"postgresql"]))));
    assert!(logs_in(&mut Raw::dial_tls(gateway.port, authority.certificate(), Some(&[b"http/1.1", b"postgresql"]))));
    for names in [&[][..], &[&b"http/1.1"[..]]] {
        let mut raw = Raw::dial_tls(gateway.port, authority.certificate(), Some(names));
        raw.send_at_last(&startup(V3, &ALICE));
        assert_eq!(raw.end().story(), ".", "{names:?}");
    }
    // Encryption inside encryption is none.
    let mut raw = Raw::dial_tls(gateway.port, authority.certificate(), Some(&[b"postgresql"]));
    raw.send(&request(SSL));
    assert_eq!(raw.bytes(1), b"N");
    assert!(logs_in(&mut raw));
    // Whoever can write into the connection before the handshake says nothing to whom it protects.
    for injected in [query("drop table orders"), startup(V3, &ALICE), vec![0]] {
        let mut raw = Raw::dial(gateway.port);
        raw.send(&[request(SSL), injected].concat());
        assert_eq!(raw.end().error().as_deref(), Some("08P01"));
    }
}

#[test]
fn where_tls_is_demanded_nothing_is_asked_in_plain_text() {
    let postgres = shop();
    let (gateway, authority) = with_tls(&postgres, true);
    let answer = Raw::dial(gateway.port).try_log_in(&startup(V3, &ALICE), USER_PASSWORD);
    assert_eq!(answer.story(), "E28000 .", "no password is asked for");
    assert!(logs_in(&mut Raw::dial_tls(gateway.port, authority.certificate(), None)));
}

#[test]
fn versions_and_options_are_negotiated_down_and_the_session_works() {
    let common = common();
    for (version, options, told) in [
        (V3, &[][..], None),
        (V3 | 2, &[], None),
        (V3 | 1, &[], Some((0, 0))),
        (V3 | 3, &[], Some((2, 0))),
        (V3 | 9999, &[("_pq_.grease", "1"), ("_pq_.other", "")], Some((2, 2))),
        (V3, &[("_pq_.grease", "1")], Some((0, 1))),
    ] {
        let mut raw = Raw::dial(common.gateway.port);
        let answer = raw.try_log_in(&startup(version, &[&ALICE[..], options].concat()), USER_PASSWORD);
        assert!(answer.story().ends_with("ZI"), "{version:x}: {}", answer.told());
        let negotiated = answer.bodies(b'v').next().map(|body| (body[3], body[7]));
        assert_eq!(negotiated, told, "{version:x} {options:?}");
        let minor = negotiated.map_or(version & 0xffff, |(minor, _)| minor.into());
        assert_eq!(raw.key.len(), if minor >= 2 { 36 } else { 8 }, "{version:x}");
        assert_eq!(raw.turn(&query("select email from customers where id = 1")).texts(), [["a***@example.com"]]);
    }
    for version in [2 << 16, 4 << 16, 0x7fff_0000, 0xffff_ffff, 1] {
        let answer = Raw::dial(common.gateway.port).try_log_in(&startup(version, &ALICE), USER_PASSWORD);
        assert_eq!(answer.story(), "E0A000 .", "{version:x}");
    }
}

#[test]
fn a_startup_says_who_and_where_or_is_refused() {
    let common = common();
    let long = "x".repeat(64);
    let large = "x".repeat(11_000);
    for (parameters, code) in [
        (&[("database", "shop")][..], "08P01"),
        (&[("user", ""), ("database", "shop")], "08P01"),
        (&[("user", &long), ("database", "shop")], "42622"),
        (&[("user", "alice"), ("database", &long)], "42622"),
        (&[("user", "alice"), ("database", "shop"), ("application_name", &large)], "08P01"),
        // The user's name is the database's, and no target has it.
        (&[("user", "alice")], "3D000"),
        (&[("user", "alice"), ("database", "")], "3D000"),
        (&[("user", "alice"), ("database", "Shop")], "3D000"),
        (&[("user", "other:alice"), ("database", "shop")], "3D000"),
        (&[("user", "shop:"), ("database", "shop")], "28P01"),
        (&[("user", "Alice"), ("database", "shop")], "28P01"),
        (&[("user", "alice "), ("database", "shop")], "28P01"),
        (&[("user", "shop:shop:alice"), ("database", "shop")], "28P01"),
        (&[("user", "portcullis"), ("database", "shop")], "28P01"),
    ] {
        let answer = Raw::dial(common.gateway.port).try_log_in(&startup(V3, parameters), USER_PASSWORD);
        assert_eq!(answer.error().as_deref(), Some(code), "{parameters:?}: {}", answer.told());
        assert!(!answer.story().contains('Z'));
    }
}

#[test]
fn what_a_startup_may_not_set_is_refused_before_anybody_is_asked() {
    let common = common();
    let closed: &[(&str, &str)] = &[
        ("replication", "true"),
        ("replication", "TRUE"),
        ("replication", "database"),
        ("replication", "on"),
        ("replication", "yes"),
        ("replication", "1"),
        ("replication", ""),
        ("role", "postgres"),
        ("session_authorization", "postgres"),
        ("search_path", "evil,public"),
        ("Search_Path", "evil"),
        ("standard_conforming_strings", "off"),
        ("backslash_quote", "on"),
        ("client_encoding", "LATIN1"),
        ("client_encoding", "SJIS"),
        ("session_preload_libraries", "x"),
        ("local_preload_libraries", "x"),
        ("row_security", "off"),
        ("default_transaction_read_only", "on"),
        ("session_replication_role", "replica"),
        ("a.b", "c"),
        // A name of no characters ends the parameters: what follows is too much.
        ("", "x"),
        ("options", "-c search_path=evil"),
        ("options", "-csearch_path=evil"),
        ("options", "--search_path=evil"),
        ("options", "--search-path=evil"),
        ("options", "-c SEARCH_PATH=evil"),
        ("options", "-c timezone=utc -c search_path=evil"),
        ("options", "  -c\t timezone=utc\n-c  search_path=evil"),
        ("options", r"-c\ search_path=evil"),
        ("options", r"-c search\_path=evil"),
        ("options", r"-c timezone=utc\ -c -c role=postgres"),
        ("options", "-c standard_conforming_strings=off"),
        ("options", "-c client_encoding=BIG5"),
        ("options", "-c replication=true"),
        ("options", "-c"),
        ("options", "-c x"),
        ("options", "-E"),
        ("options", "-O"),
        ("options", "-d 5"),
        ("options", "evil"),
        ("OPTIONS", "-c role=postgres"),
    ];
    for (name, value) in closed {
        let bytes = startup(V3, &[&ALICE[..], &[(name, value)]].concat());
        let answer = Raw::dial(common.gateway.port).try_log_in(&bytes, USER_PASSWORD);
        let code = answer.error().unwrap_or_default();
        assert!(["42501", "0A000", "08P01"].contains(&&*code), "{name}={value}: {}", answer.told());
        assert!(answer.bodies(b'R').next().is_none(), "{name}={value} is refused before a password is asked for");
    }
    // What may be set is set, and nothing beside it.
    let tricky = "x' -c search_path=evil --role=postgres \\ $$";
    let open = [("application_name", tricky), ("TimeZone", "Asia/Tokyo"), ("options", r"-c DateStyle=German -c lock_timeout=7")];
    let mut raw = Raw::dial(common.gateway.port);
    assert!(raw.try_log_in(&startup(V3, &[&ALICE[..], &open].concat()), USER_PASSWORD).story().ends_with("ZI"));
    for (setting, value) in [
        ("application_name", tricky),
        ("timezone", "Asia/Tokyo"),
        ("datestyle", "German, DMY"),
        ("lock_timeout", "7ms"),
        ("search_path", "\"$user\", public"),
        ("role", "none"),
        ("client_encoding", "UTF8"),
    ] {
        assert_eq!(raw.turn(&query(&format!("show {setting}"))).texts(), [[value]], "{setting}");
    }
}

#[test]
fn only_scram_without_binding_proves_a_name() {
    let postgres = shop();
    let (gateway, authority) = with_tls(&postgres, false);
    for tls in [false, true] {
        let dial = || match tls {
            true => Raw::dial_tls(gateway.port, authority.certificate(), None),
            false => Raw::dial(gateway.port),
        };
        let sasl = |mechanism: &[u8], first: &[u8]| {
            let length = u32::try_from(first.len()).unwrap().to_be_bytes();
            message(b'p', &[mechanism, b"\0", &length, first].concat())
        };
        for (what, bytes, code) in [
            ("a binding that was not offered", sasl(b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc"), "28000"),
            ("a binding in the exchange", sasl(b"SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abc"), "28000"),
            ("another mechanism", sasl(b"PLAIN", b"\0alice\0wonderland-9Zk"), "28000"),
            ("an older mechanism", sasl(b"SCRAM-SHA-1", b"n,,n=,r=abc"), "28000"),
            ("another name", sasl(b"SCRAM-SHA-256", b"n,a=bob,n=,r=abc"), "28000"),
            ("no nonce", sasl(b"SCRAM-SHA-256", b"n,,n="), "28000"),
            ("an extension that must be known", sasl(b"SCRAM-SHA-256", b"n,,m=x,n=,r=abc"), "28000"),
            ("no first message", message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xff"), "28000"),
            ("a length beyond the message", message(b'p', b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,"), "08P01"),
            ("a password", message(b'p', b"wonderland-9Zk\0"), "08P01"),
            ("a command in its place", query("drop table orders"), "08P01"),
            ("nothing", message(b'p', b""), "08P01"),
            ("too much", message(b'p', &[b'x'; 9000]), "08P01"),
        ] {
            let mut raw = dial();
            raw.send(&startup(V3, &ALICE));
            let (tag, body) = raw.next().unwrap();
            assert_eq!((tag, &body[..]), (b'R', &b"\0\0\0\x0aSCRAM-SHA-256\0\0"[..]));
            raw.send(&bytes);
            let answer = raw.end();
            let told = answer.error().unwrap_or_default();
            assert!(told == code || (told == "28000" && code == "08P01"), "{what}, TLS {tls}: {}", answer.told());
            assert!(!answer.story().contains('Z') && !answer.messages.iter().any(|m| m.0 == b'R'), "{what}");
        }
        // A proof that another exchange asked for proves nothing in this one.
        let mut raw = dial();
        assert_eq!(raw.try_log_in(&startup(V3, &ALICE), "wrong").error().as_deref(), Some("28P01"));
    }
    // Where the client insists, it is told so in words.
    let insists = "dbname=shop sslmode=require channel_binding=require";
    let output = gateway.psql("alice", &["-d", insists, "-c", "select 1"]).unwrap().output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && err.contains("channel binding"), "{err}");
}

/// Waits until so many sessions sleep at the server.
fn await_sleepers(postgres: &Postgres, count: usize) {
    until("so many sleep", Duration::from_secs(30), || {
        let text = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active' and pid <> pg_backend_pid()";
        let found = postgres.sql("shop", text)?;
        ensure!(found == count.to_string(), "{found} sleep");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_cancel_is_for_the_session_of_its_key_and_no_other() {
    let postgres = shop();
    let (gateway, authority) = with_tls(&postgres, false);
    let ask = |mut raw: Raw, key: &[u8]| {
        raw.send(&cancel(key));
        // It is taken when the connection closes, and nothing is answered.
        assert_eq!(raw.end().story(), ".");
    };
    let sleeper = |minor: u32| {
        let mut raw = Raw::dial(gateway.port);
        assert!(raw.try_log_in(&startup(V3 | minor, &ALICE), USER_PASSWORD).story().ends_with("ZI"));
        raw.send(&query("select pg_sleep(600)"));
        raw
    };
    let mut sleepers = [0, 2, 2].map(sleeper);
    await_sleepers(&postgres, 3);
    // Keys that nobody has: wrong in one bit, cut, lengthened, and the servers' process numbers.
    for key in sleepers.each_ref().map(|raw| raw.key.clone()) {
        for bit in [0, key.len() * 4, key.len() * 8 - 1] {
            let mut wrong = key.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            ask(Raw::dial(gateway.port), &wrong);
        }
        ask(Raw::dial(gateway.port), &key.iter().map(|byte| !byte).collect::<Vec<u8>>());
        ask(Raw::dial(gateway.port), &[&key[..], &[0; 4]].concat());
    }
    let pids = postgres.sql("shop", "select pid from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active'").unwrap();
    for pid in pids.lines().map(|pid| pid.parse::<u32>().unwrap()) {
        ask(Raw::dial(gateway.port), &[&pid.to_be_bytes()[..], &[0; 4]].concat());
    }
    for key in [&[][..], &[0; 7], &[0; 300]] {
        let mut raw = Raw::dial(gateway.port);
        raw.send(&cancel(key));
        raw.end();
    }
    await_sleepers(&postgres, 3);
    // The right one, in plain text, behind a request for TLS, and in TLS at once.
    let certificate = || authority.certificate();
    for (count, dial) in [
        Raw::dial(gateway.port),
        Raw::dial_tls(gateway.port, certificate(), None),
        Raw::dial_tls(gateway.port, certificate(), Some(&[b"postgresql"])),
    ]
    .into_iter()
    .enumerate()
    {
        ask(dial, &sleepers[count].key);
        let answer = sleepers[count].until(b'Z');
        assert_eq!(answer.error().as_deref(), Some("57014"), "{}", answer.told());
        await_sleepers(&postgres, 2 - count);
    }
    // The key of a session that has ended is nobody's.
    let old = sleepers.map(|mut raw| {
        raw.send(&message(b'X', b""));
        raw.end();
        raw.key
    });
    let mut next = sleeper(0);
    await_sleepers(&postgres, 1);
    old.iter().for_each(|key| ask(Raw::dial(gateway.port), key));
    await_sleepers(&postgres, 1);
    ask(Raw::dial(gateway.port), &next.key.clone());
    assert_eq!(next.until(b'Z').error().as_deref(), Some("57014"));
}

/// Conversations in which a client must see through the gateway what it sees at the server, byte by byte.
fn faithful() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let copy = |bytes: &[u8]| message(b'd', bytes);
    vec![
        ("an empty text", vec![query(""), query(" ; "), extended("", &[]), extended("-- x", &[])]),
        ("several statements", vec![query("select 1; select 'a', null; ; create temp table x (a int); insert into x values (1)")]),
        ("an error among statements", vec![query("select 1; select 1/0; select 2"), query("select 3")]),
        ("one statement of many is none", vec![extended("select 1; select 2", &[])]),
        ("names differ in case", vec![
            [parse("s", "select 1"), parse("S", "select 2"), sync()].concat(),
            [bind("", "s", &[], &[]), execute("", 0), bind("", "S", &[], &[]), execute("", 0), sync()].concat(),
        ]),
        ("a name is taken until it is closed", vec![
            [parse("s", "select 1"), sync()].concat(),
            [parse("s", "select 2"), sync()].concat(),
            [close(b'S', "s"), parse("s", "select 3"), bind("", "s", &[], &[]), execute("", 0), sync()].concat(),
            [close(b'S', "s"), close(b'S', "s"), close(b'P', "nothing"), sync()].concat(),
        ]),
        ("the unnamed statement is replaced", vec![
            [parse("", "select 1"), sync()].concat(),
            [parse("", "select 2"), bind("", "", &[], &[]), execute("", 0), sync()].concat(),
            query("select 3"),
            [bind("", "", &[], &[]), execute("", 0), sync()].concat(),
        ]),
        ("descriptions", vec![
            [parse("s", "select $1::int4 as a, $2::text as b"), describe(b'S', "s"), sync()].concat(),
            [bind("p", "s", &["7", "x"], &[1, 0]), describe(b'P', "p"), execute("p", 0), sync()].concat(),
            [describe(b'S', "gone"), sync()].concat(),
            [describe(b'P', "gone"), sync()].concat(),
            [parse("n", "create temp table y (a int)"), describe(b'S', "n"), bind("", "n", &[], &[]), describe(b'P', ""), sync()].concat(),
        ]),
        ("formats of results", vec![
            extended("select 1, 2::int8, 'x'::text, null::int4, array[1, 2], row(1, 'a')", &[]),
            extended("select 1, 2::int8, 'x'::text, null::int4, array[1, 2], row(1, 'a')", &[1]),
            extended("select 1, 2::int8, 'x'::text", &[1, 0, 1]),
            extended("select 1, 2", &[1, 0, 1]),
            extended("select 1", &[7]),
        ]),
        ("formats of parameters", vec![
            [parse("s", "select $1::int4 + 1"), sync()].concat(),
            [bind_raw("", "s", (1, &[&7i32.to_be_bytes()]), &[]), execute("", 0), sync()].concat(),
            [bind_raw("", "s", (1, &[b"seven"]), &[]), execute("", 0), sync()].concat(),
            [bind("", "s", &[], &[]), execute("", 0), sync()].concat(),
            [bind("", "s", &["1", "2"], &[]), execute("", 0), sync()].concat(),
            [bind("", "s", &["x"], &[]), execute("", 0), sync()].concat(),
        ]),
        ("an error skips to the Sync", vec![
            [parse("", "selec"), bind("", "", &[], &[]), execute("", 0), parse("t", "select 1"), sync()].concat(),
            [parse("", "select 1"), bind("", "", &[], &[]), execute("", 0), parse("", "select 1/0"), bind("", "", &[], &[]),
                execute("", 0), parse("", "select 2"), bind("", "", &[], &[]), execute("", 0), sync()].concat(),
            [sync(), sync()].concat(),
            vec![],
        ]),
        ("results in pieces", vec![
            query("begin"),
            [parse("", "select * from generate_series(1, 7)"), bind("p", "", &[], &[]), describe(b'P', "p"), execute("p", 3), sync()].concat(),
            [execute("p", 3), sync()].concat(),
            [execute("p", 3), sync()].concat(),
            [execute("p", 3), close(b'P', "p"), sync()].concat(),
            query("commit"),
        ]),
        ("two portals in turns", vec![
            query("begin"),
            [parse("s", "select * from generate_series(1, 5)"), parse("t", "select 'x' || n from generate_series(1, 5) n"),
                bind("p", "s", &[], &[]), bind("q", "t", &[], &[]), bind("r", "s", &[], &[1]), sync()].concat(),
            [execute("p", 2), execute("q", 1), execute("p", 1), execute("r", 1), execute("q", 0), execute("r", 0), execute("p", 0), sync()].concat(),
            query("rollback"),
        ]),
        ("a portal ends with its transaction", vec![
            query("begin"),
            [parse("", "select 1"), bind("p", "", &[], &[]), sync()].concat(),
            query("commit"),
        ]),
        ("transactions", vec![
            query("begin; savepoint a; select 1/0"),
            query("select 1"),
            query("rollback to a; select 2"),
            query("commit"),
            query("commit"),
            extended("begin", &[]),
            extended("select 1", &[]),
            extended("rollback", &[]),
        ]),
        ("cursors in SQL", vec![
            query("begin; declare c scroll cursor for select * from generate_series(1, 5); fetch 2 from c; move last in c; fetch prior from c; close c; commit"),
        ]),
        ("COPY from the client", vec![
            query("create temp table z (a int, b text)"),
            [query("copy z from stdin"), copy(b"1\tx"), copy(b"\n2\t\\N\n"), message(b'c', b"")].concat(),
            [query("copy z from stdin"), copy(b"3\tx\n"), message(b'f', b"enough\0")].concat(),
            [query("copy z from stdin"), copy(b"four\tx\n"), message(b'c', b"")].concat(),
            query("select * from z"),
            [query("copy z from stdin (format csv)"), copy(b"5,\"a\nb\"\n"), message(b'c', b"")].concat(),
            [parse("", "copy z from stdin"), bind("", "", &[], &[]), execute("", 0), sync(), copy(b"6\ty\n"), message(b'c', b""), sync()].concat(),
            query("table z"),
            query("copy z from stdin; select 1"),
            message(b'c', b""),
        ]),
        ("notices", vec![query("drop table if exists nothing"), query("rollback"), query("do $$ begin raise notice 'x'; raise warning 'y'; end $$")]),
        ("words of errors", vec![query("select nme from generate_series(1, 2)"), query("select 'x'::int"), query("select * from nothing")]),
        ("long values", vec![query("select repeat('x', 3000000)"), extended("select repeat('y', 100000), 7 from generate_series(1, 20)", &[1])]),
        ("nothing in rows", vec![query("select"), query("select from generate_series(1, 3)"), extended("select where false", &[])]),
    ]
}

#[test]
fn what_is_allowed_looks_as_it_does_at_the_server() {
    let postgres = shop();
    let open = Gateway::start(Options::before(&postgres)).unwrap();
    let mut options = Options::before(&postgres).with("hide", "policies/hide-personal-data", "");
    options = options.with("limit", "policies/fair-use", "capabilities = [\"state\"]");
    let hiding = Gateway::start(options).unwrap();
    for (what, turns) in faithful() {
        let mut direct = Raw::past(&postgres);
        let mut through = [Raw::open(&open, "alice"), Raw::open(&hiding, "alice")];
        for bytes in turns {
            let ends = bytes.is_empty() || bytes == message(b'c', b"");
            // One that waits for data, or that nothing is owed for, is asked for more.
            let expects = |raw: &mut Raw| if ends { raw.turn(&[&bytes[..], &query("select 1")].concat()) } else { converse(raw, &bytes) };
            let expected = expects(&mut direct);
            for (gateway, raw) in ["without policies", "with masks and limits"].iter().zip(&mut through) {
                let answer = expects(raw);
                assert_eq!(answer.story(), expected.story(), "{what} {gateway}: {}", answer.told());
                assert_eq!(answer.messages, expected.messages, "{what} {gateway}");
            }
        }
    }
}

/// Sends this and reads as many ReadyForQuery as it ends batches, or up to the request for data that it does not hold.
fn converse(raw: &mut Raw, bytes: &[u8]) -> Answer {
    let (mut rest, mut tags) = (bytes, vec![]);
    while let Some((header, _)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        tags.push(header[0]);
        rest = &rest[1 + length..];
    }
    let copies = tags.iter().any(|tag| matches!(tag, b'd' | b'c' | b'f'));
    // A Sync in front of the data is not answered.
    let batches = if copies { 1 } else { tags.iter().filter(|tag| matches!(tag, b'Q' | b'S')).count() };
    raw.send(bytes);
    let mut messages = vec![];
    for _ in 0..batches {
        let waits = !copies && bytes.windows(10).any(|w| w == b"from stdin");
        messages.extend(raw.until_any(if waits { b"ZG" } else { b"Z" }).messages);
    }
    Answer { messages }
}

/// Names that one door makes and another uses: what the gateway says in its own words has the server's code.
#[test]
fn names_of_sql_and_of_the_protocol_are_kept_apart_or_are_the_servers() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let run = |raw: &mut Raw, text: &str| raw.turn(&query(text));
    for (what, before, bytes, codes) in [
        ("a statement that SQL dropped", "deallocate s", [bind("", "s", &[], &[]), execute("", 0), sync()].concat(), "26000"),
        ("all of them dropped", "deallocate all", [bind("", "s", &[], &[]), execute("", 0), sync()].concat(), "26000"),
        ("everything discarded", "discard all", [bind("", "s", &[], &[]), execute("", 0), sync()].concat(), "26000"),
        ("a name that SQL gave another text", "deallocate s; prepare s as select 2", [bind("", "s", &[], &[]), execute("", 0), sync()].concat(), "26000"),
        ("a cursor of SQL", "begin; declare c cursor for select 1", [execute("c", 0), sync()].concat(), "34000"),
        ("a portal that never was", "select 1", [execute("q", 0), sync()].concat(), "34000"),
    ] {
        let mut raw = Raw::open(&gateway, "alice");
        assert_eq!(raw.turn(&[parse("s", "select 1"), sync()].concat()).story(), "1 ZI");
        assert!(run(&mut raw, before).error().is_none(), "{what}");
        let answer = raw.turn(&bytes);
        assert_eq!(answer.error().as_deref(), Some(codes), "{what}: {}", answer.told());
        run(&mut raw, "rollback");
        assert_eq!(run(&mut raw, "select 7").texts(), [["7"]], "{what}");
    }
    // Portals are cursors to SQL: moved, fetched from and closed there.
    let mut raw = Raw::open(&gateway, "alice");
    run(&mut raw, "begin");
    let portal = [parse("", "select * from generate_series(1, 5)"), bind("p", "", &[], &[]), sync()].concat();
    assert_eq!(raw.turn(&portal).story(), "1 2 ZT");
    assert_eq!(run(&mut raw, "move 2 in p; fetch 1 from p").texts(), [["3"]]);
    assert_eq!(raw.turn(&[execute("p", 1), sync()].concat()).texts(), [["4"]]);
    run(&mut raw, "close p");
    assert_eq!(raw.turn(&[execute("p", 1), sync()].concat()).error().as_deref(), Some("34000"));
}

#[test]
fn a_denial_stands_in_its_place_and_the_session_goes_on() {
    let postgres = shop();
    let gateway = Gateway::start(refusing(&postgres)).unwrap();
    let before = orders(&postgres);
    let one = |text: &str| [parse("", text), bind("", "", &[], &[]), execute("", 0)].concat();
    let write = "update orders set cents = 0 where id = 1";
    for (what, bytes, story) in [
        ("among statements", query(&format!("{write}; drop table orders")), "E42501 ZI"),
        ("as the first of them", query(&format!("drop table orders; {write}")), "E42501 ZI"),
        ("behind a batch", [extended("select 1", &[]), extended("drop table orders", &[]), extended("select 2", &[])].concat(),
            "1 2 T D C ZI E42501 ZI 1 2 T D C ZI"),
        ("within a batch", [one(write), one("drop table orders"), one(write), sync()].concat(), "1 2 C E42501 ZI"),
        ("as a Parse", [parse("s", "drop table orders"), describe(b'S', "s"), sync()].concat(), "E42501 ZI"),
        ("as a Parse, and then used", [parse("s", "drop table orders"), sync(), bind("", "s", &[], &[]), execute("", 0), sync()].concat(),
            "E42501 ZI E26000 ZI"),
        ("in a transaction", [query("begin"), query(write), query("drop table orders"), query(write), query("commit")].concat(),
            "C ZT C ZT E42501 ZE E25P02 ZE C ZI"),
        ("in a transaction, extended", [extended("begin", &[]), extended(write, &[]), extended("drop table orders", &[]), extended("commit", &[])].concat(),
            "1 2 n C ZT 1 2 n C ZT E42501 ZE 1 2 n C ZI"),
        ("and back to a savepoint", [query("begin; savepoint a"), query("drop table orders"), query("rollback to a"), query("rollback")].concat(),
            "C C ZT E42501 ZE C ZT C ZI"),
        ("as a COPY with its data", [query("copy orders from program 'cat'"), message(b'd', b"1\t1\tx\t1\n"), message(b'c', b""), query("select 1")].concat(),
            "E42501 ZI T D C ZI"),
        ("as a COPY in a batch", [one("copy orders from '/x'"), sync(), message(b'd', b"x"), message(b'f', b"\0"), query("select 1")].concat(),
            "E42501 ZI T D C ZI"),
        ("as a function call", message(b'F', &[0; 12]), "E0A000 ZI"),
        ("as a function call in a transaction", [query("begin"), message(b'F', &[0; 12]), query(write), query("commit")].concat(),
            "C ZT E0A000 ZE E25P02 ZE C ZI"),
        ("as no UTF-8", message(b'Q', b"select '\xff'\0"), "E22021 ZI"),
        ("as a Parse of no UTF-8", [message(b'P', b"\0select '\xc0\x80'\0\0\0"), sync()].concat(), "E22021 ZI"),
    ] {
        let mut raw = Raw::open(&gateway, "alice");
        raw.send(&[&bytes[..], &query("select 'the end'")].concat());
        let mut messages = vec![];
        while !messages.iter().any(|m: &(u8, Vec<u8>)| m.0 == b'D' && m.1.ends_with(b"the end")) {
            messages.push(raw.next().unwrap_or_else(|| panic!("{what}: the session ended")));
        }
        messages.truncate(messages.len() - 2);
        assert_eq!(Answer { messages }.story(), story, "{what}");
        assert_eq!(orders(&postgres), before, "{what}");
    }
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
        let call = [&oid.to_be_bytes()[..], b"\0\0\0\x01", &length.to_be_bytes(), argument.as_bytes(), b"\0\0"].concat();
        let answer = raw.turn(&message(b'F', &call));
        assert_eq!(answer.story(), "E0A000 ZI", "{name}");
    }
    assert!(!raw.got.windows(4).any(|w| w == b"ada@"));
}

#[test]
fn what_stands_behind_a_held_command_waits_with_it() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let count = |id: u32| postgres.sql("shop", &format!("select count(*) from orders where id = {id}")).unwrap();
    let insert = |id: u32| query(&format!("insert into orders values ({id}, 1, 'lamp', 1)"));
    let held = |bytes: &[u8]| {
        let mut raw = Raw::open(&gateway, "alice");
        raw.send(bytes);
        let told = raw.until(b'N').told();
        let id = told.split("held for approval ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        (raw, id.trim_end_matches([',', '.', ';']).to_owned())
    };
    // Refused: what is behind it runs after that, and not before.
    let (mut raw, id) = held(&[query("create table held_1 (id integer)"), insert(100), extended("select 7", &[])].concat());
    assert_eq!(count(100), "0");
    gateway.ask("bob", &["approvals", "deny", &id]).unwrap();
    assert_eq!(raw.until(b'Z').error().as_deref(), Some("42501"));
    assert_eq!(raw.until(b'Z').story(), "C ZI");
    assert_eq!(raw.until(b'Z').story(), "1 2 T D C ZI");
    assert_eq!(count(100), "1");
    // In one batch it fails with it.
    let create = [parse("", "create table held_2 (id integer)"), bind("", "", &[], &[]), execute("", 0)].concat();
    let batch = [&create[..], &parse("", "delete from orders where id = 100"), &bind("", "", &[], &[]), &execute("", 0), &sync()].concat();
    let (mut raw, id) = held(&batch);
    gateway.ask("bob", &["approvals", "deny", &id]).unwrap();
    assert_eq!(raw.until(b'Z').story(), "E42501 ZI");
    // Whoever leaves takes all of it along.
    let (mut raw, _) = held(&[query("create table held_3 (id integer)"), insert(101)].concat());
    raw.send(&message(b'X', b""));
    drop(raw);
    // A cancel gives up the first, and no other.
    let (mut raw, _) = held(&[query("create table held_4 (id integer)"), insert(102)].concat());
    let mut other = Raw::dial(gateway.port);
    other.send(&cancel(&raw.key));
    other.end();
    assert_eq!(raw.until(b'Z').error().as_deref(), Some("57014"));
    assert_eq!(raw.until(b'Z').story(), "C ZI");
    // Approved: it runs as it was sent, once, before the rest.
    let (mut raw, id) = held(&[query("create table held_5 (id integer)"), insert(103), query("insert into held_5 values (1)")].concat());
    assert_eq!(count(103), "0");
    gateway.ask("bob", &["approvals", "approve", &id]).unwrap();
    assert_eq!([(); 3].map(|()| raw.until(b'Z').tags().concat()), ["CREATE TABLE", "INSERT 0 1", "INSERT 0 1"]);
    assert_eq!([100, 101, 102, 103].map(count), ["1", "0", "1", "1"]);
    let tables = postgres.sql("shop", "select string_agg(relname, ' ') from pg_class where relname like 'held%'").unwrap();
    assert_eq!(tables, "held_5");
    // All of it is on record, what was behind the held ones too.
    let file = gateway.directory().join("held.jsonl");
    gateway.ask("olga", &["audit", "export", "--output", &file.display().to_string()]).unwrap();
    let record = std::fs::read_to_string(file).unwrap();
    for text in ["held_1", "held_2", "held_3", "held_4", "held_5", "values (100,", "values (102,", "values (103,", "insert into held_5"] {
        assert!(record.contains(text), "{text} is on record");
    }
    assert!(!record.contains("values (101,"), "nobody was asked about what was withdrawn");
}

#[test]
fn each_run_is_decided_by_the_policies_of_its_time() {
    let postgres = shop();
    let mut gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let before = orders(&postgres);
    let mut raw = Raw::open(&gateway, "alice");
    let run = [bind("", "s", &[], &[]), execute("", 0), sync()].concat();
    assert_eq!(raw.turn(&[parse("s", "delete from orders"), describe(b'S', "s"), sync()].concat()).story(), "1 t n ZI");
    let mut open = Raw::open(&gateway, "bob");
    open.turn(&query("begin"));
    let portal = [parse("", "delete from orders returning id"), bind("p", "", &[], &[]), sync()].concat();
    assert_eq!(open.turn(&portal).story(), "1 2 ZT");
    gateway.configure(|options| *options = refusing(&postgres)).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    assert_eq!(raw.turn(&run).error().as_deref(), Some("42501"), "what was prepared before is decided anew");
    assert_eq!(raw.turn(&query("execute s")).error().as_deref(), Some("42501"));
    assert_eq!(open.turn(&[execute("p", 1), sync()].concat()).error().as_deref(), Some("42501"), "so is what was bound");
    assert_eq!(open.turn(&query("commit")).tags(), ["ROLLBACK"]);
    assert_eq!(orders(&postgres), before);
}

#[test]
fn sessions_share_nothing() {
    let common = common();
    let [mut one, mut other] = [(); 2].map(|()| Raw::open(&common.gateway, "alice"));
    let mut third = Raw::open(&common.gateway, "dora");
    one.turn(&[parse("s", "select 1"), sync()].concat());
    other.turn(&[parse("s", "select email from customers where id = 1"), sync()].concat());
    let run = [bind("", "s", &[], &[]), describe(b'P', ""), execute("", 0), sync()].concat();
    assert_eq!(one.turn(&run).texts(), [["1"]]);
    assert_eq!(other.turn(&run).texts(), [["a***@example.com"]]);
    assert_eq!(third.turn(&run).error().as_deref(), Some("26000"));
    // A setting, a transaction, and a temporary table of the one are not the other's.
    one.turn(&query("set application_name = 'one'"));
    one.turn(&query("begin; select 1/0"));
    assert_eq!(other.turn(&query("show application_name")).texts(), [[""]]);
    assert_eq!(other.turn(&query("select 2")).story(), "T D C ZI");
    assert_eq!(one.turn(&query("select 2")).story(), "E25P02 ZE");
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

#[test]
fn what_psql_does_by_itself_is_what_it_sends() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let before = orders(&postgres);
    let file = gateway.directory().join("commands.sql");
    let script = "select format('drop table %I', 'orders') \\gexec\n\
        \\c\ndrop table orders;\n\
        select 'orders' as name \\gset\ndrop table :name;\n\
        \\copy customers to 'customers.tsv'\n\
        \\copy (delete from orders returning *) to 'orders.tsv'\n\
        select email from customers where id = 1 \\g | cat\n\
        select email from customers where id = $1 \\bind 1 \\g\n\
        \\! echo local\n\
        \\d customers\n";
    std::fs::write(&file, script).unwrap();
    let mut psql = gateway.psql("alice", &["-f", &file.display().to_string()]).unwrap();
    let output = psql.current_dir(gateway.directory()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(err.matches("dropping data is refused").count(), 3, "{err}");
    assert!(err.contains("use SELECT") && err.contains("add a WHERE clause"), "{err}");
    assert!(out.contains("a***@example.com") && !out.contains("ada@"), "{out}");
    assert!(out.contains("local") && out.contains("email"), "{out}");
    for name in ["customers.tsv", "orders.tsv"] {
        assert_eq!(std::fs::read(gateway.directory().join(name)).unwrap_or_default(), b"", "{name}");
    }
    assert_eq!(orders(&postgres), before);
    let recent = gateway.ask("olga", &["sessions", "list", "--recent"]).unwrap();
    assert!(recent.matches("alice").count() >= 2, "a new connection is a new session: {recent}");
}
