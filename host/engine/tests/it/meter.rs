use std::sync::{Arc, Mutex};

use portcullis_engine::{Call, EngineOptions, Hook, Meter};

use crate::bench::{Ask, Bench, broken, command};
use crate::results::{batch, result};

/// A call that a meter heard of, without its time.
#[derive(Clone, Debug, PartialEq)]
struct Heard {
    policy: String,
    hook: Hook,
    fuel: Option<u64>,
    memory_bytes: u64,
    failed: bool,
}

#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Heard>>>);

impl Ear {
    fn bench(&self, fuel: bool) -> Bench {
        let heard = self.0.clone();
        let meter: Meter = Arc::new(move |call: &Call<'_>| {
            let &Call { policy, hook, fuel, memory_bytes, failed, .. } = call;
            heard.lock().unwrap().push(Heard { policy: policy.into(), hook, fuel, memory_bytes, failed });
        });
        Bench::with_options(|options| EngineOptions { meter: Some(meter), fuel, ..options })
    }

    fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn hooks(&self) -> Vec<&'static str> {
        self.take().iter().map(|heard| heard.hook.as_str()).collect()
    }
}

#[test]
fn a_meter_hears_of_every_call() {
    let ear = Ear::default();
    let bench = ear.bench(false);
    bench.install(vec![broken("p", "filter-first")]);
    assert_eq!(ear.hooks(), ["instantiate", "validate-settings", "configure"]);
    let mut judge = bench.judge();
    judge.open();
    let asked = command("select 1");
    let snapshot = judge.ask(&asked).snapshot;
    judge.ask_granted("p");
    let plan = judge.plan(&snapshot, &asked, &result()).unwrap();
    judge.filter(&snapshot, &asked, &result(), &plan, &mut batch()).unwrap();
    let heard = ear.take();
    assert!(heard.iter().all(|h| h.policy == "p" && !h.failed && h.fuel.is_none()), "{heard:?}");
    assert!(heard.iter().all(|h| h.memory_bytes >= 65_536 && h.memory_bytes % 65_536 == 0), "{heard:?}");
    let hooks: Vec<_> = heard.iter().map(|h| h.hook.as_str()).collect();
    assert_eq!(hooks, ["instantiate", "configure", "open", "check", "approved", "plan-result", "filter-batch"]);
}

#[test]
fn a_call_that_fails_is_heard_of_with_what_it_held() {
    let ear = Ear::default();
    let bench = ear.bench(false);
    bench.install(vec![broken("p", "memory-in-check")]);
    ear.take();
    bench.judge().fault();
    let heard = ear.take();
    let failed: Vec<_> = heard.iter().map(|h| (h.hook, h.failed)).collect();
    assert_eq!(failed, [(Hook::Instantiate, false), (Hook::Configure, false), (Hook::Check, true)]);
    let [before, .., after] = heard.as_slice() else { unreachable!() };
    assert!(after.memory_bytes > before.memory_bytes + (2 << 20), "{before:?} {after:?}");
    assert!(after.memory_bytes <= 8 << 20, "the limit holds: {after:?}");
}

#[test]
fn the_same_question_costs_the_same_fuel() {
    let ear = Ear::default();
    let run = |text: &str| {
        let bench = ear.bench(true);
        bench.install(vec![broken("p", "facts")]);
        let mut judge = bench.judge();
        judge.ask(&command(text));
        ear.take().iter().map(|h| (h.hook, h.fuel.unwrap())).collect::<Vec<_>>()
    };
    let short = run("select 1");
    assert_eq!(short, run("select 1"));
    assert!(short.iter().filter(|(hook, _)| *hook != Hook::Instantiate).all(|(_, fuel)| *fuel > 0), "{short:?}");
    let fuel = |calls: &[(Hook, u64)]| calls.iter().find(|(hook, _)| *hook == Hook::Check).unwrap().1;
    assert_ne!(fuel(&short), fuel(&run(&"select 1 ".repeat(50))));
}
