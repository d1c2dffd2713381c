use std::task::Poll;

use portcullis_verdict::{ApprovalDesk, Approvals, AuditReader, Demand, Grant, Reuse};

use super::*;
use crate::request::{COMMAND_BYTES, REASON_BYTES};
use crate::store::Store;
use crate::testing::{Disk, Fault, demand, eager, interval, now, poll, request, reviewer, set_now};

const ONE_DBA: fn() -> Vec<Demand> = || vec![demand("p", &["dba"], 1, 60, Reuse::Once)];
const REUSED: fn() -> Vec<Demand> = || vec![demand("p", &["dba"], 1, 60, Reuse::SameCommand)];

/// The same of another principal.
fn of(principal: &str, mut request: ApprovalRequest) -> ApprovalRequest {
    Arc::make_mut(&mut request.session).principal.name = principal.into();
    request
}

/// One whose command has this length.
fn long(bytes: usize, request: ApprovalRequest) -> ApprovalRequest {
    ApprovalRequest { text: "x".repeat(bytes).into(), ..request }
}

fn grant(policy: &str, approvers: &[&str]) -> Grant {
    Grant { policy: policy.into(), approvers: approvers.iter().map(|a| (*a).into()).collect() }
}

fn bob() -> Reviewer {
    reviewer("bob", &["dba"])
}

/// Someone who may break glass, and approve nothing otherwise.
fn breaker(name: &str) -> Reviewer {
    Reviewer { break_glass: true, ..reviewer(name, &[]) }
}

fn says(reason: &str) -> Words {
    Words { reason: reason.into(), ..Words::default() }
}

fn glass(reason: &str) -> Words {
    Words { break_glass: true, ..says(reason) }
}

fn link(webhook: &str) -> Words {
    Words { link: Some(webhook.into()), ..Words::default() }
}

fn open(store: &Store) -> Vec<ApprovalView> {
    store.list(false, None, usize::MAX).unwrap()
}

/// What the audit says happened to approvals in this session.
fn events(store: &Store, session: &str) -> Vec<ApprovalEvent> {
    let events = store.session(session, 0, usize::MAX).unwrap().into_iter();
    events.filter_map(|e| if let Event::Approval(event) = e.event { Some(event) } else { None }).collect()
}

fn steps(store: &Store) -> Vec<(String, String, String)> {
    events(store, "s").into_iter().map(|e| (e.what.into(), e.by, e.reason)).collect()
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
    assert_eq!((hold.id.len(), hold.expires_ms, hold.stays_open), (6, now() + 60_000, false));
    let open_now = open(&store);
    assert_eq!((open_now.len(), open_now[0].state, &*open_now[0].text), (1, ApprovalState::Open, "drop table t"));
    assert_eq!((&*open_now[0].principal, open_now[0].reason.as_deref()), ("ann", Some("ticket 7")));
    assert!(open_now[0].waiting && !open_now[0].broken_glass);

    let typed = format!(" {} ", hold.id.to_uppercase().replace('0', "O").replace('1', "l"));
    let view = store.approve(&typed, &bob(), &says("fine")).unwrap();
    assert_eq!((view.state, view.decided.as_deref()), (ApprovalState::Approved, Some("approved by bob")));
    // Durable before the reviewer and the command hear of it.
    assert_eq!(disk.snapshot().store(interval()).0.show(&hold.id).unwrap(), view);
    assert_eq!(hold.outcome.await, ApprovalOutcome::Granted(vec![grant("p", &["bob"])]));
    assert!(open(&store).is_empty());
    assert_eq!(store.list(true, None, 9).unwrap(), [view]);
    assert_eq!(steps(&store), [step("requested", "", ""), step("approved", "bob", "fine")]);
    let events = events(&store, "s");
    assert_eq!(events.iter().map(|e| &*e.via).collect::<Vec<_>>(), ["", "api"]);
    assert!(events.iter().all(|e| *e.subject == request("s", "d", vec![]).session.subject()));
}

#[test]
fn identifiers_differ_by_their_number_and_cannot_be_guessed_from_it() {
    let numbers = [1, 31, 32, 33, 1023, 1024, 1 << 40, u64::MAX];
    let ids = numbers.map(new_id);
    let numbered: std::collections::HashSet<&str> = ids.iter().map(|id| &id[5..]).collect();
    assert_eq!(numbered.len(), numbers.len(), "{ids:?}");
    assert_eq!((ids[0].len(), ids[2].len(), ids[7].len()), (6, 7, 18));
    assert_ne!(new_id(7)[..5], new_id(7)[..5]);
    assert!(ids.iter().all(|id| canonical(&id.to_uppercase()) == **id));
}

