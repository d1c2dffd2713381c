//! What has to be on the machine. Everything is looked for first; only what is missing is installed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use portcullis_tests::process::find;
use portcullis_tests::{clients, guest_rust, nothing_may_be_missing, postgres, registry, rsyslog};

use crate::languages;

/// What the tests and the bench need of the system, and the Debian packages that bring it.
fn missing_packages() -> Vec<&'static str> {
    let has = |name: &str| find(name, &postgres::directories()).is_some();
    let mut missing = missing_build_packages();
    let needed: [(bool, &'static str); 12] = [
        (has("initdb") && has("psql") && has("pgbench"), "postgresql"),
        (has("pgbouncer") || Path::new("/usr/sbin/pgbouncer").exists(), "pgbouncer"),
        (has("python3"), "python3"),
        (!has("python3") || python_makes_environments(), "python3-venv"),
        (has("npm"), "npm"),
        (has("javac"), "default-jdk-headless"),
        (has("mvn"), "maven"),
        (registry::program().is_ok(), "docker-registry"),
        // Only the programs of both are used, with configurations of their own; never the system's services.
        (rsyslog::program().is_ok(), "rsyslog"),
        (has("zstd"), "zstd"),
        // What others sign packages with.
        (has("minisign"), "minisign"),
        (has("openssl"), "openssl"),
    ];
    missing.extend(needed.iter().filter(|(there, _)| !there).map(|(_, package)| *package));
    missing
}

/// What building the gateway and running the demo need.
fn missing_build_packages() -> Vec<&'static str> {
    let has = |name: &str| find(name, &postgres::directories()).is_some();
    let needed: [(bool, &'static str); 3] = [
        (has("cc"), "build-essential"),
        (has_libclang(), "libclang-dev"),
        (has("initdb") && has("psql"), "postgresql"),
    ];
    needed.iter().filter(|(there, _)| !there).map(|(_, package)| *package).collect()
}

/// Makes sure that the gateway can be built and the demo can run.
pub(crate) fn for_demo() -> Result<()> {
    install(&missing_build_packages())?;
    wasm_target()
}

/// Makes sure that everything can be built, tested and measured.
pub(crate) fn setup() -> Result<()> {
    install(&missing_packages())?;
    wasm_target()?;
    match clients::install().and_then(|()| languages::install()) {
        Err(error) if !nothing_may_be_missing() => {
            eprintln!("warning: not everything could be installed, so some tests will be skipped: {error:#}");
            Ok(())
        }
        result => result,
    }
}

/// The grammar's bindings are made with libclang, of any version. `libclang-cpp`, which comes with LLVM's own tools, is another library.
fn has_libclang() -> bool {
    let is_libclang = |name: &str| {
        let version = name.strip_prefix("libclang-").and_then(|rest| rest.chars().next());
        name.starts_with("libclang.so") || version.is_some_and(|first| first.is_ascii_digit())
    };
    let named = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.into_iter().any(|e| is_libclang(&e.file_name().to_string_lossy()))
    };
    let versions = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut llvm = versions.map(|e| e.path()).filter(|p| p.to_string_lossy().contains("/llvm"));
    std::env::var_os("LIBCLANG_PATH").is_some()
        || llvm.any(|dir| named(&dir.join("lib")))
        || ["/usr/lib64", "/usr/local/lib"].iter().any(|dir| named(&PathBuf::from(dir)))
}

fn python_makes_environments() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut packages = packages.to_vec();
    packages.dedup();
    let line = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    let root = std::fs::metadata("/proc/self")?.uid() == 0;
    let sudo = find("sudo", &[]).filter(|_| !root);
    let may = find("apt-get", &[]).is_some() && (root || sudo.as_ref().is_some_and(|sudo| is_passwordless(sudo)));
    if !may {
        bail!("these are missing: {}. Install them and try again:\n\n    sudo {line}\n", packages.join(", "));
    }
    println!("installing {}", packages.join(", "));
    let run = |line: &str| -> Result<bool> {
        let mut command = match &sudo {
            Some(sudo) => Command::new(sudo),
            None => Command::new("env"),
        };
        command.arg("DEBIAN_FRONTEND=noninteractive").args(line.split(' ')).stdout(Stdio::null());
        Ok(command.status().with_context(|| format!("cannot run {line}"))?.success())
    };
    // A machine that never asked knows no packages.
    ensure!(run("apt-get update -q")? && run(&line)?, "`{line}` failed");
    Ok(())
}

fn is_passwordless(sudo: &Path) -> bool {
    let mut test = Command::new(sudo);
    test.args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    test.status().is_ok_and(|status| status.success())
}

/// The target for guests, from rustup or, where that cannot fetch it, with Debian's Rust.
fn wasm_target() -> Result<()> {
    if guest_rust::is_there()? {
        return Ok(());
    }
    println!("installing the Rust target {}", guest_rust::TARGET);
    let mut rustup = Command::new("rustup");
    let added = rustup.args(["target", "add", guest_rust::TARGET]).status().is_ok_and(|status| status.success());
    if added && guest_rust::is_there()? {
        return Ok(());
    }
    println!("rustup cannot install it; fetching Debian's Rust, for guests only");
    guest_rust::unpack()
}
