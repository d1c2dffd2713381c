//! Signatures that must not count.

use super::*;

fn text(kept: &Kept) -> String {
    String::from_utf8(kept.bytes.clone()).unwrap()
}

/// A minisign signature with its lines changed.
fn with_lines(kept: &Kept, change: impl FnOnce(&mut Vec<String>)) -> Kept {
    let mut lines = text(kept).lines().map(str::to_owned).collect();
    change(&mut lines);
    Kept::minisign(lines.join("\n") + "\n")
}

/// A minisign signature with the bytes before its Base64 changed.
fn with_bytes(kept: &Kept, change: impl FnOnce(&mut Vec<u8>)) -> Kept {
    with_lines(kept, |lines| {
        let mut bytes = STANDARD.decode(&lines[1]).unwrap();
        change(&mut bytes);
        lines[1] = STANDARD.encode(bytes);
    })
}

fn claims(trust: &Trust, kept: Kept) -> String {
    match found(trust, kept) {
        Found::Invalid { signer: Some(signer), .. } => signer,
        other => panic!("{other}"),
    }
}

/// Signs as old versions of minisign did: the text itself, not its hash.
fn legacy(pair: &Ed25519KeyPair, id: [u8; 8], message: &[u8]) -> Kept {
    let signature = pair.sign(message);
    let comment = "timestamp:1";
    let over_comment = pair.sign(&[signature.as_ref(), comment.as_bytes()].concat());
    let line = STANDARD.encode([b"Ed", &id[..], signature.as_ref()].concat());
    let last = STANDARD.encode(over_comment.as_ref());
    Kept::minisign(format!("untrusted comment: c\n{line}\ntrusted comment: {comment}\n{last}\n"))
}

#[test]
fn a_signature_of_another_package_does_not_count() {
    let (ann, bob) = (Minisign::new(), ecdsa());
    let trust = only("ann", ann.key());
    assert_eq!(claims(&trust, ann.sign('b')), "ann");
    let trust = only("bob", ecdsa_key(&bob));
    let Found::Invalid { signer: Some(signer), reason } = found(&trust, ecdsa_sign(&bob, &payload(&digest('b'))))
    else {
        panic!()
    };
    assert_eq!((&*signer, reason), ("bob", format!("it is of another package, {}", digest('b'))));
}

#[test]
fn a_stranger_who_takes_a_signers_id_does_not_count() {
    let (ann, mallory) = (Minisign::new(), Minisign::new());
    let id = STANDARD.decode(ann.public.lines().nth(1).unwrap()).unwrap()[2..10].to_vec();
    let forged = with_bytes(&mallory.sign('a'), |bytes| bytes[2..10].copy_from_slice(&id));
    assert_eq!(claims(&only("ann", ann.key()), forged.clone()), "ann");
    // As a signer in her own right she counts, and as nobody else, although the ids are the same.
    let mut line = STANDARD.decode(mallory.public.lines().nth(1).unwrap()).unwrap();
    line[2..10].copy_from_slice(&id);
    let hers: PublicKey = STANDARD.encode(line).parse().unwrap();
    assert_eq!(hers.id(), ann.key().id());
    let signers = vec![signer("ann", ann.key()), signer("mallory", hers)];
    let trust = Trust::new(signers, vec![rule(&[], &["ann", "mallory"], 0)]).unwrap();
    assert_eq!(verify(&trust, std::slice::from_ref(&forged)).unwrap(), ["mallory"]);
    assert_eq!(verify(&trust, &[ann.sign('a')]).unwrap(), ["ann"]);
    assert_eq!(verify(&trust, &[forged, ann.sign('a')]).unwrap(), ["ann", "mallory"]);
}

#[test]
fn the_trusted_comment_belongs_to_its_signature() {
    let ann = Minisign::new();
    let trust = only("ann", ann.key());
    let (good, other) = (ann.sign('a'), text(&ann.sign('b')));
    let other: Vec<&str> = other.lines().collect();
    assert_eq!(claims(&trust, with_lines(&good, |lines| lines[2].push('0'))), "ann");
    let swapped = with_lines(&good, |lines| lines[2..].clone_from_slice(&[other[2].into(), other[3].into()]));
    assert_eq!(claims(&trust, swapped), "ann");
    // The untrusted comment is what its name says.
    assert!(verify(&trust, &[with_lines(&good, |lines| lines[0].push_str(", in a hurry"))]).is_ok());
}

