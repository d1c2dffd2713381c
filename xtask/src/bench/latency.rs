//! How long single commands take, with few clients and with many.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::program;
use portcullis_tests::process::run;

use super::peers::{Peer, Peers};
use super::report::{median, name};
use super::{ALL, Address, by_turns};

/// The latency of a transaction in microseconds.
#[derive(Clone, Copy)]
pub(super) struct Latency {
    pub(super) median: f64,
    pub(super) p99: f64,
}

/// The section of the page.
pub(super) fn measure(peers: &Peers, script: &str, many: &str, rounds: usize, seconds: &str) -> Result<String> {
    let mut out = "## Latency of a command\n\nSelect-only, prepared; the latency of each transaction as `pgbench --log` has it. Clients ask \
         without a pause, so that with many of them most of it is waiting for a processor.\n\n\
         | clients | | median | p99 | median / direct | p99 / direct | median / PgBouncer | p99 / PgBouncer |\n\
         |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for clients in ["8", many] {
        println!("==> latency, {clients} clients");
        let arguments = ["-c", clients, "-M", "prepared"];
        let all = by_turns(rounds, ALL.len(), |place| latency(peers.address(ALL[place]), &arguments, script, seconds))?;
        let over = |value: &dyn Fn(&Vec<Latency>) -> f64| median(all.iter().map(value).collect());
        let to = |peer: Peer| ALL.iter().position(|p| *p == peer).unwrap_or(0);
        for (place, peer) in ALL.iter().enumerate() {
            let (middle, late) = (over(&|r| r[place].median), over(&|r| r[place].p99));
            let _ = write!(out, "| {clients} | {} | {middle:.0} µs | {late:.0} µs |", name(*peer));
            for other in [Peer::Direct, Peer::PgBouncer].map(to) {
                let by_median = over(&|r| r[place].median / r[other].median);
                let by_p99 = over(&|r| r[place].p99 / r[other].p99);
                let _ = write!(out, " {by_median:.2} | {by_p99:.2} |");
            }
            out.push('\n');
        }
    }
    Ok(out + "\n")
}

/// Runs a script again and again, and looks at each time.
pub(super) fn latency(
    (port, user, password): Address,
    arguments: &[&str],
    script: &str,
    seconds: &str,
) -> Result<Latency> {
    let scratch = Scratch::new("latency")?;
    let mut pgbench = Command::new(program("pgbench")?);
    pgbench.args(["-n", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-T", seconds, "-f", script]);
    pgbench.args(arguments).args(["--log", "--log-prefix", "latency", "shop"]);
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
