use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use serde::Deserialize;

use super::key::Kind;
use super::{Detached, Found, PublicKey, Signer};
use crate::lock::is_digest;

/// The media type of the payload that cosign signs.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation that holds the signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// What every payload of an artifact's signature says that it is.
const TYPE: &str = "cosign container image signature";

/// The most bytes of the annotation. A signature has at most 72 bytes, and Base64 makes 96 of them.
const MAX_ANNOTATION: usize = 1024;

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Judges a payload and its signature. The payload's `docker-reference` does not count: a mirror has another one, and the
/// digest says what was signed.
pub(super) fn judge(signers: &[Signer], digest: &str, detached: &Detached) -> Found {
    let signature = match signature(detached) {
        Ok(signature) => signature,
        Err(reason) => return Found::invalid(reason),
    };
    let keys = signers.iter().filter(|signer| verifies(&signer.key, detached.bytes, &signature));
    let signer = keys.map(|signer| signer.name.clone()).next();
    match (signer, says(digest, detached.bytes)) {
        (Some(signer), Ok(())) => Found::Valid { signer },
        (None, Ok(())) => Found::Unknown { key: None },
        (signer, Err(reason)) => Found::Invalid { signer, reason },
    }
}

fn signature(detached: &Detached) -> Result<Vec<u8>, String> {
    let text = detached.annotations.get(SIGNATURE).ok_or(format!("it has no annotation `{SIGNATURE}`"))?;
    let bytes = Some(text).filter(|text| text.len() <= MAX_ANNOTATION).and_then(|text| STANDARD.decode(text).ok());
    bytes.ok_or(format!("its annotation `{SIGNATURE}` is not a signature in Base64"))
}

/// cosign does not say whose signature it is, so every key is tried.
fn verifies(key: &PublicKey, payload: &[u8], signature: &[u8]) -> bool {
    match &key.0 {
        Kind::Minisign { .. } => false,
        Kind::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(payload, signature).is_ok(),
        Kind::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(payload, signature).is_ok(),
    }
}

fn says(digest: &str, payload: &[u8]) -> Result<(), String> {
    let Ok(Payload { critical }) = serde_json::from_slice(payload) else {
        return Err("its payload is not what cosign signs".into());
    };
    if critical.kind != TYPE {
        return Err(format!("its payload is not a `{TYPE}`"));
    }
    match critical.image.digest {
        signed if signed == digest => Ok(()),
        other if is_digest(&other) => Err(format!("it is of another package, {other}")),
        _ => Err("its payload holds no digest".into()),
    }
}