#[tokio::test]
async fn who_may_not_approve_is_told_why() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", vec![demand("p", &["dba"], 2, 60, Reuse::Once)])).unwrap();
    let approve = |who: &Reviewer| store.approve(&hold.id, who, &Words::default()).map(|v| v.state);
    // The principal is in the group, and still not of their own command.
    let ann = reviewer("ann", &["dba"]);
    assert_eq!(approve(&ann), Err(ApprovalError::OwnRequest("ann".into())));
    assert_eq!(store.deny(&hold.id, &ann, &Words::default()).unwrap_err(), ApprovalError::OwnRequest("ann".into()));
    let stranger = ApprovalError::NotAReviewer { reviewer: "eve".into(), groups: "dba".into() };
    assert_eq!(approve(&reviewer("eve", &["dev"])), Err(stranger.clone()));
    assert_eq!(store.deny(&hold.id, &reviewer("eve", &[]), &Words::default()).unwrap_err(), stranger);
    assert_eq!(approve(&bob()), Ok(ApprovalState::Open));
    assert_eq!(approve(&bob()), Err(ApprovalError::Repeated("bob".into())));
    assert_eq!(approve(&reviewer("carl", &["dba"])), Ok(ApprovalState::Approved));
    let ended = ApprovalError::NotOpen { id: hold.id.to_string(), state: "approved".into() };
    assert_eq!(approve(&reviewer("dan", &["dba"])), Err(ended.clone()));
    assert_eq!(store.deny(&hold.id, &bob(), &Words::default()).unwrap_err(), ended);
    assert_eq!(
        store.approve("zzzzzzzz", &bob(), &Words::default()).unwrap_err(),
        ApprovalError::Unknown("zzzzzzzz".into())
    );
    assert_eq!(store.show("zzzzzzzz").unwrap_err(), ApprovalError::Unknown("zzzzzzzz".into()));
}

#[tokio::test]
async fn every_demand_needs_its_own_quorum() {
    let (store, _) = Disk::default().store(interval());
    let demands = vec![demand("p", &["dba"], 2, 60, Reuse::Once), demand("q", &["sec"], 1, 30, Reuse::Once)];
    let mut hold = store.request(request("s", "d", demands)).unwrap();
    assert_eq!(hold.expires_ms, now() + 30_000, "the shortest counts");
    let state = |who: &Reviewer| store.approve(&hold.id, who, &Words::default()).map(|v| v.state);
    assert_eq!(state(&reviewer("bob", &["dba", "sec"])), Ok(ApprovalState::Open));
    let unneeded = ApprovalError::NotAReviewer { reviewer: "carl".into(), groups: "dba".into() };
    assert_eq!(state(&reviewer("carl", &["sec"])), Err(unneeded));
    assert!(poll(&mut hold.outcome).is_pending());
    assert_eq!(store.show(&hold.id).unwrap().approvers, ["bob"]);
    assert_eq!(
        store.approve(&hold.id, &reviewer("dan", &["dba"]), &Words::default()).unwrap().state,
        ApprovalState::Approved
    );
    let grants = vec![grant("p", &["bob", "dan"]), grant("q", &["bob"])];
    assert_eq!(hold.outcome.await, ApprovalOutcome::Granted(grants));
}

#[tokio::test]
async fn one_refusal_ends_it_even_after_an_approval() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", vec![demand("p", &["dba"], 2, 60, Reuse::Once)])).unwrap();
    store.approve(&hold.id, &bob(), &Words::default()).unwrap();
    let long = "é".repeat(REASON_BYTES);
    let view = store.deny(&hold.id, &bob(), &says(&long)).unwrap();
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
        let error = store.approve(&id, &bob(), &Words::default()).unwrap_err();
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
    assert_eq!(open(&store).len(), 1);
    set_now(now() + 1);
    let error = store.approve(&hold.id, &bob(), &Words::default()).unwrap_err();
    assert_eq!(error, ApprovalError::NotOpen { id: hold.id.to_string(), state: "expired".into() });
    assert_eq!(hold.outcome.await, ApprovalOutcome::Expired);
}

#[tokio::test]
async fn a_reusable_grant_serves_the_same_command_until_it_expires() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let first = store.request(request("s", "d", REUSED())).unwrap();
    assert!(poll(&mut store.request(request("s", "d", REUSED())).unwrap().outcome).is_pending(), "not granted yet");
    store.approve(&first.id, &bob(), &Words::default()).unwrap();
    let restarted = disk.snapshot().store(interval()).0;
    for store in [&store, &restarted] {
        let mut again = store.request(request("other", "d", REUSED())).unwrap();
        assert_eq!((&again.id, again.expires_ms, &again.demands[..]), (&first.id, first.expires_ms, &[][..]));
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
    store.approve(&first.id, &bob(), &Words::default()).unwrap();
    let mut second = store.request(request("s", "d", ONE_DBA())).unwrap();
    assert!(poll(&mut second.outcome).is_pending() && second.id != first.id);
}

