use portcullis_sdk::testing::{chunk, column, detector, result, session, sql, unreadable};
use portcullis_sdk::{Edit, Patch, load};
use serde_json::json;

use super::*;

fn mask(settings: &serde_json::Value) -> Mask {
    load(&settings.to_string()).unwrap()
}

fn plan<const N: usize>(policy: &mut Mask, who: &Session, columns: [Column; N]) -> Vec<(u32, String)> {
    let plan = policy.plan(who, &sql("…", []), &result(columns)).unwrap();
    let show = |action| match action {
        Action::Mask(mask) => mask.parameters.into_iter().fold(mask.name, |all, (_, value)| format!("{all} {value}")),
        Action::Inspect => "inspect".to_owned(),
        Action::Deny(message) => message,
        Action::Keep => "keep".to_owned(),
    };
    plan.rules.into_iter().map(|r| (r.column, show(r.action))).collect()
}

fn emails() -> serde_json::Value {
    json!({"rules": [{"name": "emails", "columns": ["*mail*"], "origins": ["public.people.login"], "labels": ["pii.*"],
        "mask": "email", "except_groups": ["support"]}]})
}

#[test]
fn origins_decide_and_an_alias_does_not_help() {
    let columns = [
        column("id", "int4", "public.people.id"),
        column("x", "text", "public.people.email"),
        column("y", "text", "public.people.login"),
        column("z", "text", "public.people.tel").with_labels(["pii.phone"]),
        column("E-Mail", "text", "").computed(["public.people.id"]),
        column("e", "text", "").computed(["public.people.id", "public.people.email"]),
        column("row", "people", "").computed(["public.people.*"]),
    ];
    let alice = session("alice");
    let got = plan(&mut mask(&emails()), &alice, columns.clone());
    let expected = [(1, "email"), (2, "email"), (3, "email"), (4, "redact"), (5, "redact"), (6, "redact")];
    assert_eq!(got, expected.map(|(c, a)| (c, a.to_owned())));
    assert_eq!(plan(&mut mask(&emails()), &session("s").with_groups(["support"]), columns), []);
}

#[test]
fn what_the_host_does_not_know_is_treated_as_the_rule_says() {
    let unknown = || [column("x", "text", "").computed([]), column("one", "int4", "")];
    for (choice, expected) in [
        (None, vec![(0, "redact")]),
        (Some("mask"), vec![(0, "redact")]),
        (Some("keep"), vec![]),
        (Some("deny"), vec![(0, "cannot tell")]),
    ] {
        let mut settings = emails();
        if let Some(choice) = choice {
            settings["rules"][0]["unknown"] = choice.into();
        }
        let got = plan(&mut mask(&settings), &session("alice"), unknown());
        assert_eq!(got.len(), expected.len(), "{choice:?}: {got:?}");
        for ((column, action), (c, a)) in got.iter().zip(expected) {
            assert!(*column == c && action.contains(a), "{choice:?}: {action}");
        }
    }
}

#[test]
fn every_mask_has_the_hosts_name_and_parameters() {
    for (rule, plain, computed) in [
        (json!({"mask": "constant", "value": "x"}), "constant x", "redact"),
        (json!({"mask": "date-to-year"}), "date-to-year", "redact"),
        (json!({"mask": "hash"}), "hash", "redact"),
        (json!({"mask": "keep-last", "count": 4}), "keep-last 4", "redact"),
        (json!({"mask": "null"}), "null", "null"),
        (json!({"mask": "redact"}), "redact", "redact"),
        (json!({"mask": "redact", "paths": ["$.a", "$[*].b"]}), "redact $.a $[*].b", "redact"),
    ] {
        let mut rule = rule;
        (rule["name"], rule["columns"]) = ("r".into(), json!(["c"]));
        let columns = [column("c", "text", "p.t.c"), column("x", "text", "p.t.c").computed(["p.t.d"])];
        let got = plan(&mut mask(&json!({"rules": [rule]})), &session("alice"), columns);
        assert_eq!(got, [(0, plain.to_owned()), (1, computed.to_owned())]);
    }
}

#[test]
fn texts_are_inspected_unless_a_rule_hides_them() {
    let mut settings = emails();
    settings["detect"] = json!({"detectors": ["email"], "columns": ["note*", "email"], "except_groups": ["dpo"]});
    let mut policy = mask(&settings);
    let columns = || {
        [
            column("email", "text", "public.people.email"),
            column("notes", "text", "public.people.notes"),
            column("n", "_varchar", "public.people.notes"),
            column("note_count", "int4", "public.people.note_count"),
            column("other", "text", "public.people.other"),
        ]
    };
    let got = plan(&mut policy, &session("alice"), columns());
    assert_eq!(got, [(0, "email".into()), (1, "inspect".into()), (2, "inspect".into())]);
    assert_eq!(plan(&mut policy, &session("d").with_groups(["dpo"]), columns()), [(0, "email".to_owned())]);
}

