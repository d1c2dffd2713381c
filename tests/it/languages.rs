//! The example policies of each language, from components built here, before a real server.

use std::path::PathBuf;

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::root;

use crate::support::{shop, skipped};

/// Each language with a gateway of its own: how long a guest takes to start is not to matter here.
fn both_examples_act(language: &str) {
    let dir = |name: &str| format!("examples/write-a-policy/{language}/{name}");
    let component = |name: &str| -> PathBuf { root().join(dir(name)).join("policy.wasm") };
    for name in ["no-mass-delete", "mask-emails"] {
        if !component(name).exists() {
            return skipped(format!("{name} in {language} is not built; `cargo xtask test` builds it"));
        }
    }
    let postgres = shop();
    let limits = "limits = { memory_mib = 256, call_ms = 5000 }";
    let options = Options::before(&postgres).with("no-mass-delete", &dir("no-mass-delete"), limits).with(
        "mask-emails",
        &dir("mask-emails"),
        limits,
    );
    let gateway = Gateway::start(options).unwrap();
    let (out, err) = gateway.query("alice", "delete from orders").unwrap();
    assert!(out.is_empty() && err.contains("policy \"no-mass-delete\""), "{out} {err}");
    let (_, err) = gateway.query("alice", "delete from orders where true").unwrap();
    assert!(err.contains("policy \"no-mass-delete\""), "{err}");
    assert_eq!(gateway.query("alice", "delete from orders where id = 40").unwrap(), (String::new(), String::new()));
    assert_eq!(postgres.sql("shop", "select count(*) from orders").unwrap(), "39");
    let (out, err) = gateway.query("alice", "select email as x, note from customers order by id").unwrap();
    assert!(err.is_empty() && out.lines().count() > 1, "{out} {err}");
    let covered = |line: &str| line.split_once('@').is_none_or(|(before, _)| before.ends_with('*'));
    assert!(out.contains('*') && out.lines().all(covered), "{out}");
    // A literal is a value like any other, also in the binary format of the extended protocol.
    let (out, _) = gateway.query("alice", "select 'write to ada@example.com today'").unwrap();
    assert_eq!(out, "write to ***@example.com today");
}

#[test]
fn rust_policies_act() {
    both_examples_act("rust");
}

#[test]
fn go_policies_act() {
    both_examples_act("go");
}

#[test]
fn javascript_policies_act() {
    both_examples_act("javascript");
}

#[test]
fn python_policies_act() {
    both_examples_act("python");
}

#[test]
fn c_policies_act() {
    both_examples_act("c");
}
