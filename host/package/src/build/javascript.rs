//! JavaScript and TypeScript: a script for Node.js bundles the sources and puts them into a component with an engine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BuildError, Tool, work_dir, world};
use crate::component;
use crate::error::PackageError;
use crate::manifest::{Language, Manifest};

const SCRIPT: &str = include_str!("javascript.mjs");

/// The packages that the script needs.
const TOOLS: [&str; 2] = ["@bytecodealliance/componentize-js", "esbuild"];
const SDK: &str = "portcullis-sdk";

/// Makes a component of the package of npm in a directory.
pub(super) fn component(
    source: &Path,
    manifest: &Manifest,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let tools = tools(source, &std::env::var_os("PATH").unwrap_or_default())?;
    let work = work_dir(source, Language::JavaScript);
    let (script, wit, made) = (work.join("build.mjs"), work.join("wit"), work.join("policy.wasm"));
    world::write(&wit, manifest)?;
    component::write(&script, SCRIPT.as_bytes())
        .map_err(|source| BuildError::Write { file: script.clone(), source })?;
    let mut command = Command::new("node");
    command.arg(&script).args([&tools, source, &wit]).arg(world::NAME).arg(&work);
    command.args(manifest.capabilities.keys().map(|capability| capability.as_str())).env_remove("NODE_OPTIONS");
    let install = "install Node.js 20 or later from https://nodejs.org";
    let node = Tool { command, task: "node build.mjs", dir: source.to_owned(), install };
    node.run(progress, |_| ())?;
    Ok(std::fs::read(&made).map_err(|source| PackageError::Read { file: made, source })?)
}

/// The directory whose `node_modules` has the tools: the package's own or one above it, as npm looks for them, else one of which `PATH`
/// names the programs.
fn tools(source: &Path, path: &OsStr) -> Result<PathBuf, BuildError> {
    let has = |dir: &Path, name: &str| dir.join("node_modules").join(name).exists();
    let install = || format!("run `npm install` in {}", source.display());
    if !source.ancestors().any(|dir| has(dir, SDK)) {
        return Err(BuildError::Missing { what: format!("the package {SDK} is not installed"), install: install() });
    }
    let on_path: Vec<PathBuf> = std::env::split_paths(path)
        .filter(|dir| dir.ends_with("node_modules/.bin"))
        .filter_map(|dir| Some(dir.parent()?.parent()?.to_owned()))
        .collect();
    let mut places = source.ancestors().chain(on_path.iter().map(PathBuf::as_path));
    let found = places.find(|dir| TOOLS.iter().all(|name| has(dir, name)));
    found.map(Path::to_owned).ok_or_else(|| BuildError::Missing {
        what: format!("the packages {} are not installed", TOOLS.join(" and ")),
        install: install(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::tests::Dir;

    #[test]
    fn tools_are_found_beside_the_package_above_it_and_in_path() {
        let dir = Dir::new("javascript-tools");
        let source = dir.path("a/b/policy");
        let found = |path: &str| tools(&source, path.as_ref()).map_err(|error| error.to_string());
        let bin = dir.path("tools/node_modules/.bin");
        let path = format!("/usr/bin:{}", bin.display());
        assert!(found(&path).unwrap_err().contains("portcullis-sdk is not installed; run `npm install` in"));

        dir.put("a/b/policy/node_modules/portcullis-sdk/package.json", "{}");
        assert!(found(&path).unwrap_err().contains("esbuild are not installed; run `npm install` in"));
        let put = |place: &str| TOOLS.map(|tool| dir.put(&format!("{place}/node_modules/{tool}/package.json"), "{}"));
        put("tools");
        assert_eq!(found(&path), Ok(dir.path("tools")));
        assert!(found("/usr/bin").is_err());
        put("a");
        assert_eq!(found(&path), Ok(dir.path("a")));
        put("a/b/policy");
        assert_eq!(found(&path), Ok(source.clone()));
    }
}
