//! The driver for Java.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::is_stamped;
use crate::place::cache;
use crate::process::{find, run};

/// The driver, and the version of Maven's plugin that fetches it.
const DRIVER: &str = "org.postgresql:postgresql:42.7.14";
const FETCHER: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy";

/// Java with the driver, if both are there. It compiles the source file that it is given by itself.
pub fn java() -> Option<Command> {
    let mut java = Command::new(find("java", &[])?);
    java.arg("-cp").arg(directory().join("*"));
    is_stamped(&directory(), DRIVER).then_some(java)
}

/// Installs what is missing.
pub(super) fn install() -> Result<()> {
    let directory = directory();
    if !is_stamped(&directory, DRIVER) {
        println!("  installing the driver for Java");
        std::fs::create_dir_all(&directory)?;
        let mut copy = Command::new("mvn");
        copy.args(["--batch-mode", "--quiet", FETCHER]).arg(format!("-Dartifact={DRIVER}"));
        run(copy.arg(format!("-DoutputDirectory={}", directory.display())).current_dir(&directory))?;
        std::fs::write(directory.join("stamp"), DRIVER)?;
    }
    Ok(())
}

fn directory() -> PathBuf {
    cache().join("clients/java")
}
