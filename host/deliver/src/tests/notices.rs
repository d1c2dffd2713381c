use std::sync::mpsc;

use portcullis_verdict::{ApprovalState, Link, LinkKey};
use sha2::{Digest as _, Sha256};

use super::fakes::{Log, approval, now_ms, view};
use super::receiver::{Receiver, Reply, Request};
use super::*;
use crate::WebhookFormat;

const HOUR: u64 = 3_600_000;

fn webhook(receiver: &Receiver) -> Webhook {
    Webhook {
        name: "chat".into(),
        url: receiver.url(),
        secret: None,
        format: WebhookFormat::Json,
        reviewer: None,
        ca: None,
    }
}

fn links() -> Option<Links> {
    Some(Links { base_url: "https://gate.example:9432/".into(), key: LinkKey::new(b"secret") })
}

/// A log with a new consumer in it, and one request.
fn log() -> Arc<Log> {
    let log = Log::new();
    log.set("webhook/chat", 0);
    log.opened(view("k7wz", "ann"));
    log
}

/// HMAC-SHA-256 by RFC 2104, written out.
fn hmac(key: &[u8], message: &[u8]) -> String {
    let pad = |with: u8| (0..64).map(|n| key.get(n).copied().unwrap_or_default() ^ with).collect::<Vec<_>>();
    let inner = Sha256::digest([&pad(0x36)[..], message].concat());
    let outer = Sha256::digest([&pad(0x5c)[..], &inner[..]].concat());
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_event_of_approvals_is_told_and_nothing_else() {
    let log = log();
    let receiver = Receiver::start([]);
    let deliveries = notify(&log, vec![webhook(&receiver)], links());
    log.commands(3);
    for what in ["requested", "joined", "approved", "broken-glass"] {
        log.append(approval(what, "k7wz"));
        log.commands(2);
    }
    for (what, number) in [("requested", 4), ("joined", 7), ("approved", 10), ("broken-glass", 13)] {
        let request = receiver.next();
        let body = request.json();
        assert_eq!(body["event"], what);
        assert_eq!(body["approval"]["text"], "drop table t");
        assert_eq!(body["delivery"], format!("{}-{number}", "ab".repeat(16)));
        assert_eq!(request.headers["x-portcullis-delivery"], body["delivery"].as_str().unwrap());
        assert_eq!(request.headers["content-type"], "application/json");
        assert!(!request.headers.contains_key("x-portcullis-signature"));
        // Nobody knows who would click.
        assert!(body.get("links").is_none());
    }
    log.await_cursor("webhook/chat", 15);
    deliveries.stop();
}

#[test]
fn a_notification_is_signed_and_keeps_its_identifier_when_it_is_repeated() {
    let log = log();
    let receiver = Receiver::start([Reply::Status(500), Reply::CloseMidAnswer, Reply::Status(404)]);
    let webhook = Webhook { secret: Some("shared".into()), ..webhook(&receiver) };
    let deliveries = notify(&log, vec![webhook], None);
    log.append(approval("requested", "k7wz"));
    let requests: Vec<_> = (0..4).map(|_| receiver.next()).collect();
    for Request { headers, body } in &requests {
        assert_eq!(headers["x-portcullis-delivery"], requests[0].headers["x-portcullis-delivery"]);
        let timestamp = &headers["x-portcullis-timestamp"];
        assert!(timestamp.parse::<u64>().unwrap().abs_diff(now_ms() / 1000) < 600);
        let expected = format!("v1={}", hmac(b"shared", format!("v1:{timestamp}:{body}").as_bytes()));
        assert_eq!(headers["x-portcullis-signature"], expected);
    }
    log.await_cursor("webhook/chat", 1);
    assert_eq!(log.failures(), 3);
    deliveries.stop();
}

#[test]
fn a_new_webhook_tells_no_old_stories_and_misses_nothing_after_a_restart() {
    let log = Log::new();
    log.opened(view("k7wz", "ann"));
    log.append(approval("requested", "k7wz"));
    let receiver = Receiver::start([]);
    let deliveries = notify(&log, vec![webhook(&receiver)], None);
    log.await_cursor("webhook/chat", 1);
    deliveries.stop();
    log.append(approval("denied", "k7wz"));
    let deliveries = notify(&log, vec![webhook(&receiver)], None);
    assert_eq!(receiver.next().json()["event"], "denied");
    deliveries.stop();
    assert!(receiver.rest().is_empty());
}

#[test]
fn a_reviewers_webhook_carries_links_that_decide_in_their_name() {
    let log = log();
    let receiver = Receiver::start([]);
    let webhook = Webhook { reviewer: Some("bob".into()), ..webhook(&receiver) };
    let deliveries = notify(&log, vec![webhook], links());
    log.append(approval("requested", "k7wz"));
    let links = receiver.next().json()["links"].clone();
    let expires_ms = portcullis_verdict::ApprovalDesk::show(&*log, "k7wz").unwrap().expires_ms;
    for (which, approve) in [("approve", true), ("deny", false)] {
        let url = links[which].as_str().unwrap();
        let token = url.strip_prefix("https://gate.example:9432/v1/links/").unwrap();
        let expected = Link {
            approval: "k7wz".into(),
            digest: "digest of k7wz".into(),
            approve,
            reviewer: "bob".into(),
            webhook: "chat".into(),
            expires_ms,
        };
        assert_eq!(LinkKey::new(b"secret").verify(token, now_ms()), Ok(expected));
    }
    deliveries.stop();
}

#[test]
fn no_links_go_where_there_is_nothing_to_decide_or_to_who_may_not() {
    let log = log();
    let mut decided = view("decided", "ann");
    decided.state = ApprovalState::Approved;
    log.opened(decided);
    let mut expired = view("expired", "ann");
    expired.expires_ms = now_ms() - 1;
    log.opened(expired);
    log.opened(view("own", "bob"));
    let receiver = Receiver::start([]);
    for format in [WebhookFormat::Json, WebhookFormat::Slack] {
        let webhook = Webhook { reviewer: Some("bob".into()), format, ..webhook(&receiver) };
        let deliveries = notify(&log, vec![webhook], links());
        for (what, id) in [
            ("requested", "decided"),
            ("requested", "expired"),
            ("requested", "own"),
            ("joined", "k7wz"),
            ("requested", "gone"),
        ] {
            log.append(approval(what, id));
            let body = receiver.next().body;
            assert!(body.contains(id) && !body.contains("/v1/links/"), "{body}");
        }
        deliveries.stop();
    }
}

#[test]
fn slacks_form_carries_links_as_buttons() {
    let log = log();
    let receiver = Receiver::start([]);
    let webhook = Webhook { reviewer: Some("bob".into()), format: WebhookFormat::Slack, ..webhook(&receiver) };
    let deliveries = notify(&log, vec![webhook], links());
    log.append(approval("requested", "k7wz"));
    let body = receiver.next().json();
    assert!(body["text"].as_str().unwrap().contains("Approval requested"));
    let actions = body["blocks"].as_array().unwrap().last().unwrap();
    assert!(actions["elements"][1]["url"].as_str().unwrap().starts_with("https://gate.example:9432/v1/links/"));
    deliveries.stop();
}

#[test]
fn what_nobody_needs_any_more_is_given_up_and_the_next_comes() {
    let log = log();
    let mut past = view("past", "ann");
    past.expires_ms = now_ms() - 2 * HOUR;
    log.opened(past);
    let receiver = Receiver::start([Reply::Status(500), Reply::Status(500), Reply::Status(500)]);
    log.append_at(now_ms() - 25 * HOUR, approval("requested", "k7wz"));
    log.append(approval("expired", "past"));
    log.append(approval("approved", "k7wz"));
    let deliveries = notify(&log, vec![webhook(&receiver)], None);
    // Each was tried; only the last again.
    let seen: Vec<_> = (0..4).map(|_| receiver.next().json()["event"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen, ["requested", "expired", "approved", "approved"]);
    log.await_cursor("webhook/chat", 3);
    assert_eq!(log.failures(), 3);
    deliveries.stop();
}

#[test]
fn a_webhook_that_hangs_holds_up_no_other() {
    let log = log();
    log.set("webhook/other", 0);
    let (hold, held) = mpsc::channel();
    let (hanging, working) = (Receiver::start([Reply::Hang(held)]), Receiver::start([]));
    let other = Webhook { name: "other".into(), ..webhook(&working) };
    let deliveries = notify(&log, vec![webhook(&hanging), other], None);
    log.append(approval("requested", "k7wz"));
    hanging.next();
    log.append(approval("denied", "k7wz"));
    assert_eq!(
        (working.next().json()["event"].clone(), working.next().json()["event"].clone()),
        ("requested".into(), "denied".into())
    );
    drop(hold);
    deliveries.stop();
}
