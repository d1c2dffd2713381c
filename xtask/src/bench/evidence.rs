//! What it costs to record: the latency that the audit adds, and what its parts do by themselves.

use std::fmt::Write as _;

use anyhow::Result;
use portcullis_tests::process::run;

use super::latency::{Latency, latency};
use super::peers::{Peer, Peers};
use super::report::{median, name};
use super::{by_turns, example};

/// Those whose latency is compared; the first has the audit off.
const AUDITED: [Peer; 3] = [Peer::Open, Peer::Audited, Peer::Strict];

/// The aim for the audit at interval durability, against none.
const AIM: f64 = 1.05;

/// The sections of the page.
pub(super) fn measure(peers: &Peers, script: &str, rounds: usize, seconds: &str) -> Result<String> {
    let mut out = "## What the audit adds to a command\n\nSelect-only, simple, one connection after the other by turns; the latency of each transaction as \
         `pgbench --log` has it.\n\n| clients | | median | p99 | median / audit off | p99 / audit off |\n|---|---|---|---|---|---|\n"
        .to_owned();
    let mut verdict = String::new();
    for clients in ["1", "8"] {
        println!("==> latency with the audit, {clients} clients");
        let arguments = ["-c", clients, "-M", "simple"];
        let all = by_turns(rounds, AUDITED.len(), |place| {
            latency(peers.address(AUDITED[place]), &arguments, script, seconds)
        })?;
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

/// What the parts print of themselves.
fn figures() -> Result<String> {
    let mut text = String::new();
    for (package, name) in [("portcullis-store", "audit"), ("portcullis-recording", "throughput")] {
        println!("==> {name}");
        text += &run(&mut example(package, name))?;
    }
    Ok(text)
}