#[tokio::test]
async fn a_revoked_grant_serves_no_more() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let first = store.request(request("s", "d", REUSED())).unwrap();
    store.approve(&first.id, &bob(), &says("fine")).unwrap();
    let other = store.request(request("s", "e", REUSED())).unwrap();
    store.approve(&other.id, &bob(), &Words::default()).unwrap();
    let served = store.request(request("s", "d", REUSED())).unwrap();
    let deny = |who: &Reviewer, words: &Words| store.deny(&first.id.to_uppercase(), who, words);
    assert_eq!(deny(&reviewer("ann", &["dba"]), &says("")), Err(ApprovalError::OwnRequest("ann".into())));
    assert!(matches!(deny(&reviewer("eve", &[]), &says("")), Err(ApprovalError::NotAReviewer { .. })));
    let mut still = store.request(request("s", "d", REUSED())).unwrap();
    assert!(poll(&mut still.outcome).is_ready(), "a refused revocation revokes nothing");

    let seen = store.changed(u64::MAX).await;
    let view = deny(&bob(), &says("the wrong table")).unwrap();
    assert_eq!((view.state, view.decided.as_deref()), (ApprovalState::Denied, Some("revoked by bob: the wrong table")));
    assert_eq!(store.changed(seen).await, seen + 1);
    let told = events(&store, "s").pop().unwrap();
    assert_eq!((&*told.what, &*told.by, &*told.reason, &*told.via), ("revoked", "bob", "the wrong table", "api"));
    for hold in [first, served] {
        assert!(matches!(hold.outcome.await, ApprovalOutcome::Granted(_)), "what was let go runs on");
    }
    // Durable before the reviewer hears of it.
    let (restarted, _) = disk.snapshot().store(interval());
    for store in [&store, &restarted] {
        assert_eq!(store.show(&view.id), Ok(view.clone()));
        let mut anew = store.request(request("s", "d", REUSED())).unwrap();
        assert!(poll(&mut anew.outcome).is_pending() && *anew.id != *view.id, "it is held anew");
        let ended = ApprovalError::NotOpen { id: view.id.clone(), state: "denied".into() };
        assert_eq!(store.deny(&view.id, &bob(), &Words::default()), Err(ended.clone()));
        assert_eq!(store.approve(&view.id, &bob(), &Words::default()), Err(ended));
        assert!(poll(&mut store.request(request("s", "e", REUSED())).unwrap().outcome).is_ready(), "others serve on");
        store.approve(&anew.id, &bob(), &Words::default()).unwrap();
        assert_eq!(store.request(request("s", "d", REUSED())).unwrap().id, anew.id, "approved anew, it serves anew");
    }
}

#[tokio::test]
async fn a_grant_that_serves_nothing_more_cannot_be_revoked() {
    let (store, _) = Disk::default().store(interval());
    let once = store.request(request("s", "d", ONE_DBA())).unwrap();
    let reused = store.request(request("s", "d", REUSED())).unwrap();
    for hold in [&once, &reused] {
        store.approve(&hold.id, &bob(), &Words::default()).unwrap();
    }
    let over = |hold: &Hold| ApprovalError::NotOpen { id: hold.id.to_string(), state: "approved".into() };
    assert_eq!(store.deny(&once.id, &bob(), &Words::default()), Err(over(&once)));
    set_now(now() + 60_000);
    assert_eq!(store.deny(&reused.id, &bob(), &Words::default()), Err(over(&reused)));
    assert!(events(&store, "s").iter().all(|event| event.what != "revoked"));
}

#[tokio::test]
async fn a_revocation_that_is_not_durable_is_told_and_in_force() {
    let disk = Disk::default();
    let (store, _) = disk.store(eager());
    let hold = store.request(request("s", "d", REUSED())).unwrap();
    store.approve(&hold.id, &bob(), &Words::default()).unwrap();
    disk.fail(Fault::Always, 0);
    let error = store.deny(&hold.id, &bob(), &Words::default()).unwrap_err().to_string();
    assert!(error.contains("the disk is full"), "{error}");
    assert!(store.request(request("s", "d", REUSED())).is_err(), "nothing rests on it");
    disk.heal();
}

