//! componentize-py, which makes components of Python policies, and the test runner of their packages.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::clients::is_stamped;
use crate::place::cache;
use crate::process::run;

const PACKAGES: [&str; 2] = ["componentize-py==0.25.1", "pytest==9.2.0"];

/// The directory with the programs `componentize-py` and `pytest`, if they are there.
pub fn path() -> Option<PathBuf> {
    Some(environment().join("bin")).filter(|dir| dir.join("componentize-py").exists())
}

/// Installs what is missing.
pub fn install() -> Result<()> {
    let (environment, stamp) = (environment(), PACKAGES.join(" "));
    if !is_stamped(&environment, &stamp) {
        println!("  installing the tools for policies in Python");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet"]).args(PACKAGES))?;
        std::fs::write(environment.join("stamp"), &stamp)?;
    }
    Ok(())
}

fn environment() -> PathBuf {
    cache().join("tools/python")
}
