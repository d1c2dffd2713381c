use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_engine::{Fidelity, Rehearsal, Script};
use portcullis_verdict::{Input, Inputs, Outcome, Policies, Ruling};

use crate::bench::{Ask, Bench, broken, command, denial, guest, monitor, read, session};
use crate::results::{batch, result, texts};

fn inputs(ruling: &Ruling) -> Vec<Input> {
    ruling.explanation[0].inputs.clone()
}

fn script(now_ms: u64, inputs: Vec<Input>) -> Script {
    Script { now_ms, inputs: HashMap::from([("p".into(), inputs)]) }
}

fn rehearse(rehearsal: &mut Rehearsal, script: Script) -> (Ruling, Fidelity) {
    rehearsal.check(&command("select 1"), &[], &|text| read(text), script)
}

#[test]
fn what_a_policy_got_from_its_capabilities_is_taken_down() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let ruling = Bench::broken("inputs").judge().ask(&command("select 1"));
    let taken = inputs(&ruling);
    let [Input::Clock(clock), Input::Random(random), Input::Get(None), Input::Increment(Ok(1)), rest @ ..] =
        taken.as_slice()
    else {
        panic!("{taken:?}")
    };
    assert!(*clock >= now && random.len() == 4, "{taken:?}");
    let [Input::Put(Ok(())), Input::Get(Some(got)), Input::Increment(Err(why))] = rest else { panic!("{taken:?}") };
    assert_eq!((got, why.as_str()), (random, "the value is not a counter"));
    assert!(denial(&ruling).starts_with(&format!("{clock} {random:?} None Ok(1)")), "{ruling:?}");
}

#[test]
fn every_question_about_a_command_has_its_own_inputs_and_no_other_has_any() {
    let bench = Bench::with(vec![monitor(broken("p", "state-count")), guest("q", "allow")]);
    let mut judge = bench.judge();
    for n in 1..3 {
        let ruling = judge.ask(&command("select 1"));
        assert_eq!(inputs(&ruling), [Input::Increment(Ok(n))]);
        assert_eq!(ruling.explanation[1].inputs, []);
        assert!(judge.open().explanation.iter().all(|answer| answer.inputs.is_empty()));
    }
    let ruling = Bench::broken("inputs-and-trap").judge().ask(&command("select 1"));
    assert_eq!(inputs(&ruling).len(), 7, "a fault is explained by what came before it");
}

#[test]
fn inputs_are_bounded() {
    let taken = inputs(&Bench::broken("inputs-flood").judge().ask(&command("select 1")));
    assert!(taken.iter().map(Input::size).sum::<usize>() <= Inputs::MAX_BYTES + Input::Truncated.size());
    assert_eq!(taken.iter().position(|input| *input == Input::Truncated), Some(taken.len() - 1));
}

#[test]
fn a_rehearsal_decides_as_the_policy_did() {
    let bench = Bench::broken("inputs");
    let mut judge = bench.judge();
    let live: Vec<Ruling> = (0..3).map(|_| judge.ask(&command("select 1"))).collect();
    let calls = bench.engine.status()[0].calls;
    let mut rehearsal = bench.engine.rehearsal(&session());
    for ruling in &live {
        let (again, fidelity) = rehearse(&mut rehearsal, script(5, inputs(ruling)));
        assert_eq!((denial(&again), fidelity), (denial(ruling), Fidelity::Exact));
        assert_eq!(inputs(&again), inputs(ruling));
    }
    assert_eq!(bench.engine.status()[0].calls, calls, "it says nothing of how the policy serves");
    assert!(denial(&judge.ask(&command("select 1"))).contains("Ok(4)"), "the live state is untouched");
}

