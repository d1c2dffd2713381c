//! The audit: who ran what is found, nobody changes it unnoticed, it goes where it is sent, and a full disk is no way around it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::process::{run, until};
use portcullis_tests::rsyslog::{Message, Rsyslog};
use portcullis_tests::tmpfs::Tmpfs;
use serde_json::Value;

use crate::evidence::{Client, PATIENCE, brief, ended_session, event, json, key, search, texts, verify};
use crate::support::{guarded, shop, skipped};

const STRICT: &str = "[audit]\ndurability = \"strict\"\n";

/// Two sessions: of alice, who is masked, denied and in error, and of dora.
fn two_stories(gateway: &Gateway) -> [String; 2] {
    let texts = ["select email from customers where id = 1", "Drop Table orders", "select 1/0"];
    let arguments: Vec<&str> = texts.iter().flat_map(|text| ["-c", *text]).collect();
    gateway.psql("alice", &arguments).unwrap().output().unwrap();
    let alice = ended_session(gateway);
    gateway.query("dora", "select count(*) from orders").unwrap();
    [alice, ended_session(gateway)]
}

fn briefs(events: &[Value]) -> Vec<String> {
    events.iter().map(brief).collect()
}

/// A time in milliseconds as in RFC 3339.
fn rfc3339(ms: u64) -> String {
    let at = format!("@{}.{:03}", ms / 1000, ms % 1000);
    run(Command::new("date").args(["--utc", "--date", &at, "+%Y-%m-%dT%H:%M:%S.%3NZ"])).unwrap().trim().to_owned()
}

#[test]
fn who_ran_what_is_found_and_nothing_else() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let [alice, dora] = two_stories(&gateway);
    let found = |arguments: &[&str]| briefs(&search(&gateway, arguments));
    // The policy of fair use counts commands in its state, which is kept, too.
    let dora_ran =
        ["Close the client left", "Finish SELECT 1", "Inputs", "Command select count(*) from orders", "Open"];
    assert_eq!(found(&["--principal", "dora"]), dora_ran);
    assert_eq!(found(&["--session", &dora]), dora_ran);
    let dropped = ["Command Drop Table orders"];
    assert_eq!(found(&["--text", "drop TABLE"]), dropped);
    assert_eq!(found(&["--verdict", "deny"]), dropped);
    assert_eq!(found(&["--principal", "alice", "--verdict", "deny", "--target", "shop"]), dropped);
    assert_eq!(found(&["--policy", "hide-personal-data", "--kind", "finish"]), ["Finish SELECT 1"]);
    let asked = ["Command select 1/0", "Command Drop Table orders", "Command select email from customers where id = 1"];
    assert_eq!(found(&["--policy", "no-destructive-sql", "--session", &alice]), asked);
    for nothing in [["--principal", "bob"], ["--target", "other"], ["--policy", "other"], ["--text", "dropped"]] {
        assert!(found(&nothing).is_empty(), "{nothing:?}");
    }

    let all = search(&gateway, &["--target", "shop"]);
    assert!(all.iter().all(|stored| stored["event"].to_string().contains("\"shop\"")));
    let at = |stored: &Value| stored["at_ms"].as_u64().unwrap();
    let opened = at(all.iter().find(|stored| brief(stored) == "Open").unwrap());
    let time = rfc3339(opened);
    for (flag, inside) in [("--from", true), ("--to", false)] {
        let expected: Vec<Value> = all.iter().filter(|stored| (at(stored) >= opened) == inside).cloned().collect();
        assert!(!expected.is_empty());
        assert_eq!(search(&gateway, &["--target", "shop", flag, &time]), expected);
    }
    assert_eq!(search(&gateway, &["--target", "shop", "--from", "1h"]), all);
    assert!(search(&gateway, &["--to", "1h"]).is_empty());
}

