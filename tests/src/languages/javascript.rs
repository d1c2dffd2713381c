//! esbuild and componentize-js, which make components of JavaScript policies.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::clients::is_stamped;
use crate::place::cache;
use crate::process::run;

const PACKAGES: [&str; 2] = ["@bytecodealliance/componentize-js@0.23.0", "esbuild@0.28.2"];

/// The directory with the programs of the packages, if they are there.
pub fn path() -> Option<PathBuf> {
    Some(cache().join("tools/javascript/node_modules/.bin")).filter(|dir| dir.join("esbuild").exists())
}

/// Installs what is missing.
pub fn install() -> Result<()> {
    let (directory, stamp) = (cache().join("tools/javascript"), PACKAGES.join(" "));
    if !is_stamped(&directory, &stamp) {
        println!("  installing the tools for policies in JavaScript");
        std::fs::create_dir_all(&directory)?;
        let install = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        run(Command::new("npm").args(install).arg(&directory).args(PACKAGES))?;
        std::fs::write(directory.join("stamp"), &stamp)?;
    }
    Ok(())
}
