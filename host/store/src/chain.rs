//! The hash chain over the events, and the signatures over it.

use std::fmt;

use portcullis_verdict::Checkpoint;
pub(crate) use portcullis_verdict::text::{from_hex, hex};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

/// The chain's value after an event.
pub(crate) type Hash = [u8; 32];

/// A log's own identifier, in which its chain begins.
pub(crate) type LogId = [u8; 16];

const BEGIN: &[u8] = b"portcullis audit log v2\0";
/// The PKCS #8 structure of an Ed25519 key up to its 32 bytes (RFC 8410 §7).
const PKCS8_V1: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

const SIGNED: &[u8] = b"portcullis checkpoint v1\0";

/// The value before the first event.
pub(crate) fn beginning(log: &LogId) -> Hash {
    Sha256::new().chain_update(BEGIN).chain_update(log).finalize().into()
}

/// The value after event `number`, whose encoding this is.
pub(crate) fn next(before: &Hash, number: u64, encoded: &[u8]) -> Hash {
    Sha256::new().chain_update(before).chain_update(number.to_be_bytes()).chain_update(encoded).finalize().into()
}

/// The key that signs checkpoints: Ed25519 (RFC 8032).
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
}

/// A text that is not a key.
#[derive(Debug, thiserror::Error)]
#[error("this is no Ed25519 private key in PEM (PKCS #8, RFC 8410); `openssl genpkey -algorithm ed25519` makes one")]
pub struct BadKey;

impl SigningKey {
    /// A new one.
    pub fn generate() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let document = document.expect("the operating system gives random bytes");
        // Version 1 of PKCS #8, without the public key: every tool reads that. The seed follows a header of 16 bytes in either version.
        let seed = document.as_ref().get(16..48).expect("the document holds a seed");
        Self::from_pkcs8(&[PKCS8_V1, seed].concat()).expect("what was just made can be read")
    }

    /// From PEM, as [`SigningKey::to_pem`] and `openssl genpkey -algorithm ed25519` write it.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| BadKey)?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| BadKey)?;
        Ok(Self { pair, pkcs8: der.to_vec() })
    }

    /// The key in PEM (PKCS #8).
    pub fn to_pem(&self) -> String {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(&self.pkcs8);
        let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    }

    /// The public key, 64 hexadecimal digits.
    pub fn public_hex(&self) -> String {
        hex(self.pair.public_key().as_ref())
    }

    pub(crate) fn checkpoint(&self, log: &LogId, number: u64, at_ms: u64, hash: &Hash) -> Checkpoint {
        let signature = self.pair.sign(&signed(log, number, at_ms, hash));
        Checkpoint {
            log: hex(log),
            number,
            at_ms,
            hash: hex(hash),
            key: self.public_hex(),
            signature: hex(signature.as_ref()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public_hex()).finish()
    }
}

/// A checkpoint whose signature holds, under the key that it names.
pub(crate) struct Vouched {
    pub(crate) log: LogId,
    pub(crate) hash: Hash,
}

/// What a checkpoint vouches for, if it is whole and its signature holds.
pub(crate) fn vouched(checkpoint: &Checkpoint) -> Option<Vouched> {
    let (log, hash) = (from_hex(&checkpoint.log)?, from_hex(&checkpoint.hash)?);
    let (key, signature) = (from_hex::<32>(&checkpoint.key)?, from_hex::<64>(&checkpoint.signature)?);
    let message = signed(&log, checkpoint.number, checkpoint.at_ms, &hash);
    UnparsedPublicKey::new(&ED25519, key).verify(&message, &signature).ok()?;
    Some(Vouched { log, hash })
}

fn signed(log: &LogId, number: u64, at_ms: u64, hash: &Hash) -> Vec<u8> {
    [SIGNED, log, &number.to_be_bytes(), &at_ms.to_be_bytes(), hash].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_pem() {
        let key = SigningKey::generate();
        assert_eq!(SigningKey::from_pem(&key.to_pem()).unwrap().public_hex(), key.public_hex());
        for junk in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert!(SigningKey::from_pem(junk).is_err());
        }
    }

    /// Made by `openssl genpkey -algorithm ed25519`, whose PKCS #8 has no public key in it.
    #[test]
    fn a_key_of_openssl_is_taken() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        // The example of RFC 8410 §10.3.
        assert_eq!(
            SigningKey::from_pem(pem).unwrap().public_hex(),
            "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
        );
    }

    #[test]
    fn a_checkpoint_holds_for_exactly_what_it_says() {
        let key = SigningKey::generate();
        let made = key.checkpoint(&[7; 16], 42, 1000, &[9; 32]);
        assert!(vouched(&made).is_some_and(|v| v.log == [7; 16] && v.hash == [9; 32]));
        let changes: [fn(&mut Checkpoint); 6] = [
            |c| c.log.replace_range(..2, "08"),
            |c| c.number += 1,
            |c| c.at_ms += 1,
            |c| c.hash.replace_range(..2, "08"),
            |c| c.key = SigningKey::generate().public_hex(),
            |c| c.signature.truncate(2),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut changed = made.clone();
            change(&mut changed);
            assert!(vouched(&changed).is_none(), "change {index} went unnoticed");
        }
    }
}
