//! What is wrong in a configuration file, shown with the place, the line and the way out.

use std::fmt::{self, Write};
use std::ops::Range;
use std::path::Path;

use portcullis_verdict::RolloutStep;
use toml::de::{DeTable, DeValue};

use super::secret::{LITERAL, LITERAL_HINT};

/// One step from a table into what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The value of a key.
    Key(String),
    /// A place in an array, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// The way from the file's root to a value: `at!["target", 0, "policies"]`.
macro_rules! at {
    ($($step:expr),* $(,)?) => { vec![$($crate::config::problem::Step::from($step)),*] };
}
pub(crate) use at;

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Place and message, in a line for logs.
    pub(crate) brief: String,
    /// With the line of the file and the way out, for people.
    pub(crate) full: String,
    /// The step of a change at which it came up.
    pub(crate) step: RolloutStep,
}

/// Collects everything that is wrong with a file, so that one run shows all of it.
pub(crate) struct Report<'a> {
    source: Source<'a>,
    /// What the gateway refuses the file for.
    pub(crate) errors: Vec<Problem>,
    /// What it accepts but should not stay.
    pub(crate) warnings: Vec<Problem>,
}

impl<'a> Report<'a> {
    /// An empty report on this text.
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        let table = DeTable::parse_recoverable(text).0.into_inner();
        Self { source: Source { path, text, table }, errors: Vec::new(), warnings: Vec::new() }
    }

    /// Adds an error.
    pub(crate) fn error(&mut self, at: Vec<Step>, message: impl fmt::Display, hint: &str) {
        let span = self.source.locate(&at);
        self.errors.push(self.source.render("error", span, &message.to_string(), hint, false));
    }

    /// Adds an error that came up at a later step than reading the file.
    pub(crate) fn error_at(&mut self, step: RolloutStep, at: Vec<Step>, message: impl fmt::Display, hint: &str) {
        self.error(at, message, hint);
        if let Some(problem) = self.errors.last_mut() {
            problem.step = step;
        }
    }

    /// Adds a warning.
    pub(crate) fn warn(&mut self, at: Vec<Step>, message: impl fmt::Display, hint: &str) {
        let span = self.source.locate(&at);
        self.warnings.push(self.source.render("warning", span, &message.to_string(), hint, false));
    }

    /// Adds what the TOML reader refused. It stops at the first, which a misspelt table may have caused: what is missing in a table
    /// that should be there is then said of the wrong one. So the tables' names are looked at as well.
    pub(crate) fn unreadable(&mut self, error: &toml::de::Error, tables: &[String]) {
        let unknown: Vec<_> =
            self.source.table.keys().filter(|key| !tables.iter().any(|t| t == key.get_ref())).collect();
        let misspelt = unknown.into_iter().find_map(|key| {
            let near = nearest(key.get_ref(), tables.iter().map(String::as_str))?;
            Some((key.span(), format!("unknown key `{}`", key.get_ref()), format!("did you mean `{near}`?")))
        });
        if let Some((span, message, hint)) = misspelt {
            self.errors.push(self.source.render("error", span, &message, &hint, true));
            return;
        }
        let span = error.span().unwrap_or(0..0);
        let (message, hint) = explain(error.message(), self.source.covered(&span));
        // A key that is not known may be a misspelt secret.
        let cut = error.message().starts_with("unknown field");
        self.errors.push(self.source.render("error", span, &message, &hint, cut));
    }
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
    table: DeTable<'a>,
}

impl Source<'_> {
    /// The bytes of the value at the end of the way, or of the last thing on the way that exists.
    fn locate(&self, way: &[Step]) -> Range<usize> {
        let mut span = 0..0;
        let Some((Step::Key(first), rest)) = way.split_first() else { return span };
        let Some((key, mut value)) = self.table.get_key_value(first.as_str()) else { return span };
        let mut header = key.span();
        for step in rest {
            let next = match (step, value.get_ref()) {
                (Step::Key(key), DeValue::Table(table)) => {
                    table.get_key_value(key.as_str()).map(|(k, v)| (k.span(), v))
                }
                (Step::Index(index), DeValue::Array(array)) => array.get(*index).map(|v| (v.span(), v)),
                _ => None,
            };
            let Some((at, inner)) = next else { break };
            (header, value) = (at, inner);
        }
        span.clone_from(&value.span());
        // A table that was never written out has no place of its own.
        if span.is_empty() { header } else { span }
    }

    /// What stands there, up to the end of the line.
    fn covered(&self, span: &Range<usize>) -> &str {
        self.text.get(span.clone()).unwrap_or_default().lines().next().unwrap_or_default()
    }

    fn render(&self, level: &str, span: Range<usize>, message: &str, hint: &str, cut: bool) -> Problem {
        let start = span.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let shown = show_line(line, cut);
        let width =
            self.covered(&(start..span.end)).chars().count().min(shown.chars().count().saturating_sub(column)).max(1);
        let gutter = number.to_string().len();
        let place = format!("{}:{number}:{}", self.path.display(), column + 1);
        let mut out = format!("{level}: {message}\n");
        let _ = writeln!(out, "{:gutter$}--> {place}", "");
        if !shown.trim().is_empty() {
            let _ = writeln!(out, "{:gutter$} |\n{number} | {shown}", "");
            let _ = writeln!(out, "{:gutter$} | {:column$}{}", "", "", "^".repeat(width));
        }
        if !hint.is_empty() {
            let _ = writeln!(out, "{:gutter$} = help: {hint}", "");
        }
        Problem { brief: format!("{place}: {message}"), full: out, step: RolloutStep::Configuration }
    }
}

