use super::{Span, begins, reads};

/// How a token of a known issuer looks: its prefix, the fewest bytes after it, and which bytes those may be.
type Token = (&'static [u8], usize, fn(&u8) -> bool);

const TOKENS: &[Token] = &[
    (b"AKIA", 16, is_upper),
    (b"ASIA", 16, is_upper),
    (b"AIza", 35, is_url_safe),
    (b"ghp_", 36, u8::is_ascii_alphanumeric),
    (b"gho_", 36, u8::is_ascii_alphanumeric),
    (b"ghu_", 36, u8::is_ascii_alphanumeric),
    (b"ghs_", 36, u8::is_ascii_alphanumeric),
    (b"ghr_", 36, u8::is_ascii_alphanumeric),
    (b"github_pat_", 22, is_url_safe),
    (b"glpat-", 20, is_url_safe),
    (b"npm_", 36, u8::is_ascii_alphanumeric),
    (b"sk_live_", 16, u8::is_ascii_alphanumeric),
    (b"sk_test_", 16, u8::is_ascii_alphanumeric),
    (b"rk_live_", 16, u8::is_ascii_alphanumeric),
    (b"rk_test_", 16, u8::is_ascii_alphanumeric),
    (b"xoxa-", 10, is_url_safe),
    (b"xoxb-", 10, is_url_safe),
    (b"xoxe-", 10, is_url_safe),
    (b"xoxp-", 10, is_url_safe),
    (b"xoxr-", 10, is_url_safe),
    (b"xoxs-", 10, is_url_safe),
];

const KEY_MARK: &[u8] = b"-----BEGIN ";
const WEB_TOKEN_MARK: &[u8] = b"eyJ";

/// What every secret that is found begins with.
pub(super) fn prefixes() -> impl Iterator<Item = &'static [u8]> {
    TOKENS.iter().map(|(prefix, ..)| *prefix).chain([KEY_MARK, WEB_TOKEN_MARK])
}

fn is_upper(byte: &u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_url_safe(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// A key or token whose form gives it away.
pub(super) fn secret(value: &[u8], at: usize) -> Option<Span> {
    let rest = &value[at..];
    let len = match rest[0] {
        b'-' => private_key(rest),
        _ if !begins(value, at) => None,
        // Only at the start of a run, so that no run is read more than twice.
        b'e' if at > 0 && is_url_safe(&value[at - 1]) => None,
        b'e' => web_token(rest),
        _ => TOKENS.iter().filter(|(prefix, ..)| rest.starts_with(prefix)).find_map(|(prefix, least, may_be)| {
            let count = rest[prefix.len()..].iter().take_while(|b| may_be(b)).count();
            reads(count);
            (count >= *least).then_some(prefix.len() + count)
        }),
    };
    len.map(|len| at..at + len)
}

/// A private key in PEM, up to its end or to the end of the value.
fn private_key(rest: &[u8]) -> Option<usize> {
    const LONGEST_LABEL: usize = 64;
    let label = rest.strip_prefix(KEY_MARK)?;
    let label = &label[..label.len().min(LONGEST_LABEL)];
    reads(label.len());
    let mark = memchr::memmem::find(label, b"-----")?;
    if !label[..mark].ends_with(b"PRIVATE KEY") && !label[..mark].ends_with(b"PRIVATE KEY BLOCK") {
        return None;
    }
    let body = KEY_MARK.len() + mark + 5;
    let end = memchr::memmem::find(&rest[body..], b"-----END ").map(|at| body + at + 9);
    let close = end.and_then(|end| {
        let label = &rest[end..rest.len().min(end + LONGEST_LABEL)];
        memchr::memmem::find(label, b"-----").map(|at| end + at + 5)
    });
    reads(close.unwrap_or(rest.len()));
    Some(close.unwrap_or(rest.len()))
}

/// A JSON web token: header and payload are objects in base64url, hence `eyJ`.
fn web_token(rest: &[u8]) -> Option<usize> {
    let part = |from: usize| {
        let count = rest.get(from..)?.iter().take_while(|b| is_url_safe(b)).count();
        reads(count);
        rest[from..].starts_with(WEB_TOKEN_MARK).then_some(from + count).filter(|_| count >= 10)
    };
    let header = part(0).filter(|end| rest.get(*end) == Some(&b'.'))?;
    let payload = part(header + 1).filter(|end| rest.get(*end) == Some(&b'.'))?;
    let signature = rest[payload + 1..].iter().take_while(|b| is_url_safe(b)).count();
    reads(signature);
    Some(payload + 1 + signature)
}
