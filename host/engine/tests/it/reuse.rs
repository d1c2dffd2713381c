//! When an answer of a policy that promises to be pure stands for another command. The guests break the promise: they count.

use std::sync::Arc;

use portcullis_verdict::{Command, Judge, ResultSet};

use crate::bench::{Ask, Bench, broken, command, denial, of, read};
use crate::results::result;

fn judge(behaviour: &str, pure: bool) -> Box<dyn Judge> {
    let policy = portcullis_engine::PolicySpec { pure, ..broken("p", behaviour) };
    Bench::with(vec![policy]).judge()
}

/// What is said of two commands with the same facts, and of one with others.
fn said(behaviour: &str, pure: bool) -> [String; 3] {
    let mut judge = judge(behaviour, pure);
    let first = command("select 1");
    let alike = of(Arc::new(portcullis_verdict::Statement { text: "select 2".into(), ..(*first.statement).clone() }));
    [&first, &alike, &of(read("select 1"))].map(|command| denial(&judge.ask(command)))
}

#[test]
fn what_only_this_command_has_is_never_reused() {
    let counted = |times: [u32; 3]| times.map(|n| format!("asked {n} times"));
    for behaviour in ["count", "count-session", "count-facts", "count-crypto"] {
        assert_eq!(said(behaviour, true), counted([1, 1, 2]), "{behaviour}");
        assert_eq!(said(behaviour, false), counted([1, 2, 3]), "{behaviour}");
    }
    for apart in ["text", "parameters", "conditions", "clock", "random", "state", "log"] {
        assert_eq!(said(&format!("count-{apart}"), true), counted([1, 2, 3]), "{apart}");
    }
}

#[test]
fn a_command_that_is_prepared_is_another_than_one_that_runs() {
    let mut judge = judge("count", true);
    let runs = command("select 1");
    let prepared = Arc::new(Command { phase: portcullis_verdict::Phase::Prepare, ..(*runs).clone() });
    let said = [&runs, &prepared, &runs].map(|command| denial(&judge.ask(command)));
    assert_eq!(said, ["asked 1 times", "asked 2 times", "asked 1 times"]);
}

#[test]
fn a_fault_is_not_an_answer() {
    let mut judge = judge("trap-second", true);
    assert_eq!(denial(&judge.ask(&command("select 1"))), "asked 1 times");
    assert!(denial(&judge.ask(&command("select 2"))).contains("trapped"));
    assert_eq!(denial(&judge.ask(&command("select 3"))), "asked 1 times", "a new instance has no answers");
}

#[test]
fn a_plan_stands_for_results_of_the_same_columns() {
    let plans = |behaviour: &str| -> [u64; 3] {
        let mut judge = judge(behaviour, true);
        let asked = command("select 1");
        let snapshot = judge.check(&asked, &[], &|text| read(text)).snapshot;
        let first = result();
        let alike = Arc::new(ResultSet { id: 4, columns: first.columns.clone() });
        [&first, &alike, &result()].map(|result| judge.plan(&snapshot, &asked, result).unwrap().limit.unwrap().max_rows)
    };
    assert_eq!(plans("plan-count"), [1, 1, 2]);
    assert_eq!(plans("plan-count-id"), [1, 2, 3]);
}
