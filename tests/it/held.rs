//! Clients whose commands are held, and how reviewers see them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;
use serde_json::Value;

/// What any step of these tests takes at most.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A client whose last command is held.
pub(crate) struct Held {
    child: Child,
    /// The request's identifier, as the client was told.
    pub(crate) id: String,
    told: PathBuf,
}

/// Starts a command of alice's that is held, and waits until it is.
pub(crate) fn hold(gateway: &Gateway, text: &str) -> Held {
    hold_as(gateway, "alice", &[text])
}

/// The same for the last of several commands, and of any user.
pub(crate) fn hold_as(gateway: &Gateway, user: &str, texts: &[&str]) -> Held {
    try_hold(gateway, user, texts).expect("the command was not held")
}

/// The same for a command that may pass; then there is nothing.
pub(crate) fn try_hold(gateway: &Gateway, user: &str, texts: &[&str]) -> Option<Held> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let told = gateway.directory().join(format!("told-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let arguments: Vec<&str> = texts.iter().flat_map(|text| ["-c", *text]).collect();
    let mut psql = gateway.psql(user, &arguments).unwrap();
    let mut child = psql.stdout(Stdio::piped()).stderr(File::create(&told).unwrap()).spawn().unwrap();
    let id = until("the command is held", SOON, || {
        let ended = child.try_wait()?.is_some();
        let told = fs::read_to_string(&told)?;
        match told.split_once("held for approval ").and_then(|(_, rest)| rest.split_once('\n')) {
            Some((id, _)) => Ok(Some(id.to_owned())),
            None if ended => Ok(None),
            None => bail!("it was told {told:?}"),
        }
    });
    Some(Held { child, id: id.unwrap()?, told })
}

impl Held {
    /// What the client has been told so far.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(&self.told).unwrap()
    }

    /// Sends the client a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the client has ended: how, its results, and what it was told.
    pub(crate) fn end(mut self) -> (ExitStatus, String, String) {
        let ended = until("the client ends", 2 * SOON, || {
            let status = self.child.try_wait()?;
            status.with_context(|| format!("it was told {:?}", self.told()))
        });
        if ended.is_err() {
            self.child.kill().unwrap();
        }
        let (status, mut out) = (ended.unwrap(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (status, out, self.told())
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

/// Decides on a request as bob, and waits for the end of its client.
pub(crate) fn finish(gateway: &Gateway, held: Held, verb: &str) {
    gateway.ask("bob", &["approvals", verb, &held.id]).unwrap();
    held.end();
}

/// What a command line was refused with.
pub(crate) fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "it was not refused: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The tables that tests like these have made.
pub(crate) fn tables(postgres: &Postgres) -> String {
    postgres.sql("shop", "select string_agg(relname, ',') from pg_class where relname like 'held%'").unwrap()
}

/// A gateway whose policy holds changes of the schema on these terms.
pub(crate) fn reviewing(postgres: &Postgres, terms: &str) -> Options {
    let rule = "[[policy.settings.rules]]\nname = \"schema-change\"\neffects = [\"ddl\"]\nany_of = [\"reviewers\"]";
    Options::before(postgres).with("review", "policies/review-schema-changes", &format!("{rule}\n{terms}"))
}

/// The story of the newest session.
pub(crate) fn newest_story(gateway: &Gateway) -> String {
    let recent = gateway.ask("rita", &["sessions", "list", "--recent", "--json"]).unwrap();
    let recent: Value = serde_json::from_str(&recent).unwrap();
    let text = recent[0].to_string();
    let id = text.split("\"session\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    gateway.ask("rita", &["sessions", "show", id]).unwrap()
}
