//! Held commands: who may release them, and what becomes of them otherwise.

use std::fs::{self, File};

use anyhow::{Context as _, ensure};
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;
use portcullis_tests::receiver::Receiver;
use serde_json::Value;

use crate::held::{Held, SOON, await_state, finish, hold, hold_as, newest_story, refused, reviewing, show, tables};
use crate::support::{guarded, shop, write_private};

#[test]
fn a_reviewer_releases_and_nobody_approves_their_own() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let held = hold(&gateway, "create table held_a (id integer)");
    assert_eq!(tables(&postgres), "");
    let decide = |name: &str, verb: &str| refused(&gateway.cli(name, &["approvals", verb, &held.id]).unwrap());
    for verb in ["approve", "deny"] {
        assert!(decide("alice", verb).contains("asked for this approval"));
        assert!(decide("olga", verb).contains("it takes a member of reviewers"), "an operator is no reviewer");
        assert!(decide("rita", verb).contains("role"), "a reader decides nothing");
    }
    assert_eq!(tables(&postgres), "");
    gateway.ask("bob", &["approvals", "approve", &held.id, "--reason", "ticket 12"]).unwrap();
    let id = held.id.clone();
    let (status, _, err) = held.end();
    assert!(status.success() && err.contains(&id), "{err}");
    assert_eq!(tables(&postgres), "held_a");
    let again = refused(&gateway.cli("bob", &["approvals", "approve", &id]).unwrap());
    assert!(again.contains("it is approved"), "what is decided stays decided: {again}");
    let story = newest_story(&gateway);
    for part in ["create table held_a", "review-schema-changes", "bob", "ticket 12", "alice"] {
        assert!(story.contains(part), "{part} is missing in:\n{story}");
    }
}

#[test]
fn not_even_an_operator_approves_their_own() {
    let postgres = shop();
    let scratch = Scratch::new("operator").unwrap();
    let token = write_private(&scratch, "dora.token", "dora-token-Wd6-0123456789abcdef");
    let mut options = reviewing(&postgres, "");
    options.more = "[[admin.token]]\nname = \"dora\"\ngroups = [\"reviewers\"]\nrole = \"operator\"\n\
                    token = \"file:dora.token\"\n"
        .into();
    let gateway = Gateway::start_in(scratch, options).unwrap();
    let dora = |arguments: &[&str]| gateway.cli("olga", &[arguments, &["--token-file", &token]].concat()).unwrap();
    let held = hold_as(&gateway, "dora", &["create table held_o (id integer)"]);
    for verb in ["approve", "deny"] {
        let why = refused(&dora(&["approvals", verb, &held.id]));
        assert!(why.contains("dora asked for this approval"), "{why}");
    }
    assert_eq!(show(&gateway, &held.id).unwrap()["state"], "open");
    finish(&gateway, held, "deny");
    // Of others' she does.
    let held = hold(&gateway, "create table held_o (id integer)");
    assert!(dora(&["approvals", "approve", &held.id]).status.success());
    assert!(held.end().0.success());
    assert_eq!(tables(&postgres), "held_o");
}

#[test]
fn who_waits_is_told_for_whom_why_and_until_when() {
    let postgres = shop();
    let terms = "quorum = 2\nttl_seconds = 600\nreason = \"schemas are everybody's\"\n";
    let gateway = Gateway::start(reviewing(&postgres, terms)).unwrap();
    let held = hold(&gateway, "create table held_n (id integer)");
    // It is told now, not when it is over.
    let detail = until("it is told more", SOON, || {
        let told = held.told();
        let detail = told.split_once("DETAIL:").and_then(|(_, detail)| detail.split_once('\n'));
        Ok(detail.context(told.clone())?.0.trim().to_owned())
    })
    .unwrap();
    let shown = gateway.ask("bob", &["approvals", "show", &held.id]).unwrap();
    let until = shown.lines().find_map(|line| line.strip_prefix("until ")).and_then(|line| line.split_once(';'));
    let expected = format!(
        "policy \"review\": schemas are everybody's. 2 of reviewers must approve. Until {} (",
        until.expect(&shown).0.trim()
    );
    assert!(detail.starts_with(&expected), "{detail}\n{expected}");
    assert!(detail.ends_with("Cancelling or disconnecting withdraws it."), "{detail}");
    let seconds: u32 = detail[expected.len()..].split_once(" s)").unwrap().0.parse().unwrap();
    assert!((1..=600).contains(&seconds), "{detail}");
    finish(&gateway, held, "deny");
}

