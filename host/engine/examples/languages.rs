//! Measures the example policies of several languages by turns: `languages <rounds> (<language> <no-mass-delete.wasm>
//! <mask-emails.wasm>)…` prints a line for each language and package, whose fields end in tabs: the language, the package, then what
//! [`Subject::print`] tells, with units.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod shared;

use std::fs;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_engine::{Engine, PolicyLimits, PolicySpec};
use portcullis_tests::place::Scratch;
use portcullis_verdict::{Batch, Chunk, Column, Command, Decide, Judge, Outcome, ResultSet, RowPlan, Snapshot};

use self::shared::{column, command, engine, install, policy, session};

const PACKAGES: [&str; 2] = ["no-mass-delete", "mask-emails"];

/// In each round: instances that are started, commands that are decided, batches that are filtered.
const STARTS: usize = 10;
const CALLS: usize = 1000;
const BATCHES: usize = 20;

/// Compiling takes seconds, and varies little.
const LOADS: usize = 3;

/// Instances that are alive at once while memory is looked at.
const INSTANCES: usize = 20;

/// The values of a batch.
const VALUES: u32 = 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((Ok(rounds), (languages @ [_, ..], []))) =
        arguments.split_first().map(|(rounds, rest)| (rounds.parse::<usize>(), rest.as_chunks::<3>()))
    else {
        eprintln!("usage: languages <rounds> (<language> <no-mass-delete.wasm> <mask-emails.wasm>)…");
        std::process::exit(2);
    };
    for (place, package) in PACKAGES.into_iter().enumerate() {
        let components = languages.iter().map(|l| (l[0].as_str(), fs::read(&l[place + 1]).unwrap().into())).collect();
        measure(package, components, rounds);
    }
}

/// A policy in one language, and what was measured of it.
struct Subject<'a> {
    language: &'a str,
    spec: PolicySpec,
    /// Until it is in force: compiled, and from the cache. Both include a trial start.
    compiled: Vec<Duration>,
    cached: Vec<Duration>,
    /// A session's first answer, its instance started for it.
    starts: Vec<Duration>,
    /// A command decided, or a batch filtered.
    calls: Vec<Duration>,
}

fn measure(package: &str, components: Vec<(&str, Arc<[u8]>)>, rounds: usize) {
    // An interpreter needs more memory than the default, and a machine under load more time.
    let limits = PolicyLimits { memory_bytes: 256 << 20, call_ms: 5000, ..PolicyLimits::default() };
    let mut subjects: Vec<Subject> = components
        .into_iter()
        .map(|(language, component)| Subject::new(language, policy(language, &component, "{}", limits.clone())))
        .collect();
    let scratch = Scratch::new("languages").unwrap();
    for round in 0..rounds.min(LOADS) {
        for subject in &mut subjects {
            let load = || {
                let engine = engine(Some(scratch.path().join(round.to_string())));
                let start = Instant::now();
                install(&engine, &[(subject.language, vec![subject.spec.clone()])]);
                start.elapsed()
            };
            // The cache of a round is new, and has it the second time.
            let (compiled, cached) = (load(), load());
            subject.compiled.push(compiled);
            subject.cached.push(cached);
        }
    }
    let engine = engine(Some(scratch.path().join("0")));
    install(&engine, &subjects.iter().map(|s| (s.language, vec![s.spec.clone()])).collect::<Vec<_>>());
    let mut sessions: Vec<Opened> = subjects.iter().map(|subject| Opened::start(&engine, subject.language)).collect();
    for session in &mut sessions {
        session.times();
    }
    for _ in 0..rounds {
        for (subject, session) in subjects.iter_mut().zip(&mut sessions) {
            subject.starts.extend((0..STARTS).map(|_| {
                let start = Instant::now();
                let opened = Opened::start(&engine, subject.language);
                let taken = start.elapsed();
                drop(opened);
                taken
            }));
            subject.calls.extend(session.times());
        }
    }
    for subject in subjects {
        let memory = memory(&engine, subject.language);
        subject.print(package, memory, sessions[0].rows.is_some());
    }
}

