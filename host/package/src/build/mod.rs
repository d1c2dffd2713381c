//! Building a component from its source, by the tools of its language.

mod c;
mod go;
mod javascript;
mod python;
mod reactor;
mod rust;
mod world;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::component::{self, Unfit};
use crate::error::PackageError;
use crate::manifest::Language;
use crate::package::Package;

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
    /// A tool that the language needs is not there.
    #[error("{what}; {install}")]
    Missing {
        /// What is missing.
        what: String,
        /// How to get it.
        install: String,
    },
    /// The source makes no Wasm module.
    #[error("{} makes no Wasm module; {hint}", source_dir.display())]
    NoModule {
        /// The source.
        source_dir: PathBuf,
        /// The way out.
        hint: &'static str,
    },
    /// The package has no source.
    #[error(
        "the package `{0}` has no [build] section, so that there is nothing to build; `cargo xtask plugins` builds the standard plugins"
    )]
    NoSource(String),
    /// The package itself is unusable.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A tool cannot be run.
    #[error("`{program}` cannot be run: {error}; {install}")]
    Program {
        /// The tool.
        program: String,
        /// Why.
        error: std::io::Error,
        /// How to get it.
        install: &'static str,
    },
    /// A tool refused.
    #[error("`{command}` failed ({status}) in {}: {message}", dir.display())]
    Tool {
        /// The tool with its task.
        command: String,
        /// How it ended.
        status: String,
        /// Where it ran.
        dir: PathBuf,
        /// Its first error.
        message: String,
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
/// that the tools print.
pub fn build(package: &Package, progress: &mut dyn FnMut(&str)) -> Result<Built, BuildError> {
    let about = &package.manifest.package;
    let Some(from) = &package.manifest.build else { return Err(BuildError::NoSource(about.name.clone())) };
    let source = package.dir.join(&from.source);
    let source = source.canonicalize().map_err(|error| PackageError::Read { file: source, source: error })?;
    let component = match from.language {
        Language::C => c::component(&source, progress)?,
        Language::Go => go::component(&source, progress)?,
        Language::JavaScript => javascript::component(&source, &package.manifest, progress)?,
        Language::Python => python::component(&source, &package.manifest, progress)?,
        Language::Rust => rust::component(&source, progress)?,
    };
    component::check(&component, &package.manifest)?;
    let file = package.component_path();
    component::write(&file, &component).map_err(|source| BuildError::Write { file: file.clone(), source })?;
    Ok(Built { component: file, bytes: component.len() as u64, digest: component::digest(&component) })
}

/// A tool that is run, and what to say when it is not there or fails.
struct Tool {
    /// What is run.
    command: Command,
    /// The name of the task in messages, such as `cargo build`.
    task: &'static str,
    /// Where it runs.
    dir: PathBuf,
    /// How to get it.
    install: &'static str,
}

impl Tool {
    /// Runs it to its end, for what it does and not for what it prints.
    fn finish(self, progress: &mut dyn FnMut(&str)) -> Result<(), BuildError> {
        self.run(progress, |stdout| {
            // Nothing is lost with output that cannot be read, and how it ends tells the rest.
            let _ = std::io::copy(stdout, &mut std::io::sink());
        })
    }

    /// Runs it to its end. Both of its streams are read at once, so that neither fills up and stalls it; the lines of its standard error
    /// are its progress, and the first that says `error` tells why it failed.
    fn run<T: Send>(
        self,
        progress: &mut dyn FnMut(&str),
        read: impl FnOnce(&mut dyn Read) -> T + Send,
    ) -> Result<T, BuildError> {
        let Self { mut command, task, dir, install } = self;
        let program = command.get_program().to_string_lossy().into_owned();
        let broken = |error| BuildError::Program { program: program.clone(), error, install };
        command.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(broken)?;
        let (Some(mut stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(broken(std::io::Error::other("it has no output")));
        };
        let (mut first_error, mut last) = (None, String::new());
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(move || read(&mut stdout));
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end();
                if first_error.is_none()
                    && (line.to_ascii_lowercase().starts_with("error") || line.contains(": error: "))
                {
                    first_error = Some(line.to_owned());
                }
                if !line.is_empty() {
                    last = line.trim_start().to_owned();
                }
                progress(line);
            }
            reader.join()
        });
        let status = child.wait().map_err(broken)?;
        if !status.success() {
            let message = first_error.unwrap_or(if last.is_empty() { "it gives no reason".into() } else { last });
            return Err(BuildError::Tool { command: task.into(), status: status.to_string(), dir, message });
        }
        read.map_err(|_| broken(std::io::Error::other("its output cannot be read")))
    }
}

/// A directory for what can be made anew from a source: in `CARGO_TARGET_DIR` if that is set, else `build` beside the source.
fn work_dir(source: &Path, language: Language) -> PathBuf {
    match target_dir() {
        Some(dir) => {
            let digest = component::digest(source.as_os_str().as_encoded_bytes());
            dir.join(language.as_str()).join(digest.get(..16).unwrap_or_default())
        }
        None => source.join("build"),
    }
}

/// The directory of guests in `CARGO_TARGET_DIR`. Tools run in the source's directory, where a relative path would mean another place.
fn target_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty())?;
    Some(std::path::absolute(&dir).unwrap_or(dir.into()).join("guests"))
}
