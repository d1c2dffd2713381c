//! What each further policy adds to a command.

use std::fmt::Write as _;

use anyhow::Result;
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::Postgres;

use super::report::over;
use super::{PASSWORD, by_turns, plain, timed};

/// How many policies a command is asked of.
const CHAINS: [usize; 7] = [0, 1, 2, 3, 5, 10, 20];

/// Their names.
const NAMES: [&str; 20] = [
    "block-1", "block-2", "block-3", "block-4", "block-5", "block-6", "block-7", "block-8", "block-9", "block-10",
    "block-11", "block-12", "block-13", "block-14", "block-15", "block-16", "block-17", "block-18", "block-19",
    "block-20",
];

/// The section of the page.
pub(super) fn measure(postgres: &Postgres, script: &str, rounds: usize, seconds: &str) -> Result<String> {
    println!("==> chains of policies");
    let start = |count: &usize| {
        let with = |options: Options, name: &&'static str| {
            options.with(name, "policies/no-destructive-sql", "capabilities = [\"clock\"]")
        };
        Gateway::start(NAMES[..*count].iter().fold(plain(postgres), with))
    };
    let gateways = CHAINS.iter().map(start).collect::<Result<Vec<_>>>()?;
    let all = by_turns(rounds, gateways.len(), |place| {
        let (process, address) = (gateways[place].id(), (gateways[place].port, "alice", PASSWORD));
        timed(Some(process), address, &["-c", "8", "-M", "prepared"], seconds, script)
    })?;
    let mut out = "## Policies on one command\n\n`no-destructive-sql` under different names on one target, without audit; 8 clients, select-only, prepared.\n\n\
         | policies | TPS | / none | CPU per transaction | of it for each policy |\n|---|---|---|---|---|\n"
        .to_owned();
    for (place, count) in CHAINS.iter().enumerate() {
        let (tps, cpu) = (over(&all, |runs| runs[place].tps), over(&all, |runs| runs[place].cpu_micros));
        let ratio = over(&all, |runs| runs[place].tps / runs[0].tps);
        let each = over(&all, |runs| (runs[place].cpu_micros - runs[0].cpu_micros) / *count as f64);
        let each = if *count == 0 { "–".to_owned() } else { format!("{each:.2} µs") };
        let _ = writeln!(out, "| {count} | {tps:.1} | {ratio:.2} | {cpu:.1} µs | {each} |");
    }
    Ok(out + "\n")
}
