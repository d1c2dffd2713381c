//! A policy's settings: the package's defaults with the operator's changes, checked against the package's schema.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::error::{PackageError, Problem};
use crate::{file, manifest};

/// The most problems that are told at once.
const MAX_PROBLEMS: usize = 50;

/// Reads an operator's settings from a file: JSON if its name ends in `.json`, else TOML.
pub fn read_settings(path: &Path) -> Result<Value, PackageError> {
    let text = file::read_text(path)?;
    let invalid = |message| PackageError::Invalid { file: path.into(), message };
    if path.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_str(&text).map_err(|error| invalid(format!("is not JSON: {error}")));
    }
    manifest::to_json(toml::Value::Table(file::parse(path, &text)?)).map_err(invalid)
}

/// Applies a JSON merge patch (RFC 7396).
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(object) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// How long a schema may take: one whose parts refer to each other can multiply what is to be done without end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every place where settings do not fit a schema, which is given as text.
pub(crate) fn check(text: String, settings: &Value) -> Result<Vec<Problem>, String> {
    let (done, outcome) = mpsc::channel();
    let settings = settings.clone();
    let checking = thread::Builder::new().name("settings".into()).spawn(move || {
        // Nobody may wait for it any more.
        let _ = done.send(schema(&text).map(|schema| problems(&schema, &settings)));
    });
    checking.map_err(|error| format!("cannot be checked: {error}"))?;
    outcome.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        Err(format!("takes longer than {} s; a schema must not multiply itself by references", PATIENCE.as_secs()))
    })
}

/// Reads a JSON schema. It is data of the package: nothing is fetched for it, and its patterns match in linear time.
pub(crate) fn schema(text: &str) -> Result<Validator, String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    let options = jsonschema::options().offline().with_pattern_options(PatternOptions::regex());
    options.build(&schema).map_err(|error| {
        let place = error.instance_path().to_string();
        format!("is not a JSON schema: {}: {error}", if place.is_empty() { "/" } else { &place })
    })
}

/// Every place where the settings do not fit. The messages hold no value: settings may be confidential.
pub(crate) fn problems(schema: &Validator, settings: &Value) -> Vec<Problem> {
    let problem = |error: jsonschema::ValidationError<'_>| Problem {
        pointer: error.instance_path().to_string(),
        message: match error.kind() {
            // In full: jsonschema names the first few.
            ValidationErrorKind::Enum { options } => {
                let options = options.as_array().into_iter().flatten().map(ToString::to_string);
                format!("the value is not one of {}", options.collect::<Vec<_>>().join(", "))
            }
            _ => error.masked_with("the value").to_string(),
        },
    };
    schema.iter_errors(settings).take(MAX_PROBLEMS).map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_rfc_7396() {
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, expected) in cases {
            let before = target.clone();
            merge(&mut target, &patch);
            assert_eq!(target, expected, "{before} + {patch}");
        }
    }

    #[test]
    fn every_problem_is_told_without_the_value() {
        let schema = schema(
            r#"{"type": "object", "additionalProperties": false, "required": ["mode"], "properties": {
                "rules": {"items": {"type": "integer", "maximum": 3}}, "mode": {"enum": ["a", "b", "c", "d"]}}}"#,
        )
        .unwrap();
        let found = problems(&schema, &json!({"rules": [1, "s3cret", 77123], "x": 1, "mode": "s3cret"}));
        let mut pointers: Vec<_> = found.iter().map(|p| p.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["", "/mode", "/rules/1", "/rules/2"]);
        let text = found.iter().map(Problem::to_string).collect::<String>();
        assert!(!text.contains("s3cret") && !text.contains("77123"), "{text}");
        assert!(text.contains("'x'") && text.contains(r#"not one of "a", "b", "c", "d""#), "{text}");
        assert_eq!(problems(&schema, &json!({"mode": "a"})), []);
    }

    #[test]
    fn a_schema_fetches_nothing_and_is_checked() {
        assert!(schema(r#"{"$ref": "https://schema.invalid/s.json"}"#).is_err());
        assert!(schema(r#"{"$ref": "file:///etc/hostname"}"#).is_err());
        assert!(schema(r#"{"type": 7}"#).unwrap_err().contains("/type"));
        assert!(schema("{").unwrap_err().contains("is not JSON"));
    }
}