#[tokio::test]
async fn a_restart_withdraws_what_does_not_outlive_its_client() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    store.flush().unwrap();
    let (restarted, _) = disk.snapshot().store(interval());
    let view = restarted.show(&hold.id).unwrap();
    assert_eq!((view.state, view.decided.as_deref()), (ApprovalState::Withdrawn, Some("the gateway stopped")));
    assert!(open(&restarted).is_empty());
    assert!(matches!(restarted.approve(&hold.id, &bob(), &Words::default()), Err(ApprovalError::NotOpen { .. })));
    assert_eq!(steps(&restarted), [step("requested", "", ""), step("withdrawn", "", "the gateway stopped")]);
    let fresh = restarted.request(request("s", "e", ONE_DBA())).unwrap();
    assert_eq!(restarted.list(true, None, 9).unwrap().len(), 2, "the new request does not overwrite the old one");
    drop(fresh);
}

#[tokio::test]
async fn open_requests_are_bounded() {
    let (store, _) = Disk::default().store(crate::StoreOptions { max_open_approvals: 2, ..interval() });
    let ask = |principal| store.request(of(principal, request("s", "d", ONE_DBA())));
    let (first, second) = (ask("ann").unwrap(), ask("zoe").unwrap());
    assert_eq!(ask("sam").err(), Some(ApprovalError::TooMany(2)));
    drop(first);
    assert!(ask("sam").is_ok());
    drop(second);
    assert!(matches!(store.request(request("s", "d", vec![])).err(), Some(ApprovalError::Store(_))));
}

#[tokio::test]
async fn nobody_takes_all_the_room() {
    let options = || crate::StoreOptions { max_open_approvals: 29, ..interval() };
    let disk = Disk::default();
    let (store, _) = disk.store(options());
    let ids: Vec<Arc<str>> = ["d1", "d2"].map(|d| store.request(request("s", d, REUSED())).unwrap().id).into();
    assert_eq!(store.request(request("s", "d1", REUSED())).unwrap().id, ids[0], "to join takes no room");
    store.flush().unwrap();
    let (restarted, _) = disk.snapshot().store(options());
    for store in [&store, &restarted] {
        let full = store.request(request("other", "d3", REUSED())).err().unwrap();
        assert_eq!(full, ApprovalError::TooManyOfPrincipal { principal: "ann".into(), most: 2 });
        assert!(full.to_string().contains("ann has 2 approval requests open already"), "{full}");
        assert!(store.request(of("zoe", request("s", "d3", REUSED()))).is_ok());
        store.deny(&ids[0], &bob(), &Words::default()).unwrap();
        assert!(store.request(request("s", "d3", REUSED())).is_ok());
    }
}

#[tokio::test]
async fn the_commands_of_all_open_requests_have_so_much_room_and_no_more() {
    let (store, _) = Disk::default().store(interval());
    let most = OPEN_BYTES / SHARE;
    let ask = |principal: &str, bytes, n: usize| {
        // The room before the disk is not what is tried here.
        store.flush().unwrap();
        store.request(of(principal, long(bytes, request("s", &format!("d{n}"), ONE_DBA()))))
    };
    let error = ask("ann", COMMAND_BYTES + 1, 0).err();
    assert_eq!(error, Some(ApprovalError::TooLong { bytes: COMMAND_BYTES + 1, most: COMMAND_BYTES }));
    let mut holds: Vec<Hold> = Vec::new();
    for principal in 0..SHARE {
        let name = format!("ann{principal}");
        holds.extend((0..6).map(|n| ask(&name, COMMAND_BYTES, n).unwrap()));
        let error = ask(&name, COMMAND_BYTES, 6).err();
        assert_eq!(error, Some(ApprovalError::TooMuchTextOfPrincipal { principal: name, most }));
    }
    holds.extend((0..3).map(|n| ask("zoe", COMMAND_BYTES, n).unwrap()));
    assert_eq!(ask("zoe", COMMAND_BYTES, 3).err(), Some(ApprovalError::TooMuchText(OPEN_BYTES)));
    assert!(ask("zoe", 1000, 3).is_ok());
    holds.pop();
    assert!(ask("zoe", COMMAND_BYTES, 3).is_ok());
}

#[tokio::test]
async fn a_list_of_long_commands_ends_early_and_goes_on() {
    let (store, _) = Disk::default().store(interval());
    let ask = |n: usize| {
        store.flush().unwrap();
        let request = long(COMMAND_BYTES, request("s", &format!("d{n}"), ONE_DBA()));
        store.request(of(&format!("ann{}", n % 4), request)).unwrap()
    };
    let holds: Vec<Hold> = (0..20).map(ask).collect();
    for all in [false, true] {
        let list = |before, limit| -> Vec<u64> {
            store.list(all, before, limit).unwrap().iter().map(|view| view.number).collect()
        };
        let first = list(None, usize::MAX);
        assert!((15..=16).contains(&first.len()), "{first:?}");
        assert_eq!([&first[..], &list(first.last().copied(), usize::MAX)].concat(), (1..=20).rev().collect::<Vec<_>>());
        assert_eq!(list(None, 1), [20]);
        assert!(list(None, 0).is_empty());
    }
    drop(holds);
}

