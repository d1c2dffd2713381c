//! `portcullis policy test`

use std::process::ExitCode;
use std::time::Instant;

use portcullis_package::{Case, run_case};
use portcullis_proxy::read_statement;

use super::trial::{Trial, trial};
use super::{INSTANCES, discover, engine};
use crate::cli;
use crate::show::{reasons, safe_lines};

/// Runs the cases of every package and prints how each fared.
pub(super) fn test(args: &cli::Test) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let engine = engine(INSTANCES)?;
    let (mut passed, mut failed) = (0, 0);
    for dir in discover(&args.packages) {
        match trial(&engine, &dir) {
            Ok((trial, cases)) => {
                println!("{}", trial.spec.name);
                let ok = cases.iter().filter(|case| passes(&trial, case)).count();
                passed += ok;
                failed += cases.len() - ok;
            }
            Err(error) => {
                println!("{}\n  FAILED  {}", dir.display(), indent(&reasons(&error)));
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, in {} ms", started.elapsed().as_millis());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn passes(trial: &Trial, case: &Case) -> bool {
    let file = case.file.file_stem().unwrap_or_default().to_string_lossy();
    let name = safe_lines(&format!("{file}: {}", case.name));
    match run_case(case, trial, &trial.spec.name, &read_statement) {
        Ok(()) => println!("  ok      {name}"),
        Err(difference) => {
            println!("  FAILED  {name}\n          {}", indent(&difference));
            return false;
        }
    }
    true
}

fn indent(text: &str) -> String {
    safe_lines(text).replace('\n', "\n          ")
}
