//! The page of languages: what a policy costs in each of them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use portcullis_tests::place::{Scratch, root};
use portcullis_tests::process::run;

use super::report::machine;
use super::{PROFILE, example};
use crate::languages::{self, LANGUAGES, Language, PACKAGES};

/// What is said by hand.
const HEAD: &str = include_str!("languages.md");

/// What is told of each package, by the columns of its table. The first two are measured here, the rest by the example.
const COLUMNS: [&str; 2] = [
    "component | clean build | load, compiled | load, from the cache | start | `check`, median | `check`, p99 | memory | of it its own",
    "component | clean build | load, compiled | load, from the cache | start | a value inspected | memory | of it its own",
];

/// The page. A quick run builds only what is missing.
pub(super) fn page(quick: bool) -> Result<String> {
    // It also links the SDK into the packages in JavaScript, without which none of them can be built.
    build_missing()?;
    let mut builds = Vec::new();
    if !quick {
        for language in &LANGUAGES {
            builds.push(PACKAGES.iter().map(|name| clean_build(language, name)).collect::<Result<Vec<_>>>()?);
        }
    }
    println!("==> policies in each language");
    // What is compiled takes seconds a round; a round of the rest does not.
    let mut measure = example("portcullis-engine", "languages");
    measure.arg(if quick { "1" } else { "5" });
    for language in &LANGUAGES {
        measure.arg(language.name).args(PACKAGES.map(|name| component(&language.directory(name))));
    }
    let figures = run(&mut measure)?;
    let mut out = format!("{HEAD}\n{}\n", machine());
    for (place, name) in PACKAGES.iter().enumerate() {
        let columns = COLUMNS[place];
        let _ = writeln!(out, "\n### `{name}`\n\n| | {columns} |\n|{}", "---|".repeat(columns.split('|').count() + 1));
        for (row, language) in LANGUAGES.iter().enumerate() {
            let start = format!("{}\t{name}\t", language.name);
            let measured = figures.lines().find_map(|line| line.strip_prefix(&start));
            let measured = measured.with_context(|| format!("nothing was measured of {start}"))?.replace('\t', " | ");
            let size = fs::metadata(component(&language.directory(name)))?.len();
            let build = builds.get(row).map_or("–".to_owned(), |built| format!("{:.1} s", built[place]));
            let _ = writeln!(out, "| {} | {} KiB | {build} | {measured} |", language.name, size.div_ceil(1024));
        }
    }
    Ok(out)
}

/// Builds the components of the examples, unless all are there. A bench compares all languages, so that none may be missing.
pub(super) fn build_missing() -> Result<()> {
    let mut packages = LANGUAGES.iter().flat_map(|language| PACKAGES.map(|name| language.directory(name)));
    let mut missing = packages.clone().filter(|package| !component(package).exists());
    if missing.next().is_some() {
        languages::build(PROFILE)?;
    }
    match packages.find(|package| !component(package).exists()) {
        Some(package) => bail!("{package} is not built; `cargo xtask setup` installs the tools of its language"),
        None => Ok(()),
    }
}

/// Builds a package as on a machine that has built nothing before, in seconds. The tools are there, and what they keep is put elsewhere.
fn clean_build(language: &Language, name: &str) -> Result<f64> {
    println!("==> clean build of {name} in {}", language.name);
    let scratch = Scratch::new("clean")?;
    let mut build = languages::builder(language, PROFILE)?;
    let package = language.directory(name);
    build.arg(root().join(&package)).env("CARGO_TARGET_DIR", scratch.path());
    for cache in ["GOCACHE", "ZIG_LOCAL_CACHE_DIR", "ZIG_GLOBAL_CACHE_DIR"] {
        build.env(cache, scratch.path().join(cache));
    }
    let start = Instant::now();
    run(&mut build)?;
    let taken = start.elapsed().as_secs_f64();
    ensure!(component(&package).exists(), "nothing was built in {package}");
    Ok(taken)
}

fn component(package: &str) -> PathBuf {
    root().join(package).join("policy.wasm")
}