#[tokio::test]
async fn closing_ends_what_waits() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    store.close();
    let ApprovalOutcome::Denied { by, .. } = hold.outcome.await else { panic!("not denied") };
    assert_eq!(by, "portcullis");
    assert!(store.request(request("s", "d", ONE_DBA())).is_err());
    assert!(store.approve(&hold.id, &bob(), &Words::default()).is_err());
}

#[tokio::test]
async fn a_decision_that_is_not_durable_lets_nothing_go_until_it_is() {
    let disk = Disk::default();
    let (store, _) = disk.store(eager());
    let mut hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    store.flush().unwrap();
    disk.fail(Fault::Always, 0);
    let error = store.approve(&hold.id, &bob(), &Words::default()).unwrap_err().to_string();
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
            let approve = scope.spawn(|| (set_now(clock), store.approve(&hold.id, &bob(), &Words::default())).1);
            let deny = scope
                .spawn(|| (set_now(clock), store.deny(&hold.id, &reviewer("carl", &["dba"]), &Words::default())).1);
            (approve.join().unwrap().is_ok(), deny.join().unwrap().is_ok())
        });
        assert!(approved != denied);
        assert_eq!(matches!(hold.outcome.await, ApprovalOutcome::Granted(_)), approved);
    }
}

#[tokio::test]
async fn identical_commands_wait_for_one_request() {
    let (store, _) = Disk::default().store(crate::StoreOptions { max_open_approvals: 1, ..interval() });
    let mut first = store.request(request("s", "d", REUSED())).unwrap();
    assert!(first.stays_open && first.demands == REUSED());
    set_now(now() + 20_000);
    let mut second = store.request(ApprovalRequest { sequence: 8, ..request("other", "d", REUSED()) }).unwrap();
    assert_eq!((&second.id, second.expires_ms, second.stays_open), (&first.id, first.expires_ms, true));
    assert!(poll(&mut first.outcome).is_pending() && poll(&mut second.outcome).is_pending());
    assert_eq!(open(&store).len(), 1);
    let third = store.request(request("third", "d", REUSED())).unwrap();
    drop(third);
    assert!(open(&store)[0].waiting, "two still wait");

    store.approve(&first.id, &bob(), &Words::default()).unwrap();
    for hold in [first, second] {
        assert_eq!(hold.outcome.await, ApprovalOutcome::Granted(vec![grant("p", &["bob"])]));
    }
    // Each session's events tell its own part; how it ended is told where it was opened.
    let whats = |session| events(&store, session).into_iter().map(|e| (e.what.into(), e.sequence)).collect::<Vec<_>>();
    let whats = |session| -> Vec<(String, u64)> { whats(session) };
    assert_eq!(whats("s"), [("requested".into(), 3), ("approved".into(), 3)]);
    assert_eq!(whats("other"), [("joined".into(), 8)]);
    assert_eq!(whats("third"), [("joined".into(), 3), ("left".into(), 3)]);
}

#[tokio::test]
async fn nothing_but_the_same_command_joins() {
    let (store, _) = Disk::default().store(interval());
    let first = store.request(request("s", "d", REUSED())).unwrap();
    let joins = |request| store.request(request).unwrap().id == first.id;
    assert!(joins(request("other", "d", REUSED())));
    assert!(!joins(request("s", "another", REUSED())), "other bytes");
    assert!(!joins(request("s", "d", ONE_DBA())), "once");
    let both = vec![REUSED().remove(0), demand("q", &["dba"], 1, 60, Reuse::SameCommand)];
    assert!(!joins(request("s", "d", both)), "more is demanded");
    let mut other = request("s", "d", REUSED());
    Arc::make_mut(&mut other.session).principal.name = "zoe".into();
    assert!(!joins(other), "another principal");
    let mut other = request("s", "d", REUSED());
    let target = &mut Arc::make_mut(&mut other.session).target;
    Arc::make_mut(target).name = "payments".into();
    assert!(!joins(other), "another target");

    let mixed = || vec![REUSED().remove(0), demand("q", &["dba"], 1, 60, Reuse::Once)];
    let first = store.request(request("s", "mixed", mixed())).unwrap();
    assert!(!first.stays_open);
    assert_ne!(store.request(request("s", "mixed", mixed())).unwrap().id, first.id, "a part of it serves once");
}

