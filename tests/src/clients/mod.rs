//! Drivers of other languages and what else comes with their package managers, in the cache.

pub mod go;
pub mod java;
pub mod node;
pub mod python;
pub mod rust;
pub mod suites;

use std::path::Path;

use anyhow::Result;

/// Installs what is missing.
pub fn install() -> Result<()> {
    python::install()?;
    node::install()?;
    java::install()?;
    go::install()?;
    suites::install()
}

/// Whether an installation was finished with these versions.
pub(crate) fn is_stamped(directory: &Path, stamp: &str) -> bool {
    std::fs::read_to_string(directory.join("stamp")).is_ok_and(|found| found == stamp)
}
