//! Refuses commands by verb, effect, relation, function, missing WHERE or pattern.

mod except;

use except::{Except, ExceptSettings};
use portcullis_matchers::{Hit, Opaque, Rules, RulesBuilder};
use portcullis_sdk::{Command, Commands, Error, Policy, Session, SettingError, Verdict};
use serde::Deserialize;

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
    message: Option<String>,
    except: Option<ExceptSettings>,
});

/// What becomes of a command that the host cannot read.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Unreadable {
    Allow,
    #[default]
    Deny,
}

#[derive(Debug)]
struct Refusal {
    message: Option<String>,
    except: Option<Except>,
}

#[derive(Debug)]
struct Block {
    rules: Rules<Refusal>,
    unreadable: Unreadable,
}

impl Policy for Block {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Vec<SettingError>> {
        let mut rules = RulesBuilder::default();
        for (i, rule) in settings.rules.iter().enumerate() {
            let at = format!("/rules/{i}");
            let except = rule.except.as_ref().map(|e| Except::read(&format!("{at}/except"), e, &mut rules.errors));
            let fits = rule.message.as_ref().is_none_or(|m| !m.is_empty() && m.len() <= 1024 && !m.contains('\0'));
            rules.errors.check(fits, format_args!("{at}/message"), "a message has 1 to 1024 bytes and no NUL");
            rules.add(rule.name.clone(), rule.matchers(), Refusal { message: rule.message.clone(), except });
        }
        Ok(Self { rules: rules.build(settings.opaque)?, unreadable: settings.unreadable })
    }
}

impl Commands for Block {
    fn check(&mut self, session: &Session, command: &Command) -> Result<Verdict, Error> {
        let parsed = command.parsed();
        let excepted = |r: &Refusal| r.except.as_ref().is_some_and(|e| e.holds(session));
        Ok(match self.rules.first(command, parsed, excepted) {
            Some(Hit { rule, action, what }) => {
                let message = action.message.clone().unwrap_or_else(|| format!("the rule \"{rule}\" refuses {what}"));
                Verdict::deny(message).finding(rule, what)
            }
            None if !parsed && self.unreadable == Unreadable::Deny => {
                let message =
                    "the gateway cannot read this command, so that no rule could be checked; write it in a simpler way";
                Verdict::deny(message).finding("unreadable", "the command was not read")
            }
            None => Verdict::allow(),
        })
    }
}

portcullis_sdk::export!(Block: commands);

#[cfg(test)]
mod tests;
