/// Text on one line: everything that could move the cursor, or that hides or reorders what is shown, is escaped.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || hides(c) {
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

/// The invisible characters, and those that reorder text.
fn hides(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal() {
        let text = "SELECT '\x1b[2J\u{9b}31m'\r\n-- \u{202e}txet\u{200b}\x07";
        assert_eq!(safe(text), "SELECT '\\u{1b}[2J\\u{9b}31m'\\r\\n-- \\u{202e}txet\\u{200b}\\u{7}");
        assert_eq!(safe("Straße – 東京 🦀 'x' \\n"), "Straße – 東京 🦀 'x' \\n");
        assert_eq!(safe_lines("a\n\x1bb\n"), "a\n\\u{1b}b\n");
    }

    #[test]
    fn every_hidden_character_is_shown() {
        let ranges: [(u32, u32); 15] = [
            (0, 0x1f),
            (0x7f, 0x9f),
            (0xad, 0xad),
            (0x61c, 0x61c),
            (0x180e, 0x180e),
            (0x200b, 0x200f),
            (0x2028, 0x202e),
            (0x2060, 0x206f),
            (0xfe00, 0xfe0f),
            (0xfeff, 0xfeff),
            (0xfff9, 0xfffb),
            (0xe0000, 0xe0000),
            (0xe0001, 0xe007f),
            (0xe0100, 0xe0100),
            (0xe0101, 0xe01ef),
        ];
        for code in ranges.into_iter().flat_map(|(from, to)| from..=to) {
            let c = char::from_u32(code).unwrap();
            let shown = safe(&c.to_string());
            assert!(shown.starts_with('\\') && shown.is_ascii(), "U+{code:04X} is shown as {shown:?}");
        }
    }
}
