use std::task::Poll;

use portcullis_verdict::{ApprovalDesk, Approvals, AuditReader, Grant, Reuse};

use super::*;
use crate::store::Store;
use crate::testing::{Disk, Fault, demand, eager, interval, now, poll, request, reviewer, set_now};

const ONE_DBA: fn() -> Vec<Demand> = || vec![demand("p", &["dba"], 1, 60, Reuse::Once)];
const REUSED: fn() -> Vec<Demand> = || vec![demand("p", &["dba"], 1, 60, Reuse::SameCommand)];

fn grant(policy: &str, approvers: &[&str]) -> Grant {
    Grant { policy: policy.into(), approvers: approvers.iter().map(|a| (*a).into()).collect() }
}

fn bob() -> Reviewer {
    reviewer("bob", &["dba"])
}

/// What the audit says happened to approvals in session `s`.
fn steps(store: &Store) -> Vec<(String, String, String)> {
    let events = store.session("s", 0, usize::MAX).unwrap().into_iter();
    let step = |e| if let Event::Approval { what, by, reason, .. } = e { Some((what, by, reason)) } else { None };
    events.filter_map(|e| step(e.event)).collect()
}

fn step(what: &str, by: &str, reason: &str) -> (String, String, String) {
    (what.into(), by.into(), reason.into())
}

#[tokio::test]
async fn an_approval_lets_the_command_go_and_is_recorded() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let mut hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    assert!(poll(&mut hold.outcome).is_pending());
    assert_eq!((hold.id.len(), hold.ttl_seconds), (8, 60));
    let open = store.list(false).unwrap();
    assert_eq!((open.len(), open[0].state, &*open[0].text), (1, ApprovalState::Open, "drop table t"));
    assert_eq!((&*open[0].principal, open[0].reason.as_deref()), ("ann", Some("ticket 7")));

    let typed = format!(" {} ", hold.id.to_uppercase().replace('0', "O").replace('1', "l"));
    let view = store.approve(&typed, &bob(), "fine").unwrap();
    assert_eq!((view.state, view.decided.as_deref()), (ApprovalState::Approved, Some("approved by bob")));
    // Durable before the reviewer and the command hear of it.
    assert_eq!(disk.snapshot().store(interval()).0.show(&hold.id).unwrap(), view);
    assert_eq!(hold.outcome.await, ApprovalOutcome::Granted(vec![grant("p", &["bob"])]));
    assert!(store.list(false).unwrap().is_empty());
    assert_eq!(store.list(true).unwrap(), [view]);
    assert_eq!(steps(&store), [step("requested", "", ""), step("approved", "bob", "fine")]);
}

#[tokio::test]
async fn who_may_not_approve_is_told_why() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", vec![demand("p", &["dba"], 2, 60, Reuse::Once)])).unwrap();
    let approve = |who: &Reviewer| store.approve(&hold.id, who, "").map(|v| v.state);
    // The principal is in the group, and still not of their own command.
    let ann = reviewer("ann", &["dba"]);
    assert_eq!(approve(&ann), Err(ApprovalError::OwnRequest("ann".into())));
    assert_eq!(store.deny(&hold.id, &ann, "").unwrap_err(), ApprovalError::OwnRequest("ann".into()));
    let stranger = ApprovalError::NotAReviewer { reviewer: "eve".into(), groups: "dba".into() };
    assert_eq!(approve(&reviewer("eve", &["dev"])), Err(stranger.clone()));
    assert_eq!(store.deny(&hold.id, &reviewer("eve", &[]), "").unwrap_err(), stranger);
    assert_eq!(approve(&bob()), Ok(ApprovalState::Open));
    assert_eq!(approve(&bob()), Err(ApprovalError::Repeated("bob".into())));
    assert_eq!(approve(&reviewer("carl", &["dba"])), Ok(ApprovalState::Approved));
    let ended = ApprovalError::NotOpen { id: hold.id.to_string(), state: "approved".into() };
    assert_eq!(approve(&reviewer("dan", &["dba"])), Err(ended.clone()));
    assert_eq!(store.deny(&hold.id, &bob(), "").unwrap_err(), ended);
    assert_eq!(store.approve("zzzzzzzz", &bob(), "").unwrap_err(), ApprovalError::Unknown("zzzzzzzz".into()));
    assert_eq!(store.show("zzzzzzzz").unwrap_err(), ApprovalError::Unknown("zzzzzzzz".into()));
}

