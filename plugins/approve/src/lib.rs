//! Holds commands until people approve them.

use portcullis_matchers::{Hit, Opaque, Rules, RulesBuilder};
use portcullis_sdk::{
    Approval, Command, Commands, Error, Policy, Reuse, Session, SettingError, SettingErrors, Verdict,
};
use serde::Deserialize;

const MAX_TTL_SECONDS: u32 = 604_800;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    rules: Vec<Rule>,
    #[serde(default)]
    unreadable: Unreadable,
    #[serde(default)]
    opaque: Opaque,
}

portcullis_matchers::rule!(Rule {
    any_of: Vec<String>,
    #[serde(default = "one")]
    quorum: u32,
    #[serde(default = "quarter_of_an_hour")]
    ttl_seconds: u32,
    #[serde(default)]
    reuse: ReuseSetting,
    reason: Option<String>,
    except: Option<Except>,
});

/// Who runs such commands without asking.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Except {
    groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReuseSetting {
    #[default]
    Once,
    SameCommand,
}

/// What becomes of a command that the host cannot read.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Unreadable {
    Allow,
    Deny,
    #[default]
    Review,
}

#[derive(Debug)]
struct Demand {
    /// Without a reason of its own, the reason is made from the rule and the command.
    terms: Approval,
    except: Vec<String>,
}

#[derive(Debug)]
struct Approve {
    rules: Rules<Demand>,
    unreadable: Unreadable,
}

fn one() -> u32 {
    1
}

fn quarter_of_an_hour() -> u32 {
    900
}

impl Policy for Approve {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Vec<SettingError>> {
        let mut rules = RulesBuilder::default();
        for (i, rule) in settings.rules.iter().enumerate() {
            let demand = Demand::read(&format!("/rules/{i}"), rule, &mut rules.errors);
            rules.add(rule.name.clone(), rule.matchers(), demand);
        }
        Ok(Self { rules: rules.build(settings.opaque)?, unreadable: settings.unreadable })
    }
}

impl Demand {
    fn read(at: &str, rule: &Rule, errors: &mut SettingErrors) -> Self {
        let groups = (1..=32).contains(&rule.any_of.len()) && rule.any_of.iter().all(|g| !g.is_empty());
        errors.check(groups, format_args!("{at}/any_of"), "name 1 to 32 groups whose members may approve");
        let quorum = (1..=16).contains(&rule.quorum);
        errors.check(quorum, format_args!("{at}/quorum"), "a quorum is 1 to 16 people");
        let ttl = (1..=MAX_TTL_SECONDS).contains(&rule.ttl_seconds);
        errors.check(ttl, format_args!("{at}/ttl_seconds"), "a request stays open for 1 to 604800 seconds (a week)");
        let fits = rule.reason.as_ref().is_none_or(|r| !r.is_empty() && r.len() <= 1024 && !r.contains('\0'));
        errors.check(fits, format_args!("{at}/reason"), "a reason has 1 to 1024 bytes and no NUL");
        let except = rule.except.as_ref().map(|e| e.groups.clone());
        let is_empty = except.as_ref().is_some_and(Vec::is_empty);
        errors.check(!is_empty, format_args!("{at}/except/groups"), "an exception needs a group");
        let terms = Approval {
            any_of: rule.any_of.clone(),
            quorum: rule.quorum,
            ttl_seconds: rule.ttl_seconds,
            reuse: match rule.reuse {
                ReuseSetting::Once => Reuse::Once,
                ReuseSetting::SameCommand => Reuse::SameCommand,
            },
            reason: rule.reason.clone().unwrap_or_default(),
        };
        Self { terms, except: except.unwrap_or_default() }
    }

    fn review(&self, reason: String) -> Verdict {
        let own = !self.terms.reason.is_empty();
        Verdict::review(Approval { reason: if own { self.terms.reason.clone() } else { reason }, ..self.terms.clone() })
    }
}

impl Commands for Approve {
    fn check(&mut self, session: &Session, command: &Command) -> Result<Verdict, Error> {
        let parsed = command.parsed();
        let excepted = |d: &Demand| !d.except.is_empty() && session.groups().iter().any(|g| d.except.contains(g));
        if let Some(Hit { rule, action, what }) = self.rules.first(command, parsed, excepted) {
            let reason = format!("the rule \"{rule}\" holds {what} for review");
            return Ok(action.review(reason).finding(rule, what));
        }
        if parsed || self.unreadable == Unreadable::Allow {
            return Ok(Verdict::allow());
        }
        let verdict = match (&self.unreadable, self.rules.first_action()) {
            (Unreadable::Review, Some(demand)) => {
                let reason = "the gateway cannot read this command, so that a person must".to_owned();
                Verdict::review(Approval { reason, ..demand.terms.clone() })
            }
            _ => Verdict::deny("the gateway cannot read this command; write it in a simpler way"),
        };
        Ok(verdict.finding("unreadable", "the command was not read"))
    }

    /// People have seen the very same command and want it to run.
    fn approved(&mut self, _: &Session, _: &Command, _: &[String]) -> Result<Verdict, Error> {
        Ok(Verdict::allow())
    }
}

portcullis_sdk::export!(Approve: commands);

#[cfg(test)]
mod tests;
