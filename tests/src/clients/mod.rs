//! Drivers of other languages and what else comes with their package managers, in the cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::place::cache;
use crate::process::{find, run};

/// The Python drivers that the tests use, and a player of terminal recordings.
pub const PYTHON: [&str; 3] = ["psycopg[binary]==3.3.9", "asyncpg==0.32.0", "asciinema==2.4.0"];
/// The Node.js driver that the tests use.
pub const NODE: &str = "pg@8.23.1";

/// The Python with the drivers, if it is there.
pub fn python() -> Option<PathBuf> {
    Some(cache().join("clients/python/bin/python")).filter(|path| path.exists())
}

/// The player of terminal recordings, if it is there.
pub fn asciinema() -> Option<PathBuf> {
    Some(cache().join("clients/python/bin/asciinema")).filter(|path| path.exists())
}

/// The directory to run Node.js in so that it finds the driver, if it is there.
pub fn node() -> Option<PathBuf> {
    let directory = cache().join("clients/node");
    (directory.join("node_modules/pg").exists() && find("node", &[]).is_some()).then_some(directory)
}

/// Installs what is missing.
pub fn install() -> Result<()> {
    let stamp = PYTHON.join(" ");
    let python = cache().join("clients/python");
    if !is_stamped(&python, &stamp) {
        println!("  installing Python packages");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&python))?;
        run(Command::new(python.join("bin/pip")).args(["install", "--quiet"]).args(PYTHON))?;
        std::fs::write(python.join("stamp"), &stamp)?;
    }
    let node = cache().join("clients/node");
    if !is_stamped(&node, NODE) {
        println!("  installing the Node.js driver");
        std::fs::create_dir_all(&node)?;
        run(Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&node)
            .arg(NODE))?;
        std::fs::write(node.join("stamp"), NODE)?;
    }
    Ok(())
}

/// Whether an installation was finished with these versions.
pub(crate) fn is_stamped(directory: &Path, stamp: &str) -> bool {
    std::fs::read_to_string(directory.join("stamp")).is_ok_and(|found| found == stamp)
}