#[test]
fn a_signature_that_is_cut_changed_or_longer_does_not_count() {
    let ann = Minisign::new();
    let trust = only("ann", ann.key());
    let good = ann.sign('a');
    let length = good.bytes.len();
    for cut in 0..length - 1 {
        assert!(verify(&trust, &[Kept::minisign(&good.bytes[..cut])]).is_err(), "cut at {cut}");
    }
    let first = text(&good).find('\n').unwrap();
    for at in first..length - 1 {
        let mut bytes = good.bytes.clone();
        bytes[at] ^= 1;
        assert!(verify(&trust, &[Kept::minisign(bytes)]).is_err(), "changed at {at}");
    }
    let junk = with_lines(&good, |lines| lines.push("more".into()));
    assert_eq!(reason(&trust, junk), "it is not the text of a minisign signature");
    assert_eq!(reason(&trust, Kept::minisign(b"\xff\n\n\n\n")), "it is not the text of a minisign signature");
    let mut large = good.bytes.clone();
    large.resize(MAX_SIGNATURE + 1, b'\n');
    assert_eq!(reason(&trust, Kept::minisign(large)), "it is larger than 65536 bytes");
    assert!(verify(&trust, &[good]).is_ok());
}

#[test]
fn one_algorithm_is_not_taken_for_another() {
    let (ann, carol) = (Minisign::new(), ed25519());
    let trust = only("ann", ann.key());
    let good = ann.sign('a');
    assert_eq!(claims(&trust, with_bytes(&good, |bytes| bytes[1] = b'd')), "ann", "a hashed text as a plain one");
    let unknown = with_bytes(&good, |bytes| bytes[1] = b'X');
    assert_eq!(reason(&trust, unknown), "it is not the text of a minisign signature");

    // The same key of carol's as minisign's and as cosign's: a signature of the one kind is none of the other.
    let line = STANDARD.encode([b"Ed", &[7; 8][..], carol.public_key().as_ref()].concat());
    let as_minisign = only("carol", line.parse().unwrap());
    let as_cosign = only("carol", ed25519_key(&carol));
    let payload = payload(&digest('a'));
    let simple = Kept::cosign(payload.as_str(), carol.sign(payload.as_bytes()).as_ref());
    let plain = legacy(&carol, [7; 8], digest('a').as_bytes());
    assert_eq!(verify(&as_minisign, std::slice::from_ref(&plain)).unwrap(), ["carol"]);
    assert_eq!(verify(&as_cosign, std::slice::from_ref(&simple)).unwrap(), ["carol"]);
    assert_eq!(found(&as_minisign, simple.clone()), Found::Unknown { key: None });
    assert_eq!(found(&as_cosign, plain.clone()), Found::Unknown { key: Some("minisign 0707070707070707".into()) });
    assert_eq!(claims(&as_minisign, with_bytes(&plain, |bytes| bytes[1] = b'D')), "carol", "a plain text as a hash");
    assert!(verify(&as_minisign, &[Kept { media_type: COSIGN, ..plain }]).is_err());
    assert!(verify(&as_cosign, &[Kept { media_type: MINISIGN, ..simple.clone() }]).is_err());
    for media_type in ["", "application/vnd.dev.sigstore.bundle.v0.3+json", "application/json\u{1b}[2J"] {
        let why = reason(&as_cosign, Kept { media_type, ..simple.clone() });
        assert!(why.ends_with("is a kind of signature that does not count here") && !why.contains('\u{1b}'), "{why}");
    }
}

#[test]
fn cosigns_payload_and_signature_belong_together() {
    let bob = ecdsa();
    let trust = only("bob", ecdsa_key(&bob));
    let good = ecdsa_sign(&bob, &payload(&digest('a')));
    assert_eq!(found(&trust, ecdsa_sign(&ecdsa(), &payload(&digest('a')))), Found::Unknown { key: None });
    // The payload of this package with bob's signature of another one.
    let swapped = Kept { annotations: ecdsa_sign(&bob, &payload(&digest('b'))).annotations, ..good.clone() };
    assert_eq!(found(&trust, swapped), Found::Unknown { key: None });
    for at in 0..good.bytes.len() {
        let mut changed = good.clone();
        changed.bytes[at] ^= 1;
        assert!(verify(&trust, &[changed]).is_err(), "changed at {at}");
    }
    let longer = Kept { bytes: [&good.bytes[..], b" "].concat(), ..good.clone() };
    assert_eq!(found(&trust, longer), Found::Unknown { key: None });
    assert_eq!(verify(&trust, &[good]).unwrap(), ["bob"]);
}

