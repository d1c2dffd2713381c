use portcullis_engine::{PolicyLimits, PolicySpec};
use portcullis_verdict::{Fault, Outcome, Policies, PolicyState};

use crate::bench::{Ask, Bench, broken, command, guest};
use crate::results::{batch, result, texts};

#[test]
fn a_command_keeps_its_policies_for_its_rows() {
    let bench = Bench::with(vec![broken("p", "filter-first")]);
    let mut judge = bench.judge();
    let asked = command("select 1");
    let old = judge.ask(&asked).snapshot;
    assert_eq!(old.generation(), 1);
    let plan = judge.plan(&old, &asked, &result()).unwrap();
    bench.install(vec![broken("p", "deny")]);
    assert_eq!(judge.denial(), "as told");
    let mut rows = batch();
    judge.filter(&old, &asked, &result(), &plan, &mut rows).unwrap();
    assert_eq!(texts(&rows)[0].as_deref(), Some("#lice"));
}

#[test]
fn a_command_allowed_before_a_swap_is_not_edited_by_the_new_policies() {
    let bench = Bench::with(vec![guest("p", "allow")]);
    let mut judge = bench.judge();
    let asked = command("select 1");
    let old = judge.ask(&asked).snapshot;
    bench.install(vec![broken("p", "plan-deny")]);
    assert!(judge.plan(&old, &asked, &result()).unwrap().passes());
    let new = judge.ask(&asked).snapshot;
    assert_eq!(new.generation(), 2);
    assert!(judge.plan(&new, &asked, &result()).is_err());
}

#[test]
fn an_unchanged_policy_keeps_its_instances_and_its_health() {
    let bench = Bench::broken("count");
    let mut judge = bench.judge();
    assert_eq!(judge.denial(), "asked 1 times");
    bench.install(vec![broken("p", "count"), guest("q", "allow")]);
    assert_eq!(judge.denial(), "asked 2 times");
    bench.install(vec![PolicySpec { settings: r#"{ "do":"count"}"#.into(), ..broken("p", "") }]);
    assert_eq!(judge.denial(), "asked 1 times");

    let bench = Bench::broken("trap-in-check");
    let mut judge = bench.judge();
    (0..3).for_each(|_| drop(judge.fault()));
    bench.install(vec![broken("p", "trap-in-check")]);
    assert!(matches!(judge.fault(), Fault::HeldClosed(_)), "a reload of the same is no cure");
    bench.install(vec![broken("p", "allow")]);
    assert_eq!(bench.engine.status()[0].state, PolicyState::Serving);
    assert_eq!(judge.ask(&command("select 1")).outcome, Outcome::Allow);
}

#[test]
fn a_session_that_rests_starts_its_instances_anew() {
    let bench = Bench::broken("count");
    let mut judge = bench.judge();
    assert_eq!([judge.denial(), judge.denial()], ["asked 1 times", "asked 2 times"]);
    judge.rest();
    assert_eq!(judge.denial(), "asked 1 times");
}

#[test]
fn state_outlives_a_change_of_its_policy() {
    let bench = Bench::broken("state-count");
    assert_eq!(bench.judge().denial(), "Ok(1)");
    let limits = PolicyLimits { call_ms: 9_999, ..PolicyLimits::default() };
    bench.install(vec![PolicySpec { limits, ..broken("p", "state-count") }]);
    assert_eq!(bench.judge().denial(), "Ok(2)");
    bench.install(vec![broken("renamed", "state-count")]);
    assert_eq!(bench.judge().denial(), "Ok(1)");
}

#[test]
fn instances_of_a_superseded_set_go_when_its_last_command_is_done() {
    let bench = Bench::with_instances(2);
    bench.install(vec![guest("p", "allow")]);
    let mut judge = bench.judge();
    let asked = command("select 1");
    let old = judge.ask(&asked).snapshot;
    bench.install(vec![broken("p", "count")]);
    assert_eq!(judge.denial(), "asked 1 times");
    let mut other = bench.judge();
    assert!(matches!(other.fault(), Fault::Start(why) if why.contains("max_instances")), "both places are taken");
    drop(old);
    assert_eq!(judge.denial(), "asked 2 times");
    assert_eq!(other.denial(), "asked 1 times");
}

#[test]
fn a_bad_set_leaves_the_old_one_serving() {
    let bench = Bench::broken("deny");
    let problems = bench.problems(vec![broken("p", "trap-in-configure")]);
    assert_eq!(problems.len(), 1);
    assert_eq!((bench.judge().denial().as_str(), bench.engine.generation()), ("as told", 1));
    assert_eq!(bench.install(vec![broken("p", "allow")]), 2);
}
