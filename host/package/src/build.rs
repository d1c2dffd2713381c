//! Building a component from a Rust crate: cargo makes a core module, `wit-component` makes it a component.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::component::{self, Unfit};
use crate::error::PackageError;
use crate::package::Package;

/// Where guests run: no operating system, so nothing that a component could import but what the interface gives.
const TARGET: &str = "wasm32-unknown-unknown";

/// A component that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Where it is.
    pub component: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub digest: String,
}

/// Why a component could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// cargo refused.
    #[error("`cargo {command}` failed ({status}) for {}: {message}", manifest.display())]
    Cargo {
        /// Its command.
        command: &'static str,
        /// How it ended.
        status: String,
        /// The crate's manifest.
        manifest: PathBuf,
        /// Its first error.
        message: String,
    },
    /// The compiler has no standard library for guests.
    #[error("the compiler has no target {TARGET}; {0}")]
    NoTarget(&'static str),
    /// The crate makes no Wasm module.
    #[error("{} makes no Wasm module; add `crate-type = [\"cdylib\"]` under its [lib]", .0.display())]
    NotCdylib(PathBuf),
    /// The package has no source.
    #[error(
        "the package `{0}` has no [build] section, so that there is nothing to build; `cargo xtask plugins` builds the standard plugins"
    )]
    NoSource(String),
    /// The package itself is unusable.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A program cannot be run.
    #[error("`{program}` cannot be run: {source}; install Rust from https://rustup.rs")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// What was built is no policy.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The component cannot be written.
    #[error("{} cannot be written: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Builds the component of a package from its source, and puts it where the manifest says. `progress` gets the lines
/// that cargo prints.
///
/// No path of the machine gets into the component, and the same workspace gives the same bytes wherever it lies. cargo
/// names a crate outside of the workspace by its path, so that such a dependency makes the bytes depend on the place.
pub fn build(package: &Package, progress: &mut dyn FnMut(&str)) -> Result<Built, BuildError> {
    let about = &package.manifest.package;
    let Some(from) = &package.manifest.build else { return Err(BuildError::NoSource(about.name.clone())) };
    let manifest = package.dir.join(&from.crate_dir).join("Cargo.toml");
    let manifest = manifest.canonicalize().map_err(|source| PackageError::Read { file: manifest, source })?;
    let source = Crate { dir: manifest.parent().unwrap_or(Path::new("/")).to_owned(), manifest };
    source.require_target()?;
    let module = source.compile(progress)?;
    let bytes = std::fs::read(&module).map_err(|source| PackageError::Read { file: module, source })?;
    let component = component::encode(&bytes)?;
    component::check(&component, &about.capabilities)?;
    let file = package.component_path();
    component::write(&file, &component).map_err(|source| BuildError::Write { file: file.clone(), source })?;
    Ok(Built { component: file, bytes: component.len() as u64, digest: component::digest(&component) })
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
        Err(BuildError::NoTarget(if rustup {
            "run `rustup target add wasm32-unknown-unknown`"
        } else {
            "install its standard library with the package manager that Rust came from, or Rust from https://rustup.rs"
        }))
    }

    /// Compiles the crate and returns its module.
    fn compile(&self, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, BuildError> {
        let target_dir = std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
        // cargo runs in the crate's directory, where a relative path would mean another place.
        let target_dir = target_dir.map(|dir| std::path::absolute(&dir).unwrap_or(dir.into()).join("guests"));
        let flags = self.remapped(target_dir.as_deref())?;
        let mut cargo = self.cargo("build");
        cargo.args(["--release", "--target", TARGET, "--message-format=json-render-diagnostics", "--config", &flags]);
        if let Some(dir) = target_dir {
            cargo.arg("--target-dir").arg(dir);
        }
        let artifacts = self.run("build", cargo, progress, |stdout| self.modules(stdout))?;
        artifacts.ok_or_else(|| BuildError::NotCdylib(self.manifest.clone()))
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
        cargo.args(["--format-version=1", "--filter-platform", TARGET]);
        let mut text = String::new();
        let read = self.run("metadata", cargo, &mut |_| {}, |stdout| stdout.read_to_string(&mut text))?;
        let metadata = read
            .map_err(|e| e.to_string())
            .and_then(|_| serde_json::from_str::<Metadata>(&text).map_err(|e| e.to_string()));
        let metadata = metadata.map_err(|message| self.failed("metadata", "unreadable answer".into(), message))?;
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
    fn cargo(&self, command: &str) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        cargo.arg(command).arg("--manifest-path").arg(&self.manifest).current_dir(&self.dir);
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").stdin(Stdio::null());
        cargo
    }

    /// Runs cargo to its end. Both of its streams are read at once, so that neither fills up and stalls it.
    fn run<T: Send>(
        &self,
        command: &'static str,
        mut cargo: Command,
        progress: &mut dyn FnMut(&str),
        read: impl FnOnce(&mut dyn Read) -> T + Send,
    ) -> Result<T, BuildError> {
        let program: OsString = cargo.get_program().to_owned();
        let broken = |source| BuildError::Program { program: program.to_string_lossy().into_owned(), source };
        let mut child = cargo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(broken)?;
        let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(broken(std::io::Error::other("it has no output")));
        };
        let mut first_error = None;
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(move || read(&mut stdout));
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                if first_error.is_none() && line.starts_with("error") {
                    first_error = Some(line.to_string());
                }
                progress(line.trim_end());
            }
            reader.join()
        });
        let status = child.wait().map_err(broken)?;
        if !status.success() {
            return Err(self.failed(command, status.to_string(), first_error.unwrap_or("it gives no reason".into())));
        }
        read.map_err(|_| broken(std::io::Error::other("its output cannot be read")))
    }

    fn failed(&self, command: &'static str, status: String, message: String) -> BuildError {
        BuildError::Cargo { command, status, manifest: self.manifest.clone(), message }
    }
}

#[cfg(test)]
mod tests;
