use portcullis_sdk::testing::{session, set_now_ms, sql, statement, unreadable};
use portcullis_sdk::{Decision, Effects, load};
use serde_json::json;

use super::*;

fn block(settings: serde_json::Value) -> Block {
    load(&settings.to_string()).unwrap()
}

fn drop_table() -> Command {
    sql("DROP TABLE t", [statement("DROP TABLE").with_relation("public.t", Effects::DDL)])
}

fn check(policy: &mut Block, session: &Session, command: &Command) -> Verdict {
    policy.check(session, command).unwrap()
}

#[test]
fn a_rule_refuses_with_its_message_and_a_finding() {
    let mut policy = block(json!({"rules": [{"name": "drops", "verbs": ["DROP *"], "message": "ask the DBAs"}]}));
    let verdict = check(&mut policy, &session("alice"), &drop_table());
    assert_eq!((verdict.decision, verdict.message.as_deref()), (Decision::Deny, Some("ask the DBAs")));
    assert_eq!((&*verdict.findings[0].rule, &*verdict.findings[0].message), ("drops", "DROP TABLE"));
    let select = sql("SELECT 1", [statement("SELECT")]);
    assert_eq!(check(&mut policy, &session("alice"), &select), Verdict::allow());
}

#[test]
fn without_a_message_the_client_learns_rule_and_statement() {
    let mut policy = block(json!({"rules": [{"name": "tables", "relations": ["t"]}]}));
    let message = check(&mut policy, &session("alice"), &drop_table()).message.unwrap();
    assert_eq!(message, "the rule \"tables\" refuses DROP TABLE on public.t");
}

#[test]
fn groups_and_time_of_an_exception_must_both_hold() {
    let except = json!({"groups": ["dba"], "days": ["sat"], "from": "20:00"});
    let mut policy = block(json!({"rules": [{"name": "drops", "effects": ["ddl"], "except": except}]}));
    let (dba, dev) = (session("dora").with_groups(["dba"]), session("alice").with_groups(["dev"]));
    let saturday_evening = (2 * 24 + 21) * 3_600_000;
    for (now, who, decision) in [
        (saturday_evening, &dba, Decision::Allow),
        (saturday_evening, &dev, Decision::Deny),
        (saturday_evening - 3 * 3_600_000, &dba, Decision::Deny),
        (saturday_evening + 3 * 3_600_000, &dba, Decision::Deny),
    ] {
        set_now_ms(now);
        assert_eq!(check(&mut policy, who, &drop_table()).decision, decision, "{now} {who:?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_unless_the_settings_allow_it() {
    let rules = json!([{"name": "drops", "verbs": ["DROP *"]}, {"name": "text", "pattern": "secret"}]);
    let command = unreadable("SELECT ?? FROM x");
    let mut strict = block(json!({"rules": rules}));
    assert_eq!(check(&mut strict, &session("alice"), &command).findings[0].rule, "unreadable");
    let mut lax = block(json!({"rules": rules, "unreadable": "allow"}));
    assert_eq!(check(&mut lax, &session("alice"), &command).decision, Decision::Allow);
    let named = check(&mut lax, &session("alice"), &unreadable("?? SECRET"));
    assert_eq!(named.findings[0].rule, "text");
}

#[test]
fn mistakes_are_told_with_their_place() {
    let rule = |more: serde_json::Value| {
        let mut rule = json!({"name": "r", "verbs": ["DO"]});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"rules": [rule]}).to_string()
    };
    for (more, path) in [
        (json!({"verb": "DROP"}), "/rules/0/verb"),
        (json!({"except": {}}), "/rules/0/except"),
        (json!({"except": {"from": "9:00"}}), "/rules/0/except/from"),
        (json!({"except": {"from": "09:00", "to": "09:00"}}), "/rules/0/except"),
        (json!({"except": {"days": ["Monday"]}}), "/rules/0/except/days/0"),
        (json!({"message": ""}), "/rules/0/message"),
        (json!({"effects": ["all"]}), "/rules/0/effects/0"),
    ] {
        let errors = load::<Block>(&rule(more)).unwrap_err();
        assert_eq!(errors[0].path, path, "{}", errors[0].message);
    }
    assert_eq!(load::<Block>(r#"{"rules": []}"#).unwrap_err()[0].path, "/rules");
}
