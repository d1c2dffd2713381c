//! The directory, its writer and its closer, from the sessions' side.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, SystemTime};

use portcullis_verdict::text::hex;
use portcullis_verdict::{
    Entry, Medium, RecordLevel, Recorder, Recorders, RecordingError, RecordingFiles, Room, TimedEntry,
};
use sha2::{Digest, Sha256};

use crate::directory::{MAX_WAITING, likely_days};
use crate::format::{Closing, ClosingReason};
use crate::testing::{Setup, session};
use crate::{Directory, OnLimit, ReadError, Reader};

fn record(directory: &Directory, id: &str) -> Box<dyn Recorder> {
    Recorders::open(directory, &session(id), RecordLevel::Results, Medium::Results).unwrap()
}

fn poll(recorder: &mut dyn Recorder) -> Poll<Result<Room, RecordingError>> {
    recorder.poll_room(&mut Context::from_waker(Waker::noop()))
}

/// Wakes the thread that waits.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until there is room, or none ever again.
fn room(recorder: &mut dyn Recorder) -> Result<Room, RecordingError> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match recorder.poll_room(&mut Context::from_waker(&waker)) {
            Poll::Ready(room) => return room,
            Poll::Pending => thread::park(),
        }
    }
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(len)
    .collect()
}

fn noisy(len: usize, seed: u64) -> Entry<'static> {
    Entry::Data { channel: "body".into(), data: Cow::Owned(noise(len, seed)) }
}

fn command(sequence: u64) -> Entry<'static> {
    Entry::Command { sequence, text: "SELECT 1".into() }
}

fn read(path: &Path) -> (Vec<TimedEntry>, Result<Option<Closing>, ReadError>) {
    let mut reader = Reader::new(File::open(path).unwrap()).unwrap();
    let mut entries = Vec::new();
    for next in reader.by_ref() {
        match next {
            Ok(entry) => entries.push(entry),
            Err(error) => return (entries, Err(error)),
        }
    }
    (entries, Ok(reader.closing()))
}

fn sha256(path: &Path) -> String {
    hex(&Sha256::digest(fs::read(path).unwrap()))
}

