//! What it costs that policies come and go: loads, reloads, sessions that start them, and memory.

mod hot;

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use portcullis_tests::gateway::{Gateway, Options, token};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::{self, Postgres};

use super::peers::{guarded, sessions_kib};
use super::report::{median, over};
use super::{DATA, LIMITS, PASSWORD, POINT, Rounds, Run, by_turns, load, plain, timed};

/// The heading of the section.
pub(super) const HEADING: &str = "## Policies that come and go";

/// The section of the page.
pub(super) fn measure(quick: bool) -> Result<String> {
    let (rounds, loads, seconds, sessions) = if quick { (1, 1, "1", 100) } else { (7, 5, "3", 1000) };
    let options = postgres::Options { setup: DATA.into(), connections: sessions + 100, ..postgres::Options::default() };
    let postgres = Postgres::start(&options)?;
    let scratch = Scratch::new("rollout")?;
    let script = |name: &str, text: &str| -> Result<String> {
        let path = scratch.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (point, one) = (script("point.sql", POINT)?, script("one.sql", "select 1;\n")?);
    let mut out = format!(
        "{HEADING}\n\nTPS and processor time: medians over {rounds} rounds of {seconds} s, by turns, without audit.\n\n"
    );
    out += &hot::measure(&postgres, loads)?;
    out += &reloads(&postgres, &point, rounds, seconds)?;
    out += &connections(&postgres, &one, rounds, seconds)?;
    out += &memory(&postgres, sessions)?;
    Ok(out)
}

/// Settings that change as fast as the gateway takes them, beside a load.
fn reloads(postgres: &Postgres, script: &str, rounds: usize, seconds: &str) -> Result<String> {
    println!("==> reloads under load");
    let settings = |number: u32| format!("{LIMITS}\nsettings = {{ message = \"add a WHERE clause ({number})\" }}");
    let with = |number| {
        plain(postgres).with("no-mass-delete", "examples/write-a-policy/rust/no-mass-delete", &settings(number))
    };
    let mut gateway = Gateway::start(with(0))?;
    let address = (gateway.port, "alice", PASSWORD);
    let header = format!("Authorization: Bearer {}\r\nConnection: close\r\n", token("olga")?);
    let (mut number, mut each_second) = (0, Vec::new());
    let all: Vec<Vec<f64>> = by_turns(rounds, 2, |place| {
        if place == 0 {
            return Ok(load(address, &["-c", "4"], seconds, script)?.tps);
        }
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| load(address, &["-c", "4"], seconds, script));
            let (start, first) = (Instant::now(), number);
            while !beside.is_finished() {
                number += 1;
                gateway.configure(|options| *options = with(number))?;
                let answer = gateway.post("/v1/reload", &header, "")?;
                ensure!(answer.starts_with("HTTP/1.1 200"), "a reload was refused: {answer}");
            }
            each_second.push(f64::from(number - first) / start.elapsed().as_secs_f64());
            Ok(beside.join().map_err(|_| anyhow!("the load has panicked"))??.tps)
        })
    })?;
    let (_, told) = gateway.query("alice", "delete from accounts")?;
    ensure!(told.contains(&format!("({number})")), "the newest settings are not in force; psql was told: {told}");
    let tps = |place: usize| median(all.iter().map(|round| round[place]).collect());
    let ratio = median(all.iter().map(|round| round[1] / round[0]).collect());
    Ok(format!(
        "### Reloads under load\n\nThe setting of a policy in Rust changes, and `POST /v1/reload` is sent as soon as the one before is answered, on the \
         same machine as 4 clients, select-only, simple.\n\n| | TPS | / without | reloads |\n|---|---|---|---|\n\
         | without reloads | {:.1} | 1.00 | – |\n| with reloads | {:.1} | {ratio:.2} | {:.1} a second |\n\n",
        tps(0),
        tps(1),
        median(each_second)
    ))
}

/// Sessions that each start an instance.
fn connections(postgres: &Postgres, script: &str, rounds: usize, seconds: &str) -> Result<String> {
    println!("==> sessions a second");
    let with = |language: &str| {
        plain(postgres).with("no-mass-delete", &format!("examples/write-a-policy/{language}/no-mass-delete"), LIMITS)
    };
    let gateways = [plain(postgres), with("rust"), with("python")];
    let gateways = gateways.into_iter().map(Gateway::start).collect::<Result<Vec<_>>>()?;
    let all = by_turns(rounds, gateways.len(), |place| run(&gateways[place], &["-c", "1", "-C"], seconds, script))?;
    let mut out = "### Sessions a second\n\nOne after the other, SCRAM on both sides, one command each; a policy's instance is started for each session.\n\n\
         | policy | sessions a second | / none | CPU per session |\n|---|---|---|---|\n"
        .to_owned();
    rows(&mut out, &all, &["none", "no-mass-delete in Rust", "no-mass-delete in Python"]);
    Ok(out)
}

/// Sessions that are held open.
fn memory(postgres: &Postgres, sessions: u32) -> Result<String> {
    println!("==> memory of {sessions} sessions");
    let options = Options {
        target: format!("max_sessions = {sessions}\n"),
        more: format!("[limits]\nconnections = {sessions}\n"),
        ..guarded(postgres)
    };
    let gateway = Gateway::start(options)?;
    let [awake, parked] = sessions_kib(&gateway, sessions)?;
    Ok(format!(
        "### Memory of {sessions} sessions with three policies\n\nThe growth of the gateway's resident memory, for each session: {awake:.0} KiB at the most while they are \
         opened and asked one command each, {parked:.0} KiB when they have been quiet for 8 s and their instances are given back.\n\n"
    ))
}

/// Throughput and processor time, where the first is the measure of the others.
fn rows(out: &mut String, all: &Rounds, names: &[impl AsRef<str>]) {
    for (place, name) in names.iter().enumerate() {
        let (tps, cpu) = (over(all, |runs| runs[place].tps), over(all, |runs| runs[place].cpu_micros));
        let ratio = over(all, |runs| runs[place].tps / runs[0].tps);
        let _ = writeln!(out, "| {} | {tps:.1} | {ratio:.2} | {cpu:.1} µs |", name.as_ref());
    }
    out.push('\n');
}

fn run(gateway: &Gateway, arguments: &[&str], seconds: &str, script: &str) -> Result<Run> {
    timed(Some(gateway.id()), (gateway.port, "alice", PASSWORD), arguments, seconds, script)
}