/// A line as it may be shown: what could be a secret is cut off.
fn show_line(line: &str, cut: bool) -> String {
    let mut from = 0;
    for (at, _) in line.match_indices('=') {
        let name = line.get(from..at).unwrap_or_default();
        let name = name.rsplit([',', '{']).next().unwrap_or_default().to_lowercase();
        let value = line.get(at + 1..).unwrap_or_default();
        let reference = ["\"env:", "\"file:", "'env:", "'file:"].iter().any(|p| value.trim_start().starts_with(p));
        let secret =
            ["pass", "pwd", "secret", "token", "key", "scram", "sha256"].iter().any(|word| name.contains(word));
        // Whoever knows the URL of a webhook may write there.
        let secret = secret || name.trim() == "url";
        if cut || (secret && !reference) {
            return format!("{} …", line.get(..=at).unwrap_or_default());
        }
        from = at + 1;
    }
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The way out, where an address is to be.
const ADDRESS_HINT: &str = "write an IP address and a port, such as \"127.0.0.1:6432\"";

/// What stands there and what should, in the words of TOML instead of those of serde and Rust, and the way out. The value itself is not
/// repeated: it may be a secret in the wrong place.
fn explain_type(message: &str, covered: &str) -> Option<(String, String)> {
    // What is said where one of several words belongs.
    if message == "wanted string or table" {
        return Some(("text in quotes is expected here".into(), String::new()));
    }
    let told = message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "))?;
    let (found, expected) = told.rsplit_once(", expected ")?;
    let found = match found.split([' ', '`']).next().unwrap_or_default() {
        "string" => "text",
        "integer" => "a whole number",
        "floating" => "a number with a fraction",
        "boolean" => "true or false",
        "sequence" => "an array",
        "map" if covered.starts_with(|c: char| c.is_ascii_digit()) => "a date",
        "map" => "a table",
        _ => "something else",
    };
    let expected = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more,",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "string" => "text in quotes",
        "path string" => "a path in quotes",
        "socket address" => "an address in quotes",
        "a sequence" => "an array",
        "a map" => "a table",
        name if name.starts_with("struct ") => "a table",
        other => other,
    };
    let header = covered.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|_| found == "a table");
    let hint = match (header, expected) {
        (Some(single), _) if single.starts_with('[') => {
            return Some(("this is one table, not a list of them".into(), format!("write {single}")));
        }
        (Some(name), "an array") => format!("write [[{name}]], with two brackets: there may be several"),
        (None, "an array") if found == "text" => "put it in brackets, also if it is the only one: [\"…\"]".into(),
        (_, "an address in quotes") => ADDRESS_HINT.into(),
        _ => String::new(),
    };
    if message.starts_with("invalid value: integer") {
        return Some((format!("this number is out of range: {expected} is expected"), hint));
    }
    Some((format!("here stands {found}, and {expected} is expected"), hint))
}

/// Serde's message in this program's words, and the way out.
fn explain(message: &str, covered: &str) -> (String, String) {
    if let Some(explained) = explain_type(message, covered) {
        return explained;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(name) = quoted.next() else {
        let hint = match message {
            LITERAL => LITERAL_HINT,
            _ if message.contains("socket address") => ADDRESS_HINT,
            _ => "",
        };
        return (message.to_owned(), hint.to_owned());
    };
    let expected: Vec<&str> = quoted.collect();
    let hint = match nearest(name, expected.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if expected.is_empty() => String::new(),
        None => format!("here it may be one of: {}", expected.join(", ")),
    };
    if message.starts_with("unknown field") {
        (format!("unknown key `{name}`"), hint)
    } else if message.starts_with("unknown variant") {
        (format!("`{name}` is not a possible value"), hint)
    } else if message.starts_with("missing field") {
        (format!("the key `{name}` is missing here"), String::new())
    } else {
        (message.to_owned(), String::new())
    }
}

/// The name that was probably meant, if one is near enough.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, near) = known.map(|k| (distance(name, k), k)).min()?;
    (distance <= (name.chars().count() / 3).max(1)).then_some(near)
}

/// Levenshtein's distance, where two neighbours swapped count as one edit.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut best = (last[j] + usize::from(a[i] != b[j])).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                let swapped: usize = before.get(j - 1).copied().unwrap_or(usize::MAX - 1);
                best = best.min(swapped + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}
