use std::path::PathBuf;

use portcullis_package::{PackageError, Unfit};

use crate::digest::Digest;

/// Why something is not a package that can be carried. Every message names what, where and the way out.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Content is not what its digest says.
    #[error(
        "{what} has the digest {found} and must have {expected}: it was damaged or exchanged; get it again from where it was published"
    )]
    Digest {
        /// The content.
        what: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A part holds something that it must not.
    #[error("{what}: {message}")]
    Invalid {
        /// The part.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// The package cannot be read.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A part is larger than any honest one.
    #[error("{what} is larger than {limit} bytes, which is the most that is taken")]
    TooLarge {
        /// The part.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// The component is none that can be a policy.
    #[error("{}: {source}", component.display())]
    Unfit {
        /// The component.
        component: PathBuf,
        /// Why.
        source: Unfit,
    },
}

impl ArtifactError {
    pub(crate) fn invalid(what: &str, message: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), message: message.into() }
    }
}

/// What went wrong with a registry, and where.
#[derive(Debug, thiserror::Error)]
#[error("{reference}: {problem}")]
pub struct RegistryError {
    /// What it was about.
    pub reference: String,
    /// What went wrong.
    pub problem: Problem,
}

/// What may go wrong with a registry.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It is not there.
    #[error("{0}")]
    Absent(String),
    /// What came is no package that can be used.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A configuration, or what the registry says, makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The registry refuses, or would have done what is not allowed.
    #[error("{0}")]
    Refused(String),
    /// The registry cannot be reached, or failed on the way.
    #[error("{0}")]
    Unreachable(String),
}
