//! What a command does, under whatever verb: a rule for readers refuses everything that does more than read.

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::{self, Postgres};

use crate::raw::{Raw, describe, parse, query, sync};
use crate::support::{common, guarded, shop};

const SETUP: &str = "
create table t (id integer primary key, a integer); insert into t select n, n from generate_series(1, 5) n;
create table log (id integer, a integer);
create view v as select * from t;
create materialized view m as select * from t;
create sequence s;
create schema alt;
create role other;
create function f(integer) returns integer language sql as 'update t set a = $1 where id = 1 returning a';
create function tr() returns trigger language plpgsql as 'begin return new; end';
create function ev() returns event_trigger language plpgsql as 'begin end';
create procedure p() language sql as 'delete from t';
create type mood as enum ('calm');
create domain d as integer;
create extension dblink; create extension tablefunc; create extension lo;
alter table t owner to portcullis; alter view v owner to portcullis; alter materialized view m owner to portcullis;
alter sequence s owner to portcullis; alter schema alt owner to portcullis; alter table log owner to portcullis;
grant create on database shop to portcullis; grant create on schema public to portcullis";

/// Statements that do more than read, each in its own way.
const DOING: &str = include_str!("doing.sql");
/// Statements that only read, or look as if they did more.
const READING: &str = include_str!("reading.sql");

fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.is_empty() && !line.starts_with("--"))
}