#[tokio::test]
async fn every_demand_needs_its_own_quorum() {
    let (store, _) = Disk::default().store(interval());
    let demands = vec![demand("p", &["dba"], 2, 60, Reuse::Once), demand("q", &["sec"], 1, 30, Reuse::Once)];
    let mut hold = store.request(request("s", "d", demands)).unwrap();
    assert_eq!(hold.ttl_seconds, 30, "the shortest counts");
    let state = |who: &Reviewer| store.approve(&hold.id, who, "").map(|v| v.state);
    assert_eq!(state(&reviewer("bob", &["dba", "sec"])), Ok(ApprovalState::Open));
    let unneeded = ApprovalError::NotAReviewer { reviewer: "carl".into(), groups: "dba".into() };
    assert_eq!(state(&reviewer("carl", &["sec"])), Err(unneeded));
    assert!(poll(&mut hold.outcome).is_pending());
    assert_eq!(store.show(&hold.id).unwrap().approvers, ["bob"]);
    assert_eq!(store.approve(&hold.id, &reviewer("dan", &["dba"]), "").unwrap().state, ApprovalState::Approved);
    let grants = vec![grant("p", &["bob", "dan"]), grant("q", &["bob"])];
    assert_eq!(hold.outcome.await, ApprovalOutcome::Granted(grants));
}

#[tokio::test]
async fn one_refusal_ends_it_even_after_an_approval() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", vec![demand("p", &["dba"], 2, 60, Reuse::Once)])).unwrap();
    store.approve(&hold.id, &bob(), "").unwrap();
    let long = "é".repeat(REASON_BYTES);
    let view = store.deny(&hold.id, &bob(), &long).unwrap();
    assert_eq!(view.state, ApprovalState::Denied);
    let ApprovalOutcome::Denied { by, reason } = hold.outcome.await else { panic!("not denied") };
    assert_eq!((&*by, reason.len()), ("bob", REASON_BYTES), "the words are bounded");
}

#[tokio::test]
async fn a_dropped_hold_withdraws_its_request() {
    let (store, _) = Disk::default().store(interval());
    let mut polled = store.request(request("s", "d", ONE_DBA())).unwrap();
    assert!(poll(&mut polled.outcome).is_pending());
    let unpolled = store.request(request("s", "d", ONE_DBA())).unwrap();
    for hold in [polled, unpolled] {
        let id = hold.id.clone();
        drop(hold);
        assert_eq!(store.show(&id).unwrap().state, ApprovalState::Withdrawn);
        let error = store.approve(&id, &bob(), "").unwrap_err();
        assert_eq!(error, ApprovalError::NotOpen { id: id.to_string(), state: "withdrawn".into() });
    }
    assert_eq!(steps(&store).last(), Some(&step("withdrawn", "", "the client cancelled or left")));
}

#[tokio::test(start_paused = true)]
async fn the_timer_ends_a_request_that_nobody_decides() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    assert_eq!(hold.outcome.await, ApprovalOutcome::Expired);
    assert_eq!(store.show(&hold.id).unwrap().state, ApprovalState::Expired);
    assert_eq!(steps(&store), [step("requested", "", ""), step("expired", "", EXPIRED)]);
}

#[tokio::test]
async fn nobody_approves_what_has_expired_by_the_clock() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    set_now(now() + 59_999);
    assert_eq!(store.list(false).unwrap().len(), 1);
    set_now(now() + 1);
    let error = store.approve(&hold.id, &bob(), "").unwrap_err();
    assert_eq!(error, ApprovalError::NotOpen { id: hold.id.to_string(), state: "expired".into() });
    assert_eq!(hold.outcome.await, ApprovalOutcome::Expired);
}

#[tokio::test]
async fn a_reusable_grant_serves_the_same_command_until_it_expires() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let first = store.request(request("s", "d", REUSED())).unwrap();
    assert!(poll(&mut store.request(request("s", "d", REUSED())).unwrap().outcome).is_pending(), "not granted yet");
    store.approve(&first.id, &bob(), "").unwrap();
    let restarted = disk.snapshot().store(interval()).0;
    for store in [&store, &restarted] {
        let mut again = store.request(request("other", "d", REUSED())).unwrap();
        assert_eq!((&again.id, again.ttl_seconds), (&first.id, 60));
        let granted = Poll::Ready(ApprovalOutcome::Granted(vec![grant("p", &["bob"])]));
        assert_eq!(poll(&mut again.outcome), granted);

        let asks = |request| poll(&mut store.request(request).unwrap().outcome).is_pending();
        assert!(asks(request("s", "another", REUSED())), "other bytes");
        assert!(asks(request("s", "d", vec![demand("q", &["dba"], 1, 60, Reuse::SameCommand)])), "another policy");
        assert!(asks(request("s", "d", vec![demand("p", &["dba"], 2, 60, Reuse::SameCommand)])), "other terms");
        assert!(asks(request("s", "d", ONE_DBA())), "once");
        let mut other = request("s", "d", REUSED());
        Arc::make_mut(&mut other.session).principal.name = "zoe".into();
        assert!(asks(other), "another principal");
        let mut other = request("s", "d", REUSED());
        let target = &mut Arc::make_mut(&mut other.session).target;
        Arc::make_mut(target).name = "payments".into();
        assert!(asks(other), "another target");
    }
    set_now(now() + 60_000);
    for store in [store, restarted, disk.snapshot().store(interval()).0] {
        assert!(poll(&mut store.request(request("s", "d", REUSED())).unwrap().outcome).is_pending(), "expired");
    }
}

