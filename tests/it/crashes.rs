//! The gateway is killed at random moments, again and again: what it had promised to keep is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::ensure;
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::{self, Postgres};
use portcullis_tests::process::until;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::evidence::{PATIENCE, connect, event, key, texts, verify};
use crate::support::Random;

const ROUNDS: usize = 240;
const CLIENTS: usize = 3;

/// Between two looks at the store as a crash has left it.
const LOOK: usize = 20;

/// Whether commands of a round wait until they are recorded.
fn is_strict(round: usize) -> bool {
    round.is_multiple_of(2)
}

fn audit(strict: bool) -> String {
    let durability = if strict { "strict" } else { "interval" };
    format!(
        "[audit]\ndurability = \"{durability}\"\n\
         [[audit.sink]]\nname = \"kept\"\nto = \"file:kept.jsonl\"\nsend = \"checkpoints\"\n\
         [[audit.sink]]\nname = \"all\"\nto = \"file:all.jsonl\"\nsend = \"both\"\n"
    )
}

fn server() -> Postgres {
    let setup = format!("create table marks (mark text); alter table marks owner to {}", postgres::ROLE);
    let options = postgres::Options { method: "trust", setup, ..postgres::Options::default() };
    Postgres::start(&options).unwrap()
}

/// Clients at work, each of whom counts and notes the commands that it was told to be done.
struct Load {
    acknowledged: Arc<Mutex<Vec<String>>>,
    reached: Arc<Notify>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(runtime: &Runtime, port: u16, round: usize, enough: usize) -> Self {
        let (acknowledged, reached) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(Notify::new()));
        let count = Arc::new(AtomicUsize::new(0));
        let task = |client: usize| {
            let (acknowledged, reached, count) = (acknowledged.clone(), reached.clone(), count.clone());
            runtime.spawn(async move {
                // It may be gone before it has let this client in.
                let Ok(client_side) = connect(port, "alice", Arc::default()).await else { return };
                for n in 0.. {
                    let mark = format!("r{round}-c{client}-{n}");
                    let text = match n % 3 {
                        0 => format!("select '{mark}', repeat(md5(n::text), 20) from generate_series(1, 50) n"),
                        _ => format!("insert into marks values ('{mark}')"),
                    };
                    if client_side.simple_query(&text).await.is_err() {
                        return;
                    }
                    acknowledged.lock().unwrap().push(text);
                    if count.fetch_add(1, Ordering::Relaxed) + 1 == enough {
                        reached.notify_one();
                    }
                }
            })
        };
        let tasks = (0..CLIENTS).map(task).collect();
        Self { acknowledged, reached, tasks }
    }

    /// Waits until enough commands are done.
    fn reach(&self, runtime: &Runtime) {
        runtime.block_on(async { tokio::time::timeout(PATIENCE, self.reached.notified()).await }).unwrap();
    }

    /// Waits until every client has seen that the gateway is gone, and gives what they were told to be done.
    fn end(self, runtime: &Runtime) -> Vec<String> {
        for task in self.tasks {
            runtime.block_on(async { tokio::time::timeout(PATIENCE, task).await }).unwrap().unwrap();
        }
        std::mem::take(&mut *self.acknowledged.lock().unwrap())
    }
}

/// One life of the gateway, up to its violent end; gives the commands that were done.
fn round(gateway: &mut Gateway, runtime: &Runtime, random: &mut Random, number: usize) -> Vec<String> {
    gateway.configure(|options| options.more = audit(is_strict(number))).unwrap();
    // The moments are what is tried here, and no other thing waits for them.
    let moment = |random: &mut Random, most: u64| std::thread::sleep(Duration::from_micros(random.below(most)));
    let kind = random.below(10);
    if kind == 0 {
        gateway.launch().unwrap();
        moment(random, 200_000);
        gateway.kill().unwrap();
        return Vec::new();
    }
    gateway.restart().unwrap();
    let load = Load::start(runtime, gateway.port, number, 1 + random.below(60) as usize);
    load.reach(runtime);
    match kind {
        1 => gateway.signal("TERM").unwrap(),
        2 => vouched(gateway),
        _ => {}
    }
    moment(random, 20_000);
    gateway.kill().unwrap();
    load.end(runtime)
}

