use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

/// The most bytes of a key's file.
const MAX_KEY: usize = 4096;

/// How a minisign key begins on its line: `Ed`, in Base64.
const MINISIGN_START: &str = "RW";

/// The SubjectPublicKeyInfo (RFC 5480) of a key for ECDSA over P-256, up to the point; DER leaves no other way.
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// The same for Ed25519 (RFC 8410).
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A key that checks signatures: minisign's, or one as cosign uses them.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(pub(super) Kind);

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Minisign {
        /// What signatures call the key; anybody can make another key with the same.
        id: [u8; 8],
        point: [u8; 32],
        key: minisign_verify::PublicKey,
    },
    Ed25519([u8; 32]),
    /// An uncompressed point.
    P256([u8; 65]),
}

/// Why a text is not a public key. The text is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(&'static str);

impl FromStr for PublicKey {
    type Err = KeyError;

    /// Reads a minisign public key (its line, or the file with its comment), or one in PEM for ECDSA P-256 or Ed25519.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.len() > MAX_KEY {
            return Err(KeyError("the key is longer than any honest one; name the file of one public key"));
        }
        if text.contains("PRIVATE KEY") || text.contains("secret key") {
            return Err(KeyError(
                "this is a secret key: keep it where packages are signed, and give the public one here",
            ));
        }
        if text.starts_with("-----BEGIN") { pem(text) } else { minisign(text) }
    }
}

impl PublicKey {
    /// What messages call the key: minisign's own id, or the beginning of the SHA-256 of the key.
    pub fn id(&self) -> String {
        match &self.0 {
            Kind::Minisign { id, .. } => minisign_id(*id),
            Kind::Ed25519(point) => format!("Ed25519 {}", fingerprint(ED25519, point)),
            Kind::P256(point) => format!("ECDSA P-256 {}", fingerprint(P256, point)),
        }
    }

    /// Whether whoever signs with the one could sign with the other: the format and minisign's id do not matter.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.point() == other.point()
    }

    fn point(&self) -> &[u8] {
        match &self.0 {
            Kind::Minisign { point, .. } | Kind::Ed25519(point) => point,
            Kind::P256(point) => point,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// A minisign key's id, as minisign shows it.
pub(super) fn minisign_id(id: [u8; 8]) -> String {
    format!("minisign {:016X}", u64::from_le_bytes(id))
}

fn fingerprint(head: &[u8], point: &[u8]) -> String {
    let hash = Sha256::new().chain_update(head).chain_update(point).finalize();
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}…")
}

fn minisign(text: &str) -> Result<PublicKey, KeyError> {
    let odd = || {
        KeyError(
            "this is not a public key: minisign's has one line that begins with `RW`, after a comment or alone; \
             cosign's begins with `-----BEGIN PUBLIC KEY-----`",
        )
    };
    let mut lines = text.lines();
    let line = match (lines.next(), lines.next(), lines.next()) {
        (Some(line), None, None) => line,
        (Some(comment), Some(line), None) if comment.starts_with("untrusted comment:") => line,
        _ => return Err(odd()),
    };
    let bytes: [u8; 42] = match STANDARD.decode(line.trim()) {
        Ok(bytes) if line.trim().starts_with(MINISIGN_START) => bytes.try_into().map_err(|_| odd())?,
        _ => return Err(odd()),
    };
    let key = minisign_verify::PublicKey::from_base64(line.trim()).map_err(|_| odd())?;
    let (mut id, mut point) = ([0; 8], [0; 32]);
    id.copy_from_slice(&bytes[2..10]);
    point.copy_from_slice(&bytes[10..]);
    Ok(PublicKey(Kind::Minisign { id, point, key }))
}

fn pem(text: &str) -> Result<PublicKey, KeyError> {
    let odd = || KeyError("this is not the PEM of one public key, `-----BEGIN PUBLIC KEY-----`");
    // A file of several keys would be a question of which one counts.
    if text.matches("-----BEGIN").count() != 1 {
        return Err(odd());
    }
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| odd())?;
    let point = |head| der.strip_prefix(head);
    if let Some(point) = point(ED25519).and_then(|point| point.try_into().ok()) {
        return Ok(PublicKey(Kind::Ed25519(point)));
    }
    match point(P256).and_then(|point| <[u8; 65]>::try_from(point).ok()) {
        Some(point) if point[0] == 4 => Ok(PublicKey(Kind::P256(point))),
        _ => Err(KeyError("this public key is neither for ECDSA P-256 (as an uncompressed point) nor for Ed25519")),
    }
}

#[cfg(test)]
mod tests;
