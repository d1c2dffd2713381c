//! `portcullis policy inspect`

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use portcullis_package::Package;

use super::{INSTANCES, describe, engine};
use crate::show::safe_lines;

/// Prints what a component imports, exports and needs.
pub(super) fn inspect(path: &Path, json: bool) -> anyhow::Result<()> {
    let package = if path.is_dir() { Some(Package::open(path)?) } else { None };
    let component = match &package {
        Some(package) => package.component()?,
        None => std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?.into(),
    };
    let found = engine(INSTANCES)?.inspect(&component)?;
    let mut out = std::io::stdout().lock();
    if json {
        let capabilities: Vec<&str> = found.capabilities.iter().map(|c| c.as_str()).collect();
        let shown = serde_json::json!({
            "digest": found.digest, "bytes": found.size, "hooks": found.hooks,
            "imports": found.imports, "capabilities": capabilities,
        });
        writeln!(out, "{shown:#}")?;
        return Ok(());
    }
    if let Some(package) = &package {
        let about = &package.manifest.package;
        writeln!(out, "{} {}: {}", about.name, about.version, safe_lines(&about.description))?;
    }
    let [needs, answers] = describe(&found);
    writeln!(out, "sha256   {}\nsize     {} KiB", found.digest, found.size.div_ceil(1024))?;
    writeln!(out, "answers  {answers}\nneeds    {needs}")?;
    for import in &found.imports {
        writeln!(out, "imports  {}", safe_lines(import))?;
    }
    Ok(())
}
