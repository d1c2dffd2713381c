//! The developer's tasks. `cargo xtask help` lists them.

mod bench;
mod boundaries;
mod demo;
mod languages;
mod setup;
mod steps;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask <task>

  setup            install what the other tasks need: servers, drivers, libclang, the Wasm target
  demo [--script]  a gateway before a private PostgreSQL to try by hand; with --script it plays the tour itself
  test             build the plugins and run every test against the real servers (CI=true: nothing may be missing)
  lint             format, clippy, documentation, crate boundaries, licences, duplicate versions
  plugins          build the standard plugins
  examples         build the example policies of every language
  bench [--quick]  measure against a direct connection and PgBouncer, and write docs/benchmarks.md and docs/languages.md
                   bench postgres, bench rollout, bench languages: only the gateway's own speed, only that policies come and go,
                   or only what they cost in each language
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match task(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["setup"] => setup::setup(),
        ["demo"] => demo::demo(false),
        ["demo", "--script"] => demo::demo(true),
        ["test"] => steps::test(),
        ["lint"] => steps::lint(),
        ["plugins"] => steps::plugins("debug"),
        ["examples"] => languages::build("debug"),
        ["bench", part @ .., "--quick"] => bench::bench(part, true),
        ["bench", part @ ..] => bench::bench(part, false),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("there is no task `{}`\n\n{HELP}", other.join(" ")),
    }
}
