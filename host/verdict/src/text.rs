//! Text for people, and bytes as text.

/// Whether a character hides, moves or reorders what is shown around it: controls, the characters that Unicode lets programs ignore
/// (Default_Ignorable_Code_Point and their neighbours), bidirectional marks, blanks that look like nothing, and white space other than
/// the plain space. Whoever shows text that came from elsewhere spells these out; `\n` is one of them.
pub fn is_hidden(c: char) -> bool {
    let ignorable = matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    ignorable || c.is_control() || (c.is_whitespace() && c != ' ')
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// The bytes of a text of exactly so many hexadecimal digits, in either case.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16);
        *byte = (nibble(pair[0])? << 4 | nibble(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_comes_back() {
        assert_eq!(hex(&[0, 0x7f, 0xff]), "007fff");
        assert_eq!(from_hex("007FfF"), Some([0, 0x7f, 0xff]));
        for wrong in ["", "00", "007ff", "007ffg", "007fff0", "é07ff"] {
            assert_eq!(from_hex::<3>(wrong), None);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_hidden() {
        for c in [
            '\0',
            '\n',
            '\x1b',
            '\u{9b}',
            '\u{a0}',
            '\u{ad}',
            '\u{34f}',
            '\u{3164}',
            '\u{200b}',
            '\u{202e}',
            '\u{2066}',
            '\u{2800}',
            '\u{e0041}',
            '\u{e0fff}',
        ] {
            assert!(is_hidden(c), "{c:?}");
        }
        for c in [' ', 'a', 'é', '東', '🦀', '\u{301}'] {
            assert!(!is_hidden(c), "{c:?}");
        }
    }
}