#[test]
fn a_sessions_story_explains_each_command() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let [alice, _] = two_stories(&gateway);
    let story = json(&gateway, &["sessions", "show", &alice]).unwrap();
    let named = |kind: &str, told: &str| {
        let wanted = format!("{kind} {told}");
        event(story.iter().find(|stored| brief(stored) == wanted).expect(&wanted)).1
    };

    let masked = named("Command", "select email from customers where id = 1");
    let policies: Vec<&str> =
        masked["answers"].as_array().unwrap().iter().map(|a| a["policy"].as_str().unwrap()).collect();
    assert_eq!(policies, ["no-destructive-sql", "review-schema-changes", "fair-use"]);
    for answer in masked["answers"].as_array().unwrap() {
        let digest = answer["digest"].as_str().unwrap();
        assert!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "{answer}");
    }
    assert!(masked["micros"].as_u64().unwrap() > 0, "{masked}");
    let statement = &masked["facts"]["sql"]["statements"][0];
    assert_eq!(
        (&statement["relations"][0]["name"], &statement["effects"]),
        (&"customers".into(), &"READ".into()),
        "{masked}"
    );
    let finish = named("Finish", "SELECT 1");
    assert_eq!(finish["masked_by"], serde_json::json!(["hide-personal-data"]), "{finish}");
    assert!(finish["micros"].as_u64().unwrap() > 0 && finish["masked"] == 1 && finish["rows"] == 1, "{finish}");
    assert_eq!(named("Command", "Drop Table orders")["outcome"], "deny");
    // The SQLSTATE, and not the server's words.
    assert_eq!(named("Finish", "22012")["tag"], "");

    let told = gateway.ask("rita", &["sessions", "show", &alice]).unwrap();
    for part in [
        "alice (dev) opened shop",
        "SELECT · effects: read · customers (read)",
        "no-destructive-sql said allow",
        "1 masked cell by hide-personal-data",
        "DENY",
        "failed: 22012",
        " ms\n",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
}

/// The lines of an export of a gateway's audit.
fn exported(gateway: &Gateway) -> Vec<String> {
    let file = gateway.directory().join("export.jsonl");
    gateway.ask("rita", &["audit", "export", "--output", &file.display().to_string()]).unwrap();
    fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

/// Writes lines to a file below the gateway's directory, and gives its path.
fn write(gateway: &Gateway, name: &str, lines: &[String]) -> String {
    let path = gateway.directory().join(name);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path.display().to_string()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap()
}

/// The places in an export of the events that commands were decided.
fn commands(lines: &[String]) -> Vec<usize> {
    let is_command = |line: &str| !parse(line)["event"]["Command"].is_null();
    lines.iter().enumerate().filter(|(_, line)| is_command(line)).map(|(place, _)| place).collect()
}

#[test]
fn an_export_holds_and_every_change_of_it_is_found() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    two_stories(&gateway);
    let key = key(&gateway);
    let (holds, report) = verify(&gateway, &["--key", &key]);
    assert!(holds, "{report}");
    let (holds, report) = verify(&gateway, &["--key", &"0".repeat(64)]);
    assert!(!holds && report.contains(&format!("the checkpoints are by {key}")), "{report}");

    let lines = exported(&gateway);
    let check = |lines: &[String]| verify(&gateway, &[&write(&gateway, "changed.jsonl", lines), "--key", &key]);
    let (holds, report) = check(&lines);
    assert!(holds, "{report}");
    let places = commands(&lines);
    let [first, second] = [places[0], places[1]];
    let number = |place: usize| parse(&lines[place])["number"].as_u64().unwrap();
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = lines.clone();
        change(&mut changed);
        check(&changed)
    };
    let edit = |place: usize, edit: &dyn Fn(&mut Value)| {
        changed(&|lines| {
            let mut value = parse(&lines[place]);
            edit(&mut value);
            lines[place] = value.to_string();
        })
    };

    for (expected, (holds, report)) in [
        (
            format!("event {}: what it shows is not what the chain covers", number(first)),
            edit(first, &|line| line["event"]["Command"]["text"] = "select 'nothing'".into()),
        ),
        (
            format!("event {}: what it shows is not what the chain covers", number(second)),
            edit(second, &|line| line["at_ms"] = (line["at_ms"].as_u64().unwrap() - 1).into()),
        ),
        (
            // Someone else's story in its place, with the bytes that belong to it.
            format!("event {} was changed", number(first)),
            edit(first, &|line| {
                let other = parse(&lines[second]);
                ["event", "encoded", "at_ms"].iter().for_each(|key| line[*key] = other[*key].clone());
            }),
        ),
        (format!("event {} was changed", number(first)), edit(first, &|line| line["hash"] = "0123456789abcdef".into())),
        (format!("event {} is missing", number(first)), changed(&|lines| drop(lines.remove(first)))),
        (format!("event {} stands where", number(first)), changed(&|lines| lines.swap(first, second))),
        ("neither an event nor a checkpoint".into(), changed(&|lines| lines.insert(second, "{}".into()))),
    ] {
        assert!(!holds && report.contains(&expected), "{expected} is not told:\n{report}");
    }
}

