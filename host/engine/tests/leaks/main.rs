//! A gateway that runs for months is reloaded often. In a process of its own, since its memory is weighed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[allow(dead_code, reason = "shared with the other tests, which use the rest")]
#[path = "../it/bench.rs"]
mod bench;
#[path = "../it/guests.rs"]
mod guests;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use portcullis_engine::PolicySpec;
use portcullis_verdict::Outcome;

use bench::{Ask, Bench, broken, command, guest};

const WARM_UP: u64 = 200;
const SWAPS: u64 = 1000;

/// What the process may have grown by, in bytes: less than a compiled guest for every tenth swap.
const GROWTH: u64 = 8 << 20;

/// Resident memory in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// The policy of each set: its settings always differ, and each third time its component.
struct Sets([PolicySpec; 2]);

impl Sets {
    fn new() -> Self {
        Self([guest("p", "allow"), broken("p", "allow")])
    }

    fn policy(&self, n: u64) -> PolicySpec {
        let spec = self.0[usize::from(!n.is_multiple_of(3))].clone();
        PolicySpec { settings: format!(r#"{{"do":"allow","n":{n}}}"#), ..spec }
    }
}

#[test]
fn a_thousand_swaps_under_load_leave_nothing_behind() {
    let (bench, sets) = (Bench::new(), Sets::new());
    bench.install(vec![sets.policy(0)]);
    let (stop, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut weighed = 0;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // A session of some commands, during which the set changes.
                    let mut judge = bench.judge();
                    for _ in 0..20 {
                        assert_eq!(judge.ask(&command("select 1")).outcome, Outcome::Allow);
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for n in 1..=SWAPS {
            bench.install(vec![sets.policy(n)]);
            if n == WARM_UP {
                weighed = resident();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(asked.load(Ordering::Relaxed) > SWAPS, "there was load");
    assert_eq!(bench.engine.instances(), 0, "instances end with their sessions");
    let grown = resident().saturating_sub(weighed);
    assert!(grown < GROWTH, "it grew by {grown} bytes from {weighed}");
}

#[test]
fn a_session_that_goes_on_holds_one_instance_of_the_newest_set() {
    let (bench, sets) = (Bench::new(), Sets::new());
    bench.install(vec![sets.policy(0)]);
    let mut judge = bench.judge();
    for n in 1..50 {
        assert_eq!(judge.ask(&command("select 1")).outcome, Outcome::Allow);
        bench.install(vec![sets.policy(n)]);
        assert_eq!(bench.engine.instances(), 1);
    }
}
