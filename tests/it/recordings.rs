//! Recordings: what a client saw, masks and all, is kept, shown, followed and exported; and their bounds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::ensure;
use portcullis_tests::clients;
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::{run, until};
use serde_json::Value;

use crate::evidence::{Client, PATIENCE, brief, ended_session, event, key, only_session, search, texts, verify};
use crate::support::{LABELS, shop, skipped};

/// Values of the sample data that nobody may see.
const RAW: [&str; 6] = [
    "ada@example.com",
    "grace@example.com",
    "ada.home@example.org",
    "4111 1111 1111 1111",
    "3782 822463 10005",
    "234-56-7890",
];

/// The last line of what a whole recording shows, which is not in the recording.
const END: &str = "the session ended here\n";

/// A gateway that masks and records.
fn recording(postgres: &Postgres, level: &str) -> Options {
    let mut options = Options::before(postgres).with("hide-personal-data", "policies/hide-personal-data", "");
    options.target = format!("record = \"{level}\"\n{LABELS}");
    options
}

/// Runs commands in one session of alice's psql, and gives the session.
fn session(gateway: &Gateway, commands: &[&str]) -> String {
    let arguments: Vec<&str> = commands.iter().flat_map(|text| ["-c", *text]).collect();
    gateway.psql("alice", &arguments).unwrap().output().unwrap();
    ended_session(gateway)
}

/// A session with everything that a client can see.
fn colourful(gateway: &Gateway) -> String {
    session(
        gateway,
        &[
            "select id, email, card, note from customers order by id",
            "drop table if exists nothing_of_that_name",
            "begin",
            "begin",
            "rollback",
            "select 1/0",
            "copy (select 'a copied line', 4711) to stdout",
            "select 1 as one where false",
            "update orders set cents = cents where id < 4",
        ],
    )
}

/// The files of recordings, whole or not.
fn files(gateway: &Gateway) -> Vec<PathBuf> {
    let under = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let days: Vec<PathBuf> = under(&gateway.data().join("recordings")).collect();
    let mut files: Vec<PathBuf> = days.iter().filter(|day| day.is_dir()).flat_map(|day| under(day)).collect();
    files.sort();
    files
}

