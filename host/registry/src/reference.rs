use std::fmt;
use std::str::FromStr;

use semver::Version;

use crate::digest::{BadDigest, Digest};

/// Where a package is: `oci://host[:port]/path/name[:tag][@sha256:…]`. There is no default registry and no default tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// Its digest is none.
    #[error("`{reference}`: {source}")]
    Digest {
        /// The text.
        reference: String,
        /// Why.
        source: BadDigest,
    },
    /// A part of it is not what it must be.
    #[error("`{reference}`: {message}")]
    Part {
        /// The text.
        reference: String,
        /// What is wrong.
        message: String,
    },
}

/// How references begin.
const SCHEME: &str = "oci://";

impl Reference {
    /// The registry: host and port.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The last segment of the repository: what the package must be called.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// The version that the tag claims, if it looks like one. A tag has no `+`, so that `_` stands for it.
    pub fn version(&self) -> Option<Version> {
        let tag = self.tag()?;
        let version = tag.strip_prefix('v').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        Version::parse(&version.unwrap_or(tag).replacen('_', "+", 1)).ok()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        let wrong = |message: String| BadReference::Part { reference: text.chars().take(300).collect(), message };
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| wrong(format!("a reference begins with `{SCHEME}`")))?;
        if rest.split('/').next().is_some_and(|host| host.contains('@')) {
            let place = rest.split_once('@').map_or("", |(_, place)| place);
            return Err(BadReference::Part {
                reference: format!("{SCHEME}…@{}", place.chars().take(200).collect::<String>()),
                message: "it holds credentials, which belong into [[registry]] or `docker login`".into(),
            });
        }
        let (rest, digest) = rest.split_once('@').map_or((rest, None), |(rest, digest)| (rest, Some(digest)));
        let digest = digest.map(str::parse).transpose();
        let digest =
            digest.map_err(|source| BadReference::Digest { reference: text.chars().take(300).collect(), source })?;
        let Some((registry, path)) = rest.split_once('/') else {
            return Err(wrong("it names no repository; write `oci://registry.example/policies/name:1.2.0`".into()));
        };
        if !is_registry(registry) {
            return Err(wrong(format!(
                "`{registry}` is not a registry: a host name or an address, and perhaps a port"
            )));
        }
        let (repository, tag) = path.split_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
        if !is_repository(repository) {
            return Err(wrong(format!(
                "`{repository}` is not a repository: parts of lower-case letters and digits, with `.`, `_`, `-` between \
                 them, separated by `/`; at most 255 characters"
            )));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(wrong(format!(
                "`{tag}` is not a tag: 1 to 128 letters, digits, `_`, `.`, `-`, the first no `.` or `-`"
            )));
        }
        Ok(Self {
            registry: registry.to_ascii_lowercase(),
            repository: repository.into(),
            tag: tag.map(Into::into),
            digest,
        })
    }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        let legal = label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
        (1..=63).contains(&label.len()) && legal && !label.starts_with('-') && !label.ends_with('-')
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.split('.').all(is_label),
    };
    let is_port = |port: &str| !port.starts_with(['+', '0']) && port.parse::<u16>().is_ok();
    is_host && port.is_none_or(is_port)
}

/// As in OCI's distribution specification.
fn is_repository(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|c| c == b'-');
    let is_part = |part: &str| {
        let separators = part.split(is_letter).filter(|between| !between.is_empty());
        part.starts_with(is_letter) && part.ends_with(is_letter) && separators.into_iter().all(is_separator)
    };
    text.len() <= 255 && text.split('/').all(is_part)
}

fn is_tag(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_and_written() {
        let digest = Digest::of(b"");
        let texts = [
            "oci://registry.example/policies/block:1.2.0".to_owned(),
            "oci://127.0.0.1:5000/block".to_owned(),
            format!("oci://[::1]:5000/a/b__c/block--x@{digest}"),
            format!("oci://localhost/block:v1@{digest}"),
        ];
        for text in texts {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        let whole: Reference = format!("oci://Registry.example:443/p/block:1@{digest}").parse().unwrap();
        assert_eq!((whole.registry(), whole.repository(), whole.tag()), ("registry.example:443", "p/block", Some("1")));
        assert_eq!((whole.digest(), whole.name()), (Some(&digest), "block"));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let cases = [
            ("registry.example/block:1", "begins with `oci://`"),
            ("https://registry.example/block", "begins with `oci://`"),
            ("oci://block:1", "names no repository"),
            ("oci:///block", "`` is not a registry"),
            ("oci://a_b/block", "`a_b` is not a registry"),
            ("oci://a:0/block", "`a:0` is not a registry"),
            ("oci://a:65536/block", "is not a registry"),
            ("oci://a:/block", "is not a registry"),
            ("oci://[::1/block", "is not a registry"),
            ("oci://a/", "`` is not a repository"),
            ("oci://a/Block", "`Block` is not a repository"),
            ("oci://a/b//c", "is not a repository"),
            ("oci://a/../c", "is not a repository"),
            ("oci://a/b.-c", "is not a repository"),
            ("oci://a/b?x=1", "is not a repository"),
            ("oci://a/b:", "`` is not a tag"),
            ("oci://a/b:.x", "`.x` is not a tag"),
            ("oci://a/b:c:d", "`c:d` is not a tag"),
            ("oci://a/b:1@sha256:12", "`sha256:12` is not a digest"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn a_tag_may_claim_a_version() {
        let version =
            |tag: &str| format!("oci://a/b:{tag}").parse::<Reference>().unwrap().version().map(|v| v.to_string());
        assert_eq!(version("1.2.0"), Some("1.2.0".into()));
        assert_eq!(version("v1.2.0-rc.1"), Some("1.2.0-rc.1".into()));
        assert_eq!(version("1.2.0_b7"), Some("1.2.0+b7".into()));
        assert_eq!(version("1.2"), None);
        assert_eq!(version("latest"), None);
    }
}
