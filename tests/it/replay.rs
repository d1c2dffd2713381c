//! Replays: audited commands and recorded results against a draft.

use std::fs;

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::root;
use serde_json::{Value, json};

use crate::evidence::{ended_session, texts};
use crate::support::{LABELS, shop};

/// The rules of the package that the traffic meets, and one more.
const STRICTER: &str = r#"
[[rules]]
name = "missing-where"
missing_where = true
message = "this would change every row; add a WHERE clause or ask a DBA"
except = { groups = ["dba"] }

[[rules]]
name = "updates"
verbs = ["UPDATE"]
message = "no updates today"
"#;

/// Runs commands in one session of alice's psql, and waits for its end in the log.
fn session(gateway: &Gateway, commands: &[&str]) {
    let arguments: Vec<&str> = commands.iter().flat_map(|text| ["-c", *text]).collect();
    gateway.psql("alice", &arguments).unwrap().output().unwrap();
    ended_session(gateway);
}

/// Replays against a package: whether nothing changed, and what is printed.
fn replay(gateway: &Gateway, package: &str, arguments: &[&str]) -> (bool, String) {
    let package = root().join("policies").join(package).display().to_string();
    let output = gateway.cli("rita", &[&["policy", "replay", &package], arguments].concat()).unwrap();
    let (out, err) = texts(&output);
    assert!(matches!(output.status.code(), Some(0 | 1)) && !out.is_empty(), "{out}{err}");
    (output.status.success(), out)
}

/// The same, as a document.
fn report(gateway: &Gateway, package: &str, arguments: &[&str]) -> (bool, Value) {
    let (unchanged, out) = replay(gateway, package, &[arguments, &["--json"]].concat());
    (unchanged, serde_json::from_str(&out).unwrap())
}

/// The counts of a report: run, unchanged, words only, changed, approximate.
fn counts(report: &Value) -> [u64; 5] {
    ["commands", "unchanged", "words_only", "changed", "approximate"].map(|key| report[key].as_u64().unwrap())
}

