use super::{Span, reads};

/// Letters of any script are taken as they come; the bytes beyond ASCII are parts of them.
fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'_' | b'%' | b'+' | b'-' | b'\'')
}

fn is_domain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'.' | b'-')
}

/// An address around the `@` at this place.
pub(super) fn address(value: &[u8], at: usize) -> Option<Span> {
    let before = value[..at].iter().rev().take_while(|b| is_local(**b)).count();
    let dots = value[at - before..at].iter().take_while(|b| matches!(b, b'.' | b'\'')).count();
    let start = at - before + dots;
    let after = value[at + 1..].iter().take_while(|b| is_domain(**b)).count();
    reads(before + after);
    let mut end = at + 1 + after;
    while end > at + 1 && matches!(value[end - 1], b'.' | b'-') {
        end -= 1;
    }
    let domain = &value[at + 1..end];
    let dot = memchr::memrchr(b'.', domain).filter(|dot| *dot > 0 && domain[0] != b'.')?;
    let top = &domain[dot + 1..];
    let plausible =
        top.len() >= 2 && top.iter().all(|b| b.is_ascii_alphabetic() || *b >= 0x80) || top.starts_with(b"xn--");
    (start < at && plausible).then_some(start..end)
}
