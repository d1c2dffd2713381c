//! The lock file: which artifact each source of a policy stood for when `portcullis policy lock` was run.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use semver::Version;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::PackageError;
use crate::{component, file};

/// The format that this gateway reads and writes.
const FORMAT: u64 = 1;

/// The most bytes of a source.
const MAX_SOURCE: usize = 2048;

const HEADER: &str = "# Made by `portcullis policy lock`. Commit it with the configuration.\n";

const WAY_OUT: &str = "restore it from version control, or make it anew with `portcullis policy lock`";

/// The packages that a configuration names, with the versions and digests that they are held to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    packages: BTreeMap<String, Locked>,
}

/// What a source is held to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The package's version.
    pub version: Version,
    /// The digest of its artifact: of the OCI manifest, `sha256:` and 64 hexadecimal digits.
    pub digest: String,
}

/// Why a lock file cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A value cannot stand in a lock file.
    #[error("{0}")]
    Malformed(String),
    /// The file cannot be read, or is larger than any honest one.
    #[error("{0}; {WAY_OUT}")]
    Read(PackageError),
    /// The file holds something that it must not.
    #[error("{}:{line}:{column}: {message}; {WAY_OUT}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The file is of a format that is not known here.
    #[error("{}:{line}: version {version} of the lock file is not known here, only {FORMAT}; use the Portcullis that made it, or make it anew with `portcullis policy lock`", file.display())]
    Unknown {
        /// The file.
        file: PathBuf,
        /// The line of its version.
        line: usize,
        /// The version that it has.
        version: u64,
    },
    /// The file cannot be written.
    #[error("{} cannot be written: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The part that every format has.
#[derive(Deserialize)]
struct Head {
    version: Spanned<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(rename = "version")]
    _version: u64,
    #[serde(default)]
    package: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    source: Spanned<String>,
    version: Spanned<String>,
    digest: Spanned<String>,
}

#[derive(Serialize)]
struct Written<'a> {
    version: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    package: Vec<WrittenEntry<'a>>,
}

#[derive(Serialize)]
struct WrittenEntry<'a> {
    source: &'a str,
    version: &'a Version,
    digest: &'a str,
}

impl Lock {
    /// Reads a lock file. One that does not exist holds nothing.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        match file::read_text(path) {
            Ok(text) => Self::parse(path, &text),
            Err(PackageError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(LockError::Read(error)),
        }
    }

    /// Reads the text of a lock file; errors name the file.
    pub fn parse(path: &Path, text: &str) -> Result<Self, LockError> {
        // The version comes first: an unknown key of a later format is to be told as what it is.
        let head: Head = file::parse(path, text).map_err(unreadable)?;
        if *head.version.get_ref() != FORMAT {
            let (line, _) = file::place(text, head.version.span().start);
            return Err(LockError::Unknown { file: path.into(), line, version: *head.version.get_ref() });
        }
        let Text { package, .. } = file::parse(path, text).map_err(unreadable)?;
        let mut lock = Self::default();
        for Entry { source, version, digest } in package {
            let wrong = |at: &Spanned<String>, message| unreadable(file::syntax(path, text, at.span().start, message));
            check_source(source.get_ref()).map_err(|message| wrong(&source, message))?;
            let locked = Locked {
                version: parse_version(version.get_ref()).map_err(|message| wrong(&version, message))?,
                digest: parse_digest(digest.get_ref()).map_err(|message| wrong(&digest, message))?,
            };
            if lock.packages.contains_key(source.get_ref()) {
                return Err(wrong(&source, format!("`{}` is there twice", source.get_ref())));
            }
            lock.packages.insert(source.into_inner(), locked);
        }
        Ok(lock)
    }

    /// What a source is held to.
    pub fn get(&self, source: &str) -> Option<&Locked> {
        self.packages.get(source)
    }

    /// Every source with what it is held to, by source.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Locked)> {
        self.packages.iter().map(|(source, locked)| (source.as_str(), locked))
    }

    /// Holds a source to a version and a digest, whatever it was held to before.
    pub fn set(&mut self, source: &str, version: &str, digest: &str) -> Result<(), LockError> {
        check_source(source).map_err(LockError::Malformed)?;
        let version = parse_version(version).map_err(LockError::Malformed)?;
        let digest = parse_digest(digest).map_err(LockError::Malformed)?;
        self.packages.insert(source.into(), Locked { version, digest });
        Ok(())
    }

    /// Forgets a source, and tells what it was held to.
    pub fn remove(&mut self, source: &str) -> Option<Locked> {
        self.packages.remove(source)
    }

    /// Forgets every source that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Locked) -> bool) {
        self.packages.retain(|source, locked| keep(source, locked));
    }

    /// Whether taking this version would be a step back, in the order of Semantic Versioning: from what the source is
    /// held to or, if it is not here, from the newest that is here under another tag of its repository. A version that
    /// cannot be compared with that is a step back too.
    pub fn is_downgrade(&self, source: &str, version: &str) -> bool {
        let others = self.packages.iter().filter(|(other, _)| repository(other) == repository(source));
        let newest = others.map(|(_, locked)| &locked.version).max_by(|a, b| a.cmp_precedence(b));
        let Some(before) = self.get(source).map(|locked| &locked.version).or(newest) else { return false };
        Version::parse(version).map_or(true, |version| version.cmp_precedence(before).is_lt())
    }

    /// Writes the lock file, as a whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), LockError> {
        let failed = |source| LockError::Write { file: path.into(), source };
        let text = self.text();
        if text.len() as u64 > file::MAX_TEXT {
            let bound = format!("it would be larger than {} bytes", file::MAX_TEXT);
            return Err(failed(std::io::Error::other(bound)));
        }
        component::write(path, text.as_bytes()).map_err(failed)
    }

    /// The text of the lock file. The same packages give the same text.
    pub fn text(&self) -> String {
        let package = self.iter().map(|(source, Locked { version, digest })| WrittenEntry { source, version, digest });
        let written = Written { version: FORMAT, package: package.collect() };
        HEADER.to_owned() + &toml::to_string(&written).expect("a table of texts is TOML")
    }
}

fn unreadable(error: PackageError) -> LockError {
    match error {
        PackageError::Syntax { file, line, column, message } => LockError::Syntax { file, line, column, message },
        other => LockError::Read(other),
    }
}

fn check_source(source: &str) -> Result<(), String> {
    match source {
        "" => Err("the source is empty".into()),
        long if long.len() > MAX_SOURCE => Err(format!("the source is longer than {MAX_SOURCE} bytes")),
        odd if odd.contains(char::is_control) => Err("the source holds control characters".into()),
        _ => Ok(()),
    }
}

fn parse_version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| format!("`{}` is not a version such as `1.2.0`: {error}", text.escape_debug()))
}

fn parse_digest(text: &str) -> Result<String, String> {
    let odd = || format!("`{}` is not a digest: `sha256:` and 64 lower-case hexadecimal digits", text.escape_debug());
    if is_digest(text) { Ok(text.into()) } else { Err(odd()) }
}

/// Whether a text is a SHA-256 digest as OCI writes it.
pub(crate) fn is_digest(text: &str) -> bool {
    let digit = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(digit))
}

/// A source of a registry without tag and digest; another source as it is.
fn repository(source: &str) -> &str {
    if !source.starts_with("oci://") {
        return source;
    }
    let source = source.split_once('@').map_or(source, |(name, _)| name);
    match source.rsplit_once(':') {
        // A colon before the last slash belongs to a port or to the scheme.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => source,
    }
}

#[cfg(test)]
mod tests;
