//! What came of a replay, in words and as JSON.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use portcullis_verdict::{Finding, Reuse, Subject, Terms};
use serde::{Serialize, Serializer};

use super::compare::{Basis, Difference, Said};
use super::draft::Draft;
use super::results::Shown;
use crate::show::{json_lines, safe, table};
use crate::time;

/// The most characters of a text that are kept of a change.
const KEPT: usize = 4000;

/// The most characters of a text that are shown in words.
const SHOWN: usize = 300;

/// See the module.
#[derive(Serialize)]
pub(super) struct Report {
    draft: About,
    /// The policy that it is held against.
    policy: String,
    /// What the log does not tell, and what was wrong.
    notes: Vec<String>,
    /// Events read.
    pub(super) events: u64,
    /// Commands that the draft was asked about.
    commands: u64,
    /// Of these, held against the answer of the policy.
    against_policy: u64,
    /// Of these, held against what all policies together decided.
    against_outcome: u64,
    unchanged: u64,
    /// Only the message or the findings are others.
    words_only: u64,
    changed: u64,
    #[serde(serialize_with = "kinds")]
    kinds: BTreeMap<(String, String, Basis), u64>,
    /// Commands of which not everything was recorded that the draft asked for.
    approximate: u64,
    /// Sessions that were begun anew in the middle, since too many were under way.
    pub(super) begun_anew: u64,
    /// Commands that could not be run, by why.
    not_run: BTreeMap<&'static str, u64>,
    /// The newest first.
    #[serde(serialize_with = "newest_first")]
    changes: VecDeque<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) results: Option<Shown>,
    #[serde(skip)]
    limit: usize,
}

#[derive(Serialize)]
struct About {
    name: String,
    version: String,
    digest: String,
}

/// A command on which the draft decides otherwise.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    /// The event's number.
    pub(super) number: u64,
    pub(super) at_ms: u64,
    #[serde(flatten)]
    pub(super) subject: Arc<Subject>,
    pub(super) sequence: u64,
    pub(super) phase: &'static str,
    pub(super) text: Arc<str>,
    pub(super) against: Basis,
    pub(super) then: Said,
    pub(super) now: Said,
    pub(super) approximate: bool,
}

fn kinds<S: Serializer>(kinds: &BTreeMap<(String, String, Basis), u64>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Kind<'a> {
        then: &'a str,
        now: &'a str,
        against: Basis,
        commands: u64,
    }
    let kind = |((then, now, against), commands): (&'_ (String, String, Basis), &u64)| {
        serde_json::json!(Kind { then, now, against: *against, commands: *commands })
    };
    serializer.collect_seq(kinds.iter().map(kind))
}

fn newest_first<S: Serializer>(changes: &VecDeque<Change>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(changes.iter().rev())
}

