//! Times single calls into policies, in the engine alone: `measure <block.wasm> <mask.wasm>` prints lines of a name, a
//! tab, and a figure with its unit.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod shared;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_engine::PolicyLimits;
use portcullis_verdict::{Batch, Chunk, Column, Command, Decide, Judge, Outcome, ResultSet};

use self::shared::{column, command, engine, install, session};

/// As in `policies/no-destructive-sql`.
const BLOCK: &str = r#"{"rules": [
    {"name": "drop", "verbs": ["DROP TABLE", "DROP FOREIGN TABLE", "DROP MATERIALIZED VIEW", "DROP SCHEMA",
        "DROP DATABASE", "DROP OWNED", "DROP TABLESPACE"], "except": {"groups": ["dba"]}},
    {"name": "truncate", "verbs": ["TRUNCATE*"], "except": {"groups": ["dba"]}},
    {"name": "opaque", "effects": ["opaque"], "except": {"groups": ["dba"]}},
    {"name": "missing-where", "missing_where": true, "except": {"groups": ["dba"]}},
    {"name": "server-files", "effects": ["server-file"], "except": {"groups": ["dba"]}}
]}"#;
const MASK: &str = r#"{"detect": {"detectors": ["email", "card", "ssn"]}}"#;

const CALLS: usize = 200_000;
const STARTS: usize = 2_000;
const BATCHES: usize = 20_000;
const ROWS: u32 = 256;

fn main() {
    let mut files = std::env::args().skip(1).map(|path| std::fs::read(path).unwrap().into());
    let (Some(block), Some(mask)) = (files.next(), files.next()) else {
        eprintln!("usage: measure <block.wasm> <mask.wasm>");
        std::process::exit(2);
    };
    let policy = |name, component, settings| shared::policy(name, component, settings, PolicyLimits::default());
    let chains = [
        ("none", vec![]),
        ("one", vec![policy("one", &block, BLOCK)]),
        ("three", ["first", "second", "third"].map(|name| policy(name, &block, BLOCK)).into()),
        ("rows", vec![policy("mask", &mask, MASK)]),
    ];
    let engine = engine(None);
    install(&engine, &chains);
    let judge = |target| engine.judge(&session(target));
    let command = command();

    report("a session's first answer, its instance started for it", STARTS, || {
        let mut judge = judge("one");
        let start = Instant::now();
        check(&mut *judge, &command);
        start.elapsed()
    });
    for (name, target) in [
        ("one command, no policies", "none"),
        ("one command, decided by `block`", "one"),
        ("one command, decided by three policies", "three"),
    ] {
        let mut judge = judge(target);
        report(name, CALLS, || {
            let start = Instant::now();
            check(&mut *judge, &command);
            start.elapsed()
        });
    }
    rows(&mut *judge("rows"), &command);
}

/// The plan of a result and the filtering of its rows by a policy that looks into one column.
fn rows(judge: &mut dyn Judge, command: &Arc<Command>) {
    let snapshot = judge.check(command, &[], &|_| command.statement.clone()).snapshot;
    let result = result();
    report("the plan of a result of 5 columns, by `mask`", CALLS, || {
        let start = Instant::now();
        black_box(judge.plan(&snapshot, command, &result)).unwrap();
        start.elapsed()
    });
    let plan = judge.plan(&snapshot, command, &result).unwrap();
    let fresh = batch();
    let filtered = report("a batch of 256 rows, one column searched by `mask`", BATCHES, || {
        let mut batch = fresh.clone();
        let start = Instant::now();
        judge.filter(&snapshot, command, &result, &plan, &mut batch).unwrap();
        let taken = start.elapsed();
        assert!(batch.chunks[0].is_changed(0) && !batch.chunks[0].is_changed(1));
        taken
    });
    println!("the same for each row\t{:.3} µs at the median", filtered.as_secs_f64() * 1e6 / f64::from(ROWS));
}

fn check(judge: &mut dyn Judge, command: &Arc<Command>) {
    let ruling = judge.check(command, &[], &|_| command.statement.clone());
    assert_eq!(black_box(ruling).outcome, Outcome::Allow);
}

/// Warms up, times, prints the median and the 99th percentile, and returns the median.
fn report(name: &str, times: usize, mut timed: impl FnMut() -> Duration) -> Duration {
    for _ in 0..times / 10 {
        timed();
    }
    let mut taken: Vec<Duration> = (0..times).map(|_| timed()).collect();
    taken.sort_unstable();
    let (median, late) = (taken[times / 2], taken[times * 99 / 100]);
    println!("{name}\t{:.2} µs at the median, {:.2} µs at p99", median.as_secs_f64() * 1e6, late.as_secs_f64() * 1e6);
    median
}

/// Five columns, of which the last is text.
fn result() -> Arc<ResultSet> {
    let columns = [("id", "int4"), ("born", "date"), ("total", "numeric"), ("active", "bool"), ("note", "text")];
    let columns = columns.map(|(name, type_name)| Column {
        name: name.into(),
        type_name: type_name.into(),
        computed: false,
        origins: vec![column("customers", name)],
        labels: vec![],
    });
    Arc::new(ResultSet { id: 1, columns: columns.into() })
}

/// Notes of some fifty bytes, with an address in every eighth.
fn batch() -> Batch {
    let mut chunk = Chunk::new(4);
    for row in 0..ROWS {
        let found =
            if row % 8 == 0 { format!("write to user{row}@example.com") } else { format!("order {row} is late") };
        chunk.push(Some(format!("called on Monday about it; {found}").as_bytes()));
    }
    Batch { rows: ROWS, chunks: vec![chunk], dropped: vec![] }
}