#[tokio::test]
async fn a_grant_for_once_serves_once() {
    let (store, _) = Disk::default().store(interval());
    let first = store.request(request("s", "d", ONE_DBA())).unwrap();
    store.approve(&first.id, &bob(), "").unwrap();
    let mut second = store.request(request("s", "d", ONE_DBA())).unwrap();
    assert!(poll(&mut second.outcome).is_pending() && second.id != first.id);
}

#[tokio::test]
async fn a_restart_withdraws_what_was_open() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let hold = store.request(request("s", "d", REUSED())).unwrap();
    store.flush().unwrap();
    let (restarted, _) = disk.snapshot().store(interval());
    let view = restarted.show(&hold.id).unwrap();
    assert_eq!((view.state, view.decided.as_deref()), (ApprovalState::Withdrawn, Some("the gateway stopped")));
    assert!(restarted.list(false).unwrap().is_empty());
    assert!(matches!(restarted.approve(&hold.id, &bob(), ""), Err(ApprovalError::NotOpen { .. })));
    assert_eq!(steps(&restarted), [step("requested", "", ""), step("withdrawn", "", "the gateway stopped")]);
    let fresh = restarted.request(request("s", "e", ONE_DBA())).unwrap();
    assert_eq!(restarted.list(true).unwrap().len(), 2, "the new request does not overwrite the old one");
    drop(fresh);
}

#[tokio::test]
async fn open_requests_are_bounded() {
    let (store, _) = Disk::default().store(crate::StoreOptions { max_open_approvals: 2, ..interval() });
    let ask = || store.request(request("s", "d", ONE_DBA()));
    let (first, second) = (ask().unwrap(), ask().unwrap());
    assert_eq!(ask().err(), Some(ApprovalError::TooMany(2)));
    drop(first);
    assert!(ask().is_ok());
    drop(second);
    assert!(matches!(store.request(request("s", "d", vec![])).err(), Some(ApprovalError::Store(_))));
}

#[tokio::test]
async fn closing_ends_what_waits() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    store.close();
    let ApprovalOutcome::Denied { by, .. } = hold.outcome.await else { panic!("not denied") };
    assert_eq!(by, "portcullis");
    assert!(store.request(request("s", "d", ONE_DBA())).is_err());
    assert!(store.approve(&hold.id, &bob(), "").is_err());
}

#[tokio::test]
async fn a_decision_that_is_not_durable_lets_nothing_go_until_it_is() {
    let disk = Disk::default();
    let (store, _) = disk.store(eager());
    let mut hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    store.flush().unwrap();
    disk.fail(Fault::Always, 0);
    let error = store.approve(&hold.id, &bob(), "").unwrap_err().to_string();
    assert!(error.contains("the disk is full"), "{error}");
    assert!(poll(&mut hold.outcome).is_pending());
    assert!(matches!(store.request(request("s", "e", ONE_DBA())).err(), Some(ApprovalError::Store(_))));
    disk.heal();
    assert_eq!(hold.outcome.await, ApprovalOutcome::Granted(vec![grant("p", &["bob"])]));
}

#[tokio::test]
async fn of_two_decisions_at_once_one_counts() {
    let (store, _) = Disk::default().store(eager());
    for _ in 0..50 {
        let hold = store.request(request("s", "d", ONE_DBA())).unwrap();
        let clock = now();
        let (approved, denied) = std::thread::scope(|scope| {
            let approve = scope.spawn(|| (set_now(clock), store.approve(&hold.id, &bob(), "")).1);
            let deny = scope.spawn(|| (set_now(clock), store.deny(&hold.id, &reviewer("carl", &["dba"]), "")).1);
            (approve.join().unwrap().is_ok(), deny.join().unwrap().is_ok())
        });
        assert!(approved != denied);
        assert_eq!(matches!(hold.outcome.await, ApprovalOutcome::Granted(_)), approved);
    }
}