#[test]
fn a_justification_reaches_the_reviewer_and_not_the_server() {
    let postgres = shop();
    // Without masks, which would hide what the server knows.
    let options = Options::before(&postgres).with("review", "policies/review-schema-changes", "");
    let gateway = Gateway::start(options).unwrap();
    let reason = |held: &Held| gateway.ask("bob", &["approvals", "show", &held.id]).unwrap();
    let before = ["set portcullis.reason = 'ticket 42'", "select '<' || current_setting('portcullis.reason') || '>'"];
    let held = hold_as(&gateway, "alice", &[before[0], before[1], "create table held_r (id integer)"]);
    assert!(reason(&held).contains("reason    ticket 42\n"), "{}", reason(&held));
    gateway.ask("bob", &["approvals", "deny", &held.id]).unwrap();
    assert_eq!(held.end().1.trim(), "<>");
    // A command's own comes before the session's.
    let held = hold_as(&gateway, "alice", &[before[0], "/* reason: ticket 43 */ create table held_r (id integer)"]);
    assert!(reason(&held).contains("reason    ticket 43\n"), "{}", reason(&held));
    finish(&gateway, held, "deny");
    let mixed = gateway.query("alice", "set portcullis.reason = 'x'; select 1").unwrap().1;
    assert!(mixed.contains("by itself"), "{mixed}");
}

#[test]
fn a_refusal_is_told_and_the_session_goes_on() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let held = hold(&gateway, "create table held_b (id integer)");
    gateway.ask("bob", &["approvals", "deny", &held.id, "--reason", "not today"]).unwrap();
    let (_, _, err) = held.end();
    assert!(err.contains("not today"), "{err}");
    assert_eq!(tables(&postgres), "");
}

#[test]
fn cancel_and_disconnect_withdraw_and_a_late_approval_runs_nothing() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    for signal in ["INT", "KILL"] {
        let text = format!("create table held_{signal} (id integer)");
        let held = hold(&gateway, &text);
        held.signal(signal);
        let id = held.id.clone();
        held.end();
        await_state(&gateway, &id, "withdrawn");
        let late = refused(&gateway.cli("bob", &["approvals", "approve", &id]).unwrap());
        assert!(late.contains(&format!("approval {id} is not open: it is withdrawn")), "{late}");
        // Nor does it serve whoever comes back.
        let again = hold(&gateway, &text);
        assert_ne!(again.id, id);
        finish(&gateway, again, "deny");
    }
    assert_eq!(tables(&postgres), "");
}

#[test]
fn a_quorum_is_of_different_people() {
    let postgres = shop();
    let gateway = Gateway::start(reviewing(&postgres, "quorum = 2\n")).unwrap();
    let held = hold_as(&gateway, "dora", &["create table held_q (id integer)"]);
    let view: Value =
        serde_json::from_str(&gateway.ask("bob", &["approvals", "approve", &held.id, "--json"]).unwrap()).unwrap();
    assert_eq!((&view["state"], &view["waiting"]), (&"open".into(), &true.into()));
    let again = refused(&gateway.cli("bob", &["approvals", "approve", &held.id]).unwrap());
    assert!(again.contains("bob has approved this already"), "{again}");
    let list = gateway.ask("alice", &["approvals", "list"]).unwrap();
    assert!(list.contains(&held.id) && list.contains("1/2"), "{list}");
    assert_eq!(tables(&postgres), "");
    gateway.ask("alice", &["approvals", "approve", &held.id]).unwrap();
    let (status, _, told) = held.end();
    assert!(status.success(), "{told}");
    assert_eq!(tables(&postgres), "held_q");
}

