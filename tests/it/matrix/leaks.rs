//! Protected values never reach a client. The same queries run over two sets of protected values, and every byte that the client
//! gets must be the same: so no form of a value passes, whatever was made of it.

use std::fmt::Write as _;

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::{self, Postgres};

use crate::raw::{Answer, Message, Raw, bind, describe, execute, extended, message, parse, query, sync};

const PEOPLE: &str = include_str!("people.sql");
const SHAPES: &str = include_str!("shapes.sql");

fn shapes() -> impl Iterator<Item = &'static str> {
    SHAPES.lines().filter(|line| !line.is_empty() && !line.starts_with("--"))
}

/// The ways that stand open, by door and query: what `docs/postgres.md` says of statements and functions that are out of sight. A way that
/// is closed leaves the list.
const LIMITS: &str = include_str!("limits.txt");

/// A word that nothing else contains, and a number: all protected values are made of these.
const VALUES: [(&str, u32); 2] = [("vqzxkwjg", 918_273_640), ("hjkwzpfmbb", 564_738_290)];

fn server() -> Postgres {
    Postgres::start(&postgres::Options { setup: PEOPLE.into(), ..postgres::Options::default() }).unwrap()
}

/// Fills the tables anew with one of the sets of protected values. Everything else, OIDs too, stays the same.
fn fill(postgres: &Postgres, set: usize) {
    let (word, number) = VALUES[set];
    let text = format!(
        "truncate people, notes;
        insert into people select n, 'person ' || n, '{word}' || n, '{word}-c' || n, {number} + n, {number}00000 + n, {number}.5 + n,
            {number}.25 + n, date '1970-01-01' + {number} / 100000 + n, timestamptz 'epoch' + interval '1 s' * ({number} + n),
            md5('{word}' || n)::uuid, jsonb_build_object('k', '{word}', '{word}', {number}), array['{word}', '{word}' || n],
            convert_to('{word}' || n, 'utf8'), '{word}' || n, row('{word}', {number})::pair from generate_series(1, 3) n;
        insert into notes select n, n, 'note ' || n from generate_series(1, 3) n;
        refresh materialized view snapshot; analyze people"
    );
    postgres.sql("shop", &text).unwrap();
}

/// A gateway that does nothing but hide what is protected.
fn masking(postgres: &Postgres) -> Options {
    let mut options = Options::before(postgres).with("hide", "policies/hide-personal-data", "");
    options.target = "[target.column_labels]\n".into();
    for column in
        ["secret", "code", "pin", "big", "ratio", "amount", "born", "seen", "uid", "doc", "tags", "raw", "said", "duo"]
    {
        writeln!(options.target, "\"public.people.{column}\" = [\"pii\"]").unwrap();
    }
    options
}

/// How a client comes to see what a query gives: what it sends, turn by turn.
struct Door {
    name: &'static str,
    turns: fn(&str) -> Vec<Vec<u8>>,
}

const fn door(name: &'static str, turns: fn(&str) -> Vec<Vec<u8>>) -> Door {
    Door { name, turns }
}

const DOORS: [Door; 23] = [
    door("a simple query", |q| vec![query(q)]),
    door("a simple query among others", |q| vec![query(&format!("select 1; {q}; select 2"))]),
    door("text", |q| vec![extended(q, &[])]),
    door("binary", |q| vec![extended(q, &[1])]),
    door("not described", |q| vec![[parse("", q), bind("", "", &[], &[1]), execute("", 0), sync()].concat()]),
    door("described as a statement", |q| {
        vec![
            [parse("s", q), describe(b'S', "s"), sync()].concat(),
            [bind("", "s", &[], &[]), execute("", 0), sync()].concat(),
            query("deallocate s"),
        ]
    }),
    door("in pieces", |q| {
        let bound = [parse("", q), bind("p", "", &[], &[]), describe(b'P', "p"), execute("p", 1), execute("p", 1)];
        vec![[&bound.concat()[..], &sync()].concat(), [execute("p", 1), execute("p", 0), sync()].concat()]
    }),
    door("FETCH from a portal", |q| {
        vec![[parse("", q), bind("p", "", &[], &[]), sync()].concat(), query("fetch 1 from p; fetch all from p")]
    }),
    door("a cursor", |q| {
        vec![query(&format!("declare k scroll cursor for {q}")), query("fetch all from k; move first in k; fetch k")]
    }),
    door("a binary cursor", |q| {
        vec![query(&format!("declare k binary cursor for {q}")), extended("fetch all from k", &[1])]
    }),
    door("a cursor that is kept", |q| {
        vec![query(&format!("declare k cursor with hold for {q}")), extended("fetch all from k", &[]), query("close k")]
    }),
    door("EXECUTE", |q| vec![query(&format!("prepare e as {q}")), query("execute e"), query("deallocate e")]),
    door("EXECUTE of what the protocol prepared", |q| {
        vec![[parse("e", q), sync()].concat(), extended("execute e", &[1]), query("deallocate e")]
    }),
    door("a bound PREPARE", |q| {
        vec![
            query(&format!("prepare e as {q}")),
            [bind("", "e", &[], &[]), describe(b'P', ""), execute("", 0), sync()].concat(),
            query("deallocate e"),
        ]
    }),
    door("COPY", |q| vec![query(&format!("copy ({q}) to stdout"))]),
    door("binary COPY", |q| vec![extended(&format!("copy ({q}) to stdout (format binary)"), &[])]),
    door("EXPLAIN", |q| vec![query(&format!("explain (verbose, costs off) {q}"))]),
    door("a derived row", |q| vec![query(&format!("select x, to_json(x) from ({q}) x")), query("commit")]),
    door("a nested aggregate", |q| vec![extended(&format!("select (select array_agg(x)::text from ({q}) x)"), &[1])]),
    door("a temporary table", |q| vec![query(&format!("create temp table t as {q}")), query("select * from t")]),
    door("a temporary view", |q| {
        vec![query(&format!("create temp view v as {q}")), query("select * from v; select v from v")]
    }),
    door("another table", |q| {
        vec![
            query(&format!(
                "insert into notes select 100 + row_number() over (), 1, x::text from ({q}) x returning body"
            )),
            query("select body from notes order by id"),
        ]
    }),
    door("a setting", |q| {
        vec![query(&format!("select set_config('a.b', array_agg(x)::text, false) from ({q}) x")), query("show a.b")]
    }),
];

