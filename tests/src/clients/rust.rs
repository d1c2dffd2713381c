//! The driver for Rust that is built only when all tests run.

use std::path::PathBuf;

use crate::place::artifacts;

/// The manifest of the program that uses it, below the checkout's root.
pub const MANIFEST: &str = "tests/clients/sqlx/Cargo.toml";

/// Where cargo puts what it makes of it.
pub fn target() -> PathBuf {
    artifacts("clients")
}

/// The program, if it is built.
pub fn sqlx() -> Option<PathBuf> {
    Some(target().join("debug/sqlx-client")).filter(|path| path.exists())
}
