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