#[test]
fn an_export_that_was_cut_contradicts_checkpoints_that_were_kept() {
    let postgres = shop();
    let mut options = guarded(&postgres);
    options.more = "[[audit.sink]]\nname = \"kept\"\nto = \"file:kept.jsonl\"\nsend = \"checkpoints\"\n".into();
    let gateway = Gateway::start(options).unwrap();
    two_stories(&gateway);
    let key = key(&gateway);
    let lines = exported(&gateway);
    let last = events(&lines).last().copied().unwrap();
    let kept = gateway.directory().join("kept.jsonl");
    until("the last event is vouched for elsewhere", PATIENCE, || {
        let vouched = checkpoints(&kept)?;
        ensure!(vouched.last() >= Some(&last), "{vouched:?}, and {last} is the last event");
        Ok(())
    })
    .unwrap();
    let cut = lines[..commands(&lines)[1] + 1].to_vec();
    let end = events(&cut).last().copied().unwrap();
    let file = write(&gateway, "cut.jsonl", &cut);
    // By itself it may have been taken before the gateway signed its end.
    let (holds, report) = verify(&gateway, &[&file, "--key", &key, "--allow-unsigned"]);
    assert!(holds, "{report}");
    let (holds, report) = verify(&gateway, &[&file, "--key", &key]);
    assert!(!holds && report.contains(&format!("to {end}: anybody may have written them")), "{report}");
    let kept = ["--checkpoints", &kept.display().to_string()];
    let (holds, report) = verify(&gateway, &[&[&file, "--key", &key, "--allow-unsigned"][..], &kept].concat());
    assert!(!holds && report.contains(&format!("the log ends with event {end}")), "{report}");
    assert!(report.contains("were cut off"), "{report}");
}

/// The numbers of the events in an export.
fn events(lines: &[String]) -> Vec<u64> {
    let events = lines.iter().map(|line| parse(line)).filter(|line| line["type"] == "event");
    events.map(|line| line["number"].as_u64().unwrap()).collect()
}

/// The numbers of the checkpoints in a file.
fn checkpoints(path: &Path) -> anyhow::Result<Vec<u64>> {
    let text = fs::read_to_string(path)?;
    text.lines().map(|line| parse(line)["number"].as_u64().context("no number")).collect()
}

#[test]
fn an_export_for_collectors_is_of_their_schema() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    two_stories(&gateway);
    let count = events(&exported(&gateway)).len();
    let text = gateway.ask("rita", &["audit", "export", "--format", "ocsf"]).unwrap();
    let lines: Vec<Value> = text.lines().map(parse).collect();
    assert!(lines.len() >= count);
    for line in &lines {
        assert!(
            line["class_uid"].is_u64() && line["time"].is_u64() && line["metadata"]["version"].is_string(),
            "{line}"
        );
    }
    assert!(text.contains("Drop Table orders"));
}

#[test]
fn no_changed_byte_of_a_store_passes_for_another_story() {
    let postgres = shop();
    let mut gateway = Gateway::start(guarded(&postgres)).unwrap();
    // Enough for events to fill many pages of the file.
    let client = Client::connect(&gateway, "dora").unwrap();
    for n in 0..300 {
        client.query(&format!("select '{:x}'", (n as u128 + 7).pow(15))).unwrap();
    }
    drop(client);
    let key = key(&gateway);
    gateway.stop().unwrap();
    let store = gateway.data().join("store.redb");
    let check = |path: &Path| {
        let path = path.display().to_string();
        let output = gateway.cli("rita", &["audit", "verify", "--store", &path, "--key", &key]).unwrap();
        (output.status.code(), texts(&output))
    };
    let (code, (whole, err)) = check(&store);
    assert!(code == Some(0) && whole.contains("problems     none"), "{whole}{err}");
    let original = fs::read(&store).unwrap();

    let damaged = gateway.directory().join("damaged.redb");
    let mut of_events = 0;
    let used = original.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|byte| *byte != 0));
    for place in used.flat_map(|(page, _)| [700, 1400, 2900].map(|inside| page * 4096 + inside)) {
        let mut copy = original.clone();
        copy[place] ^= 0x10;
        fs::write(&damaged, copy).unwrap();
        let (code, (out, err)) = check(&damaged);
        match code {
            // It was in a page that is not in use, or of another table.
            Some(0) => assert_eq!(out, whole, "byte {place}"),
            Some(1) => {
                let told = [&out, &err].iter().any(|told| told.contains("cannot be read") || told.contains("changed"));
                assert!(told && !out.contains("problems     none"), "byte {place}: {out}{err}");
                of_events += u32::from(out.contains("  event"));
            }
            _ => panic!("byte {place}: {code:?} {out}{err}"),
        }
    }
    assert!(of_events > 0, "no event was hit");
}

