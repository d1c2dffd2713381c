//! Deliveries over real sockets and files, from a log in memory.

mod catching_up;
mod fakes;
mod file;
mod following;
mod http;
mod notices;
mod receiver;
mod syslog;

use std::sync::Arc;
use std::time::Duration;

use crate::follow::Pace;
use crate::{Content, Deliveries, Destination, Format, Links, Sink, Webhook, start_at};
use fakes::Log;

/// The longest that a test waits for what is to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pauses that no test notices, even after a failure of the configuration.
const QUICK: Pace =
    Pace { first: Duration::from_millis(1), most: Duration::from_millis(5), idle: Duration::from_millis(5) };

fn sink(content: Content, to: Destination) -> Sink {
    Sink { name: "siem".into(), content, format: Format::Jsonl, to }
}

fn deliver(log: &Arc<Log>, sink: Sink) -> Deliveries {
    start_at(QUICK, log.services(), vec![sink], Vec::new(), None).unwrap()
}

fn notify(log: &Arc<Log>, webhooks: Vec<Webhook>, links: Option<Links>) -> Deliveries {
    start_at(QUICK, log.services(), Vec::new(), webhooks, links).unwrap()
}
