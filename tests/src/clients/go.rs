//! The driver for Go, with a program that uses it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::is_stamped;
use crate::languages;
use crate::place::{cache, root};
use crate::process::run;

/// The driver whose tests are run too.
const DRIVER: &str = "github.com/jackc/pgx/v5";

/// Go in the directory of the program, if it is there with what the program needs.
pub fn go() -> Option<Command> {
    is_stamped(&modules(), &stamp().ok()?).then(|| command(&program()))?.ok()
}

/// Go in the directory of the driver's own module, if it is there with what its tests need.
pub fn suite() -> Option<Command> {
    let directory = run(go()?.args(["list", "-m", "-f", "{{.Dir}}", DRIVER])).ok()?;
    command(Path::new(directory.trim())).ok()
}

/// Downloads what is missing, also for the driver's own tests.
pub(super) fn install() -> Result<()> {
    languages::go::install()?;
    let stamp = stamp()?;
    if !is_stamped(&modules(), &stamp) {
        println!("  downloading the driver for Go");
        run(command(&program())?.env_remove("GOPROXY").args(["mod", "download", "all"]))?;
        std::fs::write(modules().join("stamp"), &stamp)?;
    }
    Ok(())
}

/// Go in a directory. It asks no proxy for anything.
fn command(directory: &Path) -> Result<Command> {
    let mut go = Command::new(languages::go::path().context("Go is missing")?.join("go"));
    go.arg("-C").arg(directory);
    // Modules of its own, so that it is known whether they are all there. They can be removed like other files.
    go.env("GOMODCACHE", modules()).env("GOFLAGS", "-modcacherw").env("GOTOOLCHAIN", "local").env("GOPROXY", "off");
    Ok(go)
}

fn program() -> PathBuf {
    root().join("tests/clients/pgx")
}

/// The versions, as the program pins them.
fn stamp() -> Result<String> {
    Ok(std::fs::read_to_string(program().join("go.sum"))?)
}

fn modules() -> PathBuf {
    cache().join("clients/go")
}