#[test]
fn a_store_that_is_cut_short_is_refused_and_left_as_it_is() {
    let postgres = shop();
    let mut gateway = Gateway::start(guarded(&postgres)).unwrap();
    two_stories(&gateway);
    gateway.stop().unwrap();
    let store = gateway.data().join("store.redb");
    let original = fs::read(&store).unwrap();
    for length in [original.len() / 2, 5000, 100] {
        let cut = &original[..length];
        fs::write(&store, cut).unwrap();
        let refused = gateway.restart().unwrap_err().to_string();
        let told = refused.lines().last().unwrap_or_default();
        assert!(told.contains("the store") && told.contains("cannot be read"), "{length}: {refused}");
        assert!(fs::read(&store).unwrap() == cut, "{length}: it was changed");
    }
    fs::write(&store, original).unwrap();
    gateway.restart().unwrap();
    assert!(verify(&gateway, &[]).0);
}

#[test]
fn an_older_copy_of_the_store_is_told_from_the_whole() {
    let postgres = shop();
    let mut options = guarded(&postgres);
    options.more = "[[audit.sink]]\nname = \"kept\"\nto = \"file:kept.jsonl\"\nsend = \"checkpoints\"\n\
                    [[audit.sink]]\nname = \"all\"\nto = \"file:all.jsonl\"\nsend = \"both\"\n"
        .into();
    let mut gateway = Gateway::start(options).unwrap();
    two_stories(&gateway);
    let key = key(&gateway);
    gateway.stop().unwrap();
    let (store, older) = (gateway.data().join("store.redb"), gateway.directory().join("older.redb"));
    fs::copy(&store, &older).unwrap();
    gateway.restart().unwrap();
    two_stories(&gateway);
    let last = json_head(&gateway);
    let all = gateway.directory().join("all.jsonl");
    until("the events and what vouches for them are in the files", PATIENCE, || {
        let vouched = checkpoints(&gateway.directory().join("kept.jsonl"))?;
        ensure!(vouched.last() >= Some(&last), "{vouched:?}, and {last} is the last event");
        let lines: Vec<String> = fs::read_to_string(&all)?.lines().map(str::to_owned).collect();
        ensure!(events(&lines).last() >= Some(&last), "the last event is {last}");
        Ok(())
    })
    .unwrap();
    gateway.stop().unwrap();

    let check = |store: &Path| {
        let store = store.display().to_string();
        verify(&gateway, &["--store", &store, "--key", &key, "--checkpoints", "kept.jsonl"])
    };
    let (holds, report) = check(&store);
    assert!(holds, "{report}");
    let (holds, report) = check(&older);
    assert!(!holds && report.contains("were cut off"), "{report}");
    let (holds, report) = verify(&gateway, &["--store", &older.display().to_string(), "--key", &key]);
    assert!(holds, "by itself it is a whole log: {report}");
    let (holds, report) = verify(&gateway, &["all.jsonl", "--key", &key, "--allow-unsigned"]);
    assert!(holds, "what a file was sent can be verified: {report}");
}

/// The last event of a running gateway's log.
fn json_head(gateway: &Gateway) -> u64 {
    parse(&gateway.ask("rita", &["audit", "head", "--json"]).unwrap())["last"].as_u64().unwrap()
}

/// Waits until a syslog server has every event up to the last that there is now.
fn all_arrive(gateway: &Gateway, rsyslog: &Rsyslog) {
    let last = json_head(gateway);
    until("every event has arrived", PATIENCE, || {
        let arrived = rsyslog.received()?;
        let newest = arrived.iter().filter(|message| message.kind != "checkpoint").filter_map(number).max();
        ensure!(newest >= Some(last), "{newest:?} of {last}");
        Ok(())
    })
    .unwrap();
}

