//! The books of the load: what clients were promised, against the server's table, the server's log and the gateway's audit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::sync::{Arc, Mutex};

use portcullis_tests::gateway::Gateway;
use portcullis_tests::postgres::{Postgres, ROLE};
use serde_json::Value;

use crate::evidence::{event, key, verify};

/// Problems that are shown; one cause may have thousands.
const SHOWN: usize = 20;

/// What the clients tell.
#[derive(Default)]
pub(super) struct Ledger {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// How often everything was done.
    done: BTreeMap<String, u64>,
    /// Marks that were promised to be in the table, and that must not be there.
    promised: BTreeSet<String>,
    undone: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Ledger {
    pub(super) fn done(&self, what: impl Into<String>) {
        *self.book.lock().unwrap().done.entry(what.into()).or_default() += 1;
    }

    pub(super) fn promised(&self, marks: impl IntoIterator<Item = String>) {
        self.book.lock().unwrap().promised.extend(marks);
    }

    pub(super) fn undone(&self, marks: impl IntoIterator<Item = String>) {
        self.book.lock().unwrap().undone.extend(marks);
    }

    pub(super) fn wrong(&self, why: impl Into<String>) {
        self.book.lock().unwrap().wrong.push(why.into());
    }

    /// What was done so far, in a line.
    pub(super) fn summary(&self) -> String {
        let book = self.book.lock().unwrap();
        let done: Vec<String> = book.done.iter().map(|(what, count)| format!("{what} {count}")).collect();
        format!("{}; {} marks, {} undone", done.join(", "), book.promised.len(), book.undone.len())
    }

    /// Whether all of these were done, and nothing went wrong.
    pub(super) fn holds(&self, all: &[String]) {
        let book = self.book.lock().unwrap();
        none("things that went wrong", &book.wrong);
        let never: Vec<_> = all.iter().filter(|what| !book.done.contains_key(*what)).collect();
        none("things that were never done", &never);
    }

    /// What was promised is in the server's table, and nothing that was undone.
    pub(super) fn agrees_with(&self, postgres: &Postgres) {
        let book = self.book.lock().unwrap();
        let table = postgres.sql("shop", "select mark from marks").unwrap();
        let table: BTreeSet<&str> = table.lines().collect();
        let lost: Vec<_> = book.promised.iter().filter(|mark| !table.contains(mark.as_str())).collect();
        none("marks that were promised and are not in the table", &lost);
        // Rows of a COPY are numbered behind its mark.
        let stem = |mark: &str| mark.split_once('#').map_or(mark, |(stem, _)| stem).to_owned();
        let stray: Vec<_> = table.iter().filter(|mark| book.undone.contains(&stem(mark))).collect();
        none("marks that are in the table and were undone", &stray);
    }
}

fn none<T: std::fmt::Debug>(what: &str, problems: &[T]) {
    let shown = &problems[..problems.len().min(SHOWN)];
    assert!(problems.is_empty(), "{} {what}: {shown:#?}", problems.len());
}

/// A session in the audit.
#[derive(Default)]
struct Story {
    opened: bool,
    closed: u32,
    commands: BTreeMap<u64, Command>,
}

/// A command in the audit.
#[derive(Default)]
struct Command {
    text: Arc<str>,
    executes: bool,
    /// The outcomes in order: one that was held has several.
    outcomes: Vec<String>,
    /// What happened to the approval requests that it waited for.
    approvals: Vec<String>,
    /// How it has ended, if it has: with an error, or none.
    finished: Option<Option<String>>,
}

/// Everything that the audit holds, which has to be whole by itself.
pub(super) struct Audit {
    stories: BTreeMap<String, Story>,
}

impl Audit {
    pub(super) fn read(gateway: &Gateway) -> Self {
        gateway.ask("rita", &["audit", "export", "--output", "export.jsonl"]).unwrap();
        let (holds, report) = verify(gateway, &["export.jsonl", "--key", &key(gateway), "--allow-unsigned"]);
        assert!(holds, "{report}");
        let mut audit = Self { stories: BTreeMap::new() };
        // One by one: it may be the log of an hour.
        for line in BufReader::new(File::open(gateway.directory().join("export.jsonl")).unwrap()).lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["type"] == "event" {
                audit.take(event(&line));
            }
        }
        audit
    }

