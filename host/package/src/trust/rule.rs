use std::collections::BTreeSet;

use super::{Expected, Signer, TrustError, Unmet};

/// Whose signatures the packages of a namespace need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which repositories: `registry.example/team/*`. A `*` stands for any characters, slashes included, so that no
    /// repository further in escapes the rule.
    pub namespace: String,
    /// Signers who must all have signed.
    pub all_of: Vec<String>,
    /// Signers of whom at least one must have signed.
    pub any_of: Vec<String>,
    /// How many different signers of both lists must have signed; 0 for as many as the lists demand.
    pub at_least: usize,
}

impl Rule {
    /// Whether the rule is about this repository. Upper and lower case are the same, as are the spellings of a host.
    pub(super) fn covers(&self, repository: &str) -> bool {
        matches(canonical(&self.namespace).as_bytes(), canonical(repository).as_bytes())
    }

    /// How many different signers there must be.
    pub fn signers_needed(&self) -> usize {
        self.at_least.max(self.all_of.len() + usize::from(!self.any_of.is_empty()))
    }

    pub(super) fn check(&self, signers: &[Signer]) -> Result<(), TrustError> {
        let namespace = self.namespace.clone();
        if let Some(reason) = fault(&namespace) {
            return Err(TrustError::Namespace { namespace, reason });
        }
        let mut named = BTreeSet::new();
        for name in self.names() {
            let (namespace, signer) = (namespace.clone(), name.clone());
            if !signers.iter().any(|signer| signer.name == *name) {
                let names: Vec<_> = signers.iter().map(|signer| format!("`{}`", signer.name)).collect();
                let known = if names.is_empty() { "none".into() } else { names.join(", ") };
                return Err(TrustError::UnknownSigner { namespace, signer, known });
            }
            if !named.insert(name) {
                return Err(TrustError::NamedTwice { namespace, signer });
            }
        }
        let (min, max) = (Self { at_least: 0, ..self.clone() }.signers_needed(), named.len());
        match self.at_least {
            _ if max == 0 => Err(TrustError::Empty(namespace)),
            0 => Ok(()),
            // Less than the lists demand would look as if it softened them.
            at_least if at_least < min || at_least > max => Err(TrustError::AtLeast { namespace, at_least, min, max }),
            _ => Ok(()),
        }
    }

    /// What is missing, if those who signed do not satisfy the rule.
    pub(super) fn unmet(&self, signers: &[Signer], signed: &BTreeSet<&str>) -> Option<Unmet> {
        let has_signed = |name: &&String| signed.contains(name.as_str());
        let count = self.names().filter(has_signed).count();
        // More signers than all_of has: so at least one of any_of is among them.
        if self.all_of.iter().all(|name| has_signed(&name)) && count >= self.signers_needed() {
            return None;
        }
        let expected = |name: &String| {
            let signer = signers.iter().find(|signer| signer.name == *name);
            let key = signer.map(|signer| signer.key.id()).unwrap_or_default();
            Expected { signer: name.clone(), key, signed: has_signed(&name) }
        };
        Some(Unmet {
            namespace: self.namespace.clone(),
            at_least: self.signers_needed(),
            all_of: self.all_of.iter().map(expected).collect(),
            any_of: self.any_of.iter().map(expected).collect(),
        })
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.all_of.iter().chain(&self.any_of)
    }
}

/// One spelling of a repository or namespace.
fn canonical(text: &str) -> String {
    let text = text.to_lowercase();
    let Some((host, path)) = text.split_once('/') else { return text };
    let host = host.strip_suffix(":443").unwrap_or(host);
    format!("{}/{path}", host.strip_suffix('.').unwrap_or(host))
}

/// Why a namespace would not do what it seems to.
fn fault(namespace: &str) -> Option<&'static str> {
    let odd = |c: char| !c.is_ascii_alphanumeric() && !"-._:/*[]".contains(c);
    let (host, path) = namespace.split_once('/').unwrap_or((namespace, ""));
    match namespace {
        "*" => None,
        _ if namespace.contains("://") => Some("has a scheme: write it without, such as `registry.example/team/*`"),
        _ if namespace.contains(odd) => Some("holds other characters than a repository's and `*`"),
        _ if host.is_empty() || path.is_empty() || path.ends_with('/') => {
            Some("is no repository: write `registry.example/team/block`, or `registry.example/team/*` for all in it")
        }
        _ if path.contains([':', '[', ']']) => {
            Some("has more than a repository: leave the tag away, rules are for all")
        }
        _ => None,
    }
}

/// Whether a text is what the pattern says, in which `*` stands for any characters.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last `*` was, and how much it stands for so far. Only the last one ever needs to stand for more.
    let mut star = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(c), _) if *c == text[t] => (p, t) = (p + 1, t + 1),
            (_, Some((at, until))) => {
                star = Some((at, until + 1));
                (p, t) = (at + 1, until + 1);
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests;
