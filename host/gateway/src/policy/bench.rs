//! `portcullis policy bench`: what each hook costs, with the package's cases as the work, held against its budget.

mod report;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_engine::{Engine, Hook};
use portcullis_package::{Package, Questions};
use portcullis_proxy::read_statement;
use portcullis_verdict::{Decide, Judge, Outcome};

use self::report::{Figures, Report, show};
use super::cost::{Cost, Ledger};
use super::trial::{Trial, cases};
use super::{INSTANCES, discover, engine, spec};
use crate::cli;
use crate::show::{reasons, safe_lines};

/// How often instances are started for each case.
const STARTS: u32 = 20;

/// A case is asked no longer than this, however slow its policy is.
const MAX_CASE: Duration = Duration::from_secs(5);

/// Measures packages and prints what they cost; the exit code tells whether all are within their budgets.
pub(super) fn bench(args: &cli::Bench) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(args.rounds)?;
    let (mut reports, mut failed) = (Vec::new(), false);
    for dir in discover(&args.packages) {
        match bench.package(&dir) {
            Ok(report) => {
                failed |= !report.over.is_empty();
                if !args.json {
                    print!("{report}");
                }
                reports.push(report);
            }
            Err(error) => {
                eprintln!("error: {}: {}", dir.display(), safe_lines(&reasons(&error)));
                failed = true;
            }
        }
    }
    if args.json {
        println!("{:#}", show(&reports));
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Two sandboxes: guests that count fuel are slower, so that time and fuel are not measured at once.
struct Bench {
    rounds: u32,
    timed: (Arc<Engine>, Ledger),
    counted: (Arc<Engine>, Ledger),
}

/// What was measured of one package.
#[derive(Default)]
struct Measured {
    /// Calls by hook.
    costs: BTreeMap<Hook, Vec<Cost>>,
    /// The values in all batches.
    values: u64,
}

impl Bench {
    fn new(rounds: u32) -> anyhow::Result<Self> {
        let sandbox = |fuel| {
            let ledger = Ledger::default();
            anyhow::Ok((engine(INSTANCES, Some(ledger.meter()), fuel)?, ledger))
        };
        Ok(Self { rounds, timed: sandbox(false)?, counted: sandbox(true)? })
    }

    fn package(&self, dir: &Path) -> anyhow::Result<Report> {
        let package = Package::open(dir)?;
        let timed = measure(&self.timed, &package, STARTS, self.rounds)?;
        // The same on every machine, but for what depends on the policy's own state.
        let counted = measure(&self.counted, &package, 1, self.rounds.min(STARTS))?;
        let mut hooks = BTreeMap::new();
        for (hook, costs) in timed.costs {
            let fuel = counted.costs.get(&hook).into_iter().flatten().filter_map(|cost| cost.fuel).max();
            let values = if hook == Hook::Filter { timed.values } else { 0 };
            hooks.insert(hook, Figures::new(&costs, fuel, values));
        }
        Ok(Report::new(&package, hooks))
    }
}

/// Asks every case: in new instances, which shows what starting costs, then again and again in one, which shows what a call costs.
fn measure(
    (engine, ledger): &(Arc<Engine>, Ledger),
    package: &Package,
    starts: u32,
    rounds: u32,
) -> anyhow::Result<Measured> {
    let cases = cases(package)?;
    let trial = Trial::new(engine, spec(package, None)?)?;
    let mut measured = Measured::default();
    for case in &cases {
        let questions = Questions::of(case, trial.name(), &read_statement);
        // Binds the trial to the case's target, which loads it.
        let mut judge = trial.judge(&questions.session);
        ledger.take();
        for _ in 0..starts {
            ask(trial.judge(&questions.session).as_mut(), &questions);
        }
        let starting = |hook| matches!(hook, Hook::Instantiate | Hook::Configure);
        measured.add(ledger.take().into_iter().filter(|cost| starting(cost.hook)));
        ask(judge.as_mut(), &questions);
        ledger.take();
        let until = Instant::now() + MAX_CASE;
        for round in 0..rounds {
            measured.values += ask(judge.as_mut(), &questions);
            if round > 0 && Instant::now() > until {
                break;
            }
        }
        measured.add(ledger.take().into_iter().filter(|cost| !starting(cost.hook)));
    }
    Ok(measured)
}

/// Asks all that a gateway would ask about a case, and returns how many values the policy inspected.
fn ask(judge: &mut dyn Judge, questions: &Questions) -> u64 {
    let Questions { command, grants, .. } = questions;
    if matches!(judge.open().outcome, Outcome::Deny(_)) {
        return 0;
    }
    let ruling = judge.check(command, grants, &read_statement);
    let Some(result) = questions.result().filter(|_| ruling.outcome == Outcome::Allow) else { return 0 };
    let Ok(plan) = judge.plan(&ruling.snapshot, command, &result) else { return 0 };
    let Some(mut batch) = questions.full_batch(&plan) else { return 0 };
    let values = u64::from(batch.rows) * batch.chunks.len() as u64;
    // What it answers is for the cases to tell.
    let _ = judge.filter(&ruling.snapshot, command, &result, &plan, &mut batch);
    values
}

impl Measured {
    fn add(&mut self, costs: impl Iterator<Item = Cost>) {
        costs.for_each(|cost| self.costs.entry(cost.hook).or_default().push(cost));
    }
}
