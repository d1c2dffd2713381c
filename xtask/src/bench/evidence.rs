//! What it costs to record: the latency that the audit adds, and what its parts do by themselves.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::program;
use portcullis_tests::process::run;

use super::peers::{Peer, Peers};
use super::report::{median, name};
use super::{by_turns, example};

/// Those whose latency is compared; the first has the audit off.
const AUDITED: [Peer; 3] = [Peer::Open, Peer::Audited, Peer::Strict];

/// The aim for the audit at interval durability, against none.
const AIM: f64 = 1.05;

/// The latency of a transaction in microseconds.
#[derive(Clone, Copy)]
struct Latency {
    median: f64,
    p99: f64,
}

/// The sections of the page.
pub(super) fn measure(peers: &Peers, script: &str, rounds: usize, seconds: &str) -> Result<String> {
    let mut out = "## What the audit adds to a command\n\nSelect-only, simple, one connection after the other by turns; the latency of each transaction as \
         `pgbench --log` has it.\n\n| clients | | median | p99 | median / audit off | p99 / audit off |\n|---|---|---|---|---|---|\n"
        .to_owned();
    let mut verdict = String::new();
    for clients in ["1", "8"] {
        println!("==> latency with the audit, {clients} clients");
        let all = by_turns(rounds, AUDITED.len(), |place| latency(peers, AUDITED[place], script, clients, seconds))?;
        let over = |value: &dyn Fn(&Vec<Latency>) -> f64| median(all.iter().map(value).collect());
        for (place, peer) in AUDITED.iter().enumerate() {
            let (middle, late) = (over(&|r| r[place].median), over(&|r| r[place].p99));
            let by_median = over(&|r| r[place].median / r[0].median);
            let by_p99 = over(&|r| r[place].p99 / r[0].p99);
            let who = name(*peer);
            let _ =
                writeln!(out, "| {clients} | {who} | {middle:.0} µs | {late:.0} µs | {by_median:.3} | {by_p99:.3} |");
            if *peer == Peer::Audited {
                let met = if by_median <= AIM && by_p99 <= AIM { "met" } else { "**missed**" };
                let _ = write!(verdict, "With {clients} client(s): {met}. ");
            }
        }
    }
    let _ = write!(out, "\nAim: within 5 % at the interval setting. {}\n\n", verdict.trim_end());
    out += "## Audit and recordings by themselves\n\n```text\n";
    out += &figures()?;
    Ok(out + "```\n\n")
}

fn latency(peers: &Peers, peer: Peer, script: &str, clients: &str, seconds: &str) -> Result<Latency> {
    let (port, user, password) = peers.address(peer);
    let scratch = Scratch::new("latency")?;
    let mut pgbench = Command::new(program("pgbench")?);
    pgbench.args(["-n", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-T", seconds, "-f", script]);
    pgbench.args(["-c", clients, "-M", "simple", "--log", "--log-prefix", "latency", "shop"]);
    run(pgbench.current_dir(scratch.path()).env("PGPASSWORD", password))?;
    let mut times: Vec<f64> = Vec::new();
    for entry in fs::read_dir(scratch.path())? {
        let log = fs::read_to_string(entry?.path())?;
        for line in log.lines() {
            // Client, number, time in microseconds, script, and when.
            let time = line.split(' ').nth(2).and_then(|time| time.parse().ok());
            times.push(time.context("pgbench logged something else")?);
        }
    }
    ensure!(times.len() > 100, "pgbench logged only {} transactions", times.len());
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(Latency { median: at(0.5), p99: at(0.99) })
}

/// What the parts print of themselves.
fn figures() -> Result<String> {
    let mut text = String::new();
    for (package, name) in [("portcullis-store", "audit"), ("portcullis-recording", "throughput")] {
        println!("==> {name}");
        text += &run(&mut example(package, name))?;
    }
    Ok(text)
}
