//! One-time links that carry a reviewer's decision.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The longest token that is looked at.
const MAX_TOKEN: usize = 2048;

/// What a link says. It decides only while the request is open, only for this reviewer, and once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The approval request.
    pub approval: String,
    /// The digest of what would run, as in [`crate::ApprovalView::digest`].
    pub digest: String,
    /// Approve, or deny.
    pub approve: bool,
    /// In whose name; their groups are looked up when the link is used.
    pub reviewer: String,
    /// The webhook that carries it. All links of a webhook for one request are used up by the first.
    pub webhook: String,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
}

/// Why a link does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It has expired.
    #[error("this link has expired; decide with `portcullis approvals`")]
    Expired,
    /// It is none of this gateway's, or was changed.
    #[error("this link is not genuine: it was cut, changed, or made by another gateway")]
    Forged,
}

/// The key of a gateway's links.
#[derive(Clone)]
pub struct LinkKey(Hmac<Sha256>);

impl LinkKey {
    /// From secret bytes, which may serve for other things too: links have a key derived from them.
    pub fn new(secret: &[u8]) -> Self {
        let mut derive = mac(secret);
        derive.update(b"portcullis approval links v1");
        Self(mac(&derive.finalize().into_bytes()))
    }

    /// The link as a part of a URL's path: what it says and an HMAC-SHA-256 over it, each in base64url (RFC 4648 §5), with a dot between.
    pub fn sign(&self, link: &Link) -> String {
        let body = serde_json::to_vec(link).expect("texts and numbers are JSON");
        let mut mac = self.0.clone();
        mac.update(&body);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(&body), URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// What a genuine link says, if it has not expired.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Link, LinkError> {
        let (body, tag) = token.split_once('.').filter(|_| token.len() <= MAX_TOKEN).ok_or(LinkError::Forged)?;
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|_| LinkError::Forged)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| LinkError::Forged)?;
        let mut mac = self.0.clone();
        mac.update(&body);
        // In constant time.
        mac.verify_slice(&tag).map_err(|_| LinkError::Forged)?;
        let link: Link = serde_json::from_slice(&body).map_err(|_| LinkError::Forged)?;
        if link.expires_ms <= now_ms { Err(LinkError::Expired) } else { Ok(link) }
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            approval: "k7wz".into(),
            digest: "ab".into(),
            approve: true,
            reviewer: "bob".into(),
            webhook: "bob-mail".into(),
            expires_ms: 1000,
        }
    }

    #[test]
    fn a_genuine_link_comes_back_until_it_expires() {
        let key = LinkKey::new(b"secret");
        let token = key.sign(&link());
        assert_eq!(key.verify(&token, 999), Ok(link()));
        assert_eq!(key.verify(&token, 1000), Err(LinkError::Expired));
    }

    #[test]
    fn any_change_and_any_other_key_is_noticed() {
        let key = LinkKey::new(b"secret");
        let token = key.sign(&link());
        assert_eq!(LinkKey::new(b"other").verify(&token, 0), Err(LinkError::Forged));
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            // The last characters of each part carry bits that no byte has.
            forged[at] = if forged[at] == b'B' { b'Q' } else { b'B' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(key.verify(&forged, 0), Err(LinkError::Forged), "at {at}");
            assert_eq!(key.verify(&token[..at], 0), Err(LinkError::Forged), "cut at {at}");
        }
        let denial = key.sign(&Link { approve: false, ..link() });
        let (body, _) = denial.split_once('.').unwrap();
        let (_, tag) = token.split_once('.').unwrap();
        assert_eq!(key.verify(&format!("{body}.{tag}"), 0), Err(LinkError::Forged));
        for junk in ["", ".", "a.b", &"A".repeat(9999)] {
            assert_eq!(key.verify(junk, 0), Err(LinkError::Forged));
        }
    }
}
