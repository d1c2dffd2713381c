//! Steps that tasks are made of. Each says what it does, and stops at the first failure.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use portcullis_tests::clients::rust::{MANIFEST, target};
use portcullis_tests::guest_rust;
use portcullis_tests::place::{artifacts, portcullis, root};

use crate::{boundaries, languages, setup};

/// The standard plugins.
pub(crate) const PLUGINS: [&str; 4] = ["approve", "block", "limit", "mask"];

/// Runs a program in the checkout with its output shown.
pub(crate) fn show(what: &str, command: &mut Command) -> Result<()> {
    println!("==> {what}");
    let started = Instant::now();
    let status = command.current_dir(root()).status()?;
    ensure!(status.success(), "{what}: {command:?} failed ({status})");
    println!("    {what}: done in {} s", started.elapsed().as_secs());
    Ok(())
}

/// Cargo with these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo
}

/// Builds everything once, so that tests find the gateway's binary, then the plugins with it, and runs all tests.
pub(crate) fn test() -> Result<()> {
    setup::setup()?;
    // All targets: with the tests' dependencies left out, cargo would choose other features and build much of it twice.
    show("build", &mut cargo(&["build", "--workspace", "--all-targets", "--locked"]))?;
    plugins("debug")?;
    guests()?;
    languages::build("debug")?;
    let mut client = cargo(&["build", "--locked", "--manifest-path", MANIFEST]);
    show("build of the program with sqlx", client.env("CARGO_TARGET_DIR", target()))?;
    show("tests of the host", &mut cargo(&["test", "--workspace", "--locked"]))?;
    show("tests of the plugins", &mut native("test", &["--workspace", "--locked"]))?;
    languages::test()?;
    let mut cases = Command::new(portcullis("debug")?);
    cases.args(["policy", "test"]).args(packages()).args(languages::packages()?);
    show("cases of the packages", &mut cases)
}

/// Builds the standard plugins' components with the gateway's own command.
pub(crate) fn plugins(profile: &str) -> Result<()> {
    if !artifacts(profile).join("portcullis").exists() {
        show("build of the gateway", &mut cargo(&["build", "-p", "portcullis-gateway", "--locked"]))?;
    }
    let mut build = Command::new(portcullis(profile)?);
    build.args(["policy", "build"]).args(PLUGINS.map(|name| format!("plugins/{name}")));
    build.envs(guest_rust::environment()?);
    show("build of the plugins", &mut build)
}

/// The components that misbehave, for the tests of the engine. Building them here shows progress.
fn guests() -> Result<()> {
    let mut build = cargo(&["build", "--release", "--target", guest_rust::TARGET, "--locked"]);
    build.args(["--manifest-path", "tests/guests/Cargo.toml"]);
    build.env("CARGO_TARGET_DIR", artifacts("guests")).envs(guest_rust::environment()?);
    show("build of the test guests", &mut build)
}

/// A task of cargo in the guest workspace, on the host.
fn native(task: &str, arguments: &[&str]) -> Command {
    let mut cargo = cargo(&[task, "--manifest-path", "plugins/Cargo.toml"]);
    cargo.args(arguments).env("CARGO_TARGET_DIR", artifacts("plugins"));
    cargo
}

/// Every package with cases.
fn packages() -> Vec<String> {
    let policies = ["fair-use", "hide-personal-data", "no-destructive-sql", "review-schema-changes"];
    let plugins = PLUGINS.iter().map(|name| format!("plugins/{name}"));
    plugins.chain(policies.iter().map(|name| format!("policies/{name}"))).collect()
}

/// Everything that can be said without running the code.
pub(crate) fn lint() -> Result<()> {
    setup::for_demo()?;
    show("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    show("format of the plugins", &mut native("fmt", &["--all", "--check"]))?;
    boundaries::check()?;
    show("clippy", &mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    show(
        "clippy of the plugins",
        &mut native("clippy", &["--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
    show("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))
}
