//! `portcullis policy test`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use portcullis_engine::Engine;
use portcullis_package::junit::{self, CaseResult};
use portcullis_package::{Case, Package, Ran, run_case};
use portcullis_proxy::read_statement;

use super::cost::Ledger;
use super::coverage::Coverage;
use super::trial::{Trial, cases};
use super::{INSTANCES, discover, engine, spec};
use crate::cli;
use crate::show::{reasons, safe_lines};

/// Runs the cases of every package and prints how each fared.
pub(super) fn test(args: &cli::Test) -> anyhow::Result<ExitCode> {
    Ok(if all(args)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same; whether all passed. The sandbox is a new one, so that nothing is left of what policies kept in another run.
pub(super) fn all(args: &cli::Test) -> anyhow::Result<bool> {
    let started = Instant::now();
    let ledger = args.coverage.then(Ledger::default);
    let engine = engine(INSTANCES, ledger.as_ref().map(Ledger::meter), false)?;
    let suites: Vec<Suite> = discover(&args.packages).iter().map(|dir| suite(&engine, dir, ledger.as_ref())).collect();
    let outcomes = || suites.iter().flat_map(|suite| &suite.cases).map(|case| case.outcome.is_ok());
    let (passed, failed) = (outcomes().filter(|ok| *ok).count(), outcomes().filter(|ok| !ok).count());
    println!("{passed} passed, {failed} failed, in {} ms", started.elapsed().as_millis());
    if let Some(file) = &args.junit {
        report(file, &suites).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(failed == 0)
}

/// A package whose cases were run.
struct Suite {
    package: String,
    time: Duration,
    cases: Vec<Done>,
}

/// A case that was run.
struct Done {
    name: String,
    file: PathBuf,
    time: Duration,
    outcome: Result<(), String>,
}

impl Suite {
    fn report(&self) -> junit::Suite<'_> {
        let Self { package, time, cases } = self;
        junit::Suite { package, time: *time, cases: cases.iter().map(Done::report).collect() }
    }
}

impl Done {
    fn report(&self) -> CaseResult<'_> {
        let Self { name, file, time, outcome } = self;
        CaseResult { name, file, time: *time, outcome: outcome.clone() }
    }
}

/// Runs the cases of a package. One that cannot be loaded counts as a case that failed.
fn suite(engine: &Arc<Engine>, dir: &Path, ledger: Option<&Ledger>) -> Suite {
    let started = Instant::now();
    let opened = Package::open(dir).map_err(Into::into).and_then(|package| {
        let cases = cases(&package)?;
        let hooks = engine.inspect(&package.component()?)?.hooks;
        Ok((Trial::new(engine, spec(&package, None)?)?, cases, hooks))
    });
    let (trial, cases, hooks) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            println!("{}\n  FAILED  {}", dir.display(), indent(&reasons(&error)));
            let (package, time) = (dir.display().to_string(), started.elapsed());
            let outcome = Err(reasons(&error));
            let case = Done { name: "the package loads".into(), file: dir.join("policy.toml"), time, outcome };
            return Suite { package, time, cases: vec![case] };
        }
    };
    println!("{}", trial.name());
    let mut coverage = Coverage::new(&hooks);
    let done = cases.iter().map(|case| {
        // What it cost to load the package is nothing that a case asked.
        ledger.map(Ledger::take);
        let started = Instant::now();
        let Ran { answer, outcome } = run_case(case, &trial, trial.name(), &read_statement);
        let time = started.elapsed();
        let name = title(case);
        coverage.add(&name, ledger.map(Ledger::take).unwrap_or_default(), answer);
        tell(&name, &outcome);
        Done { name: case.name.clone(), file: case.file.clone(), time, outcome }
    });
    let done = done.collect();
    if ledger.is_some() {
        print!("{}", safe_lines(&coverage.to_string()));
    }
    Suite { package: trial.name().into(), time: started.elapsed(), cases: done }
}

fn title(case: &Case) -> String {
    format!("{}: {}", case.file.file_stem().unwrap_or_default().to_string_lossy(), case.name)
}

fn tell(name: &str, outcome: &Result<(), String>) {
    let name = safe_lines(name);
    match outcome {
        Ok(()) => println!("  ok      {name}"),
        Err(difference) => println!("  FAILED  {name}\n          {}", indent(difference)),
    }
}

fn indent(text: &str) -> String {
    safe_lines(text).replace('\n', "\n          ")
}

/// Writes the report that CI systems show.
fn report(file: &Path, suites: &[Suite]) -> std::io::Result<()> {
    let suites: Vec<_> = suites.iter().map(Suite::report).collect();
    std::fs::write(file, junit::junit(&suites))
}
