use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What content is known by: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a digest: `sha256:` and 64 lower-case hexadecimal digits")]
pub struct BadDigest(String);

const PREFIX: &str = "sha256:";

impl Digest {
    /// The digest of some content.
    pub fn of(content: &[u8]) -> Self {
        Self::from_hash(Sha256::digest(content).as_slice())
    }

    pub(crate) fn from_hash(hash: &[u8]) -> Self {
        Self(hash.iter().fold(PREFIX.to_owned(), |text, byte| format!("{text}{byte:02x}")))
    }

    /// With its prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The tag that stands for what refers to this content where a registry keeps no list of that.
    pub(crate) fn as_tag(&self) -> String {
        format!("sha256-{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let is_hex = |hex: &str| hex.len() == 64 && hex.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        match text.strip_prefix(PREFIX).filter(|hex| is_hex(hex)) {
            Some(_) => Ok(Self(text.to_owned())),
            // A manifest may hold anything; a message holds a little of it.
            None => Err(BadDigest(text.chars().take(100).collect())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_in_one_way() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(empty.parse(), Ok(Digest::of(b"")));
        for wrong in ["", "sha256:", &empty[7..], &empty[..70], &empty.to_uppercase(), &empty.replace("e3", "E3")] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        assert!("sha512:aa".parse::<Digest>().unwrap_err().to_string().contains("`sha512:aa` is not a digest"));
    }
}
