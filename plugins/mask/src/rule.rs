//! Rules that select columns by where they come from, and say how to hide them.

use portcullis_matchers::Glob;
use portcullis_sdk::{Action, Column, ColumnRef, Mask, SettingErrors};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleSettings {
    name: String,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    labels: Vec<String>,
    mask: Kind,
    count: Option<u32>,
    value: Option<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    unknown: Unknown,
    #[serde(default)]
    conditions: Conditions,
    #[serde(default)]
    except_groups: Vec<String>,
}

/// Whether a command may find rows by a column that the rule selects: whoever asks often enough learns the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Conditions {
    #[default]
    Allow,
    Deny,
}

/// The host's masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Constant,
    DateToYear,
    Email,
    Hash,
    KeepLast,
    Null,
    Redact,
}

/// What becomes of a column whose origins the host does not know: it may be any column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unknown {
    Deny,
    Keep,
    #[default]
    Mask,
}

#[derive(Debug)]
pub(crate) struct Rule {
    name: String,
    columns: Vec<Glob>,
    origins: Vec<Origin>,
    labels: Vec<Glob>,
    /// For a plain copy of a column.
    mask: Mask,
    /// For a value that is computed, of which a partial mask could show anything.
    computed: Mask,
    unknown: Unknown,
    conditions: Conditions,
    except_groups: Vec<String>,
}

/// A pattern `schema.table.column`.
#[derive(Debug)]
struct Origin([Glob; 3]);

impl Rule {
    pub(crate) fn read(at: &str, settings: RuleSettings, errors: &mut SettingErrors) -> Self {
        let is_named = !settings.name.is_empty() && settings.name.len() <= 128;
        errors.check(is_named, format_args!("{at}/name"), "a rule's name has 1 to 128 bytes");
        let selectors = settings.columns.len() + settings.origins.len() + settings.labels.len();
        errors.check(selectors > 0, at, "the rule selects no column; give `columns`, `origins` or `labels`");
        for (key, patterns) in [("columns", &settings.columns), ("labels", &settings.labels)] {
            for i in (0..patterns.len()).filter(|i| patterns[*i].is_empty()) {
                errors.add(format_args!("{at}/{key}/{i}"), "an empty pattern selects nothing");
            }
        }
        let mut origins = vec![];
        for (i, pattern) in settings.origins.iter().enumerate() {
            match Origin::new(pattern) {
                Some(origin) => origins.push(origin),
                None => {
                    errors.add(format_args!("{at}/origins/{i}"), "an origin is `schema.table.column`; `*` fits any")
                }
            }
        }
        let globs = |patterns: &[String]| patterns.iter().map(|p| Glob::whole(p)).collect();
        Self {
            columns: globs(&settings.columns),
            origins,
            labels: globs(&settings.labels),
            mask: settings.mask.with_parameters(at, settings.count, settings.value.as_deref(), &settings.paths, errors),
            computed: Mask::plain(if settings.mask == Kind::Null { "null" } else { "redact" }),
            unknown: settings.unknown,
            conditions: settings.conditions,
            except_groups: settings.except_groups,
            name: settings.name,
        }
    }

    pub(crate) fn excepts(&self, member: impl Fn(&[String]) -> bool) -> bool {
        member(&self.except_groups)
    }

    /// What happens to the column, if the rule selects it.
    pub(crate) fn action(&self, column: &Column) -> Option<Action> {
        let mask = |m: &Mask| Some(Action::Mask(m.clone()));
        if self.selects(column) {
            return mask(if column.computed { &self.computed } else { &self.mask });
        }
        let is_unknown = column.computed && column.origins.is_empty();
        match self.unknown {
            Unknown::Mask if is_unknown => mask(&self.computed),
            Unknown::Deny if is_unknown => Some(Action::Deny(format!(
                "the gateway cannot tell where the result's columns come from, and the rule \"{}\" demands to know; \
                 select plain columns",
                self.name
            ))),
            _ => None,
        }
    }

