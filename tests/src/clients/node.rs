//! Drivers and an ORM for Node.js.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::is_stamped;
use crate::place::cache;
use crate::process::{find, run};

/// What the tests use.
const PACKAGES: [&str; 4] = ["pg@8.23.1", "postgres@3.4.9", "sequelize@6.37.8", "pg-hstore@2.3.4"];

/// Node.js with the packages, if both are there.
pub fn node() -> Option<Command> {
    let mut node = Command::new(find("node", &[])?);
    node.env("NODE_PATH", directory().join("node_modules"));
    is_stamped(&directory(), &PACKAGES.join(" ")).then_some(node)
}

/// Installs what is missing.
pub(super) fn install() -> Result<()> {
    let (directory, stamp) = (directory(), PACKAGES.join(" "));
    if !is_stamped(&directory, &stamp) {
        println!("  installing the Node.js packages");
        std::fs::create_dir_all(&directory)?;
        let install = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        run(Command::new("npm").args(install).arg(&directory).args(PACKAGES))?;
        std::fs::write(directory.join("stamp"), &stamp)?;
    }
    Ok(())
}

fn directory() -> PathBuf {
    cache().join("clients/node")
}
