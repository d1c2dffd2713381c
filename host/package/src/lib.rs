//! Policy packages: a directory with a manifest (`policy.toml`), a Wasm component, a JSON schema of the settings, and
//! test cases (`cases/*.toml`).
//!
//! Which artifacts a configuration is held to is in its lock file ([`Lock`]), and whose signatures they need in [`trust`].
//!
//! A package is data until the engine loads its component. Nothing here runs one: [`run_case`] asks whatever implements
//! [`portcullis_verdict::Decide`].

mod build;
mod case;
pub mod compat;
mod component;
mod error;
mod file;
mod files;
pub mod junit;
mod lock;
mod manifest;
mod package;
mod rows;
mod run;
mod settings;
pub mod trust;
mod world;

pub use build::{BuildError, Built, build};
pub use case::Case;
pub use component::Unfit;
pub use error::{PackageError, Problem};
pub use lock::{Lock, LockError, Locked};
pub use manifest::{About, Budget, Budgeted, BuildFrom, Capability, Hook, Language, Manifest, Reason};
pub use package::Package;
pub use rows::value_type;
pub use run::{Questions, Ran, run_case};
pub use settings::read_settings;
pub use world::World;