#[tokio::test]
async fn a_client_that_left_comes_back_to_its_grant() {
    let (store, _) = Disk::default().store(interval());
    let mut hold = store.request(request("s", "d", REUSED())).unwrap();
    assert!(poll(&mut hold.outcome).is_pending());
    assert!(store.show(&hold.id).unwrap().waiting);
    let id = hold.id.clone();
    drop(hold);
    let left = store.show(&id).unwrap();
    assert_eq!((left.state, left.waiting), (ApprovalState::Open, false));

    // Back before anybody decided, and gone again.
    let back = store.request(request("s", "d", REUSED())).unwrap();
    assert_eq!((&back.id, store.show(&id).unwrap().waiting), (&id, true));
    drop(back);
    store.approve(&id, &bob(), &Words::default()).unwrap();
    let mut again = store.request(request("s", "d", REUSED())).unwrap();
    assert_eq!(again.id, id);
    assert_eq!(poll(&mut again.outcome), Poll::Ready(ApprovalOutcome::Granted(vec![grant("p", &["bob"])])));
    let left = || step("left", "", LEFT);
    let steps_so_far = [step("requested", "", ""), left(), step("joined", "", ""), left(), step("approved", "bob", "")];
    assert_eq!(steps(&store), steps_so_far);
}

#[tokio::test]
async fn a_client_that_left_and_was_refused_asks_anew() {
    let (store, _) = Disk::default().store(interval());
    let id = store.request(request("s", "d", REUSED())).unwrap().id;
    store.deny(&id, &bob(), &says("not today")).unwrap();
    let mut again = store.request(request("s", "d", REUSED())).unwrap();
    assert!(again.id != id && poll(&mut again.outcome).is_pending());
}

#[tokio::test]
async fn a_request_without_a_client_expires() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let id = store.request(request("s", "d", REUSED())).unwrap().id;
    set_now(now() + 59_999);
    assert_eq!(open(&store).len(), 1);
    store.flush().unwrap();
    let crashed = disk.snapshot();
    set_now(now() + 1);
    for store in [store, crashed.store(interval()).0] {
        let error = store.approve(&id, &bob(), &Words::default()).unwrap_err();
        assert!(matches!(error, ApprovalError::NotOpen { .. }), "{error}");
        assert!(open(&store).is_empty());
        assert_ne!(store.request(request("s", "d", REUSED())).unwrap().id, id);
    }
}

#[tokio::test(start_paused = true)]
async fn one_timer_ends_the_wait_of_every_client() {
    let (store, _) = Disk::default().store(interval());
    let first = store.request(request("s", "d", REUSED())).unwrap();
    let second = store.request(request("s", "d", REUSED())).unwrap();
    assert_eq!(first.outcome.await, ApprovalOutcome::Expired);
    assert_eq!(second.outcome.await, ApprovalOutcome::Expired);
    assert_eq!(steps(&store).last(), Some(&step("expired", "", EXPIRED)));
}

#[tokio::test]
async fn a_request_that_outlives_its_client_outlives_the_gateway() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let two = || vec![demand("p", &["dba"], 2, 60, Reuse::SameCommand)];
    let hold = store.request(request("s", "d", two())).unwrap();
    store.approve(&hold.id, &bob(), &Words::default()).unwrap();
    let crashed = disk.snapshot();
    store.close();
    let ApprovalOutcome::Denied { by, .. } = hold.outcome.await else { panic!("not told") };
    assert_eq!(by, "portcullis");

    for disk in [disk.snapshot(), crashed] {
        let (store, _) = disk.store(interval());
        let open = open(&store);
        assert_eq!((&*open[0].id, open[0].waiting, &*open[0].approvers), (&*hold.id, false, &["bob".to_owned()][..]));
        let mut again = store.request(request("s", "d", two())).unwrap();
        assert_eq!((&again.id, again.demands.len()), (&hold.id, 1));
        assert!(poll(&mut again.outcome).is_pending());
        let fresh = store.request(request("s", "e", two())).unwrap();
        assert!(store.show(&fresh.id).unwrap().number > open[0].number);
        store.approve(&hold.id, &reviewer("carl", &["dba"]), &Words::default()).unwrap();
        assert_eq!(again.outcome.await, ApprovalOutcome::Granted(vec![grant("p", &["bob", "carl"])]));
    }
}

