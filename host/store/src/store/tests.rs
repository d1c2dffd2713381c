use std::sync::atomic::Ordering;
use std::task::Poll;

use super::*;
use crate::testing::{
    Disk, Fault, TempDir, closing, command, eager, finish, interval, key, now, opening, poll, set_now, strict, subject,
};

fn done(appended: Appended) -> bool {
    matches!(appended, Appended::Done(_))
}

fn pending(
    appended: Appended,
) -> std::pin::Pin<Box<dyn Future<Output = Result<portcullis_verdict::Receipt, AuditError>> + Send>> {
    let Appended::Pending(receipt) = appended else { panic!("not pending") };
    receipt
}

fn failure(appended: Appended) -> String {
    let Appended::Failed(error) = appended else { panic!("not failed") };
    error.to_string()
}

/// The sequence numbers of a session's commands; fails on a gap in the log's own numbers when it is the only session.
fn sequences(store: &Store, session: &str) -> Vec<u64> {
    let events = store.session(session, 0, usize::MAX).unwrap();
    let sequence = |e: &StoredEvent| if let Event::Command(c) = &e.event { Some(c.sequence) } else { None };
    events.iter().filter_map(sequence).collect()
}

fn numbers(store: &Store, sessions: &[String]) -> Vec<u64> {
    let of = |s: &String| store.session(s, 0, usize::MAX).unwrap().into_iter().map(|e| e.number);
    let mut all: Vec<u64> = sessions.iter().flat_map(of).collect();
    all.sort_unstable();
    all
}

#[test]
fn many_appenders_leave_no_gap_and_keep_their_order() {
    let (store, stats) = Disk::default().store(interval());
    let names: Vec<String> = (0..8).map(|i| format!("session-{i}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                assert!(done(store.append(opening(name))));
                assert!((1..2000).all(|n| done(store.append(command(name, n)))));
            });
        }
    });
    assert_eq!(numbers(&store, &names), (1..=16_000).collect::<Vec<u64>>());
    for name in &names {
        assert_eq!(sequences(&store, name), (1..2000).collect::<Vec<u64>>());
    }
    assert_eq!(stats.audit_failures.load(Ordering::Relaxed), 0);
}

#[test]
fn a_session_is_read_in_pages_and_sessions_newest_first() {
    let (store, _) = Disk::default().store(interval());
    for name in ["one", "two", "three"] {
        assert!(done(store.append(opening(name))));
    }
    set_now(now() + 5);
    for event in [command("two", 1), command("one", 1), finish("two", 1), closing("two"), finish("two", 2)] {
        assert!(done(store.append(event)));
    }
    let page =
        |after, limit| store.session("two", after, limit).unwrap().iter().map(|e| e.number).collect::<Vec<u64>>();
    assert_eq!(page(0, 100), [2, 4, 6, 7, 8]);
    assert_eq!((page(0, 2), page(4, 2), page(7, 9), page(8, 9)), (vec![2, 4], vec![6, 7], vec![8], vec![]));
    assert_eq!((page(0, 0), page(u64::MAX, 9)), (vec![], vec![]));
    assert_eq!(store.session("nobody", 0, 9).unwrap(), []);
    let newest = store.sessions(None, 2).unwrap();
    let openings: Vec<_> = newest.iter().map(|s| s.opening.event.clone()).collect();
    assert_eq!(openings, [opening("three"), opening("two")]);
    assert_eq!(store.session("two", 2, 1).unwrap()[0].at_ms, newest[0].opening.at_ms + 5);
}

#[test]
fn a_list_of_sessions_says_what_became_of_each() {
    let (store, _) = Disk::default().store(interval());
    let mut refused = opening("refused");
    if let Event::Open(open) = &mut refused {
        open.refused = Some("no such target".into());
    }
    // The ending is not in the session's last block.
    let late = (0..200).map(|n| finish("left", n));
    for event in
        [opening("open"), opening("left"), refused, command("open", 1), closing("left")].into_iter().chain(late)
    {
        assert!(done(store.append(event)));
    }
    let ended: Vec<_> = store.sessions(None, 9).unwrap().into_iter().map(|session| session.ended).collect();
    assert_eq!(ended, [None, Some("client left".into()), None]);
}

