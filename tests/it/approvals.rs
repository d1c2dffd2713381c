//! Held commands: who may release them, and what becomes of them otherwise.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;

use crate::support::{guarded, shop};

struct Held {
    child: Child,
    id: String,
}

/// Starts a command that is held, and waits until it is.
fn hold(gateway: &Gateway, text: &str) -> Held {
    hold_after(gateway, &[], text)
}

/// The same, behind other commands of the session.
fn hold_after(gateway: &Gateway, before: &[&str], text: &str) -> Held {
    let arguments: Vec<&str> = before.iter().chain(&[text]).flat_map(|text| ["-c", *text]).collect();
    let mut psql = gateway.psql("alice", &arguments).unwrap();
    let child = psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = until("the command is held", Duration::from_secs(20), || {
        let list: serde_json::Value = serde_json::from_str(&gateway.ask("bob", &["approvals", "list", "--json"])?)?;
        let open = list.as_array().or_else(|| list["approvals"].as_array()).context("no list")?;
        let request = open.iter().find(|r| r["text"] == text).context("not there yet")?;
        Ok(request["id"].as_str().context("no id")?.to_owned())
    });
    Held { child, id: id.unwrap() }
}

fn tables(postgres: &Postgres) -> String {
    postgres.sql("shop", "select string_agg(relname, ',') from pg_class where relname like 'held%'").unwrap()
}

fn is_withdrawn(gateway: &Gateway, id: &str) -> anyhow::Result<()> {
    let show = gateway.ask("bob", &["approvals", "show", id, "--json"])?;
    ensure!(show.contains("withdrawn"), "{show}");
    Ok(())
}

#[test]
fn a_reviewer_releases_and_nobody_approves_their_own() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let held = hold(&gateway, "create table held_a (id integer)");
    assert_eq!(tables(&postgres), "");
    let own = gateway.cli("alice", &["approvals", "approve", &held.id]).unwrap();
    assert!(!own.status.success() && String::from_utf8_lossy(&own.stderr).contains("nobody approves their own"));
    let unable = gateway.cli("olga", &["approvals", "approve", &held.id]).unwrap();
    assert!(!unable.status.success(), "an operator is no reviewer");
    assert_eq!(tables(&postgres), "");
    gateway.ask("bob", &["approvals", "approve", &held.id, "--reason", "ticket 12"]).unwrap();
    let output = held.child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && err.contains(&held.id), "{err}");
    assert_eq!(tables(&postgres), "held_a");
    let again = gateway.cli("bob", &["approvals", "approve", &held.id]).unwrap();
    assert!(!again.status.success(), "what is decided stays decided");

    let sessions: serde_json::Value =
        serde_json::from_str(&gateway.ask("olga", &["sessions", "list", "--recent", "--json"]).unwrap()).unwrap();
    let text = sessions.to_string();
    let id = text.split("\"session\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let story = gateway.ask("olga", &["sessions", "show", id]).unwrap();
    for part in ["create table held_a", "review-schema-changes", "bob", "ticket 12", "alice"] {
        assert!(story.contains(part), "{part} is missing in:\n{story}");
    }
}

#[test]
fn a_justification_reaches_the_reviewer_and_not_the_server() {
    let postgres = shop();
    // Without masks, which would hide what the server knows.
    let options = Options::before(&postgres).with("review", "policies/review-schema-changes", "");
    let gateway = Gateway::start(options).unwrap();
    let reason = |held: &Held| gateway.ask("bob", &["approvals", "show", &held.id]).unwrap();
    let before = ["set portcullis.reason = 'ticket 42'", "select '<' || current_setting('portcullis.reason') || '>'"];
    let held = hold_after(&gateway, &before, "create table held_r (id integer)");
    assert!(reason(&held).contains("reason    ticket 42\n"), "{}", reason(&held));
    gateway.ask("bob", &["approvals", "deny", &held.id]).unwrap();
    let output = held.child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "<>");
    // A command's own comes before the session's.
    let held = hold_after(&gateway, &before[..1], "/* reason: ticket 43 */ create table held_r (id integer)");
    assert!(reason(&held).contains("reason    ticket 43\n"), "{}", reason(&held));
    gateway.ask("bob", &["approvals", "deny", &held.id]).unwrap();
    held.child.wait_with_output().unwrap();
    let mixed = gateway.query("alice", "set portcullis.reason = 'x'; select 1").unwrap().1;
    assert!(mixed.contains("by itself"), "{mixed}");
}

#[test]
fn a_refusal_is_told_and_the_session_goes_on() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let held = hold(&gateway, "create table held_b (id integer)");
    gateway.ask("bob", &["approvals", "deny", &held.id, "--reason", "not today"]).unwrap();
    let output = held.child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("not today"));
    assert_eq!(tables(&postgres), "");
}

#[test]
fn cancel_and_disconnect_withdraw() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    for signal in ["INT", "KILL"] {
        let mut held = hold(&gateway, &format!("create table held_{signal} (id integer)"));
        std::process::Command::new("kill").args(["-s", signal, &held.child.id().to_string()]).status().unwrap();
        held.child.wait().unwrap();
        until("the request is withdrawn", Duration::from_secs(20), || is_withdrawn(&gateway, &held.id)).unwrap();
        let late = gateway.cli("bob", &["approvals", "approve", &held.id]).unwrap();
        assert!(!late.status.success());
    }
    assert_eq!(tables(&postgres), "");
}
