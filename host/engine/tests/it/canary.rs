use std::collections::BTreeMap;

use portcullis_engine::{Engine, PolicySpec, Rollout};
use portcullis_verdict::{Decide, Kind, Mode, Outcome, Policies, Ruling, Wants};

use crate::bench::{Ask, Bench, TARGET, broken, command, guest, monitor, read, session_of};
use crate::results::result;

fn canary(policy: PolicySpec, percent: u8, replaces: Option<&str>) -> PolicySpec {
    PolicySpec { canary: Some(Rollout { percent, replaces: replaces.map(Into::into) }), ..policy }
}

fn id(n: u32) -> String {
    format!("0198c0de-0000-7000-8000-{n:012x}")
}

fn ask(engine: &Engine, n: u32) -> Ruling {
    engine.judge(&session_of(&id(n))).check(&command("select 1"), &[], &|text| read(text))
}

/// Whether a canary that denies, in place of one that allows, acts in a session. Every answer says whether it did.
fn acts(bench: &Bench, n: u32) -> bool {
    let ruling = ask(&bench.engine, n);
    let acts = matches!(ruling.outcome, Outcome::Deny(_));
    let [new, old] = [acts, !acts].map(|acts| if acts { Mode::Enforce } else { Mode::Monitor });
    let modes: Vec<_> = ruling.explanation.iter().map(|answer| (&*answer.policy, answer.mode)).collect();
    let expected = [("old", old), ("new", new)];
    assert_eq!(modes, expected[..modes.len()], "session {n}");
    acts
}

fn sides(bench: &Bench) -> Vec<bool> {
    (0..200).map(|n| acts(bench, n)).collect()
}

fn set(percent: u8) -> Vec<PolicySpec> {
    vec![guest("old", "allow"), canary(broken("new", "deny"), percent, Some("old"))]
}

#[test]
fn a_canary_acts_for_its_share_and_the_policy_it_replaces_for_the_rest() {
    let bench = Bench::with(set(30));
    let small = sides(&bench);
    let acting = small.iter().filter(|acts| **acts).count();
    assert!((30..=90).contains(&acting), "{acting} of 200");
    bench.install(set(30));
    assert_eq!(sides(&bench), small, "a reload moves nobody");
    bench.install(set(60));
    let large = sides(&bench);
    assert!(small.iter().zip(&large).all(|(before, after)| !before || *after), "a greater share only adds");
    assert!(large.iter().filter(|acts| **acts).count() > acting);
    bench.install(set(100));
    assert_eq!(sides(&bench), [true; 200]);
}

#[test]
fn a_session_keeps_its_side_and_its_instances_while_the_share_grows() {
    let with = |percent| vec![guest("old", "allow"), canary(broken("new", "count"), percent, Some("old"))];
    let bench = Bench::with(with(50));
    let n = (0..100).find(|n| matches!(ask(&bench.engine, *n).outcome, Outcome::Deny(_))).unwrap();
    let calls = bench.engine.status()[1].calls;
    let mut judge = bench.engine.judge(&session_of(&id(n)));
    assert_eq!([judge.denial(), judge.denial()], ["asked 1 times", "asked 2 times"]);
    bench.install(with(51));
    assert_eq!(judge.denial(), "asked 3 times");
    let status = bench.engine.status();
    assert_eq!((status[1].calls, status[1].canary, status[0].canary), (calls + 3, Some(51), None));
}

#[test]
fn rows_follow_the_side_of_the_session() {
    let bench = Bench::with(vec![canary(broken("new", "plan-deny"), 50, None)]);
    let mut seen = [0, 0];
    for n in 0..50 {
        let mut judge = bench.engine.judge(&session_of(&id(n)));
        let ruling = judge.ask(&command("select 1"));
        let acts = ruling.explanation[0].mode == Mode::Enforce;
        assert_eq!(judge.wants(Kind::Sql), Wants { commands: true, rows: acts, conditions: true });
        assert_eq!(judge.edits(&ruling.snapshot), acts);
        assert_eq!(judge.plan(&ruling.snapshot, &command("select 1"), &result()).is_err(), acts);
        seen[usize::from(acts)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_target_without_the_canary_keeps_the_policy_that_it_replaces() {
    let bench = Bench::new();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let policies = vec![broken("old", "deny"), canary(broken("new", "allow"), 100, Some("old"))];
    let both = BTreeMap::from([(TARGET.into(), names(&["new", "old"]))]);
    bench.engine.swap(bench.engine.prepare(policies.clone(), both).unwrap());
    assert_eq!(ask(&bench.engine, 1).outcome, Outcome::Allow, "whatever the order");
    let old = BTreeMap::from([(TARGET.into(), names(&["old"])), ("other".into(), names(&["new", "old"]))]);
    bench.engine.swap(bench.engine.prepare(policies, old).unwrap());
    assert!(matches!(ask(&bench.engine, 1).outcome, Outcome::Deny(_)));
}

#[test]
fn a_canary_that_makes_no_sense_does_not_load() {
    let bench = Bench::new();
    let allow = |name: &str| guest(name, "allow");
    let cases = [
        (vec![canary(allow("p"), 0, None)], "0 of 100 sessions"),
        (vec![canary(allow("p"), 101, None)], "101 of 100 sessions"),
        (vec![canary(monitor(allow("p")), 5, None)], "monitor mode"),
        (vec![canary(allow("p"), 5, Some("p"))], "replaces itself"),
        (vec![monitor(allow("old")), canary(allow("p"), 5, Some("old"))], "replaces `old`, which is in monitor mode"),
        (vec![broken("old", "allow"), canary(allow("p"), 5, Some("old"))], "is not asked everything that `old` is"),
        (vec![canary(allow("p"), 5, Some("gone"))], "replaces `gone`, but there is no such policy"),
        (
            vec![allow("old"), canary(allow("p"), 5, Some("old")), canary(allow("o"), 5, Some("old"))],
            "replaces `old`, as the canary `o` does",
        ),
        (vec![canary(allow("old"), 5, None), canary(allow("p"), 5, Some("old"))], "is a canary itself"),
    ];
    for (policies, expected) in cases {
        let problems = bench.problems(policies);
        assert!(
            matches!(problems.as_slice(), [said] if said.starts_with("policy `p`: as a canary, it") && said.contains(expected)),
            "{expected}: {problems:?}"
        );
    }
    let alone = BTreeMap::from([("shop".into(), vec!["new".into()])]);
    let errors = bench.engine.prepare(set(5), alone).err().unwrap();
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected =
        "policy `new`: as a canary, it replaces `old`, which the target `shop` is not bound to: bind it to both";
    assert_eq!(said, [expected]);
}