#[test]
fn what_the_script_lacks_is_made_up_and_always_the_same() {
    let bench = Bench::broken("inputs");
    bench.judge().ask(&command("select 1"));
    let once = || {
        let mut rehearsal = bench.engine.rehearsal(&session());
        let (first, fidelity) = rehearse(&mut rehearsal, script(1_700_000_000_000, vec![]));
        assert_eq!(fidelity, Fidelity::Approximate);
        [denial(&first), denial(&rehearse(&mut rehearsal, script(1_700_000_001_000, vec![])).0)]
    };
    let [first, second] = once();
    assert!(first.starts_with("1700000000000 [") && first.contains("None Ok(1)"), "{first}");
    assert!(second.starts_with("1700000001000 [") && second.contains("None Ok(2)"), "a state of its own: {second}");
    let random = |text: &str| text.split_once(['[', ']']).unwrap().1.to_owned();
    assert_ne!(random(&first), random(&second));
    assert_eq!(once(), [first, second]);
}

#[test]
fn a_window_of_the_rehearsal_s_own_state_runs_by_the_script_s_time() {
    let bench = Bench::broken("state-count");
    let mut rehearsal = bench.engine.rehearsal(&session());
    let mut count = |now_ms| denial(&rehearse(&mut rehearsal, script(now_ms, vec![])).0);
    assert_eq!([count(0), count(59_999), count(60_000)], ["Ok(1)", "Ok(2)", "Ok(1)"]);
}

#[test]
fn another_kind_of_input_is_not_taken_for_what_was_asked() {
    let bench = Bench::broken("state-count");
    let mut rehearsal = bench.engine.rehearsal(&session());
    let mut with = |inputs| {
        let (ruling, fidelity) = rehearse(&mut rehearsal, script(0, inputs));
        (denial(&ruling), fidelity)
    };
    assert_eq!(with(vec![Input::Clock(7), Input::Increment(Ok(9))]), ("Ok(1)".into(), Fidelity::Approximate));
    assert_eq!(with(vec![Input::Truncated]), ("Ok(2)".into(), Fidelity::Approximate));
    // What is left over does no harm, and is not given to the next question.
    let left_over = vec![Input::Increment(Ok(9)), Input::Increment(Ok(10))];
    assert_eq!(with(left_over), ("Ok(9)".into(), Fidelity::Exact));
    assert_eq!(with(vec![]), ("Ok(4)".into(), Fidelity::Approximate));
}

#[test]
fn a_policy_that_asks_for_nothing_is_rehearsed_exactly() {
    let bench = Bench::with(vec![guest("p", "allow")]);
    let (ruling, fidelity) = rehearse(&mut bench.engine.rehearsal(&session()), Script::default());
    assert_eq!((ruling.outcome, fidelity), (Outcome::Allow, Fidelity::Exact));
    // It asks when it is started, of which nothing is recorded.
    let bench = Bench::broken("register-otherwise");
    let mut rehearsal = bench.engine.rehearsal(&session());
    let (ruling, fidelity) = rehearse(&mut rehearsal, Script::default());
    assert_eq!((inputs(&ruling), fidelity), (vec![], Fidelity::Approximate));
    assert_eq!(rehearse(&mut rehearsal, Script::default()).1, Fidelity::Exact);
}

#[test]
fn recorded_results_can_be_run() {
    let bench = Bench::with(vec![broken("p", "filter-first")]);
    let mut rehearsal = bench.engine.rehearsal(&session());
    let asked = command("select 1");
    let snapshot = rehearse(&mut rehearsal, Script::default()).0.snapshot;
    let plan = rehearsal.plan(&snapshot, &asked, &result()).unwrap();
    let mut rows = batch();
    rehearsal.filter(&snapshot, &asked, &result(), &plan, &mut rows).unwrap();
    assert_eq!(texts(&rows)[0].as_deref(), Some("#lice"));
}

#[test]
fn a_policy_that_fails_in_rehearsals_serves_on() {
    let bench = Bench::broken("trap-in-check");
    let mut rehearsal = bench.engine.rehearsal(&session());
    for _ in 0..5 {
        assert!(denial(&rehearse(&mut rehearsal, Script::default()).0).contains("trapped"));
    }
    assert_eq!((bench.engine.status()[0].calls, bench.engine.status()[0].faults), (0, 0));
}
