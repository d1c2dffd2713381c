//! What is kept is kept: search, export, retention, migration, and the loss of power.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use portcullis_verdict::{Filter, SystemEvent};
use redb::StorageBackend;

use super::*;
use crate::file::open_backend;
use crate::testing::{Disk, TempDir, closing, command, eager, finish, interval, key, now, opening, set_now, strict};
use crate::verify::{Problem, Report, Verifier};

fn append(store: &Store, event: Event) {
    assert!(matches!(store.append(event), Appended::Done(_)));
}

fn verify(store: &Store) -> Report {
    let mut verifier = Verifier::new(&[key().public_hex()]);
    verifier.checkpoint(&store.head().unwrap().origin);
    let checkpoints = store.checkpoints(0, usize::MAX).unwrap();
    checkpoints.iter().for_each(|checkpoint| verifier.checkpoint(checkpoint));
    let mut after = store.head().unwrap().base;
    loop {
        let page = store.export(after, 1000).unwrap();
        let Some(last) = page.last() else { break };
        after = last.stored.number;
        page.iter().for_each(|event| verifier.event(event));
    }
    verifier.finish()
}

#[test]
fn a_search_finds_by_everything_that_it_may_ask_for() {
    let (store, _) = Disk::default().store(interval());
    let begin = now();
    for n in 0..400 {
        set_now(begin + n);
        let Event::Command(mut c) = command(["s", "t"][(n % 2) as usize], n) else { panic!() };
        c.text = format!("select {n} from Orders").into();
        if n % 100 == 7 {
            c.outcome = "deny".into();
            c.message = Some("Not In Working Hours".into());
            c.answers = vec![portcullis_verdict::AnswerRecord {
                policy: "hours".into(),
                digest: "d".into(),
                mode: portcullis_verdict::Mode::Enforce,
                verdict: "deny".into(),
                message: String::new(),
                findings: vec![],
            }];
        }
        append(&store, Event::Command(c));
    }
    let numbers = |filter: Filter| -> Vec<u64> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = store.search(&filter, before, 7).unwrap();
            assert!(page.events.len() <= 7);
            found.extend(page.events.iter().map(|e| e.number));
            before = page.next;
            if before.is_none() {
                return found;
            }
        }
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(numbers(Filter { verdict: some("deny"), ..Filter::default() }), [308, 208, 108, 8]);
    assert_eq!(numbers(Filter { policy: some("hours"), ..Filter::default() }), [308, 208, 108, 8]);
    assert_eq!(numbers(Filter { text: some("working HOURS"), ..Filter::default() }), [308, 208, 108, 8]);
    assert_eq!(numbers(Filter { text: some("select 77 from orders"), ..Filter::default() }), [78]);
    let time = Filter { from_ms: Some(begin + 100), to_ms: Some(begin + 103), ..Filter::default() };
    assert_eq!(numbers(time), [103, 102, 101]);
    assert_eq!(numbers(Filter { session: some("t"), ..Filter::default() }).len(), 200);
    assert_eq!(numbers(Filter { principal: some("ann"), ..Filter::default() }), (1..=400).rev().collect::<Vec<_>>());
    assert_eq!(numbers(Filter { principal: some("bob"), ..Filter::default() }), Vec::<u64>::new());
    assert_eq!(
        numbers(Filter { target: some("orders"), kind: some("finish"), ..Filter::default() }),
        Vec::<u64>::new()
    );
    set_now(begin);
}