impl<'a> Subject<'a> {
    fn new(language: &'a str, spec: PolicySpec) -> Self {
        Self { language, spec, compiled: vec![], cached: vec![], starts: vec![], calls: vec![] }
    }

    /// A load compiled, a load from the cache, a start; then the median and the 99th percentile of a command, or what a value costs;
    /// then the memory of an instance, and how much of it no other instance shares.
    fn print(mut self, package: &str, [resident, own]: [f64; 2], rows: bool) {
        let micros = |times: &mut [Duration], percent: usize| {
            times.sort_unstable();
            times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6
        };
        let (compiled, cached) = (micros(&mut self.compiled, 50) / 1e3, micros(&mut self.cached, 50) / 1e3);
        let start = micros(&mut self.starts, 50);
        let (median, late) = (micros(&mut self.calls, 50), micros(&mut self.calls, 99));
        let call = if rows {
            format!("{:.0} ns", median * 1e3 / f64::from(VALUES))
        } else {
            format!("{median:.1} µs\t{late:.1} µs")
        };
        let language = self.language;
        println!(
            "{language}\t{package}\t{compiled:.0} ms\t{cached:.1} ms\t{start:.0} µs\t{call}\t{resident:.0} KiB\t{own:.0} KiB"
        );
    }
}

/// A session whose instance is started.
struct Opened {
    judge: Box<dyn Judge>,
    command: Arc<Command>,
    /// With a policy that inspects values: what a batch of them is filtered with.
    rows: Option<(Snapshot, Arc<ResultSet>, RowPlan)>,
}

impl Opened {
    fn start(engine: &Engine, target: &str) -> Self {
        let (mut judge, command) = (engine.judge(&session(target)), command());
        let ruling = judge.check(&command, &[], &|_| command.statement.clone());
        assert_eq!(ruling.outcome, Outcome::Allow);
        let rows = judge.edits(&ruling.snapshot).then(|| {
            let result = result();
            let plan = judge.plan(&ruling.snapshot, &command, &result).unwrap();
            (ruling.snapshot, result, plan)
        });
        Self { judge, command, rows }
    }

    /// How long it took each time.
    fn times(&mut self) -> Vec<Duration> {
        let Self { judge, command, rows } = self;
        let Some((snapshot, result, plan)) = rows else {
            let check = |_| {
                let start = Instant::now();
                black_box(judge.check(command, &[], &|_| command.statement.clone()));
                start.elapsed()
            };
            return (0..CALLS).map(check).collect();
        };
        let fresh = batch();
        let filter = |_| {
            let mut batch = fresh.clone();
            let start = Instant::now();
            judge.filter(snapshot, command, result, plan, &mut batch).unwrap();
            let taken = start.elapsed();
            assert!(batch.chunks[0].is_changed(0));
            taken
        };
        (0..BATCHES).map(filter).collect()
    }
}

/// How much the process grows with an instance, in KiB: resident, and of that its own and not shared with others.
fn memory(engine: &Engine, target: &str) -> [f64; 2] {
    drop(Opened::start(engine, target));
    let before = status();
    let opened: Vec<Opened> = (0..INSTANCES).map(|_| Opened::start(engine, target)).collect();
    let after = status();
    drop(opened);
    [0, 1].map(|i| (after[i] - before[i]) / INSTANCES as f64)
}

fn status() -> [f64; 2] {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    ["VmRSS:", "RssAnon:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    })
}

fn result() -> Arc<ResultSet> {
    let email = Column {
        name: "email".into(),
        type_name: "text".into(),
        computed: false,
        origins: vec![column("customers", "email")],
        labels: vec![],
    };
    Arc::new(ResultSet { id: 1, columns: [email].into() })
}

/// Short values, of which each is an address.
fn batch() -> Batch {
    let mut chunk = Chunk::new(0);
    for row in 0..VALUES {
        chunk.push(Some(format!("user{row}@example.com").as_bytes()));
    }
    Batch { rows: VALUES, chunks: vec![chunk], dropped: vec![] }
}
