use std::path::{Path, PathBuf};

/// Why the store could not be opened. The file is left as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file is damaged, cut short, or not a database at all.
    #[error(
        "the store {path} cannot be read: {reason}; restore it from a backup, or move it away to start an empty one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is a database of another program.
    #[error("{path} is a database, but not a store of portcullis; name another directory as `data_dir`")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("the store {path} is open in another process; stop that one, or name another directory as `data_dir`")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("the store {path} cannot be opened: {error}")]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// It has an earlier format, in which nothing vouches for the events.
    #[error(
        "the store {path} has format {found}, which has no chain to be verified; start this version's gateway on it once, which brings it up to date"
    )]
    Old {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u64,
    },
    /// It was written by another version.
    #[error(
        "the store {path} has format {found}, and this version reads format {known}; use the version that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The file's format.
        found: u64,
        /// The format of this version.
        known: u64,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io { path: path.into(), error }
    }

    pub(crate) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged { path: path.into(), reason: reason.to_string() }
    }

    /// Sorts an error of the database by what the operator can do about it.
    pub(crate) fn database(path: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse { path: path.into() },
            redb::Error::Io(error)
                if !matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
            {
                Self::io(path, error)
            }
            error => Self::damaged(path, error),
        }
    }
}
