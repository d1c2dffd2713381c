//! Policy packages as OCI artifacts: packed, in registries, and in image layouts.
//!
//! A package has one digest, that of its OCI image manifest, which covers everything in it. Whatever is read from a registry
//! or a layout is checked against that, or refused.

mod artifact;
mod client;
mod digest;
mod error;
mod layout;
mod metadata;
mod oci;
mod reference;
mod sbom;
mod signature;

pub use artifact::Artifact;
pub use client::{Credentials, Registry, RegistryOptions, check_name};
pub use digest::{BadDigest, Digest};
pub use error::{ArtifactError, Problem, RegistryError};
pub use layout::{Layout, LayoutError, Listed, Named, Pulled};
pub use reference::{BadReference, Reference};
pub use signature::Signature;
