//! Covers e-mail addresses in text columns, wherever they come from.

use portcullis_sdk::{
    Action, BatchResult, Chunk, Command, Edit, Error, Plan, Policy, ResultSet, Rows, Session, SettingError, Spans,
    detect,
};
use serde::Deserialize;

/// Types whose values hold no text. Every other type is searched: a domain over text has a name of its own.
const NOT_TEXT: [&str; 17] = [
    "bool",
    "bytea",
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
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "uuid",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Whether only the part before the `@` is covered.
    #[serde(default = "yes")]
    keep_domain: bool,
}

fn yes() -> bool {
    true
}

struct MaskEmails {
    keep_domain: bool,
    detectors: Vec<String>,
}

impl Policy for MaskEmails {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, Vec<SettingError>> {
        Ok(Self { keep_domain: settings.keep_domain, detectors: vec!["email".to_owned()] })
    }
}

impl Rows for MaskEmails {
    /// Asks for the values of all columns that may hold text. A column's name tells nothing: whoever writes the query chooses it.
    fn plan(&mut self, _: &Session, _: &Command, result: &ResultSet) -> Result<Plan, Error> {
        let mut plan = Plan::keep();
        for (index, column) in (0..).zip(result.columns()) {
            // The name of an array's type is that of its element's with `_` before it.
            let element = column.type_name.strip_prefix('_').unwrap_or(&column.type_name);
            if !NOT_TEXT.contains(&element) {
                plan.push(index, Action::Inspect);
            }
        }
        Ok(plan)
    }

    /// Covers what the gateway's detector finds.
    fn filter(
        &mut self,
        _: &Session,
        _: &Command,
        _: &ResultSet,
        _: u32,
        chunks: &[Chunk],
    ) -> Result<BatchResult, Error> {
        Ok(BatchResult::edits(chunks.iter().map(|chunk| self.edit(chunk)).collect()))
    }
}

impl MaskEmails {
    fn edit(&self, chunk: &Chunk) -> Edit {
        let hits = detect::scan(&self.detectors, &chunk.ends, &chunk.data);
        if hits.is_empty() {
            return Edit::Keep;
        }
        let mut spans = Spans::new(b'*');
        for hit in hits {
            spans.push(hit.value, hit.start, self.covered(chunk, &hit));
        }
        Edit::Spans(spans)
    }

    /// How many bytes of an address are covered.
    fn covered(&self, chunk: &Chunk, hit: &detect::Hit) -> u32 {
        let value = chunk.value(hit.value as usize).unwrap_or_default();
        let address = value.iter().skip(hit.start as usize).take(hit.len as usize);
        let before_at = (0..).zip(address).find(|(_, byte)| **byte == b'@');
        before_at.filter(|_| self.keep_domain).map_or(hit.len, |(len, _)| len)
    }
}

portcullis_sdk::export!(MaskEmails: rows);

#[cfg(test)]
mod tests {
    use portcullis_sdk::load;
    use portcullis_sdk::testing::{chunk, column, detector, result, session, sql};

    use super::*;

    fn policy(settings: &str) -> MaskEmails {
        load(settings).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    #[test]
    fn columns_that_may_hold_text_are_searched() {
        let types = ["int4", "text", "_uuid", "_varchar", "title"];
        let plan = policy("{}").plan(&session("alice"), &sql("", []), &result(types.map(|t| column("c", t, ""))));
        let inspected: Vec<u32> = plan.unwrap().rules.iter().map(|rule| rule.column).collect();
        assert_eq!(inspected, [1, 3, 4]);
    }

    #[test]
    fn addresses_are_covered_up_to_their_domains_or_whole() {
        detector("email", "anna@example.com", 50);
        let chunk = chunk(0, [Some("nothing"), None, Some("to anna@example.com")]);
        for (settings, len) in [("{}", 4), (r#"{"keep_domain": true}"#, 4), (r#"{"keep_domain": false}"#, 16)] {
            let mut spans = Spans::new(b'*');
            spans.push(2, 3, len);
            assert_eq!(policy(settings).edit(&chunk), Edit::Spans(spans), "{settings}");
        }
    }

    #[test]
    fn a_chunk_without_an_address_stays_as_it_is() {
        assert_eq!(policy("{}").edit(&chunk(0, [Some("nothing")])), Edit::Keep);
    }
}
