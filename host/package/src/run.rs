//! Running a test case: the same questions in the same order as the gateway's, and a comparison.

use std::fmt::{Display, Write};
use std::sync::Arc;

use bytes::Bytes;
use portcullis_verdict::{
    Answer, Batch, Column, Command, Credential, Decide, Denial, Finding, Grant, Judge, Origins, Outcome, Parameter,
    Principal, ResultSet, RowPlan, Ruling, Session, Statement, Target, Terms, Verdict,
};

use crate::case::{ApprovalSpec, Case, CredentialSpec, Decision, Expect, ResultSpec, SessionSpec};
use crate::rows;

/// A case as questions for a judge.
pub struct Questions {
    /// Whose session it is.
    pub session: Arc<Session>,
    /// What is asked.
    pub command: Arc<Command>,
    /// Who has granted the policy's review.
    pub grants: Vec<Grant>,
    result: Option<ResultSpec>,
}

impl Questions {
    /// What a case asks of `policy`. `read` reads the facts of a text.
    pub fn of(case: &Case, policy: &str, read: &dyn Fn(&str) -> Arc<Statement>) -> Self {
        let approvers = case.command.approvers.iter();
        Self {
            session: Arc::new(session(&case.session)),
            command: Arc::new(command(case, read(&case.command.sql))),
            grants: approvers.map(|a| Grant { policy: policy.into(), approvers: a.clone() }).collect(),
            result: case.result.clone(),
        }
    }

    /// The result that the server would give, before its first row.
    pub fn result(&self) -> Option<Arc<ResultSet>> {
        self.result.as_ref().map(rows::result_set)
    }

    /// A batch of the columns that a plan inspects, its rows those of the case as often as it takes to fill it; none where
    /// nothing is inspected.
    pub fn full_batch(&self, plan: &RowPlan) -> Option<Batch> {
        rows::full_batch(self.result.as_ref()?, plan)
    }
}

/// How a case went.
pub struct Ran {
    /// What the policy said of the command or, where it refused that, of the session; none where it was not asked.
    pub answer: Option<Answer>,
    /// Every difference, if it failed.
    pub outcome: Result<(), String>,
}

/// Asks `policy`, which must be in force in `decide`, what the case asks, and compares.
///
/// The session is opened first, as the gateway does it: a policy that refuses it has refused the command.
pub fn run_case(case: &Case, decide: &dyn Decide, policy: &str, read: &dyn Fn(&str) -> Arc<Statement>) -> Ran {
    let questions = Questions::of(case, policy, read);
    let mut judge = decide.judge(&questions.session);
    let ruling = match judge.open() {
        refused if matches!(refused.outcome, Outcome::Deny(_)) => refused,
        _ => judge.check(&questions.command, &questions.grants, read),
    };
    let answer = ruling.explanation.iter().find(|answer| &*answer.policy == policy).cloned();
    if let Some(Answer { verdict: Err(fault), .. }) = &answer {
        let outcome = Err(format!("the policy {fault}"));
        return Ran { answer, outcome };
    }
    let mut diff = Diff::default();
    compare_answer(&mut diff, &case.expect, case.result.is_some(), answer.as_ref());
    if let (Some(result), true) = (&case.result, diff.is_empty()) {
        compare_result(&mut diff, &case.expect, result, judge.as_mut(), &questions.command, ruling);
    }
    Ran { answer, outcome: diff.finish() }
}

fn session(spec: &SessionSpec) -> Session {
    let credential = match spec.credential {
        CredentialSpec::Certificate => Credential::Certificate,
        CredentialSpec::Scram => Credential::Scram,
    };
    Session {
        id: "00000000-0000-7000-8000-000000000000".into(),
        protocol: "postgres",
        principal: Principal { name: spec.principal.clone(), groups: spec.groups.clone(), credential },
        target: Arc::new(Target { name: spec.target.clone(), labels: spec.labels.clone() }),
        client_address: spec.client_address,
        reason: spec.reason.clone(),
    }
}

fn command(case: &Case, statement: Arc<Statement>) -> Command {
    let spec = &case.command;
    let bound = |text: &String| Bytes::from(text.clone().into_bytes());
    let parameter = |cell: &crate::case::Cell| Parameter { value: cell.0.as_ref().map(bound), binary: false };
    let parameters = spec.parameters.iter().map(parameter).collect();
    let reason = case.session.reason.as_deref().map(Into::into);
    let conditions = spec.conditions.as_ref().map(|given| Given(given.iter().map(rows::column).collect()));
    let origins = conditions.map(|given| Arc::new(given) as Arc<dyn Origins>);
    Command { sequence: 1, phase: spec.phase, statement, parameters, reason, origins }
}

/// The conditions that a case gives its command.
#[derive(Debug)]
struct Given(Vec<Column>);

impl Origins for Given {
    fn conditions(&self, _: &Statement) -> Vec<Column> {
        self.0.clone()
    }
}

