use portcullis_sdk::{Command, Effects, SettingError, SettingErrors};
use serde::Deserialize;

use crate::facts::{Facts, Statement};
use crate::{Glob, Qualified};

const EFFECTS: [(&str, Effects); 10] = [
    ("read", Effects::READ),
    ("write", Effects::WRITE),
    ("ddl", Effects::DDL),
    ("privilege", Effects::PRIVILEGE),
    ("session-state", Effects::SESSION_STATE),
    ("transaction", Effects::TRANSACTION),
    ("copy-in", Effects::COPY_IN),
    ("copy-out", Effects::COPY_OUT),
    ("server-file", Effects::SERVER_FILE),
    ("opaque", Effects::OPAQUE),
];

/// What becomes of statements that run text which the host cannot see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Opaque {
    /// Only rules that name the effect `opaque` match them.
    Allow,
    /// They may do anything: each effect, relation, function and missing WHERE matches them.
    #[default]
    Match,
}

/// What the settings of a rule say about its commands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Matchers<'a> {
    /// Patterns for the verb.
    pub verbs: &'a [String],
    /// Names of effects; one suffices.
    pub effects: &'a [String],
    /// Patterns for relations.
    pub relations: &'a [String],
    /// Patterns for functions.
    pub functions: &'a [String],
    /// An UPDATE or DELETE without a WHERE clause.
    pub missing_where: bool,
    /// A pattern for a part of the text.
    pub pattern: Option<&'a str>,
}

