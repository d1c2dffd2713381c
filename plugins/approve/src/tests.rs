use portcullis_sdk::testing::{session, sql, statement, unreadable};
use portcullis_sdk::{Decision, Effects, load};
use serde_json::json;

use super::*;

fn approve(settings: serde_json::Value) -> Approve {
    load(&settings.to_string()).unwrap()
}

fn rules() -> serde_json::Value {
    json!([
        {"name": "payments", "relations": ["payments.*"], "any_of": ["finance", "cto"], "quorum": 2, "ttl_seconds": 60,
            "reuse": "same-command", "reason": "four eyes on money"},
        {"name": "ddl", "effects": ["ddl"], "any_of": ["reviewers"], "except": {"groups": ["dba"]}},
    ])
}

fn alter(table: &str) -> Command {
    sql("ALTER TABLE …", [statement("ALTER TABLE").with_relation(table, Effects::DDL)])
}

#[test]
fn the_first_rule_that_matches_sets_the_terms() {
    let mut policy = approve(json!({"rules": rules()}));
    let verdict = policy.check(&session("alice"), &alter("payments.cards")).unwrap();
    let terms = Approval {
        any_of: vec!["finance".into(), "cto".into()],
        quorum: 2,
        ttl_seconds: 60,
        reuse: Reuse::SameCommand,
        reason: "four eyes on money".into(),
    };
    assert_eq!((verdict.decision, verdict.approval), (Decision::Review, Some(terms)));
    assert_eq!(verdict.findings[0].rule, "payments");
}

#[test]
fn terms_have_defaults() {
    let mut policy = approve(json!({"rules": rules()}));
    let terms = policy.check(&session("alice"), &alter("public.t")).unwrap().approval.unwrap();
    let reason = "the rule \"ddl\" holds ALTER TABLE for review".to_owned();
    let any_of = vec!["reviewers".to_owned()];
    assert_eq!(terms, Approval { any_of, quorum: 1, ttl_seconds: 900, reuse: Reuse::Once, reason });
}

#[test]
fn excepted_groups_and_other_commands_pass() {
    let mut policy = approve(json!({"rules": rules()}));
    let dba = session("dora").with_groups(["dba"]);
    assert_eq!(policy.check(&dba, &alter("public.t")).unwrap(), Verdict::allow());
    assert_eq!(policy.check(&dba, &alter("payments.t")).unwrap().decision, Decision::Review, "only of that rule");
    let select = sql("SELECT 1", [statement("SELECT")]);
    assert_eq!(policy.check(&session("alice"), &select).unwrap(), Verdict::allow());
}

#[test]
fn what_was_approved_runs() {
    let mut policy = approve(json!({"rules": rules()}));
    let verdict = policy.approved(&session("alice"), &alter("payments.t"), &["bob".to_owned()]);
    assert_eq!(verdict.unwrap(), Verdict::allow());
}

#[test]
fn what_cannot_be_read_is_held_by_the_terms_of_the_first_rule() {
    for (setting, decision) in [
        (json!({}), Decision::Review),
        (json!({"unreadable": "review"}), Decision::Review),
        (json!({"unreadable": "deny"}), Decision::Deny),
        (json!({"unreadable": "allow"}), Decision::Allow),
    ] {
        let mut settings = setting;
        settings["rules"] = rules();
        let verdict = approve(settings).check(&session("alice"), &unreadable("??")).unwrap();
        assert_eq!(verdict.decision, decision);
        if let Some(terms) = verdict.approval {
            assert_eq!((terms.quorum, terms.reason.contains("cannot read")), (2, true));
        }
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (more, path) in [
        (json!({"any_of": []}), "/rules/0/any_of"),
        (json!({"quorum": 17}), "/rules/0/quorum"),
        (json!({"ttl_seconds": 604_801}), "/rules/0/ttl_seconds"),
        (json!({"reuse": "always"}), "/rules/0/reuse"),
        (json!({"reason": ""}), "/rules/0/reason"),
        (json!({"except": {"groups": []}}), "/rules/0/except/groups"),
        (json!({"effects": ["dll"]}), "/rules/0/effects/0"),
    ] {
        let mut rule = json!({"name": "r", "verbs": ["DO"], "any_of": ["g"]});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let errors = load::<Approve>(&json!({"rules": [rule]}).to_string()).unwrap_err();
        assert_eq!(errors[0].path, path, "{}", errors[0].message);
    }
}