/// The number of a message's event.
fn number(message: &Message) -> Option<u64> {
    message.data.split_once("number=\"")?.1.split('"').next()?.parse().ok()
}

#[test]
fn syslog_gets_every_event_over_restarts_of_both() {
    let Ok(mut rsyslog) = Rsyslog::start().map_err(skipped) else { return };
    let postgres = shop();
    let mut options = guarded(&postgres);
    let to = format!("syslog+tcp://127.0.0.1:{}", rsyslog.port);
    options.more = format!("[[audit.sink]]\nname = \"collector\"\nto = \"{to}\"\nsend = \"both\"\n");
    let mut gateway = Gateway::start(options).unwrap();
    two_stories(&gateway);
    all_arrive(&gateway, &rsyslog);
    gateway.restart().unwrap();
    two_stories(&gateway);
    all_arrive(&gateway, &rsyslog);
    // While nobody listens, the log grows; the gateway crashes, too.
    rsyslog.stop().unwrap();
    two_stories(&gateway);
    gateway.kill().unwrap();
    gateway.restart().unwrap();
    two_stories(&gateway);
    rsyslog.go_on().unwrap();
    all_arrive(&gateway, &rsyslog);
    let last = json_head(&gateway);

    let messages = rsyslog.received().unwrap();
    assert!(messages.iter().all(|message| message.app == "portcullis"), "{messages:?}");
    let mut events = BTreeMap::new();
    for message in messages.iter().filter(|message| message.kind != "checkpoint") {
        let number = number(message).expect(&message.data);
        // What comes again is the same.
        assert_eq!(events.entry(number).or_insert(message).text, message.text);
    }
    let numbers: Vec<u64> = events.keys().copied().filter(|number| *number <= last).collect();
    assert!(numbers.iter().copied().eq(1..=last), "{last} events, and these came: {numbers:?}");
    let denied = messages.iter().find(|message| message.text.contains("Drop Table orders")).unwrap();
    assert_eq!((denied.priority.as_str(), denied.kind.as_str()), ("audit.warning", "command"));
    assert!(denied.data.contains(" principal=\"alice\" target=\"shop\""), "{}", denied.data);
    // What has arrived is an export that can be verified, however often some of it came.
    let lines: Vec<String> = messages.into_iter().map(|message| message.text).collect();
    let arrived = write(&gateway, "arrived.jsonl", &lines);
    let (holds, report) = verify(&gateway, &[&arrived, "--key", &key(&gateway), "--allow-unsigned"]);
    assert!(holds, "{report}");
}

/// A gateway whose data is on a small file system, before a server; none where that cannot be.
fn cramped(tmpfs: &Tmpfs, upstream: &portcullis_tests::postgres::Postgres, more: &str) -> Gateway {
    let mut options = Options::before(upstream);
    options.data_dir = tmpfs.path().join("data").display().to_string();
    options.more = more.into();
    Gateway::start(options).unwrap()
}

/// What the log says that it has lost.
fn losses(gateway: &Gateway) -> String {
    until("the losses are told", PATIENCE, || {
        let events = json(gateway, &["audit", "search", "--kind", "system", "--text", "could not be kept"])?;
        let lost = events.first().context("nothing was lost")?;
        Ok(event(lost).1["detail"].as_str().context("no detail")?.to_owned())
    })
    .unwrap()
}