#[test]
fn cosigns_payload_must_say_what_it_is() {
    let bob = ecdsa();
    let trust = only("bob", ecdsa_key(&bob));
    let right = payload(&digest('a'));
    let twice = right.replace(
        "\"docker-manifest-digest\"",
        &format!("\"docker-manifest-digest\":\"{}\",\"docker-manifest-digest\"", digest('b')),
    );
    let cases = [
        ("{}".into(), "its payload is not what cosign signs"),
        ("null".into(), "its payload is not what cosign signs"),
        ("[".repeat(60_000), "its payload is not what cosign signs"),
        (format!("{right}{right}"), "its payload is not what cosign signs"),
        (twice, "its payload is not what cosign signs"),
        (
            right.replace("cosign container", "atomic container"),
            "its payload is not a `cosign container image signature`",
        ),
        (payload("latest\u{1b}[2J"), "its payload holds no digest"),
        (payload(&digest('A')), "its payload holds no digest"),
    ];
    for (payload, expected) in cases {
        let Found::Invalid { signer, reason } = found(&trust, ecdsa_sign(&bob, &payload)) else { panic!("{payload}") };
        assert_eq!((signer.as_deref(), &*reason), (Some("bob"), expected));
    }
}

#[test]
fn cosigns_annotation_must_be_a_signature() {
    let bob = ecdsa();
    let trust = only("bob", ecdsa_key(&bob));
    let good = ecdsa_sign(&bob, &payload(&digest('a')));
    let name = "dev.cosignproject.cosign/signature";
    let without = Kept { annotations: BTreeMap::new(), ..good.clone() };
    assert_eq!(reason(&trust, without), format!("it has no annotation `{name}`"));
    for text in ["%".to_owned(), "A".into(), "AAAA".repeat(300), format!("{}\n", good.annotations[name])] {
        let odd = Kept { annotations: BTreeMap::from([(name.into(), text)]), ..good.clone() };
        assert_eq!(reason(&trust, odd), format!("its annotation `{name}` is not a signature in Base64"));
    }
    for bytes in [&[][..], &[0; 64], &[0x30, 6, 2, 1, 0, 2, 1, 0]] {
        assert_eq!(found(&trust, Kept::cosign(&*good.bytes, bytes)), Found::Unknown { key: None });
    }
    // r and s as they are, instead of ASN.1.
    let random = SystemRandom::new();
    let algorithm = &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let fixed = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).unwrap();
    let signature = fixed.sign(&random, &good.bytes).unwrap();
    let kept = Kept::cosign(&*good.bytes, signature.as_ref());
    assert_eq!(found(&only("bob", ecdsa_key(&fixed)), kept), Found::Unknown { key: None });
}

#[test]
fn ten_thousand_signatures_are_not_looked_at() {
    let ann = Minisign::new();
    let trust = only("ann", ann.key());
    let error = verify(&trust, &vec![ann.sign('a'); 10_000]).unwrap_err();
    assert!(matches!(error, Untrusted::TooMany { count: 10_000, .. }), "{error}");
    assert!(verify(&trust, &vec![ann.sign('a'); MAX_SIGNATURES + 1]).is_err());
    assert!(verify(&trust, &vec![ann.sign('a'); MAX_SIGNATURES]).is_ok());
}

#[test]
fn what_is_no_digest_is_not_verified() {
    let carol = ed25519();
    let line = STANDARD.encode([b"Ed", &[7; 8][..], carol.public_key().as_ref()].concat());
    let trust = only("carol", line.parse().unwrap());
    for odd in ["", "latest", "sha256:", &digest('A'), &format!("{}\n", digest('a'))] {
        let Kept { media_type, bytes, annotations } = legacy(&carol, [7; 8], odd.as_bytes());
        let detached = Detached { media_type, bytes: &bytes, annotations: &annotations };
        assert!(matches!(trust.verify(REPOSITORY, odd, &[detached]), Err(Untrusted::Digest { .. })), "{odd:?}");
    }
}
