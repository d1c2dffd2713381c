//! The main job: plain psql through the ready-made policies.

use portcullis_tests::gateway::{Gateway, Options};

use crate::support::{LABELS, common, guarded, shop};

#[test]
fn what_is_allowed_runs_and_what_is_not_is_refused_with_its_reason() {
    let common = common();
    let gateway = &common.gateway;
    assert_eq!(gateway.query("alice", "select count(*) from orders").unwrap().0, "40");
    for (text, policy) in [
        ("drop table orders", "no-destructive-sql"),
        ("truncate orders", "no-destructive-sql"),
        ("delete from orders", "no-destructive-sql"),
        ("delete from orders where true", "no-destructive-sql"),
        ("update orders set cents = 0", "no-destructive-sql"),
        ("with gone as (delete from orders returning *) select * from gone", "no-destructive-sql"),
        ("copy orders to '/tmp/orders'", "no-destructive-sql"),
        ("copy orders to program 'cat'", "no-destructive-sql"),
        ("do $$ begin execute 'drop table orders'; end $$", "no-destructive-sql"),
        ("explain analyze delete from orders", "no-destructive-sql"),
        ("select 1; drop table orders", "no-destructive-sql"),
        ("prepare p as delete from orders", "no-destructive-sql"),
    ] {
        let (out, err) = gateway.query("alice", text).unwrap();
        assert!(err.contains(&format!("policy \"{policy}\"")), "{text}: {out} {err}");
        assert_eq!(out, "", "{text}");
    }
    assert_eq!(common.postgres.sql("shop", "select count(*) from orders").unwrap(), "40");
}

#[test]
fn a_denial_leaves_the_session_and_its_transaction_in_order() {
    let common = common();
    let script = "\\set VERBOSITY verbose\nselect 1;\ndrop table orders;\nselect 2;\nbegin;\n\
                  update orders set cents = 1 where id = 1;\ndrop table orders;\nselect 3;\ncommit;\nselect cents from orders where id = 1;\n";
    let file = common.gateway.directory().join("denial.sql");
    std::fs::write(&file, script).unwrap();
    let output = common.gateway.psql("alice", &["-f", &file.display().to_string()]).unwrap().output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(out, "1\n2\n600\n", "{err}");
    assert_eq!(err.matches("42501").count(), 2, "{err}");
    assert!(err.contains("25P02"), "{err}");
}

#[test]
fn personal_data_is_masked_under_every_name() {
    let common = common();
    let gateway = &common.gateway;
    let first = |text: &str| gateway.query("alice", text).unwrap();
    assert_eq!(
        first("select email, card, ssn from customers where id = 1").0,
        "a***@example.com|***************1111|[redacted]"
    );
    for text in [
        "select email as harmless from customers",
        "select c.email from customers c",
        "select x from (select email as x from customers) s",
        "with w(y) as (select email from customers) select y from w",
        "select address from contacts",
        "select upper(email) from customers",
        "select email || '' from customers",
        "select string_agg(email, ',') from customers",
        "select row_to_json(c) from customers c",
        "select c from customers c",
        "select customers from customers",
        "select to_jsonb(c.*) from customers c",
        "select array_agg(email) from customers",
        "select email from customers union all select name from customers",
        "select coalesce(null, email) from customers",
        "select (select email from customers limit 1)",
        "select max(email) from customers",
        "table customers",
        "select * from customers",
        "insert into customers (id, name, email) values (99, 'x', 'zed@example.com') on conflict do nothing returning email",
        "update customers set note = note where id = 1 returning email",
        "select * from customers where email = 'ada@example.com' for update",
        "values ((select email from customers limit 1))",
    ] {
        let (out, err) = first(text);
        for clear in [
            "ada@example.com",
            "ADA@EXAMPLE.COM",
            "grace@example.com",
            "GRACE@",
            "zed@example.com",
            "4111 1111 1111 1111",
        ] {
            assert!(!out.contains(clear), "{text}: {out}");
        }
        assert!(err.is_empty() || err.contains("denied by"), "{text}: {err}");
    }
    common.postgres.sql("shop", "delete from customers where id = 99").unwrap();
}

#[test]
fn personal_data_in_free_text_is_found() {
    let common = common();
    let (out, _) = common.gateway.query("alice", "select note from customers order by id").unwrap();
    assert_eq!(out, "prefers mail to ********************\n\npaid with *******************\nquiet");
}

#[test]
fn copy_does_not_slip_past() {
    let common = common();
    let query = |text: &str| common.gateway.query("alice", text).unwrap();
    for text in [
        "copy customers to stdout",
        "copy customers (email) to stdout",
        "copy (select email from customers) to stdout",
        "copy (select * from contacts) to stdout",
    ] {
        let (out, err) = query(text);
        assert!(out.is_empty() && err.contains("use SELECT"), "{text}: {out} {err}");
    }
}

#[test]
fn a_result_may_have_so_many_rows_and_no_more() {
    let common = common();
    let (out, err) = common.gateway.query("alice", "select n from generate_series(1, 100001) n").unwrap();
    assert!(err.contains("policy \"fair-use\"") && err.contains("100000"), "{err}");
    assert!(out.lines().count() <= 100_000);
    assert_eq!(common.gateway.query("alice", "select count(*) from generate_series(1, 100001) n").unwrap().0, "100001");
}

#[test]
fn exceptions_are_for_those_who_have_them() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    assert_eq!(gateway.query("dora", "delete from orders").unwrap().1, "");
    assert_eq!(postgres.sql("shop", "select count(*) from orders").unwrap(), "0");
}

#[test]
fn without_policies_everything_passes() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let (out, err) = gateway
        .query("alice", "select email from customers where id = 1; drop table orders; copy (select 1) to stdout")
        .unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("ada@example.com\n1", ""));
}

#[test]
fn a_policy_in_monitor_mode_only_watches() {
    let postgres = shop();
    let mut options = Options::before(&postgres).with(
        "no-destructive-sql",
        "policies/no-destructive-sql",
        "mode = \"monitor\"\ncapabilities = [\"clock\"]",
    );
    options.target = LABELS.into();
    let gateway = Gateway::start(options).unwrap();
    assert_eq!(gateway.query("alice", "delete from orders").unwrap().1, "");
    let sessions = gateway.ask("olga", &["sessions", "list", "--recent", "--json"]).unwrap();
    assert!(sessions.contains("alice"), "{sessions}");
}