/// A gateway that dora may break the glass of, and her token's file.
fn on_call(postgres: &Postgres, more: &str) -> (Gateway, String) {
    let scratch = Scratch::new("glass").unwrap();
    let token = write_private(&scratch, "dora.token", "dora-token-Wd6-0123456789abcdef");
    let mut options = reviewing(postgres, "quorum = 2\n");
    options.more = "[[admin.token]]\nname = \"dora\"\ngroups = [\"oncall\"]\nrole = \"approver\"\n\
                    token = \"file:dora.token\"\n[approvals]\nbreak_glass = [\"oncall\"]\n"
        .to_owned()
        + more;
    (Gateway::start_in(scratch, options).unwrap(), token)
}

const EMERGENCY: [&str; 3] = ["--break-glass", "--reason", "orders are stuck, nobody else is awake"];

#[test]
fn glass_is_broken_by_who_may_and_with_words() {
    let postgres = shop();
    let (mut gateway, token) = on_call(&postgres, "");
    let dora = |gateway: &Gateway, id: &str, more: &[&str]| {
        let approve = ["approvals", "approve", id, "--token-file", &token];
        gateway.cli("olga", &[&approve[..], more].concat()).unwrap()
    };
    let held = hold_as(&gateway, "dora", &["create table held_g (id integer)"]);
    for (more, why) in [
        (&[][..], "asked for this approval"),
        (&["--break-glass"], "--reason"),
        (&["--break-glass", "--reason", " now! \t     "], "at least 10 characters"),
    ] {
        let refusal = refused(&dora(&gateway, &held.id, more));
        assert!(refusal.contains(why), "{refusal}");
    }
    let other = refused(&gateway.cli("bob", &[&["approvals", "approve", &held.id][..], &EMERGENCY].concat()).unwrap());
    assert!(other.contains("bob may not break glass"), "{other}");
    assert_eq!(tables(&postgres), "");
    let others = hold(&gateway, "create table held_h (id integer)");
    for held in [held, others] {
        assert!(dora(&gateway, &held.id, &EMERGENCY).status.success());
        let (status, _, told) = held.end();
        assert!(status.success(), "{told}");
    }
    assert_eq!(tables(&postgres).len(), "held_g,held_h".len());
    // Until the configuration takes it away.
    gateway.configure(|options| options.more = options.more.replace("break_glass = [\"oncall\"]", "")).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    let held = hold(&gateway, "create table held_z (id integer)");
    let late = refused(&dora(&gateway, &held.id, &EMERGENCY));
    assert!(late.contains("dora may not break glass"), "{late}");
    finish(&gateway, held, "deny");
}

#[test]
fn broken_glass_cannot_be_overlooked() {
    let postgres = shop();
    let team = Receiver::start(0, []).unwrap();
    let webhook = format!("[[approvals.webhook]]\nname = \"team\"\nurl = \"{}\"\n", team.url("/"));
    let (gateway, token) = on_call(&postgres, &webhook);
    let held = hold_as(&gateway, "dora", &["create table held_g (id integer)"]);
    let id = held.id.clone();
    let approve = ["approvals", "approve", &id, "--token-file", &token];
    gateway.ask("olga", &[&approve[..], &EMERGENCY].concat()).unwrap();
    held.end();
    let found = gateway.ask("rita", &["audit", "search", "--verdict", "broken-glass"]).unwrap();
    for part in [&id, "BROKEN GLASS by dora", "orders are stuck"] {
        assert!(found.contains(part), "{part} is missing in:\n{found}");
    }
    let in_order = gateway.ask("rita", &["audit", "search", "--verdict", "approved"]).unwrap();
    assert!(!in_order.contains(&id), "{in_order}");
    let shown = gateway.ask("bob", &["approvals", "show", &id]).unwrap();
    assert!(shown.contains("BROKEN GLASS: approved alone"), "{shown}");
    let list = gateway.ask("bob", &["approvals", "list", "--all"]).unwrap();
    assert!(list.contains("approved, BROKEN GLASS"), "{list}");
    assert!(newest_story(&gateway).contains("BROKEN GLASS by dora"));
    let log = gateway.log().unwrap();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("breaking glass"), "{warnings:#?}");
    assert!(warnings[0].contains("dora") && warnings[0].contains(&id), "{warnings:#?}");
    let metrics = gateway.http("/metrics", Some("rita")).unwrap();
    assert!(metrics.lines().any(|line| line.contains("glass") && line.ends_with(" 1")), "{metrics}");
    let told = team.wait("the team is told", |one| one.body.contains("broken-glass")).unwrap();
    assert!(told.body.contains(&id) && told.body.contains("orders are stuck"), "{}", told.body);
}

