//! What holds for every consumer.

use std::sync::atomic::Ordering;

use super::fakes::Log;
use super::receiver::{Receiver, Reply};
use super::*;

const EVENTS: &str = "sink/siem/events";

fn events(receiver: &Receiver) -> Sink {
    sink(Content::Events, Destination::Http { url: receiver.url(), token: None, ca: None })
}

#[test]
fn a_new_consumer_begins_at_the_base() {
    let log = Log::of(5);
    log.prune(3);
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, events(&receiver));
    assert_eq!(receiver.next().numbers(), [4, 5]);
    deliveries.stop();
}

#[test]
fn what_was_pruned_is_passed_over_and_the_rest_comes() {
    let log = Log::of(9);
    log.set(EVENTS, 2);
    log.prune(6);
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, events(&receiver));
    assert_eq!(receiver.next().numbers(), [7, 8, 9]);
    deliveries.stop();
}

#[test]
fn a_cursor_ahead_of_the_log_does_not_swallow_what_is_new() {
    let log = Log::of(2);
    log.set(EVENTS, 99);
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, events(&receiver));
    while log.reads.load(Ordering::Relaxed) == 0 {
        std::thread::yield_now();
    }
    log.commands(1);
    assert_eq!(receiver.next().numbers(), [3]);
    deliveries.stop();
}

#[test]
fn a_log_that_cannot_be_read_is_tried_again() {
    let log = Log::of(2);
    log.fail(3, 0);
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, events(&receiver));
    assert_eq!(receiver.next().numbers(), [1, 2]);
    assert_eq!(log.failures(), 3);
    deliveries.stop();
}

#[test]
fn what_was_taken_is_not_repeated_since_its_cursor_cannot_be_kept() {
    let log = Log::of(2);
    log.set(EVENTS, 0);
    log.fail(0, 1);
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, events(&receiver));
    assert_eq!(receiver.next().numbers(), [1, 2]);
    log.await_failures(1);
    log.commands(1);
    assert_eq!(receiver.next().numbers(), [3]);
    log.await_cursor(EVENTS, 3);
    deliveries.stop();
}

#[test]
fn a_consumer_with_nothing_to_do_rests() {
    let log = Log::of(1);
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, events(&receiver));
    log.await_cursor(EVENTS, 1);
    for n in 0..20 {
        log.commands(1);
        log.await_cursor(EVENTS, n + 2);
    }
    // At most a reading that finds something and one that does not, each time.
    assert!(log.reads.load(Ordering::Relaxed) <= 2 * 21 + 1);
    deliveries.stop();
}

#[test]
fn a_closed_log_that_calls_for_nothing_is_not_read_all_the_time() {
    let log = Log::of(1);
    log.close();
    let receiver = Receiver::start([]);
    let pace = Pace { idle: Duration::from_secs(3600), ..QUICK };
    let deliveries = start_at(pace, log.services(), vec![events(&receiver)], Vec::new(), None).unwrap();
    while log.reads.load(Ordering::Relaxed) < 4 {
        std::thread::yield_now();
    }
    deliveries.stop();
    assert_eq!((log.reads.load(Ordering::Relaxed), Arc::strong_count(&log)), (4, 1));
}

#[test]
fn stopping_ends_a_pause_between_attempts() {
    let log = Log::of(1);
    let receiver = Receiver::start([Reply::Status(403)]);
    let pace = Pace { most: Duration::from_secs(3600), ..QUICK };
    let deliveries = start_at(pace, log.services(), vec![events(&receiver)], Vec::new(), None).unwrap();
    log.await_failures(1);
    deliveries.stop();
    assert_eq!(Arc::strong_count(&log), 1);
}

#[test]
fn each_sink_goes_its_own_way() {
    let log = Log::of(2);
    let (hold, held) = std::sync::mpsc::channel();
    let (hanging, working) = (Receiver::start([Reply::Hang(held)]), Receiver::start([]));
    let sinks = vec![Sink { name: "hanging".into(), ..events(&hanging) }, events(&working)];
    let deliveries = start_at(QUICK, log.services(), sinks, Vec::new(), None).unwrap();
    hanging.next();
    assert_eq!(working.next().numbers(), [1, 2]);
    log.await_cursor(EVENTS, 2);
    assert_eq!(log.at("sink/hanging/events"), Some(0));
    drop(hold);
    deliveries.stop();
}

#[test]
fn dropping_deliveries_ends_them() {
    let log = Log::of(1);
    let receiver = Receiver::start([]);
    drop(deliver(&log, events(&receiver)));
    while Arc::strong_count(&log) > 1 {
        std::thread::yield_now();
    }
}
