//! `portcullis policy …`: what policy authors use.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use portcullis_engine::{Capability, Engine, EngineOptions, Inspection, PolicyLimits, PolicySpec};
use portcullis_package::{Case, Package, build, run_case};
use portcullis_proxy::read_statement;
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{Decide, Judge, Mode, Session};

use crate::cli::PolicyCommand;
use crate::show::{reasons, safe_lines};

/// Runs a subcommand; its exit code tells whether every package passed.
pub(crate) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Build { packages } => each(&packages, build_one),
        PolicyCommand::Check { packages } => {
            let engine = engine()?;
            each(&packages, |package| check_one(&engine, package))
        }
        PolicyCommand::Test { packages } => test(&packages),
        PolicyCommand::Inspect { path, json } => inspect(&path, json).map(|()| ExitCode::SUCCESS),
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

/// Runs the cases of every package and prints how each fared.
fn test(paths: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let engine = engine()?;
    let (mut passed, mut failed) = (0, 0);
    for dir in discover(paths) {
        match trial(&engine, &dir) {
            Ok((trial, cases)) => {
                println!("{}", trial.spec.name);
                let ok = cases.iter().filter(|case| trial.passes(case)).count();
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

/// A policy under test: alone in its set, and bound to whatever target a case names.
struct Trial {
    engine: Arc<Engine>,
    spec: PolicySpec,
    bound: Mutex<Vec<String>>,
}

fn trial(engine: &Arc<Engine>, dir: &Path) -> anyhow::Result<(Trial, Vec<Case>)> {
    let package = Package::open(dir)?;
    let cases = package.cases()?;
    if cases.is_empty() {
        bail!("the package has no cases: write some to {}", dir.join("cases").display());
    }
    let spec = spec(&package)?;
    prepare(engine, spec.clone(), &[])?;
    Ok((Trial { engine: engine.clone(), spec, bound: Mutex::default() }, cases))
}

impl Trial {
    fn passes(&self, case: &Case) -> bool {
        let file = case.file.file_stem().unwrap_or_default().to_string_lossy();
        let name = safe_lines(&format!("{file}: {}", case.name));
        match run_case(case, self, &self.spec.name, &read_statement) {
            Ok(()) => println!("  ok      {name}"),
            Err(difference) => {
                println!("  FAILED  {name}\n          {}", indent(&difference));
                return false;
            }
        }
        true
    }
}

impl Decide for Trial {
    fn judge(&self, session: &Arc<Session>) -> Box<dyn Judge> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if !bound.contains(&session.target.name) {
            bound.push(session.target.name.clone());
            match prepare(&self.engine, self.spec.clone(), &bound) {
                Ok(set) => drop(self.engine.swap(set)),
                // The set before it knows no such target, so the case fails.
                Err(error) => eprintln!("error: {}", safe_lines(&reasons(&error))),
            }
        }
        self.engine.judge(session)
    }
}

/// The packages at these paths: each is one, or holds some. What is neither is left to fail when it is opened.
fn discover(paths: &[PathBuf]) -> Vec<PathBuf> {
    let packages = |path: &PathBuf| match Package::within(path) {
        inner if inner.is_empty() || path.join("policy.toml").is_file() => vec![path.clone()],
        inner => inner,
    };
    paths.iter().flat_map(packages).collect()
}

fn inspect(path: &Path, json: bool) -> anyhow::Result<()> {
    let package = if path.is_dir() { Some(Package::open(path)?) } else { None };
    let component = match &package {
        Some(package) => package.component()?,
        None => std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?.into(),
    };
    let found = engine()?.inspect(&component)?;
    let mut out = std::io::stdout().lock();
    if json {
        let capabilities: Vec<&str> = found.capabilities.iter().map(|c| c.as_str()).collect();
        let shown = serde_json::json!({
            "digest": found.digest, "bytes": found.size, "hooks": found.hooks,
            "imports": found.imports, "capabilities": capabilities,
        });
        writeln!(out, "{shown:#}")?;
        return Ok(());
    }
    if let Some(package) = &package {
        let about = &package.manifest.package;
        writeln!(out, "{} {}: {}", about.name, about.version, safe_lines(&about.description))?;
    }
    let [needs, answers] = describe(&found);
    writeln!(out, "sha256   {}\nsize     {} KiB", found.digest, found.size.div_ceil(1024))?;
    writeln!(out, "answers  {answers}\nneeds    {needs}")?;
    for import in &found.imports {
        writeln!(out, "imports  {}", safe_lines(import))?;
    }
    Ok(())
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
    let capabilities = about.capabilities.iter().map(|c| c.as_str().parse::<Capability>());
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
fn engine() -> anyhow::Result<Arc<Engine>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache_dir = cache.or_else(home).map(|dir| dir.join("portcullis").join("compiled"));
    Ok(Engine::new(EngineOptions {
        cache_dir,
        max_instances: 4,
        hash_key: HashKey::new(&[0; 32]),
        meter: None,
        fuel: false,
    })?)
}

fn indent(text: &str) -> String {
    safe_lines(text).replace('\n', "\n          ")
}
