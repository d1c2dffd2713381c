//! Whose signatures a package needs before it may run.
//!
//! What is signed is always the digest of the package's OCI manifest, which covers every byte of it. Signatures are made
//! with minisign or as cosign makes them with a key. The crate does not fetch them: see [`Detached`].

mod cosign;
mod key;
mod minisign;
mod rule;
mod secret;
mod untrusted;

use std::collections::{BTreeMap, BTreeSet};

pub use cosign::MEDIA_TYPE as COSIGN;
pub use key::{KeyError, PublicKey};
pub use minisign::{MEDIA_TYPE as MINISIGN, claimed_key};
pub use rule::Rule;
pub use secret::{NewKey, SecretKey, SecretKeyError};
pub use untrusted::{Expected, Found, Unmet, Untrusted};

use crate::lock::is_digest;

/// The most signers.
pub const MAX_SIGNERS: usize = 128;

/// The most rules.
pub const MAX_RULES: usize = 1024;

/// The most signatures of a package.
pub const MAX_SIGNATURES: usize = 64;

/// The most bytes of a signature.
pub const MAX_SIGNATURE: usize = 64 << 10;

/// Whoever signs packages, with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The name that rules use.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// Signers, and the rules about whose signatures packages need.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    signers: Vec<Signer>,
    rules: Vec<Rule>,
}

/// One signature, as it was found beside a package.
#[derive(Clone, Copy, Debug)]
pub struct Detached<'a> {
    /// What kind it is: [`MINISIGN`] or [`COSIGN`]; no other counts.
    pub media_type: &'a str,
    /// The text of a minisign signature file, or the payload that cosign signed.
    pub bytes: &'a [u8],
    /// The annotations of its layer. cosign's signature itself is one of them.
    pub annotations: &'a BTreeMap<String, String>,
}

/// Why signers and rules make no sense together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Two signers have the same name.
    #[error("there are two signers `{0}`: give each a name of its own")]
    SameName(String),
    /// One key would count as two signers.
    #[error("the signers `{0}` and `{1}` have the same key, so that one signature would count twice: remove one")]
    SameKey(String, String),
    /// A signer's name cannot be used.
    #[error("`{}` is not a name of a signer: 1 to 64 letters, digits, `-`, `_`, `.` and `@`", .0.escape_debug())]
    Name(String),
    /// A rule can match nothing, or more than it seems to.
    #[error("the namespace `{}` {reason}", namespace.escape_debug())]
    Namespace {
        /// The rule's namespace.
        namespace: String,
        /// What is wrong with it, and the way out.
        reason: &'static str,
    },
    /// A rule demands nothing.
    #[error("the rule for `{0}` names no signers: name some in all_of or any_of, or remove it")]
    Empty(String),
    /// A rule names a signer that there is not.
    #[error("the rule for `{namespace}` names the signer `{}`, who is not there; there is {known}", signer.escape_debug())]
    UnknownSigner {
        /// The rule's namespace.
        namespace: String,
        /// The name.
        signer: String,
        /// The names that there are.
        known: String,
    },
    /// A rule names a signer more than once.
    #[error("the rule for `{namespace}` names the signer `{signer}` twice: once is enough")]
    NamedTwice {
        /// The rule's namespace.
        namespace: String,
        /// The name.
        signer: String,
    },
    /// The number of signers of a rule cannot be reached, or is less than the rule demands anyway.
    #[error("the rule for `{namespace}` has at_least = {at_least}, but its lists leave {min} to {max}")]
    AtLeast {
        /// The rule's namespace.
        namespace: String,
        /// Its number.
        at_least: usize,
        /// The least that its lists demand.
        min: usize,
        /// How many signers it names.
        max: usize,
    },
    /// There are too many of something.
    #[error("there are {count} {what}; at most {limit} are possible")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The bound.
        limit: usize,
    },
}

impl Trust {
    /// Puts signers and rules together, if they make sense.
    pub fn new(signers: Vec<Signer>, rules: Vec<Rule>) -> Result<Self, TrustError> {
        for (what, count, limit) in [("signers", signers.len(), MAX_SIGNERS), ("rules", rules.len(), MAX_RULES)] {
            if count > limit {
                return Err(TrustError::TooMany { what, count, limit });
            }
        }
        for (at, signer) in signers.iter().enumerate() {
            if !is_name(&signer.name) {
                return Err(TrustError::Name(signer.name.clone()));
            }
            for other in &signers[..at] {
                if other.name == signer.name {
                    return Err(TrustError::SameName(signer.name.clone()));
                }
                if other.key.is_same(&signer.key) {
                    return Err(TrustError::SameKey(other.name.clone(), signer.name.clone()));
                }
            }
        }
        rules.iter().try_for_each(|rule| rule.check(&signers))?;
        Ok(Self { signers, rules })
    }

    /// The rules for a repository, `registry.example/team/block`. All of them must be met.
    pub fn demands(&self, repository: &str) -> Vec<&Rule> {
        self.rules.iter().filter(|rule| rule.covers(repository)).collect()
    }

    /// Checks the signatures that were found beside a package of this repository and digest, `sha256:…` of its OCI
    /// manifest. Gives the names of those who signed it, in the order of the signers.
    ///
    /// Where no rule covers the repository, nothing is checked and nobody named: the digest is then the only anchor.
    pub fn verify(&self, repository: &str, digest: &str, found: &[Detached]) -> Result<Vec<String>, Untrusted> {
        let rules = self.demands(repository);
        if rules.is_empty() {
            return Ok(Vec::new());
        }
        let package = format!("{repository}@{digest}");
        if !is_digest(digest) {
            return Err(Untrusted::Digest { package });
        }
        if found.len() > MAX_SIGNATURES {
            return Err(Untrusted::TooMany { package, count: found.len() });
        }
        let found: Vec<Found> = found.iter().map(|detached| self.judge(digest, detached)).collect();
        // A set: several signatures by one key count once.
        let signed: BTreeSet<&str> = found.iter().filter_map(Found::signer).collect();
        let unmet: Vec<Unmet> = rules.iter().filter_map(|rule| rule.unmet(&self.signers, &signed)).collect();
        if unmet.is_empty() {
            let names = self.signers.iter().map(|signer| &signer.name);
            return Ok(names.filter(|name| signed.contains(name.as_str())).cloned().collect());
        }
        Err(Untrusted::Unmet { package, unmet, found })
    }

    fn judge(&self, digest: &str, detached: &Detached) -> Found {
        if detached.bytes.len() > MAX_SIGNATURE {
            return Found::invalid(format!("it is larger than {MAX_SIGNATURE} bytes"));
        }
        // The kind decides which keys are tried: a signature is never read as another kind than it says.
        match detached.media_type {
            MINISIGN => minisign::judge(&self.signers, digest, detached.bytes),
            COSIGN => cosign::judge(&self.signers, digest, detached),
            other => {
                let shown: String = other.chars().take(80).flat_map(char::escape_debug).collect();
                Found::invalid(format!("`{shown}` is a kind of signature that does not count here"))
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    (1..=64).contains(&text.chars().count()) && text.chars().all(legal)
}

#[cfg(test)]
mod tests;
