//! Builds the guests once and makes components of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use portcullis_tests::guest_rust::{self, TARGET};

/// The component of a guest.
pub(crate) fn component(name: &str) -> Arc<[u8]> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let dir = BUILT.get_or_init(build);
    let module = std::fs::read(dir.join(format!("{}.wasm", name.replace('-', "_")))).unwrap();
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true).module(&module).unwrap().encode().unwrap().into()
}

fn build() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("guests");
    let manifest = std::env::current_dir().unwrap().join("../../tests/guests/Cargo.toml");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--target", TARGET, "--manifest-path"])
        .arg(manifest)
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .envs(guest_rust::environment().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&built.stderr);
    let missing = said.contains("can't find crate for `core`") || said.contains("can't find crate for `std`");
    assert!(!missing, "the guests need a compiler for {TARGET}: run `cargo xtask setup`");
    assert!(built.status.success(), "the guests do not build:\n{said}");
    target.join(TARGET).join("release")
}