#[test]
fn a_policy_that_came_meanwhile_denies_what_people_have_approved() {
    let postgres = shop();
    let mut gateway = Gateway::start(reviewing(&postgres, "")).unwrap();
    let held = hold(&gateway, "drop table orders");
    gateway
        .configure(|options| {
            let clock = "capabilities = [\"clock\"]";
            *options = options.clone().with("no-destructive-sql", "policies/no-destructive-sql", clock);
        })
        .unwrap();
    assert!(gateway.reload().unwrap().status.success());
    gateway.ask("bob", &["approvals", "approve", &held.id]).unwrap();
    let (status, _, told) = held.end();
    assert!(!status.success() && told.contains("denied by policy \"no-destructive-sql\""), "{told}");
    assert_eq!(postgres.sql("shop", "select count(*) from orders").unwrap(), "40");
    let story = newest_story(&gateway);
    let (before, after) = story.split_once("approved by bob").expect(&story);
    assert!(before.contains("REVIEW") && after.contains("DENY") && !story.contains("done:"), "{story}");
}

#[test]
fn a_policy_that_came_meanwhile_asks_its_own_people() {
    let postgres = shop();
    let mut gateway = Gateway::start(reviewing(&postgres, "")).unwrap();
    let held = hold_as(&gateway, "dora", &["create table held_m (id integer)"]);
    gateway
        .configure(|options| *options = options.clone().with("second", "policies/review-schema-changes", ""))
        .unwrap();
    assert!(gateway.reload().unwrap().status.success());
    gateway.ask("bob", &["approvals", "approve", &held.id]).unwrap();
    let second = until("it is held again", SOON, || {
        let told = held.told();
        let id = told.split("held for approval ").nth(2).and_then(|rest| rest.split_once('\n'));
        Ok(id.context(told.clone())?.0.to_owned())
    })
    .unwrap();
    assert_ne!(second, held.id);
    let view = show(&gateway, &second).unwrap();
    assert_eq!((&view["demands"][0]["policy"], &view["demands"][1]), (&"second".into(), &Value::Null), "{view}");
    assert_eq!(tables(&postgres), "");
    gateway.ask("alice", &["approvals", "approve", &second]).unwrap();
    let (status, _, told) = held.end();
    assert!(status.success(), "{told}");
    assert_eq!(tables(&postgres), "held_m");
}

#[test]
fn what_reviewers_read_hides_nothing() {
    let postgres = shop();
    let gateway = Gateway::start(reviewing(&postgres, "")).unwrap();
    let hidden = ["\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}", "\u{ad}", "\u{1b}[2J", "\u{9b}2J", "\u{8}", "\r"];
    let text = format!("create table held_h (id integer) /* {} */", hidden.join("x"));
    let held = hold(&gateway, &text);
    let watch = File::create(gateway.directory().join("watched")).unwrap();
    let mut watching = gateway.command("bob", &["approvals", "watch"]).unwrap().stdout(watch).spawn().unwrap();
    let watched = until("the request is told", SOON, || {
        let watched = fs::read_to_string(gateway.directory().join("watched"))?;
        ensure!(watched.ends_with('\n'), "only {watched:?}");
        Ok(watched)
    });
    watching.kill().unwrap();
    watching.wait().unwrap();
    let shown = gateway.ask("bob", &["approvals", "show", &held.id]).unwrap();
    let json = gateway.ask("bob", &["approvals", "show", &held.id, "--json"]).unwrap();
    let list = gateway.ask("bob", &["approvals", "list"]).unwrap();
    for output in [&shown, &json, &list, &watched.unwrap()] {
        let bad = |c: char| (c.is_control() && c != '\n') || hidden.iter().any(|h| h.starts_with(c) && c != '\n');
        assert!(!output.contains(bad), "{output:?}");
    }
    for escape in
        ["\\u{202e}", "\\u{2066}", "\\u{200b}", "\\u{feff}", "\\u{ad}", "\\u{1b}[2J", "\\u{9b}2J", "\\u{8}", "\\r"]
    {
        assert!(shown.contains(escape), "{escape} is missing in:\n{shown}");
    }
    // It is the text that would run, all of it.
    assert_eq!(show(&gateway, &held.id).unwrap()["text"], text.as_str());
    finish(&gateway, held, "deny");
}