const READERS: &str = "capabilities = [\"clock\"]
[[policy.settings.rules]]
name = \"read-only\"
effects = [\"write\", \"ddl\", \"privilege\", \"session-state\", \"copy-in\", \"server-file\", \"opaque\"]
";

fn server() -> Postgres {
    Postgres::start(&postgres::Options { setup: SETUP.into(), ..postgres::Options::default() }).unwrap()
}

/// Everything that a statement could have changed.
fn state(postgres: &Postgres) -> String {
    let catalogues = [
        "pg_class",
        "pg_proc",
        "pg_type",
        "pg_namespace",
        "pg_authid",
        "pg_rewrite",
        "pg_trigger",
        "pg_policy",
        "pg_publication",
        "pg_extension",
        "pg_db_role_setting",
        "pg_largeobject",
        "pg_description",
        "pg_seclabel",
        "pg_auth_members",
        "pg_default_acl",
        "pg_attribute",
        "pg_constraint",
        "pg_operator",
        "pg_cast",
        "pg_collation",
        "pg_conversion",
        "pg_statistic_ext",
        "pg_database",
        "pg_tablespace",
        "pg_subscription",
        "pg_event_trigger",
        "pg_foreign_server",
        "pg_prepared_xacts",
    ];
    let digest =
        |from: &str| format!("(select md5(coalesce(string_agg(x::text, ',' order by x::text), '')) from {from} x)");
    // What vacuum and the planner note by themselves is left out.
    let parts: Vec<String> =
        ["t", "log", "(select * from s)"].iter().chain(&catalogues[1..]).map(|from| digest(from)).collect();
    let classes = "(select md5(string_agg(concat(relname, relnamespace, relowner, relkind, relfilenode, relacl, relrowsecurity), ',' order by oid)) from pg_class)";
    postgres.sql("shop", &format!("select {classes}, {}", parts.join(", "))).unwrap()
}

/// Ways to have a statement run, or made ready to.
fn ways(text: &str) -> Vec<Vec<u8>> {
    let mut ways = vec![
        query(text),
        query(&format!("select 1; {text}; select 2")),
        query(&format!("/* x */\n{text} -- x")),
        [parse("", text), describe(b'S', ""), sync()].concat(),
    ];
    let word = text.split(' ').next().unwrap().to_lowercase();
    if ["insert", "update", "delete", "merge", "select", "with", "values"].contains(&&*word) {
        ways.extend([query(&format!("prepare x as {text}")), query(&format!("explain analyze {text}"))]);
    }
    ways
}

#[test]
fn every_statement_of_the_lists_is_one_to_the_server() {
    let postgres = server();
    let mut server = Raw::past(&postgres);
    for text in lines(DOING).chain(lines(READING)) {
        server.turn(&query("rollback"));
        server.turn(&query("begin"));
        server.send(&query(text));
        // A COPY from the client is not gone into.
        let begins = server.until_any(b"ZG");
        if begins.bodies(b'G').next().is_some() {
            server.turn(&crate::raw::message(b'f', b"\0"));
        }
        // It may lack privileges, objects or a quiet moment; but it is no mistake.
        assert_ne!(begins.error().as_deref(), Some("42601"), "{text}: {}", begins.told());
    }
}

#[test]
fn who_may_only_read_does_nothing_else() {
    let postgres = server();
    let gateway =
        Gateway::start(Options::before(&postgres).with("readers", "policies/no-destructive-sql", READERS)).unwrap();
    let before = state(&postgres);
    let mut client = Raw::open(&gateway, "alice");
    for text in lines(DOING) {
        for way in ways(text) {
            let answer = client.turn(&way);
            let place = String::from_utf8_lossy(&way).into_owned();
            assert_eq!(answer.error().as_deref(), Some("42501"), "{place}: {}", answer.told());
            assert!(answer.told().contains("policy \"readers\""), "{place}: {}", answer.told());
            assert!(answer.story().ends_with("ZI"), "{place}");
        }
    }
    assert_eq!(state(&postgres), before);
    for text in lines(READING) {
        let answer = client.turn(&query(text));
        assert!(!answer.told().contains("denied by"), "{text}: {}", answer.told());
        client.turn(&query("rollback"));
    }
    assert_eq!(state(&postgres), before);
}

/// Statements that run text, or code, that is out of sight.
const OPAQUE: [&str; 16] = [
    "do $$ begin execute 'drop table orders'; end $$",
    "do language plpgsql 'begin end'",
    "call nothing()",
    "prepare x as select 1; execute x",
    "explain analyze execute x",
    "create table y as execute x",
    "load 'plpgsql'",
    "create extension dblink",
    "select query_to_xml('drop table orders', true, false, '')",
    "select pg_catalog.query_to_xml_and_xmlschema('select 1', true, false, '')",
    "select * from dblink('dbname=shop', 'drop table orders') as t(a text)",
    "select dblink_exec('dbname=shop', 'drop table orders')",
    "select * from crosstab('select 1, 2, 3') as t(a integer)",
    "select ts_stat('select to_tsvector(product) from orders')",
    "select ts_rewrite('a'::tsquery, 'select null::tsquery, null::tsquery from orders')",
    "select cursor_to_xml('c', 1, true, false, '')",
];

#[test]
fn what_cannot_be_seen_counts_as_able_to_do_anything() {
    let common = common();
    let mut client = Raw::open(&common.gateway, "alice");
    for text in OPAQUE {
        let answer = client.turn(&query(text));
        assert!(answer.told().contains("policy \"no-destructive-sql\""), "{text}: {}", answer.told());
        assert_eq!(answer.error().as_deref(), Some("42501"), "{text}");
    }
    // The other ready-made policies by themselves: a change of the schema may be in it, and protected values.
    let postgres = shop();
    let gateway =
        Gateway::start(Options::before(&postgres).with("review", "policies/review-schema-changes", "")).unwrap();
    for text in OPAQUE {
        let mut client = Raw::open(&gateway, "alice");
        client.send(&query(text));
        let held = client.until_any(b"NZ");
        assert!(held.told().contains("held for approval"), "{text}: {}", held.told());
    }
}

/// Files and programs of the server, and what reaches out of it.
const FILES: [&str; 17] = [
    "copy orders to '/tmp/orders'",
    "copy orders from '/etc/passwd'",
    "copy orders to program 'cat > /tmp/orders'",
    "copy orders from program 'id'",
    "copy (select 1) to program 'id'",
    "select pg_read_file('/etc/passwd')",
    "select pg_catalog.pg_read_binary_file('/etc/passwd')",
    "select ('/etc/passwd'::text).pg_read_file",
    "select f.pg_read_file from unnest(array['/etc/passwd'::text]) f",
    "select * from pg_ls_dir('/')",
    "select pg_ls_logdir()",
    "select pg_stat_file('/etc/passwd')",
    "select lo_import('/etc/passwd')",
    "select lo_export(1, '/tmp/x')",
    "select * from pg_hba_file_rules()",
    "alter system set log_directory = '/tmp'",
    "create tablespace x location '/tmp'",
];

#[test]
fn files_and_programs_of_the_server_are_out_of_reach() {
    let postgres = shop();
    // As if the role at the server were the worst choice.
    postgres.sql("shop", "alter role portcullis superuser").unwrap();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let mut client = Raw::open(&gateway, "alice");
    for text in FILES {
        for way in [query(text), [parse("", text), describe(b'S', ""), sync()].concat()] {
            let answer = client.turn(&way);
            assert!(answer.told().contains("policy \"no-destructive-sql\""), "{text}: {}", answer.told());
            assert!(answer.story().ends_with("ZI"), "{text}");
        }
    }
}

/// A rule about a relation holds whatever the path is that finds it.
#[test]
fn a_name_without_its_schema_may_be_any() {
    let setup = "create table public.payroll (id integer, a integer); insert into public.payroll values (1, 1); create schema alt; \
        create table alt.payroll (id integer, a integer); alter table public.payroll owner to portcullis; \
        alter table alt.payroll owner to portcullis; grant usage, create on schema alt to portcullis";
    let postgres = Postgres::start(&postgres::Options { setup: setup.into(), ..postgres::Options::default() }).unwrap();
    let rule = "capabilities = [\"clock\"]\n[[policy.settings.rules]]\nname = \"payroll\"\nrelations = [\"public.payroll\"]\neffects = [\"write\"]\n";
    let gateway =
        Gateway::start(Options::before(&postgres).with("payroll", "policies/no-destructive-sql", rule)).unwrap();
    for path in [
        "select 1",
        "set search_path = alt",
        "set search_path = alt, public",
        "select set_config('search_path', 'alt,public', false)",
        "update pg_settings set setting = 'alt,public' where name = 'search_path'",
        "begin; set local search_path = alt; rollback",
        "create temp table payroll (id integer, a integer)",
        "create temp view payroll as select 1 as id, 2 as a",
    ] {
        let mut client = Raw::open(&gateway, "alice");
        assert!(client.turn(&query(path)).error().is_none(), "{path}");
        for (text, refused) in [
            ("delete from payroll where id = 1", true),
            ("update \"payroll\" set a = 2 where id = 1", true),
            ("delete from PAYROLL where id = 1", true),
            ("delete from public.payroll where id = 1", true),
            ("insert into shop.public.payroll values (2, 2)", true),
            ("delete from alt.payroll where id = 1", false),
            ("select * from public.payroll", false),
        ] {
            let answer = client.turn(&query(text));
            assert_eq!(answer.error().as_deref() == Some("42501"), refused, "{path}, {text}: {}", answer.told());
        }
    }
    assert_eq!(postgres.sql("shop", "select * from public.payroll").unwrap(), "1|1");
}