#[test]
fn a_file_is_found_again_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new();
    let path = dir.file("state/deep/store.redb");
    for run in 0..3u64 {
        let store = Store::open(&path, interval(), key(), Arc::default()).unwrap();
        assert_eq!(store.session("s", 0, 9).unwrap().len() as u64, run);
        assert!(done(store.append(command("s", run))));
        store.close();
        assert!(failure(store.append(command("s", run))).contains("closed"));
        assert!(store.sessions(None, 1).is_err());
    }
    let store = Store::open(&path, interval(), key(), Arc::default()).unwrap();
    assert_eq!(sequences(&store, "s"), [0, 1, 2]);
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&dir.file("state"))), (0o600, 0o700, 0o700));
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    let store = Store::open(&path, interval(), key(), Arc::default()).unwrap();
    let Err(error) = Store::open(&path, interval(), key(), Arc::default()) else { panic!("opened twice") };
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("store.redb"), "{error}");
    assert!(done(store.append(command("s", 1))));
    assert_eq!(sequences(&store, "s"), [1]);
}

#[test]
fn sessions_that_a_crash_left_open_are_closed() {
    let disk = Disk::default();
    let (store, _) = disk.store(interval());
    let mut refused = opening("refused");
    if let Event::Open(open) = &mut refused {
        open.refused = Some("no such target".into());
    }
    for event in [opening("open"), opening("closed"), refused, command("open", 1), closing("closed")] {
        assert!(done(store.append(event)));
    }
    store.flush().unwrap();
    let crashed = disk.snapshot();
    for _ in 0..2 {
        let (store, _) = crashed.store(interval());
        let last = |s| store.session(s, 0, 9).unwrap().pop().unwrap().event;
        assert_eq!(last("open"), Event::Close { subject: subject("open"), reason: "the gateway stopped".into() });
        assert_eq!(last("closed"), closing("closed"));
        assert!(matches!(last("refused"), Event::Open(_)));
        let names = ["open", "closed", "refused"].map(String::from);
        // What the crash left unsigned is told in between.
        assert_eq!(numbers(&store, &names), [1, 2, 3, 4, 5, 7]);
    }
}

#[test]
fn a_strict_receipt_comes_after_the_commit() {
    let disk = Disk::default();
    let (store, _) = disk.store(strict());
    disk.shut();
    let mut receipt = pending(store.append(command("s", 1)));
    disk.await_sync();
    assert!(poll(&mut receipt).is_pending());
    let mut second = pending(store.append(command("s", 2)));
    assert!(poll(&mut second).is_pending());
    disk.release();
    store.flush().unwrap();
    assert!(matches!(poll(&mut receipt), Poll::Ready(Ok(_))) && matches!(poll(&mut second), Poll::Ready(Ok(_))));
    assert_eq!(sequences(&disk.snapshot().store(strict()).0, "s"), [1, 2]);
}

#[test]
fn a_full_queue_makes_the_appender_wait_for_room() {
    let disk = Disk::default();
    let (store, stats) = disk.store(StoreOptions { queue: 2, ..eager() });
    disk.shut();
    assert!(done(store.append(command("s", 1))));
    disk.await_sync();
    assert!(done(store.append(command("s", 2))) && done(store.append(command("s", 3))));
    let mut fourth = pending(store.append(command("s", 4)));
    assert!(poll_in_runtime(&mut fourth).is_pending());
    disk.release();
    store.flush().unwrap();
    assert!(matches!(poll_in_runtime(&mut fourth), Poll::Ready(Ok(_))));
    assert_eq!(sequences(&store, "s"), [1, 2, 3, 4]);
    assert_eq!(stats.audit_failures.load(Ordering::Relaxed), 0);
}

fn poll_in_runtime<T>(future: &mut std::pin::Pin<Box<dyn Future<Output = T> + Send>>) -> Poll<T> {
    use std::sync::LazyLock;
    // One for all: a timer belongs to the runtime that it was first polled in.
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());
    let _entered = RUNTIME.enter();
    poll(future)
}

