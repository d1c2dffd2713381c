use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_engine::{Capability, PolicySpec};
use portcullis_verdict::{Fault, Judge};

use crate::bench::{Ask, Bench, command, denial, fault, guest};

fn ambient(capabilities: &[Capability]) -> Bench {
    let capabilities = capabilities.iter().copied().collect();
    Bench::with(vec![PolicySpec { capabilities, ..guest("p", "ambient") }])
}

/// What the guest got of a thing.
fn got(judge: &mut Box<dyn Judge>, thing: &str) -> String {
    denial(&judge.ask(&command(thing)))
}

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of this thread.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is logged by this thread while something is done.
pub(crate) fn logged(act: impl FnOnce()) -> Vec<String> {
    // One for all threads: whether a line is wanted is remembered for the place it comes from, not for the thread.
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::fmt().with_writer(|| Log).with_ansi(false).without_time().with_target(false).init();
    });
    LOG.take();
    act();
    String::from_utf8(LOG.take()).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_world_is_empty_even_with_every_capability() {
    assert!(std::env::vars().count() > 0 && std::env::args().count() > 0, "there would be something to find");
    let every = ambient(&Capability::ALL);
    for bench in [ambient(&[]), every] {
        let mut judge = bench.judge();
        assert_eq!(got(&mut judge, "environment"), "[]");
        assert_eq!(got(&mut judge, "arguments"), "[] in None");
        assert_eq!(got(&mut judge, "files"), "", "no directory, so that nothing can be opened");
        assert_eq!(got(&mut judge, "stdin"), "[0, 1] Err(StreamError::Closed)");
        assert_eq!(got(&mut judge, "splice"), "Err(StreamError::Closed)");
        assert_eq!(got(&mut judge, "terminal"), "false");
    }
}

#[test]
fn there_is_no_network() {
    let bench = ambient(&Capability::ALL);
    let mut judge = bench.judge();
    assert!(got(&mut judge, "connect").contains("access-denied"));
    assert!(got(&mut judge, "resolve").contains("access-denied"));
    assert_eq!(got(&mut judge, "http"), "Err(()) Err(ErrorCode::HttpRequestDenied)");
    assert_eq!(got(&mut judge, "http often"), got(&mut judge, "http"), "what is asked for is also let go");
    let missing = "`wasi:http/types#[method]fields.has` is not there: policies have no network";
    assert!(matches!(fault(&judge.ask(&command("fields"))), Fault::Trap(why) if why.contains(missing)));
}

#[test]
fn time_stands_still_without_the_clock() {
    assert_eq!(got(&mut ambient(&[Capability::Random]).judge(), "clock"), "0 0 0 true true");
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let said = got(&mut ambient(&[Capability::Clock]).judge(), "clock");
    let fields: Vec<&str> = said.split(' ').collect();
    let seconds: u64 = fields[0].parse().unwrap();
    assert!(seconds >= before, "{said}");
    assert!(fields[2].parse::<u64>().unwrap() / 1_000_000_000 >= before, "{said}");
    assert_eq!(fields[3..], ["true", "true"]);
}

#[test]
fn randomness_is_a_fixed_stream_without_the_capability() {
    let bench = ambient(&[Capability::Clock]);
    let (mut one, mut other) = (bench.judge(), bench.judge());
    let drawn = got(&mut one, "random");
    assert_eq!(drawn, got(&mut other, "random"));
    assert_ne!(drawn, got(&mut other, "random"), "a stream, not one value");

    let bench = ambient(&[Capability::Random]);
    let (mut one, mut other) = (bench.judge(), bench.judge());
    assert_ne!(got(&mut one, "random"), got(&mut other, "random"));
    assert!(matches!(fault(&one.ask(&command("random huge"))), Fault::Trap(why) if why.contains("65536")));

    let (mut one, mut other) = (bench.judge(), bench.judge());
    assert_eq!(got(&mut one, "insecure"), got(&mut other, "insecure"), "worthless with the capability too");
}

#[test]
fn what_it_prints_are_lines_of_its_log() {
    let bench = ambient(&[]);
    let mut judge = bench.judge();
    let said = logged(|| assert_eq!(got(&mut judge, "stdout"), "printed"));
    assert_eq!(said, [r#"INFO half a line policy="p""#, r#"INFO and the rest policy="p""#]);
    let said = logged(|| assert_eq!(got(&mut judge, "stderr"), "printed"));
    assert_eq!(said[..2], [r#"WARN Traceback: policy="p""#, r#"WARN   line \u{1b}[31m7 policy="p""#]);
    assert_eq!(said[2], format!(r#"WARN {} policy="p""#, "x".repeat(1024)));
    assert_eq!(said[3..], [r#"WARN short policy="p""#]);
    let said = logged(|| drop(judge.ask(&command("trap"))));
    assert_eq!(said[0], r#"WARN last words policy="p""#);
}

#[test]
fn lines_are_bounded_like_those_of_the_log_interface() {
    let bench = ambient(&[]);
    let mut judge = bench.judge();
    let said = logged(|| (0..30).for_each(|_| drop(got(&mut judge, "stdout"))));
    assert_eq!(said.len(), 20, "`log_lines_per_second`");
}

#[test]
fn whoever_exits_has_failed() {
    let bench = ambient(&[]);
    assert!(matches!(fault(&bench.judge().ask(&command("exit"))), Fault::Trap(why) if why.contains("called `exit`")));
}
