//! What the gateway costs, next to a direct connection and to PgBouncer: one machine, one run, all by turns.

mod evidence;
mod peers;
mod report;

use std::process::Command;

use anyhow::{Context as _, Result};
use portcullis_tests::gateway::USER_PASSWORD;
use portcullis_tests::place::{Scratch, root};
use portcullis_tests::postgres::{self, Postgres, program};
use portcullis_tests::process::run;

use self::peers::{Peer, Peers};
use crate::{setup, steps};

/// A table for point reads, and one whose 100 000 rows of 5 columns are 13 MB on the wire.
const DATA: &str = "create table accounts as select n as id, n * 7 as balance, repeat('x', 84) as filler from generate_series(1, 100000) n; \
     alter table accounts add primary key (id); \
     create table wide as select n as id, 'customer number ' || n as name, 'user' || n || '@example.com' as email, \
       md5(n::text) as token, 'a note about ' || md5((n * 3)::text) as note from generate_series(1, 100000) n; \
     grant select on accounts, wide to public; analyze accounts; analyze wide";

/// One thing that is measured.
struct Workload {
    name: &'static str,
    script: &'static str,
    arguments: &'static [&'static str],
    peers: &'static [Peer],
}

const ALL: &[Peer] = &[Peer::Direct, Peer::PgBouncer, Peer::Open, Peer::Guarded];
const POINT: &str = "\\set id random(1, 100000)\nselect balance from accounts where id = :id;\n";

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "select-only, 1 client, simple",
        script: POINT,
        arguments: &["-c", "1", "-M", "simple"],
        peers: ALL,
    },
    Workload {
        name: "select-only, 8 clients, simple",
        script: POINT,
        arguments: &["-c", "8", "-M", "simple"],
        peers: ALL,
    },
    Workload {
        name: "select-only, 1 client, prepared",
        script: POINT,
        arguments: &["-c", "1", "-M", "prepared"],
        peers: ALL,
    },
    Workload {
        name: "select-only, 8 clients, prepared",
        script: POINT,
        arguments: &["-c", "8", "-M", "prepared"],
        peers: ALL,
    },
    Workload {
        name: "100 k rows × 5 columns",
        script: "select * from wide;\n",
        arguments: &["-c", "1"],
        peers: &[Peer::Direct, Peer::PgBouncer, Peer::Open, Peer::Recorded, Peer::Masked, Peer::Scanned],
    },
    Workload {
        name: "new connections, SCRAM on both sides",
        script: "select 1;\n",
        arguments: &["-c", "1", "-C"],
        peers: &[Peer::Direct, Peer::PgBouncer, Peer::Open, Peer::Guarded],
    },
];

/// One run of a workload at one peer.
#[derive(Clone, Copy)]
struct Run {
    tps: f64,
    /// Of the proxy, per transaction, in microseconds; 0 for a direct connection.
    cpu_micros: f64,
}

/// Every round of a workload: one run for each of its peers.
type Rounds = Vec<Vec<Run>>;

/// Measures everything and writes `docs/benchmarks.md`; a quick run only prints.
pub(crate) fn bench(quick: bool) -> Result<()> {
    setup::setup()?;
    steps::show("release build", &mut steps::cargo(&["build", "--release", "-p", "portcullis-gateway", "--locked"]))?;
    steps::plugins("release")?;
    let calls = policy_calls()?;
    let (rounds, seconds) = if quick { (3, "1") } else { (7, "3") };
    let postgres = Postgres::start(&postgres::Options { setup: DATA.into(), ..postgres::Options::default() })?;
    let peers = Peers::start(&postgres)?;
    let scratch = Scratch::new("bench")?;
    let script = scratch.path().join("script.sql");
    let mut results = Vec::new();
    for workload in WORKLOADS {
        println!("==> {}", workload.name);
        std::fs::write(&script, workload.script)?;
        let mut all: Rounds = Vec::new();
        for round in 0..rounds {
            // Each round begins with another peer, so that none is always the first or the last.
            let mut runs = vec![Run { tps: 0.0, cpu_micros: 0.0 }; workload.peers.len()];
            for turn in 0..workload.peers.len() {
                let place = (turn + round) % workload.peers.len();
                runs[place] = measure(&peers, workload.peers[place], workload, seconds, &script.display().to_string())?;
            }
            all.push(runs);
        }
        results.push((workload, all));
    }
    let parked = peers.parked_kib()?;
    std::fs::write(&script, POINT)?;
    let evidence = evidence::measure(&peers, &script.display().to_string(), rounds, seconds)?;
    let text = report::write(&results, &calls, parked, &evidence, (rounds, seconds));
    println!("\n{text}");
    if !quick {
        std::fs::write(root().join("docs/benchmarks.md"), text)?;
    }
    Ok(())
}

fn measure(peers: &Peers, peer: Peer, workload: &Workload, seconds: &str, script: &str) -> Result<Run> {
    let (port, user, password) = peers.address(peer);
    let before = peers.cpu_micros(peer)?;
    let mut pgbench = Command::new(program("pgbench")?);
    pgbench.args(["-n", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-T", seconds, "-f", script]);
    let output = run(pgbench.args(workload.arguments).arg("shop").env("PGPASSWORD", password))?;
    let cpu = peers.cpu_micros(peer)? - before;
    let number = |prefix: &str| -> Result<f64> {
        let line =
            output.lines().find_map(|line| line.strip_prefix(prefix)).context("pgbench printed something else")?;
        Ok(line.split([' ', '/']).next().unwrap_or_default().parse()?)
    };
    let done = number("number of transactions actually processed: ")?;
    Ok(Run { tps: number("tps = ")?, cpu_micros: if done > 0.0 { cpu / done } else { 0.0 } })
}

/// Times single calls into policies, in the engine alone: lines of a name, a tab, and a figure with its unit.
fn policy_calls() -> Result<Vec<(String, String)>> {
    println!("==> policy calls");
    let mut measure =
        steps::cargo(&["run", "--release", "--locked", "-q", "-p", "portcullis-engine", "--example", "measure", "--"]);
    let output = run(measure.args(["plugins/dist/block.wasm", "plugins/dist/mask.wasm"]).current_dir(root()))?;
    Ok(output.lines().filter_map(|line| line.split_once('\t')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
}

/// The password of the gateway's users, which PgBouncer's user has too.
const PASSWORD: &str = USER_PASSWORD;
