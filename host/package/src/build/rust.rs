//! Rust: cargo makes a core module, `wit-component` makes it a component.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{BuildError, Tool, target_dir};
use crate::component;
use crate::error::PackageError;

/// Where guests run: no operating system, so nothing that a component could import but what the interface gives.
const TARGET: &str = "wasm32-unknown-unknown";

const INSTALL: &str = "install Rust from https://rustup.rs";

/// Makes a component of the crate in a directory.
///
/// No path of the machine gets into the component, and the same workspace gives the same bytes wherever it lies. cargo
/// names a crate outside of the workspace by its path, so that such a dependency makes the bytes depend on the place.
pub(super) fn component(source: &Path, progress: &mut dyn FnMut(&str)) -> Result<Vec<u8>, BuildError> {
    let manifest = source.join("Cargo.toml");
    let manifest = manifest.canonicalize().map_err(|source| PackageError::Read { file: manifest, source })?;
    let source = Crate { dir: manifest.parent().unwrap_or(Path::new("/")).to_owned(), manifest };
    source.require_target()?;
    let module = source.compile(progress)?;
    let bytes = std::fs::read(&module).map_err(|source| PackageError::Read { file: module, source })?;
    Ok(component::encode(&bytes)?)
}

struct Crate {
    dir: PathBuf,
    manifest: PathBuf,
}

impl Crate {
    /// Says how to get the target before cargo says that `core` cannot be found.
    fn require_target(&self) -> Result<(), BuildError> {
        // Then cargo makes the target's standard library itself.
        if std::env::var_os("CARGO_UNSTABLE_BUILD_STD").is_some() {
            return Ok(());
        }
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        let print = ["--print", "target-libdir", "--target", TARGET];
        let Ok(output) = Command::new(rustc).args(print).current_dir(&self.dir).output() else {
            // There may be another way to a compiler in cargo's configuration.
            return Ok(());
        };
        let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if !output.status.success() || libraries.is_dir() {
            return Ok(());
        }
        let rustup = Command::new("rustup").arg("--version").output().is_ok_and(|o| o.status.success());
        let install = if rustup {
            "run `rustup target add wasm32-unknown-unknown`"
        } else {
            "install its standard library with the package manager that Rust came from, or Rust from https://rustup.rs"
        };
        Err(BuildError::Missing { what: format!("the compiler has no target {TARGET}"), install: install.into() })
    }

    /// Compiles the crate and returns its module.
    fn compile(&self, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
        let target_dir = target_dir();
        let flags = self.remapped(target_dir.as_deref())?;
        let mut cargo = self.cargo("build");
        cargo.command.args([
            "--release",
            "--target",
            TARGET,
            "--message-format=json-render-diagnostics",
            "--config",
            &flags,
        ]);
        if let Some(dir) = target_dir {
            cargo.command.arg("--target-dir").arg(dir);
        }
        let module = cargo.run(progress, |stdout| self.modules(stdout))?;
        let hint = "add `crate-type = [\"cdylib\"]` under the [lib] of its Cargo.toml";
        module.ok_or_else(|| BuildError::NoModule { source_dir: self.dir.clone(), hint })
    }

    /// The Wasm module among the artifacts that cargo tells of.
    fn modules(&self, stdout: &mut dyn Read) -> Option<PathBuf> {
        #[derive(Deserialize)]
        struct Message {
            reason: String,
            #[serde(default)]
            manifest_path: PathBuf,
            #[serde(default)]
            filenames: Vec<PathBuf>,
        }
        let mut module = None;
        // A dependency may be a `cdylib` too, so the artifact must be of this very crate.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
            if message.reason == "compiler-artifact" && message.manifest_path == self.manifest {
                let is_module = |file: &PathBuf| file.extension().is_some_and(|e| e == "wasm");
                module = message.filenames.into_iter().find(is_module).or(module);
            }
        }
        module
    }

    /// Flags that replace every path of this machine which may get into a module: panic messages hold file names.
    fn remapped(&self, target_dir: Option<&Path>) -> Result<String, BuildError> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Dependency>,
            workspace_root: String,
            target_directory: String,
        }
        #[derive(Deserialize)]
        struct Dependency {
            name: String,
            version: String,
            manifest_path: PathBuf,
        }
        let mut cargo = self.cargo("metadata");
        cargo.command.args(["--format-version=1", "--filter-platform", TARGET]);
        let mut text = String::new();
        let read = cargo.run(&mut |_| {}, |stdout| stdout.read_to_string(&mut text))?;
        let metadata = read
            .map_err(|e| e.to_string())
            .and_then(|_| serde_json::from_str::<Metadata>(&text).map_err(|e| e.to_string()));
        let metadata = metadata.map_err(|message| BuildError::Tool {
            command: "cargo metadata".into(),
            status: "unreadable answer".into(),
            dir: self.dir.clone(),
            message,
        })?;
        let target_dir = target_dir.map_or(metadata.target_directory, |dir| dir.to_string_lossy().into_owned());
        // Of several prefixes that fit, the compiler takes the last.
        let mut remaps = vec![(metadata.workspace_root, "/guests".to_owned()), (target_dir, "/target".to_owned())];
        let packages: BTreeMap<_, _> = metadata.packages.iter().map(|p| (p.manifest_path.parent(), p)).collect();
        for (dir, Dependency { name, version, .. }) in packages {
            remaps.extend(dir.map(|dir| (dir.to_string_lossy().into_owned(), format!("/{name}-{version}"))));
        }
        let flags = remaps.into_iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}").into());
        Ok(format!("target.{TARGET}.rustflags={}", toml::Value::Array(flags.collect())))
    }

    /// cargo in the crate's directory, so that its tool chain file and configuration hold. Flags from the environment do
    /// not: they are meant for the machine's own programs, and would make the component depend on who builds it.
    fn cargo(&self, task: &'static str) -> Tool {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command.arg(task).arg("--manifest-path").arg(&self.manifest);
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        let task = if task == "build" { "cargo build" } else { "cargo metadata" };
        Tool { command, task, dir: self.dir.clone(), install: INSTALL }
    }
}

#[cfg(test)]
mod tests;
