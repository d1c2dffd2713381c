//! Where things are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The checkout's root. It is looked for when the program runs: several checkouts may share one directory of built programs.
pub fn root() -> PathBuf {
    let start = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| std::env::current_dir().ok());
    let start = start.unwrap_or_default();
    let is_root = |directory: &&Path| directory.join("wit/policy.wit").exists();
    start.ancestors().find(is_root).unwrap_or(&start).to_path_buf()
}

/// What is worth keeping between checkouts: `$PORTCULLIS_CACHE`, else `portcullis` in the user's cache directory.
pub fn cache() -> PathBuf {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let user = || var("XDG_CACHE_HOME").or_else(|| Some(var("HOME")?.join(".cache")));
    var("PORTCULLIS_CACHE").or_else(|| Some(user()?.join("portcullis"))).unwrap_or_else(|| root().join("target/cache"))
}

/// The directory of cargo's artifacts for a profile, `debug` or `release`.
pub fn artifacts(profile: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(profile)
}

/// The gateway's binary: beside the running test, else cargo's artifact of this profile.
pub fn portcullis(profile: &str) -> Result<PathBuf> {
    let binary = artifacts(profile).join("portcullis");
    anyhow::ensure!(
        binary.exists(),
        "the gateway is not built; run `cargo xtask test`, or `cargo build -p portcullis-gateway` first"
    );
    Ok(binary)
}

/// An empty directory of its own, removed when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one under the system's directory for temporary files.
    pub fn new(name: &str) -> Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("portcullis-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over after a crash is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port of 127.0.0.1 that nobody listens on, and that this process has not given out before. It lies below the ports that the system
/// takes for outgoing connections, or one of those could have it before whoever asked.
pub fn free_port() -> Result<u16> {
    use std::sync::atomic::{AtomicU32, Ordering};
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        // Processes begin at different places.
        let place = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let port = u16::try_from(FIRST + place % COUNT)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port from {FIRST} on is free")
}