/// Old events go in whole stretches, and what is left still verifies, also after a restart.
#[test]
fn what_is_too_old_goes_and_the_rest_verifies() {
    let disk = Disk::default();
    let retention = Retention { max_age: Some(Duration::from_secs(100)), max_bytes: None };
    let options = StoreOptions { checkpoint: Duration::ZERO, retention, ..eager() };
    // The writer's clock stands at the time that this thread's clock has now.
    let today = now();
    set_now(today - 200_000);
    {
        let (store, _) = disk.store(StoreOptions { retention: Retention::default(), ..options });
        append(&store, opening("long"));
        for n in 0..2000 {
            append(&store, opening(&format!("s{n}")));
            append(&store, closing(&format!("s{n}")));
            if n % 100 == 0 {
                store.flush().unwrap();
            }
        }
        store.close();
    }
    set_now(today);
    let (store, _) = disk.store(options);
    append(&store, command("long", 1));
    while store.head().unwrap().base < 4000 {
        append(&store, command("late", 1));
        store.flush().unwrap();
    }
    let report = verify(&store);
    assert_eq!(report.problems, []);
    assert_eq!(report.first, store.head().unwrap().base + 1);
    assert_eq!(store.session("s7", 0, 9).unwrap(), []);
    let pruned = Filter { kind: Some("system".into()), text: Some("pruned".into()), ..Filter::default() };
    let told = loop {
        // It is told once, at the end of all.
        let told = store.search(&pruned, None, 1000).unwrap().events;
        match told.as_slice() {
            [] => append(&store, command("late", 1)),
            _ => break told,
        }
        store.flush().unwrap();
    };
    assert_eq!(told.len(), 1);
    let Event::System(SystemEvent { detail, .. }) = &told[0].event else { panic!() };
    assert!(detail.starts_with("events 1 to "), "{detail}");
    assert!(store.sessions(None, 9).unwrap().is_empty(), "their openings are gone");
    store.close();
    let (store, _) = disk.store(eager());
    assert_eq!(verify(&store).problems, []);
}

#[test]
fn what_is_too_much_goes() {
    let disk = Disk::default();
    let retention = Retention { max_age: None, max_bytes: Some(20_000) };
    let text = |n: u64| {
        let Event::Command(mut c) = command("s", n) else { panic!() };
        // Nothing that could be compressed.
        c.text = format!("{:?}", (0..20).map(|_| uuid::Uuid::new_v4()).collect::<Vec<_>>()).into();
        Event::Command(c)
    };
    let (store, _) = disk.store(StoreOptions { checkpoint: Duration::ZERO, ..eager() });
    (0..200).for_each(|n| {
        append(&store, text(n));
        store.flush().unwrap();
    });
    store.close();
    let (store, _) = disk.store(StoreOptions { checkpoint: Duration::ZERO, retention, ..eager() });
    while store.head().unwrap().base < 100 {
        append(&store, command("s", 1));
        store.flush().unwrap();
    }
    assert_eq!(verify(&store).problems, []);
}

/// A file that the first version wrote, with open and ended sessions, denied commands, and approvals in every state.
#[test]
fn a_file_of_format_1_is_brought_up_to_date() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    let packed = include_bytes!("../../tests/data/v1.redb.zst");
    std::fs::write(&path, zstd::stream::decode_all(&packed[..]).unwrap()).unwrap();
    let store = Store::open(&path, interval(), key(), Arc::default()).unwrap();
    let report = verify(&store);
    assert_eq!(report.problems, []);
    assert!(report.last > 5, "{report:?}");
    let all = store.search(&Filter::default(), None, 1000).unwrap().events;
    let kinds: Vec<&str> = all.iter().map(|e| e.event.kind()).collect();
    for kind in ["open", "command", "finish", "close", "approval", "system"] {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }
    assert!(all.iter().filter_map(|e| e.event.subject()).all(|s| !s.principal.is_empty()), "{all:?}");
    assert!(!store.list(true, None, 100).unwrap().is_empty());
    assert!(!store.sessions(None, 100).unwrap().is_empty());
    let head = store.head().unwrap();
    append(&store, command("new", 1));
    store.close();
    let store = Store::open(&path, interval(), key(), Arc::default()).unwrap();
    assert_eq!((store.head().unwrap().log, verify(&store).problems), (head.log, vec![]));
}

/// Storage of which only what was synced outlives the loss of power. Writes that were not may be there or not, each by itself and in part.
#[derive(Clone, Debug, Default)]
struct Volatile(Arc<Mutex<Platters>>);

#[derive(Debug, Default)]
struct Platters {
    /// What was synced.
    durable: Vec<u8>,
    /// What is read: with everything that was written.
    current: Vec<u8>,
    /// Changes since the last sync: where, and what. A change of the length has no bytes.
    unsynced: Vec<(u64, Option<Vec<u8>>)>,
    /// Changes until the power goes; none for ever.
    fuse: Option<u64>,
    changes: u64,
}

