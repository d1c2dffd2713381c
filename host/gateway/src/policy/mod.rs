//! `portcullis policy …`: what policy authors use.

mod inspect;
mod replay;
mod test;
mod trial;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use portcullis_engine::{Capability, Engine, EngineOptions, Inspection, PolicyLimits, PolicySpec};
use portcullis_package::{Package, build};
use portcullis_verdict::Mode;
use portcullis_verdict::mask::HashKey;

use crate::cli::PolicyCommand;
use crate::show::{reasons, safe_lines};

/// How many instances live at once where one policy answers one question after the other.
const INSTANCES: u32 = 4;

/// Runs a subcommand; its exit code tells whether every package passed.
pub(crate) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Build { packages } => each(&packages, build_one),
        PolicyCommand::Check { packages } => {
            let engine = engine(INSTANCES)?;
            each(&packages, |package| check_one(&engine, package))
        }
        PolicyCommand::Inspect { path, json, .. } => {
            inspect::inspect(Path::new(&path), json).map(|()| ExitCode::SUCCESS)
        }
        PolicyCommand::Replay(args) => replay::replay(&args),
        PolicyCommand::Test(args) => test::test(&args),
        _ => bail!("this command is not there yet"),
    }
}

/// Does the same to each package, and goes on after a failure.
fn each(packages: &[PathBuf], mut act: impl FnMut(&Package) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let mut failed = 0;
    for dir in &discover(packages) {
        if let Err(error) = Package::open(dir).map_err(Into::into).and_then(|package| act(&package)) {
            eprintln!("error: {}", safe_lines(&reasons(&error)));
            failed += 1;
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn build_one(package: &Package) -> anyhow::Result<()> {
    let built = build(package, &mut |line| eprintln!("  {}", safe_lines(line)))?;
    println!("built {} ({} KiB, sha256 {})", built.component.display(), built.bytes.div_ceil(1024), built.digest);
    Ok(())
}

fn check_one(engine: &Engine, package: &Package) -> anyhow::Result<()> {
    let about = &package.manifest.package;
    prepare(engine, spec(package)?, std::slice::from_ref(&about.name))?;
    let found = engine.inspect(&package.component()?)?;
    let cases = package.cases()?.len();
    let [needs, answers] = describe(&found);
    println!("{} {} is good: answers {answers}; needs {needs}; {cases} cases", about.name, about.version);
    Ok(())
}

/// The packages at these paths: each is one, or holds some. What is neither is left to fail when it is opened.
fn discover(paths: &[PathBuf]) -> Vec<PathBuf> {
    let packages = |path: &PathBuf| match Package::within(path) {
        inner if inner.is_empty() || path.join("policy.toml").is_file() => vec![path.clone()],
        inner => inner,
    };
    paths.iter().flat_map(packages).collect()
}

/// The capabilities that a component needs, and what it is asked about.
fn describe(found: &Inspection) -> [String; 2] {
    let capabilities: Vec<&str> = found.capabilities.iter().map(|c| c.as_str()).collect();
    let hooks: Vec<&str> = found.hooks.iter().map(String::as_str).filter(|hook| *hook != "lifecycle").collect();
    [capabilities, hooks].map(|names| if names.is_empty() { "nothing".into() } else { safe_lines(&names.join(", ")) })
}

/// A package as a policy of its own name, with the powers that its manifest asks for.
fn spec(package: &Package) -> anyhow::Result<PolicySpec> {
    let about = &package.manifest.package;
    let capabilities = package.manifest.capabilities.keys().map(|c| c.as_str().parse::<Capability>());
    Ok(PolicySpec {
        name: about.name.clone(),
        component: package.component()?,
        settings: package.settings(None)?.to_string(),
        mode: Mode::Enforce,
        capabilities: capabilities.collect::<Result<_, _>>()?,
        limits: PolicyLimits::default(),
        canary: None,
    })
}

fn prepare(engine: &Engine, spec: PolicySpec, targets: &[String]) -> anyhow::Result<portcullis_engine::PolicySet> {
    let bindings: BTreeMap<_, _> = targets.iter().map(|target| (target.clone(), vec![spec.name.clone()])).collect();
    engine.prepare(vec![spec], bindings).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(errors.join("\n"))
    })
}

/// A sandbox for the command line: compiled code is kept in the user's cache, so that a second run takes milliseconds.
/// Its masking key is fixed, so that cases can expect hashes.
fn engine(max_instances: u32) -> anyhow::Result<Arc<Engine>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache_dir = cache.or_else(home).map(|dir| dir.join("portcullis").join("compiled"));
    let hash_key = HashKey::new(&[0; 32]);
    Ok(Engine::new(EngineOptions { cache_dir, max_instances, hash_key, meter: None, fuel: false })?)
}
