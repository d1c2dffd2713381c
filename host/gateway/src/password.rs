//! Passwords and their SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677), in PostgreSQL's form.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};

/// What proves a password without holding it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verifier {
    /// PBKDF2's count.
    pub(crate) iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl Verifier {
    /// The verifier of a password with this salt.
    pub(crate) fn new(password: &str, salt: &[u8], iterations: u32) -> Self {
        // As PostgreSQL does on both sides: what SASLprep (RFC 4013) prohibits is taken as it is.
        let prepared = stringprep::saslprep(password).map_or_else(|_| password.to_owned(), |text| text.into_owned());
        let prepared = Zeroizing::new(prepared);
        let salted = Zeroizing::new(salted_password(prepared.as_bytes(), salt, iterations));
        let client_key = Zeroizing::new(hmac(&*salted, &[b"Client Key"]));
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(*client_key).into(),
            server_key: hmac(&*salted, &[b"Server Key"]),
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] = [&self.salt[..], &self.stored_key, &self.server_key].map(|b| STANDARD.encode(b));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl FromStr for Verifier {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("SCRAM-SHA-256$").ok_or("it does not begin with `SCRAM-SHA-256$`")?;
        let parts = rest.split_once('$').and_then(|(a, b)| Some((a.split_once(':')?, b.split_once(':')?)));
        let ((iterations, salt), (stored, server)) = parts.ok_or("it is not `<iterations>:<salt>$<key>:<key>`")?;
        let iterations = iterations.parse().ok().filter(|n| *n > 0).ok_or("its iterations are not a number")?;
        let salt = STANDARD.decode(salt).ok().filter(|salt| !salt.is_empty()).ok_or("its salt is not base64")?;
        let key = |text| STANDARD.decode(text).ok()?.try_into().ok();
        let stored_key = key(stored).ok_or("its StoredKey is not 32 bytes in base64")?;
        let server_key = key(server).ok_or("its ServerKey is not 32 bytes in base64")?;
        Ok(Self { iterations, salt, stored_key, server_key })
    }
}

/// `Hi()` of RFC 5802, which is PBKDF2 with HMAC-SHA-256 and one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut last = hmac(password, &[salt, &1u32.to_be_bytes()]);
    let mut sum = last;
    for _ in 1..iterations {
        last = hmac(password, &[&last]);
        sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length (RFC 2104 section 2).
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC refuses no key length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Random bytes for salts and keys.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the operating system gives no random numbers"))?;
    Ok(bytes)
}

/// Asks for a password and prints its verifier.
pub(crate) fn hash(stdin: bool, iterations: u32) -> anyhow::Result<()> {
    let password = if stdin { from_stdin()? } else { from_terminal()? };
    println!("{}", Verifier::new(&password, &random::<16>()?, iterations));
    Ok(())
}

fn from_stdin() -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().read_line(&mut line).context("the password cannot be read from standard input")?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    acceptable(Zeroizing::new(text.to_owned()))
}

fn from_terminal() -> anyhow::Result<Zeroizing<String>> {
    let ask = |prompt: &str| {
        let read = rpassword::prompt_password(prompt);
        read.map(Zeroizing::new).context("there is no terminal to ask for the password; `--stdin` reads it from a pipe")
    };
    let first = acceptable(ask("Password: ")?)?;
    if *ask("Again: ")? != *first {
        bail!("the two passwords differ");
    }
    Ok(first)
}

fn acceptable(password: Zeroizing<String>) -> anyhow::Result<Zeroizing<String>> {
    if password.is_empty() || password.contains('\0') {
        bail!("the password is empty or holds a NUL byte");
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 section 3: user `user`, password `pencil`.
    #[test]
    fn the_vector_of_rfc_7677() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::new("pencil", &salt, 4096);
        let first = "n=user,r=rOprNGfwEbeRWgbNEkqO";
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let message = format!("{first},{server},{last}");
        let signature = hmac(&verifier.server_key, &[message.as_bytes()]);
        assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        // The client's proof, opened with its signature, is the key whose hash is stored.
        let mut proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signature = hmac(&verifier.stored_key, &[message.as_bytes()]);
        proof.iter_mut().zip(signature).for_each(|(p, s)| *p ^= s);
        assert_eq!(<[u8; 32]>::from(Sha256::digest(&proof)), verifier.stored_key);
    }

    /// RFC 4013 section 3, and what it prohibits.
    #[test]
    fn passwords_are_prepared_as_postgresql_does() {
        let same = |a, b| Verifier::new(a, b"salt", 2) == Verifier::new(b, b"salt", 2);
        assert!(same("I\u{00AD}X", "IX"));
        assert!(same("\u{00AA}", "a"));
        assert!(same("\u{2168}", "IX"));
        assert!(same("a\u{00A0}b", "a b"));
        assert!(!same("USER", "user"));
        assert!(!same("\u{0007}", ""), "what is prohibited is taken as it is");
    }

    #[test]
    fn a_verifier_is_read_back() {
        let made = Verifier::new("wonderland", b"0123456789abcdef", 4096);
        assert_eq!(made.to_string().parse(), Ok(made));
    }

    #[test]
    fn a_malformed_verifier_is_refused() {
        let good = Verifier::new("wonderland", b"0123456789abcdef", 4096).to_string();
        let key = "A".repeat(43) + "=";
        let cases = [
            ("wonderland".to_owned(), "begin"),
            ("SCRAM-SHA-256$4096".into(), "<salt>"),
            (good.replace("4096", "many"), "number"),
            (good.replace("4096", "0"), "number"),
            (format!("SCRAM-SHA-256$4096:?${key}:{key}"), "salt"),
            (format!("SCRAM-SHA-256$4096:${key}:{key}"), "salt"),
            (format!("SCRAM-SHA-256$4096:c2FsdA==$AAAA:{key}"), "StoredKey"),
            (format!("SCRAM-SHA-256$4096:c2FsdA==${key}:AAAA"), "ServerKey"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Verifier>().expect_err(&text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
