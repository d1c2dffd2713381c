//! What a scripted recorder and watchers get of bytes on their way to a client.

use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use portcullis_wire::pg::frame::{put, put_cstr};
use portcullis_wire::pg::message::Fault;

use super::*;

type Log = Arc<Mutex<Vec<Entry<'static>>>>;

/// Keeps what it is given.
#[derive(Default)]
struct Notebook {
    entries: Log,
    /// What it says when it is asked for room; it has room when this is used up.
    says: Vec<Poll<Result<Room, RecordingError>>>,
}

impl Recorder for Notebook {
    fn record(&mut self, entry: Entry<'_>) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry.into_owned());
    }

    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<Result<Room, RecordingError>> {
        self.says.pop().unwrap_or(Poll::Ready(Ok(Room::Free)))
    }
}

fn recorded(level: RecordLevel) -> (Transcript, Log) {
    let notebook = Notebook::default();
    let log = notebook.entries.clone();
    (Transcript::new(Some(Box::new(notebook)), level), log)
}

fn taken(log: &Log) -> Vec<Entry<'static>> {
    std::mem::take(&mut log.lock().unwrap())
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, tag, |b| b.extend_from_slice(body));
    out
}

fn described(name: &str, type_oid: u32) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, b'T', |b| {
        b.extend([0, 1]);
        put_cstr(b, name.as_bytes());
        b.extend([0; 6]);
        b.extend(type_oid.to_be_bytes());
        b.extend([0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    });
    out
}

const ONE: &[u8] = b"\0\x01\0\0\0\x011";

fn row() -> Vec<u8> {
    message(b'D', ONE)
}

fn complete(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

fn rows(count: u32) -> Entry<'static> {
    Entry::Rows { count, data: ONE.repeat(count as usize).into() }
}

fn column(name: &str, type_name: &str) -> Entry<'static> {
    Entry::Columns { columns: vec![RecordedColumn { name: name.into(), type_name: type_name.into(), binary: false }] }
}