#[tokio::test]
async fn a_command_that_comes_while_its_grant_is_written_waits_for_the_disk_only() {
    let disk = Disk::default();
    let (store, _) = disk.store(eager());
    let first = store.request(request("s", "d", REUSED())).unwrap();
    store.flush().unwrap();
    disk.shut();
    let clock = now();
    let mut again = std::thread::scope(|scope| {
        let approval = scope.spawn(|| (set_now(clock), store.approve(&first.id, &bob(), &Words::default())).1);
        disk.await_sync();
        // Nothing may fail before the disk goes on: the store could not be closed.
        let mut again = store.request(request("s", "d", REUSED()));
        let waits = again.as_mut().is_ok_and(|hold| poll(&mut hold.outcome).is_pending());
        disk.release();
        assert!(waits, "not durable yet");
        approval.join().unwrap().unwrap();
        again.unwrap()
    });
    assert_eq!(again.id, first.id, "nobody is asked twice");
    assert_eq!(poll(&mut again.outcome), Poll::Ready(ApprovalOutcome::Granted(vec![grant("p", &["bob"])])));
}

#[tokio::test]
async fn breaking_glass_approves_even_the_own_request_and_is_told() {
    let disk = Disk::default();
    let (store, stats) = disk.store(interval());
    let demands = || vec![demand("p", &["dba"], 2, 60, Reuse::SameCommand), demand("q", &["sec"], 1, 60, Reuse::Once)];
    let mut hold = store.request(request("s", "d", demands())).unwrap();
    let ann = breaker("ann");
    let refused = |words: &Words| store.approve(&hold.id, &ann, words).unwrap_err();
    assert_eq!(refused(&says("the shop is down")), ApprovalError::OwnRequest("ann".into()));
    assert_eq!(refused(&glass("shop down")), ApprovalError::NoJustification(10));
    let without = store.approve(&hold.id, &bob(), &glass("the shop is down")).unwrap_err();
    assert_eq!(without, ApprovalError::NoBreakGlass("bob".into()));
    assert_eq!(stats.glass_broken.load(std::sync::atomic::Ordering::Relaxed), 0);

    let view = store.approve(&hold.id, &ann, &glass("the shop is down")).unwrap();
    assert_eq!((view.state, view.broken_glass), (ApprovalState::Approved, true));
    assert_eq!(stats.glass_broken.load(std::sync::atomic::Ordering::Relaxed), 1);
    let granted = ApprovalOutcome::Granted(vec![grant("p", &["ann"]), grant("q", &["ann"])]);
    assert_eq!(hold.outcome.as_mut().await, granted);
    assert_eq!(steps(&store)[1..], [step("broken-glass", "ann", "the shop is down")]);
    let (restarted, _) = disk.snapshot().store(interval());
    assert_eq!(restarted.show(&hold.id), Ok(view));
    // It was broken for what waited: nothing rests on it later, and nothing is left to revoke.
    for store in [&store, &restarted] {
        let mut again = store.request(request("s", "d", demands()[..1].to_vec())).unwrap();
        assert!(poll(&mut again.outcome).is_pending() && again.id != hold.id);
        let over = ApprovalError::NotOpen { id: hold.id.to_string(), state: "approved".into() };
        assert_eq!(store.deny(&hold.id, &bob(), &Words::default()), Err(over));
    }
}

#[tokio::test]
async fn a_link_and_the_api_make_a_quorum_and_the_link_serves_once() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let two = vec![demand("p", &["dba"], 2, 60, Reuse::SameCommand)];
    let hold = store.request(request("s", "d", two)).unwrap();
    let view = store.approve(&hold.id, &bob(), &link("bobs-mail")).unwrap();
    assert_eq!((view.state, view.waiting), (ApprovalState::Open, true));
    // Used in the same transaction as the decision: a crash right after it does not bring the link back.
    let (restarted, _) = disk.snapshot().store(interval());
    for store in [&store, &restarted] {
        assert_eq!(store.approve(&hold.id, &bob(), &link("bobs-mail")).unwrap_err(), ApprovalError::LinkUsed);
        assert_eq!(store.deny(&hold.id, &bob(), &link("bobs-mail")).unwrap_err(), ApprovalError::LinkUsed);
        let repeated = store.approve(&hold.id, &bob(), &Words::default()).unwrap_err();
        assert_eq!(repeated, ApprovalError::Repeated("bob".into()));
    }
    let carl = reviewer("carl", &["dba"]);
    assert_eq!(store.approve(&hold.id, &carl, &Words::default()).unwrap().state, ApprovalState::Approved);
    let vias: Vec<String> = events(&store, "s").into_iter().map(|e| e.via).collect();
    assert_eq!(vias, ["", "link bobs-mail", "api"]);
    let (restarted, _) = disk.snapshot().store(interval());
    for store in [&store, &restarted] {
        assert_eq!(store.approve(&hold.id, &bob(), &link("bobs-mail")).unwrap_err(), ApprovalError::LinkUsed);
        let other = store.approve(&hold.id, &bob(), &link("bobs-chat")).unwrap_err();
        assert_eq!(other, ApprovalError::NotOpen { id: hold.id.to_string(), state: "approved".into() });
    }
    assert_eq!(hold.outcome.await, ApprovalOutcome::Granted(vec![grant("p", &["bob", "carl"])]));
}

