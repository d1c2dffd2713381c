use portcullis_verdict::text::is_hidden;

/// Text on one line: everything that could move the cursor, or that hides or reorders what is shown, is escaped.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same, but lines stay lines.
pub fn safe_lines(text: &str) -> String {
    text.split('\n').map(safe).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal_and_nothing_is_hidden() {
        let text = "SELECT '\x1b[2J\u{9b}31m'\r\n\t-- \u{202e}txet\u{200b}\u{a0}\x07";
        assert_eq!(safe(text), "SELECT '\\u{1b}[2J\\u{9b}31m'\\r\\n\\t-- \\u{202e}txet\\u{200b}\\u{a0}\\u{7}");
        assert_eq!(safe("Straße – 東京 🦀 'x' \\n"), "Straße – 東京 🦀 'x' \\n");
        assert_eq!(safe_lines("a\n\x1bb\n"), "a\n\\u{1b}b\n");
    }
}
