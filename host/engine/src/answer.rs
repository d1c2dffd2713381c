//! Checks what a policy answers. Whatever breaks a rule of the interface is a bad answer, hence a denial.

use portcullis_verdict::{Fault, Finding, Reuse, Terms, Verdict};

use crate::bindings::portcullis::policy::types as wit;

const MAX_MESSAGE: usize = 1024;
const MAX_GROUP: usize = 256;
const MAX_RULE: usize = 128;
const MAX_FINDINGS: usize = 32;
const MAX_GROUPS: usize = 32;
const MAX_QUORUM: u32 = 16;
const MAX_TTL_SECONDS: u32 = 604_800;

/// Which question a verdict answers: each allows less than the one before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Check,
    Approved,
    Open,
}

pub(crate) fn bad<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::BadAnswer(why.into()))
}

pub(crate) fn verdict(answer: wit::Verdict, asked: Asked) -> Result<(Verdict, Vec<Finding>), Fault> {
    let wit::Verdict { decision, message, rewrite, approval, findings } = answer;
    if let Some(message) = &message {
        text("message", message, MAX_MESSAGE)?;
    }
    if rewrite.is_some() && decision != wit::Decision::Allow {
        return bad("a rewrite without `allow`");
    }
    if approval.is_some() && decision != wit::Decision::Review {
        return bad("an approval without `review`");
    }
    let verdict = match (decision, rewrite, approval) {
        (wit::Decision::Allow, None, _) => Verdict::Allow,
        (wit::Decision::Allow, Some(new), _) => Verdict::Rewrite(rewritten(new, asked)?),
        (wit::Decision::Deny, ..) => Verdict::Deny(message.unwrap_or_default()),
        (wit::Decision::Review, _, Some(approval)) => Verdict::Review(terms(approval, asked)?),
        (wit::Decision::Review, _, None) => return bad("a review without an approval"),
    };
    Ok((verdict, self::findings(findings)?))
}

fn rewritten(new: String, asked: Asked) -> Result<String, Fault> {
    match asked {
        Asked::Check if memchr::memchr(0, new.as_bytes()).is_some() => bad("a rewrite with a NUL"),
        Asked::Check => Ok(new),
        // People approved these very bytes and no others.
        Asked::Approved => bad("a rewrite of a command that was approved"),
        Asked::Open => bad("a rewrite of the opening of a session"),
    }
}

fn terms(approval: wit::Approval, asked: Asked) -> Result<Terms, Fault> {
    let wit::Approval { any_of, quorum, ttl_seconds, reuse, reason } = approval;
    match asked {
        Asked::Check => {}
        Asked::Approved => return bad("another review of a command that was approved"),
        Asked::Open => return bad("a review of the opening of a session"),
    }
    if any_of.is_empty() || any_of.len() > MAX_GROUPS {
        return bad(format!("an approval by any of {} groups; 1 to {MAX_GROUPS} are allowed", any_of.len()));
    }
    for group in &any_of {
        text("group", group, MAX_GROUP)?;
        if group.is_empty() {
            return bad("an approval by a group without a name");
        }
    }
    if !(1..=MAX_QUORUM).contains(&quorum) {
        return bad(format!("an approval by {quorum} people; 1 to {MAX_QUORUM} are allowed"));
    }
    if !(1..=MAX_TTL_SECONDS).contains(&ttl_seconds) {
        return bad(format!("an approval open for {ttl_seconds} seconds; 1 to {MAX_TTL_SECONDS} are allowed"));
    }
    text("reason", &reason, MAX_MESSAGE)?;
    let reuse = match reuse {
        wit::Reuse::Once => Reuse::Once,
        wit::Reuse::SameCommand => Reuse::SameCommand,
    };
    Ok(Terms { any_of, quorum, ttl_seconds, reuse, reason })
}

fn findings(findings: Vec<wit::Finding>) -> Result<Vec<Finding>, Fault> {
    if findings.len() > MAX_FINDINGS {
        return bad(format!("{} findings; at most {MAX_FINDINGS} are allowed", findings.len()));
    }
    let checked = |finding: wit::Finding| {
        text("rule of a finding", &finding.rule, MAX_RULE)?;
        text("message of a finding", &finding.message, MAX_MESSAGE)?;
        Ok(Finding { rule: finding.rule, message: finding.message })
    };
    findings.into_iter().map(checked).collect()
}

/// Checks a message that a client will see.
pub(crate) fn message(text: &str) -> Result<(), Fault> {
    self::text("message", text, MAX_MESSAGE)
}

fn text(what: &str, text: &str, max: usize) -> Result<(), Fault> {
    if text.len() > max {
        return bad(format!("a {what} of {} bytes; at most {max} are allowed", text.len()));
    }
    if memchr::memchr(0, text.as_bytes()).is_some() {
        return bad(format!("a {what} with a NUL"));
    }
    Ok(())
}

/// A policy's own error, cut to what fits a client's screen.
pub(crate) fn error(error: &wit::Error) -> Fault {
    Fault::Error(cut(&format!("{}: {}", error.code, error.message)))
}

/// The first bytes of a text that a guest gave, without control characters.
pub(crate) fn cut(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(MAX_MESSAGE)];
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