    /// Whether it cares for the conditions of commands.
    pub(crate) fn guards_conditions(&self) -> bool {
        self.conditions == Conditions::Deny
    }

    /// Why a command may not find rows by this column, if it may not.
    pub(crate) fn refuses(&self, condition: &Column) -> Option<String> {
        if self.selects(condition) {
            let (column, rule) = (&condition.name, &self.name);
            return Some(format!(
                "a condition on \"{column}\" could tell values that the rule \"{rule}\" hides; find rows by other columns"
            ));
        }
        let is_unknown = condition.origins.is_empty() && self.unknown != Unknown::Keep;
        is_unknown.then(|| {
            format!(
                "the gateway cannot tell which columns the conditions use, and the rule \"{}\" demands to know; use plain columns",
                self.name
            )
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn selects(&self, column: &Column) -> bool {
        let named = |c: &Glob| c.matches(&column.name) || column.origins.iter().any(|o| fits(c, &o.name));
        self.columns.iter().any(named)
            || self.origins.iter().any(|p| column.origins.iter().any(|o| p.matches(o)))
            || self.labels.iter().any(|p| column.labels.iter().any(|l| p.matches(l)))
    }
}

impl Kind {
    fn with_parameters(
        self,
        at: &str,
        count: Option<u32>,
        value: Option<&str>,
        paths: &[String],
        errors: &mut SettingErrors,
    ) -> Mask {
        let counted = self == Self::KeepLast;
        errors.check(counted || count.is_none(), format_args!("{at}/count"), "only the mask `keep-last` has a `count`");
        let valued = self == Self::Constant;
        errors.check(valued || value.is_none(), format_args!("{at}/value"), "only the mask `constant` has a `value`");
        let placed = self == Self::Redact;
        errors.check(placed || paths.is_empty(), format_args!("{at}/paths"), "only the mask `redact` has `paths`");
        errors.check(paths.len() <= 64, format_args!("{at}/paths"), "a rule has at most 64 paths");
        for i in (0..paths.len()).filter(|i| !paths[*i].starts_with("$.") && !paths[*i].starts_with("$[")) {
            errors.add(format_args!("{at}/paths/{i}"), "a path is like `$.contact.email` or `$.items[*].card`");
        }
        match (self, count, value) {
            (Self::KeepLast, Some(count @ 1..=1000), _) => Mask::keep_last(count),
            (Self::Constant, _, Some(value)) => Mask::constant(value),
            (Self::KeepLast, ..) => {
                errors.add(format_args!("{at}/count"), "the mask `keep-last` needs a `count` from 1 to 1000");
                Mask::plain("redact")
            }
            (Self::Constant, ..) => {
                errors.add(at, "the mask `constant` needs a `value`");
                Mask::plain("redact")
            }
            (Self::DateToYear, ..) => Mask::plain("date-to-year"),
            (Self::Email, ..) => Mask::plain("email"),
            (Self::Hash, ..) => Mask::plain("hash"),
            (Self::Null, ..) => Mask::plain("null"),
            (Self::Redact, ..) => Mask::redact_at(paths),
        }
    }
}

impl Origin {
    fn new(pattern: &str) -> Option<Self> {
        let parts: Vec<&str> = pattern.split('.').collect();
        let [schema, table, column] = parts[..] else { return None };
        (!parts.contains(&"")).then(|| Self([schema, table, column].map(Glob::whole)))
    }

    fn matches(&self, column: &ColumnRef) -> bool {
        let names = [&column.schema, &column.relation, &column.name];
        self.0.iter().zip(names).all(|(pattern, name)| fits(pattern, name))
    }
}

/// A name that is not known, and the `*` of all columns, may be any.
fn fits(pattern: &Glob, name: &str) -> bool {
    name.is_empty() || name == "*" || pattern.matches(name)
}
