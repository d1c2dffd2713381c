//! What a mask puts in a value's place is a value of the column's type in the format that the client asked for, and the shape of a result
//! stays as it was.

use std::fmt::Write as _;

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::{self, Postgres};

use crate::raw::{Raw, bind, bind_raw, execute, extended, parse, query, sync};

/// Types, and a value of each.
const KINDS: [(&str, &str); 42] = [
    ("text", "Zqxvkw jhgpmf"),
    ("text", "Zqñ漢字🦀 é"),
    ("varchar(4)", "漢字🦀ñ"),
    ("varchar", "Zqxvkw jhgpmf"),
    ("varchar(8)", "Zqxvkwjh"),
    ("varchar(1)", "Z"),
    ("char(8)", "Zqxvkw"),
    ("name", "Zqxvkw"),
    ("json", "{\"Zqxvkw\": [1, null]}"),
    ("jsonb", "{\"Zqxvkw\": [1, null]}"),
    ("uuid", "8f14e45f-ceea-467f-a8d2-5d5b4a0e1d3c"),
    ("date", "1985-12-10"),
    ("date", "infinity"),
    ("date", "0044-03-15 BC"),
    ("timestamp", "1985-12-10 11:12:13.5"),
    ("timestamptz", "1985-12-10 11:12:13.5+00"),
    ("timestamptz", "-infinity"),
    ("time", "11:12:13.5"),
    ("timetz", "11:12:13.5+02"),
    ("interval", "3 years 7 days 11:12:13"),
    ("boolean", "true"),
    ("smallint", "31000"),
    ("integer", "918273645"),
    ("bigint", "918273645918273645"),
    ("real", "918273.6"),
    ("double precision", "918273645.125"),
    ("double precision", "NaN"),
    ("numeric", "918273645918273645918273645.918273645"),
    ("numeric(8,2)", "918273.64"),
    ("bytea", "\\x5a717876"),
    ("xml", "<Zqxvkw/>"),
    ("integer[]", "{918273645,NULL}"),
    ("text[]", "{Zqxvkw,NULL}"),
    ("inet", "198.51.100.77"),
    ("money", "$918,273.64"),
    ("int4range", "[918273645,918273646)"),
    ("point", "(918273,645)"),
    ("bit(8)", "10110111"),
    ("tsvector", "'zqxvkw'"),
    ("mood", "cross"),
    ("phrase", "Zqxvkw jhgpmf"),
    ("pair", "(Zqxvkw,918273645)"),
];

const MASKS: [(&str, &str); 7] = [
    ("redact", ""),
    ("hash", ""),
    ("null", ""),
    ("email", ""),
    ("keep-last", "count = 2\n"),
    ("date-to-year", ""),
    ("constant", "value = \"7\"\n"),
];

fn table(mask: &str) -> String {
    format!("masked_{}", mask.replace('-', "_"))
}

/// A table with a column of every type for every mask: a row with values, and one of NULLs.
fn kinds() -> (Postgres, Gateway) {
    let mut setup = "create type mood as enum ('calm', 'cross'); create domain phrase as text; \
        create type pair as (one text, two integer); "
        .to_owned();
    let columns: Vec<String> = KINDS.iter().enumerate().map(|(n, (kind, _))| format!("k{n} {kind}")).collect();
    let values: Vec<String> =
        KINDS.iter().map(|(kind, value)| format!("'{}'::{kind}", value.replace('\'', "''"))).collect();
    let mut labels = "[target.column_labels]\n".to_owned();
    let mut rules = String::new();
    for (mask, more) in MASKS {
        let table = table(mask);
        write!(setup, "create table {table} (n integer, {}); ", columns.join(", ")).unwrap();
        write!(setup, "insert into {table} values (1, {}); insert into {table} (n) values (2); ", values.join(", "))
            .unwrap();
        write!(setup, "grant select on {table} to portcullis; ").unwrap();
        for n in 0..KINDS.len() {
            writeln!(labels, "\"public.{table}.k{n}\" = [\"{mask}\"]").unwrap();
        }
        write!(rules, "[[policy.settings.rules]]\nname = \"{mask}\"\nlabels = [\"{mask}\"]\nmask = \"{mask}\"\n{more}")
            .unwrap();
    }
    let postgres = Postgres::start(&postgres::Options { setup, ..postgres::Options::default() }).unwrap();
    let mut options = Options::before(&postgres).with("hide", "policies/hide-personal-data", &rules);
    options.target = labels;
    let gateway = Gateway::start(options).unwrap();
    (postgres, gateway)
}

/// What the server makes of a value that a client got, or why it is none of the type.
fn read_back(server: &mut Raw, kind: &str, format: u16, value: &[u8]) -> Result<String, String> {
    let text = format!("select $1::{kind}");
    let bound = [parse("", &text), bind_raw("", "", (format, &[value]), &[0]), execute("", 0), sync()].concat();
    let answer = server.turn(&bound);
    match answer.error() {
        None => Ok(answer.texts()[0][0].clone()),
        Some(_) => Err(answer.told()),
    }
}