#[tokio::test]
async fn a_denial_by_link_uses_it_up() {
    let (store, _) = Disk::default().store(interval());
    let hold = store.request(request("s", "d", ONE_DBA())).unwrap();
    store.deny(&hold.id, &bob(), &link("bobs-mail")).unwrap();
    assert_eq!(store.approve(&hold.id, &bob(), &link("bobs-mail")).unwrap_err(), ApprovalError::LinkUsed);
    assert_eq!(events(&store, "s").last().unwrap().via, "link bobs-mail");
    let ApprovalOutcome::Denied { by, reason } = hold.outcome.await else { panic!("not denied") };
    assert_eq!((&*by, &*reason), ("bob", ""));
}

#[tokio::test]
async fn of_two_clicks_on_a_link_one_counts() {
    let (store, _) = Disk::default().store(eager());
    for _ in 0..20 {
        let two = vec![demand("p", &["dba"], 2, 60, Reuse::Once)];
        let hold = store.request(request("s", "d", two)).unwrap();
        let clock = now();
        let click = || (set_now(clock), store.approve(&hold.id, &bob(), &link("bobs-mail"))).1.map(|v| v.state);
        let clicks =
            std::thread::scope(|scope| [scope.spawn(click), scope.spawn(click)].map(|click| click.join().unwrap()));
        assert!(clicks.contains(&Ok(ApprovalState::Open)) && clicks.contains(&Err(ApprovalError::LinkUsed)));
    }
}

#[tokio::test]
async fn lists_go_on_before_a_number() {
    let (store, _) = Disk::default().store(interval());
    let holds: Vec<Hold> = (0..4).map(|i| store.request(request("s", &format!("d{i}"), ONE_DBA())).unwrap()).collect();
    store.deny(&holds[2].id, &bob(), &Words::default()).unwrap();
    let list = |all, before, limit| -> Vec<(u64, bool)> {
        store.list(all, before, limit).unwrap().into_iter().map(|v| (v.number, v.waiting)).collect()
    };
    assert_eq!(list(false, None, 2), [(4, true), (2, true)]);
    assert_eq!(list(false, Some(2), 2), [(1, true)]);
    assert_eq!(list(true, None, 2), [(4, true), (3, false)]);
    assert_eq!(list(true, Some(3), 9), [(2, true), (1, true)]);
    assert!(list(true, Some(1), 9).is_empty() && list(false, Some(0), 9).is_empty());
}

#[tokio::test]
async fn every_change_is_counted_and_announced() {
    let (store, _) = Disk::default().store(interval());
    let mut seen = 0;
    let mut changes = || {
        let mut changed = store.changed(seen);
        let Poll::Ready(count) = poll(&mut changed) else { return 0 };
        let more = count - seen;
        seen = count;
        more
    };
    assert_eq!(changes(), 0);
    let hold = store.request(request("s", "d", REUSED())).unwrap();
    assert_eq!(changes(), 1, "requested");
    let second = store.request(request("s", "d", REUSED())).unwrap();
    assert_eq!(changes(), 1, "joined");
    drop(second);
    assert_eq!(changes(), 1, "left");
    store.approve(&hold.id, &bob(), &Words::default()).unwrap();
    assert_eq!(changes(), 1, "approved");
    drop(hold);
    assert_eq!(changes(), 0, "it had ended");
    drop(store.request(request("s", "e", ONE_DBA())).unwrap());
    assert_eq!(changes(), 2, "requested and withdrawn");
    let _kept = store.request(request("s", "f", ONE_DBA())).unwrap();
    assert!(matches!(store.approve("zzzzzzzz", &bob(), &Words::default()), Err(ApprovalError::Unknown(_))));
    assert_eq!(changes(), 1, "what was not decided is no change");
    set_now(now() + 60_000);
    open(&store);
    assert_eq!(changes(), 1, "expired");

    let waiting = tokio::spawn(store.changed(seen));
    tokio::task::yield_now().await;
    let hold = store.request(request("s", "g", ONE_DBA())).unwrap();
    assert_eq!(waiting.await.unwrap(), seen + 1);
    drop(hold);
}
