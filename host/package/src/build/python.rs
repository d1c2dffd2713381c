//! Python: componentize-py puts the interpreter, the SDK and the policy into one component.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{BuildError, Tool, work_dir, world};
use crate::error::PackageError;
use crate::file;
use crate::manifest::{Language, Manifest};

const TOOL: &str = "componentize-py";
const INSTALL: &str = "install it with `pip install componentize-py==0.25.1`, best in a virtual environment";

/// The SDK's module that a component is made of. It imports the package's `policy`.
const ENTRY: &str = "portcullis_guest";

/// What of `pyproject.toml` matters here.
#[derive(Deserialize)]
struct Project {
    tool: ProjectTools,
}

#[derive(Deserialize)]
struct ProjectTools {
    pytest: Pytest,
}

#[derive(Deserialize)]
struct Pytest {
    ini_options: PytestOptions,
}

#[derive(Deserialize)]
struct PytestOptions {
    pythonpath: Vec<PathBuf>,
}

/// Makes a component of the module `policy` in a directory.
pub(super) fn component(
    source: &Path,
    manifest: &Manifest,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let work = work_dir(source, Language::Python);
    let (wit, made) = (work.join("wit"), work.join("policy.wasm"));
    world::write(&wit, manifest)?;
    let mut command = Command::new(tool());
    command.arg("--quiet").arg("--wit-path").arg(&wit).args(["--world", world::NAME, "componentize"]);
    // WASI becomes traps: nothing of the machine can be reached, and the component imports nothing that is not a policy's business.
    command.arg("--stub-wasi").arg("--output").arg(&made);
    for dir in python_path(source)? {
        command.arg("--python-path").arg(source.join(dir));
    }
    command.arg(ENTRY).env("PYTHONDONTWRITEBYTECODE", "1").env("RUST_BACKTRACE", "0");
    let componentize = Tool { command, task: "componentize-py componentize", dir: source.to_owned(), install: INSTALL };
    componentize.run(progress, |_| ())?;
    Ok(std::fs::read(&made).map_err(|source| PackageError::Read { file: made, source })?)
}

/// Where modules are found: what pytest is told, so that the tests and the component have the same modules.
fn python_path(source: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let file = source.join("pyproject.toml");
    let project: Project = file::parse(&file, &file::read_text(&file)?)?;
    Ok(project.tool.pytest.ini_options.pythonpath)
}

/// The tool in the virtual environment that is active, else in `PATH`.
fn tool() -> PathBuf {
    let active = std::env::var_os("VIRTUAL_ENV").map(|dir| Path::new(&dir).join("bin").join(TOOL));
    active.filter(|file| file.is_file()).unwrap_or(TOOL.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::tests::Dir;

    #[test]
    fn modules_are_found_where_pytest_finds_them() {
        let dir = Dir::new("python-path");
        let project = |options: &str| dir.put("pyproject.toml", format!("[project]\nname = \"p\"\n{options}"));
        project("[tool.pytest.ini_options]\npythonpath = [\".\", \"sdk\"]\n");
        assert_eq!(python_path(&dir.path("")).unwrap(), [Path::new("."), Path::new("sdk")]);
        let file = project("[tool.pytest.ini_options]\n");
        let error = python_path(&dir.path("")).unwrap_err().to_string();
        assert!(error.contains("missing field `pythonpath`"), "{error}");
        std::fs::remove_file(file).unwrap();
        assert!(python_path(&dir.path("")).unwrap_err().to_string().contains("pyproject.toml cannot be read"));
    }
}
