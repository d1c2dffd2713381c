//! Zig, whose C compiler makes modules of policies in C. Their tests are built with the machine's own compiler.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::clients::is_stamped;
use crate::place::cache;
use crate::process::run;

const PACKAGE: &str = "ziglang==0.17.1";

/// The directory with the program `zig`, if it is there.
pub fn path() -> Option<PathBuf> {
    Some(environment().join("bin")).filter(|dir| dir.join("zig").exists())
}

/// Installs what is missing.
pub fn install() -> Result<()> {
    let environment = environment();
    if !is_stamped(&environment, PACKAGE) {
        println!("  installing Zig for policies in C");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PACKAGE]))?;
        // The package brings the program, and no command of its name.
        let find = "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / 'zig')";
        let zig = run(Command::new(environment.join("bin/python")).args(["-c", find]))?;
        std::os::unix::fs::symlink(zig.trim(), environment.join("bin/zig"))?;
        std::fs::write(environment.join("stamp"), PACKAGE)?;
    }
    Ok(())
}

fn environment() -> PathBuf {
    cache().join("tools/c")
}
