//! C: the package's Makefile has Zig's compiler make a module for WASI preview 1.

use std::path::Path;
use std::process::Command;

use super::{BuildError, Tool, reactor, work_dir};
use crate::error::PackageError;
use crate::manifest::Language;

const INSTALL_MAKE: &str = "install GNU make with the system's package manager";
const INSTALL_ZIG: &str = "install Zig from https://ziglang.org, or with `pip install ziglang`, whose `zig` is not on PATH by itself: \
     export PATH=\"$(python3 -c 'import os, ziglang; print(os.path.dirname(ziglang.__file__))'):$PATH\"";

/// Makes a component of the C sources in a directory: `make module OUT=<file>` puts the module there.
pub(super) fn component(source: &Path, progress: &mut dyn FnMut(&str)) -> Result<Vec<u8>, BuildError> {
    let mut zig = Command::new("zig");
    zig.arg("version");
    Tool { command: zig, task: "zig version", dir: source.to_owned(), install: INSTALL_ZIG }.finish(&mut |_| {})?;
    let work = work_dir(source, Language::C);
    std::fs::create_dir_all(&work).map_err(|source| BuildError::Write { file: work.clone(), source })?;
    let module = work.join("module.wasm");
    let mut out = std::ffi::OsString::from("OUT=");
    out.push(&module);
    let mut command = Command::new("make");
    command.args(["--no-print-directory", "module"]).arg(out);
    // Flags from the environment are meant for the machine's own programs.
    for variable in ["CFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS"] {
        command.env_remove(variable);
    }
    Tool { command, task: "make module", dir: source.to_owned(), install: INSTALL_MAKE }.finish(progress)?;
    let bytes = std::fs::read(&module).map_err(|source| PackageError::Read { file: module, source })?;
    Ok(reactor::encode(&bytes)?)
}
