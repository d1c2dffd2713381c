use std::fmt;
use std::path::PathBuf;

/// Why a package cannot be used. Every message names the file and the way out.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file holds something that it must not.
    #[error("{}: {message}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// There is no manifest.
    #[error("there is no policy package here: {} does not exist{}", manifest.display(), Inner(inner))]
    Missing {
        /// Where it should be.
        manifest: PathBuf,
        /// A package further in, if the directory holds some.
        inner: Option<PathBuf>,
    },
    /// The component is not there.
    #[error("there is no component at {}; {hint}", component.display())]
    NotBuilt {
        /// Where it should be.
        component: PathBuf,
        /// How to get it.
        hint: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The settings do not fit the package's schema.
    #[error("the settings of the policy package `{package}` do not fit its schema:{}", Lines(problems))]
    Settings {
        /// The package's name.
        package: String,
        /// Every problem.
        problems: Vec<Problem>,
    },
    /// A TOML file cannot be understood.
    #[error("{}:{line}:{column}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// What is wrong there, and what may have been meant.
        message: String,
    },
    /// A file is larger than any honest one.
    #[error("{} is larger than {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The bound.
        limit: u64,
    },
}

/// One thing that is wrong in a policy's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A JSON pointer (RFC 6901) to the place; empty for the whole.
    pub pointer: String,
    /// What is wrong there. It does not repeat the value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{place}: {}", self.message)
    }
}

struct Inner<'a>(&'a Option<PathBuf>);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|p| write!(f, "; that directory holds packages: name one, such as {}", p.display()))
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
