use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, PError, SecretKeyBox};
use secrecy::{ExposeSecret as _, SecretString};

use super::PublicKey;
use crate::lock::is_digest;

/// The bytes of a secret key before Base64.
const BYTES: usize = 158;

/// The bytes of the checksum at their end.
const CHECKSUM: usize = 32;

/// What both comments begin with is minisign's own habit; its tools show them.
const ENCRYPTED: &str = "minisign encrypted secret key";
const UNENCRYPTED: &str = "minisign unencrypted secret key";
const SIGNATURE: &str = "signature from minisign secret key";

/// A minisign secret key, which signs packages.
pub struct SecretKey(minisign::SecretKey);

/// A key that was just made.
pub struct NewKey {
    /// The file to keep secret.
    pub secret: SecretString,
    /// The file to give away.
    pub public: String,
}

/// Why there is no secret key, or no signature. Nothing of the key is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretKeyError {
    /// What was to be signed is no digest.
    #[error("only a digest can be signed: `sha256:` and 64 lower-case hexadecimal digits")]
    Digest,
    /// The file is not one.
    #[error(
        "this is not a minisign secret key, which has a comment and one line; `portcullis policy keygen` makes one"
    )]
    Malformed,
    /// The key is protected, and no password was given.
    #[error("the secret key is protected by a password: give it")]
    NeedsPassword,
    /// The password is wrong, or the key was changed.
    #[error("the password is not the one of this secret key, or the key has been changed")]
    WrongPassword,
    /// The library failed, for want of randomness for instance.
    #[error("the secret key cannot be used: {0}")]
    Failed(String),
}

impl SecretKey {
    /// Makes a key. Without a password, whoever can read its file can sign.
    pub fn generate(password: Option<&SecretString>) -> Result<NewKey, SecretKeyError> {
        let (made, comment) = match password {
            Some(password) => (KeyPair::generate_encrypted_keypair(Some(password.expose_secret().into())), ENCRYPTED),
            None => (KeyPair::generate_unencrypted_keypair(), UNENCRYPTED),
        };
        let KeyPair { pk, sk } = made.map_err(failed)?;
        let secret = sk.to_box(Some(comment)).map_err(failed)?.into_string().into();
        Ok(NewKey { secret, public: pk.to_box().map_err(failed)?.into_string() })
    }

    /// Reads the text of a secret key's file. A password for a key without one is ignored.
    pub fn open(text: &SecretString, password: Option<&SecretString>) -> Result<Self, SecretKeyError> {
        let text = text.expose_secret().trim();
        let line = text.lines().nth(1).filter(|_| text.lines().count() == 2).ok_or(SecretKeyError::Malformed)?;
        let bytes = STANDARD.decode(line).ok().filter(|bytes| bytes.len() == BYTES).ok_or(SecretKeyError::Malformed)?;
        let sealed = SecretKeyBox::from(text.to_owned());
        // The library would ask on the terminal if it were not given a password.
        let opened = match (&bytes[..4], password) {
            // minisign itself leaves the checksum of such a key away, which the library refuses.
            (b"Ed\0\0", _) if bytes.ends_with(&[0; CHECKSUM]) => minisign::SecretKey::from_bytes(&bytes),
            (b"Ed\0\0", _) => sealed.into_unencrypted_secret_key(),
            (b"EdSc", Some(password)) => sealed.into_secret_key(Some(password.expose_secret().into())),
            (b"EdSc", None) => return Err(SecretKeyError::NeedsPassword),
            _ => return Err(SecretKeyError::Malformed),
        };
        opened.map(Self).map_err(|_| SecretKeyError::WrongPassword)
    }

    /// The public key to it.
    pub fn public_key(&self) -> Result<PublicKey, SecretKeyError> {
        let public = minisign::PublicKey::from_secret_key(&self.0).map_err(failed)?;
        public.to_base64().parse().map_err(|_| SecretKeyError::Malformed)
    }

    /// Signs the digest of a package's OCI manifest; gives the text of a minisign signature file.
    pub fn sign(&self, digest: &str) -> Result<String, SecretKeyError> {
        if !is_digest(digest) {
            return Err(SecretKeyError::Digest);
        }
        // With the public key the library checks what it made: a damaged key without a checksum shows here.
        let public = minisign::PublicKey::from_secret_key(&self.0).map_err(failed)?;
        let signed =
            minisign::sign(Some(&public), &self.0, digest.as_bytes(), None, Some(SIGNATURE)).map_err(failed)?;
        Ok(signed.into_string())
    }
}

fn failed(error: PError) -> SecretKeyError {
    SecretKeyError::Failed(error.to_string())
}