fn write(gateway: &Gateway, name: &str, text: &str) -> String {
    let path = gateway.directory().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_stricter_draft_changes_what_it_should_and_nothing_else() {
    let postgres = shop();
    let options = Options::before(&postgres).with(
        "no-destructive-sql",
        "policies/no-destructive-sql",
        "capabilities = [\"clock\"]",
    );
    let mut gateway = Gateway::start(options).unwrap();
    session(&gateway, &["select 1", "delete from orders", "update orders set cents = 1 where id = 1", "select 2"]);
    let package = "no-destructive-sql";
    let (unchanged, same) = report(&gateway, package, &[]);
    assert!(unchanged, "{same:#}");
    assert_eq!(counts(&same), [4, 4, 0, 0, 0], "{same:#}");

    let stricter = write(&gateway, "stricter.toml", STRICTER);
    let stricter = ["--settings", &*stricter];
    let (unchanged, changed) = report(&gateway, package, &stricter);
    assert!(!unchanged);
    assert_eq!(counts(&changed), [4, 3, 0, 1, 0], "{changed:#}");
    let kind = json!([{ "then": "allow", "now": "deny", "against": "policy", "commands": 1 }]);
    assert_eq!(changed["kinds"], kind);
    let change = &changed["changes"][0];
    assert_eq!(change["text"], "update orders set cents = 1 where id = 1");
    assert_eq!((&change["principal"], &change["now"]["message"]), (&json!("alice"), &json!("no updates today")));

    let (_, words) = replay(&gateway, package, &stricter);
    for expected in ["allow → deny: 1", "alice to shop, command 3", "now   deny: no updates today"] {
        assert!(words.contains(expected), "{words}");
    }
    let (_, none) = report(&gateway, package, &[&stricter[..], &["--principal", "dora"]].concat());
    assert_eq!(counts(&none), [0; 5]);
    let (_, whole) = report(&gateway, package, &[&stricter[..], &["--policy", "nobody"]].concat());
    let kind = json!([{ "then": "allow", "now": "deny", "against": "outcome", "commands": 1 }]);
    assert_eq!(whole["kinds"], kind, "{whole:#}");

    let export = gateway.directory().join("audit.jsonl").display().to_string();
    gateway.ask("rita", &["audit", "export", "--output", &export]).unwrap();
    let exported = [&stricter[..], &["--export", &export]].concat();
    let (_, first) = replay(&gateway, package, &exported);
    assert_eq!(first, replay(&gateway, package, &exported).1, "two runs give the same bytes");
    let (_, exported) = report(&gateway, package, &exported);
    gateway.stop().unwrap();
    let store = gateway.data().join("store.redb").display().to_string();
    let (_, stored) = report(&gateway, package, &[&stricter[..], &["--store", &store]].concat());
    for other in [exported, stored] {
        assert_eq!(counts(&other), counts(&changed), "{other:#}");
        assert_eq!(other["changes"], changed["changes"]);
    }
}

#[test]
fn a_policy_with_state_decides_again_as_it_did() {
    let postgres = shop();
    let keys = "capabilities = [\"state\"]\nsettings = { commands_per_minute = 3 }";
    let gateway = Gateway::start(Options::before(&postgres).with("fair-use", "policies/fair-use", keys)).unwrap();
    // What counts goes over sessions, and a rehearsal knows one only.
    session(&gateway, &["select 1", "select 2", "select 3"]);
    session(&gateway, &["select 4", "select 5"]);
    let limit =
        |most: u32| write(&gateway, &format!("{most}.json"), &json!({ "commands_per_minute": most }).to_string());
    let (unchanged, same) = report(&gateway, "fair-use", &["--settings", &limit(3)]);
    assert!(unchanged, "{same:#}");
    assert_eq!(counts(&same), [5, 5, 0, 0, 0], "{same:#}");
    let (_, stricter) = report(&gateway, "fair-use", &["--settings", &limit(2)]);
    assert_eq!(counts(&stricter)[3..], [1, 0], "{stricter:#}");
    assert_eq!(stricter["changes"][0]["text"], "select 3");
    let (_, looser) = report(&gateway, "fair-use", &["--settings", &limit(4)]);
    assert_eq!(looser["changes"][0]["text"], "select 4", "{looser:#}");
}

#[test]
fn what_was_not_recorded_makes_a_replay_approximate() {
    let postgres = shop();
    let keys = "capabilities = [\"state\"]\nsettings = { commands_per_minute = 3 }";
    let mut options = Options::before(&postgres).with("fair-use", "policies/fair-use", keys);
    options.more = "[audit]\ninputs = false\n".into();
    let gateway = Gateway::start(options).unwrap();
    session(&gateway, &["select 1", "select 2", "select 3"]);
    session(&gateway, &["select 4"]);
    let settings = write(&gateway, "3.json", r#"{ "commands_per_minute": 3 }"#);
    let (unchanged, report) = report(&gateway, "fair-use", &["--settings", &settings]);
    // The state of a rehearsal begins empty.
    assert!(!unchanged);
    assert_eq!(counts(&report), [4, 3, 0, 1, 4], "{report:#}");
    assert_eq!(
        (&report["changes"][0]["text"], &report["changes"][0]["approximate"]),
        (&json!("select 4"), &json!(true))
    );
}

#[test]
fn recorded_results_are_run_too() {
    let postgres = shop();
    let mut options = Options::before(&postgres);
    options.target = format!("record = \"results\"\n{LABELS}");
    let mut gateway = Gateway::start(options).unwrap();
    session(&gateway, &["select email, 7 as seven from customers where email is not null", "select 1 where false"]);
    let rows = postgres.sql("shop", "select count(email) from customers").unwrap().parse::<u64>().unwrap();
    let package = "hide-personal-data";
    let (_, live) = report(&gateway, package, &["--results"]);
    let results = &live["results"];
    assert_eq!((&results["masked_then"], &results["rows"]), (&json!(0), &json!(rows)), "{live:#}");
    let email = &results["columns"].as_array().unwrap().iter().find(|column| column["name"] == "email").unwrap();
    assert_eq!((&email["values"], &email["changed"]), (&json!(rows), &json!(rows)), "{live:#}");
    gateway.stop().unwrap();
    let (store, recordings) = (gateway.data().join("store.redb"), gateway.data().join("recordings"));
    let (store, recordings) = (store.display().to_string(), recordings.display().to_string());
    let (_, stored) = report(&gateway, package, &["--store", &store, "--recordings", &recordings]);
    assert_eq!(&stored["results"], results, "{stored:#}");
}
