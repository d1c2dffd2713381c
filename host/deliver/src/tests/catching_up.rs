//! Whether everything was delivered, as the gateway asks before it stops.

use std::sync::mpsc;

use super::fakes::{Log, approval, view};
use super::receiver::{Receiver, Reply};
use super::*;
use crate::WebhookFormat;

fn to(receiver: &Receiver) -> Destination {
    Destination::Http { url: receiver.url(), token: None, ca: None }
}

fn await_caught_up(deliveries: &Deliveries, last: u64, checkpoint: u64) {
    let until = std::time::Instant::now() + PATIENCE;
    while !deliveries.caught_up(last, checkpoint) {
        assert!(std::time::Instant::now() < until, "they do not come to {last} and {checkpoint}");
        std::thread::yield_now();
    }
}

#[test]
fn a_sink_has_caught_up_when_the_last_event_was_taken() {
    let log = Log::of(2);
    let (hold, held) = mpsc::channel();
    let receiver = Receiver::start([Reply::Hang(held)]);
    let deliveries = deliver(&log, sink(Content::Events, to(&receiver)));
    receiver.next();
    assert!(deliveries.caught_up(0, 99) && !deliveries.caught_up(1, 0));
    drop(hold);
    // Checkpoints are nothing to it.
    await_caught_up(&deliveries, 2, 99);
    assert!(!deliveries.caught_up(3, 0));
    log.commands(1);
    await_caught_up(&deliveries, 3, 0);
    deliveries.stop();
}

#[test]
fn the_checkpoint_in_which_an_empty_log_begins_is_waited_for() {
    let log = Log::new();
    let (hold, held) = mpsc::channel();
    let receiver = Receiver::start([Reply::Hang(held)]);
    let deliveries = deliver(&log, sink(Content::Checkpoints, to(&receiver)));
    receiver.next();
    assert!(!deliveries.caught_up(0, 0));
    drop(hold);
    await_caught_up(&deliveries, 99, 0);
    deliveries.stop();
}

#[test]
fn both_streams_of_a_sink_count() {
    let log = Log::of(2);
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, sink(Content::Both, to(&receiver)));
    await_caught_up(&deliveries, 2, 0);
    log.checkpoint();
    await_caught_up(&deliveries, 2, 2);
    log.commands(1);
    await_caught_up(&deliveries, 3, 2);
    assert!(!deliveries.caught_up(3, 3) && !deliveries.caught_up(4, 2));
    deliveries.stop();
}

#[test]
fn who_has_nothing_left_to_read_has_caught_up() {
    let log = Log::of(2);
    log.checkpoint();
    log.set("sink/siem/events", 2);
    log.set("sink/siem/checkpoints", 2);
    let receiver = Receiver::start([]);
    let deliveries = deliver(&log, sink(Content::Both, to(&receiver)));
    await_caught_up(&deliveries, 2, 2);
    deliveries.stop();
    assert!(receiver.rest().is_empty());
}

#[test]
fn one_that_hangs_behind_is_enough_and_a_webhook_has_to_see_what_it_does_not_tell() {
    let log = Log::new();
    log.set("webhook/chat", 0);
    log.opened(view("k7wz", "ann"));
    log.append(approval("requested", "k7wz"));
    log.commands(2);
    let (hold, held) = mpsc::channel();
    let (hanging, working) = (Receiver::start([Reply::Hang(held)]), Receiver::start([]));
    let (name, url, format) = ("chat".into(), hanging.url(), WebhookFormat::Json);
    let webhook = Webhook { name, url, format, secret: None, reviewer: None, ca: None };
    let sinks = vec![sink(Content::Events, to(&working))];
    let deliveries = start_at(QUICK, log.services(), sinks, vec![webhook], None).unwrap();
    hanging.next();
    log.await_cursor("sink/siem/events", 3);
    assert!(!deliveries.caught_up(1, 0));
    drop(hold);
    await_caught_up(&deliveries, 3, 0);
    deliveries.stop();
}

#[test]
fn where_nothing_is_delivered_nothing_is_waited_for() {
    let deliveries = start_at(QUICK, Log::of(2).services(), Vec::new(), Vec::new(), None).unwrap();
    assert!(deliveries.caught_up(2, 2));
    deliveries.stop();
}
