//! The document, and that answers are as it says.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::Answer;
use crate::router::endpoints;

pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&crate::openapi()).unwrap());

/// Every operation: method, path, and whether it wants a token.
pub(super) fn operations() -> Vec<(String, String, bool)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let operation = |(method, operation): (&String, &Value)| {
            (method.to_uppercase(), path.clone(), operation["security"] == json!([{ "token": [] }]))
        };
        item.as_object().unwrap().iter().map(operation).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// The path of the document that serves a path; one without parameters goes first.
pub(super) fn template(path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap();
    let matches = |template: &&String| {
        let (ours, theirs) = (path.split('/'), template.split('/'));
        ours.clone().count() == theirs.clone().count() && ours.zip(theirs).all(|(a, b)| a == b || b.starts_with('{'))
    };
    let mut found: Vec<&String> = DOCUMENT["paths"].as_object().unwrap().keys().filter(matches).collect();
    found.sort_by_key(|template| template.matches('{').count());
    found.first().map(ToString::to_string)
}

/// Panics unless the document describes such an answer.
pub(super) fn check(method: &str, path: &str, answer: &Answer) {
    let (status, body) = (answer.status, &answer.body);
    let kind = answer.header("content-type").unwrap_or_default().split(';').next().unwrap();
    assert!(status < 400 || ["application/problem+json", "text/html"].contains(&kind) || path == "/readyz", "{body}");
    if kind == "application/problem+json" {
        let problem = answer.json();
        assert_eq!((&problem["type"], &problem["status"]), (&json!("about:blank"), &json!(status)), "{problem}");
        validate(&json!({ "$ref": "#/components/schemas/Problem" }), &problem);
    }
    let operation = template(path).map(|template| &DOCUMENT["paths"][template][method.to_lowercase()]);
    let Some(operation) = operation.filter(|operation| operation.is_object()) else {
        assert!(status == 404 || status == 405, "{method} {path} is not described: {status}");
        return;
    };
    let content = &operation["responses"][status.to_string()]["content"][kind];
    assert!(content.is_object(), "{method} {path}: {status} as {kind} is not described: {body}");
    if kind.ends_with("json") {
        validate(&content["schema"], &answer.json());
    }
}

/// Panics unless the value has the shape, and nothing that the shape does not name.
pub(super) fn validate(schema: &Value, value: &Value) {
    let mut schema = schema.clone();
    schema["components"] = DOCUMENT["components"].clone();
    close(&mut schema);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?} in {value}");
}

/// Makes objects with named properties refuse others; but those that are put together.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let put_together =
                |map: &Map<String, Value>| map.contains_key("allOf") || map.contains_key("discriminator");
            if map.contains_key("properties") {
                map.entry("additionalProperties").or_insert(json!(false));
            }
            let open = put_together(map);
            map.iter_mut().filter(|(key, _)| !open && *key != "Entry").for_each(|(_, value)| close(value));
        }
        Value::Array(values) => values.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn the_checked_in_document_is_the_code_s() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, crate::openapi()).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    let way = "UPDATE=1 cargo test -p portcullis-admin";
    assert!(checked_in == crate::openapi(), "docs/openapi.json is out of date; run: {way}");
}

/// The router tells its paths in its debug form only.
#[test]
fn every_route_is_described_and_everything_described_is_a_route() {
    let (router, described) = endpoints().split_for_parts();
    let debug = format!("{router:?}");
    let nodes = debug.split("Node {").nth(1).unwrap().split("},").next().unwrap();
    let routed: BTreeSet<&str> = nodes.split('"').filter(|part| part.starts_with('/')).collect();
    let described: BTreeSet<&str> = described.paths.paths.keys().map(String::as_str).collect();
    assert!(!routed.is_empty());
    assert_eq!(routed, described);
}

#[test]
fn the_document_is_whole() {
    assert!(DOCUMENT["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(DOCUMENT["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    let mut ids = BTreeSet::new();
    for (method, path, token) in operations() {
        let operation = &DOCUMENT["paths"][&path][method.to_lowercase()];
        let responses = operation["responses"].as_object().unwrap();
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{path}: its operationId is another's");
        assert!(operation["summary"].is_string(), "{path}");
        assert!(responses.values().all(|response| response["description"].is_string()), "{method} {path}");
        assert!(!token || (responses.contains_key("401") && responses.contains_key("403")), "{method} {path}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let named = |p: &Value| p["in"] == "path" && p["name"] == name.trim_end_matches('}');
            assert!(parameters.iter().any(named), "{path} does not describe {name}");
        }
    }
    let text = DOCUMENT.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(DOCUMENT["components"]["schemas"][reference].is_object(), "{reference} is nowhere");
    }
}
