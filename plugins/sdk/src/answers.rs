use std::fmt;

use crate::{Approval, Decision, Error, Finding, SettingError, Verdict};

/// What the interface allows in a message.
const MAX_MESSAGE: usize = 1024;
const MAX_RULE: usize = 128;

impl Verdict {
    /// Let it run.
    pub fn allow() -> Self {
        Self { decision: Decision::Allow, message: None, rewrite: None, approval: None, findings: vec![] }
    }

    /// Refuse it, and tell the client why.
    pub fn deny(message: impl Into<String>) -> Self {
        Self { decision: Decision::Deny, message: Some(bounded(message.into(), MAX_MESSAGE)), ..Self::allow() }
    }

    /// Hold it until people approve.
    pub fn review(mut approval: Approval) -> Self {
        approval.reason = bounded(approval.reason, MAX_MESSAGE);
        Self { decision: Decision::Review, approval: Some(approval), ..Self::allow() }
    }

    /// Let this text run in its place.
    pub fn rewrite(text: impl Into<String>) -> Self {
        Self { rewrite: Some(text.into()), ..Self::allow() }
    }

    /// Adds a finding for the audit: the rule that spoke, and what it saw. Never a value of a result or a parameter.
    #[must_use]
    pub fn finding(mut self, rule: impl Into<String>, message: impl Into<String>) -> Self {
        let (rule, message) = (bounded(rule.into(), MAX_RULE), bounded(message.into(), MAX_MESSAGE));
        self.findings.push(Finding { rule, message });
        self
    }
}

/// Cuts a text at a character's boundary, so that a long name in it does not turn an answer into a bad one.
fn bounded(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    if text.contains('\0') { text.replace('\0', " ") } else { text }
}

impl Error {
    /// An error with a short, stable code. It denies; the message goes to the client.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

impl SettingError {
    /// What is wrong at this JSON pointer (RFC 6901).
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

/// Collects what is wrong in settings, so that all of it is told at once.
#[derive(Default)]
pub struct SettingErrors(Vec<SettingError>);

impl SettingErrors {
    /// Notes what is wrong at this JSON pointer.
    pub fn add(&mut self, path: impl fmt::Display, message: impl Into<String>) {
        self.0.push(SettingError::new(path.to_string(), message));
    }

    /// Notes it unless the condition holds.
    pub fn check(&mut self, holds: bool, path: impl fmt::Display, message: &str) {
        if !holds {
            self.add(path, message);
        }
    }

    /// The value, if nothing is wrong.
    pub fn or<T>(self, value: T) -> Result<T, Vec<SettingError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_stay_within_the_interface() {
        let verdict = Verdict::deny(format!("{}é\0", "x".repeat(1023))).finding("é".repeat(100), "\0");
        assert_eq!(verdict.message, Some("x".repeat(1023)));
        assert_eq!((verdict.findings[0].rule.len(), &*verdict.findings[0].message), (128, " "));
    }
}
