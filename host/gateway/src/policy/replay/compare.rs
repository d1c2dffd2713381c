//! What was answered then and what a draft answers now, and whether that is the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_verdict::{Answer, AnswerRecord, CommandEvent, Finding, Mode, Phase, Terms, Verdict};
use serde::Serialize;

/// The terms that each policy demanded for a held command, by its session and number.
pub(super) type Demands = BTreeMap<(Arc<str>, u64), Vec<(Arc<str>, Terms)>>;

/// What an answer is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Basis {
    /// The answer of the policy that the draft is to take the place of.
    Policy,
    /// That policy was not asked, or there was none: what all policies decided.
    Outcome,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Said {
    /// `allow`, `deny`, `review`, `rewrite` or `fault`.
    pub(super) verdict: Cow<'static, str>,
    /// Its message, the reason of a review, or what went wrong. None where the audit does not keep it.
    pub(super) message: Option<String>,
    /// The new text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rewrite: Option<String>,
    /// What it demands; of an answer then only where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) terms: Option<Terms>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) findings: Vec<Finding>,
}

/// How far two answers are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    None,
    /// Only the message or the findings.
    Words,
    /// Another decision, another text that runs, or other terms of an approval.
    Decision,
}

/// What was answered then: by this policy, or by all of them together where it did not answer.
pub(super) fn then(event: &CommandEvent, policy: &str, demands: Option<&Demands>) -> (Basis, Said) {
    let Some(answer) = event.answers.iter().find(|answer| &*answer.policy == policy) else {
        return (Basis::Outcome, outcome(event));
    };
    let AnswerRecord { verdict, message, findings, .. } = answer.clone();
    let rewrites = verdict == "rewrite";
    let terms = demands.filter(|_| verdict == "review").and_then(|demands| {
        let demanded = demands.get(&(event.subject.session.clone(), event.sequence))?;
        demanded.iter().find(|(by, _)| &**by == policy).map(|(_, terms)| terms.clone())
    });
    let (message, rewrite) = if rewrites { (String::new(), Some(message)) } else { (message, None) };
    (Basis::Policy, Said { verdict, message: Some(message), rewrite, terms, findings })
}

fn outcome(event: &CommandEvent) -> Said {
    let rewrite = event.rewrite.as_deref().map(str::to_owned).filter(|_| event.outcome == "allow");
    let verdict = if rewrite.is_some() { "rewrite".into() } else { event.outcome.clone() };
    let message = match &*event.outcome {
        "review" => None,
        _ => Some(event.message.clone().unwrap_or_default()),
    };
    Said { verdict, message, rewrite, ..Said::default() }
}

/// The text that this policy was asked about: the last one that a policy before it put in place, or the client's.
pub(super) fn seen(event: &CommandEvent, policy: &str) -> Arc<str> {
    let mut text = event.text.clone();
    for answer in &event.answers {
        if &*answer.policy == policy {
            return text;
        }
        if answer.verdict == "rewrite" && answer.mode == Mode::Enforce {
            text = answer.message.as_str().into();
        }
    }
    event.text.clone()
}

/// What the draft answers.
pub(super) fn now(answer: &Answer) -> Said {
    let (verdict, message, rewrite, terms) = match &answer.verdict {
        Ok(Verdict::Allow) => ("allow", String::new(), None, None),
        Ok(Verdict::Deny(message)) => ("deny", message.clone(), None, None),
        Ok(Verdict::Review(terms)) => ("review", terms.reason.clone(), None, Some(terms.clone())),
        Ok(Verdict::Rewrite(text)) => ("rewrite", String::new(), Some(text.clone()), None),
        Err(fault) => ("fault", fault.to_string(), None, None),
    };
    Said { verdict: verdict.into(), message: Some(message), rewrite, terms, findings: answer.findings.clone() }
}

/// How far apart they are. `granted` says that people had approved the command then, after a review that it is held against.
pub(super) fn difference(then: &Said, now: &Said, basis: Basis, phase: Phase, granted: bool) -> Difference {
    if granted && now.verdict == "review" && then.verdict == "allow" {
        return Difference::None;
    }
    // A review lets a command be prepared, so that the outcome was not `review`.
    let passes = basis == Basis::Outcome && phase == Phase::Prepare && now.verdict == "review";
    let verdict = if passes { "allow" } else { &*now.verdict };
    let other_terms = matches!((&then.terms, &now.terms), (Some(then), Some(now)) if !same_terms(then, now));
    if *then.verdict != *verdict || then.rewrite != now.rewrite || other_terms {
        return Difference::Decision;
    }
    // The whole outcome has neither findings nor the words of a review.
    let other_findings = basis == Basis::Policy && then.findings != now.findings;
    let other_message = !passes && then.message.is_some() && then.message != now.message;
    if other_findings || other_message { Difference::Words } else { Difference::None }
}

/// The reason is words.
fn same_terms(then: &Terms, now: &Terms) -> bool {
    let Terms { any_of, quorum, ttl_seconds, reuse, reason: _ } = then;
    (any_of, quorum, ttl_seconds, reuse) == (&now.any_of, &now.quorum, &now.ttl_seconds, &now.reuse)
}