fn command(sequence: u64, text: &'static str) -> Entry<'static> {
    Entry::Command { sequence, text: text.into() }
}

fn end(sequence: u64, tag: &'static str) -> Entry<'static> {
    Entry::End { sequence, tag: tag.into() }
}

fn fault(severity: &'static str, code: &'static str, text: &'static str) -> Entry<'static> {
    Entry::Message { severity: severity.into(), code: code.into(), text: text.into() }
}

#[test]
fn a_command_its_result_and_its_end_are_recorded_in_order() {
    let (mut transcript, log) = recorded(RecordLevel::Results);
    transcript.command(1, "select 1 as id");
    let out = [described("id", 23), row(), row(), complete("SELECT 2"), message(b'Z', b"I")].concat();
    transcript.see(&out[..40], false);
    transcript.see(&out, true);
    transcript.end(1, "SELECT 2");
    let expected = [command(1, "select 1 as id"), column("id", "int4"), rows(2), end(1, "SELECT 2")];
    // The rows may come in pieces.
    let entries = taken(&log).into_iter().fold(vec![], |mut all, entry| {
        match (all.last_mut(), entry) {
            (Some(Entry::Rows { count, data }), Entry::Rows { count: more, data: rest }) => {
                *count += more;
                data.to_mut().extend_from_slice(&rest);
            }
            (_, entry) => all.push(entry),
        }
        all
    });
    assert_eq!(entries, expected);
}

#[test]
fn what_was_seen_is_not_seen_again() {
    let (mut transcript, log) = recorded(RecordLevel::Results);
    let first = row();
    transcript.see(&first, true);
    transcript.see(&first, true);
    let both = [first, row()].concat();
    transcript.see(&both, true);
    assert_eq!(taken(&log), [rows(1), rows(1)]);
    transcript.rewind();
    transcript.see(&row(), true);
    assert_eq!(taken(&log), [rows(1)]);
}

#[test]
fn rows_stand_below_their_own_columns_whatever_was_described_before() {
    let (mut transcript, log) = recorded(RecordLevel::Results);
    transcript.see(&described("other", 25), true);
    transcript.rewind();
    let field = Field { name: "id".into(), table: 0, attribute: 0, type_oid: 99_999, type_modifier: -1, binary: true };
    transcript.columns(&[field].into());
    transcript.see(&row(), true);
    let columns = vec![RecordedColumn { name: "id".into(), type_name: String::new(), binary: true }];
    assert_eq!(taken(&log), [Entry::Columns { columns }, rows(1)]);
}

#[test]
fn an_empty_result_has_columns_and_a_mere_description_has_none() {
    let (mut transcript, log) = recorded(RecordLevel::Results);
    let ready = message(b'Z', b"I");
    let empty = [described("id", 23), complete("SELECT 0")].concat();
    transcript.see(&[described("id", 25), ready.clone(), complete("INSERT 0 1"), empty, ready].concat(), true);
    assert_eq!(taken(&log), [column("id", "int4")]);
}

#[test]
fn copied_data_is_recorded() {
    let (mut transcript, log) = recorded(RecordLevel::Results);
    transcript.see(&[message(b'H', b"\0\0\0"), message(b'd', b"a\n"), message(b'd', b"b\n")].concat(), true);
    assert_eq!(taken(&log), [Entry::Data { channel: "copy".into(), data: b"a\nb\n".as_slice().into() }]);
}

#[test]
fn the_level_of_commands_has_no_results() {
    let (mut transcript, log) = recorded(RecordLevel::Commands);
    assert!(!transcript.wants_results());
    let mut error = vec![];
    Fault::error("42601", "bad").with_detail("very").put(&mut error);
    transcript.command(1, "select");
    transcript.see(&[described("id", 23), row(), message(b'd', b"x"), error].concat(), true);
    transcript.end(1, "");
    assert_eq!(taken(&log), [command(1, "select"), fault("ERROR", "42601", "bad\nDETAIL: very"), end(1, "")]);
}

#[test]
fn a_recording_that_cannot_go_on_is_an_error_and_one_that_stops_is_told_once() {
    let mut cx = Context::from_waker(Waker::noop());
    let failed = RecordingError("the disk is full".into());
    let says = vec![Poll::Ready(Err(failed.clone())), Poll::Pending];
    let mut transcript =
        Transcript::new(Some(Box::new(Notebook { says, ..Notebook::default() })), RecordLevel::Results);
    assert!(transcript.poll_room(&mut cx).is_pending());
    assert_eq!(transcript.poll_room(&mut cx), Poll::Ready(Err(failed)));
    let (mut transcript, _log) = stopping();
    assert_eq!((transcript.poll_room(&mut cx), transcript.has_stopped()), (Poll::Ready(Ok(())), true));
    assert_eq!(transcript.take_stopped().as_deref(), Some("it is large enough"));
    assert_eq!((transcript.poll_room(&mut cx), transcript.has_stopped()), (Poll::Ready(Ok(())), false));
    assert_eq!(transcript.take_stopped(), None);
}

/// A recording that stops when it is asked for room, and would fail when it is asked again.
fn stopping() -> (Transcript, Log) {
    let says = vec![
        Poll::Ready(Err(RecordingError("asked again".into()))),
        Poll::Ready(Ok(Room::Stopped("it is large enough".into()))),
    ];
    let notebook = Notebook { says, ..Notebook::default() };
    let log = notebook.entries.clone();
    (Transcript::new(Some(Box::new(notebook)), RecordLevel::Results), log)
}

#[test]
fn nothing_is_seen_for_a_recording_that_has_stopped_and_been_told_so() {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut transcript, log) = stopping();
    assert!(transcript.poll_room(&mut cx).is_ready());
    assert!(transcript.is_on() && transcript.wants_results(), "the client is to be told");
    transcript.take_stopped();
    assert!(!transcript.wants_results());
    transcript.see(&row(), true);
    assert!(!transcript.is_on() && taken(&log).is_empty());
    // Somebody may watch all the same, whose results then need their columns.
    let watchers = broadcast::Sender::new(4);
    let mut entries = watchers.subscribe();
    transcript.watch(watchers);
    assert!(transcript.is_on() && transcript.wants_results());
    transcript.see(&row(), true);
    transcript.see(&[row(), row()].concat(), true);
    assert_eq!(received(&mut entries), [rows(1)]);
}

#[test]
fn columns_of_a_result_that_nobody_sees_any_more_stand_above_no_other() {
    let (mut transcript, entries) = watched(RecordLevel::Results);
    transcript.see(&[], true);
    transcript.columns(&[].into());
    drop(entries);
    transcript.command(1, "select");
    transcript.see(&[], true);
    let watchers = broadcast::Sender::new(4);
    let mut entries = watchers.subscribe();
    transcript.watch(watchers);
    transcript.see(&[], true);
    transcript.see(&complete("INSERT 0 1"), true);
    assert_eq!(received(&mut entries), []);
}

#[test]
fn bytes_that_cannot_be_read_end_a_recorded_session() {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut transcript, _log) = recorded(RecordLevel::Results);
    transcript.see(&message(b'T', b"\0\x05"), true);
    let Poll::Ready(Err(error)) = transcript.poll_room(&mut cx) else { panic!("it goes on") };
    assert!(error.0.contains("cannot be read"), "{error}");
}

/// Watchers of a session that is not recorded.
fn watched(level: RecordLevel) -> (Transcript, broadcast::Receiver<Arc<TimedEntry>>) {
    let mut transcript = Transcript::new(None, level);
    assert!(!transcript.is_on());
    let watchers = broadcast::Sender::new(4);
    let entries = watchers.subscribe();
    transcript.watch(watchers);
    assert!(transcript.is_on());
    (transcript, entries)
}

fn received(entries: &mut broadcast::Receiver<Arc<TimedEntry>>) -> Vec<Entry<'static>> {
    std::iter::from_fn(|| entries.try_recv().ok()).map(|timed| timed.entry.clone()).collect()
}

