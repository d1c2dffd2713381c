//! Logins, on both sides of the gateway.

use bytes::BytesMut;
use portcullis_wire::pg::connect::Connect;
use portcullis_wire::pg::frame::{next, put};
use portcullis_wire::pg::login::{Login, Progress, Tls};
use portcullis_wire::pg::scram::{Exchange, Verifier};

use crate::chunks;
use crate::corpus::{NONCE, PASSWORD, PROOF, VERIFIER};

/// Nobody is authenticated without the proof, and the result does not depend on how the bytes are cut.
pub(crate) fn login(data: &[u8]) {
    let Some((&options, bytes)) = data.split_first() else { return };
    let tls = match options % 3 {
        0 => Tls::Unavailable,
        1 => Tls::Active,
        // Here the cut matters: bytes that come along with the request for encryption are refused.
        _ => Tls::Offered,
    };
    let whole = log_in(bytes, bytes.len().max(1), tls);
    if whole.0.iter().any(|step| step == "Authenticated") {
        assert!(bytes.windows(PROOF.len()).any(|w| w == PROOF), "authenticated without the proof");
    }
    if tls != Tls::Offered {
        assert_eq!(whole, log_in(bytes, 1, tls));
    }
}

/// The steps of a login whose bytes come in pieces, and its output.
pub(crate) fn log_in(bytes: &[u8], piece: usize, tls: Tls) -> (Vec<String>, Vec<u8>) {
    let (mut login, mut input, mut steps, mut output) = (Login::new(tls), BytesMut::new(), vec![], vec![]);
    for part in bytes.chunks(piece) {
        input.extend_from_slice(part);
        loop {
            let progress = login.handle(&mut input);
            output.append(&mut login.take_output());
            match progress {
                Ok(Progress::NeedMore) => break,
                Ok(Progress::StartTls) => login.tls_established(),
                Ok(Progress::Startup(startup)) => {
                    assert!(!startup.user.is_empty() && !startup.database.is_empty());
                    steps.push(format!("{startup:?}"));
                    let verifier = Verifier::parse(VERIFIER).expect("the constant is a verifier");
                    login.challenge(verifier, NONCE.into());
                }
                Ok(last @ (Progress::Cancel(_) | Progress::Authenticated)) => {
                    steps.push(format!("{last:?}"));
                    return (steps, output);
                }
                Err(error) => {
                    error.fault().put(&mut output);
                    steps.push(error.to_string());
                    return (steps, output);
                }
            }
        }
    }
    (steps, output)
}

/// The gateway is only logged in when the server said so, and shows its password to no server that did not ask for it.
///
/// Each chunk is a message of the server; `NONCE` in it stands for what the gateway sent.
pub(crate) fn connect(data: &[u8]) {
    let mut login = Connect::new("app", "shop", Some(PASSWORD.into()), &[]);
    let (mut input, mut nonce) = (BytesMut::new(), b"?".to_vec());
    let (mut accepted, mut asked) = (false, false);
    login.take_output();
    for (flags, chunk) in chunks(data) {
        let Some((tag, body)) = chunk.split_first() else { continue };
        let body = replace(body, b"NONCE", &nonce);
        if flags & 1 == 0 {
            let mut message = vec![];
            put(&mut message, *tag, |b| b.extend_from_slice(&body));
            input.extend_from_slice(&message);
        } else {
            input.extend_from_slice(chunk);
        }
        let mut rest = &input[..];
        while let Ok(Some(frame)) = next(rest, usize::MAX) {
            accepted |= frame.tag == b'R' && frame.body.starts_with(&[0; 4]);
            asked |= frame.tag == b'R' && frame.body.starts_with(&[0, 0, 0, 3]);
            rest = &rest[frame.raw.len()..];
        }
        let progress = login.handle(&mut input);
        let output = login.take_output();
        assert!(asked || !output.windows(PASSWORD.len()).any(|w| w == PASSWORD.as_bytes()), "it shows the password");
        if let Some(at) = output.windows(8).position(|w| w == b"n,,n=,r=") {
            nonce = output[at + 8..].to_vec();
        }
        match progress {
            Ok(None) => {}
            Ok(Some(_)) => return assert!(accepted, "ready before the login was accepted"),
            Err(error) => return assert!(!error.to_string().contains(PASSWORD)),
        }
    }
}

fn replace(text: &[u8], what: &[u8], with: &[u8]) -> Vec<u8> {
    match text.windows(what.len()).position(|w| w == what) {
        Some(at) => [&text[..at], with, &text[at + what.len()..]].concat(),
        None => text.to_vec(),
    }
}

/// A verifier that is read is usable, and an exchange only succeeds with the proof.
///
/// The first chunk is a verifier, the second the client's first message, the third its last.
pub(crate) fn scram(data: &[u8]) {
    let mut chunks = chunks(data).map(|(_, chunk)| chunk);
    let mut chunk = || chunks.next().unwrap_or_default();
    let (verifier, first, last) = (chunk(), chunk(), chunk());
    let parsed = std::str::from_utf8(verifier).ok().and_then(Verifier::parse);
    let known = Verifier::parse(VERIFIER).expect("the constant is a verifier");
    for verifier in [parsed.unwrap_or_else(|| Verifier::decoy("eve", &[7; 32], 4096)), known] {
        let Ok(exchange) = Exchange::start(verifier, first, NONCE) else { return };
        assert!(exchange.server_first().contains(NONCE));
        if exchange.finish(last).is_ok() {
            assert!(last.ends_with(PROOF), "the exchange succeeds without the proof");
        }
    }
}
