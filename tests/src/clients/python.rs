//! Drivers and an ORM for Python, a player of terminal recordings, and what drivers' own tests need.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::is_stamped;
use crate::place::cache;
use crate::process::run;

/// What the tests use.
const PACKAGES: [&str; 10] = [
    "psycopg[binary]==3.3.9",
    "psycopg2-binary==2.9.13",
    "asyncpg==0.32.0",
    "pg8000==1.31.6",
    "sqlalchemy[asyncio]==2.1.9",
    "asciinema==2.4.0",
    "pytest==9.2.0",
    // For the tests of pg8000.
    "pytest-benchmark==5.3.1",
    "pytest-mock==3.17.0",
    "pytz==2026.6",
];

/// The Python with the packages, if it is there.
pub fn python() -> Option<PathBuf> {
    program("python")
}

/// The player of terminal recordings, if it is there.
pub fn asciinema() -> Option<PathBuf> {
    program("asciinema")
}

/// The installer of packages.
pub(super) fn pip() -> Command {
    Command::new(environment().join("bin/pip"))
}

fn program(name: &str) -> Option<PathBuf> {
    Some(environment().join("bin").join(name)).filter(|path| path.exists())
}

/// Installs what is missing.
pub(super) fn install() -> Result<()> {
    let (environment, stamp) = (environment(), PACKAGES.join(" "));
    if !is_stamped(&environment, &stamp) {
        println!("  installing Python packages");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        run(pip().args(["install", "--quiet"]).args(PACKAGES))?;
        std::fs::write(environment.join("stamp"), &stamp)?;
    }
    Ok(())
}

fn environment() -> PathBuf {
    cache().join("clients/python")
}
