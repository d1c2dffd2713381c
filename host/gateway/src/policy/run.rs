//! `portcullis policy run`

use std::fmt::Write;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use portcullis_engine::Hook;
use portcullis_package::{Package, read_settings};
use portcullis_proxy::read_statement;
use portcullis_verdict::{
    Answer, Command, Decide, Facts, Fault, Outcome, Parameter, Phase, Policies, Reuse, Ruling, Session, Statement,
    Target, Terms, Verdict,
};
use serde_json::{Value, json};

use super::cost::{Cost, Ledger, time};
use super::coverage::decision;
use super::trial::{Trial, somebody};
use super::{INSTANCES, engine, spec};
use crate::cli;
use crate::show::{input, json_lines, read_in, safe_lines};

/// Asks a package about one command. The exit code tells whether the policy answered, whatever its answer is.
pub(super) fn run(args: &cli::Run) -> anyhow::Result<ExitCode> {
    let package = Package::open(&args.package)?;
    let settings = args.settings.as_deref().map(read_settings).transpose()?;
    let ledger = Ledger::default();
    let engine = engine(INSTANCES, Some(ledger.meter()), false)?;
    let trial = Trial::new(&engine, spec(&package, settings.as_ref())?)?;
    let session = Arc::new(session(args)?);
    let command = Arc::new(command(args));
    let mut judge = trial.judge(&session);
    ledger.take();
    let mut ruling = judge.open();
    let opened = !matches!(ruling.outcome, Outcome::Deny(_));
    if opened {
        ruling = judge.check(&command, &[], &read_statement);
    }
    let first = ledger.take();
    if opened {
        judge.check(&command, &[], &read_statement);
    }
    // An instance that failed is gone: then there is no warm one.
    let again = ledger.take().into_iter().find(|cost| cost.hook == Hook::Check && !cost.failed);
    let status = engine.status().into_iter().find(|status| status.name == trial.name());
    let asked = Asked {
        opened,
        answer: answer(&ruling, trial.name()),
        statement: &command.statement,
        first,
        again,
        backtrace: status.and_then(|status| status.last_backtrace),
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        write!(out, "{}", json_lines(&format!("{:#}\n", asked.json())))?;
    } else {
        write!(out, "{}", asked.text())?;
    }
    let failed = asked.answer.is_some_and(|answer| answer.verdict.is_err());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn session(args: &cli::Run) -> anyhow::Result<Session> {
    let label = |label: &String| {
        let (key, value) = label.split_once('=').with_context(|| format!("the label `{label}` is not KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    let labels = args.labels.iter().map(label).collect::<anyhow::Result<_>>()?;
    let mut session = somebody(&args.target);
    session.target = Arc::new(Target { name: args.target.clone(), labels });
    session.principal.name.clone_from(&args.principal);
    session.principal.groups.clone_from(&args.groups);
    Ok(session)
}

fn command(args: &cli::Run) -> Command {
    let parameter = |text: &String| Parameter { value: Some(text.clone().into_bytes().into()), binary: false };
    Command {
        sequence: 1,
        phase: Phase::Execute,
        statement: read_statement(&args.command),
        parameters: args.parameters.iter().map(parameter).collect(),
        reason: None,
        origins: None,
    }
}

fn answer<'a>(ruling: &'a Ruling, policy: &str) -> Option<&'a Answer> {
    ruling.explanation.iter().find(|answer| &*answer.policy == policy)
}

/// What was asked, what came back, and what it cost.
struct Asked<'a> {
    /// Whether the session might open, so that the command was asked about.
    opened: bool,
    answer: Option<&'a Answer>,
    statement: &'a Statement,
    first: Vec<Cost>,
    again: Option<Cost>,
    backtrace: Option<String>,
}

impl Asked<'_> {
    fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, text: &str| {
            let text = safe_lines(text).replace('\n', &format!("\n{:11}", ""));
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name:<10} {text}");
        };
        if !self.opened {
            line("session", "refused: the command is not asked about");
        }
        match self.answer {
            None => {
                line("verdict", "none: the policy does not check commands; what it does to results is shown by cases")
            }
            Some(Answer { verdict, findings, inputs, .. }) => {
                let (name, details) = told(verdict);
                line("verdict", name);
                details.iter().for_each(|(name, text)| line(name, text));
                findings.iter().for_each(|finding| line("finding", &format!("{}: {}", finding.rule, finding.message)));
                inputs.iter().for_each(|got| line("it got", &input(got)));
            }
        }
        if let Some(trace) = &self.backtrace {
            line("backtrace", trace);
        }
        line("host read", &facts(&self.statement.facts));
        let first: Vec<String> = self.first.iter().map(|cost| format!("{} {}", cost.hook, time(cost.nanos))).collect();
        if !first.is_empty() {
            line("first", &first.join(", "));
        }
        if let Some(again) = &self.again {
            line(
                "again",
                &format!("{} {}; {} KiB of memory", again.hook, time(again.nanos), again.memory_bytes / 1024),
            );
        }
        out
    }

    fn json(&self) -> Value {
        let micros = |cost: &Cost| cost.nanos as f64 / 1000.0;
        let first: Vec<Value> =
            self.first.iter().map(|cost| json!({"hook": cost.hook.as_str(), "micros": micros(cost)})).collect();
        let mut shown = json!({
            "session_opened": self.opened,
            "verdict": null,
            "findings": [],
            "facts": *self.statement.facts,
            "first": first,
            "again_micros": self.again.as_ref().map(micros),
            "memory_bytes": self.again.as_ref().map(|cost| cost.memory_bytes),
        });
        if let Some(Answer { verdict, findings, inputs, .. }) = self.answer {
            shown["findings"] = json!(findings);
            shown["inputs"] = json!(inputs);
            match verdict {
                Ok(verdict) => {
                    shown["verdict"] = decision(verdict).into();
                    match verdict {
                        Verdict::Allow => {}
                        Verdict::Rewrite(text) => shown["rewrite"] = text.as_str().into(),
                        Verdict::Deny(message) => shown["message"] = message.as_str().into(),
                        Verdict::Review(terms) => shown["approval"] = json!(terms),
                    }
                }
                Err(fault) => {
                    shown["verdict"] = "fault".into();
                    shown["message"] = fault.to_string().into();
                    shown["backtrace"] = self.backtrace.clone().into();
                }
            }
        }
        shown
    }
}