/// Waits until one more checkpoint is where checkpoints are kept.
fn vouched(gateway: &Gateway) {
    let before = kept(gateway);
    let grown = || {
        let now = kept(gateway);
        ensure!(now > before, "{now} checkpoints are kept");
        Ok(())
    };
    until("a checkpoint is kept elsewhere", PATIENCE, grown).unwrap();
}

/// How many checkpoints are kept elsewhere.
fn kept(gateway: &Gateway) -> usize {
    let kept = fs::read_to_string(gateway.directory().join("kept.jsonl"));
    kept.map_or(0, |kept| kept.lines().count())
}

/// What the log holds of a session.
#[derive(Debug, Default)]
struct Story {
    opened: bool,
    closed: u32,
    /// The states of its recording, in order, and its file.
    recording: Vec<String>,
    file: Option<PathBuf>,
}

/// The whole log, read from an export.
#[derive(Default)]
struct Log {
    stories: BTreeMap<String, Story>,
    /// The session of each command's text.
    commands: BTreeMap<String, String>,
}

impl Log {
    fn read(export: &Path) -> Self {
        let mut log = Self::default();
        for line in fs::read_to_string(export).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if line["type"] == "event" {
                log.take(event(&line));
            }
        }
        log
    }

    fn take(&mut self, (kind, content): (&str, &Value)) {
        let Some(session) = content["subject"]["session"].as_str() else { return };
        let story = self.stories.entry(session.to_owned()).or_default();
        match kind {
            "Open" => story.opened = content["refused"].is_null(),
            "Close" => story.closed += 1,
            "Recording" => {
                story.recording.push(content["state"].as_str().unwrap().to_owned());
                story.file = Some(content["file"].as_str().unwrap().into());
            }
            "Command" => drop(self.commands.insert(content["text"].as_str().unwrap().to_owned(), session.to_owned())),
            _ => {}
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn what_was_promised_is_kept_however_often_the_gateway_is_killed() {
    let postgres = server();
    let mut options = Options::before(&postgres);
    options.target = "record = \"results\"\n".into();
    options.more = audit(true);
    let mut gateway = Gateway::start(options).unwrap();
    let key = key(&gateway);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut random = Random(4711);
    let mut promised = BTreeSet::new();
    gateway.kill().unwrap();
    for number in 0..ROUNDS {
        let acknowledged = round(&mut gateway, &runtime, &mut random, number);
        if is_strict(number) {
            promised.extend(acknowledged);
        }
        if number % LOOK == LOOK - 1 {
            let copy = gateway.directory().join("copy.redb");
            fs::copy(gateway.data().join("store.redb"), &copy).unwrap();
            let kept = whole_lines(&gateway, "kept.jsonl");
            let (holds, report) =
                verify(&gateway, &["--store", &text(&copy), "--key", &key, "--checkpoints", &kept, "--allow-unsigned"]);
            assert!(holds, "round {number}: {report}");
        }
    }
    gateway.restart().unwrap();
    assert!(promised.len() > ROUNDS, "{} commands were done", promised.len());
    assert!(kept(&gateway) > ROUNDS / 20, "{} checkpoints are kept", kept(&gateway));
    log_is_whole(&gateway, &postgres, &key, &promised);
    recordings_are_as_the_log_says(&gateway, &promised);
}

/// A file with the lines of a sink's file but those that a crash has cut in the middle. Each of these comes again, whole.
fn whole_lines(gateway: &Gateway, name: &str) -> String {
    let path = gateway.directory().join(name);
    let sent = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = sent.lines().collect();
    let mut whole = String::new();
    for (place, line) in lines.iter().enumerate() {
        if serde_json::from_str::<Value>(line).is_ok() {
            whole += &format!("{line}\n");
            continue;
        }
        let later = &lines[place + 1..];
        let comes_again = later.is_empty() || later.iter().any(|later| later.starts_with(line));
        assert!(comes_again, "line {} of {name} is cut and does not come again: {line}", place + 1);
    }
    fs::write(path.with_extension("whole"), whole).unwrap();
    text(&path.with_extension("whole"))
}

fn log_is_whole(gateway: &Gateway, postgres: &Postgres, key: &str, promised: &BTreeSet<String>) {
    let kept = whole_lines(gateway, "kept.jsonl");
    let (holds, report) = verify(gateway, &["--key", key, "--checkpoints", &kept]);
    assert!(holds, "{report}");
    gateway.ask("rita", &["audit", "export", "--output", "export.jsonl"]).unwrap();
    let recordings = text(&gateway.data().join("recordings"));
    let sent = whole_lines(gateway, "all.jsonl");
    let (holds, report) = verify(gateway, &[&sent, "--key", key, "--allow-unsigned"]);
    assert!(holds, "{report}");
    let (holds, report) = verify(gateway, &["export.jsonl", "--key", key, "--recordings", &recordings]);
    assert!(holds, "{report}");

    let log = Log::read(&gateway.directory().join("export.jsonl"));
    let missing: Vec<&String> = promised.iter().filter(|text| !log.commands.contains_key(*text)).collect();
    assert!(missing.is_empty(), "{} of {} are not in the audit: {missing:?}", missing.len(), promised.len());
    // Whoever waits for the audit does nothing before, whether or not the client learnt of it.
    for mark in postgres.sql("shop", "select mark from marks").unwrap().lines() {
        let round = mark[1..].split('-').next().unwrap().parse().unwrap();
        let text = format!("insert into marks values ('{mark}')");
        assert!(!is_strict(round) || log.commands.contains_key(&text), "{mark} was written, and is not in the audit");
    }
    for (session, story) in &log.stories {
        assert!(!story.opened || story.closed == 1, "{session}: {story:?}");
    }
}

fn recordings_are_as_the_log_says(gateway: &Gateway, promised: &BTreeSet<String>) {
    let log = Log::read(&gateway.directory().join("export.jsonl"));
    let directory = gateway.data().join("recordings");
    let mut recordings = BTreeMap::new();
    for story in log.stories.values().filter(|story| story.file.is_some()) {
        let (file, state) = (directory.join(story.file.as_ref().unwrap()), story.recording.last().unwrap());
        recordings.insert(file, Recording { state, commands: Vec::new() });
    }
    for command in promised {
        let session = &log.commands[command];
        let file = log.stories[session].file.as_ref().unwrap_or_else(|| panic!("{session} is not recorded"));
        recordings.get_mut(&directory.join(file)).unwrap().commands.push(command);
    }
    assert!(recordings.len() > ROUNDS, "there are {} recordings", recordings.len());
    let known: BTreeSet<&PathBuf> = recordings.keys().collect();
    let days = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let there: Vec<PathBuf> =
        days.flat_map(|day| fs::read_dir(day).unwrap().map(|file| file.unwrap().path())).collect();
    let unknown: Vec<&PathBuf> = there.iter().filter(|file| !known.contains(file)).collect();
    assert!(unknown.is_empty(), "the log does not know {unknown:?}");
    let recordings: Vec<(PathBuf, Recording<'_>)> = recordings.into_iter().collect();
    std::thread::scope(|scope| {
        for some in recordings.chunks(recordings.len().div_ceil(2)) {
            scope.spawn(|| some.iter().for_each(|(file, recording)| recording.can_be_read(gateway, file)));
        }
    });
}

/// What a recording has to be.
struct Recording<'a> {
    /// What the log says last.
    state: &'a str,
    /// Commands that were done in its session.
    commands: Vec<&'a String>,
}

impl Recording<'_> {
    /// It is whole, and then has every command in it, or the log says that it is not.
    fn can_be_read(&self, gateway: &Gateway, file: &Path) {
        let output = gateway.cli("rita", &["sessions", "replay", &text(file), "--speed", "0"]).unwrap();
        let ((out, err), code) = (texts(&output), output.status.code());
        let name = file.display();
        match (self.state, code) {
            ("ended", Some(0)) => {
                let missing = self.commands.iter().find(|command| !out.contains(**command));
                assert!(missing.is_none(), "{name} is whole without {missing:?}");
            }
            ("cut", Some(1)) => assert!(err.contains("cut"), "{name}: {err}"),
            (state, code) => panic!("{name} is {state} and replays with {code:?}: {err}"),
        }
    }
}