#[tokio::test(start_paused = true)]
async fn waiting_for_room_ends_with_a_refusal() {
    let disk = Disk::default();
    let (store, stats) = disk.store(StoreOptions { queue: 1, ..eager() });
    disk.shut();
    assert!(done(store.append(command("s", 1))));
    disk.await_sync();
    assert!(done(store.append(command("s", 2))));
    let error = pending(store.append(command("s", 3))).await.unwrap_err().to_string();
    assert!(error.contains("no room for 5 s"), "{error}");
    assert_eq!(stats.audit_failures.load(Ordering::Relaxed), 1);
    disk.release();
    assert_eq!(sequences(&store, "s"), [1, 2]);
}

#[test]
fn texts_that_wait_are_bounded_in_bytes() {
    let disk = Disk::default();
    let (store, _) = disk.store(eager());
    disk.shut();
    assert!(done(store.append(command("s", 1))));
    disk.await_sync();
    let text: Arc<str> = "x".repeat(2 << 20).into();
    let huge = |sequence| {
        let Event::Command(mut c) = command("s", sequence) else { panic!() };
        c.text = text.clone();
        Event::Command(c)
    };
    assert!(done(store.append(huge(2))));
    assert!(poll_in_runtime(&mut pending(store.append(huge(3)))).is_pending());
    disk.release();
    assert_eq!(sequences(&store, "s"), [1, 2]);
}

#[test]
fn a_failed_commit_refuses_everything_until_it_succeeds() {
    for options in [eager(), strict()] {
        let disk = Disk::default();
        let (store, stats) = disk.store(options);
        disk.fail(Fault::Always, 0);
        let first = store.append(command("s", 1));
        let error = store.flush().unwrap_err().to_string();
        assert!(error.contains("the disk is full"), "{error}");
        if options.durability == Durability::Strict {
            let Poll::Ready(Err(error)) = poll(&mut pending(first)) else { panic!("a receipt without a commit") };
            assert!(error.to_string().contains("the disk is full"), "{error}");
        } else {
            assert!(done(first));
        }
        let error = failure(store.append(command("s", 2)));
        assert!(error.contains("cannot be written"), "{error}");
        assert!(stats.audit_failures.load(Ordering::Relaxed) >= 2);
        disk.heal();
        while let Appended::Failed(_) = store.append(command("s", 3)) {
            std::thread::yield_now();
        }
        assert_eq!(sequences(&store, "s"), [1, 3]);
        // Between them, or behind them, stands how many events were refused.
        let told = |e: &StoredEvent| matches!(&e.event, Event::System(e) if e.what == "lost" && e.detail.contains("did not happen"));
        assert!(store.search(&Default::default(), None, 9).unwrap().events.iter().any(told));
    }
}

/// Fails one change after the other, also so that the commit has happened all the same.
#[test]
fn nothing_is_lost_or_doubled_wherever_a_commit_fails() {
    for fault in [Fault::Once, Fault::Lied] {
        let mut fuse = 0;
        loop {
            let disk = Disk::default();
            let (store, _) = disk.store(eager());
            assert!(done(store.append(opening("s"))) && done(store.append(command("s", 1))));
            store.flush().unwrap();
            disk.fail(fault, fuse);
            assert!(done(store.append(command("s", 2))));
            let failed = store.flush().is_err();
            let unused = !disk.heal();
            while failed && store.flush().is_err() {
                std::thread::yield_now();
            }
            while let Appended::Failed(_) = store.append(command("s", 3)) {
                std::thread::yield_now();
            }
            assert_eq!(sequences(&store, "s"), [1, 2, 3], "{fault:?} after {fuse}");
            assert_eq!(numbers(&store, &["s".into()]), [1, 2, 3, 4], "{fault:?} after {fuse}");
            store.close();
            assert_eq!(sequences(&disk.store(eager()).0, "s"), [1, 2, 3], "{fault:?} after {fuse}");
            if unused {
                break;
            }
            assert!(failed, "{fault:?} after {fuse} went unnoticed");
            fuse += 1;
        }
        assert!(fuse >= 3, "a commit of {fuse} changes is none");
    }
}