#[test]
fn a_watcher_sees_requests_come_and_end_and_the_gateway_come_back() {
    let postgres = shop();
    let mut options = reviewing(&postgres, "");
    options.more = "[limits]\ndrain_s = 1\n".into();
    let mut gateway = Gateway::start(options).unwrap();
    let (path, words) = (gateway.directory().join("watched"), gateway.directory().join("words"));
    let mut watch = gateway.command("bob", &["approvals", "watch"]).unwrap();
    watch.stdout(File::create(&path).unwrap()).stderr(File::create(&words).unwrap());
    let mut watching = watch.spawn().unwrap();
    let sees = |id: &str, what: &str| {
        until(&format!("{id} is told as {what}"), SOON, || {
            let watched = fs::read_to_string(&path)?;
            let line = watched.lines().find(|line| line.contains(id) && line.contains(what));
            Ok(line
                .with_context(|| format!("{watched}\n{}", fs::read_to_string(&words).unwrap_or_default()))?
                .to_owned())
        })
        .unwrap()
    };
    let held = hold(&gateway, "create table held_w (id integer)");
    let line = sees(&held.id, "open");
    assert!(line.contains("alice to shop") && line.contains("create table held_w"), "{line}");
    gateway.ask("bob", &["approvals", "deny", &held.id, "--reason", "not today"]).unwrap();
    assert!(sees(&held.id, "denied").contains("denied by bob: not today"));
    held.end();

    let held = hold(&gateway, "create table held_w (id integer)");
    sees(&held.id, "open");
    let id = held.id.clone();
    gateway.restart().unwrap();
    let (status, _, told) = held.end();
    assert!(!status.success(), "{told}");
    let view = await_state(&gateway, &id, "withdrawn");
    assert!(view["decided"].as_str().is_some_and(|why| why.contains("gateway") || why.contains("left")), "{view}");
    refused(&gateway.cli("bob", &["approvals", "approve", &id]).unwrap());
    // Whoever watches need not begin anew.
    let held = hold(&gateway, "create table held_w (id integer)");
    sees(&held.id, "open");
    gateway.ask("bob", &["approvals", "deny", &held.id]).unwrap();
    sees(&held.id, "denied");
    held.end();
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert_eq!(tables(&postgres), "");
}

#[test]
fn what_is_held_when_the_gateway_is_to_stop_may_still_be_approved() {
    let postgres = shop();
    let mut options = reviewing(&postgres, "");
    options.more = "[limits]\ndrain_s = 60\n".into();
    let mut gateway = Gateway::start(options).unwrap();
    let held = hold(&gateway, "create table held_d (id integer)");
    gateway.signal("TERM").unwrap();
    until("it drains", SOON, || {
        ensure!(gateway.http("/readyz", None)?.starts_with("HTTP/1.1 503"), "it is ready still");
        Ok(())
    })
    .unwrap();
    gateway.ask("bob", &["approvals", "approve", &held.id]).unwrap();
    let (status, _, words) = held.end();
    assert!(status.success(), "{words}");
    gateway.stop().unwrap();
    assert_eq!(tables(&postgres), "held_d");
}