#[test]
fn masked_values_are_values_of_their_type_in_either_format() {
    let (postgres, gateway) = kinds();
    let (mut client, mut server) = (Raw::open(&gateway, "alice"), Raw::past(&postgres));
    let mut wrong = String::new();
    for (mask, _) in MASKS {
        for (n, (kind, value)) in KINDS.iter().enumerate() {
            let text = format!("select k{n} from {} order by n", table(mask));
            let what = format!("{mask} of {kind} {value}");
            let direct = [0, 1].map(|format| server.turn(&extended(&text, &[format])));
            let masked = [0, 1].map(|format| client.turn(&extended(&text, &[format])));
            let mut read = vec![];
            for (format, (direct, masked)) in (0..).zip(direct.iter().zip(&masked)) {
                assert!(masked.story().ends_with("ZI"), "{what}: {}", masked.told());
                if let Some(code) = masked.error() {
                    // A constant that the type cannot hold.
                    let fits = code == "42501" && mask == "constant";
                    (!fits).then(|| writeln!(wrong, "{what}, format {format}: {}", masked.told()).unwrap());
                    continue;
                }
                assert_eq!((masked.types(), masked.story()), (direct.types(), direct.story()), "{what}");
                let (rows, clear) = (masked.rows(), direct.rows());
                assert_eq!(rows[1], [None], "{what}: NULL stays NULL");
                let Some(found) = &rows[0][0] else { continue };
                // An end of time has no year to keep, and is none.
                let says_nothing = mask == "date-to-year" && value.contains("infinity");
                if rows[0] == clear[0] && !says_nothing {
                    writeln!(wrong, "{what}, format {format}: it is not hidden").unwrap();
                }
                read.push(read_back(&mut server, kind, format, found));
            }
            if read.iter().any(Result::is_err) || read.windows(2).any(|pair| pair[0] != pair[1]) {
                writeln!(wrong, "{what}: {read:?}").unwrap();
            }
        }
    }
    assert_eq!(wrong, "");
}

#[test]
fn results_of_every_shape_keep_it() {
    let columns: Vec<String> = (0..1600).map(|n| format!("c{n} text")).collect();
    let setup = format!(
        "create table wide ({}); insert into wide (c0, c799, c1599) values ('a', 'Zqxvkw', 'b'); \
         create table plain (id integer, secret text, name text); insert into plain values (1, 'Zqxvkw', ''), (2, null, null); \
         grant select on wide, plain to portcullis",
        columns.join(", ")
    );
    let postgres = Postgres::start(&postgres::Options { setup, ..postgres::Options::default() }).unwrap();
    // Plans of so many columns take a moment on a busy machine.
    let patient = "limits = { call_ms = 10000 }";
    let mut options = Options::before(&postgres).with("hide", "policies/hide-personal-data", patient);
    options.target =
        "[target.column_labels]\n\"public.wide.c799\" = [\"pii\"]\n\"public.plain.secret\" = [\"pii\"]\n".into();
    options.more = "[limits]\nserver_message_bytes = 1000000\n".into();
    let gateway = Gateway::start(options).unwrap();
    let mut client = Raw::open(&gateway, "alice");

    let wide = client.turn(&extended("select * from wide", &[1]));
    assert_eq!(wide.story(), "1 2 T D C ZI", "{}", wide.told());
    let wide = wide.texts().remove(0);
    assert_eq!((wide.len(), &*wide[0], &*wide[799], &*wide[1599], &*wide[1]), (1600, "a", "[redacted]", "b", "NULL"));
    // As many columns as the server knows, where one of them is hidden.
    let many = format!("select secret{} from plain", ", 1".repeat(1663));
    let many = client.turn(&query(&many)).texts();
    assert_eq!((many[0].len(), &*many[0][0]), (1664, "[redacted]"));
    let same = client.turn(&query("select secret as a, name as a, secret as a, id as a from plain order by id"));
    assert_eq!(same.texts(), [["[redacted]", "", "[redacted]", "1"], ["NULL", "NULL", "NULL", "2"]]);
    let none =
        client.turn(&query("select from plain; select secret from plain where false; select from plain limit 0"));
    assert_eq!((none.story().as_str(), none.rows()), ("T D D C T C T C ZI", vec![vec![], vec![]]));
    // What cannot be inspected is refused, and nothing of its batch follows it.
    let one = |text: &str| [parse("", text), bind("", "", &[], &[1]), execute("", 0)].concat();
    let batch =
        [one("select 1"), one("select to_tsvector('simple', name) from plain"), one("select name from plain"), sync()]
            .concat();
    assert_eq!(client.turn(&batch).story(), "1 2 D C 1 2 E42501 ZI");
    // A row that is too large to be looked at is refused, and the next one is a matter of its own.
    let large = client.turn(&query("select secret, repeat('x', 2000000) from plain"));
    assert_eq!(large.story(), "T E54000 ZI");
    assert_eq!(client.turn(&query("select secret from plain limit 1")).texts(), [["[redacted]"]]);
}

#[test]
fn the_first_row_does_not_wait_for_the_last() {
    let setup = "create table plain (id integer, secret text); insert into plain select n, repeat('Zqxvkw', 20000) from generate_series(1, 3) n; \
        grant select, update on plain to portcullis";
    let postgres = Postgres::start(&postgres::Options { setup: setup.into(), ..postgres::Options::default() }).unwrap();
    let mut options = Options::before(&postgres).with("hide", "policies/hide-personal-data", "");
    options.target = "[target.column_labels]\n\"public.plain.secret\" = [\"pii\"]\n".into();
    let gateway = Gateway::start(options).unwrap();
    let (mut client, mut server) = (Raw::open(&gateway, "alice"), Raw::past(&postgres));
    // The third row comes when somebody lets go of it, and not before. The second makes the server send all of the first.
    assert_eq!(server.turn(&query("begin; select from plain where id = 3 for update")).story(), "C T D C ZT");
    let text = "select id, secret, repeat('y', 100000) from plain where id < 3 union all \
        select * from (select id, secret, '' from plain where id = 3 for update) x";
    client.send(&query(text));
    let first = client.until(b'D');
    assert_eq!(first.texts()[0][1], "[redacted]");
    assert_eq!(server.turn(&query("commit")).story(), "C ZI");
    assert_eq!(client.until(b'Z').story(), "D D C ZI");
}