#[test]
fn while_the_disk_is_full_nothing_runs_unrecorded() {
    let Ok(tmpfs) = Tmpfs::mount("16m").map_err(skipped) else { return };
    let postgres = shop();
    let gateway = cramped(&tmpfs, &postgres, STRICT);
    let client = Client::connect(&gateway, "alice").unwrap();
    client.query("create table marks (n integer)").unwrap();
    tmpfs.fill().unwrap();
    // What the file has room for in itself is used first.
    let mut ran = 0;
    let mut insert = || {
        let done = client.query(&format!("insert into marks values ({ran}) /* {} */", "x".repeat(2000)));
        ran += usize::from(done.is_ok());
        done
    };
    let refused = std::iter::repeat_with(&mut insert).find_map(Result::err).unwrap();
    assert!(refused.contains("commands are refused while the audit log cannot be written"), "{refused}");
    for _ in 0..10 {
        // What the store gives up to try again is taken, too.
        tmpfs.fill().unwrap();
        assert_eq!(insert().err().unwrap_or_else(|| refused.clone()), refused);
    }
    until("strangers are refused", PATIENCE, || {
        tmpfs.fill()?;
        let stranger = gateway.query("bob", "select 1")?.1;
        ensure!(stranger.contains("sessions are refused while the audit log cannot be written"), "{stranger}");
        Ok(())
    })
    .unwrap();
    assert_eq!(postgres.sql("shop", "select count(*) from marks").unwrap(), ran.to_string());
    assert_eq!(gateway.http("/healthz", None).unwrap().lines().next().unwrap(), "HTTP/1.1 200 OK");

    tmpfs.free().unwrap();
    until("commands run again", PATIENCE, || client.query("select 7").map_err(anyhow::Error::msg)).unwrap();
    assert_eq!(gateway.query("bob", "select 8").unwrap().0, "8");
    assert!(losses(&gateway).contains("what they were to record did not happen"));
    let (holds, report) = verify(&gateway, &["--key", &key(&gateway)]);
    assert!(holds, "{report}");
    let inserted = search(&gateway, &["--text", "insert into marks", "--kind", "command"]);
    assert!(inserted.len() >= ran, "{ran} ran, and {} are recorded", inserted.len());
}

#[test]
fn where_the_configuration_says_so_commands_go_on_and_the_losses_are_told() {
    let Ok(tmpfs) = Tmpfs::mount("16m").map_err(skipped) else { return };
    let postgres = shop();
    let gateway = cramped(&tmpfs, &postgres, "[audit]\non_failure = \"continue\"\n");
    let client = Client::connect(&gateway, "alice").unwrap();
    tmpfs.fill().unwrap();
    until("the log has failed", PATIENCE, || {
        client.query(&format!("select 1 /* {} */", "x".repeat(2000))).map_err(anyhow::Error::msg)?;
        ensure!(gateway.log()?.contains("the audit log cannot be written"));
        Ok(())
    })
    .unwrap();
    for unrecorded in 0..5 {
        assert_eq!(client.query(&format!("select {unrecorded}, 'unrecorded'")).unwrap().len(), 1);
    }
    assert_eq!(gateway.query("bob", "select 8").unwrap().0, "8", "sessions open, too");
    tmpfs.free().unwrap();
    assert!(losses(&gateway).contains("what they were to record went on"));
    client.query("select 'recorded'").unwrap();
    until("commands are recorded again", PATIENCE, || {
        ensure!(!search(&gateway, &["--text", "'recorded'"]).is_empty());
        Ok(())
    })
    .unwrap();
    let (holds, report) = verify(&gateway, &["--key", &key(&gateway)]);
    assert!(holds, "{report}");
}

#[test]
fn parameters_are_recorded_where_that_is_asked_for_and_nowhere_else() {
    const SECRET: &str = "a-bound-secret-8Rw";
    for wanted in [false, true] {
        let postgres = shop();
        let mut options = guarded(&postgres);
        options.more = format!(
            "[audit]\nparameters = {wanted}\n[[audit.sink]]\nname = \"all\"\nto = \"file:all.jsonl\"\nsend = \"both\"\n"
        );
        let gateway = Gateway::start(options).unwrap();
        let client = Client::connect(&gateway, "alice").unwrap();
        client.execute("select name from customers where note = $1 or id = $2", &[&SECRET, &4711_i32]);
        drop(client);
        let session = ended_session(&gateway);
        let told = gateway.ask("rita", &["sessions", "show", &session]).unwrap();
        assert!(told.contains("where note = $1"), "{told}");
        let last = json_head(&gateway);
        let sent = until("the events are in the file", PATIENCE, || {
            let text = fs::read_to_string(gateway.directory().join("all.jsonl"))?;
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            ensure!(events(&lines).last() >= Some(&last));
            Ok(text)
        })
        .unwrap();
        // The driver binds in the binary format, which is shown in hexadecimal.
        let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
        for text in [&told, &sent, &exported(&gateway).join("\n")] {
            assert!(!text.contains(SECRET), "{text}");
            assert_eq!(text.contains(&hex), wanted, "{text}");
        }
        assert_eq!(told.contains(&format!("$1 = | \\x{hex}\n")), wanted, "{told}");
    }
}
