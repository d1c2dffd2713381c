//! How many short values a second the detectors look at on one core, through the engine and the plugin `mask`: `detectors <mask.wasm> <batches>`
//! prints lines of the detectors, and the values a second where there is nothing to find and where there is something in every eighth
//! value, with tabs between. All of them together are the last line.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod shared;

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_engine::{PolicyLimits, PolicySpec};
use portcullis_verdict::{Batch, Chunk, Column, Decide, Judge, ResultSet};

use self::shared::{column, command, engine, install, policy, session};

/// What is looked for, and an example of each.
const DETECTORS: [(&str, &str); 6] = [
    ("email", "me@acme.com"),
    ("card", "4111 1111 1111 1111"),
    ("ssn", "123-45-6789"),
    ("iban", "DE89370400440532013000"),
    ("phone", "+49 30 12345678"),
    ("secret", "ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
];

const ALL: &str = "all";
const ROWS: u32 = 256;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(mask), Some(batches)) = (arguments.next(), arguments.next().and_then(|n| n.parse().ok())) else {
        eprintln!("usage: detectors <mask.wasm> <batches>");
        std::process::exit(2);
    };
    let mask: Arc<[u8]> = std::fs::read(mask).unwrap().into();
    let names = DETECTORS.map(|(name, _)| name);
    let looks = |name: &str, detectors: &[&str]| -> Vec<PolicySpec> {
        let settings = format!(r#"{{"detect": {{"detectors": {detectors:?}}}}}"#);
        vec![policy(name, &mask, &settings, PolicyLimits::default())]
    };
    let mut chains: Vec<_> = names.iter().map(|name| (*name, looks(name, &[name]))).collect();
    chains.push((ALL, looks(ALL, &names)));
    let engine = engine(None);
    install(&engine, &chains);
    let (clean, found) = (batch(false), batch(true));
    for (target, _) in &chains {
        let rate = |values, finds| rate(&mut *engine.judge(&session(target)), values, finds, batches);
        println!("{target}\t{:.0}\t{:.0}", rate(&clean, false), rate(&found, true));
    }
}

/// Values a second, of so many batches at the median.
fn rate(judge: &mut dyn Judge, values: &Batch, finds: bool, batches: usize) -> f64 {
    let (command, result) = (command(), result());
    let snapshot = judge.check(&command, &[], &|_| command.statement.clone()).snapshot;
    let plan = judge.plan(&snapshot, &command, &result).unwrap();
    let mut look = || {
        let mut batch = values.clone();
        let start = Instant::now();
        judge.filter(&snapshot, &command, &result, &plan, &mut batch).unwrap();
        let taken = start.elapsed();
        assert_eq!((0..ROWS as usize).any(|row| batch.chunks[0].is_changed(row)), finds);
        taken
    };
    for _ in 0..batches / 10 {
        look();
    }
    let mut taken: Vec<Duration> = (0..batches).map(|_| look()).collect();
    taken.sort_unstable();
    f64::from(ROWS) / taken[batches / 2].as_secs_f64()
}

/// One column of texts.
fn result() -> Arc<ResultSet> {
    let note = Column {
        name: "note".into(),
        type_name: "text".into(),
        computed: false,
        origins: vec![column("customers", "note")],
        labels: vec![],
    };
    Arc::new(ResultSet { id: 1, columns: vec![note].into() })
}

/// Names, numbers, states, days and places; and in their midst what is looked for, by turns.
fn batch(finds: bool) -> Batch {
    let mut chunk = Chunk::new(0);
    for row in 0..ROWS {
        let value = match row % 8 {
            0 if finds => DETECTORS[row as usize / 8 % DETECTORS.len()].1.to_owned(),
            0 => "Lisbon".into(),
            1 => format!("order {}", 10_000 + row),
            2 => format!("Anna Berg {row}"),
            3 => format!("2026-05-{:02}", row % 28 + 1),
            4 => "paid by card".into(),
            5 => format!("GB-{row}-x"),
            6 => format!("v1.20.{row}"),
            _ => "3 days late".into(),
        };
        chunk.push(Some(value.as_bytes()));
    }
    Batch { rows: ROWS, chunks: vec![chunk], dropped: vec![] }
}
