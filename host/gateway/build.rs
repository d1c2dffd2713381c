//! Puts the example packages and the SDKs into the binary, for `portcullis policy new`.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is taken, from the root of the repository.
const ROOTS: [&str; 8] = [
    "examples/write-a-policy",
    "plugins/Cargo.toml",
    "plugins/sdk",
    "plugins/sdk-c",
    "plugins/sdk-go",
    "plugins/sdk-js",
    "plugins/sdk-python",
    "wit/policy.wit",
];

/// Directories that tools make.
const MADE: [&str; 4] = ["build", "node_modules", "target", "__pycache__"];

fn main() -> io::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut files = Vec::new();
    for root in ROOTS {
        collect(&repository.join(root), &mut files)?;
    }
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.strip_prefix(&repository).map_err(io::Error::other)?;
        list.push_str(&format!("    ({:?}, include_str!({:?})),\n", name, file));
    }
    list.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo gives no OUT_DIR"))?;
    fs::write(PathBuf::from(out).join("templates.rs"), list)
}

/// Every file that somebody wrote.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_file() {
        files.push(path.into());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_made = name.starts_with('.')
            || (path.is_dir() && MADE.contains(&&*name))
            || path.extension().is_some_and(|extension| extension == "wasm" || extension == "pyc");
        if !is_made {
            collect(&path, files)?;
        }
    }
    Ok(())
}
