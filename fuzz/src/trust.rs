//! What decides which packages run: the lock file, keys, and signatures.

use std::collections::BTreeMap;
use std::path::Path;

use portcullis_package::Lock;
use portcullis_package::trust::{COSIGN, Detached, MINISIGN, PublicKey, Rule, Signer, Trust};

use crate::corpus::{COSIGN_KEY, COSIGN_PAYLOAD, DIGEST, MINISIGN_KEY, MINISIGN_SIGNATURES};

/// A lock file that is read is read again from what is written of it, and errors are a line.
pub(crate) fn lock(data: &[u8]) {
    let path = Path::new("portcullis.lock");
    match Lock::parse(path, &String::from_utf8_lossy(data)) {
        Ok(lock) => {
            assert_eq!(Lock::parse(path, &lock.text()).expect("what is written can be read"), lock);
            let mut again = Lock::default();
            for (source, locked) in lock.iter() {
                again.set(source, &locked.version.to_string(), &locked.digest).expect("it was read");
                assert!(!lock.is_downgrade(source, &locked.version.to_string()));
            }
            assert_eq!(again, lock);
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
    }
}

/// A key that is read has an id that can be shown, and an error does not hold the text.
pub(crate) fn key(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<PublicKey>() {
        Ok(key) => {
            assert!(!key.id().contains(char::is_control));
            assert_eq!(format!("\n{text}\n").parse(), Ok(key));
        }
        Err(error) => assert!(error.to_string().is_ascii() && error.to_string().len() < 300, "{error}"),
    }
}

/// Nobody but the two signers can sign: what counts is one of the seeds, to the letter, apart from what is not signed.
pub(crate) fn signature(data: &[u8]) {
    counts(data);
}

/// Whether a signature counts. The first byte says which kind it is, the first chunk is cosign's annotation, and the rest
/// the signature or payload.
pub(crate) fn counts(data: &[u8]) -> bool {
    let Some((&[kind, length], rest)) = data.split_first_chunk::<2>() else { return false };
    let (annotation, bytes) = rest.split_at(rest.len().min(length.into()));
    let (media_type, name) = if kind % 2 == 0 { (MINISIGN, "ann") } else { (COSIGN, "bob") };
    let annotation = String::from_utf8_lossy(annotation).into_owned();
    let annotations = BTreeMap::from([("dev.cosignproject.cosign/signature".to_owned(), annotation)]);
    let found = Detached { media_type, bytes, annotations: &annotations };
    match trust().verify("registry.example/block", DIGEST, &[found]) {
        Ok(signed) => {
            assert_eq!(signed, [name]);
            let text = String::from_utf8_lossy(bytes);
            let is_seed = |seed: &&str| seed.lines().skip(1).eq(text.lines().skip(1));
            assert!(if name == "bob" { text == COSIGN_PAYLOAD } else { MINISIGN_SIGNATURES.iter().any(is_seed) });
            true
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(shown.len() < 2000 && !shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
            false
        }
    }
}

fn trust() -> Trust {
    let signer = |name: &str, key: &str| Signer { name: name.into(), key: key.parse().expect("a key of the corpus") };
    let signers = vec![signer("ann", MINISIGN_KEY), signer("bob", COSIGN_KEY)];
    let rule = Rule { namespace: "*".into(), all_of: vec![], any_of: vec!["ann".into(), "bob".into()], at_least: 1 };
    Trust::new(signers, vec![rule]).expect("a rule of two signers")
}