/// What came of a query through a door.
struct Seen {
    query: &'static str,
    bytes: Vec<u8>,
    /// The answers to its turns.
    answers: Vec<Answer>,
}

/// Takes every query through a door, each in a transaction of its own that leaves nothing behind.
fn tour(mut raw: Raw, door: &Door) -> Vec<Seen> {
    let look = |query: &'static str| {
        assert_eq!(raw.turn(&crate::raw::query("begin")).story(), "C ZT");
        raw.got.clear();
        let answers: Vec<Answer> = (door.turns)(query).iter().map(|turn| raw.turn(turn)).collect();
        raw.got.clear();
        let bytes = answers.iter().flat_map(told).collect();
        for answer in &answers {
            assert!(answer.story().contains('Z'), "{} ended the session: {query}: {}", door.name, answer.told());
        }
        assert!(raw.turn(&crate::raw::query("rollback")).story().ends_with("ZI"), "{}: {query}", door.name);
        Seen { query, bytes, answers }
    };
    shapes().map(look).collect()
}

/// The bytes that a client was told. Tables that were just made, and the types of their rows, have other numbers each time; those do not count
/// in descriptions.
fn told(answer: &Answer) -> Vec<u8> {
    let without_numbers = |(tag, body): &Message| {
        let mut body = body.clone();
        let mut at = 2;
        while let Some(end) =
            body.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)).filter(|_| *tag == b'T')
        {
            let number = at + end + 1;
            body[number..number + 4].fill(0);
            // The server's own types are below.
            if u32::from_be_bytes(body[number + 6..number + 10].try_into().unwrap()) >= 16384 {
                body[number + 6..number + 10].fill(0);
            }
            at = number + 18;
        }
        message(*tag, &body)
    };
    answer.messages.iter().flat_map(without_numbers).collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// A value as it is, backwards, as bytes in hexadecimal, and the number in binary. One half of the word is enough.
fn is_told(bytes: &[u8], (word, number): (&str, u32)) -> bool {
    let half = &word[..5];
    let hexadecimal: String = half.bytes().map(|byte| format!("{byte:02x}")).collect();
    let backwards: String = half.chars().rev().collect();
    let digits = number.to_string();
    [half, &hexadecimal, &backwards, &digits[..8]].iter().any(|part| holds(bytes, part.as_bytes()))
        || (1..4).any(|n| holds(bytes, &(number + n).to_be_bytes()))
}

#[test]
fn every_query_of_the_list_shows_what_is_protected_where_nothing_hides_it() {
    let postgres = server();
    let mut seen = [0, 1].map(|set| {
        fill(&postgres, set);
        DOORS.each_ref().map(|door| tour(Raw::past(&postgres), door))
    });
    // Otherwise the test below would prove nothing.
    let [one, other] = &mut seen;
    for (one, other) in one[0].iter().zip(&other[0]) {
        assert_ne!(one.bytes, other.bytes, "{}", one.query);
    }
    for (door, (one, other)) in DOORS.iter().zip(one.iter().zip(other)) {
        let shown = one.iter().zip(other).filter(|(one, other)| one.bytes != other.bytes).count();
        // A plan shows constants only, and the names of prepared statements and portals are one for both kinds at the server.
        assert!(shown > 0 || door.name == "EXPLAIN", "{} shows nothing", door.name);
    }
}

