mod forged;
mod tools;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;

const REPOSITORY: &str = "registry.example/team/block";

fn digest(c: char) -> String {
    format!("sha256:{}", String::from(c).repeat(64))
}

/// A signature that is kept as it would be in a registry.
#[derive(Clone)]
struct Kept {
    media_type: &'static str,
    bytes: Vec<u8>,
    annotations: BTreeMap<String, String>,
}

impl Kept {
    fn minisign(text: impl Into<Vec<u8>>) -> Self {
        Self { media_type: MINISIGN, bytes: text.into(), annotations: BTreeMap::new() }
    }

    fn cosign(payload: impl Into<Vec<u8>>, signature: &[u8]) -> Self {
        let annotation = ("dev.cosignproject.cosign/signature".to_owned(), STANDARD.encode(signature));
        Self { media_type: COSIGN, bytes: payload.into(), annotations: BTreeMap::from([annotation]) }
    }
}

/// Judges signatures of the package `aaa…`.
fn verify(trust: &Trust, kept: &[Kept]) -> Result<Vec<String>, Untrusted> {
    let found: Vec<_> = kept
        .iter()
        .map(|Kept { media_type, bytes, annotations }| Detached { media_type, bytes, annotations })
        .collect();
    trust.verify(REPOSITORY, &digest('a'), &found)
}

/// What the only signature turned out to be.
fn found(trust: &Trust, kept: Kept) -> Found {
    let Untrusted::Unmet { mut found, .. } = verify(trust, &[kept]).unwrap_err() else { panic!() };
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn reason(trust: &Trust, kept: Kept) -> String {
    match found(trust, kept) {
        Found::Invalid { signer: None, reason } => reason,
        other => panic!("{other}"),
    }
}

/// A minisign key pair of a test.
struct Minisign {
    public: String,
    secret: SecretKey,
}

impl Minisign {
    fn new() -> Self {
        let NewKey { secret, public } = SecretKey::generate(None).unwrap();
        Self { public, secret: SecretKey::open(&secret, None).unwrap() }
    }

    fn key(&self) -> PublicKey {
        self.public.parse().unwrap()
    }

    fn sign(&self, c: char) -> Kept {
        Kept::minisign(self.secret.sign(&digest(c)).unwrap())
    }
}

fn pem(head: &str, point: &[u8]) -> PublicKey {
    let head = STANDARD.decode(head).unwrap();
    let body = STANDARD.encode([&head, point].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n").parse().unwrap()
}

fn ecdsa() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref(), &random).unwrap()
}

fn ecdsa_key(pair: &EcdsaKeyPair) -> PublicKey {
    pem("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgA=", pair.public_key().as_ref())
}

fn ecdsa_sign(pair: &EcdsaKeyPair, payload: &str) -> Kept {
    Kept::cosign(payload, pair.sign(&SystemRandom::new(), payload.as_bytes()).unwrap().as_ref())
}

fn ed25519() -> Ed25519KeyPair {
    Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap()
}

fn ed25519_key(pair: &Ed25519KeyPair) -> PublicKey {
    pem("MCowBQYDK2VwAyEA", pair.public_key().as_ref())
}