fn compare_answer(diff: &mut Diff, expect: &Expect, has_result: bool, answer: Option<&Answer>) {
    let Some(answer) = answer else {
        // A policy that decides only on results says nothing of the command.
        if !has_result || expect.decision.is_some() || !expect.findings.is_empty() {
            diff.line("the policy was not asked: its registration does not name the command's kind, `sql`");
        }
        return;
    };
    let Ok(verdict) = &answer.verdict else { return };
    let (actual, message) = match verdict {
        Verdict::Allow => (Decision::Allow, ""),
        Verdict::Rewrite(_) => (Decision::Rewrite, ""),
        Verdict::Review(terms) => (Decision::Review, terms.reason.as_str()),
        Verdict::Deny(message) => (Decision::Deny, message.as_str()),
    };
    match expect.decision {
        Some(expected) => diff.same("decision", expected.as_str(), actual.as_str()),
        // Without the client's leave to run there is no result to expect anything of.
        None if matches!(actual, Decision::Deny | Decision::Review) => diff.same("decision", "allow", actual.as_str()),
        None => {}
    }
    if !diff.is_empty() {
        return diff.explain(message, &answer.findings);
    }
    if let Some(part) = &expect.message {
        diff.contains("message", part, message);
    }
    match verdict {
        Verdict::Rewrite(text) => diff.same_if("rewrite", expect.rewrite.as_ref(), text),
        Verdict::Review(terms) => compare_terms(diff, expect.approval.as_ref(), terms),
        _ => {}
    }
    for rule in &expect.findings {
        if !answer.findings.iter().any(|finding| finding.rule == *rule) {
            diff.line(format!("expected a finding of the rule `{rule}`"));
            diff.explain("", &answer.findings);
        }
    }
}

fn compare_terms(diff: &mut Diff, expected: Option<&ApprovalSpec>, actual: &Terms) {
    let Some(ApprovalSpec { any_of, quorum, ttl_seconds, reuse }) = expected else { return };
    let groups = |groups: &[String]| format!("{groups:?}");
    diff.same_if("any_of", any_of.as_deref().map(groups), groups(&actual.any_of));
    diff.same_if("quorum", *quorum, actual.quorum);
    diff.same_if("ttl_seconds", *ttl_seconds, actual.ttl_seconds);
    let name = |reuse| match reuse {
        portcullis_verdict::Reuse::Once => "once",
        portcullis_verdict::Reuse::SameCommand => "same-command",
    };
    diff.same_if("reuse", reuse.map(name), name(actual.reuse));
}

fn compare_result(
    diff: &mut Diff,
    expect: &Expect,
    spec: &ResultSpec,
    judge: &mut dyn Judge,
    command: &Command,
    ruling: Ruling,
) {
    match ruling.outcome {
        Outcome::Allow => {}
        Outcome::Review(_) => return diff.line("the command is held for review, so that it has no result"),
        Outcome::Deny(Denial { policy, message }) => {
            return diff.line(format!("the command is denied by `{policy}`, so that it has no result: {message}"));
        }
    }
    let mut command = command.clone();
    if let Some(rewritten) = ruling.rewrite {
        command.statement = rewritten;
    }
    let shown = rows::show(spec, judge, &ruling.snapshot, &Arc::new(command));
    if let Some(max_rows) = expect.max_rows {
        let actual = shown.max_rows.map_or("none".into(), |n| n.to_string());
        diff.same("max_rows", max_rows, actual);
    }
    match (&expect.rows, &expect.refused, shown.rows) {
        (Some(expected), _, Ok(actual)) if *expected != actual => {
            diff.line("the rows differ (`!` marks where)");
            diff.line(rows::side_by_side(&spec.columns, expected, &actual));
        }
        (_, Some(part), Ok(actual)) => {
            diff.line(format!("expected refused: {part}\n  actual: {} rows pass", actual.len()));
        }
        (_, Some(part), Err(message)) => diff.contains("refused", part, &message),
        (Some(_), None, Err(message)) => {
            diff.line(format!("expected rows\n  actual: the result is refused: {message}"))
        }
        _ => {}
    }
}

/// What differs, line by line.
#[derive(Default)]
struct Diff(String);

impl Diff {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn line(&mut self, line: impl Display) {
        let separator = if self.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{separator}{line}");
    }

    fn same(&mut self, what: &str, expected: impl Display, actual: impl Display) {
        let (expected, actual) = (expected.to_string(), actual.to_string());
        if expected != actual {
            self.line(format_args!("expected {what}: {expected}\n  actual {what}: {actual}"));
        }
    }

    fn same_if(&mut self, what: &str, expected: Option<impl Display>, actual: impl Display) {
        if let Some(expected) = expected {
            self.same(what, expected, actual);
        }
    }

    fn contains(&mut self, what: &str, part: &str, whole: &str) {
        if !whole.contains(part) {
            self.line(format_args!("expected {what} with: {part}\n       actual {what}: {whole}"));
        }
    }

    fn explain(&mut self, message: &str, findings: &[Finding]) {
        if !message.is_empty() {
            self.line(format_args!("  it says: {message}"));
        }
        for Finding { rule, message } in findings {
            self.line(format_args!("  finding: {rule}: {message}"));
        }
    }

    fn finish(self) -> Result<(), String> {
        if self.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

#[cfg(test)]
mod tests;