#[test]
fn nothing_that_a_client_gets_depends_on_what_is_protected() {
    let postgres = server();
    let gateway = Gateway::start(masking(&postgres)).unwrap();
    let [one, other] = [0, 1].map(|set| {
        fill(&postgres, set);
        DOORS.each_ref().map(|door| tour(Raw::open(&gateway, "alice"), door))
    });
    let mut leaks = String::new();
    for (door, (one, other)) in DOORS.iter().zip(one.iter().zip(&other)) {
        for (one, other) in one.iter().zip(other) {
            if one.bytes != other.bytes || is_told(&one.bytes, VALUES[0]) || is_told(&other.bytes, VALUES[1]) {
                writeln!(leaks, "{}: {}", door.name, one.query).unwrap();
            }
        }
    }
    assert_eq!(leaks, LIMITS, "protected values, or something made of them");
}

#[test]
fn what_can_be_hidden_is_hidden_and_not_refused() {
    let postgres = server();
    let gateway = Gateway::start(masking(&postgres)).unwrap();
    fill(&postgres, 0);
    let direct = tour(Raw::past(&postgres), &DOORS[0]);
    let through = tour(Raw::open(&gateway, "alice"), &DOORS[0]);
    let mut refused = String::new();
    for (direct, through) in direct.iter().zip(&through) {
        match (direct.answers[0].error(), through.answers[0].error()) {
            (direct, through) if direct == through => {}
            // What would put values where no mask covers them.
            (None, Some(code)) if code == "42501" && !direct.query.starts_with("select") => {}
            (direct_error, through_error) => {
                writeln!(refused, "{}: {through_error:?} for {direct_error:?}", direct.query).unwrap();
            }
        }
    }
    assert_eq!(refused, "");
}

/// Commands that put what is protected somewhere and read it there. Masks alone see through these.
const CARRIED: &str = include_str!("carried.sql");
/// The same, where it takes another rule.
const HIDDEN: &str = include_str!("hidden.sql");

/// The scripts, a command a line, that tell a client what is protected; and how many there are.
fn telling(postgres: &Postgres, scripts: &'static str, open: impl Fn() -> Raw) -> (Vec<&'static str>, usize) {
    let scripts: Vec<&str> = scripts.split("\n\n").filter(|script| !script.starts_with("--")).collect();
    let [one, other] = [0, 1].map(|set| {
        fill(postgres, set);
        let run = |script: &&str| -> Vec<u8> {
            let mut raw = open();
            script.lines().flat_map(|text| told(&raw.turn(&query(text)))).collect()
        };
        scripts.iter().map(run).collect::<Vec<_>>()
    });
    let tells = |at: &usize| one[*at] != other[*at] || is_told(&one[*at], VALUES[0]) || is_told(&other[*at], VALUES[1]);
    ((0..scripts.len()).filter(tells).map(|at| scripts[at]).collect(), scripts.len())
}

#[test]
fn nothing_is_carried_to_where_no_mask_covers_it() {
    let postgres = server();
    let gateway = Gateway::start(masking(&postgres)).unwrap();
    let (open, count) = telling(&postgres, CARRIED, || Raw::past(&postgres));
    assert_eq!(open.len(), count, "only these work at the server: {open:#?}");
    let (leaks, _) = telling(&postgres, CARRIED, || Raw::open(&gateway, "alice"));
    assert_eq!(leaks, Vec::<&str>::new());
}

/// Rules for those who may read and write, and nothing else.
const STRICT: &str = r#"
[[policy.settings.rules]]
name = "definitions"
effects = ["ddl", "privilege", "opaque"]
[[policy.settings.rules]]
name = "hiding-places"
functions = ["*advisory*", "lo_*", "setseed"]
relations = ["people"]
[[policy.settings.rules]]
name = "people"
effects = ["write"]
relations = ["people"]
"#;

#[test]
fn what_masks_cannot_see_other_rules_refuse() {
    let postgres = server();
    let options = masking(&postgres).with(
        "strict",
        "policies/no-destructive-sql",
        &format!("capabilities = [\"clock\"]\n{STRICT}"),
    );
    let gateway = Gateway::start(options).unwrap();
    let (open, count) = telling(&postgres, HIDDEN, || Raw::past(&postgres));
    assert_eq!(open.len(), count, "only these work at the server: {open:#?}");
    let (leaks, _) = telling(&postgres, HIDDEN, || Raw::open(&gateway, "alice"));
    assert_eq!(leaks, Vec::<&str>::new());
}

#[test]
fn what_other_sessions_send_is_hidden_too() {
    let postgres = server();
    fill(&postgres, 0);
    let gateway = Gateway::start(masking(&postgres)).unwrap();
    let (word, _) = VALUES[0];
    let mut other = Raw::open(&gateway, "bob");
    other.turn(&query(&format!("select * from people where secret = '{word}1'")));
    for text in [
        "select query from pg_stat_activity",
        "select upper(query), a from pg_stat_activity a",
        "select to_json(a) from pg_catalog.pg_stat_activity a",
    ] {
        let answer = Raw::open(&gateway, "alice").turn(&query(text));
        assert!(answer.error().is_none(), "{text}: {}", answer.told());
        assert!(!is_told(&told(&answer), VALUES[0]), "{text}");
        assert!(is_told(&told(&Raw::past(&postgres).turn(&query(text))), VALUES[0]), "{text} shows it at the server");
    }
}
