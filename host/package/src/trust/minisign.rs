use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::Signature;

use super::key::{Kind, minisign_id};
use super::{Found, Signer};

/// The media type of the text of a minisign signature file, over the text `sha256:…`.
pub const MEDIA_TYPE: &str = "application/vnd.portcullis.signature.v1+minisign";

/// Judges a signature file.
pub(super) fn judge(signers: &[Signer], digest: &str, bytes: &[u8]) -> Found {
    let Some((id, signature)) = read(bytes) else {
        return Found::invalid("it is not the text of a minisign signature".into());
    };
    let mut claimed = None;
    for Signer { name, key } in signers {
        let Kind::Minisign { id: own, key, .. } = &key.0 else { continue };
        if *own != id {
            continue;
        }
        // Also checks the signature over the trusted comment. Legacy signatures are over the text itself; no text that
        // is signed here has the length of a hash, so that the two kinds cannot be taken for each other.
        if key.verify(digest.as_bytes(), &signature, true).is_ok() {
            return Found::Valid { signer: name.clone() };
        }
        claimed = Some(name.clone());
    }
    match claimed {
        None => Found::Unknown { key: Some(minisign_id(id)) },
        signer => Found::Invalid { signer, reason: "it is not one of this package, or has been changed".into() },
    }
}

/// What a signature says of the key that it was made with. Nobody has checked that.
pub fn claimed_key(signature: &[u8]) -> Option<String> {
    read(signature).map(|(id, _)| minisign_id(id))
}

/// Four lines: a comment, key and signature, the trusted comment, and the signature over that.
fn read(bytes: &[u8]) -> Option<([u8; 8], Signature)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let lines: Vec<&str> = text.lines().take(5).collect();
    let [comment, signed, _, _] = lines[..] else { return None };
    let signed = STANDARD.decode(signed).ok()?;
    let id = signed.get(2..10)?.try_into().ok()?;
    let signature = Signature::decode(text).ok().filter(|_| comment.starts_with("untrusted comment:"))?;
    Some((id, signature))
}