/// A verdict and what belongs to it, for people.
fn told(verdict: &Result<Verdict, Fault>) -> (&'static str, Vec<(&'static str, String)>) {
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(fault) => return ("fault: the gateway denies", vec![("because", format!("the policy {fault}"))]),
    };
    let details = match verdict {
        Verdict::Allow => vec![],
        Verdict::Deny(message) if message.is_empty() => vec![],
        Verdict::Deny(message) => vec![("message", message.clone())],
        Verdict::Rewrite(text) => vec![("runs", text.clone())],
        Verdict::Review(Terms { any_of, quorum, ttl_seconds, reuse, reason }) => {
            let reuse = match reuse {
                Reuse::Once => "once",
                Reuse::SameCommand => "for the same command",
            };
            let terms = format!("{quorum} of {}, within {ttl_seconds} s, counts {reuse}", any_of.join(", "));
            vec![("approval", terms), ("reason", reason.clone())]
        }
    };
    (decision(verdict), details)
}

/// What the host read in a text, for people.
fn facts(facts: &Facts) -> String {
    let bare = facts.sql.as_ref().is_ok_and(|statements| statements.iter().any(|statement| !statement.has_where));
    let bare = if bare { " · an UPDATE or DELETE without a WHERE that tells rows apart" } else { "" };
    format!("{}{bare}", read_in(facts))
}
