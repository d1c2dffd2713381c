//! Held commands: who may release them, and what becomes of them otherwise.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;
use serde_json::Value;

use crate::support::{guarded, shop, write_private};

/// What any of this takes at most.
const SOON: Duration = Duration::from_secs(30);

/// A client whose last command is held.
pub(crate) struct Held {
    child: Child,
    /// The request's identifier, as the client was told.
    pub(crate) id: String,
    told: PathBuf,
}

impl Held {
    /// What the client has been told so far.
    fn told(&self) -> String {
        fs::read_to_string(&self.told).unwrap()
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the client has ended: how, its results, and what it was told.
    pub(crate) fn end(self) -> (ExitStatus, String, String) {
        let told = self.told.clone();
        let output = self.child.wait_with_output().unwrap();
        (output.status, String::from_utf8(output.stdout).unwrap(), fs::read_to_string(told).unwrap())
    }
}

/// Starts a command of alice's that is held, and waits until it is.
pub(crate) fn hold(gateway: &Gateway, text: &str) -> Held {
    hold_as(gateway, "alice", &[text])
}

/// The same for the last of several commands, and of any user.
pub(crate) fn hold_as(gateway: &Gateway, user: &str, texts: &[&str]) -> Held {
    let (mut child, told) = client(gateway, user, texts);
    let id = until("the command is held", SOON, || held(&mut child, &told));
    Held { child, id: id.unwrap().expect("the command was not held"), told }
}

fn client(gateway: &Gateway, user: &str, texts: &[&str]) -> (Child, PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let told = gateway.directory().join(format!("told-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let arguments: Vec<&str> = texts.iter().flat_map(|text| ["-c", *text]).collect();
    let mut psql = gateway.psql(user, &arguments).unwrap();
    (psql.stdout(Stdio::piped()).stderr(File::create(&told).unwrap()).spawn().unwrap(), told)
}

/// The request that a client says it waits for; `None` if it has ended without.
fn held(child: &mut Child, told: &PathBuf) -> Result<Option<String>> {
    let ended = child.try_wait()?.is_some();
    let told = fs::read_to_string(told)?;
    let id = told.split_once("held for approval ").and_then(|(_, rest)| rest.split_once('\n'));
    match id {
        Some((id, _)) => Ok(Some(id.to_owned())),
        None if ended => Ok(None),
        None => anyhow::bail!("it was told {told:?}"),
    }
}

/// A request as reviewers see it.
pub(crate) fn show(gateway: &Gateway, id: &str) -> Result<Value> {
    Ok(serde_json::from_str(&gateway.ask("bob", &["approvals", "show", id, "--json"])?)?)
}

/// Waits until a request stands like this, and no client waits for it.
pub(crate) fn await_state(gateway: &Gateway, id: &str, state: &str) -> Value {
    until(&format!("{id} is {state}"), SOON, || {
        let view = show(gateway, id)?;
        ensure!(view["state"] == state && view["waiting"] == false, "{view}");
        Ok(view)
    })
    .unwrap()
}

/// What a command was refused with.
pub(crate) fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "it was not refused: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn tables(postgres: &Postgres) -> String {
    postgres.sql("shop", "select string_agg(relname, ',') from pg_class where relname like 'held%'").unwrap()
}

/// A gateway whose policy holds changes of the schema on these terms.
fn reviewing(postgres: &Postgres, terms: &str) -> Options {
    let rule = "[[policy.settings.rules]]\nname = \"schema-change\"\neffects = [\"ddl\"]\nany_of = [\"reviewers\"]";
    Options::before(postgres).with("review", "policies/review-schema-changes", &format!("{rule}\n{terms}"))
}

/// The story of the newest session.
fn newest_story(gateway: &Gateway) -> String {
    let recent = gateway.ask("rita", &["sessions", "list", "--recent", "--json"]).unwrap();
    let recent: Value = serde_json::from_str(&recent).unwrap();
    let text = recent[0].to_string();
    let id = text.split("\"session\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    gateway.ask("rita", &["sessions", "show", id]).unwrap()
}

#[test]
fn a_reviewer_releases_and_nobody_approves_their_own() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let held = hold(&gateway, "create table held_a (id integer)");
    assert_eq!(tables(&postgres), "");
    let decide = |name: &str, verb: &str| refused(&gateway.cli(name, &["approvals", verb, &held.id]).unwrap());
    for verb in ["approve", "deny"] {
        assert!(decide("alice", verb).contains("nobody approves their own"));
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
        assert!(why.contains("dora asked for this approval; nobody approves their own"), "{why}");
    }
    assert_eq!(show(&gateway, &held.id).unwrap()["state"], "open");
    gateway.ask("bob", &["approvals", "deny", &held.id]).unwrap();
    held.end();
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
    gateway.ask("bob", &["approvals", "deny", &held.id]).unwrap();
    held.end();
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
    gateway.ask("bob", &["approvals", "deny", &held.id]).unwrap();
    held.end();
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
        gateway.ask("bob", &["approvals", "deny", &again.id]).unwrap();
        again.end();
    }
    assert_eq!(tables(&postgres), "");
}

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
        assert!(!gateway.query("alice", &text).unwrap().1.contains("held"), "it serves again");
        let story = newest_story(&gateway);
        assert!(story.contains(&format!("approval {id}")), "what it rested on is on record:\n{story}");
    }
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
        let (mut child, told) = client(&gateway, "alice", &[text]);
        let id = until("the command passes or is held", SOON, || held(&mut child, &told))?;
        passed += u32::from(id.is_none());
        let id = id.context("it passes still")?;
        Ok(Held { child, id, told })
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

