//! Policy packages: a directory with a manifest (`policy.toml`), a Wasm component, a JSON schema of the settings, and
//! test cases (`cases/*.toml`).
//!
//! A package is data until the engine loads its component. Nothing here runs one: [`run_case`] asks whatever implements
//! [`portcullis_verdict::Decide`].

mod build;
mod case;
mod component;
mod error;
mod file;
mod manifest;
mod package;
mod rows;
mod run;
mod settings;

pub use build::{BuildError, Built, build};
pub use case::Case;
pub use component::Unfit;
pub use error::{PackageError, Problem};
pub use manifest::{About, Budget, Budgeted, BuildFrom, Capability, Hook, Language, Manifest, Reason};
pub use package::Package;
pub use rows::value_type;
pub use run::run_case;
