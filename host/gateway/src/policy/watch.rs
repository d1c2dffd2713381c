//! `portcullis policy test --watch`

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use portcullis_package::Package;

use super::{build_one, discover, test};
use crate::cli;
use crate::show::{reasons, safe_lines};
use crate::watch::{Stamp, stamp};

/// How often files are looked at.
const PERIOD: Duration = Duration::from_millis(300);

/// The most files that are looked at: a package has fewer.
const MAX_FILES: usize = 20_000;

/// The deepest directory that is looked into.
const MAX_DEPTH: usize = 16;

/// Directories of tools, which are full of what nobody edits.
const IGNORED: [&str; 4] = ["target", "build", "node_modules", "__pycache__"];

/// Files as they were at some time.
type Files = BTreeMap<PathBuf, Stamp>;

/// Builds what has changed, runs the cases, and waits for the next change, until it is interrupted. What is broken is told and waited for.
pub(super) fn watch(args: &cli::Test) -> anyhow::Result<ExitCode> {
    rounds(args)
}

fn rounds(args: &cli::Test) -> ! {
    let mut built = BTreeMap::new();
    loop {
        if std::io::stdout().is_terminal() {
            print!("\x1b[2J\x1b[H");
        }
        // Taken before anything is read: what changes meanwhile is a change.
        let mut seen = look(&args.packages);
        let components = build(&args.packages, &seen, &mut built);
        seen.extend(components.into_iter().map(|component| (component.clone(), stamp(&component))));
        if let Err(error) = test::all(args) {
            println!("error: {}", safe_lines(&reasons(&error)));
        }
        println!("waiting for a change; Ctrl-C ends it");
        wait(&args.packages, &seen);
    }
}

/// Returns when files are others than those seen, and at rest: two looks in a row must find the same.
fn wait(packages: &[PathBuf], seen: &Files) {
    let mut last = None;
    loop {
        sleep(PERIOD);
        let now = look(packages);
        if now == *seen {
            last = None;
            continue;
        }
        let at_rest = last.as_ref() == Some(&now);
        if at_rest {
            return;
        }
        last = Some(now);
    }
}

/// Builds the packages whose sources are others than those it was `built` from; returns the components that it made or tried to make.
fn build(packages: &[PathBuf], seen: &Files, built: &mut BTreeMap<PathBuf, Files>) -> Vec<PathBuf> {
    let mut components = Vec::new();
    for dir in discover(packages) {
        let Ok(package) = Package::open(&dir) else { continue };
        let Some(sources) = sources(&package, seen) else { continue };
        let is_built = match built.get(&dir) {
            Some(from) => *from == sources,
            None => is_newer(stamp(&package.component_path()), &sources),
        };
        if !is_built {
            if let Err(error) = build_one(&package) {
                println!("{}\n  NOT BUILT  {}", dir.display(), safe_lines(&reasons(&error)));
            }
            components.push(package.component_path());
        }
        built.insert(dir, sources);
    }
    components
}

/// The files that a package is built from; none if it is not built here.
fn sources(package: &Package, seen: &Files) -> Option<Files> {
    let source = package.dir.join(&package.manifest.build.as_ref()?.source);
    let (component, cases) = (package.component_path(), package.dir.join("cases"));
    let is_source = |file: &Path| {
        let says_nothing_of_code = file.ends_with("policy.toml") || file.extension().is_some_and(|e| e == "md");
        file.starts_with(&source) && !file.starts_with(&cases) && *file != component && !says_nothing_of_code
    };
    Some(seen.iter().filter(|(file, _)| is_source(file)).map(|(file, stamp)| (file.clone(), *stamp)).collect())
}

/// Whether a component was made after the last change of its sources.
fn is_newer(component: Stamp, sources: &Files) -> bool {
    component.is_some_and(|(made, _)| sources.values().flatten().all(|(changed, _)| *changed <= made))
}

/// Every file of these packages, of their sources, and their components.
fn look(packages: &[PathBuf]) -> Files {
    let mut roots: BTreeSet<PathBuf> = packages.iter().cloned().collect();
    for package in discover(packages).iter().filter_map(|dir| Package::open(dir).ok()) {
        roots.insert(package.component_path());
        roots.extend(package.manifest.build.as_ref().map(|from| package.dir.join(&from.source)));
        roots.extend(package.manifest.package.settings_schema.as_ref().map(|schema| package.dir.join(schema)));
    }
    let mut files = Files::new();
    roots.iter().for_each(|root| walk(root, MAX_DEPTH, &mut files));
    files
}

fn walk(path: &Path, depth: usize, files: &mut Files) {
    let Ok(entries) = std::fs::read_dir(path) else {
        files.insert(path.into(), stamp(path));
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // A link may lead back here.
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if files.len() >= MAX_FILES || name.starts_with('.') || (is_dir && (depth == 0 || IGNORED.contains(&&*name))) {
            continue;
        }
        match is_dir {
            true => walk(&entry.path(), depth - 1, files),
            false => drop(files.insert(entry.path(), stamp(&entry.path()))),
        }
    }
}
