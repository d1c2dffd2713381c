//! `portcullis policy …`: what policy authors use.

mod bench;
mod check;
mod cost;
mod coverage;
mod inspect;
mod new;
mod replay;
mod run;
mod share;
mod status;
mod test;
mod trial;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_engine::{Capability, Engine, EngineOptions, Inspection, Meter, PolicyLimits, PolicySet, PolicySpec};
use portcullis_package::{Package, build};
use portcullis_verdict::Mode;
use portcullis_verdict::mask::HashKey;
use serde_json::Value;

pub(crate) use self::trial::Trial;
use crate::cli::PolicyCommand;
use crate::log;
use crate::show::{reasons, safe_lines};

/// How many instances live at once where one policy answers one question after the other.
const INSTANCES: u32 = 4;

/// Runs a subcommand; its exit code tells whether every package passed.
pub(crate) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    log::start_for_policies();
    match command {
        PolicyCommand::New(args) => done(new::new(&args)),
        PolicyCommand::Build { packages } => each(&packages, build_one),
        PolicyCommand::Check { packages } => {
            let engine = engine(INSTANCES, None, false)?;
            each(&packages, |package| check::check(&engine, package))
        }
        PolicyCommand::Inspect { path, json, registry } => done(inspect::inspect(&path, json, &registry)),
        PolicyCommand::Test(args) if args.watch => watch::watch(&args),
        PolicyCommand::Replay(args) => replay::replay(&args),
        PolicyCommand::Test(args) => test::test(&args),
        PolicyCommand::Run(args) => run::run(&args),
        PolicyCommand::Bench(args) => bench::bench(&args),
        PolicyCommand::Push { package, reference, key, registry } => {
            done(share::push(&package, &reference, key.as_deref(), &registry))
        }
        PolicyCommand::Pull { reference, output, registry } => {
            done(share::pull(&reference, output.as_deref(), &registry))
        }
        PolicyCommand::Keygen { file, without_password } => done(share::keygen(&file, without_password)),
        PolicyCommand::Sign { reference, key, registry } => done(share::sign(&reference, &key, &registry)),
        PolicyCommand::Verify { reference, keys, registry } => share::verify(&reference, &keys, &registry),
        PolicyCommand::Save { packages, output, registry } => done(share::save(&packages, &output, &registry)),
        PolicyCommand::Load { layout, config } => done(share::load(&layout, &config.config)),
        PolicyCommand::Annotate { reference, annotations, registry } => {
            done(share::annotate(&reference, &annotations, &registry))
        }
        PolicyCommand::Lock { update, check, config } => share::lock(&config.config, &update, check),
        PolicyCommand::Status { remote } => done(status::status(&remote)),
        PolicyCommand::Rollback { policy, remote } => done(status::rollback(&policy, &remote)),
    }
}

fn done(outcome: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
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

/// A package as a policy of its own name, with the powers that its manifest asks for, and an operator's settings over its own.
fn spec(package: &Package, settings: Option<&Value>) -> anyhow::Result<PolicySpec> {
    let about = &package.manifest.package;
    let capabilities = package.manifest.capabilities.keys().map(|c| c.as_str().parse::<Capability>());
    Ok(PolicySpec {
        name: about.name.clone(),
        component: package.component()?,
        settings: package.settings(settings)?.to_string(),
        mode: Mode::Enforce,
        capabilities: capabilities.collect::<Result<_, _>>()?,
        limits: PolicyLimits::default(),
        pure: package.manifest.package.pure,
        canary: None,
    })
}

fn prepare(engine: &Engine, spec: PolicySpec, targets: &[String]) -> anyhow::Result<PolicySet> {
    let bindings: BTreeMap<_, _> = targets.iter().map(|target| (target.clone(), vec![spec.name.clone()])).collect();
    engine.prepare(vec![spec], bindings).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(errors.join("\n"))
    })
}

/// A sandbox for the command line: compiled code is kept in the user's cache, so that a second run takes milliseconds.
/// Its masking key is fixed, so that cases can expect hashes.
fn engine(max_instances: u32, meter: Option<Meter>, fuel: bool) -> anyhow::Result<Arc<Engine>> {
    let (cache_dir, hash_key) = (compiled(), HashKey::new(&[0; 32]));
    Ok(Engine::new(EngineOptions { cache_dir, max_instances, hash_key, meter, fuel, log_values: true })?)
}

/// Where the command line keeps compiled code: in the user's cache.
pub(crate) fn compiled() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    cache.or_else(home).map(|dir| dir.join("portcullis").join("compiled"))
}