#[test]
fn a_writer_that_panics_fails_the_sink_for_good() {
    let disk = Disk::default();
    let (store, stats) = disk.store(strict());
    disk.fail(Fault::Panic, 0);
    let mut receipt = pending(store.append(command("s", 1)));
    assert!(store.flush().unwrap_err().to_string().contains("writer has stopped"));
    let Poll::Ready(Err(error)) = poll(&mut receipt) else { panic!("a receipt without a commit") };
    assert!(error.to_string().contains("writer has stopped"), "{error}");
    assert!(failure(store.append(command("s", 2))).contains("restart the gateway"));
    assert!(stats.audit_failures.load(Ordering::Relaxed) >= 2);
    store.close();
}

#[test]
fn closing_while_the_disk_fails_ends() {
    let disk = Disk::default();
    let (store, stats) = disk.store(eager());
    disk.fail(Fault::Always, 0);
    assert!(done(store.append(command("s", 1))));
    store.close();
    assert!(stats.audit_failures.load(Ordering::Relaxed) >= 2, "a lost event is counted");
    disk.heal();
    assert!(sequences(&disk.store(eager()).0, "s").is_empty());
}

/// With a full queue, what has happened is kept all the same; what nobody waited for is counted and told.
#[test]
fn nothing_is_lost_in_silence_when_the_queue_is_full() {
    let disk = Disk::default();
    let (store, stats) = disk.store(StoreOptions { queue: 1, ..eager() });
    disk.shut();
    assert!(done(store.append(command("s", 1))));
    disk.await_sync();
    assert!(done(store.append(command("s", 2))));
    let unwanted = pending(store.append(command("s", 3)));
    store.note(finish("s", 1));
    store.note(closing("s"));
    drop(unwanted);
    disk.release();
    let kinds: Vec<_> = store.session("s", 0, 9).unwrap().iter().map(|e| e.event.kind()).collect();
    assert_eq!(kinds, ["command", "command", "finish", "close"]);
    assert_eq!(stats.audit_failures.load(Ordering::Relaxed), 1);
    let told =
        |e: &StoredEvent| matches!(&e.event, Event::System(e) if e.what == "lost" && e.detail.starts_with("1 event"));
    assert!(store.search(&Default::default(), None, 9).unwrap().events.iter().any(told));
}

#[test]
fn the_writer_wakes_at_the_interval_and_not_for_each_event() {
    let syncs = |events: u64| {
        let disk = Disk::default();
        let hour = Durability::Interval(Duration::from_secs(3600));
        let (store, _) = disk.store(StoreOptions { durability: hour, ..interval() });
        let before = disk.syncs();
        assert!((0..events).all(|n| done(store.append(command("s", n)))));
        store.flush().unwrap();
        disk.syncs() - before
    };
    assert_eq!(syncs(100), syncs(1), "one commit for all");
}

#[test]
fn a_half_full_queue_does_not_wait_for_the_interval() {
    let disk = Disk::default();
    let hour = Durability::Interval(Duration::from_secs(3600));
    let (store, _) = disk.store(StoreOptions { durability: hour, queue: 4, ..interval() });
    disk.shut();
    assert!((0..3).all(|n| done(store.append(command("s", n)))));
    disk.await_sync();
    disk.release();
    assert_eq!(sequences(&store, "s"), [0, 1, 2]);
}

#[test]
fn pages_go_on_where_the_last_one_ended_across_blocks() {
    let (store, _) = Disk::default().store(interval());
    for n in 0..300 {
        assert!(done(store.append(command(["s", "t"][(n % 2) as usize], n))));
    }
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let page = store.session("s", after, 37).unwrap();
        assert!(page.len() <= 37);
        let Some(last) = page.last() else { break };
        after = last.number;
        found.extend(page.iter().map(|e| e.number));
    }
    assert_eq!(found, (0..150).map(|n| 2 * n + 1).collect::<Vec<u64>>());
}