#[test]
fn a_watcher_who_comes_amid_a_message_sees_what_follows_it() {
    let (mut transcript, mut entries) = watched(RecordLevel::Results);
    let mut out = row();
    let second = row();
    out.extend_from_slice(&second[..6]);
    transcript.see(&out, false);
    out.extend_from_slice(&second[6..]);
    transcript.see(&out, true);
    assert_eq!(received(&mut entries), []);
    out.extend_from_slice(&row());
    transcript.see(&out, true);
    assert_eq!(received(&mut entries), [rows(1)]);
}

#[test]
fn watchers_of_an_unrecorded_target_see_commands_and_messages() {
    let (mut transcript, mut entries) = watched(RecordLevel::None);
    transcript.see(&[], true);
    let mut notice = vec![];
    Fault::notice("01000", "hm").put(&mut notice);
    transcript.command(3, "select 1");
    transcript.see(&[row(), notice].concat(), true);
    assert_eq!(received(&mut entries), [command(3, "select 1"), fault("NOTICE", "01000", "hm")]);
}

#[test]
fn it_rests_when_the_last_watcher_has_left_and_a_later_one_sees_on() {
    let (mut transcript, entries) = watched(RecordLevel::Results);
    transcript.see(&[], true);
    drop(entries);
    let out = [row(), row()].concat();
    transcript.see(&out, true);
    assert!(!transcript.is_on());
    let watchers = broadcast::Sender::new(4);
    let mut entries = watchers.subscribe();
    transcript.watch(watchers);
    let mut out = [out, row()].concat();
    transcript.see(&out, true);
    assert_eq!(received(&mut entries), [], "what was there when they came is not shown");
    out.extend(row());
    transcript.see(&out, true);
    assert_eq!(received(&mut entries), [rows(1)]);
}

#[test]
fn bytes_that_cannot_be_read_end_the_watching_and_not_the_session() {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut transcript, mut entries) = watched(RecordLevel::Results);
    transcript.see(&[], true);
    transcript.see(&message(b'T', b"\0\x05"), true);
    assert_eq!((transcript.poll_room(&mut cx), transcript.is_on()), (Poll::Ready(Ok(())), false));
    assert_eq!(entries.try_recv().unwrap_err(), broadcast::error::TryRecvError::Closed);
}

#[test]
fn what_is_too_large_to_watch_is_told_and_recorded_all_the_same() {
    let (mut transcript, log) = recorded(RecordLevel::Results);
    let watchers = broadcast::Sender::new(4);
    let mut entries = watchers.subscribe();
    transcript.watch(watchers);
    let body = [&b"\0\x01\0\x02\0\0"[..], &vec![7; 0x20000]].concat();
    transcript.see(&message(b'D', &body), true);
    assert_eq!(taken(&log), [Entry::Rows { count: 1, data: body.into() }]);
    let [Entry::Message { text, .. }] = &received(&mut entries)[..] else { panic!("no remark") };
    assert!(text.contains("rows of 131078 bytes cannot be watched"), "{text}");
}