fn edits<const N: usize>(detect: serde_json::Value, type_name: &str, values: [Option<&str>; N]) -> Edit {
    detector("card", "4111", 100);
    detector("email", "a@b.c", 50);
    let (who, what) = (session("alice"), sql("…", []));
    let columns = result([column("id", "int4", ""), column("t", type_name, "")]);
    let mut policy = mask(&json!({"detect": detect}));
    let mut batch = policy.filter(&who, &what, &columns, N as u32, &[chunk(1, values)]).unwrap();
    batch.edits.remove(0)
}

#[test]
fn hits_with_enough_score_are_blanked() {
    let values = [Some("to a@b.c"), None, Some("pay 4111, 4111")];
    let both = json!({"detectors": ["card", "email"]});
    let Edit::Spans(spans) = edits(both, "text", values) else { panic!("no spans") };
    assert_eq!(
        (spans.rows, spans.starts, spans.lens, spans.fill),
        (vec![0, 2, 2], vec![3, 4, 10], vec![5, 4, 4], b'*')
    );
    let sure = json!({"detectors": ["card", "email"], "min_score": 60});
    let Edit::Spans(spans) = edits(sure, "text", values) else { panic!("no spans") };
    assert_eq!(spans.rows, [2, 2]);
    assert_eq!(edits(json!({"detectors": ["ssn"]}), "text", values), Edit::Keep);
}

#[test]
fn values_become_null_where_the_settings_or_json_demand_it() {
    let patch = |rows: &[(u32, Option<&str>)]| {
        let mut patch = Patch::new();
        rows.iter().for_each(|(row, value)| patch.push(*row, value.map(str::as_bytes)));
        Edit::Patch(patch)
    };
    let nulls = json!({"detectors": ["card"], "action": "null"});
    assert_eq!(edits(nulls, "text", [Some("4111 4111"), Some("a@b.c")]), patch(&[(0, None)]));
    let both = json!({"detectors": ["card", "email"]});
    let values = [Some(r#"{"\"m\\":"a@b.c"}"#), Some(r#"{"n":4111}"#), Some("{}")];
    assert_eq!(edits(both.clone(), "jsonb", values), patch(&[(0, Some(r#"{"\"m\\":"*****"}"#)), (1, None)]));
    assert!(matches!(edits(both.clone(), "jsonb", [Some(r#"["4111"]"#)]), Edit::Spans(_)));
    assert_eq!(edits(both, "json", [Some(r#"["\4111"]"#)]), patch(&[(0, None)]), "an escape is not cut");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let rule = |more: &str| format!(r#"{{"rules": [{{"name": "r", {more}}}]}}"#);
    for (settings, path) in [
        ("{}".to_owned(), ""),
        (rule(r#""mask": "redact""#), "/rules/0"),
        (rule(r#""mask": "blur", "columns": ["c"]"#), "/rules/0/mask"),
        (rule(r#""mask": "keep-last", "columns": ["c"]"#), "/rules/0/count"),
        (rule(r#""mask": "hash", "columns": ["c"], "count": 4"#), "/rules/0/count"),
        (rule(r#""mask": "hash", "columns": ["c"], "paths": ["$.a"]"#), "/rules/0/paths"),
        (rule(r#""mask": "redact", "columns": ["c"], "paths": ["$.a", "a"]"#), "/rules/0/paths/1"),
        (rule(r#""mask": "constant", "columns": ["c"]"#), "/rules/0"),
        (rule(r#""mask": "hash", "columns": ["a", ""]"#), "/rules/0/columns/1"),
        (rule(r#""mask": "hash", "origins": ["t.c"]"#), "/rules/0/origins/0"),
        (r#"{"detect": {"detectors": []}}"#.to_owned(), "/detect/detectors"),
        (r#"{"detect": {"detectors": ["name"]}}"#.to_owned(), "/detect/detectors/0"),
        (r#"{"detect": {"detectors": ["ssn"], "min_score": 101}}"#.to_owned(), "/detect/min_score"),
    ] {
        let errors = load::<Mask>(&settings).unwrap_err();
        assert_eq!(errors[0].path, path, "{settings}: {}", errors[0].message);
    }
}

#[test]
fn a_rule_can_forbid_conditions_on_what_it_hides() {
    let mut settings = emails();
    assert!(mask(&settings).kinds().is_empty(), "nothing to check");
    settings["rules"][0]["conditions"] = json!("deny");
    let mut policy = mask(&settings);
    assert_eq!(policy.kinds(), ["sql"]);
    let mut check = |who: Session, command: Command| policy.check(&who, &command).unwrap().message;
    let made = |origin: &str| column("x", "", origin).computed([]);
    let on = |origin: &str| sql("…", []).with_conditions([made("public.people.id"), made(origin)]);
    assert_eq!(check(session("alice"), sql("…", [])), None);
    assert_eq!(check(session("alice"), on("public.people.name")), None);
    let expected = "a condition on \"x\" could tell values that the rule \"emails\" hides; find rows by other columns";
    assert_eq!(check(session("alice"), on("public.people.email")).as_deref(), Some(expected));
    assert_eq!(check(session("alice"), on("public.people.login")).as_deref(), Some(expected));
    assert!(check(session("alice"), on("")).unwrap().contains("cannot tell which columns"));
    assert!(check(session("alice"), unreadable("…")).unwrap().contains("cannot read"));
    assert_eq!(check(session("s").with_groups(["support"]), on("public.people.email")), None);
}
