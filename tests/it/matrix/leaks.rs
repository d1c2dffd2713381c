//! Protected values never reach a client. The same queries run over two sets of protected values, and every byte that the client
//! gets must be the same: so no form of a value passes, whatever was made of it.

use std::fmt::Write as _;

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::{self, Postgres};

use crate::raw::{Answer, Raw, bind, describe, execute, extended, parse, query, sync};

const PEOPLE: &str = include_str!("people.sql");
const SHAPES: &str = include_str!("shapes.sql");

fn shapes() -> impl Iterator<Item = &'static str> {
    SHAPES.lines().filter(|line| !line.is_empty() && !line.starts_with("--"))
}

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
            convert_to('{word}' || n, 'utf8'), '{word}' || n, row('{word}', {number}) from generate_series(1, 3) n;
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
    door("a cursor", |q| vec![query(&format!("declare k scroll cursor for {q}")), query("fetch all from k; move first in k; fetch k")]),
    door("a binary cursor", |q| vec![query(&format!("declare k binary cursor for {q}")), extended("fetch all from k", &[1])]),
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
    door("a temporary view", |q| vec![query(&format!("create temp view v as {q}")), query("select * from v; select v from v")]),
    door("another table", |q| {
        vec![
            query(&format!("insert into notes select 100 + row_number() over (), 1, x::text from ({q}) x returning body")),
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
        let bytes = std::mem::take(&mut raw.got);
        for answer in &answers {
            assert!(answer.story().contains('Z'), "{} ended the session: {query}: {}", door.name, answer.told());
        }
        assert!(raw.turn(&crate::raw::query("rollback")).story().ends_with("ZI"), "{}: {query}", door.name);
        Seen { query, bytes, answers }
    };
    shapes().map(look).collect()
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
    assert_eq!(leaks, "", "protected values, or something made of them");
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

/// Commands that put what is protected somewhere and read it there, in turns. Masks alone see through these.
const CARRIED: [&[&str]; 30] = [
    &["select set_config('a.b', string_agg(secret, ','), false) from people", "show a.b"],
    &["select set_config('a.b', string_agg(secret, ','), false) from people", "select current_setting('a.b')"],
    &["select set_config('application_name', secret, false) from people where id = 1", "show application_name"],
    &["update pg_settings s set setting = p.secret from people p where s.name = 'application_name' and p.id = 1", "show application_name"],
    &["update pg_settings set setting = (select secret from people where id = 1) where name = 'application_name'", "select 1"],
    &["begin", "select lo_from_bytea(77, convert_to(string_agg(secret, ','), 'utf8')) from people", "select convert_from(lo_get(77), 'utf8')", "rollback"],
    &["begin", "select lo_create(77)", "select lo_put(77, 0, raw) from people where id = 1", "select lo_get(77)", "rollback"],
    &["begin", "select lo_create(77), lo_open(77, 393216)", "select lowrite(0, raw) from people where id = 1", "select lo_get(77)", "rollback"],
    &["begin", "select lo_create(pin::oid) from people", "select oid from pg_largeobject_metadata", "rollback"],
    &["begin", "select setval('counter', pin) from people where id = 1", "select last_value from counter", "rollback"],
    &["listen c", "select pg_notify('c', secret) from people", "select 1"],
    &["listen c", "with x as (select secret from people) select pg_catalog.pg_notify('c', secret) from x", "select 1"],
    &["begin", "insert into notes select id + 10, id, secret from people", "select body from notes", "rollback"],
    &["begin", "insert into notes (id, body) values (10, (select secret from people where id = 1))", "select body from notes", "rollback"],
    &["begin", "insert into notes values (1) on conflict (id) do update set body = (select secret from people where id = 1)", "table notes", "rollback"],
    &["begin", "update notes set body = (select max(secret) from people)", "select body from notes", "rollback"],
    &["begin", "update notes n set person = p.pin from people p where p.id = n.id", "select person from notes", "rollback"],
    &["begin", "merge into notes n using people p on n.id = p.id when matched then update set body = p.secret", "table notes", "rollback"],
    &["begin", "merge into notes n using (select id + 10 as id, secret from people) p on n.id = p.id when not matched then insert values (p.id, 1, p.secret)", "table notes", "rollback"],
    &["begin", "with x as (insert into notes select id + 10, id, secret from people returning body) select count(*) from x", "table notes", "rollback"],
    &["begin", "with x as (select secret from people), y as (update notes set body = (select max(secret) from x)) select 1", "table notes", "rollback"],
    &["begin", "select secret into temp t from people", "select secret from t", "rollback"],
    &["create temp table t as table people", "select secret from t"],
    &["begin", "create materialized view m as select secret from people", "select secret from m", "rollback"],
    &["create temp table t (a text)", "insert into t select hidden from directory", "select a from t"],
    &["create temp table t (a text)", "explain (analyze, costs off, timing off, summary off) insert into t select secret from people", "select a from t"],
    &["create temp table t (a text)", "prepare p as insert into t select secret from people", "execute p", "select a from t"],
    &["create temp view v as select secret as a from people", "select a from v"],
    &["prepare p as select secret from people", "execute p", "explain (costs off) execute p"],
    &["declare k cursor with hold for select secret from people", "fetch all from k"],
];

/// What masks alone cannot see: it takes another rule, or a role at the server that may not do it.
const HIDDEN: [&[&str]; 21] = [
    &["do $$ begin perform set_config('application_name', (select secret from people where id = 1), false); end $$", "show application_name"],
    &["listen c", "do $$ begin perform pg_notify('c', (select secret from people where id = 1)); end $$", "select 1"],
    &["begin", "do $$ begin insert into notes select id + 10, id, secret from people; end $$", "table notes", "rollback"],
    &["begin", "do $$ begin execute 'insert into notes select id + 10, id, sec' || 'ret from people'; end $$", "table notes", "rollback"],
    &["begin", "select query_to_xml('insert into notes select id + 10, id, secret from people returning id', true, false, '')", "table notes", "rollback"],
    &["begin", "create function f() returns void language sql as 'insert into notes select id + 10, id, secret from people'", "select f()", "table notes", "rollback"],
    &["begin", "create procedure f() language sql as 'insert into notes select id + 10, id, secret from people'", "call f()", "table notes", "rollback"],
    &["begin", "create rule r as on update to notes do also insert into notes select id + 10, id, secret from people", "update notes set body = 'x' where id = 1", "table notes", "rollback"],
    &["begin", "alter table people rename column secret to plain", "select plain from people", "rollback"],
    &["begin", "alter table people rename to folk", "select secret from folk", "rollback"],
    &["begin", "alter table people alter remark type text using secret", "select remark from people", "rollback"],
    &["begin", "create table heir () inherits (people)", "insert into heir select * from people", "select secret from heir", "rollback"],
    &["begin", "create view v as select set_config('application_name', secret, false) from people where id = 1", "table v", "show application_name", "rollback"],
    &["begin", "update people set name = secret", "select name from people", "rollback"],
    &["select pg_advisory_lock(pin) from people", "select objid from pg_locks where locktype = 'advisory' order by 1"],
    &["begin", "select pg_try_advisory_xact_lock_shared(ascii(secret), pin) from people where id = 1", "select classid, objid from pg_locks where locktype = 'advisory'", "rollback"],
    &["begin", "select lo_create(77), lo_open(77, 393216)", "select lo_lseek64(0, pin, 0) from people where id = 1", "select lo_tell64(0)", "rollback"],
    &["begin", "select lo_create(77), lo_open(77, 393216)", "select lo_truncate64(0, pin) from people where id = 1", "select lo_lseek64(0, 0, 2)", "rollback"],
    &["select setseed(0.5)", "select setseed(1.0 / pin) from people where id = 1", "select random()"],
    &["begin", "create sequence s", "alter table people alter pin set default nextval('s')", "select setval('s', pin) from people where id = 1", "table s", "rollback"],
    &["begin", "create function f() returns trigger language plpgsql as $$ begin new.body := (select secret from people where id = 1); return new; end $$", "create trigger t before update on notes for each row execute function f()", "update notes set person = 1 where id = 1", "table notes", "rollback"],
];

/// The bytes that a session gets for these commands, with each set of protected values.
fn carried<'a>(postgres: &Postgres, scripts: &[&'a [&'a str]], open: impl Fn() -> Raw) -> Vec<(String, [Vec<u8>; 2])> {
    let [one, other] = [0, 1].map(|set| {
        fill(postgres, set);
        let run = |script: &&[&str]| {
            let mut raw = open();
            script.iter().for_each(|text| _ = raw.turn(&query(text)));
            raw.got
        };
        scripts.iter().map(run).collect::<Vec<_>>()
    });
    let both = one.into_iter().zip(other).map(|(one, other)| [one, other]);
    scripts.iter().map(|script| script.join("; ")).zip(both).collect()
}

/// The scripts that tell a client what is protected.
fn telling(runs: Vec<(String, [Vec<u8>; 2])>) -> Vec<String> {
    let tells = |(_, seen): &(String, [Vec<u8>; 2])| {
        seen[0] != seen[1] || seen.iter().zip(VALUES).any(|(bytes, values)| is_told(bytes, values))
    };
    runs.into_iter().filter(tells).map(|(script, _)| script).collect()
}

#[test]
fn nothing_is_carried_to_where_no_mask_covers_it() {
    let postgres = server();
    let gateway = Gateway::start(masking(&postgres)).unwrap();
    let open = telling(carried(&postgres, &CARRIED, || Raw::past(&postgres)));
    assert_eq!(open.len(), CARRIED.len(), "each of them works at the server: {open:#?}");
    let leaks = telling(carried(&postgres, &CARRIED, || Raw::open(&gateway, "alice")));
    assert_eq!(leaks, Vec::<String>::new());
}

/// Rules for those who may read and write, and nothing else.
const STRICT: &str = r#"
[[policy.settings.rules]]
name = "definitions"
effects = ["ddl", "privilege", "opaque"]
[[policy.settings.rules]]
name = "hiding-places"
functions = ["*advisory*", "lo_*", "setseed"]
[[policy.settings.rules]]
name = "people"
effects = ["write"]
relations = ["people"]
"#;

#[test]
fn what_masks_cannot_see_other_rules_refuse() {
    let postgres = server();
    let options = masking(&postgres).with("strict", "policies/no-destructive-sql", &format!("capabilities = [\"clock\"]\n{STRICT}"));
    let gateway = Gateway::start(options).unwrap();
    let open = telling(carried(&postgres, &HIDDEN, || Raw::past(&postgres)));
    assert_eq!(open.len(), HIDDEN.len(), "each of them works at the server: {open:#?}");
    let leaks = telling(carried(&postgres, &HIDDEN, || Raw::open(&gateway, "alice")));
    assert_eq!(leaks, Vec::<String>::new());
}
