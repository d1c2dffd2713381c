//! Hides columns and personal data in results.

mod detect;
mod rule;

use std::cell::OnceCell;

use detect::{Detect, DetectSettings};
use portcullis_sdk::{
    Action, BatchResult, Chunk, Column, Command, Commands, Error, Plan, Policy, ResultSet, Rows, Session, SettingError,
    SettingErrors, Verdict,
};
use rule::{Rule, RuleSettings};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    rules: Vec<RuleSettings>,
    detect: Option<DetectSettings>,
}

#[derive(Debug)]
struct Mask {
    rules: Vec<Rule>,
    detect: Option<Detect>,
}

impl Policy for Mask {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Vec<SettingError>> {
        let mut errors = SettingErrors::default();
        let rules = settings.rules.into_iter().enumerate();
        let rules: Vec<Rule> = rules.map(|(i, r)| Rule::read(&format!("/rules/{i}"), r, &mut errors)).collect();
        let detect = settings.detect.map(|d| Detect::read(d, &mut errors));
        errors.check(!rules.is_empty() || detect.is_some(), "", "there is nothing to hide; give `rules` or `detect`");
        errors.or(Self { rules, detect })
    }
}

impl Mask {
    /// What the first rule that selects the column says; a principal's exceptions make room for the next rule.
    fn action(&self, member: impl Fn(&[String]) -> bool, column: &Column) -> Option<Action> {
        self.rules.iter().filter(|r| !r.excepts(&member)).find_map(|r| r.action(column))
    }
}

impl Commands for Mask {
    fn kinds(&self) -> &'static [&'static str] {
        if self.rules.iter().any(Rule::guards_conditions) { &["sql"] } else { &[] }
    }

    fn check(&mut self, session: &Session, command: &Command) -> Result<Verdict, Error> {
        let groups = session.groups();
        let member = |of: &[String]| groups.iter().any(|group| of.contains(group));
        let rules = self.rules.iter().filter(|rule| rule.guards_conditions() && !rule.excepts(member));
        let rules: Vec<&Rule> = rules.collect();
        if rules.is_empty() {
            return Ok(Verdict::allow());
        }
        if !command.parsed() {
            let message =
                "the gateway cannot read this command, so that its conditions are not known; write it in a simpler way";
            return Ok(Verdict::deny(message).finding("unreadable", "the command was not read"));
        }
        let conditions = command.conditions();
        let refused = |rule: &&Rule| Some((rule.name().to_owned(), conditions.iter().find_map(|c| rule.refuses(c))?));
        Ok(match rules.iter().find_map(refused) {
            Some((rule, why)) => Verdict::deny(why).finding(&rule, "a condition on a column that it hides"),
            None => Verdict::allow(),
        })
    }
}

impl Rows for Mask {
    fn plan(&mut self, session: &Session, _: &Command, result: &ResultSet) -> Result<Plan, Error> {
        let groups = OnceCell::new();
        // Asking the host costs more than the rest: most rules except nobody.
        let member = |of: &[String]| {
            !of.is_empty() && groups.get_or_init(|| session.groups()).iter().any(|group| of.contains(group))
        };
        let detect = self.detect.as_ref().filter(|d| !d.excepts(member));
        let mut plan = Plan::keep();
        for (index, column) in (0..).zip(result.columns()) {
            let inspected = || detect.is_some_and(|d| d.selects(&column)).then_some(Action::Inspect);
            if let Some(action) = self.action(member, &column).or_else(inspected) {
                plan.push(index, action);
            }
        }
        Ok(plan)
    }

    fn filter(
        &mut self,
        _: &Session,
        _: &Command,
        result: &ResultSet,
        _: u32,
        chunks: &[Chunk],
    ) -> Result<BatchResult, Error> {
        let Some(detect) = &self.detect else {
            return Err(Error::new("no-detect", "the policy was handed values that it did not ask for"));
        };
        Ok(BatchResult::edits(detect.edits(result, chunks)))
    }
}

portcullis_sdk::export!(Mask: commands, rows);

#[cfg(test)]
mod tests;
