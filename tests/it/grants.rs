//! Approvals that serve the same command again, and those that do not.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD};
use portcullis_tests::process::until;
use serde_json::Value;
use tokio_postgres::NoTls;

use crate::held::{SOON, await_state, hold, hold_as, newest_story, refused, reviewing, tables, try_hold};
use crate::support::shop;

#[test]
fn a_reusable_request_outlives_its_client_and_then_serves_the_same_command() {
    let postgres = shop();
    let gateway = Gateway::start(reviewing(&postgres, "reuse = \"same-command\"\nttl_seconds = 120\n")).unwrap();
    for (signal, name) in [("INT", "held_i"), ("KILL", "held_k")] {
        let text = format!("create table if not exists {name} (id integer)");
        let held = hold(&gateway, &text);
        held.signal(signal);
        let id = held.id.clone();
        let (_, _, told) = held.end();
        assert!(told.contains("once it is approved the same command passes"), "{told}");
        assert_eq!(signal == "INT", told.contains("The request stays open."), "{told}");
        await_state(&gateway, &id, "open");
        gateway.ask("bob", &["approvals", "approve", &id]).unwrap();
        assert_eq!(await_state(&gateway, &id, "approved")["approvers"][0], "bob");
        // Nobody waits, so nothing has run. Another principal's command, and another text, are others.
        let others = [("dora", text.clone()), ("alice", format!("{text} "))];
        for (user, text) in others {
            let other = hold_as(&gateway, user, &[&text]);
            assert_ne!(other.id, id);
            gateway.ask("bob", &["approvals", "deny", &other.id]).unwrap();
            assert!(!other.end().0.success());
        }
        assert!(!tables(&postgres).contains(name));
        let (out, err) = gateway.query("alice", &text).unwrap();
        assert_eq!((out.as_str(), err.as_str()), ("", ""));
        assert!(tables(&postgres).contains(name));
        let again = gateway.query("alice", &text).unwrap().1;
        assert!(!again.contains("held for"), "it serves again: {again}");
        let story = newest_story(&gateway);
        assert!(story.contains(&format!("approval {id}")), "what it rested on is on record:\n{story}");
    }
}

#[test]
fn a_grant_is_for_the_parameters_that_people_saw() {
    let postgres = shop();
    let rule = "[[policy.settings.rules]]\nname = \"writes\"\neffects = [\"write\"]\nany_of = [\"reviewers\"]\n\
                reuse = \"same-command\"\nttl_seconds = 120\n";
    let gateway =
        Gateway::start(Options::before(&postgres).with("review", "policies/review-schema-changes", rule)).unwrap();
    let config = format!("host=127.0.0.1 port={} user=alice dbname=shop password={USER_PASSWORD}", gateway.port);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&config, NoTls)).unwrap();
    runtime.spawn(connection);
    let client = Arc::new(client);
    let set = |cents: i32| {
        let client = client.clone();
        runtime.spawn(async move { client.execute("update orders set cents = $1 where id = 1", &[&cents]).await })
    };
    let open = || {
        until("it is held", SOON, || {
            let list: Value = serde_json::from_str(&gateway.ask("bob", &["approvals", "list", "--json"])?)?;
            ensure!(list[0].is_object(), "{list}");
            Ok(list[0].clone())
        })
        .unwrap()
    };
    let first = set(700);
    let view = open();
    assert_eq!(view["parameters"], serde_json::json!(["\\x000002bc"]), "in binary, as the driver sends it: {view}");
    gateway.ask("bob", &["approvals", "approve", view["id"].as_str().unwrap()]).unwrap();
    assert_eq!(runtime.block_on(first).unwrap().unwrap(), 1);
    assert_eq!(runtime.block_on(set(700)).unwrap().unwrap(), 1, "the same passes");
    let other = set(701);
    let view = open();
    assert_eq!(view["parameters"], serde_json::json!(["\\x000002bd"]), "{view}");
    gateway.ask("bob", &["approvals", "deny", view["id"].as_str().unwrap()]).unwrap();
    assert!(runtime.block_on(other).unwrap().is_err());
    assert_eq!(postgres.sql("shop", "select cents from orders where id = 1").unwrap(), "700");
}

