//! How long it takes until the first row of a long result is there: whoever gathers rows before they pass makes clients wait.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use portcullis_tests::postgres::{Postgres, ROLE};
use portcullis_tests::process::until;

use super::growth::{count, series};
use super::peers::{Peer, Peers};
use super::raw::Client;
use super::report::{median, name};
use super::{Address, by_turns};

const WAYS: [Peer; 5] = [Peer::Direct, Peer::PgBouncer, Peer::Open, Peer::Masked, Peer::Scanned];

/// How many milliseconds after a direct connection's the first row may come.
const AIM: f64 = 3.0;

/// The section of the page.
pub(super) fn measure(postgres: &Postgres, peers: &Peers, quick: bool) -> Result<String> {
    let (times, rows) = if quick { (3, 100_000) } else { (30, 2_000_000) };
    let mut medians = Vec::new();
    for query in ["select * from wide", &series(rows)] {
        println!("==> first row of `{query}`");
        let all = by_turns(times, WAYS.len(), |place| first_row(postgres, peers.address(WAYS[place]), query))?;
        let over = |value: &dyn Fn(&Vec<f64>) -> f64| median(all.iter().map(value).collect());
        // Its own time, and how much later than directly it was within a round.
        let pairs: Vec<(f64, f64)> =
            (0..WAYS.len()).map(|place| (over(&|r| r[place]), over(&|r| r[place] - r[0]))).collect();
        medians.push(pairs);
    }
    let mut out = format!(
        "## First row of a long result\n\nFrom sending the query to the first byte of the first row, in a session that has asked the same with `limit 1`. \
         `wide` has 100 k rows of 5 columns; the series has {} rows of a number and an address, made one by one. \
         Medians of {times}, by turns.\n\n| | `wide` | later than direct | series | later than direct |\n|---|---|---|---|---|\n",
        count(rows)
    );
    let mut verdict = String::new();
    for (place, peer) in WAYS.iter().enumerate() {
        let _ = write!(out, "| {} |", name(*peer));
        for pairs in &medians {
            let (taken, later) = pairs[place];
            let _ = write!(out, " {taken:.2} ms | {later:.2} ms |");
        }
        out.push('\n');
        if !matches!(peer, Peer::Direct | Peer::PgBouncer) {
            let met = medians.iter().all(|pairs| pairs[place].1 <= AIM);
            let _ = write!(verdict, " {}: {}.", name(*peer), if met { "met" } else { "**missed**" });
        }
    }
    let _ = write!(out, "\nAim: at most {AIM} ms later than direct.{verdict}\n\n");
    Ok(out)
}

/// Milliseconds.
fn first_row(postgres: &Postgres, address: Address, query: &str) -> Result<f64> {
    // A result that was left in its middle must not be made beside this one.
    let busy = format!("select count(*) from pg_stat_activity where usename = '{ROLE}' and state = 'active'");
    until("the server has nothing to do", Duration::from_secs(30), || {
        ensure!(postgres.sql("shop", &busy)? == "0", "it still makes a result");
        Ok(())
    })?;
    let mut client = Client::connect(address)?;
    client.discard(&format!("{query} limit 1"), 1, |_| Ok(true))?;
    Ok(client.first_row(query)?.as_secs_f64() * 1e3)
}
