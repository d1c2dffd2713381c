//! Who gets in and how, asked by a client that does what clients should not.

use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::Postgres;

use super::{ALICE, V3, await_sleepers};
use crate::raw::{GSS, Raw, SSL, cancel, message, query, request, startup};
use crate::support::{Authority, common, shop, write_private};

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
    raw.try_log_in(&startup(V3, &ALICE), USER_PASSWORD).story().ends_with("ZI")
        && raw.turn(&query("select 1")).story() == "T D C ZI"
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

/// What could change the meaning of texts, or who speaks, before any policy is asked.
const CLOSED: [(&str, &str); 42] = [
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

#[test]
fn what_a_startup_may_not_set_is_refused_before_anybody_is_asked() {
    let common = common();
    for (name, value) in CLOSED {
        let bytes = startup(V3, &[&ALICE[..], &[(name, value)]].concat());
        let answer = Raw::dial(common.gateway.port).try_log_in(&bytes, USER_PASSWORD);
        let code = answer.error().unwrap_or_default();
        assert!(["42501", "0A000", "08P01"].contains(&&*code), "{name}={value}: {}", answer.told());
        assert!(answer.bodies(b'R').next().is_none(), "{name}={value} is refused before a password is asked for");
    }
    // What may be set is set, and nothing beside it.
    let tricky = "x' -c search_path=evil --role=postgres \\ $$";
    let open = [
        ("application_name", tricky),
        ("TimeZone", "Asia/Tokyo"),
        ("options", r"-c DateStyle=German -c lock_timeout=7"),
    ];
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
            (
                "a binding that was not offered",
                sasl(b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc"),
                "28000",
            ),
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
    let pids = postgres
        .sql("shop", "select pid from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active'")
        .unwrap();
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