impl Volatile {
    fn change(&self, offset: u64, data: Option<&[u8]>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.changes += 1;
        match &mut state.fuse {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(fuse) => *fuse -= 1,
            None => {}
        }
        apply(&mut state.current, offset, data);
        state.unsynced.push((offset, data.map(<[u8]>::to_vec)));
        Ok(())
    }

    /// What is found when the power is back: with some of what was not synced.
    fn after_power_loss(&self, mut random: impl FnMut() -> u64) -> Self {
        let state = self.0.lock().unwrap();
        let mut durable = state.durable.clone();
        for (offset, data) in &state.unsynced {
            match (data, random() % 3) {
                (_, 0) => {}
                // A sector is written as a whole or not at all; a write of several may be torn.
                (Some(data), 1) if data.len() > 512 => {
                    for (index, sector) in data.chunks(512).enumerate() {
                        if random().is_multiple_of(2) {
                            apply(&mut durable, offset + 512 * index as u64, Some(sector));
                        }
                    }
                }
                (data, _) => apply(&mut durable, *offset, data.as_deref()),
            }
        }
        // The length is the file system's: it is what a write or a change of it needs, at least.
        durable.resize(durable.len().max(state.durable.len()), 0);
        Self(Arc::new(Mutex::new(Platters { durable: durable.clone(), current: durable, ..Platters::default() })))
    }

    /// One with a store on it: a file gets its name when it is whole.
    fn made() -> Self {
        let disk = Self::default();
        disk.try_store(strict()).unwrap().close();
        disk
    }

    fn set_fuse(&self, fuse: Option<u64>) {
        self.0.lock().unwrap().fuse = fuse;
    }

    fn changes(&self) -> u64 {
        self.0.lock().unwrap().changes
    }

    fn try_store(&self, options: StoreOptions) -> Result<Arc<Store>, StoreError> {
        let disk = self.clone();
        let opener = Box::new(move |_| open_backend(Path::new("disk"), disk.clone()));
        // Long, so that a store without power ends when it is closed and not by trying.
        let surroundings = Surroundings { opener, clock: now, pause: Duration::from_millis(1) };
        Store::open_in(Path::new("disk"), options, key(), Arc::default(), surroundings)
    }
}

fn apply(bytes: &mut Vec<u8>, offset: u64, data: Option<&[u8]>) {
    let offset = offset as usize;
    match data {
        None => bytes.resize(offset, 0),
        Some(data) => {
            bytes.resize(bytes.len().max(offset + data.len()), 0);
            bytes[offset..offset + data.len()].copy_from_slice(data);
        }
    }
}

impl StorageBackend for Volatile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let bytes = state.current.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(len, None)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.changes += 1;
        match &mut state.fuse {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(fuse) => *fuse -= 1,
            None => {}
        }
        state.unsynced.clear();
        state.durable = state.current.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(offset, Some(data))
    }
}

/// A small generator (xorshift64*), so that a failure can be had again.
fn generator(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

/// Appends strictly until the power goes; which events were acknowledged.
fn append_until_dark(store: &Store, round: u64) -> Vec<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut acknowledged = Vec::new();
    for n in 0..12 {
        let sequence = round * 100 + n;
        let appended = store.append(if n == 0 { opening("s") } else { command("s", sequence) });
        let kept = match appended {
            Appended::Done(_) => true,
            Appended::Pending(receipt) => runtime.block_on(receipt).is_ok(),
            Appended::Failed(_) => false,
        };
        if !kept {
            break;
        }
        if n > 0 {
            acknowledged.push(sequence);
        }
    }
    acknowledged
}

