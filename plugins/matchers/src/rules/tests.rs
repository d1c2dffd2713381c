use portcullis_sdk::testing::{sql, statement, unreadable};

use super::*;

fn strings<const N: usize>(of: [&str; N]) -> Vec<String> {
    of.map(str::to_owned).to_vec()
}

fn rules(matchers: Matchers<'_>, opaque: Opaque) -> Rules<()> {
    let mut builder = RulesBuilder::default();
    builder.add("r".into(), matchers, ());
    builder.build(opaque).unwrap()
}

fn what(matchers: Matchers<'_>, command: &Command) -> Option<String> {
    rules(matchers, Opaque::Match).first(command, command.parsed(), |()| false).map(|h| h.what)
}

#[test]
fn all_matchers_of_a_rule_must_fit_one_statement() {
    let (verbs, relations) = (strings(["DELETE", "UPDATE"]), strings(["shop.orders"]));
    let rule = Matchers { verbs: &verbs, relations: &relations, missing_where: true, ..Matchers::default() };
    let delete = |name| statement("DELETE").with_relation(name, Effects::WRITE);
    let all = sql("…", [delete("shop.orders").without_where()]);
    assert_eq!(what(rule, &all).as_deref(), Some("DELETE on shop.orders"));
    let spread = [delete("shop.orders"), delete("shop.carts").without_where()];
    assert_eq!(what(rule, &sql("…", spread)), None);
    let later = [statement("SELECT"), delete("orders").without_where()];
    assert_eq!(what(rule, &sql("…", later)).as_deref(), Some("DELETE on orders"));
}

#[test]
fn an_effect_on_a_relation_is_that_relations() {
    let (effects, relations) = (strings(["write", "server-file"]), strings(["payments"]));
    let rule = Matchers { effects: &effects, relations: &relations, ..Matchers::default() };
    let copy = statement("INSERT").with_relation("log", Effects::WRITE).with_relation("payments", Effects::READ);
    assert_eq!(what(rule, &sql("…", [copy.clone()])), None);
    let to_file = copy.with_effects(Effects::SERVER_FILE);
    assert_eq!(what(rule, &sql("…", [to_file])).as_deref(), Some("INSERT on payments"));
    let write = statement("INSERT").with_relation("payments", Effects::WRITE);
    assert!(what(rule, &sql("…", [write])).is_some());
}

#[test]
fn opaque_statements_may_do_anything() {
    let block = sql("DO $$ … $$", [statement("DO").with_effects(Effects::OPAQUE)]);
    let (one, verb) = (strings(["payroll.salaries"]), strings(["DROP TABLE"]));
    let (write, opaque) = (strings(["write"]), strings(["opaque"]));
    let rule = Matchers::default();
    for matchers in [
        Matchers { effects: &write, ..rule },
        Matchers { relations: &one, ..rule },
        Matchers { functions: &one, ..rule },
        Matchers { missing_where: true, ..rule },
    ] {
        assert_eq!(what(matchers, &block).as_deref(), Some("DO"), "{matchers:?}");
        assert!(rules(matchers, Opaque::Allow).first(&block, true, |()| false).is_none(), "{matchers:?}");
    }
    assert_eq!(what(Matchers { verbs: &verb, ..rule }, &block), None, "verbs are what is written");
    let named = rules(Matchers { effects: &opaque, ..rule }, Opaque::Allow);
    assert!(named.first(&block, true, |()| false).is_some());
}

#[test]
fn functions_match_with_and_without_their_schema() {
    let names = strings(["pg_read_*", "dblink.exec"]);
    let rule = Matchers { functions: &names, ..Matchers::default() };
    for (function, fits) in [
        ("pg_read_file", true),
        ("pg_catalog.pg_read_binary_file", true),
        ("exec", true),
        ("other.exec", false),
        ("lower", false),
    ] {
        let call = sql("…", [statement("SELECT").with_function("now").with_function(function)]);
        assert_eq!(what(rule, &call).is_some(), fits, "{function}");
    }
}

#[test]
fn patterns_read_the_text_of_unreadable_commands_too() {
    let rule = Matchers { pattern: Some("copy*program"), ..Matchers::default() };
    assert_eq!(what(rule, &unreadable("?? Copy x TO PROGRAM 'sh'")).as_deref(), Some("the text"));
    assert_eq!(what(rule, &unreadable("select 1")), None);
    let verbs = strings(["*"]);
    assert_eq!(what(Matchers { verbs: &verbs, ..rule }, &unreadable("copy program")), None);
    let select = sql("SELECT 'copy program'", [statement("SELECT")]);
    assert_eq!(what(Matchers { verbs: &verbs, ..rule }, &select).as_deref(), Some("SELECT"));
}

#[test]
fn an_excepted_rule_makes_room_for_the_next() {
    let (verbs, mut builder) = (strings(["DROP *"]), RulesBuilder::default());
    for action in ["first", "second"] {
        builder.add(action.into(), Matchers { verbs: &verbs, ..Matchers::default() }, action);
    }
    let rules = builder.build(Opaque::Match).unwrap();
    let drop = sql("…", [statement("DROP TABLE")]);
    assert_eq!(rules.first(&drop, true, |_| false).map(|h| h.rule), Some("first"));
    assert_eq!(rules.first(&drop, true, |a| *a == "first").map(|h| h.rule), Some("second"));
    assert!(rules.first(&drop, true, |_| true).is_none());
}

#[test]
fn mistakes_in_rules_are_told_with_their_place() {
    let (verbs, effects, names) = (strings(["A", ""]), strings(["read", "wirte"]), strings(["a.b.c"]));
    let mut builder = RulesBuilder::default();
    builder.add("fine".into(), Matchers { missing_where: true, ..Matchers::default() }, ());
    let bad = Matchers {
        verbs: &verbs,
        effects: &effects,
        relations: &names,
        functions: &names,
        pattern: Some(""),
        ..Matchers::default()
    };
    builder.add(String::new(), bad, ());
    builder.add("empty".into(), Matchers::default(), ());
    let errors = builder.build(Opaque::Match).unwrap_err();
    let mut paths: Vec<&str> = errors.iter().map(|e| &*e.path).collect();
    paths.sort_unstable();
    let expected = ["effects/1", "functions/0", "name", "pattern", "relations/0", "verbs/1"];
    assert_eq!(
        paths,
        expected.map(|p| format!("/rules/1/{p}")).iter().map(|s| &**s).chain(["/rules/2"]).collect::<Vec<_>>()
    );
    let none = RulesBuilder::<()>::default().build(Opaque::Match).unwrap_err();
    assert_eq!(none[0].path, "/rules");
}
