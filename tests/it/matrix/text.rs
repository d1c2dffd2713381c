//! How a text is read: by the gateway, as its audit tells, and by the server, as its completion tags tell. The two must agree.

use std::collections::HashMap;

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::{self, Postgres};
use serde_json::Value;

use super::refusing;
use crate::raw::{Raw, extended, query};

/// A name of as many bytes as the server keeps.
const LONG: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Texts, and the verbs of their statements; `?` for one that is no SQL, to either reader.
const TEXTS: [(&str, &str); 118] = [
    // Statements and their ends
    ("select 1; drop table victim", "SELECT; DROP TABLE"),
    ("select 1;;;; drop table victim;; ;", "SELECT; DROP TABLE"),
    ("", ""),
    (" ; ;; ", ""),
    ("-- nothing", ""),
    ("begin; drop table victim; rollback", "BEGIN; DROP TABLE; ROLLBACK"),
    ("select 1; drop table victim; select 'x", "?"),
    ("select 1; drop table victim; selec", "?"),
    ("drop table if exists nothing, victim cascade", "DROP TABLE"),
    ("DrOp\tTaBlE\nViCtIm", "DROP TABLE"),
    ("drop\u{c}table\rvictim", "DROP TABLE"),
    ("with x as (select 1) select * from x; drop table victim", "SELECT; DROP TABLE"),
    ("prepare x as select 1; drop table victim; deallocate x", "PREPARE; DROP TABLE; DEALLOCATE"),
    ("explain select 1; drop table victim", "EXPLAIN; DROP TABLE"),
    ("explain drop table victim", "?"),
    ("select 1 union select 2; drop table victim", "SELECT; DROP TABLE"),
    ("select 1 operator(pg_catalog.+) 1; drop table victim", "SELECT; DROP TABLE"),
    ("do 'begin drop table victim; end'", "DO"),
    ("do language plpgsql $a$ begin execute 'dr' || 'op table victim'; end $a$", "DO"),
    // Strings
    (r"select 'a\'; drop table victim; --'", "SELECT; DROP TABLE"),
    (r"select 'a\\'; drop table victim; --'", "SELECT; DROP TABLE"),
    (r"select E'a\'; drop table victim; --'", "SELECT"),
    (r"select e'a\\'; drop table victim; --'", "SELECT; DROP TABLE"),
    (r"select E'a\'';drop table victim; --'", "SELECT; DROP TABLE"),
    (r"select E'a\\\'; drop table victim; --'", "SELECT"),
    (r"select E'\047; drop table victim; --'", "SELECT"),
    (r"select E'\x27; drop table victim; --'", "SELECT"),
    (r"select E'\u0027; drop table victim; --'", "SELECT"),
    (r"select E'\U00000027; drop table victim; --'", "SELECT"),
    (r"select E'\uD800'; drop table victim", "?"),
    ("select 'it''s; drop table victim; --'", "SELECT"),
    ("select '''; drop table victim; --'", "SELECT"),
    ("select ''''; drop table victim; --'", "SELECT; DROP TABLE"),
    ("select 'a'\n'; drop table victim; --'", "SELECT"),
    ("select 'a' \n\n\t '; drop table victim; --'", "SELECT"),
    ("select 'a' -- x\n'; drop table victim; --'", "SELECT"),
    ("select 'a' '; drop table victim; --'", "?"),
    ("select 'a' /* \n */ '; drop table victim; --'", "?"),
    ("select E'a'\n'\\'; drop table victim; --'", "SELECT"),
    ("select 'a'\n'\\'; drop table victim; --'", "SELECT; DROP TABLE"),
    ("select b'1', x'1F', n'x'; drop table victim", "SELECT; DROP TABLE"),
    ("select b'; drop table victim; --'", "SELECT"),
    ("select n'; drop table victim; --'", "SELECT"),
    (r"select U&'\0027; drop table victim; --'", "SELECT"),
    (r"select U&'\'; drop table victim; --'", "?"),
    (r"select U&'\\'; drop table victim; --'", "SELECT; DROP TABLE"),
    ("select U&'!0027; drop table victim; --' uescape '!'", "SELECT"),
    ("select U&'x' uescape '!'; drop table victim", "SELECT; DROP TABLE"),
    (r"select U&'\+000027; drop table victim; --'", "SELECT"),
    // Strings between dollars
    ("select $$; drop table victim; $$", "SELECT"),
    ("select $$ ' $$; drop table victim; select $$ ' $$", "SELECT; DROP TABLE; SELECT"),
    ("select $a$ $$ ; drop table victim; $$ $a$", "SELECT"),
    ("select $a$ $b$ $a$; drop table victim; select $b$ $b$", "SELECT; DROP TABLE; SELECT"),
    ("select $a$ $A$; drop table victim; -- $a$", "SELECT"),
    ("select $a$ $a $; drop table victim; -- $a$", "SELECT"),
    ("select 1 as a$b; drop table victim; select 1 as c$b", "SELECT; DROP TABLE; SELECT"),
    ("select 1 as a$$; drop table victim; select 1 as b$$", "SELECT; DROP TABLE; SELECT"),
    ("select $é$; drop table victim; $é$", "SELECT"),
    ("select $a b$; drop table victim; $a b$", "?"),
    ("select $1$; drop table victim; select $1$", "?"),
    ("select $a-b$; drop table victim; $a-b$", "?"),
    ("select 'x' -- $$\n; drop table victim; -- $$", "SELECT; DROP TABLE"),
    // Comments
    ("/* x */ drop table victim", "DROP TABLE"),
    ("/* /* */ drop table victim */ select 1", "SELECT"),
    ("/* /* */ */ drop table victim", "DROP TABLE"),
    ("/* /* */ drop table victim", "?"),
    ("/* ' */ drop table victim /* ' */", "DROP TABLE"),
    ("/* -- */ drop table victim", "DROP TABLE"),
    ("-- /*\ndrop table victim -- */", "DROP TABLE"),
    ("/*!50000 drop table victim */ select 1", "SELECT"),
    ("/*M!100100 drop table victim */ select 1", "SELECT"),
    ("/*+ hint */ drop table victim", "DROP TABLE"),
    ("-- x\rdrop table victim", "DROP TABLE"),
    ("-- x\r\ndrop table victim", "DROP TABLE"),
    ("-- x drop table victim\n", ""),
    ("--x\u{2028}drop table victim", ""),
    ("--x\u{b}drop table victim", ""),
    ("--x\u{c}drop table victim", ""),
    ("# x\ndrop table victim", "?"),
    ("dr/**/op table victim", "?"),
    ("drop/**/table/**/victim", "DROP TABLE"),
    ("drop--\ntable--\nvictim", "DROP TABLE"),
    ("select 1--1; drop table victim", "SELECT"),
    ("select 1 - -1; drop table victim", "SELECT; DROP TABLE"),
    ("select 1 +-- x\n 1; drop table victim", "SELECT; DROP TABLE"),
    ("select 1 +/* x */ 1; drop table victim", "SELECT; DROP TABLE"),
    ("select '/*'; drop table victim; select '*/'", "SELECT; DROP TABLE; SELECT"),
    ("select \"/*\" from (values (1)) as t(\"/*\"); drop table victim; select '*/'", "SELECT; DROP TABLE; SELECT"),
    // Characters that look like others
    ("drop\u{a0}table victim", "?"),
    ("drop table\u{a0}victim", "?"),
    ("drop\u{2003}table victim", "?"),
    ("drop\u{200b} table victim", "?"),
    ("\u{feff}drop table victim", "?"),
    ("select 1； drop table victim", "?"),
    ("select 1 as x； drop table victim", "?"),
    ("ｄｒｏｐ table victim", "?"),
    ("drop table v\u{131}ctim", "DROP TABLE"),
    ("drop table v\u{456}ctim", "DROP TABLE"),
    ("select ‘x’; drop table victim; --’", "SELECT; DROP TABLE"),
    ("select `x`; drop table victim", "?"),
    (r"\! drop table victim", "?"),
    // Names
    ("drop table public . victim", "DROP TABLE"),
    ("drop table shop.public.victim", "DROP TABLE"),
    ("drop table \"public\".\"victim\"", "DROP TABLE"),
    ("drop table \"victim\"", "DROP TABLE"),
    ("drop table \"Victim\"", "DROP TABLE"),
    ("drop table \"public.victim\"", "DROP TABLE"),
    (r#"drop table U&"v\0069ctim""#, "DROP TABLE"),
    (r#"drop table U&"v!0069ctim" uescape '!'"#, "DROP TABLE"),
    ("drop table xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxyyyy", "DROP TABLE"),
    ("select \"a\"\"; drop table victim; --\" from (values (1)) as t(\"a\"\"; drop table victim; --\")", "SELECT"),
    // Words with another meaning elsewhere
    ("select has_table_privilege('victim', 'delete') as delete", "SELECT"),
    ("select 1 as drop, 2 as truncate, 3 \"drop table victim\", 4 delete", "SELECT"),
    ("select 1 drop; table victim", "SELECT; SELECT"),
    ("select 'drop table victim' as \"table\"", "SELECT"),
    ("values ('drop table victim')", "SELECT"),
    ("select x.drop from (select 1 as drop) x", "SELECT"),
    ("comment on table victim is '; drop table victim'", "COMMENT"),
];

fn server() -> Postgres {
    let setup = format!(
        "create table victim (id integer); alter table victim owner to portcullis; \
        create table {LONG} (id integer); alter table {LONG} owner to portcullis; \
        create function loosen() returns text language sql as 'select set_config(''standard_conforming_strings'', ''off'', false)'"
    );
    Postgres::start(&postgres::Options { setup, ..postgres::Options::default() }).unwrap()
}

/// Puts back what was dropped, and says what that was.
fn restore(server: &mut Raw) -> Vec<String> {
    let exists = |name: &str| format!("to_regclass('public.{name}') is not null");
    let found = server.turn(&query(&format!("select {}, {}", exists("victim"), exists(LONG)))).texts().remove(0);
    let gone = ["victim", LONG].into_iter().zip(found).filter(|(_, exists)| exists == "f");
    let gone: Vec<String> = gone.map(|(name, _)| name.to_owned()).collect();
    for name in &gone {
        server.turn(&query(&format!("create table {name} (id integer)")));
    }
    gone
}

/// What the gateway's audit says of each text: the verbs of its statements, and the relations that they drop.
fn readings(gateway: &Gateway) -> HashMap<String, (String, Vec<String>)> {
    let file = gateway.directory().join("readings.jsonl");
    gateway.ask("olga", &["audit", "export", "--output", &file.display().to_string()]).unwrap();
    let export = std::fs::read_to_string(file).unwrap();
    let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line["event"].get("Command").map(reading)).collect()
}

fn reading(command: &Value) -> (String, (String, Vec<String>)) {
    let text = command["text"].as_str().unwrap().to_owned();
    let Some(statements) = command["facts"]["sql"]["statements"].as_array() else {
        return (text, ("?".into(), vec![]));
    };
    let verb = |statement: &Value| statement["verb"].as_str().unwrap().to_owned();
    let verbs: Vec<String> = statements.iter().map(verb).collect();
    let dropped = statements.iter().filter(|statement| verb(statement) == "DROP TABLE");
    let relations = dropped.flat_map(|statement| statement["relations"].as_array().unwrap());
    let names = relations.map(|relation| relation["name"].as_str().unwrap().to_owned()).collect();
    (text, (verbs.join("; "), names))
}

/// A completion tag without its numbers.
fn verb(tag: &str) -> String {
    let words: Vec<&str> = tag.split(' ').filter(|word| !word.bytes().all(|b| b.is_ascii_digit())).collect();
    words.join(" ")
}

#[test]
fn the_gateway_reads_what_the_server_reads() {
    let postgres = server();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let (mut client, mut server) = (Raw::open(&gateway, "alice"), Raw::past(&postgres));
    let mut answers = vec![];
    for (text, _) in TEXTS {
        let answer = client.turn(&query(text));
        assert!(answer.story().ends_with("ZI"), "{text}: {}", answer.told());
        answers.push((answer, restore(&mut server)));
    }
    let readings = readings(&gateway);
    for ((text, verbs), (answer, gone)) in TEXTS.iter().zip(answers) {
        let (read, named) = &readings[*text];
        assert_eq!(read, verbs, "{text}");
        let syntax = ["42601", "22025", "22P02"].map(str::to_owned);
        match answer.error() {
            // The server names no alternative to what it cannot read.
            Some(code) if verbs == &"?" => assert!(syntax.contains(&code), "{text}: {}", answer.told()),
            Some(code) => assert!(["42P01", "42703", "22P02"].contains(&&*code), "{text}: {}", answer.told()),
            None => {
                let ran: Vec<String> = answer.tags().iter().map(|tag| verb(tag)).collect();
                assert_eq!(ran.join("; "), *verbs, "{text}");
            }
        }
        let opaque = verbs == &"DO";
        assert!(
            gone.iter().all(|name| opaque || named.contains(name)),
            "{text}: {gone:?} are gone, {named:?} were read"
        );
    }
}

#[test]
fn what_the_server_would_drop_is_refused_and_what_it_would_not_is_not() {
    let postgres = server();
    let gateway = Gateway::start(refusing(&postgres)).unwrap();
    let (mut client, mut server) = (Raw::open(&gateway, "alice"), Raw::past(&postgres));
    for (text, verbs) in TEXTS {
        let refused = ["DROP TABLE", "DO", "?"].iter().any(|verb| verbs.split("; ").any(|v| v == *verb));
        // A text of several statements is none for the extended protocol.
        for bytes in [query(text), extended(text, &[])] {
            let answer = client.turn(&bytes);
            assert_eq!(answer.error().as_deref() == Some("42501"), refused, "{text}: {}", answer.told());
            assert!(answer.story().ends_with("ZI"), "{text}: {}", answer.told());
            client.turn(&query("deallocate all"));
            assert_eq!(restore(&mut server), Vec::<String>::new(), "{text}");
        }
    }
}

/// Ways to have strings end elsewhere.
const LOOSEN: [&str; 8] = [
    "set standard_conforming_strings = off",
    "set session standard_conforming_strings to 'off'",
    "select set_config('standard_conforming_strings', 'off', false)",
    "select pg_catalog.set_config('standard_' || 'conforming_strings', 'of' || 'f', false)",
    "update pg_settings set setting = 'off' where name = 'standard_conforming_strings'",
    "select loosen()",
    "begin; set local standard_conforming_strings = off",
    "begin; select set_config('standard_conforming_strings', 'off', true)",
];

#[test]
fn where_strings_end_elsewhere_nothing_is_read() {
    let postgres = server();
    let gateway = Gateway::start(refusing(&postgres)).unwrap();
    let mut server = Raw::past(&postgres);
    // The first is a SELECT by the usual reading, the second one if backslashes count.
    let texts = [r"select 'x\'' ; drop table victim; --'", r"select 'x\'; drop table victim; --'"];
    for change in LOOSEN {
        for text in texts {
            for together in [false, true] {
                let mut client = Raw::open(&gateway, "alice");
                let answer = if together {
                    client.send(&[query(change), query(text)].concat());
                    assert!(client.until(b'Z').error().is_none(), "{change}");
                    client.until(b'Z')
                } else {
                    assert!(client.turn(&query(change)).error().is_none(), "{change}");
                    client.turn(&query(text))
                };
                assert_eq!(answer.error().as_deref(), Some("42501"), "{change}, {text}: {}", answer.told());
                assert_eq!(restore(&mut server), Vec::<String>::new(), "{change}, {text}");
                // Not even the way back is read. What was for a transaction ends with it.
                let back = client.turn(&query("set standard_conforming_strings = on"));
                assert!(back.error().is_some(), "{change}");
            }
        }
    }
    assert_eq!(Raw::open(&gateway, "alice").turn(&query("select 1")).story(), "T D C ZI");
    // The role may have it from the start.
    postgres.sql("shop", "alter role portcullis set standard_conforming_strings = off").unwrap();
    let mut client = Raw::open(&gateway, "alice");
    for text in texts {
        assert_eq!(client.turn(&query(text)).error().as_deref(), Some("42501"), "{text}");
    }
    assert_eq!(restore(&mut server), Vec::<String>::new());
}

#[test]
fn other_settings_of_strings_change_nothing() {
    let postgres = server();
    let gateway = Gateway::start(refusing(&postgres)).unwrap();
    let mut server = Raw::past(&postgres);
    for change in
        ["backslash_quote = off", "backslash_quote = on", "escape_string_warning = on", "quote_all_identifiers = on"]
    {
        let mut client = Raw::open(&gateway, "alice");
        assert_eq!(client.turn(&query(&format!("set {change}"))).story(), "C ZI", "{change}");
        for (text, verbs) in TEXTS {
            let refused = ["DROP TABLE", "DO", "?"].iter().any(|verb| verbs.split("; ").any(|v| v == *verb));
            let answer = client.turn(&query(text));
            assert_eq!(answer.error().as_deref() == Some("42501"), refused, "{change}, {text}: {}", answer.told());
            assert_eq!(restore(&mut server), Vec::<String>::new(), "{change}, {text}");
        }
    }
}

#[test]
fn another_encoding_ends_the_session_before_the_next_text() {
    let postgres = server();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let mut server = Raw::past(&postgres);
    // In UTF-8 the quote is part of the string. In SJIS the backslash is half of a character, and the string ends.
    let text = r"select E'Á\'; drop table victim; --'";
    for change in [
        "set client_encoding = 'SJIS'",
        "set names 'BIG5'",
        "select set_config('client_encoding', 'GBK', false)",
        "update pg_settings set setting = 'LATIN1' where name = 'client_encoding'",
        "begin; set local client_encoding = 'UHC'",
        "set client_encoding = 'SQL_ASCII'",
    ] {
        let mut client = Raw::open(&gateway, "alice");
        client.send(&[query(change), query(text)].concat());
        let answer = client.end();
        let error = answer.bodies(b'E').last().map(|body| crate::raw::field(body, b'C'));
        assert_eq!(error.as_deref(), Some("0A000"), "{change}: {}", answer.told());
        assert_eq!(restore(&mut server), Vec::<String>::new(), "{change}");
    }
}

#[test]
fn what_is_too_deep_or_too_long_to_read_is_refused_and_the_session_goes_on() {
    let postgres = server();
    let gateway = Gateway::start(refusing(&postgres)).unwrap();
    let mut client = Raw::open(&gateway, "alice");
    let nest = |open: &str, middle: &str, close: &str, times| open.repeat(times) + middle + &close.repeat(times);
    for times in [1_000, 100_000] {
        for text in [
            nest("select (", "select 1", ")", times),
            "select ".to_owned() + &nest("(", "1", ")", times) + "; drop table victim",
            "select 1".to_owned() + &"+1".repeat(times) + "; drop table victim",
            "select ".to_owned() + &nest("array[", "1", "]", times),
            "select ".to_owned() + &nest("case when true then ", "1", " end", times),
            nest("explain ", "drop table victim", "", times),
            "select 1".to_owned() + &" union select 1".repeat(times),
            "/*".repeat(times) + " drop table victim",
            "/**/".repeat(times) + " drop table victim",
            "select 1 ".to_owned() + &"-+".repeat(times) + "1; drop table victim",
            "select 1".to_owned() + &",1".repeat(times) + "; drop table victim",
        ] {
            for bytes in [query(&text), extended(&text, &[])] {
                let answer = client.turn(&bytes);
                assert_eq!(answer.error().as_deref(), Some("42501"), "{times}, {}: {}", &text[..20], answer.told());
            }
        }
    }
    assert_eq!(client.turn(&query("select id from victim")).story(), "T C ZI");
}