/// The power goes a thousand times: at every change of a commit, in the repair after that, and again.
#[test]
fn no_acknowledged_event_is_lost_with_the_power() {
    let (mut crashes, mut in_repair, mut round) = (0u32, 0u32, 0u64);
    let mut disk = Volatile::made();
    let mut acknowledged: HashMap<u64, ()> = HashMap::new();
    let options = StoreOptions { checkpoint: Duration::ZERO, ..strict() };
    // How many changes it takes to open the file and to write all: the power goes at each of them in turn.
    let mut fuse = 0;
    while crashes < 1000 {
        round += 1;
        let mut random = generator(round);
        let before = disk.changes();
        disk.set_fuse(Some(fuse));
        match disk.try_store(options) {
            Ok(store) => {
                acknowledged.extend(append_until_dark(&store, round).into_iter().map(|n| (n, ())));
                store.close();
            }
            // It went while the file was opened, or repaired after the crash before.
            Err(error) => {
                in_repair += 1;
                assert!(error.to_string().contains("the power is gone"), "{error} in round {round}, after {fuse}");
            }
        }
        // All went through: begin at the first change again.
        fuse = if disk.changes() - before < fuse { 0 } else { fuse + 1 };
        crashes += 1;
        disk = disk.after_power_loss(&mut random);
        if crashes % 5 == 0 {
            let copy = disk.after_power_loss(|| 0);
            let store = copy.try_store(options).unwrap_or_else(|error| panic!("{error} in round {round}"));
            let report = verify(&store);
            let good: &[Problem] = if report.last == 0 { &[Problem::Nothing] } else { &[] };
            assert_eq!(report.problems, good, "in round {round}");
            let found = store.search(&Filter { kind: Some("command".into()), ..Filter::default() }, None, usize::MAX);
            let kept: std::collections::HashSet<u64> = found
                .unwrap()
                .events
                .iter()
                .filter_map(|e| if let Event::Command(c) = &e.event { Some(c.sequence) } else { None })
                .collect();
            for sequence in acknowledged.keys() {
                assert!(kept.contains(sequence), "event {sequence} was acknowledged, and is lost in round {round}");
            }
            store.close();
        }
        if round % 100 == 0 {
            // A file of its own again, so that the rounds stay short.
            disk = Volatile::made();
            acknowledged.clear();
        }
    }
    assert!(in_repair > 50, "only {in_repair} crashes while the file was opened");
}

#[test]
fn a_file_is_verified_without_a_gateway_and_without_a_change() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    let store = Store::open(&path, eager(), key(), Arc::default()).unwrap();
    (0..500).for_each(|n| append(&store, finish("s", n)));
    store.flush().unwrap();
    assert!(matches!(crate::verify_file(&path, &[], &[], |_| {}), Err(StoreError::InUse { .. })));
    let crashed = dir.file("crashed.redb");
    std::fs::copy(&path, &crashed).unwrap();
    store.close();
    for path in [&path, &crashed] {
        let before = std::fs::read(path).unwrap();
        let mut report = crate::verify_file(path, &[key().public_hex()], &[], |_| {}).unwrap();
        // A crash leaves an end that is not signed.
        report.problems.retain(|p| *path == dir.file("store.redb") || !matches!(p, Problem::Unsigned { .. }));
        assert_eq!((report.problems, report.last), (vec![], 500));
        assert_eq!(std::fs::read(path).unwrap(), before);
    }
    let later = key().checkpoint(&[0; 16], 900, 1, &[0; 32]);
    assert!(!crate::verify_file(&path, &[], &[later], |_| {}).unwrap().problems.is_empty());
    assert!(matches!(crate::verify_file(&dir.file("none"), &[], &[], |_| {}), Err(StoreError::Io { .. })));
}

/// One byte after the other: the answer is a refusal or a problem, or the byte is one that nothing depends on. The log's events are never
/// given otherwise than they were.
#[test]
fn a_file_edited_anywhere_never_tells_another_story() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    let store = Store::open(&path, eager(), key(), Arc::default()).unwrap();
    (0..100).for_each(|n| append(&store, command("s", n)));
    store.close();
    let mut story = Vec::new();
    crate::verify_file(&path, &[], &[], |event| story.push(event.clone())).unwrap();
    assert_eq!(story.len(), 100);
    let whole = std::fs::read(&path).unwrap();
    let edited = dir.file("edited.redb");
    let interesting: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut problems = 0;
    for at in interesting.iter().step_by(interesting.len() / 300 + 1) {
        let mut bytes = whole.clone();
        bytes[*at] ^= 0x20;
        std::fs::write(&edited, &bytes).unwrap();
        let mut told = Vec::new();
        let found = crate::verify_file(&edited, &[key().public_hex()], &[], |event| told.push(event.clone()));
        match found {
            Ok(report) if report.problems.is_empty() => assert_eq!(told, story, "the byte at {at}"),
            _ => problems += 1,
        }
    }
    // Most bytes of such a file are pages of earlier transactions.
    assert!(problems > 5, "only {problems}");
}