#[test]
fn a_recording_begins_in_the_audit_and_ends_there_with_its_digest() {
    let setup = Setup::new();
    let directory = setup.open();
    let mut recorder = record(&directory, "s-1");
    recorder.record(command(1));
    recorder.record(noisy(200_000, 1));
    assert_eq!(room(&mut *recorder), Ok(Room::Free));
    drop(recorder);
    directory.close();

    let files = setup.root.files();
    assert!(files[0].ends_with("s-1.rec.zst") && files.len() == 1, "{files:?}");
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(files[0].parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let (entries, closing) = read(&files[0]);
    assert_eq!(entries.iter().map(|timed| timed.entry.clone()).collect::<Vec<_>>(), [command(1), noisy(200_000, 1)]);
    assert_eq!(closing.unwrap(), Some(Closing { entries: 2, reason: ClosingReason::Session }));

    let events = setup.audit.events();
    assert_eq!(setup.audit.states(), ["started", "ended"]);
    let ended = &events[1];
    assert_eq!(setup.root.0.join(&ended.file), files[0]);
    assert_eq!(ended.bytes, fs::metadata(&files[0]).unwrap().len());
    assert_eq!((ended.sha256.as_str(), ended.entries, ended.detail.as_str()), (&*sha256(&files[0]), 2, ""));
    assert_eq!((&*ended.subject.principal, &*ended.subject.target), ("ann", "shop"));
    assert_eq!(setup.stopped(), 0);
    // Others can read it as well: what comes out is the content.
    let mut content = Vec::new();
    zstd::stream::read::Decoder::new(File::open(&files[0]).unwrap()).unwrap().read_to_end(&mut content).unwrap();
    assert!(content.starts_with(b"PORTCREC\x01"));
}

#[test]
fn levels_leave_out_what_they_do_not_ask_for() {
    let setup = Setup::new();
    let directory = setup.open();
    let open = |id: &str, level| Recorders::open(&*directory, &session(id), level, Medium::Results).unwrap();
    for (id, level) in [("a", RecordLevel::None), ("b", RecordLevel::Commands), ("c", RecordLevel::Results)] {
        let mut recorder = open(id, level);
        recorder.record(command(1));
        recorder.record(noisy(10, 1));
    }
    directory.close();
    let counts: Vec<_> = setup.root.files().iter().map(|file| read(file).0.len()).collect();
    assert_eq!(counts, [1, 2]);
}

#[test]
fn many_sessions_record_at_once() {
    let setup = Setup::new();
    let directory = setup.open();
    thread::scope(|scope| {
        for part in 0..4u64 {
            let directory = &directory;
            scope.spawn(move || {
                let mut recorders: Vec<_> =
                    (0..50).map(|i| (part * 50 + i, record(directory, &format!("s-{part}-{i}")))).collect();
                for round in 0..20 {
                    for (number, recorder) in &mut recorders {
                        recorder.record(noisy(5000, *number * 100 + round + 1));
                        assert_eq!(room(&mut **recorder), Ok(Room::Free));
                    }
                }
            });
        }
    });
    directory.close();
    let files = setup.root.files();
    assert_eq!(files.len(), 200);
    let ended: Vec<_> = setup.audit.events().into_iter().filter(|event| event.state == "ended").collect();
    assert_eq!(ended.len(), 200);
    for event in ended {
        let path = setup.root.0.join(&event.file);
        assert_eq!(sha256(&path), event.sha256);
        let numbers: Vec<u64> = event.subject.session.split('-').skip(1).map(|part| part.parse().unwrap()).collect();
        let number = numbers[0] * 50 + numbers[1];
        let (entries, closing) = read(&path);
        assert!(closing.unwrap().is_some());
        let expected: Vec<_> = (0..20).map(|round| noisy(5000, number * 100 + round + 1)).collect();
        assert_eq!(entries.into_iter().map(|timed| timed.entry).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn at_the_limit_the_session_ends() {
    let mut setup = Setup::new();
    setup.options.max_bytes = 300_000;
    let directory = setup.open();
    let mut recorder = record(&directory, "s");
    let error = (1..).find_map(|i| {
        recorder.record(noisy(50_000, i));
        room(&mut *recorder).err()
    });
    let error = error.unwrap().to_string();
    let why = "the recording of this session has reached its limit of 300000 bytes (`recordings.max_mib`)";
    assert_eq!(error, why);
    assert!(room(&mut *recorder).is_err(), "and it stays so");
    drop(recorder);
    directory.close();

    assert_eq!(setup.audit.states(), ["started", "stopped"]);
    let event = &setup.audit.events()[1];
    assert_eq!(event.detail, why);
    let path = setup.root.0.join(&event.file);
    assert_eq!((event.sha256.clone(), event.bytes), (sha256(&path), fs::metadata(&path).unwrap().len()));
    assert!(event.bytes <= 300_000 && event.bytes > 100_000, "{}", event.bytes);
    let (entries, closing) = read(&path);
    assert_eq!(closing.unwrap(), Some(Closing { entries: event.entries, reason: ClosingReason::Limit }));
    assert_eq!(entries.len() as u64, event.entries);
    assert_eq!(setup.stopped(), 1);
}

#[test]
fn at_the_limit_the_session_may_go_on_and_is_told_once() {
    let mut setup = Setup::new();
    setup.options.max_bytes = 100_000;
    setup.options.on_limit = OnLimit::Stop;
    let directory = setup.open();
    let mut recorder = record(&directory, "s");
    let why = (1..).find_map(|i| {
        recorder.record(noisy(50_000, i));
        match room(&mut *recorder) {
            Ok(Room::Free) => None,
            stopped => Some(stopped),
        }
    });
    assert!(matches!(&why, Some(Ok(Room::Stopped(why))) if why.contains("limit of 100000 bytes")), "{why:?}");
    for i in 0..100 {
        recorder.record(noisy(50_000, i));
        assert_eq!(poll(&mut *recorder), Poll::Ready(Ok(Room::Free)));
    }
    drop(recorder);
    directory.close();
    assert_eq!(setup.audit.states(), ["started", "stopped"]);
    assert_eq!(setup.stopped(), 1);
}

#[test]
fn a_disk_that_is_full_ends_the_session_or_its_recording() {
    for on_failure in [OnLimit::End, OnLimit::Stop] {
        let mut setup = Setup::new();
        setup.options.on_failure = on_failure;
        let directory = setup.open_with(|part| {
            // The file itself stays empty.
            File::create_new(part)?;
            File::options().write(true).open("/dev/full")
        });
        let mut recorder = record(&directory, "s");
        let outcome = (1..).find_map(|i| {
            recorder.record(noisy(50_000, i));
            match room(&mut *recorder) {
                Ok(Room::Free) => None,
                outcome => Some(outcome),
            }
        });
        let told = match (on_failure, outcome.unwrap()) {
            (OnLimit::End, Err(RecordingError(why))) | (OnLimit::Stop, Ok(Room::Stopped(why))) => why,
            (_, outcome) => panic!("{outcome:?}"),
        };
        assert!(told.starts_with("the recording of this session cannot be written: No space left"), "{told}");
        drop(recorder);
        directory.close();
        assert_eq!(setup.audit.states(), ["started", "failed"]);
        let event = &setup.audit.events()[1];
        assert_eq!((event.bytes, event.entries, &event.detail), (0, 0, &told));
        assert_eq!(setup.stopped(), 1);
    }
}

#[test]
fn a_recording_that_cannot_begin_refuses_the_session_or_says_so() {
    let mut setup = Setup::new();
    for on_failure in [OnLimit::End, OnLimit::Stop] {
        setup.options.on_failure = on_failure;
        let directory = setup.open_with(|_| Err(std::io::Error::other("no more files")));
        let opened = Recorders::open(&*directory, &session("s"), RecordLevel::Results, Medium::Results);
        match (on_failure, opened) {
            (OnLimit::End, Err(error)) => assert!(error.to_string().contains("no more files"), "{error}"),
            (OnLimit::Stop, Ok(mut recorder)) => {
                recorder.record(command(1));
                assert!(matches!(poll(&mut *recorder), Poll::Ready(Ok(Room::Stopped(why))) if why.contains("no more")));
                assert_eq!(poll(&mut *recorder), Poll::Ready(Ok(Room::Free)));
            }
            _ => panic!("{on_failure:?} is not heeded"),
        }
    }
    assert_eq!(setup.audit.states(), ["failed", "failed"]);
    assert_eq!(setup.stopped(), 2);
}

#[test]
fn without_the_audit_no_recording_begins_and_none_is_deleted() {
    let setup = Setup::new();
    let directory = setup.open();
    drop(record(&directory, "old"));
    while setup.root.files().iter().any(|file| file.extension().unwrap() == "part") {
        thread::yield_now();
    }
    setup.audit.fails.store(true, Ordering::Relaxed);
    assert!(Recorders::open(&*directory, &session("s"), RecordLevel::Results, Medium::Results).is_err());
    assert!(directory.prune(Some(0), None).is_err());
    directory.close();
    let files = setup.root.files();
    assert!(files.len() == 1 && files[0].ends_with("old.rec.zst"), "{files:?}");
}

#[test]
fn identifiers_that_are_no_file_names_and_second_recordings_are_refused() {
    let setup = Setup::new();
    let directory = setup.open();
    let open = |id: &str| Recorders::open(&*directory, &session(id), RecordLevel::Results, Medium::Results);
    for id in ["", "../x", "a/b", "a.b", "ä", &"x".repeat(65)] {
        assert!(open(id).is_err(), "{id}");
        assert!(RecordingFiles::open(&*directory, id).unwrap().is_none());
    }
    let first = open("s").unwrap();
    assert!(open("s").is_err(), "while the first is under way");
    drop(first);
    directory.close();
    let directory = setup.open();
    assert!(Recorders::open(&*directory, &session("s"), RecordLevel::Results, Medium::Results).is_err());
}

#[test]
fn a_recording_is_found_by_the_time_in_its_identifier_and_by_a_look_at_every_day() {
    let setup = Setup::new();
    let directory = setup.open();
    // Of 2026-07-25 17:20:00.123 UTC.
    let session = "019f9a4a-7a7b-7000-8000-000000000000";
    assert_eq!(likely_days(session).collect::<Vec<_>>(), ["2026-07-25", "2026-07-26"]);
    for no_time in ["", "s", "ffffffff-ffff-7000"] {
        assert_eq!(likely_days(no_time).next(), None, "{no_time}");
    }
    for (day, id) in [("2026-07-25", session), ("2026-07-26", session), ("1999-01-01", session), ("2026-07-25", "s")] {
        let day = setup.root.0.join(day);
        assert!(RecordingFiles::open(&*directory, id).unwrap().is_none());
        fs::create_dir(&day).unwrap();
        fs::write(day.join(format!("{id}.rec.zst")), b"").unwrap();
        assert!(RecordingFiles::open(&*directory, id).unwrap().is_some(), "{id} in {}", day.display());
        fs::remove_dir_all(&day).unwrap();
    }
}

/// A directory whose recordings go into pipes, which nobody reads yet.
fn piped(setup: &Setup) -> (Arc<Directory>, mpsc::Receiver<std::io::PipeReader>) {
    let (sender, receiver) = mpsc::channel();
    let directory = setup.open_with(move |part| {
        File::create_new(part)?;
        let (reader, writer) = std::io::pipe()?;
        sender.send(reader).unwrap();
        Ok(File::from(OwnedFd::from(writer)))
    });
    (directory, receiver)
}

#[test]
fn a_session_waits_for_a_disk_that_is_slow_and_its_memory_is_bounded() {
    let setup = Setup::new();
    let (directory, pipes) = piped(&setup);
    let mut recorder = record(&directory, "s");
    let mut pipe = pipes.recv().unwrap();
    let mut recorded = 0;
    // Nobody reads the pipe yet.
    while poll(&mut *recorder) == Poll::Ready(Ok(Room::Free)) {
        recorder.record(noisy(10_000, recorded + 1));
        recorded += 1;
        // What the pipe itself takes comes on top of 1 MiB.
        assert!(recorded * 10_000 < 4 << 20, "{recorded}");
    }
    let reader = thread::spawn(move || {
        let mut content = Vec::new();
        pipe.read_to_end(&mut content).unwrap();
        content
    });
    assert_eq!(room(&mut *recorder), Ok(Room::Free));
    drop(recorder);
    directory.close();
    let content = reader.join().unwrap();
    let entries = Reader::new(&content[..]).unwrap().map(Result::unwrap).count();
    assert_eq!(entries as u64, recorded);
}

#[test]
fn what_is_under_way_can_be_read_and_a_quiet_session_is_written_after_a_while() {
    let setup = Setup::new();
    let directory = setup.open();
    let mut recorder = record(&directory, "s");
    recorder.record(command(1));
    // The writer flushes by itself.
    let found = std::iter::repeat_with(|| RecordingFiles::open(&*directory, "s").unwrap().unwrap()).find_map(|file| {
        thread::yield_now();
        let reader = Reader::new(file).ok()?;
        let (entries, errors): (Vec<_>, Vec<_>) = reader.partition(Result::is_ok);
        (entries.len() == 1).then_some(errors)
    });
    assert!(matches!(&found.unwrap()[..], [Err(ReadError::Cut { entries: 1, .. })]));
    drop(recorder);
    directory.close();
    assert!(RecordingFiles::open(&*directory, "s").unwrap().is_some());
    assert!(RecordingFiles::open(&*directory, "t").unwrap().is_none());
}

#[test]
fn what_a_crash_leaves_is_kept_and_told() {
    let setup = Setup::new();
    let directory = setup.open();
    let mut recorder = record(&directory, "whole");
    recorder.record(command(1));
    recorder.record(noisy(500_000, 1));
    drop(recorder);
    directory.close();
    let file = setup.root.files().remove(0);
    let whole = fs::read(&file).unwrap();

    // As it looks when the process dies at different times.
    let after = Setup::new();
    let day = after.root.0.join("2024-02-29");
    fs::create_dir(&day).unwrap();
    let cuts =
        [("cut", whole.len() / 2), ("empty", 0), ("head", 30), ("whole", whole.len()), ("wrong-name", whole.len())];
    for (id, cut) in cuts {
        fs::write(day.join(format!("{id}.rec.zst.part")), &whole[..cut]).unwrap();
    }
    fs::write(day.join("junk.rec.zst.part"), noise(200_000, 7)).unwrap();
    let directory = after.open();

    let mut events = after.audit.events();
    events.sort_by(|a, b| a.subject.session.cmp(&b.subject.session));
    let told: Vec<_> = events.iter().map(|event| (&*event.subject.session, &*event.state, event.entries)).collect();
    assert_eq!(
        told,
        [
            ("cut", "cut", 1),
            ("empty", "cut", 0),
            ("head", "cut", 0),
            ("junk", "cut", 0),
            ("whole", "ended", 2),
            ("wrong-name", "ended", 2)
        ]
    );
    for event in &events {
        let path = after.root.0.join(&event.file);
        assert_eq!((event.sha256.clone(), event.bytes), (sha256(&path), fs::metadata(&path).unwrap().len()));
    }
    assert!(events[0].detail.contains(&format!("cut off at byte {}", whole.len() / 2)), "{}", events[0].detail);
    assert!(events[1].detail.contains("nothing in it can be read"), "{}", events[1].detail);
    assert_eq!((&*events[4].subject.principal, &*events[5].subject.principal), ("ann", ""));
    // It is done once.
    directory.close();
    drop(directory);
    drop(after.open());
    assert_eq!(after.audit.events().len(), 6);
}

#[test]
fn a_recording_has_its_final_name_only_when_the_audit_would_know_it_after_a_crash() {
    let mut setup = Setup::new();
    setup.options.on_limit = OnLimit::Stop;
    setup.options.max_bytes = 100_000;
    let directory = setup.open();
    let [mut ended, mut stopped] = ["ended", "stopped"].map(|id| record(&directory, id));
    ended.record(command(1));
    stopped.record(noisy(200_000, 1));
    setup.audit.lags.store(true, Ordering::Relaxed);
    drop((ended, stopped));
    assert!(directory.prune(Some(0), None).is_ok_and(|pruned| pruned == 0), "nothing is whole");
    directory.close();
    let names = || setup.root.files().into_iter().map(|file| file.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(), ["ended.rec.zst.part", "stopped.rec.zst.part"]);

    // As after a crash that took what the audit had not on disk.
    let after = Setup { audit: Arc::default(), ..setup };
    let names = || after.root.files().into_iter().map(|file| file.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    let directory = after.open();
    assert_eq!(names(), ["ended.rec.zst", "stopped.rec.zst"]);
    let mut events = after.audit.events();
    events.sort_by(|a, b| a.subject.session.cmp(&b.subject.session));
    let told: Vec<_> = events.iter().map(|event| (&*event.subject.session, &*event.state)).collect();
    assert_eq!(told, [("ended", "ended"), ("stopped", "stopped")]);
    after.audit.lags.store(true, Ordering::Relaxed);
    assert!(directory.prune(Some(0), None).is_err());
    assert_eq!(names().len(), 2, "nothing goes before the audit has it");
    directory.close();
}

#[test]
fn a_live_recording_that_is_copied_in_the_middle_is_salvaged() {
    let setup = Setup::new();
    let directory = setup.open();
    let mut recorder = record(&directory, "s");
    let mut recorded = 0;
    // Until some of it is on disk.
    while setup.root.files().first().is_none_or(|file| fs::metadata(file).unwrap().len() < 200_000) {
        recorded += 1;
        recorder.record(noisy(10_000, recorded));
        assert_eq!(room(&mut *recorder), Ok(Room::Free));
    }
    let after = Setup::new();
    let part = setup.root.files().remove(0);
    let day = after.root.0.join(part.parent().unwrap().file_name().unwrap());
    fs::create_dir(&day).unwrap();
    fs::copy(&part, day.join(part.file_name().unwrap())).unwrap();

    let salvaged = after.open();
    let event = after.audit.events().remove(0);
    assert_eq!((&*event.state, &*event.subject.principal), ("cut", "ann"));
    assert!(event.entries > 10 && event.entries <= recorded, "{}", event.entries);
    let mut file = RecordingFiles::open(&*salvaged, "s").unwrap().unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(Reader::new(&content[..]).unwrap().filter(Result::is_ok).count() as u64, event.entries);
}

#[test]
fn recordings_that_wait_for_the_disk_to_take_their_end_are_bounded() {
    let setup = Setup::new();
    let directory = setup.open();
    let live: Vec<_> = (0..3).map(|i| record(&directory, &format!("live-{i}"))).collect();
    let open = || Recorders::open(&*directory, &session("s"), RecordLevel::Results, Medium::Results);
    // As if so many had ended.
    directory.desk.unfinished.fetch_add(MAX_WAITING, Ordering::Relaxed);
    let error = open().err().unwrap().to_string();
    assert!(error.contains("4096 recordings wait for the disk"), "{error}");
    directory.desk.unfinished.fetch_sub(1, Ordering::Relaxed);
    drop(open().unwrap());
    drop(live);
}

#[test]
fn a_directory_is_used_by_one_process_at_a_time() {
    let setup = Setup::new();
    let directory = setup.open();
    let again = Directory::open(&setup.root.0, setup.options.clone(), setup.audit.clone(), setup.stats.clone());
    assert!(again.err().unwrap().to_string().contains("in use by another process"));
    drop(directory);
    setup.open();
}

#[test]
fn when_the_gateway_stops_open_recordings_are_closed_and_their_sessions_end() {
    let setup = Setup::new();
    let directory = setup.open();
    let mut recorder = record(&directory, "s");
    recorder.record(command(1));
    directory.close();
    assert!(room(&mut *recorder).is_err());
    recorder.record(command(2));
    drop(recorder);
    assert!(Recorders::open(&*directory, &session("t"), RecordLevel::Results, Medium::Results).is_err());
    let event = setup.audit.events().into_iter().find(|event| event.state == "ended").unwrap();
    assert!(event.detail.contains("the gateway stopped"), "{}", event.detail);
    let (entries, closing) = read(&setup.root.0.join(event.file));
    assert_eq!(entries.len(), 1);
    assert_eq!(closing.unwrap().unwrap().reason, ClosingReason::Shutdown);
}

#[test]
fn an_entry_that_no_record_can_hold_ends_the_recording_after_what_came_before() {
    let setup = Setup::new();
    let (directory, pipes) = piped(&setup);
    let mut recorder = record(&directory, "s");
    let mut pipe = pipes.recv().unwrap();
    let mut recorded = 0;
    // The writer is held up, so that the entry behind comes before it can act.
    while poll(&mut *recorder) == Poll::Ready(Ok(Room::Free)) {
        recorded += 1;
        recorder.record(noisy(10_000, recorded));
    }
    recorder.record(Entry::Command { sequence: 2, text: "x".repeat(crate::format::MAX_RECORD).into() });
    recorder.record(command(3));
    let reader = thread::spawn(move || {
        let mut content = Vec::new();
        pipe.read_to_end(&mut content).unwrap();
        content
    });
    let error = room(&mut *recorder).unwrap_err().to_string();
    assert!(error.contains("is longer than a recording can hold"), "{error}");
    drop(recorder);
    directory.close();
    assert_eq!(setup.audit.states(), ["started", "failed"]);
    let content = reader.join().unwrap();
    let mut reader = Reader::new(&content[..]).unwrap();
    let error = reader.by_ref().find_map(Result::err);
    assert!(matches!(error, Some(ReadError::Cut { entries, .. }) if entries == recorded), "{error:?} {recorded}");
}

#[test]
fn the_oldest_are_pruned_and_never_one_under_way() {
    let setup = Setup::new();
    let directory = setup.open();
    for (id, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        record(&directory, id).record(noisy(10_000, seed));
    }
    let live = record(&directory, "live");
    let finished = || setup.root.files().iter().filter(|file| file.extension().unwrap() == "zst").count();
    while finished() < 3 {
        thread::yield_now();
    }
    let day = Duration::from_secs(86_400);
    let now = SystemTime::now();
    for (file, age) in setup.root.files().iter().zip([3, 2, 1]) {
        File::options().write(true).open(file).unwrap().set_modified(now - day * age).unwrap();
    }
    let ms = |days: u64| Some(days * 86_400_000);
    assert_eq!(directory.prune(ms(4), None).unwrap(), 0);
    assert_eq!(directory.prune(None, Some(1 << 20)).unwrap(), 0);
    assert_eq!(directory.prune(ms(2), Some(1 << 20)).unwrap(), 2, "a is older, and b by a moment");
    assert_eq!(directory.prune(None, Some(5000)).unwrap(), 1);
    assert_eq!(directory.prune(Some(0), Some(0)).unwrap(), 0);
    let pruned: Vec<_> = setup.audit.events().into_iter().filter(|event| event.state == "pruned").collect();
    let told: Vec<_> = pruned.iter().map(|e| (&*e.subject.session, &*e.subject.principal, e.bytes > 5000)).collect();
    assert_eq!(told, [("a", "ann", true), ("b", "ann", true), ("c", "ann", true)]);
    assert!(pruned[0].detail.contains("time") && pruned[2].detail.contains("large"));
    drop(live);
    directory.close();
    assert_eq!(setup.root.files().len(), 1);
}

/// Takes events only when someone waits for it.
struct Slow(Arc<AtomicUsize>);

impl portcullis_verdict::AuditSink for Slow {
    fn append(&self, _: portcullis_verdict::Event) -> portcullis_verdict::Appended {
        let taken = self.0.clone();
        portcullis_verdict::Appended::Pending(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            taken.fetch_add(1, Ordering::Relaxed);
            Ok(portcullis_verdict::Receipt::accepted())
        }))
    }
}

/// What an audit does with an event when someone waits for it: it looks whether the file is there, and takes the event or fails.
struct Late {
    file: PathBuf,
    seen: AtomicBool,
    fails: AtomicBool,
}

struct Reluctant(Arc<Late>);

impl portcullis_verdict::AuditSink for Reluctant {
    fn append(&self, _: portcullis_verdict::Event) -> portcullis_verdict::Appended {
        let late = self.0.clone();
        portcullis_verdict::Appended::Pending(Box::pin(async move {
            tokio::task::yield_now().await;
            late.seen.store(late.file.exists(), Ordering::Relaxed);
            if late.fails.load(Ordering::Relaxed) {
                return Err(portcullis_verdict::AuditError::Write("no disk".into()));
            }
            Ok(portcullis_verdict::Receipt::accepted())
        }))
    }
}

#[test]
fn what_is_pruned_is_deleted_when_the_audit_has_it_and_kept_where_the_audit_fails() {
    let setup = Setup::new();
    let day = setup.root.0.join("2026-01-15");
    let file = day.join("s.rec.zst");
    fs::create_dir(&day).unwrap();
    fs::write(&file, b"x").unwrap();
    let late = Late { file: file.clone(), seen: AtomicBool::new(false), fails: AtomicBool::new(true) };
    let late = Arc::new(late);
    let audit = Arc::new(Reluctant(late.clone()));
    let directory = Directory::open(&setup.root.0, setup.options.clone(), audit, setup.stats.clone()).unwrap();
    let error = directory.prune(None, Some(0)).unwrap_err().to_string();
    assert!(error.contains("no disk") && file.exists(), "{error}");
    late.fails.store(false, Ordering::Relaxed);
    late.seen.store(false, Ordering::Relaxed);
    assert_eq!(directory.prune(None, Some(0)).unwrap(), 1);
    assert!(late.seen.load(Ordering::Relaxed) && !day.exists());
}

#[test]
fn the_closer_waits_for_an_audit_that_takes_its_time() {
    let setup = Setup::new();
    let taken = Arc::new(AtomicUsize::new(0));
    let audit = Arc::new(Slow(taken.clone()));
    let directory = Directory::open(&setup.root.0, setup.options.clone(), audit, setup.stats.clone()).unwrap();
    drop(record(&directory, "s"));
    directory.close();
    assert_eq!(taken.load(Ordering::Relaxed), 2);
}

#[test]
fn what_a_crash_leaves_is_told_to_an_audit_that_takes_its_time_whoever_opens_the_directory() {
    let setup = Setup::new();
    let day = setup.root.0.join("2026-01-15");
    fs::create_dir(&day).unwrap();
    fs::write(day.join("s.rec.zst.part"), b"").unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let audit = Arc::new(Slow(taken.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let opened = async { Directory::open(&setup.root.0, setup.options.clone(), audit, setup.stats.clone()) };
    let directory = runtime.block_on(opened).unwrap();
    assert_eq!(taken.load(Ordering::Relaxed), 1);
    assert_eq!(setup.root.files(), [day.join("s.rec.zst")]);
    directory.close();
}
