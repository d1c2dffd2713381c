//! How many values the detectors of personal data look at.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use portcullis_tests::process::run;

use super::example;

/// The aim: values a second on one core, looked at by all detectors.
const AIM: f64 = 1e6;

/// The section of the page.
pub(super) fn measure(quick: bool) -> Result<String> {
    println!("==> detectors");
    let batches = if quick { "20" } else { "5000" };
    let figures = run(example("portcullis-engine", "detectors").args(["plugins/dist/mask.wasm", batches]))?;
    let mut out = "## Detectors\n\nValues a second on one core, the engine's call into a policy and the policy's into the detectors included: short values of a text column \
         (some 10 bytes), in batches of 256. Of the second kind every eighth value holds something that one of the six looks for, and is changed. \
         Medians over the batches.\n\n| detectors | nothing to find | something in every eighth |\n|---|---|---|\n"
        .to_owned();
    let mut met = None;
    for line in figures.lines() {
        let mut fields = line.split('\t');
        let name = fields.next().unwrap_or_default();
        let mut rate = || fields.next().and_then(|rate| rate.parse::<f64>().ok()).context("an odd line of detectors");
        let (clean, found) = (rate()?, rate()?);
        let _ = writeln!(out, "| {name} | {:.1} M | {:.1} M |", clean / 1e6, found / 1e6);
        // The last line has all of them.
        met = Some(clean.min(found) >= AIM);
    }
    let met = if met.context("the detectors printed nothing")? { "met" } else { "**missed**" };
    let _ = write!(out, "\nAim: at least {} M with all six. {met}\n\n", AIM / 1e6);
    Ok(out)
}
