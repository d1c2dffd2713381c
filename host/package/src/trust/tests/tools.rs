//! Keys and signatures by the real minisign and the real openssl, and ours before them.

use std::path::PathBuf;
use std::process::Command;

use portcullis_tests::nothing_may_be_missing;
use portcullis_tests::process::{find, run};
use secrecy::{ExposeSecret as _, SecretString};

use super::*;
use crate::package::tests::Dir;

/// The program, or none where it may be missing.
fn program(name: &str) -> Option<PathBuf> {
    let found = find(name, &[]);
    if found.is_none() {
        assert!(!nothing_may_be_missing(), "{name} is missing: run `cargo xtask setup`");
        eprintln!("skipped: {name} is missing");
    }
    found
}

/// The words of a line are arguments, with files in the directory.
fn call(program: &PathBuf, dir: &Dir, line: &str) -> String {
    run(Command::new(program).args(line.split(' ')).current_dir(dir.path(""))).unwrap()
}

fn read(dir: &Dir, name: &str) -> String {
    std::fs::read_to_string(dir.path(name)).unwrap()
}

#[test]
fn minisigns_keys_and_signatures_count() {
    let Some(minisign) = program("minisign") else { return };
    let dir = Dir::new("minisign");
    dir.put("digest", digest('a'));
    call(&minisign, &dir, "-G -W -p key.pub -s key");
    let public = read(&dir, "key.pub");
    let key: PublicKey = public.parse().unwrap();
    let line: PublicKey = public.lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(key.id(), line.id());
    let shown = public.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert_eq!(key.id(), format!("minisign {shown:0>16}"));
    let trust = only("ann", key);
    for (options, name) in [("-S", "hashed"), ("-S -l", "legacy")] {
        call(&minisign, &dir, &format!("{options} -s key -m digest -x {name} -t {name}"));
        assert_eq!(verify(&trust, &[Kept::minisign(read(&dir, name))]).unwrap(), ["ann"], "{name}");
    }
    let algorithm = |name| read(&dir, name).lines().nth(1).unwrap()[..2].to_owned();
    assert_eq!((&*algorithm("hashed"), &*algorithm("legacy")), ("RU", "RW"));
    // A signature of the digest with a line's end is one of another text.
    dir.put("line", digest('a') + "\n");
    call(&minisign, &dir, "-S -s key -m line -x line.sig");
    assert!(verify(&trust, &[Kept::minisign(read(&dir, "line.sig"))]).is_err());
    let secret = SecretKey::open(&read(&dir, "key").into(), None).unwrap();
    assert_eq!(verify(&trust, &[Kept::minisign(secret.sign(&digest('a')).unwrap())]).unwrap(), ["ann"]);
    // This key has no checksum: that it is damaged shows when it signs.
    let text = read(&dir, "key");
    let (comment, line) = text.trim().split_once('\n').unwrap();
    let mut bytes = STANDARD.decode(line).unwrap();
    assert!(bytes.ends_with(&[0; 32]));
    bytes[70] ^= 1;
    let damaged = SecretKey::open(&format!("{comment}\n{}\n", STANDARD.encode(bytes)).into(), None).unwrap();
    assert!(matches!(damaged.sign(&digest('a')), Err(SecretKeyError::Failed(_))));
}

#[test]
fn minisign_accepts_our_keys_and_signatures() {
    let Some(minisign) = program("minisign") else { return };
    let dir = Dir::new("our-minisign");
    dir.put("digest", digest('a'));
    let NewKey { secret, public } = SecretKey::generate(None).unwrap();
    dir.put("key", secret.expose_secret());
    dir.put("key.pub", &public);
    let opened = SecretKey::open(&secret, None).unwrap();
    dir.put("signature", opened.sign(&digest('a')).unwrap());
    call(&minisign, &dir, "-V -p key.pub -m digest -x signature");
    call(&minisign, &dir, "-S -s key -m digest -x other");
    assert_eq!(verify(&only("ann", public.parse().unwrap()), &[Kept::minisign(read(&dir, "other"))]).unwrap(), ["ann"]);
}

#[test]
fn a_protected_key_opens_with_its_password_only() {
    let password = SecretString::from("open sesame");
    let NewKey { secret, public } = SecretKey::generate(Some(&password)).unwrap();
    let key = SecretKey::open(&secret, Some(&password)).unwrap();
    assert_eq!(key.public_key().unwrap(), public.parse().unwrap());
    let signed = Kept::minisign(key.sign(&digest('a')).unwrap());
    assert_eq!(verify(&only("ann", public.parse().unwrap()), &[signed]).unwrap(), ["ann"]);
    let refused = |text: &SecretString, password: Option<&SecretString>| SecretKey::open(text, password).err().unwrap();
    assert_eq!(refused(&secret, None), SecretKeyError::NeedsPassword);
    assert_eq!(refused(&secret, Some(&SecretString::from("sesame"))), SecretKeyError::WrongPassword);
    assert_eq!(key.sign("latest"), Err(SecretKeyError::Digest));
    for text in ["", "a", &public, &secret.expose_secret().replace("RW", "RX"), &secret.expose_secret()[..100]] {
        assert_eq!(refused(&text.into(), Some(&password)), SecretKeyError::Malformed, "{text}");
    }
}

#[test]
fn openssls_keys_and_signatures_count() {
    let Some(openssl) = program("openssl") else { return };
    let dir = Dir::new("openssl");
    dir.put("payload", payload(&digest('a')));
    call(&openssl, &dir, "ecparam -name prime256v1 -genkey -noout -out ec");
    call(&openssl, &dir, "dgst -sha256 -sign ec -out ec.sig payload");
    call(&openssl, &dir, "genpkey -algorithm ed25519 -out ed");
    call(&openssl, &dir, "pkeyutl -sign -rawin -inkey ed -in payload -out ed.sig");
    for name in ["ec", "ed"] {
        call(&openssl, &dir, &format!("pkey -in {name} -pubout -out {name}.pub"));
        let key: PublicKey = read(&dir, &format!("{name}.pub")).parse().unwrap();
        let signature = std::fs::read(dir.path(&format!("{name}.sig"))).unwrap();
        let kept = Kept::cosign(payload(&digest('a')), &signature);
        assert_eq!(verify(&only("ann", key), &[kept]).unwrap(), ["ann"], "{name}");
    }
    call(&openssl, &dir, "ecparam -name secp384r1 -genkey -noout -out p384");
    call(&openssl, &dir, "genpkey -algorithm rsa -out rsa");
    for name in ["p384", "rsa"] {
        call(&openssl, &dir, &format!("pkey -in {name} -pubout -out {name}.pub"));
        let error = read(&dir, &format!("{name}.pub")).parse::<PublicKey>().unwrap_err().to_string();
        assert!(error.starts_with("this public key is neither for ECDSA P-256"), "{error}");
    }
    call(&openssl, &dir, "ec -in ec -pubout -conv_form compressed -out short.pub");
    assert!(read(&dir, "short.pub").parse::<PublicKey>().unwrap_err().to_string().contains("uncompressed point"));
    let secret = read(&dir, "ec").parse::<PublicKey>().unwrap_err().to_string();
    assert!(secret.starts_with("this is a secret key"), "{secret}");
}
