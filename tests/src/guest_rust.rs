//! The compiler for guests: the active Rust with its Wasm target, or else Debian's Rust, which comes with the sources of its standard
//! library, so that this can be built for the target.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::place::cache;
use crate::process::{find, run};

/// The target that Rust policies are compiled to.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's packages, which are unpacked and not installed: installed they conflict with another Rust.
const PACKAGES: [&str; 5] = ["rustc-web", "libstd-rust-web-1.96", "libstd-rust-web-dev", "rust-web-src", "libllvm22"];

/// Whether the active Rust has the target.
pub fn is_there() -> Result<bool> {
    Ok(sysroot()?.join("lib/rustlib").join(TARGET).exists())
}

/// What builds of guests need in their environment: nothing, or what makes them use Debian's Rust where that was put in the cache.
pub fn environment() -> Result<Vec<(&'static str, OsString)>> {
    let rust = unpacked();
    if is_there()? || !rust.exists() {
        return Ok(vec![]);
    }
    // Debian's Rust has no linker for Wasm; that of another version does as well.
    let rustc_says = run(Command::new("rustc").arg("-vV"))?;
    let host = rustc_says.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let linker = sysroot()?.join("lib/rustlib").join(host).join("bin/rust-lld");
    ensure!(linker.exists(), "{} is missing, which links Wasm", linker.display());
    Ok(vec![
        ("LD_LIBRARY_PATH", rust.join("usr/lib/x86_64-linux-gnu").into()),
        ("RUSTC", rust.join("usr/bin/rustc").into()),
        // The standard library is built with the guests, which a stable compiler offers only so.
        ("RUSTC_BOOTSTRAP", "1".into()),
        ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".into()),
        ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker.into()),
    ])
}

/// Puts Debian's Rust in the cache, whole or not at all.
pub fn unpack() -> Result<()> {
    if unpacked().exists() {
        return Ok(());
    }
    let missing = "install the target with your distribution's Rust";
    ensure!(
        find("apt-get", &[]).is_some() && find("dpkg", &[]).is_some(),
        "there is no apt-get to fetch it; {missing}"
    );
    let draft = unpacked().with_extension(format!("new-{}", std::process::id()));
    let fetched = fetch(&draft).and_then(|()| Ok(fs::rename(&draft, unpacked())?));
    if fetched.is_err() {
        // It is not there to be removed if it could not be made.
        let _ = fs::remove_dir_all(&draft);
    }
    fetched.with_context(|| format!("Debian's Rust cannot be fetched; {missing}"))
}

fn fetch(directory: &Path) -> Result<()> {
    let downloads = directory.join("downloads");
    fs::create_dir_all(&downloads)?;
    run(Command::new("apt-get").args(["download", "-q"]).args(PACKAGES).current_dir(&downloads))?;
    for package in fs::read_dir(&downloads)? {
        run(Command::new("dpkg").arg("-x").arg(package?.path()).arg(directory))?;
    }
    Ok(fs::remove_dir_all(&downloads)?)
}

fn unpacked() -> PathBuf {
    cache().join("debian-rust")
}

fn sysroot() -> Result<PathBuf> {
    Ok(run(Command::new("rustc").args(["--print", "sysroot"]))?.trim().into())
}
