//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) against a stored verifier.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The mechanism's name. Channel binding (`-PLUS`) is not offered.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// What the gateway keeps of a password, in PostgreSQL's form
/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (base64). The password cannot be computed from it.
#[derive(Clone)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl Verifier {
    /// Reads PostgreSQL's form.
    pub fn parse(text: &str) -> Option<Self> {
        let (iterations, rest) = text.strip_prefix("SCRAM-SHA-256$")?.split_once(':')?;
        let (salt, keys) = rest.split_once('$')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| BASE64.decode(text).ok()?.try_into().ok();
        Some(Self {
            iterations: iterations.parse().ok().filter(|i| (4096..=10_000_000).contains(i))?,
            salt: BASE64.decode(salt).ok().filter(|s| !s.is_empty())?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// How often the password was hashed.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// A verifier that no password fits, for a user who does not exist: the exchange looks the same from outside, and the
    /// salt is the same each time.
    pub fn decoy(user: &str, secret: &[u8; 32], iterations: u32) -> Self {
        let salt = hmac(secret, &[b"salt", user.as_bytes()]);
        Self {
            iterations,
            salt: salt[..16].to_vec(),
            stored_key: hmac(secret, &[b"stored", user.as_bytes()]),
            server_key: hmac(secret, &[b"server", user.as_bytes()]),
        }
    }
}

/// Why an exchange failed. The client is told no more than that authentication failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message does not have the form that the RFC prescribes.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The client demands channel binding, which was not offered.
    #[error("the client demands channel binding, which this gateway does not offer")]
    ChannelBinding,
    /// The proof does not fit the verifier.
    #[error("wrong password")]
    WrongProof,
}

/// An exchange after the client's first message.
#[derive(Debug)]
pub struct Exchange {
    verifier: Verifier,
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

impl Exchange {
    /// Takes the client's first message. `nonce` is printable and random, of at least 18 bytes of entropy; it comes from outside
    /// since this crate has no source of randomness.
    pub fn start(verifier: Verifier, client_first: &[u8], nonce: &str) -> Result<Self, ScramError> {
        let text = std::str::from_utf8(client_first).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (flag, authzid, bare) = (parts.next(), parts.next(), parts.next());
        match flag {
            // `y`: the client could bind channels and knows that we did not offer it, which is true.
            Some("n" | "y") => {}
            Some(f) if f.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed),
        }
        if authzid != Some("") {
            return Err(ScramError::Malformed);
        }
        let bare = bare.ok_or(ScramError::Malformed)?;
        // The user name in here is ignored, as PostgreSQL does: the startup message has named the user.
        let mut attributes = bare.split(',');
        let named = attributes.next().is_some_and(|a| a.starts_with("n="));
        let client_nonce = attributes.next().and_then(|a| a.strip_prefix("r="));
        let client_nonce = client_nonce.filter(|n| named && !n.is_empty() && n.bytes().all(|b| b.is_ascii_graphic()));
        let nonce = format!("{}{nonce}", client_nonce.ok_or(ScramError::Malformed)?);
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        let gs2_header = text[..text.len() - bare.len()].to_owned();
        Ok(Self { verifier, gs2_header, client_first_bare: bare.to_owned(), server_first, nonce })
    }

    /// The answer to the client's first message.
    pub fn server_first(&self) -> &str {
        &self.server_first
    }

    /// Takes the client's final message and gives the server's.
    pub fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let text = std::str::from_utf8(client_final).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let expected = format!("c={},r={}", BASE64.encode(&self.gs2_header), self.nonce);
        if without_proof != expected {
            return Err(ScramError::Malformed);
        }
        let proof: [u8; 32] = BASE64.decode(proof).ok().and_then(|p| p.try_into().ok()).ok_or(ScramError::Malformed)?;
        let message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let signature = hmac(&self.verifier.stored_key, &[message.as_bytes()]);
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
        if !bool::from(Sha256::digest(&client_key).as_slice().ct_eq(&self.verifier.stored_key)) {
            return Err(ScramError::WrongProof);
        }
        Ok(format!("v={}", BASE64.encode(hmac(&self.verifier.server_key, &[message.as_bytes()]))))
    }
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    #[allow(clippy::unwrap_used, reason = "HMAC refuses no key length (RFC 2104 section 2)")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 7677 section 3: user `user`, password `pencil`. The verifier's keys were computed from it.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FINAL: &[u8] =
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn verifier() -> Verifier {
        Verifier::parse(
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        )
        .unwrap()
    }

    #[test]
    fn the_example_of_the_rfc() {
        let exchange = Exchange::start(verifier(), FIRST, NONCE).unwrap();
        let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(exchange.server_first(), expected);
        assert_eq!(exchange.finish(FINAL).unwrap(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_wrong_proof_a_changed_nonce_and_channel_binding_are_refused() {
        let finish = |message: &str| Exchange::start(verifier(), FIRST, NONCE).unwrap().finish(message.as_bytes());
        let text = std::str::from_utf8(FINAL).unwrap();
        assert_eq!(finish(&text.replace("dHzb", "eHzb")), Err(ScramError::WrongProof));
        assert_eq!(finish(&text.replace("k0,p", "k1,p")), Err(ScramError::Malformed));
        assert_eq!(finish(&text.replace("biws", "eSws")), Err(ScramError::Malformed));
        let start = |first: &[u8]| Exchange::start(verifier(), first, NONCE).map(|_| ());
        assert_eq!(start(b"p=tls-server-end-point,,n=,r=abc"), Err(ScramError::ChannelBinding));
        for bad in [&b"n,a=other,n=,r=abc"[..], b"n,,r=abc", b"n,,n=,r=", b"x,,n=,r=a", b"n,,n=,r=\xff", b""] {
            assert_eq!(start(bad), Err(ScramError::Malformed));
        }
        assert_eq!(start(b"y,,n=,r=abc"), Ok(()));
    }

    #[test]
    fn a_decoy_is_stable_and_fits_nothing() {
        let first = |user| Exchange::start(Verifier::decoy(user, &[7; 32], 4096), FIRST, NONCE).unwrap();
        assert_eq!(first("eve").server_first(), first("eve").server_first());
        assert_ne!(first("eve").server_first(), first("mallory").server_first());
        assert_eq!(first("eve").finish(FINAL), Err(ScramError::WrongProof));
    }

    #[test]
    fn verifiers_are_checked() {
        for bad in ["", "md5abc", "SCRAM-SHA-256$1:AA==$AA==:AA==", "SCRAM-SHA-256$4096:$x:y", "SCRAM-SHA-256$4096"] {
            assert!(Verifier::parse(bad).is_none(), "{bad}");
        }
    }
}