#[test]
fn commands_go_on_without_an_audit_where_the_configuration_says_so_and_that_is_told() {
    let disk = Disk::default();
    let (store, _) = disk.store(StoreOptions { on_failure: OnFailure::Continue, ..eager() });
    append(&store, command("s", 1));
    store.flush().unwrap();
    disk.fail(crate::testing::Fault::Always, 0);
    append(&store, command("s", 2));
    assert!(store.flush().is_err());
    (3..10).for_each(|n| append(&store, command("s", n)));
    disk.heal();
    let lost = Filter { kind: Some("system".into()), text: Some("lost".into()), ..Filter::default() };
    let told = loop {
        match store.search(&lost, None, 9) {
            Ok(found) if !found.events.is_empty() => break found.events,
            _ => std::thread::yield_now(),
        }
    };
    let Event::System(told) = &told[0].event else { panic!() };
    assert!(told.detail.starts_with("7 events") && told.detail.contains("went on"), "{}", told.detail);
    assert_eq!(verify(&store).problems, []);
}

/// Events that somebody put behind the end of an orderly run are told, though their chain holds.
#[test]
fn nothing_follows_the_end_of_an_orderly_run() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    let open = || Store::open(&path, eager(), key(), Arc::default()).unwrap();
    let tampered = |store: &Store| {
        let filter = Filter { text: Some("tampered".into()), ..Filter::default() };
        store.search(&filter, None, 9).unwrap().events.len()
    };
    let store = open();
    append(&store, command("s", 1));
    store.stop();
    store.close();
    let store = open();
    assert_eq!(tampered(&store), 0);
    append(&store, command("s", 2));
    store.stop();
    store.close();
    let db = redb::Database::create(&path).unwrap();
    let txn = crate::tables::begin(&db).unwrap();
    {
        let mut tables = crate::tables::Tables::open(&txn).unwrap();
        let origin = crate::file::identity(&tables.identity).unwrap().1;
        let at = crate::file::position(&tables.events, &tables.checkpoints, &origin).unwrap();
        let mut draft = crate::tables::Draft::new(at.hash);
        tables.put(&mut draft, at.last + 1, 1, &command("forged", 1)).unwrap();
        tables.seal(&mut draft, at.last + 1).unwrap();
    }
    txn.commit().unwrap();
    drop(db);
    assert_eq!(tampered(&open()), 1);
}

/// Pruning goes on over a change of the key.
#[test]
fn what_was_signed_with_another_key_goes_too() {
    let disk = Disk::default();
    let options = StoreOptions { checkpoint: Duration::ZERO, ..eager() };
    let retention = Retention { max_age: Some(Duration::from_secs(100)), max_bytes: None };
    let today = now();
    set_now(today - 200_000);
    let open = |key: SigningKey, options| {
        let disk = disk.clone();
        let opener = Box::new(move |_| open_backend(Path::new("disk"), disk.clone()));
        let surroundings = Surroundings { opener, clock: now, pause: Duration::from_millis(5) };
        Store::open_in(Path::new("disk"), options, key, Arc::default(), surroundings).unwrap()
    };
    let store = open(SigningKey::generate(), options);
    (0..200).for_each(|n| append(&store, command("s", n)));
    store.close();
    let store = open(key(), options);
    for n in 0..10 {
        append(&store, command("s", n));
        store.flush().unwrap();
    }
    store.close();
    set_now(today);
    let store = open(key(), StoreOptions { retention, ..options });
    append(&store, command("late", 1));
    while store.head().unwrap().base <= 200 {
        std::thread::yield_now();
    }
    assert_eq!(store.head().unwrap().origin.key, key().public_hex());
}

/// With another key the log goes on; it takes both to verify it.
#[test]
fn another_key_is_told_and_both_verify() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    let other = SigningKey::generate();
    let (first, second) = (key().public_hex(), other.public_hex());
    for key in [key(), other] {
        let store = Store::open(&path, eager(), key, Arc::default()).unwrap();
        (0..9).for_each(|n| append(&store, command("s", n)));
        store.close();
    }
    let mut told = Vec::new();
    let report = crate::verify_file(&path, &[first.clone(), second], &[], |event| told.push(event.clone())).unwrap();
    assert_eq!((report.problems, report.signed_to), (vec![], report.last));
    assert!(told.iter().any(|e| matches!(&e.event, Event::System(e) if e.what == "key-changed")));
    assert!(!crate::verify_file(&path, &[first], &[], |_| {}).unwrap().problems.is_empty());
}

