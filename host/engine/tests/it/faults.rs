use portcullis_verdict::{Fault, Outcome, Policies, PolicyState};

use crate::bench::{Ask, Bench, broken, command, denial, fault, guest, unread};
use crate::wasi::logged;

#[test]
fn every_way_to_fail_in_check_has_its_name() {
    assert_eq!(Bench::broken("loop-in-check").judge().fault(), Fault::Timeout(50));
    assert_eq!(Bench::broken("memory-in-check").judge().fault(), Fault::Memory(8 << 20));
    assert!(matches!(Bench::broken("trap-in-check").judge().fault(), Fault::Trap(why) if why.contains("unreachable")));
    assert!(matches!(Bench::broken("overflow-in-check").judge().fault(), Fault::Trap(why) if why.contains("stack")));
    assert_eq!(Bench::broken("error-in-check").judge().fault(), Fault::Error("broken: as told".into()));
    assert!(
        matches!(Bench::broken("huge-answer").judge().fault(), Fault::BadAnswer(why) if why.contains("1048576 bytes"))
    );
}

#[test]
fn so_it_has_in_open_and_approved() {
    for (way, expected) in [("trap", "trapped"), ("loop", "50 ms"), ("memory", "memory"), ("error", "as told")] {
        let opened = Bench::broken(&format!("{way}-in-open")).judge().open();
        assert!(fault(&opened).to_string().contains(expected), "{way}: {opened:?}");
        let approved = Bench::broken(&format!("{way}-in-approved")).judge().ask_granted("p");
        assert!(fault(&approved).to_string().contains(expected), "{way}: {approved:?}");
    }
}

#[test]
fn a_failed_start_is_a_denial() {
    let bench = Bench::broken("trap-later");
    assert!(matches!(bench.judge().fault(), Fault::Start(why) if why.contains("trapped")));
    let bench = Bench::broken("register-otherwise");
    assert!(matches!(bench.judge().fault(), Fault::Start(why) if why.contains("registers")));
}

#[test]
fn handles_are_bounded_and_a_stale_one_is_useless() {
    assert!(matches!(Bench::broken("handle-flood").judge().fault(), Fault::Trap(_)));
    assert_eq!(Bench::broken("handle-churn").judge().ask(&command("select 1")).outcome, Outcome::Allow);
    let bench = Bench::broken("handle-stale");
    let mut judge = bench.judge();
    assert_eq!(judge.denial(), "");
    assert!(matches!(judge.fault(), Fault::Trap(why) if why.contains("earlier command")));
}

#[test]
fn an_instance_serves_one_session_until_it_traps() {
    let bench = Bench::broken("trap-second");
    let (mut one, mut other) = (bench.judge(), bench.judge());
    assert_eq!(one.denial(), "asked 1 times");
    assert_eq!(other.denial(), "asked 1 times");
    assert!(matches!(one.fault(), Fault::Trap(_)));
    assert_eq!(one.denial(), "asked 1 times");
    let bench = Bench::broken("count");
    let mut judge = bench.judge();
    assert_eq!((judge.denial(), judge.denial()), ("asked 1 times".into(), "asked 2 times".into()));
}

#[test]
fn three_faults_in_a_row_hold_the_policy_closed_until_a_trial_succeeds() {
    let bench = Bench::broken("trap-thrice");
    let mut judge = bench.judge();
    for _ in 0..3 {
        assert!(matches!(judge.fault(), Fault::Trap(_)));
    }
    let status = || bench.engine.status().remove(0);
    assert_eq!((status().state, status().calls, status().faults), (PolicyState::HeldClosed, 3, 3));
    assert!(status().last_fault.is_some_and(|f| f.contains("trapped")));
    assert!(matches!(bench.judge().fault(), Fault::HeldClosed(why) if why.contains("trapped")));
    assert_eq!(status().calls, 3, "it was not asked");
    bench.advance(9_999);
    assert!(matches!(judge.fault(), Fault::HeldClosed(_)));
    bench.advance(1);
    assert_eq!(judge.ask(&command("select 1")).outcome, Outcome::Allow);
    assert_eq!(status().state, PolicyState::Serving);
}

#[test]
fn a_failed_trial_pauses_again() {
    let bench = Bench::broken("trap-in-check");
    let mut judge = bench.judge();
    (0..3).for_each(|_| drop(judge.fault()));
    bench.advance(10_000);
    assert!(matches!(judge.fault(), Fault::Trap(_)));
    bench.advance(9_999);
    assert!(matches!(judge.fault(), Fault::HeldClosed(_)));
}

#[test]
fn a_trap_tells_the_gateway_where_it_was_and_clients_nothing() {
    let bench = Bench::with(vec![guest("p", "panics")]);
    let mut judge = bench.judge();
    let mut ruling = None;
    let said = logged(|| ruling = Some(judge.ask(&command("select 1")))).join("\n");
    let ruling = format!("{ruling:?}");
    assert!(ruling.contains("Trap") && !ruling.contains("first_word") && !ruling.contains("lib.rs"), "{ruling}");
    let backtrace = bench.engine.status().remove(0).last_backtrace.unwrap();
    for text in [&said, &backtrace] {
        let frame = text.lines().find(|line| line.contains("first_word (")).unwrap();
        assert!(frame.contains("panics/src/lib.rs:25:"), "{text}");
    }
    assert!(said.contains("ERROR panicked at panics/src/lib.rs:25:"), "{said}");
    assert!(said.contains(": a command has a word policy=\"p\""), "{said}");

    bench.install(vec![broken("p", "loop-in-check")]);
    assert!(matches!(bench.judge().fault(), Fault::Timeout(50)));
    let backtrace = bench.engine.status().remove(0).last_backtrace.unwrap();
    assert!(backtrace.contains("broken::misbehave"), "{backtrace}");
}

#[test]
fn errors_do_not_hold_a_policy_closed() {
    let bench = Bench::broken("error");
    let mut judge = bench.judge();
    (0..5).for_each(|_| assert_eq!(judge.fault(), Fault::Error("broken: cannot say".into())));
    assert_eq!(bench.engine.status()[0].state, PolicyState::Serving);
}

#[test]
fn facts_of_an_unreadable_command_are_a_denial_whatever_the_policy_does() {
    for behaviour in ["deny-drop", "fingerprint", "sql-then-trap"] {
        let bench = Bench::broken(behaviour);
        let mut judge = bench.judge();
        for _ in 0..4 {
            let ruling = judge.ask(&unread());
            assert!(matches!(fault(&ruling), Fault::Unreadable(why) if why.contains("not read")), "{behaviour}");
        }
        assert_eq!(bench.engine.status()[0].state, PolicyState::Serving);
    }
    assert_eq!(Bench::broken("parsed").judge().ask(&unread()).explanation.len(), 1);
    assert_eq!(denial(&Bench::broken("parsed").judge().ask(&unread())), "parsed false");
}

#[test]
fn a_full_gateway_denies_and_blames_no_policy() {
    let bench = Bench::with_instances(1);
    bench.install(vec![guest("p", "allow")]);
    let mut first = bench.judge();
    assert_eq!(first.ask(&command("select 1")).outcome, Outcome::Allow);
    let mut second = bench.judge();
    for _ in 0..5 {
        assert!(matches!(second.fault(), Fault::Start(why) if why.contains("max_instances")));
    }
    assert_eq!(bench.engine.status()[0].state, PolicyState::Serving);
    drop(first);
    assert_eq!(second.ask(&command("select 1")).outcome, Outcome::Allow);
}