#[test]
fn glass_is_broken_by_who_may_with_words_and_for_all_to_see() {
    let postgres = shop();
    let scratch = Scratch::new("glass").unwrap();
    let token = write_private(&scratch, "dora.token", "dora-token-Wd6-0123456789abcdef");
    let mut options = reviewing(&postgres, "quorum = 2\n");
    options.more = "[[admin.token]]\nname = \"dora\"\ngroups = [\"oncall\"]\nrole = \"approver\"\n\
                    token = \"file:dora.token\"\n[approvals]\nbreak_glass = [\"oncall\"]\n"
        .into();
    let gateway = Gateway::start_in(scratch, options).unwrap();
    let held = hold_as(&gateway, "dora", &["create table held_g (id integer)"]);
    let approve = ["approvals", "approve", &held.id];
    let dora = |more: &[&str]| gateway.cli("olga", &[&approve, more, &["--token-file", &token]].concat()).unwrap();
    let reason = ["--break-glass", "--reason", "orders are stuck, nobody else is awake"];
    assert!(refused(&dora(&[])).contains("nobody approves their own"));
    assert!(refused(&dora(&["--break-glass"])).contains("--reason"));
    assert!(refused(&dora(&["--break-glass", "--reason", " now! \t     "])).contains("at least 10 characters"));
    let other = refused(&gateway.cli("bob", &[&approve[..], &reason].concat()).unwrap());
    assert!(other.contains("bob may not break glass"), "{other}");
    assert_eq!(tables(&postgres), "");
    assert!(!gateway.log().unwrap().contains("WARN"), "{}", gateway.log().unwrap());

    assert!(dora(&reason).status.success());
    let id = held.id.clone();
    let (status, _, told) = held.end();
    assert!(status.success(), "{told}");
    assert_eq!(tables(&postgres), "held_g");
    let found = gateway.ask("rita", &["audit", "search", "--verdict", "broken-glass"]).unwrap();
    for part in [&id, "BROKEN GLASS by dora", "orders are stuck"] {
        assert!(found.contains(part), "{part} is missing in:\n{found}");
    }
    let none = gateway.ask("rita", &["audit", "search", "--verdict", "approved"]).unwrap();
    assert!(!none.contains(&id), "it is told from an approval that was in order:\n{none}");
    let shown = gateway.ask("bob", &["approvals", "show", &id]).unwrap();
    assert!(shown.contains("BROKEN GLASS: approved alone"), "{shown}");
    assert!(newest_story(&gateway).contains("BROKEN GLASS by dora"));
    let log = gateway.log().unwrap();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("breaking glass"), "{warnings:#?}");
    assert!(warnings[0].contains("dora") && warnings[0].contains(&id), "{warnings:#?}");
    let metrics = gateway.http("/metrics", Some("rita")).unwrap();
    assert!(metrics.lines().any(|line| line.contains("glass") && line.ends_with(" 1")), "{metrics}");
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
    gateway.ask("bob", &["approvals", "deny", &held.id]).unwrap();
    held.end();
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