/// What was changed while nobody looked is told by the next start, before anything is signed on top of it.
#[test]
fn a_start_tells_what_was_changed_since_the_last_checkpoint() {
    let dir = TempDir::new();
    let path = dir.file("store.redb");
    let never = StoreOptions { checkpoint: Duration::from_secs(3600), ..eager() };
    let open = |options| Store::open(&path, options, key(), Arc::default()).unwrap();
    let store = open(never);
    (0..10).for_each(|n| append(&store, command("s", n)));
    store.flush().unwrap();
    // A crash: nothing behind the beginning is signed.
    let crashed = dir.file("crashed.redb");
    std::fs::copy(&path, &crashed).unwrap();
    store.close();
    let tampered = |path: &Path, change: bool| {
        if change {
            let db = redb::Database::create(path).unwrap();
            let txn = crate::tables::begin(&db).unwrap();
            {
                let mut table = txn.open_table(crate::tables::EVENTS).unwrap();
                let (last, mut value) = redb::ReadableTable::last(&table)
                    .unwrap()
                    .map(|(last, value)| (last.value(), value.value().to_vec()))
                    .unwrap();
                // A bit of the hash in the block's head.
                value[20] ^= 1;
                table.insert(last, value.as_slice()).unwrap();
            }
            txn.commit().unwrap();
        }
        let store = Store::open(path, never, key(), Arc::default()).unwrap();
        let system = Filter { kind: Some("system".into()), ..Filter::default() };
        let told = store.search(&system, None, 9).unwrap().events;
        store.close();
        told.iter()
            .any(|e| matches!(&e.event, Event::System(e) if e.what == "tampered" && e.detail.contains("event 10")))
    };
    let untouched = dir.file("untouched.redb");
    std::fs::copy(&crashed, &untouched).unwrap();
    assert!(!tampered(&untouched, false));
    assert!(tampered(&crashed, true));
    // It is signed now, as it is, and an event says from where on.
    let store = Store::open(&untouched, never, key(), Arc::default()).unwrap();
    assert_eq!(verify(&store).signed_to, 11);
    let told =
        store.search(&Filter { text: Some("events 1 to 10 were not signed".into()), ..Filter::default() }, None, 9);
    assert_eq!(told.unwrap().events.len(), 1);
}

#[test]
fn cursors_are_kept() {
    let disk = Disk::default();
    let (store, _) = disk.store(eager());
    assert_eq!(store.cursor("siem").unwrap(), None);
    store.set_cursor("siem", 7).unwrap();
    store.set_cursor("other", 8).unwrap();
    store.flush().unwrap();
    assert_eq!(store.cursor("siem").unwrap(), Some(7));
    store.close();
    let (store, _) = disk.store(eager());
    assert_eq!((store.cursor("siem").unwrap(), store.cursor("other").unwrap()), (Some(7), Some(8)));
}

/// Whoever asks how far the log has come can show all of it.
#[test]
fn a_head_is_signed_to_its_end() {
    let (store, _) = Disk::default().store(StoreOptions { checkpoint: Duration::from_secs(3600), ..interval() });
    for n in 1..4 {
        append(&store, command("s", n));
        let head = store.head().unwrap();
        assert_eq!((head.last, head.checkpoint), (n, n));
    }
    assert_eq!(store.checkpoints(0, 9).unwrap().len(), 3);
}

#[tokio::test]
async fn whoever_follows_the_log_is_woken() {
    let (store, _) = Disk::default().store(StoreOptions { checkpoint: Duration::ZERO, ..eager() });
    let (mut grown, mut signed) = (store.grown(0), store.checkpointed(0));
    assert!(crate::testing::poll(&mut grown).is_pending() && crate::testing::poll(&mut signed).is_pending());
    append(&store, command("s", 1));
    grown.await;
    signed.await;
    let mut end = store.grown(1);
    assert!(crate::testing::poll(&mut end).is_pending());
    store.close();
    end.await;
}