fn the_file(gateway: &Gateway) -> PathBuf {
    let files = files(gateway);
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

/// What is in the recordings, as any other program reads it.
pub(crate) fn contents(gateway: &Gateway) -> Vec<u8> {
    let output = Command::new("zstd").args(["-d", "-c"]).args(files(gateway)).output().unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    output.stdout
}

fn content(gateway: &Gateway) -> String {
    String::from_utf8_lossy(&contents(gateway)).into_owned()
}

/// Replays a recording without pauses: whether it is whole, and both outputs.
fn replay(gateway: &Gateway, recording: &str, more: &[&str]) -> (bool, String, String) {
    let arguments = [&["sessions", "replay", recording, "--speed", "0"], more].concat();
    let output = gateway.cli("rita", &arguments).unwrap();
    let (out, err) = texts(&output);
    (output.status.success(), out, err)
}

#[test]
fn a_recording_shows_what_the_client_saw_and_holds_nothing_else() {
    let postgres = shop();
    let gateway = Gateway::start(recording(&postgres, "results")).unwrap();
    let session = colourful(&gateway);
    let (whole, out, err) = replay(&gateway, &session, &[]);
    assert!(whole && err.contains("commands and results") && out.ends_with(END), "{out}{err}");
    let expected = [
        "alice@shop=> select id, email, card, note from customers order by id",
        " id | email            | card                | note",
        "  1 | a***@example.com | ***************1111 | prefers mail to ********************",
        "  4 | m***@example.org | ∅                   | quiet",
        "(4 rows)",
        "SELECT 4",
        "alice@shop=> drop table if exists nothing_of_that_name",
        "NOTICE 00000: the server's message is withheld, since it may hold values that a policy hides",
        "alice@shop=> begin",
        "WARNING 25001: there is already a transaction in progress",
        "alice@shop=> select 1/0",
        "ERROR 22012: division by zero",
        "alice@shop=> copy (select 'a copied line', 4711) to stdout",
        "a copied line\\t4711",
        "COPY 1",
        " one",
        "(0 rows)",
        "UPDATE 3",
    ];
    let mut rest = out.as_str();
    for line in expected {
        let found = rest.lines().position(|shown| shown.trim_end() == line);
        let place = found.unwrap_or_else(|| panic!("`{line}` is missing, or not in its place:\n{out}"));
        rest = rest.splitn(place + 2, '\n').last().unwrap();
    }
    let content = content(&gateway);
    assert!(content.contains("a***@example.com") && content.contains("a copied line"), "{content}");
    for raw in RAW {
        assert!(!content.contains(raw) && !out.contains(raw), "{raw} is in the recording");
    }
    assert!(!err.contains("NOT WHOLE"), "{err}");

    let (_, found, _) = replay(&gateway, &session, &["--search", "DIVISION"]);
    assert!(found.starts_with("ERROR 22012") && found.contains("COPY 1"), "{found}");
    let (_, _, err) = replay(&gateway, &session, &["--search", "nobody said that"]);
    assert!(err.contains("no entry holds that text"), "{err}");
    let refused = gateway.cli("bob", &["sessions", "replay", &session]).unwrap();
    assert!(!refused.status.success() && texts(&refused).1.contains("does not allow this"), "{}", texts(&refused).1);
}

#[test]
fn a_recording_of_commands_has_no_results() {
    let postgres = shop();
    let gateway = Gateway::start(recording(&postgres, "commands")).unwrap();
    let session = colourful(&gateway);
    let (whole, out, err) = replay(&gateway, &session, &[]);
    assert!(whole && err.contains("commands, and no results"), "{err}");
    for line in ["alice@shop=> select 1/0", "ERROR 22012: division by zero", "SELECT 4", "COPY 1", "UPDATE 3"] {
        assert!(out.lines().any(|shown| shown == line), "`{line}` is missing:\n{out}");
    }
    let content = content(&gateway);
    for result in ["a***@example.com", "a copied line\t", "quiet"] {
        assert!(!content.contains(result) && !out.contains(result), "{result} is in the recording");
    }
}

#[test]
fn where_nothing_is_recorded_there_is_nothing_and_that_is_said() {
    let postgres = shop();
    let gateway = Gateway::start(recording(&postgres, "none")).unwrap();
    let session = colourful(&gateway);
    let (whole, out, err) = replay(&gateway, &session, &[]);
    assert!(!whole && out.is_empty() && err.contains("this session was not recorded"), "{out}{err}");
    let (_, _, err) = replay(&gateway, "01928c1e-6f0e-7cc1-8a59-5e3cf1f0a1f2", &[]);
    assert!(err.contains("there is no such session"), "{err}");
    assert!(
        gateway.http(&format!("/v1/sessions/{session}/recording"), Some("rita")).unwrap().starts_with("HTTP/1.1 404")
    );
    assert!(files(&gateway).is_empty());
    assert!(search(&gateway, &["--kind", "recording"]).is_empty());
}

#[test]
fn a_recording_that_was_changed_contradicts_the_audit() {
    let postgres = shop();
    let gateway = Gateway::start(recording(&postgres, "results")).unwrap();
    colourful(&gateway);
    let export = gateway.directory().join("audit.jsonl").display().to_string();
    gateway.ask("rita", &["audit", "export", "--output", &export]).unwrap();
    let (key, directory) = (key(&gateway), gateway.data().join("recordings").display().to_string());
    let check = || verify(&gateway, &[&export, "--key", &key, "--recordings", &directory]);
    let (holds, report) = check();
    assert!(holds, "{report}");
    let file = the_file(&gateway);
    let original = fs::read(&file).unwrap();
    let mut changed = original.clone();
    changed[original.len() / 2] ^= 1;
    fs::write(&file, changed).unwrap();
    let (holds, report) = check();
    assert!(!holds && report.contains("was changed"), "{report}");
    fs::remove_file(&file).unwrap();
    let (holds, report) = check();
    assert!(!holds && report.contains("is missing"), "{report}");
    fs::write(&file, original).unwrap();
    assert!(check().0);
}

/// The command line that follows a session, with its outputs in files.
struct Watcher {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Watcher {
    fn start(gateway: &Gateway, session: &str) -> Self {
        let [out, err] = ["watch.out", "watch.err"].map(|name| gateway.directory().join(name));
        let mut watch = gateway.command("rita", &["sessions", "watch", session]).unwrap();
        watch.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: watch.spawn().unwrap(), out, err }
    }

    fn shows(&self, what: &str) {
        until(what, PATIENCE, || {
            let shown = fs::read_to_string(&self.out)? + &fs::read_to_string(&self.err)?;
            ensure!(shown.contains(what), "{shown}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_session_is_followed_while_it_goes_on() {
    let postgres = shop();
    let gateway = Gateway::start(recording(&postgres, "results")).unwrap();
    let client = Client::connect(&gateway, "alice").unwrap();
    client.query("select 'before anybody came'").unwrap();
    let session = only_session(&gateway);
    let refused = gateway.cli("alice", &["sessions", "watch", &session]).unwrap();
    let (out, err) = texts(&refused);
    assert!(!refused.status.success() && out.is_empty() && err.contains("does not allow this"), "{out}{err}");

    let mut watcher = Watcher::start(&gateway, &session);
    watcher.shows("watching commands and results");
    client.query("select email from customers where id = 2").unwrap();
    for part in
        ["alice@shop=> select email from customers where id = 2\n", " g***@example.com\n", "(1 row)\n", "SELECT 1\n"]
    {
        watcher.shows(part);
    }
    assert!(watcher.child.try_wait().unwrap().is_none(), "the session goes on");
    client.query("select 1/0").unwrap_err();
    watcher.shows("ERROR 22012: division by zero\n");
    drop(client);
    watcher.shows("the session has ended");
    assert!(watcher.child.wait().unwrap().success());
    let shown = fs::read_to_string(&watcher.out).unwrap();
    assert!(!shown.contains("before anybody came") && !shown.contains("grace@example.com"), "{shown}");
    let over = gateway.cli("rita", &["sessions", "watch", &session]).unwrap();
    assert!(!over.status.success() && texts(&over).1.contains("no such session is open"));
}

#[test]
fn a_killed_session_ends_at_both_sides() {
    let postgres = shop();
    let gateway = Gateway::start(recording(&postgres, "results")).unwrap();
    let mut psql = gateway.psql("alice", &["-c", "select pg_sleep(600)"]).unwrap();
    let child = psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let at_work = || postgres.sql("shop", "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'");
    let count = |wanted: &str| {
        let found = at_work()?;
        ensure!(found == wanted, "{found} are at work");
        Ok(())
    };
    until("it is at work", PATIENCE, || count("1")).unwrap();
    let session = only_session(&gateway);
    let refused = gateway.cli("rita", &["sessions", "kill", &session]).unwrap();
    assert!(!refused.status.success() && texts(&refused).1.contains("does not allow this"), "{}", texts(&refused).1);
    assert_eq!(at_work().unwrap(), "1");

    gateway.ask("olga", &["sessions", "kill", &session]).unwrap();
    let output = child.wait_with_output().unwrap();
    let err = texts(&output).1;
    assert!(!output.status.success() && err.contains("terminating the session due to administrator command"), "{err}");
    until("the server does not work for it any more", PATIENCE, || count("0")).unwrap();
    assert_eq!(ended_session(&gateway), session);
    let story = gateway.ask("rita", &["sessions", "show", &session]).unwrap();
    assert!(story.contains("session ended: killed by olga"), "{story}");
    assert_eq!(event(&search(&gateway, &["--kind", "system", "--text", &session])[0]).1["by"], "olga");
    let (whole, out, err) = replay(&gateway, &session, &[]);
    assert!(whole && out.contains("FATAL 57P01: terminating the session due to administrator command"), "{out}{err}");
}

/// More than a mebibyte, however it is compressed.
const MUCH: &str =
    "select md5(random()::text) || md5(random()::text) || md5(random()::text) from generate_series(1, 50000)";

/// A gateway whose recordings have a limit, and what becomes of a session that reaches it.
fn limited(postgres: &Postgres, on_limit: &str) -> Gateway {
    let mut options = recording(postgres, "results");
    options.more = format!("[recordings]\nmax_mib = 1\non_limit = \"{on_limit}\"\n");
    Gateway::start(options).unwrap()
}

#[test]
fn a_session_whose_recording_is_full_ends_and_is_told_why() {
    let postgres = shop();
    let gateway = limited(&postgres, "end");
    let client = Client::connect(&gateway, "alice").unwrap();
    let refused = client.query(MUCH).unwrap_err();
    assert!(
        refused.starts_with("FATAL: ") && refused.contains("the recording of this session has reached its limit"),
        "{refused}"
    );
    assert!(client.query("select 1").unwrap_err().contains("no answer"));
    let session = ended_session(&gateway);
    let story = gateway.ask("rita", &["sessions", "show", &session]).unwrap();
    assert!(story.contains("recording stopped: the recording of this session has reached its limit"), "{story}");
    assert!(story.contains("session ended: the recording could not go on"), "{story}");
    assert!(the_file(&gateway).metadata().unwrap().len() <= 1 << 20);
    let (whole, out, err) = replay(&gateway, &session, &[]);
    assert!(!whole && out.contains(MUCH) && err.contains("NOT WHOLE: the recording reached its limit"), "{err}");
    assert_eq!(gateway.query("bob", "select 8").unwrap().0, "8");
}

#[test]
fn where_the_configuration_says_so_a_session_goes_on_unrecorded() {
    let postgres = shop();
    let gateway = limited(&postgres, "stop");
    let client = Client::connect(&gateway, "alice").unwrap();
    assert_eq!(client.query(MUCH).unwrap().len(), 50_000);
    assert_eq!(client.query("select 'unrecorded'").unwrap(), ["unrecorded"]);
    until("the client is told", PATIENCE, || {
        let notices = client.notices();
        ensure!(
            notices.iter().any(|told| told.starts_with("WARNING: portcullis: this session is no longer recorded")),
            "{notices:?}"
        );
        Ok(())
    })
    .unwrap();
    assert_eq!(client.notices().len(), 1, "once");
    drop(client);
    let session = ended_session(&gateway);
    let states = search(&gateway, &["--session", &session, "--kind", "recording"]);
    assert_eq!(states.iter().map(brief).collect::<Vec<_>>(), ["Recording stopped", "Recording started"]);
    let (whole, out, err) = replay(&gateway, &session, &[]);
    assert!(!whole && !out.contains("unrecorded") && err.contains("NOT WHOLE"), "{err}");
    let commands = search(&gateway, &["--session", &session, "--kind", "command"]);
    assert_eq!(commands.len(), 2, "the audit goes on");
}

/// Exports a session's recording.
fn export(gateway: &Gateway, session: &str, format: &str) -> PathBuf {
    let file = gateway.directory().join(format);
    let path = file.display().to_string();
    gateway.ask("rita", &["sessions", "export", session, "--format", format, "--output", &path]).unwrap();
    file
}

#[test]
fn a_recording_is_played_by_other_programs() {
    let postgres = shop();
    let gateway = Gateway::start(recording(&postgres, "results")).unwrap();
    let session = colourful(&gateway);
    let (_, shown, _) = replay(&gateway, &session, &[]);

    // Version 3: a header, then the time since the event before, a code and data.
    let text = fs::read_to_string(export(&gateway, &session, "asciicast")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines[0]["version"] == 3 && lines[0]["term"]["cols"].is_u64() && lines[0]["term"]["rows"].is_u64(),
        "{}",
        lines[0]
    );
    let output = lines[1..].iter().map(|event| {
        let [interval, code, data] = event.as_array().unwrap().as_slice() else { panic!("{event}") };
        assert!(interval.as_f64().unwrap() >= 0.0, "{event}");
        if code == "o" { data.as_str().unwrap().replace("\r\n", "\n") } else { String::new() }
    });
    let shown = shown.strip_suffix(END).unwrap();
    assert_eq!(output.collect::<String>(), shown);

    let text = fs::read_to_string(export(&gateway, &session, "jsonl")).unwrap();
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.iter().any(|entry| entry["type"] == "command" && entry["text"] == "select 1/0"), "{text}");

    let older = export(&gateway, &session, "asciicast-v2");
    let Some(asciinema) = clients::python::asciinema() else {
        return skipped("asciinema is missing; `cargo xtask setup` installs it");
    };
    let mut player = Command::new(asciinema);
    // It keeps an identifier of its user in the home directory.
    player.arg("cat").arg(older).env("HOME", gateway.directory()).env("LC_ALL", "C.UTF-8");
    assert_eq!(run(&mut player).unwrap().replace("\r\n", "\n"), shown);
}

#[test]
fn what_is_left_of_a_recording_is_shown_and_called_cut() {
    let postgres = shop();
    let gateway = Gateway::start(recording(&postgres, "results")).unwrap();
    let numbers = "select n, md5(n::text) from generate_series(1, 20000) n";
    let session = session(&gateway, &[numbers, "select 'the end'"]);
    let (whole, shown, _) = replay(&gateway, &session, &[]);
    assert!(whole && shown.contains("the end"));
    let original = fs::read(the_file(&gateway)).unwrap();
    let cut = gateway.directory().join("cut.rec.zst").display().to_string();
    let mut lengths = Vec::new();
    for part in 0..16 {
        let length = original.len() * part / 16 + usize::from(part % 2 == 1);
        fs::write(&cut, &original[..length]).unwrap();
        let (whole, out, err) = replay(&gateway, &cut, &[]);
        assert!(!whole && shown.starts_with(&out), "{length} bytes: {err}");
        assert!(err.contains("cut"), "{length} bytes: {err}");
        lengths.push(out.len());
    }
    // The last byte makes the difference, too.
    fs::write(&cut, &original[..original.len() - 1]).unwrap();
    let (whole, out, err) = replay(&gateway, &cut, &[]);
    assert!(!whole && out.contains("the end") && err.contains("NOT WHOLE"), "{err}");
    assert!(lengths.is_sorted() && lengths[15] > lengths[8] && lengths[8] > 0, "{lengths:?}");
}
