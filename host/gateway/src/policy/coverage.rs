//! What the cases of a package ask its component, and what they hear.

use std::collections::BTreeMap;
use std::fmt;

use portcullis_engine::Hook;
use portcullis_verdict::{Answer, Verdict};

use super::cost::Cost;

/// The most cases that are named for a hook; of more, their number tells.
const MAX_NAMED: usize = 3;

/// The decisions that a case can bring about.
const DECISIONS: [&str; 4] = ["allow", "deny", "review", "rewrite"];

/// Which hooks of a component were asked, by which cases, and the decisions that were seen.
pub(super) struct Coverage {
    hooks: BTreeMap<Hook, Asked>,
    decisions: BTreeMap<&'static str, usize>,
    cases: usize,
}

/// How a hook was asked.
#[derive(Default)]
struct Asked {
    calls: usize,
    cases: Vec<String>,
}

impl Coverage {
    /// Nothing was asked yet of a component that exports these interfaces.
    pub(super) fn new(interfaces: &[String]) -> Self {
        let exports = |name| interfaces.iter().any(|interface| interface == name);
        let commands = [Hook::Open, Hook::Check, Hook::Approved].into_iter().filter(|_| exports("commands"));
        let rows = [Hook::Plan, Hook::Filter].into_iter().filter(|_| exports("rows"));
        let hooks = commands.chain(rows).map(|hook| (hook, Asked::default())).collect();
        Self { hooks, decisions: BTreeMap::new(), cases: 0 }
    }

    /// Adds what a case asked and was answered.
    pub(super) fn add(&mut self, case: &str, calls: Vec<Cost>, answer: Option<Answer>) {
        self.cases += 1;
        for (hook, asked) in &mut self.hooks {
            let count = calls.iter().filter(|call| call.hook == *hook).count();
            asked.calls += count;
            asked.cases.extend((count > 0).then(|| case.to_owned()));
        }
        if let Some(verdict) = answer.and_then(|answer| answer.verdict.ok()) {
            *self.decisions.entry(decision(&verdict)).or_default() += 1;
        }
    }
}

/// The name of a decision, as cases spell it.
pub(super) fn decision(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Rewrite(_) => "rewrite",
        Verdict::Review(_) => "review",
        Verdict::Deny(_) => "deny",
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (hook, Asked { calls, cases }) in &self.hooks {
            let by = match cases.len() {
                0 => "never asked".to_owned(),
                all if all == self.cases => format!("asked {calls} times, by every case"),
                few if few <= MAX_NAMED => format!("asked {calls} times, by {}", cases.join("; ")),
                many => format!("asked {calls} times, by {many} of {} cases", self.cases),
            };
            writeln!(f, "  {:<13} {by}", hook.as_str())?;
        }
        if self.hooks.contains_key(&Hook::Check) {
            let (seen, unseen): (Vec<&&str>, Vec<&&str>) =
                DECISIONS.iter().partition(|name| self.decisions.contains_key(**name));
            let counts: Vec<_> = seen.iter().map(|name| format!("{name} {}", self.decisions[**name])).collect();
            let never = if unseen.is_empty() { String::new() } else { format!("never {}", unseen.join(", ")) };
            let both: Vec<_> = [counts.join(", "), never].into_iter().filter(|part| !part.is_empty()).collect();
            writeln!(f, "  decisions     {}", both.join("; "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use portcullis_verdict::Mode;

    use super::*;

    fn calls(hooks: &[Hook]) -> Vec<Cost> {
        hooks.iter().map(|hook| Cost { hook: *hook, nanos: 1, fuel: None, memory_bytes: 0, failed: false }).collect()
    }

    fn answer(verdict: Verdict) -> Option<Answer> {
        let (policy, digest) = ("p".into(), "00".into());
        Some(Answer { policy, digest, mode: Mode::Enforce, verdict: Ok(verdict), findings: vec![], inputs: vec![] })
    }

    #[test]
    fn what_was_never_asked_and_never_seen_is_named() {
        let mut coverage = Coverage::new(&["lifecycle".into(), "commands".into(), "rows".into()]);
        coverage.add("a: one", calls(&[Hook::Instantiate, Hook::Open, Hook::Check]), answer(Verdict::Allow));
        let deny = answer(Verdict::Deny(String::new()));
        coverage.add("a: two", calls(&[Hook::Open, Hook::Check, Hook::Plan, Hook::Plan]), deny);
        let expected = "  open          asked 2 times, by every case\n  check         asked 2 times, by every case\n  \
                        approved      never asked\n  plan-result   asked 2 times, by a: two\n  filter-batch  never asked\n  \
                        decisions     allow 1, deny 1; never review, rewrite\n";
        assert_eq!(coverage.to_string(), expected);
    }

    #[test]
    fn a_policy_for_rows_has_no_decisions_and_many_cases_are_only_counted() {
        let mut coverage = Coverage::new(&["lifecycle".into(), "rows".into()]);
        for case in 0..5 {
            let hooks: &[Hook] = if case == 0 { &[] } else { &[Hook::Plan] };
            coverage.add(&format!("a: {case}"), calls(hooks), None);
        }
        let expected = "  plan-result   asked 4 times, by 4 of 5 cases\n  filter-batch  never asked\n";
        assert_eq!(coverage.to_string(), expected);
    }
}