impl Report {
    /// Of a draft that is held against this policy, with so many changes at most.
    pub(super) fn new(draft: &Draft, policy: &str, limit: usize) -> Self {
        let (version, digest) = (draft.version.clone(), draft.digest.clone());
        Self {
            draft: About { name: draft.name().to_owned(), version, digest },
            policy: policy.to_owned(),
            notes: Vec::new(),
            events: 0,
            commands: 0,
            against_policy: 0,
            against_outcome: 0,
            unchanged: 0,
            words_only: 0,
            changed: 0,
            kinds: BTreeMap::new(),
            approximate: 0,
            begun_anew: 0,
            not_run: BTreeMap::new(),
            changes: VecDeque::new(),
            results: None,
            limit,
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Says what a log does not keep.
    pub(super) fn knows(&mut self, labels: bool, terms: bool) {
        self.note(if labels {
            "labels of targets are those of the given configuration, not those of then".into()
        } else {
            "labels of targets are not in the log: the draft sees none (`--config` gives them)".into()
        });
        self.note(
            "parameters are in the log only where `audit.parameters` was on, as text and at most 1000 characters"
                .into(),
        );
        self.note(if terms {
            "terms of approvals are not in the log: those of requests that the gateway still knows are compared".into()
        } else {
            "terms of approvals are not in the log: a review is held against a review whatever its terms".into()
        });
        self.note("facts are read anew; an approved command is asked about as if it had not been approved yet".into());
    }

    pub(super) fn not_run(&mut self, why: &'static str) {
        *self.not_run.entry(why).or_default() += 1;
    }

    /// The draft was asked about a command.
    pub(super) fn ran(&mut self, basis: Basis, difference: Difference, approximate: bool) {
        self.commands += 1;
        self.approximate += u64::from(approximate);
        *match basis {
            Basis::Policy => &mut self.against_policy,
            Basis::Outcome => &mut self.against_outcome,
        } += 1;
        *match difference {
            Difference::None => &mut self.unchanged,
            Difference::Words => &mut self.words_only,
            Difference::Decision => &mut self.changed,
        } += 1;
    }

    /// It decided otherwise.
    pub(super) fn changed(&mut self, mut change: Change) {
        let kind = (change.then.verdict.to_string(), change.now.verdict.to_string(), change.against);
        *self.kinds.entry(kind).or_default() += 1;
        if self.limit == 0 {
            return;
        }
        if self.changes.len() == self.limit {
            self.changes.pop_front();
        }
        change.text = cut(&change.text, KEPT).into();
        for said in [&mut change.then, &mut change.now] {
            said.rewrite = said.rewrite.as_deref().map(|text| cut(text, KEPT));
            said.message = said.message.as_deref().map(|text| cut(text, KEPT));
        }
        self.changes.push_back(change);
    }

    /// Whether every decision is the same.
    pub(super) fn is_unchanged(&self) -> bool {
        self.changed == 0
    }

    /// As a document.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        Ok(json_lines(&(serde_json::to_string_pretty(self)? + "\n")))
    }

    /// For people.
    pub(super) fn words(&self) -> String {
        let mut out = String::new();
        let About { name, version, .. } = &self.draft;
        line(&mut out, "draft", &format!("{} {}", safe(name), safe(version)));
        line(
            &mut out,
            "held against",
            &format!("the answers of `{}` then; where it gave none, what all policies decided", safe(&self.policy)),
        );
        for note in &self.notes {
            line(&mut out, "note", &safe(note));
        }
        self.counts(&mut out);
        for change in self.changes.iter().rev() {
            out.push('\n');
            story(&mut out, change);
        }
        let left_out = self.changed - self.changes.len() as u64;
        if left_out > 0 {
            let _ = writeln!(out, "\n{left_out} older changes are not shown; `--limit` says how many are");
        }
        if let Some(results) = &self.results {
            out.push('\n');
            out.push_str(&results.words());
        }
        out
    }

    fn counts(&self, out: &mut String) {
        let Self { commands, against_policy, against_outcome, .. } = self;
        let policy = safe(&self.policy);
        line(
            out,
            "commands",
            &match commands {
                0 => format!("none of {} events was run", self.events),
                _ => format!(
                    "{commands} run: {against_policy} against `{policy}`, {against_outcome} against the whole outcome"
                ),
            },
        );
        line(out, "unchanged", &self.unchanged.to_string());
        line(out, "words only", &self.words_only.to_string());
        line(out, "changed", &self.changed.to_string());
        for ((then, now, against), count) in &self.kinds {
            let against = if *against == Basis::Outcome { " (whole outcome)" } else { "" };
            line(out, "", &format!("{} → {}: {count}{against}", safe(then), safe(now)));
        }
        if self.approximate > 0 {
            let why = "the draft asked for what was not recorded";
            line(out, "approximate", &format!("{}: {why}", self.approximate));
        }
        if self.begun_anew > 0 {
            let why = "too many were under way, so that the draft forgot what it kept in memory of them";
            line(out, "begun anew", &format!("{} times: {why}", self.begun_anew));
        }
        for (why, count) in &self.not_run {
            line(out, "not run", &format!("{count}: {why}"));
        }
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "{name:<13} {value}");
}

fn story(out: &mut String, change: &Change) {
    let Subject { session, principal, target } = &*change.subject;
    let mark = if change.approximate { ", approximate" } else { "" };
    let phase = if change.phase == "prepare" { ", prepared only" } else { "" };
    let (session, principal, target) = (safe(session), safe(principal), safe(target));
    let (at, sequence) = (time::shown(change.at_ms), change.sequence);
    let _ = writeln!(out, "{at}  {principal} to {target}, command {sequence} of {session}{phase}{mark}");
    let _ = writeln!(out, "  | {}", one_line(&change.text));
    let against = if change.against == Basis::Outcome { "  (whole outcome)" } else { "" };
    let _ = writeln!(out, "  then  {}{against}", said(&change.then));
    findings(out, &change.then.findings);
    let _ = writeln!(out, "  now   {}", said(&change.now));
    findings(out, &change.now.findings);
}

fn said(said: &Said) -> String {
    let mut out = safe(&said.verdict);
    if let Some(message) = said.message.as_deref().filter(|message| !message.is_empty()) {
        let _ = write!(out, ": {}", one_line(message));
    }
    if let Some(text) = &said.rewrite {
        let _ = write!(out, ": {}", one_line(text));
    }
    if let Some(Terms { any_of, quorum, ttl_seconds, reuse, .. }) = &said.terms {
        let groups = safe(&any_of.join(", "));
        let reuse = if *reuse == Reuse::SameCommand { ", for the same command again" } else { "" };
        let _ = write!(out, " [{quorum} of {groups} within {ttl_seconds} s{reuse}]");
    }
    out
}

fn findings(out: &mut String, findings: &[Finding]) {
    for Finding { rule, message } in findings {
        let _ = writeln!(out, "        {}: {}", safe(rule), one_line(message));
    }
}

fn one_line(text: &str) -> String {
    safe(&cut(text, SHOWN))
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl Shown {
    fn words(&self) -> String {
        let mut out = String::new();
        let Self { commands, results, rows, refused, dropped, masked_then, .. } = self;
        line(
            &mut out,
            "results",
            &format!(
                "{results} recorded of {commands} commands, {rows} rows; values are as clients saw them, and origins of columns are unknown"
            ),
        );
        line(&mut out, "changed then", &format!("{masked_then} cells"));
        line(&mut out, "refused now", &format!("{refused} results"));
        line(&mut out, "dropped now", &format!("{dropped} rows"));
        for (why, count) in &self.missed {
            line(&mut out, "not run", &format!("{count}: {why}"));
        }
        let rows: Vec<_> = self
            .columns
            .iter()
            .map(|c| {
                [
                    safe(&c.target),
                    safe(&c.name),
                    safe(&c.type_name),
                    c.values.to_string(),
                    c.changed.to_string(),
                    c.unread.to_string(),
                ]
            })
            .collect();
        if !rows.is_empty() {
            out.push_str(&table(["TARGET", "COLUMN", "TYPE", "VALUES", "CHANGED NOW", "UNREAD"], &rows));
        }
        out
    }
}
