use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::fakes::Log;
use super::*;

const EVENTS: &str = "sink/siem/events";

/// A directory of its own for each test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("portcullis-deliver-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].as_u64().unwrap()).collect()
}

fn events(path: PathBuf) -> Sink {
    sink(Content::Events, Destination::File(path))
}

#[test]
fn lines_are_appended_for_the_gateways_user_alone() {
    let (dir, log) = (Dir::new(), Log::of(3));
    let deliveries = deliver(&log, events(dir.file()));
    log.await_cursor(EVENTS, 3);
    log.commands(2);
    log.await_cursor(EVENTS, 5);
    deliveries.stop();
    assert_eq!(numbers(&dir.file()), [1, 2, 3, 4, 5]);
    assert_eq!(fs::metadata(dir.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_file_that_is_renamed_or_removed_is_made_anew() {
    let (dir, log) = (Dir::new(), Log::of(1));
    let deliveries = deliver(&log, events(dir.file()));
    log.await_cursor(EVENTS, 1);
    let old = dir.0.join("audit.jsonl.1");
    fs::rename(dir.file(), &old).unwrap();
    log.commands(1);
    log.await_cursor(EVENTS, 2);
    assert_eq!((numbers(&old), numbers(&dir.file())), (vec![1], vec![2]));
    fs::remove_file(dir.file()).unwrap();
    log.commands(1);
    log.await_cursor(EVENTS, 3);
    assert_eq!(numbers(&dir.file()), [3]);
    deliveries.stop();
}

#[test]
fn a_file_that_was_emptied_in_place_goes_on() {
    let (dir, log) = (Dir::new(), Log::of(1));
    let deliveries = deliver(&log, events(dir.file()));
    log.await_cursor(EVENTS, 1);
    fs::File::options().write(true).truncate(true).open(dir.file()).unwrap();
    log.commands(1);
    log.await_cursor(EVENTS, 2);
    assert_eq!(numbers(&dir.file()), [2]);
    deliveries.stop();
}

#[test]
fn a_line_that_a_crash_tore_is_ended_and_comes_again_whole() {
    let (dir, log) = (Dir::new(), Log::of(2));
    fs::write(dir.file(), "{\"type\":\"event\",\"number\":1}\n{\"type\":\"eve").unwrap();
    log.set(EVENTS, 1);
    let deliveries = deliver(&log, events(dir.file()));
    log.await_cursor(EVENTS, 2);
    deliveries.stop();
    let text = fs::read_to_string(dir.file()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[1]), (3, "{\"type\":\"eve"));
    assert_eq!(serde_json::from_str::<Value>(lines[2]).unwrap()["number"], 2);
}

#[test]
fn a_directory_that_is_not_there_yet_is_waited_for() {
    let (dir, log) = (Dir::new(), Log::of(2));
    let path = dir.0.join("later/audit.jsonl");
    let deliveries = deliver(&log, events(path.clone()));
    log.await_failures(2);
    fs::create_dir(path.parent().unwrap()).unwrap();
    log.await_cursor(EVENTS, 2);
    assert_eq!(numbers(&path), [1, 2]);
    deliveries.stop();
}

#[test]
fn what_is_no_file_is_not_written_to() {
    let (dir, log) = (Dir::new(), Log::of(1));
    let deliveries = deliver(&log, events(dir.0.clone()));
    log.await_failures(1);
    deliveries.stop();
    assert_eq!(log.at(EVENTS), Some(0));
}
