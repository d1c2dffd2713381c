//! What runs when, and under which policies.

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::Postgres;

use super::{orders, refusing};
use crate::held::{await_state, tables};
use crate::raw::{Raw, bind, cancel, describe, execute, extended, message, parse, query, sync};
use crate::support::{common, guarded, shop};

/// Sends this, whose first command is held, and says under which number.
fn held(gateway: &Gateway, bytes: &[&[u8]]) -> (Raw, String) {
    let mut raw = Raw::open(gateway, "alice");
    raw.send(&bytes.concat());
    let told = raw.until(b'N').told();
    let id = told.split("held for approval ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    (raw, id.trim_end_matches([',', '.', ';']).to_owned())
}

fn insert(id: u32) -> Vec<u8> {
    query(&format!("insert into orders values ({id}, 1, 'lamp', 1)"))
}

fn count(postgres: &Postgres, id: u32) -> String {
    postgres.sql("shop", &format!("select count(*) from orders where id = {id}")).unwrap()
}

#[test]
fn what_stands_behind_a_held_command_waits_with_it() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    // Refused: what is behind it runs after that, and not before.
    let create = |name: &str| query(&format!("create table {name} (id integer)"));
    let (mut raw, id) = held(&gateway, &[&create("held_1"), &insert(100), &extended("select 7", &[])]);
    assert_eq!(count(&postgres, 100), "0");
    gateway.ask("bob", &["approvals", "deny", &id]).unwrap();
    assert_eq!([(); 3].map(|()| raw.until(b'Z').story()), ["E42501 ZI", "C ZI", "1 2 T D C ZI"]);
    assert_eq!(count(&postgres, 100), "1");
    // In one batch it fails with it.
    let run = |text: &str| [parse("", text), bind("", "", &[], &[]), execute("", 0)].concat();
    let batch = [run("create table held_2 (id integer)"), run("delete from orders where id = 100"), sync()].concat();
    let (mut raw, id) = held(&gateway, &[&batch]);
    gateway.ask("bob", &["approvals", "deny", &id]).unwrap();
    assert_eq!(raw.until(b'Z').story(), "E42501 ZI");
    // Whoever leaves takes all of it along.
    let (mut raw, id) = held(&gateway, &[&create("held_3"), &insert(101), &message(b'X', b"")]);
    raw.stop_sending();
    raw.end();
    await_state(&gateway, &id, "withdrawn");
    // A cancel gives up the first, and no other.
    let (mut raw, _) = held(&gateway, &[&create("held_4"), &insert(102)]);
    let mut other = Raw::dial(gateway.port);
    other.send(&cancel(&raw.key));
    other.end();
    assert_eq!([(); 2].map(|()| raw.until(b'Z').story()), ["E57014 ZI", "C ZI"]);
    assert_eq!([100, 101, 102].map(|id| count(&postgres, id)), ["1", "0", "1"]);
    assert_eq!(tables(&postgres), "");
}

#[test]
fn what_is_approved_runs_once_and_before_what_stands_behind_it() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let commands = [query("create table held_5 (id integer)"), insert(103), query("insert into held_5 values (1)")];
    let (mut raw, id) = held(&gateway, &[&commands.concat()]);
    assert_eq!(count(&postgres, 103), "0");
    gateway.ask("bob", &["approvals", "approve", &id]).unwrap();
    let tags = [(); 3].map(|()| raw.until(b'Z').tags().concat());
    assert_eq!(tags, ["CREATE TABLE", "INSERT 0 1", "INSERT 0 1"]);
    assert_eq!((count(&postgres, 103), tables(&postgres)), ("1".into(), "held_5".into()));
    // All of it is on record.
    let file = gateway.directory().join("held.jsonl");
    gateway.ask("olga", &["audit", "export", "--output", &file.display().to_string()]).unwrap();
    let record = std::fs::read_to_string(file).unwrap();
    for text in ["create table held_5", "values (103,", "insert into held_5"] {
        assert!(record.contains(text), "{text} is on record");
    }
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
    assert_eq!(
        open.turn(&[execute("p", 1), sync()].concat()).error().as_deref(),
        Some("42501"),
        "so is what was bound"
    );
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