#[test]
fn what_a_grant_served_is_held_again_when_the_grant_has_expired() {
    let postgres = shop();
    let gateway = Gateway::start(reviewing(&postgres, "reuse = \"same-command\"\nttl_seconds = 10\n")).unwrap();
    let text = "create table if not exists held_t (id integer)";
    let held_first = hold(&gateway, text);
    let first = held_first.id.clone();
    gateway.ask("bob", &["approvals", "approve", &first]).unwrap();
    assert!(held_first.end().0.success());
    let mut passed = 0;
    let again = until("the grant expires", 2 * SOON, || {
        let again = try_hold(&gateway, "alice", &[text]);
        passed += u32::from(again.is_none());
        again.context("it passes still")
    })
    .unwrap();
    assert!(passed > 0, "it served at first");
    assert_ne!(again.id, first);
    // Nobody decides on this one.
    let id = again.id.clone();
    let (status, _, told) = again.end();
    assert!(!status.success() && told.contains(&format!("approval {id} expired before anybody decided")), "{told}");
    assert_eq!(await_state(&gateway, &id, "expired")["approvers"], Value::Array(vec![]));
    let late = refused(&gateway.cli("bob", &["approvals", "approve", &id]).unwrap());
    assert!(late.contains("it is expired"), "{late}");
}

#[test]
fn sessions_that_wait_for_the_same_reusable_request_all_pass() {
    let postgres = shop();
    let gateway = Gateway::start(reviewing(&postgres, "reuse = \"same-command\"\n")).unwrap();
    let text = "drop table if exists held_none";
    let (first, second) = (hold(&gateway, text), hold(&gateway, text));
    assert_eq!(first.id, second.id);
    // One of them may leave.
    let third = hold(&gateway, text);
    third.signal("KILL");
    third.end();
    gateway.ask("bob", &["approvals", "approve", &first.id]).unwrap();
    for held in [first, second] {
        let (status, _, told) = held.end();
        assert!(status.success() && told.contains("does not exist, skipping"), "{told}");
    }
}

#[test]
fn a_crash_withdraws_what_waited_and_keeps_what_may_be_reused() {
    let postgres = shop();
    let mut options = reviewing(&postgres, "");
    let rule = "[[policy.settings.rules]]\nname = \"drops\"\nverbs = [\"DROP *\"]\nany_of = [\"reviewers\"]\nreuse = \"same-command\"";
    options = options.with("drops", "policies/review-schema-changes", rule);
    options.policies = options.policies.replace("effects = [\"ddl\"]", "verbs = [\"CREATE *\"]");
    let mut gateway = Gateway::start(options).unwrap();
    let reusable = "drop table if exists held_none";
    let clients = [hold(&gateway, "create table held_c (id integer)"), hold(&gateway, reusable)];
    let [once, again] = clients.each_ref().map(|held| held.id.clone());
    // This waits until they are on disk: what happened in the last moment before a crash may be lost.
    gateway.ask("bob", &["approvals", "list", "--all"]).unwrap();
    gateway.kill().unwrap();
    for held in clients {
        assert!(!held.end().0.success());
    }
    gateway.restart().unwrap();
    await_state(&gateway, &once, "withdrawn");
    await_state(&gateway, &again, "open");
    // Who comes back waits for the same people.
    let back = hold(&gateway, reusable);
    assert_eq!(back.id, again);
    gateway.ask("bob", &["approvals", "approve", &again]).unwrap();
    assert!(back.end().0.success());
    gateway.restart().unwrap();
    assert!(gateway.query("alice", reusable).unwrap().1.contains("skipping"), "the grant outlives the gateway");
    assert_eq!(await_state(&gateway, &again, "approved")["approvers"][0], "bob");
    assert_eq!(tables(&postgres), "");
}
