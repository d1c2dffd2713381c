//! Personal data and secrets in texts, found by the host's detectors.

use portcullis_matchers::Glob;
use portcullis_sdk::{Chunk, Column, Edit, Patch, ResultSet, SettingErrors, Spans, detect};
use serde::Deserialize;

const FILL: u8 = b'*';

/// Types whose values hold no text. Every other type is inspected: a domain over `text` has a name of its own.
const NOT_TEXT: [&str; 26] = [
    "bit",
    "bool",
    "bytea",
    "cid",
    "date",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "interval",
    "money",
    "numeric",
    "oid",
    "pg_lsn",
    "regclass",
    "regtype",
    "tid",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
    "varbit",
    "xid",
    "xid8",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetectSettings {
    detectors: Vec<Detector>,
    #[serde(default = "default_score")]
    min_score: u8,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    action: Hide,
    #[serde(default)]
    except_groups: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Detector {
    Card,
    Email,
    Iban,
    Phone,
    Secret,
    Ssn,
}

/// How to hide what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hide {
    /// Its characters become `*`.
    #[default]
    Blank,
    /// The value becomes NULL.
    Null,
}

#[derive(Debug)]
pub(crate) struct Detect {
    names: Vec<String>,
    min_score: u8,
    columns: Vec<Glob>,
    action: Hide,
    except_groups: Vec<String>,
}

fn default_score() -> u8 {
    50
}

impl Detector {
    fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Email => "email",
            Self::Iban => "iban",
            Self::Phone => "phone",
            Self::Secret => "secret",
            Self::Ssn => "ssn",
        }
    }
}

impl Detect {
    pub(crate) fn read(settings: DetectSettings, errors: &mut SettingErrors) -> Self {
        errors.check(!settings.detectors.is_empty(), "/detect/detectors", "there is no detector");
        let in_range = (1..=100).contains(&settings.min_score);
        errors.check(in_range, "/detect/min_score", "a score is a whole number from 1 to 100");
        Self {
            names: settings.detectors.iter().map(|d| d.name().to_owned()).collect(),
            min_score: settings.min_score,
            columns: settings.columns.iter().map(|c| Glob::whole(c)).collect(),
            action: settings.action,
            except_groups: settings.except_groups,
        }
    }

    pub(crate) fn excepts(&self, member: impl Fn(&[String]) -> bool) -> bool {
        member(&self.except_groups)
    }

    pub(crate) fn selects(&self, column: &Column) -> bool {
        // The name of an array's type is that of its element's with `_` before it.
        let element = column.type_name.strip_prefix('_').unwrap_or(&column.type_name);
        let named = |g: &Glob| g.matches(&column.name) || column.origins.iter().any(|o| g.matches(&o.name));
        !NOT_TEXT.contains(&element) && (self.columns.is_empty() || self.columns.iter().any(named))
    }

    /// One edit for each chunk.
    pub(crate) fn edits(&self, result: &ResultSet, chunks: &[Chunk]) -> Vec<Edit> {
        // Most batches hold nothing to hide: the columns are only read when one does.
        let mut columns = None;
        chunks
            .iter()
            .map(|chunk| {
                let mut hits = detect::scan(&self.names, &chunk.ends, &chunk.data);
                hits.retain(|h| h.score >= self.min_score);
                if hits.is_empty() {
                    return Edit::Keep;
                }
                let columns = columns.get_or_insert_with(|| result.columns());
                let column = columns.get(chunk.column as usize);
                let is_json = column.is_none_or(|c| c.type_name.trim_start_matches('_').starts_with("json"));
                self.edit(chunk, &hits, is_json)
            })
            .collect()
    }

    fn edit(&self, chunk: &Chunk, hits: &[detect::Hit], is_json: bool) -> Edit {
        // A blanked number would not be JSON any more.
        let is_number = |hit: &detect::Hit| is_json && !in_json_string(chunk, hit);
        let nulled = |hit: &detect::Hit| self.action == Hide::Null || is_number(hit);
        if hits.iter().any(nulled) {
            return Edit::Patch(patch(chunk, hits, nulled));
        }
        let mut spans = Spans::new(FILL);
        for hit in hits {
            spans.push(hit.value, hit.start, hit.len);
        }
        Edit::Spans(spans)
    }
}

/// New values for all rows with hits, which are in order: NULL where one demands it, blanked elsewhere.
fn patch(chunk: &Chunk, hits: &[detect::Hit], nulled: impl Fn(&detect::Hit) -> bool) -> Patch {
    let mut patch = Patch::new();
    for of_row in hits.chunk_by(|a, b| a.value == b.value) {
        let Some(row) = of_row.first().map(|h| h.value) else { continue };
        if of_row.iter().any(&nulled) {
            patch.push(row, None);
            continue;
        }
        let mut value = chunk.value(row as usize).unwrap_or_default().to_vec();
        for hit in of_row {
            let (start, end) = (hit.start as usize, hit.start.saturating_add(hit.len) as usize);
            value.get_mut(start..end).unwrap_or_default().fill(FILL);
        }
        patch.push(row, Some(&value));
    }
    patch
}

/// Whether a hit lies within one string of a JSON text. A backslash guards the character after it, and before a hit's end it
/// could be cut from what it guards, so a hit that holds one does not count; neither does one that holds a quote.
fn in_json_string(chunk: &Chunk, hit: &detect::Hit) -> bool {
    let value = chunk.value(hit.value as usize).unwrap_or_default();
    let Some((before, rest)) = value.split_at_checked(hit.start as usize) else { return false };
    let (mut inside, mut guarded) = (false, false);
    for byte in before {
        (inside, guarded) = match byte {
            _ if guarded => (inside, false),
            b'\\' => (inside, true),
            b'"' => (!inside, false),
            _ => (inside, false),
        };
    }
    let cut = rest.get(..hit.len as usize).unwrap_or_default().iter().any(|b| matches!(b, b'"' | b'\\'));
    inside && !guarded && !cut
}