    fn take(&mut self, (kind, content): (&str, &Value)) {
        let text = |key: &str| content[key].as_str().unwrap_or_default().to_owned();
        let Some(session) = content["subject"]["session"].as_str() else { return };
        let story = self.stories.entry(session.to_owned()).or_default();
        let command = content["sequence"].as_u64().map(|number| story.commands.entry(number).or_default());
        match (kind, command) {
            ("Open", _) => story.opened = content["refused"].is_null(),
            ("Close", _) => story.closed += 1,
            ("Command", Some(command)) => {
                command.text = text("text").into();
                command.executes = content["phase"] == "execute";
                command.outcomes.push(text("outcome"));
            }
            ("Approval", Some(command)) => command.approvals.push(text("what")),
            ("Finish", Some(command)) => command.finished = Some(content["error"].as_str().map(str::to_owned)),
            _ => {}
        }
    }

    /// Every command is decided, every session that opened has closed, and nothing is forgotten in between.
    pub(super) fn is_whole(&self) {
        let mut problems = Vec::new();
        for (session, story) in &self.stories {
            if story.opened && story.closed != 1 {
                problems.push(format!("{session} is closed {} times", story.closed));
            }
            let last = story.commands.iter().rev().find(|(_, command)| command.finished.is_some()).map(|(n, _)| *n);
            for (number, command) in &story.commands {
                let undecided = match command.outcomes.last().map(String::as_str) {
                    Some("allow" | "deny") => false,
                    // Nobody has decided on it, and it has not run.
                    Some("review") => !command.approvals.iter().any(|what| what == "withdrawn" || what == "denied"),
                    _ => true,
                };
                let runs = command.executes && command.is_allowed();
                let forgotten = runs && command.finished.is_none() && last.is_some_and(|last| last > *number);
                // What does not run ends only where the gateway itself refuses what policies allowed.
                let not_sent = |end: &Option<String>| end.as_ref().is_some_and(|error| error.starts_with("not sent"));
                let odd = !runs && command.finished.as_ref().is_some_and(|end| !not_sent(end));
                if undecided || forgotten || odd {
                    let Command { text, outcomes, approvals, finished, .. } = command;
                    problems.push(format!("{session} {number} {text}: {outcomes:?} {approvals:?} {finished:?}"));
                }
            }
        }
        none("problems in the audit", &problems);
    }

    /// Whatever the server ran was allowed before, and whatever the audit says has ended well did run.
    pub(super) fn agrees_with(&self, postgres: &Postgres) {
        let log = postgres.log().unwrap();
        let ran = count(log.lines().filter_map(statement));
        let commands = || self.stories.values().flat_map(|story| story.commands.values()).filter(|c| c.executes);
        let allowed = count(commands().filter(|c| c.is_allowed()).map(|c| &*c.text));
        let ended = count(commands().filter(|c| c.finished == Some(None)).map(|c| &*c.text));
        let more = |more: &BTreeMap<&str, u64>, than: &BTreeMap<&str, u64>| -> Vec<String> {
            let at = |text: &str| than.get(text).copied().unwrap_or_default();
            let more = more.iter().filter(|(text, times)| **times > at(text));
            more.map(|(text, times)| format!("{text}: {times} and {}", at(text))).collect()
        };
        none("texts that the server ran more often than the audit allowed", &more(&ran, &allowed));
        none("texts that ended well more often than the server ran them", &more(&ended, &ran));
        assert!(ran.values().sum::<u64>() > 500, "the server ran {} texts", ran.values().sum::<u64>());
    }
}

impl Command {
    fn is_allowed(&self) -> bool {
        self.outcomes.iter().any(|outcome| outcome == "allow")
    }
}

fn count<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u64> {
    let mut counts = BTreeMap::new();
    texts.for_each(|text| *counts.entry(text).or_default() += 1);
    counts
}

/// The server's lines begin with who they are about: see [`super::PREFIX`].
fn statement(line: &str) -> Option<&str> {
    let (application, line) = line.split_once('|')?;
    let (user, line) = line.split_once('|')?;
    if user != ROLE || application == "watcher" || application == "portcullis catalogue" {
        return None;
    }
    let line = line.strip_prefix("LOG:  ")?;
    let prepared = || line.strip_prefix("execute ")?.split_once(": ").map(|(_, text)| text);
    line.strip_prefix("statement: ").or_else(prepared)
}
