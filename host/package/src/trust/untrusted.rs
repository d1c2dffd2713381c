use std::fmt;

use super::MAX_SIGNATURES;

/// Why a package may not run: what was expected, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// The digest is not one.
    #[error("{} has no digest that could be signed: `sha256:` and 64 lower-case hexadecimal digits", package.escape_debug())]
    Digest {
        /// Repository and digest.
        package: String,
    },
    /// There are more signatures than are looked at.
    #[error("{package} has {count} signatures; at most {MAX_SIGNATURES} are looked at: remove some from the registry")]
    TooMany {
        /// Repository and digest.
        package: String,
        /// How many.
        count: usize,
    },
    /// The signatures are not those that rules demand.
    #[error("{package} is not signed as it must be{}{}\n  have it signed, with `portcullis policy sign` for instance, or change the rule", Lines(unmet), Lines(&Signatures::of(found)))]
    Unmet {
        /// Repository and digest.
        package: String,
        /// Every rule that is not met.
        unmet: Vec<Unmet>,
        /// What was found, in its order.
        found: Vec<Found>,
    },
}

/// A rule that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The rule's namespace.
    pub namespace: String,
    /// How many signers must have signed.
    pub at_least: usize,
    /// Those who must all have signed.
    pub all_of: Vec<Expected>,
    /// Those of whom one must have signed.
    pub any_of: Vec<Expected>,
}

/// A signer that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The signer's name.
    pub signer: String,
    /// The id of the signer's key.
    pub key: String,
    /// Whether the signer has signed.
    pub signed: bool,
}

/// What a signature turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A signature of this package by a signer.
    Valid {
        /// The signer's name.
        signer: String,
    },
    /// A signature by a key that is no signer's.
    Unknown {
        /// The key's id, where signatures tell it.
        key: Option<String>,
    },
    /// Anything else.
    Invalid {
        /// Whose it is, or claims to be, if that can be told.
        signer: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
}

impl Found {
    pub(super) fn invalid(reason: String) -> Self {
        Self::Invalid { signer: None, reason }
    }

    /// Who has signed the package with it.
    pub(super) fn signer(&self) -> Option<&str> {
        match self {
            Self::Valid { signer } => Some(signer),
            Self::Unknown { .. } | Self::Invalid { .. } => None,
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signers = if self.at_least == 1 { "signer" } else { "signers" };
        write!(f, "the rule for `{}` demands {} {signers}: ", self.namespace, self.at_least)?;
        let list = |all: &[Expected]| all.iter().map(Expected::to_string).collect::<Vec<_>>().join(", ");
        match (&self.all_of[..], &self.any_of[..]) {
            (all, []) => f.write_str(&list(all)),
            ([], any) => write!(f, "any of {}", list(any)),
            (all, any) => write!(f, "{}, and any of {}", list(all), list(any)),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.signed { "has signed" } else { "missing" };
        write!(f, "{} ({}; {state})", self.signer, self.key)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Valid { signer } => write!(f, "valid, by {signer}"),
            Self::Unknown { key: Some(key) } => write!(f, "by a key of no signer, {key}"),
            Self::Unknown { key: None } => f.write_str("by a key of no signer, or changed"),
            Self::Invalid { signer: Some(signer), reason } => write!(f, "invalid, in the name of {signer}: {reason}"),
            Self::Invalid { signer: None, reason } => write!(f, "invalid: {reason}"),
        }
    }
}

/// Signatures that turned out the same, told once.
struct Signatures<'a> {
    found: Option<&'a Found>,
    count: usize,
}

impl<'a> Signatures<'a> {
    fn of(all: &'a [Found]) -> Vec<Self> {
        let mut told: Vec<Self> = Vec::new();
        for found in all {
            match told.iter_mut().find(|other| other.found == Some(found)) {
                Some(same) => same.count += 1,
                None => told.push(Self { found: Some(found), count: 1 }),
            }
        }
        if told.is_empty() {
            told.push(Self { found: None, count: 0 });
        }
        told
    }
}

impl fmt::Display for Signatures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.found, self.count) {
            (None, _) => f.write_str("found no signature"),
            (Some(found), 1) => write!(f, "found a signature {found}"),
            (Some(found), count) => write!(f, "found {count} signatures {found}"),
        }
    }
}

struct Lines<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Lines<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
