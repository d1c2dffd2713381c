use super::*;

const LINE: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
const ED: &str = "MCowBQYDK2VwAyEAUZiVcspizpCAZvIGGTeLexYvwQAw10XMTK16JWAH6GA=";
const EC: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgIfEAbKxVZqNP0nw3J/LyGyVL/Fe\n/+urt2j7h5I6IuMq1XBxya5sj+bc/SXABSooQuO5O5gSOZIgL3KjQn7afw==";

fn pem(body: &str) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

fn parse(text: &str) -> Result<PublicKey, KeyError> {
    text.parse()
}

#[test]
fn every_form_of_a_key_is_read() {
    let id = "minisign E7620F1842B4E81F";
    let forms = [
        LINE.to_owned(),
        format!("{LINE}\n"),
        format!("untrusted comment: minisign public key\n{LINE}\n"),
        format!("untrusted comment: \r\n{LINE}\r\n"),
    ];
    for text in forms {
        assert_eq!(parse(&text).unwrap().id(), id, "{text}");
    }
    assert_eq!(parse(&pem(ED)).unwrap().id(), "Ed25519 sha256:cc2f3b17a87ec627…");
    assert_eq!(parse(&pem(EC)).unwrap().id(), "ECDSA P-256 sha256:13e8241dbe2acd81…");
    assert_eq!(format!("{:?}", parse(LINE).unwrap()), format!("PublicKey({id})"));
}

#[test]
fn what_is_no_public_key_is_refused_without_being_repeated() {
    let cases = [
        (String::new(), "this is not a public key"),
        ("RW".into(), "this is not a public key"),
        (LINE[..54].into(), "this is not a public key"),
        (LINE.replacen("RW", "RU", 1), "this is not a public key"),
        (format!("{LINE}\n{LINE}"), "this is not a public key"),
        (format!("untrusted comment: a\n{LINE}\n{LINE}"), "this is not a public key"),
        (format!("untrusted comment: minisign encrypted secret key\n{LINE}"), "this is a secret key"),
        (pem(ED).replace("PUBLIC", "PRIVATE"), "this is a secret key"),
        (pem(ED).replace("PUBLIC KEY", "CERTIFICATE"), "this is not the PEM of one public key"),
        (pem(ED) + &pem(EC), "this is not the PEM of one public key"),
        (pem("%"), "this is not the PEM of one public key"),
        (pem(""), "this public key is neither"),
        (pem(&EC.replacen("AE", "AF", 1)), "this public key is neither"),
        (pem("MCowBQYDK2VwAyEAUZiVcspizpCAZvIGGTeLexYvwQAw10XMTK16JWAH6GAA"), "this public key is neither"),
        ("A".repeat(MAX_KEY + 1), "the key is longer"),
    ];
    for (text, expected) in cases {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
        assert!(!error.contains("UZiVcspizp") && !error.contains(&LINE[3..20]), "{error}");
    }
}