/// Declares the settings of a rule: its name, the matchers, and what is the plugin's own.
#[macro_export]
macro_rules! rule {
    ($name:ident { $($(#[$meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, ::serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            name: String,
            #[serde(default)]
            verbs: Vec<String>,
            #[serde(default)]
            effects: Vec<String>,
            #[serde(default)]
            relations: Vec<String>,
            #[serde(default)]
            functions: Vec<String>,
            #[serde(default)]
            missing_where: bool,
            pattern: Option<String>,
            $($(#[$meta])* $field: $type,)*
        }

        impl $name {
            fn matchers(&self) -> $crate::Matchers<'_> {
                $crate::Matchers {
                    verbs: &self.verbs,
                    effects: &self.effects,
                    relations: &self.relations,
                    functions: &self.functions,
                    missing_where: self.missing_where,
                    pattern: self.pattern.as_deref(),
                }
            }
        }
    };
}

/// Rules in order, each with what follows from it.
#[derive(Debug)]
pub struct Rules<A> {
    opaque: Opaque,
    rules: Vec<Rule<A>>,
}

/// The rule that matched, and what it saw.
#[derive(Debug)]
pub struct Hit<'a, A> {
    /// Its name.
    pub rule: &'a str,
    /// What follows from it.
    pub action: &'a A,
    /// The statement, without its values: `DROP TABLE on public.customers`.
    pub what: String,
}

#[derive(Debug)]
struct Rule<A> {
    name: String,
    action: A,
    conditions: Conditions,
}

#[derive(Debug)]
struct Conditions {
    verbs: Vec<Glob>,
    effects: Effects,
    relations: Vec<Qualified>,
    functions: Vec<Qualified>,
    missing_where: bool,
    pattern: Option<Glob>,
}

/// Reads rules and collects what is wrong in them.
pub struct RulesBuilder<A> {
    rules: Vec<Rule<A>>,
    /// What is wrong so far. A plugin adds what is wrong in its own settings.
    pub errors: SettingErrors,
}

impl<A> Default for RulesBuilder<A> {
    fn default() -> Self {
        Self { rules: vec![], errors: SettingErrors::default() }
    }
}

impl<A> RulesBuilder<A> {
    /// Adds a rule. Its place in the settings is `/rules/<how many were added before>`.
    pub fn add(&mut self, name: String, matchers: Matchers<'_>, action: A) {
        let (at, errors) = (format!("/rules/{}", self.rules.len()), &mut self.errors);
        let is_named = !name.is_empty() && name.len() <= 128;
        errors.check(is_named, format_args!("{at}/name"), "a rule's name has 1 to 128 bytes");
        let conditions = Conditions::read(&at, matchers, errors);
        errors.check(conditions.any(), &at, "a rule without a matcher would match every command; give it one");
        self.rules.push(Rule { name, action, conditions });
    }

    /// The rules, or everything that is wrong.
    pub fn build(mut self, opaque: Opaque) -> Result<Rules<A>, Vec<SettingError>> {
        self.errors.check(!self.rules.is_empty(), "/rules", "there is no rule");
        self.errors.or(Rules { opaque, rules: self.rules })
    }
}

impl<A> Rules<A> {
    /// The first rule that matches the command and is not excepted. In a command that is not `parsed` only those match that
    /// have nothing but a pattern.
    pub fn first(&self, command: &Command, parsed: bool, excepted: impl Fn(&A) -> bool) -> Option<Hit<'_, A>> {
        let facts = Facts::new(command, parsed);
        self.rules.iter().find_map(|rule| {
            let what = rule.conditions.matched(&facts, self.opaque)?;
            (!excepted(&rule.action)).then_some(Hit { rule: &rule.name, action: &rule.action, what })
        })
    }

    /// What follows from the first rule of the settings.
    pub fn first_action(&self) -> Option<&A> {
        self.rules.first().map(|r| &r.action)
    }
}

impl Conditions {
    fn read(at: &str, from: Matchers<'_>, errors: &mut SettingErrors) -> Self {
        let mut effects = Effects::empty();
        for (i, name) in from.effects.iter().enumerate() {
            match EFFECTS.iter().find(|(n, _)| n == name) {
                Some((_, effect)) => effects |= *effect,
                None => {
                    let known: Vec<&str> = EFFECTS.iter().map(|(n, _)| *n).collect();
                    let message = format!("there is no effect `{name}`; there are {}", known.join(", "));
                    errors.add(format_args!("{at}/effects/{i}"), message);
                }
            }
        }
        let mut qualified = |key: &str, patterns: &[String]| -> Vec<Qualified> {
            let read = patterns.iter().enumerate().map(|(i, p)| (i, Qualified::new(p)));
            read.filter_map(|(i, p)| p.map_err(|e| errors.add(format_args!("{at}/{key}/{i}"), e)).ok()).collect()
        };
        let (relations, functions) = (qualified("relations", from.relations), qualified("functions", from.functions));
        let empty = from.verbs.iter().position(|v| v.is_empty());
        if let Some(i) = empty {
            errors.add(format_args!("{at}/verbs/{i}"), "an empty verb matches nothing");
        }
        errors.check(from.pattern != Some(""), format_args!("{at}/pattern"), "an empty pattern matches every command");
        Self {
            verbs: from.verbs.iter().map(|v| Glob::whole(v)).collect(),
            effects,
            relations,
            functions,
            missing_where: from.missing_where,
            pattern: from.pattern.map(Glob::anywhere),
        }
    }

    fn any(&self) -> bool {
        self.needs_a_statement() || self.pattern.is_some()
    }

    fn needs_a_statement(&self) -> bool {
        let names = self.verbs.len() + self.relations.len() + self.functions.len();
        names > 0 || !self.effects.is_empty() || self.missing_where
    }

    /// What matched: all conditions hold, those on facts for one and the same statement.
    fn matched(&self, facts: &Facts<'_>, opaque: Opaque) -> Option<String> {
        let what = match self.needs_a_statement() {
            true => facts.statements.iter().find_map(|s| self.statement(s, opaque))?,
            false => "the text".to_owned(),
        };
        self.pattern.as_ref().is_none_or(|p| p.matches(facts.text())).then_some(what)
    }

    fn statement(&self, s: &Statement, opaque: Opaque) -> Option<String> {
        if !self.verbs.is_empty() && !self.verbs.iter().any(|v| v.matches(s.verb())) {
            return None;
        }
        let only_verbs =
            self.effects.is_empty() && !self.missing_where && self.relations.len() + self.functions.len() == 0;
        if only_verbs || opaque == Opaque::Match && s.effects().contains(Effects::OPAQUE) {
            return Some(s.verb().to_owned());
        }
        if !self.effects.is_empty() && !s.effects().intersects(self.effects) || self.missing_where && !s.lacks_where() {
            return None;
        }
        let mut what = s.verb().to_owned();
        if !self.relations.is_empty() {
            what = format!("{what} on {}", self.relation(s)?);
        }
        if !self.functions.is_empty() {
            let fits = |name: &&String| {
                let (schema, name) = name.rsplit_once('.').unwrap_or(("", name));
                self.functions.iter().any(|f| f.matches(schema, name))
            };
            what = format!("{what} with {}()", s.functions().iter().find(fits)?);
        }
        Some(what)
    }

    /// The first relation that fits. Reading and writing must be done to that very relation; other effects are the statement's.
    fn relation(&self, s: &Statement) -> Option<String> {
        let to_relations = Effects::READ | Effects::WRITE;
        let anyway = self.effects.is_empty() || s.effects().intersects(self.effects - to_relations);
        let fits = s.relations().iter().find(|r| {
            let touched = anyway || r.effects.is_empty() || r.effects.intersects(self.effects);
            touched && self.relations.iter().any(|p| p.matches(&r.schema, &r.name))
        });
        fits.map(|r| if r.schema.is_empty() { r.name.clone() } else { format!("{}.{}", r.schema, r.name) })
    }
}

#[cfg(test)]
mod tests;
