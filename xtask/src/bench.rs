//! What the gateway costs, next to a direct connection and to PgBouncer, and what policies cost: one machine, one run, all by turns.

mod chains;
mod detectors;
mod evidence;
mod first_row;
mod growth;
mod languages;
mod latency;
mod peers;
mod raw;
mod report;
mod rollout;

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use portcullis_tests::gateway::{Options, USER_PASSWORD};
use portcullis_tests::place::{Scratch, root};
use portcullis_tests::postgres::{self, Postgres, program};
use portcullis_tests::process::run;

use self::peers::{Peer, Peers, cpu_micros};
use crate::{setup, steps};

/// A table for point reads, and one whose 100 000 rows of 5 columns are 13 MB on the wire. Long series would be compiled before their first
/// row, which is nothing to measure here.
const DATA: &str = "create table accounts as select n as id, n * 7 as balance, repeat('x', 84) as filler from generate_series(1, 100000) n; \
     alter table accounts add primary key (id); \
     create table wide as select n as id, 'customer number ' || n as name, 'user' || n || '@example.com' as email, \
       md5(n::text) as token, 'a note about ' || md5((n * 3)::text) as note from generate_series(1, 100000) n; \
     grant select on accounts, wide to public; analyze accounts; analyze wide; \
     alter database shop set jit = off";

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
        peers: ALL,
    },
    Workload {
        name: "new connections, 8 clients, SCRAM on both sides",
        script: "select 1;\n",
        arguments: &["-c", "8", "-C"],
        peers: ALL,
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

/// Where somebody logs in: port, user and password.
type Address = (u16, &'static str, &'static str);

/// The page of all that is measured of the gateway.
const PAGE: &str = "docs/benchmarks.md";

/// How everything that is measured is built.
const PROFILE: &str = "release";

/// Enough for an interpreter as a policy, also on a machine under load.
const LIMITS: &str = "limits = { memory_mib = 256, call_ms = 5000 }";

/// Measures everything or one part of it, and writes its pages; a quick run only prints.
pub(crate) fn bench(part: &[&str], quick: bool) -> Result<()> {
    let (postgres, rollout, languages) = match part {
        [] => (true, true, true),
        ["postgres"] => (true, false, false),
        ["rollout"] => (false, true, false),
        ["languages"] => (false, false, true),
        other => bail!("there is no bench `{}`; its parts are `languages`, `postgres` and `rollout`", other.join(" ")),
    };
    setup::setup()?;
    let gateway = ["build", "--profile", PROFILE, "-p", "portcullis-gateway", "--locked"];
    steps::show("build of the gateway", &mut steps::cargo(&gateway))?;
    steps::plugins(PROFILE)?;
    if languages {
        publish("docs/languages.md", &languages::page(quick)?, quick)?;
    }
    if !postgres && !rollout {
        return Ok(());
    }
    // What is not measured stays as it was.
    let path = root().join(PAGE);
    let old = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let section = if rollout {
        languages::build_missing()?;
        rollout::measure(quick)?
    } else {
        report::section(&old, rollout::HEADING).to_owned()
    };
    let page = if postgres { page(&section, quick)? } else { report::with_section(&old, rollout::HEADING, &section) };
    publish(PAGE, &page, quick)
}

/// The page of everything else, with a section that was measured before.
fn page(section: &str, quick: bool) -> Result<String> {
    let calls = policy_calls()?;
    let (rounds, seconds, many) = if quick { (1, "1", "20") } else { (5, "2", "200") };
    // PgBouncer keeps those of many clients while others open theirs.
    let options = postgres::Options { setup: DATA.into(), connections: 600, ..postgres::Options::default() };
    let postgres = Postgres::start(&options)?;
    let peers = Peers::start(&postgres)?;
    let scratch = Scratch::new("bench")?;
    let script = scratch.path().join("script.sql");
    let path = script.display().to_string();
    let mut results = Vec::new();
    for workload in WORKLOADS {
        println!("==> {}", workload.name);
        std::fs::write(&script, workload.script)?;
        let all = by_turns(rounds, workload.peers.len(), |place| {
            let peer = workload.peers[place];
            timed(peers.process(peer), peers.address(peer), workload.arguments, seconds, &path)
        })?;
        results.push((workload, all));
    }
    let parked = peers.parked_kib()?;
    std::fs::write(&script, POINT)?;
    let sections = [
        latency::measure(&peers, &path, many, rounds, seconds)?,
        first_row::measure(&postgres, &peers, quick)?,
        growth::measure(&postgres, quick)?,
        chains::measure(&postgres, &path, rounds, seconds)?,
        detectors::measure(quick)?,
        evidence::measure(&peers, &path, rounds, seconds)?,
        section.to_owned(),
    ];
    Ok(report::write(&results, &calls, parked, &sections.concat(), (rounds, seconds)))
}

/// Shows a page, and writes it unless it was measured in a hurry.
fn publish(file: &str, text: &str, quick: bool) -> Result<()> {
    println!("\n{text}");
    if !quick {
        std::fs::write(root().join(file), text).with_context(|| format!("{file} cannot be written"))?;
    }
    Ok(())
}

/// Runs each of so many in every round. Each round begins with another, so that none is always the first or the last.
fn by_turns<T>(rounds: usize, count: usize, mut run: impl FnMut(usize) -> Result<T>) -> Result<Vec<Vec<T>>> {
    let mut round = |first: usize| -> Result<Vec<T>> {
        let mut runs = (0..count).map(|turn| run((turn + first) % count)).collect::<Result<Vec<T>>>()?;
        runs.rotate_right(first % count);
        Ok(runs)
    };
    (0..rounds).map(&mut round).collect()
}

/// A gateway without policies and without audit.
fn plain(postgres: &Postgres) -> Options {
    Options { profile: PROFILE, more: "[audit]\nenabled = false\n".into(), ..Options::before(postgres) }
}

/// A load, and the processor time that the proxy's process spends on it.
fn timed(proxy: Option<u32>, address: Address, arguments: &[&str], seconds: &str, script: &str) -> Result<Run> {
    let used = || proxy.map_or(Ok(0.0), cpu_micros);
    let before = used()?;
    let Load { tps, done } = load(address, arguments, seconds, script)?;
    let cpu = used()? - before;
    Ok(Run { tps, cpu_micros: if done > 0.0 { cpu / done } else { 0.0 } })
}

/// What pgbench did: transactions in a second, and in all.
struct Load {
    tps: f64,
    done: f64,
}

/// Runs a script again and again.
fn load((port, user, password): Address, arguments: &[&str], seconds: &str, script: &str) -> Result<Load> {
    let mut pgbench = Command::new(program("pgbench")?);
    pgbench.args(["-n", "-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-T", seconds, "-f", script]);
    let output = run(pgbench.args(arguments).arg("shop").env("PGPASSWORD", password))?;
    let number = |prefix: &str| -> Result<f64> {
        let line =
            output.lines().find_map(|line| line.strip_prefix(prefix)).context("pgbench printed something else")?;
        Ok(line.split([' ', '/']).next().unwrap_or_default().parse()?)
    };
    Ok(Load { tps: number("tps = ")?, done: number("number of transactions actually processed: ")? })
}

/// An example program of a crate, to which arguments can be added.
fn example(package: &str, name: &str) -> Command {
    let mut run =
        steps::cargo(&["run", "--profile", PROFILE, "--locked", "-q", "-p", package, "--example", name, "--"]);
    run.current_dir(root());
    run
}

/// Times single calls into policies, in the engine alone: lines of a name, a tab, and a figure with its unit.
fn policy_calls() -> Result<Vec<(String, String)>> {
    println!("==> policy calls");
    let mut measure = example("portcullis-engine", "measure");
    let output = run(measure.args(["plugins/dist/block.wasm", "plugins/dist/mask.wasm"]))?;
    Ok(output.lines().filter_map(|line| line.split_once('\t')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
}

/// The password of the gateway's users, which PgBouncer's user has too.
const PASSWORD: &str = USER_PASSWORD;