/// What cosign signs.
fn payload(digest: &str) -> String {
    json!({
        "critical": {
            "identity": { "docker-reference": REPOSITORY },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

fn rule(all_of: &[&str], any_of: &[&str], at_least: usize) -> Rule {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Rule { namespace: "registry.example/team/*".into(), all_of: names(all_of), any_of: names(any_of), at_least }
}

fn signer(name: &str, key: PublicKey) -> Signer {
    Signer { name: name.into(), key }
}

/// Trust in one signer.
fn only(name: &str, key: PublicKey) -> Trust {
    Trust::new(vec![signer(name, key)], vec![rule(&[name], &[], 0)]).unwrap()
}

/// Trust in `a`, `b`, …, with their keys.
fn several<const N: usize>(rules: Vec<Rule>) -> (Trust, [Minisign; N]) {
    let keys = std::array::from_fn(|_| Minisign::new());
    let names = ["a", "b", "c", "d"];
    let signers = keys.iter().zip(names).map(|(pair, name)| signer(name, pair.key())).collect();
    (Trust::new(signers, rules).unwrap(), keys)
}

#[test]
fn signatures_of_every_kind_count() {
    let (ann, bob, carol) = (Minisign::new(), ecdsa(), ed25519());
    let signers = vec![signer("ann", ann.key()), signer("bob", ecdsa_key(&bob)), signer("carol", ed25519_key(&carol))];
    let trust = Trust::new(signers, vec![rule(&["ann", "bob", "carol"], &[], 0)]).unwrap();
    let payload = payload(&digest('a'));
    let by_carol = Kept::cosign(payload.as_str(), carol.sign(payload.as_bytes()).as_ref());
    let all = [by_carol, ecdsa_sign(&bob, &payload), ann.sign('a')];
    assert_eq!(verify(&trust, &all).unwrap(), ["ann", "bob", "carol"]);
    for missing in 0..3 {
        let mut some = all.to_vec();
        some.remove(missing);
        assert!(verify(&trust, &some).is_err(), "{missing}");
    }
}

#[test]
fn rules_are_met_by_enough_different_signers() {
    let rules = [
        (rule(&["a", "b"], &[], 0), &["ab", "abc", "abd", "abcd"][..]),
        (rule(&[], &["a", "b"], 0), &["a", "b", "ab", "ac", "ad", "bc", "bd", "abc", "abd", "acd", "bcd", "abcd"]),
        (rule(&[], &["a", "b", "c"], 2), &["ab", "ac", "bc", "abc", "abd", "acd", "bcd", "abcd"]),
        (rule(&["a"], &["b", "c"], 0), &["ab", "ac", "abc", "abd", "acd", "abcd"]),
        (rule(&["a"], &["b", "c"], 3), &["abc", "abcd"]),
    ];
    for (rule, enough) in rules {
        let (trust, keys) = several::<4>(vec![rule.clone()]);
        for choice in 0..16 {
            let signed: Vec<usize> = (0..4).filter(|n| choice >> n & 1 == 1).collect();
            let names: String = signed.iter().map(|&n| ["a", "b", "c", "d"][n]).collect();
            let kept: Vec<_> = signed.iter().map(|&n| keys[n].sign('a')).collect();
            assert_eq!(verify(&trust, &kept).is_ok(), enough.contains(&&*names), "{rule:?} by {names}");
        }
    }
}

#[test]
fn every_rule_that_covers_the_repository_must_be_met() {
    let all = Rule { namespace: "*".into(), ..rule(&["a"], &[], 0) };
    let other = Rule { namespace: "registry.example/other/*".into(), ..rule(&["c"], &[], 0) };
    let (trust, [a, b, _]) = several(vec![all.clone(), rule(&["b"], &[], 0), other]);
    assert_eq!(verify(&trust, &[a.sign('a'), b.sign('a')]).unwrap(), ["a", "b"]);
    let Untrusted::Unmet { unmet, .. } = verify(&trust, &[a.sign('a')]).unwrap_err() else { panic!() };
    assert_eq!(unmet.iter().map(|unmet| &*unmet.namespace).collect::<Vec<_>>(), ["registry.example/team/*"]);
    let Untrusted::Unmet { unmet, .. } = verify(&trust, &[]).unwrap_err() else { panic!() };
    assert_eq!(unmet.len(), 2);
    assert_eq!(trust.demands("elsewhere.example/x"), [&all]);
}

#[test]
fn without_a_rule_nothing_is_demanded_and_nobody_named() {
    let (trust, [a]) = several(vec![Rule { namespace: "registry.example/other".into(), ..rule(&["a"], &[], 0) }]);
    assert_eq!(verify(&trust, &[a.sign('a')]).unwrap(), Vec::<String>::new());
    assert_eq!(verify(&Trust::default(), &[]).unwrap(), Vec::<String>::new());
}

#[test]
fn several_signatures_by_one_key_count_once() {
    let (trust, [a, _]) = several(vec![rule(&[], &["a", "b"], 2)]);
    assert!(verify(&trust, &[a.sign('a'), a.sign('a'), a.sign('a')]).is_err());
}

#[test]
fn what_does_not_count_does_not_hinder() {
    let (trust, [a]) = several(vec![rule(&["a"], &[], 0)]);
    let kept = [Kept::minisign("junk"), a.sign('b'), Minisign::new().sign('a'), a.sign('a')];
    assert_eq!(verify(&trust, &kept).unwrap(), ["a"]);
}

#[test]
fn an_error_says_what_was_expected_and_what_was_found() {
    let (trust, [a, b, c]) = several(vec![rule(&["a"], &["b", "c"], 0)]);
    let stranger = Minisign::new();
    let id = |pair: &Minisign| pair.key().id();
    let kept = [b.sign('a'), stranger.sign('a'), stranger.sign('a'), a.sign('b')];
    let expected = format!(
        "registry.example/team/block@{} is not signed as it must be\n  \
         the rule for `registry.example/team/*` demands 2 signers: a ({}; missing), and any of b ({}; has signed), c ({}; missing)\n  \
         found a signature valid, by b\n  \
         found 2 signatures by a key of no signer, {}\n  \
         found a signature invalid, in the name of a: it is not one of this package, or has been changed\n  \
         have it signed, with `portcullis policy sign` for instance, or change the rule",
        digest('a'),
        id(&a),
        id(&b),
        id(&c),
        id(&stranger)
    );
    assert_eq!(verify(&trust, &kept).unwrap_err().to_string(), expected);
    let nothing = verify(&trust, &[]).unwrap_err().to_string();
    assert!(nothing.contains("\n  found no signature\n"), "{nothing}");
}

#[test]
fn signers_and_rules_that_make_no_sense_are_refused() {
    let (ann, bob) = (Minisign::new(), Minisign::new());
    let signers = || vec![signer("ann", ann.key()), signer("bob", bob.key())];
    let refused = |signers: Vec<Signer>, rule: Rule| Trust::new(signers, vec![rule]).unwrap_err().to_string();
    let cases = [
        (rule(&["carol"], &[], 0), "names the signer `carol`, who is not there; there is `ann`, `bob`"),
        (rule(&["ann", "ann"], &[], 0), "names the signer `ann` twice"),
        (rule(&["ann"], &["ann"], 0), "names the signer `ann` twice"),
        (rule(&[], &[], 0), "names no signers"),
        (rule(&[], &[], 1), "names no signers"),
        (rule(&["ann"], &["bob"], 3), "has at_least = 3, but its lists leave 2 to 2"),
        (rule(&["ann", "bob"], &[], 1), "has at_least = 1, but its lists leave 2 to 2"),
    ];
    for (rule, expected) in cases {
        let error = refused(signers(), rule);
        assert!(error.contains(expected) && error.contains("`registry.example/team/*`"), "{error}");
    }
    let good = || rule(&["ann"], &[], 0);
    assert!(Trust::new(signers(), vec![good(), good()]).is_ok(), "two rules of one namespace add up");
    assert!(refused(vec![], good()).contains("who is not there; there is none"));
    for name in ["", "a b", "a\n", &"a".repeat(65)] {
        assert!(refused(vec![signer(name, ann.key())], good()).contains("is not a name of a signer"), "{name:?}");
    }
    let same_name = vec![signer("ann", ann.key()), signer("ann", bob.key())];
    assert_eq!(refused(same_name, good()), "there are two signers `ann`: give each a name of its own");
    assert_eq!(Trust::new(signers(), vec![good(); MAX_RULES + 1]).unwrap_err().to_string(), {
        "there are 1025 rules; at most 1024 are possible"
    });
    let many = vec![signer("ann", ann.key()); MAX_SIGNERS + 1];
    assert!(refused(many, good()).contains("there are 129 signers"));
}

#[test]
fn one_key_under_two_names_is_refused_in_every_form() {
    let pair = ed25519();
    let line = |id: [u8; 8]| STANDARD.encode([b"Ed", &id[..], pair.public_key().as_ref()].concat());
    let forms: [PublicKey; 3] = [ed25519_key(&pair), line([1; 8]).parse().unwrap(), line([2; 8]).parse().unwrap()];
    for (a, b) in [(0, 1), (1, 2), (0, 0)] {
        let signers = vec![signer("ann", forms[a].clone()), signer("bob", forms[b].clone())];
        assert_eq!(Trust::new(signers, vec![]).unwrap_err(), TrustError::SameKey("ann".into(), "bob".into()));
    }
}
