//! What a terminal gets when a recording of another terminal is replayed.

/// Passes a terminal's output but for what would do more to the reader's terminal than show it: operating system commands (titles, the
/// clipboard), device control, application and privacy strings, and requests that the terminal answers as if its user typed.
#[derive(Default)]
pub(super) struct Filter {
    state: State,
    /// The control sequence so far.
    sequence: Vec<u8>,
    /// Bytes that the character begun still needs.
    more: u8,
    /// A byte C2 whose character may be a control.
    c2: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    Control,
    /// In a string, up to its terminator.
    Inside,
    /// In a string, after an escape.
    InsideEscape,
}

/// A control sequence that is longer is dropped.
const LONGEST: usize = 256;

impl Filter {
    pub(super) fn pass(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(data.len());
        for &byte in data {
            self.byte(byte, &mut out);
        }
        out
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.c2) {
            match byte {
                // The controls U+0080 to U+009F are an escape and a letter to many terminals.
                0x80..=0x9f => {
                    self.act(0x1b, out);
                    return self.act(byte - 0x40, out);
                }
                0xa0..=0xbf => {
                    self.act(0xc2, out);
                    return self.act(byte, out);
                }
                _ => {}
            }
        }
        match byte {
            0x80..=0xbf if self.more > 0 => {
                self.more -= 1;
                return self.act(byte, out);
            }
            // Not the rest of a character, so a control to a terminal that does not read UTF-8.
            0x80..=0xbf | 0xc0 | 0xc1 | 0xf5.. => return self.more = 0,
            0xc2 => (self.c2, self.more) = (true, 0),
            0xc3..=0xdf => self.more = 1,
            0xe0..=0xef => self.more = 2,
            0xf0..=0xf4 => self.more = 3,
            _ => self.more = 0,
        }
        if byte != 0xc2 {
            self.act(byte, out);
        }
    }

    fn act(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            (State::Inside, 0x1b) => State::InsideEscape,
            // BEL ends an operating system command; CAN and SUB end every string.
            (State::Inside, 0x07 | 0x18 | 0x1a) => State::Ground,
            (State::Inside, _) => State::Inside,
            (State::InsideEscape, b'\\') => State::Ground,
            // Another escape ends the string and begins a sequence of its own.
            (State::InsideEscape, _) => {
                self.state = State::Escape;
                self.sequence.clear();
                return self.act(byte, out);
            }
            (_, 0x1b) => {
                self.sequence.clear();
                State::Escape
            }
            (State::Escape, b']' | b'P' | b'_' | b'^' | b'X') => State::Inside,
            (State::Escape, b'[') => State::Control,
            // Identify yourself.
            (State::Escape, b'Z') => State::Ground,
            (State::Escape, _) => {
                out.extend_from_slice(&[0x1b, byte]);
                State::Ground
            }
            (State::Control, 0x20..=0x3f) => {
                if self.sequence.len() <= LONGEST {
                    self.sequence.push(byte);
                }
                State::Control
            }
            (State::Control, 0x40..=0x7e) => {
                if self.shows(byte) {
                    out.extend_from_slice(b"\x1b[");
                    out.extend_from_slice(&self.sequence);
                    out.push(byte);
                }
                State::Ground
            }
            // Who are you?
            (state, 0x05) => state,
            (State::Control, 0x18 | 0x1a) => State::Ground,
            (State::Control, 0x00..=0x1f) => {
                out.push(byte);
                State::Control
            }
            // No sequence after all. Half a character would be a control to some.
            (State::Control | State::Ground, _) => {
                out.push(byte);
                State::Ground
            }
        };
    }

    /// Whether a control sequence only shows something: the terminal does not answer it.
    fn shows(&self, last: u8) -> bool {
        let sequence = &self.sequence;
        let has = |byte: u8| sequence.contains(&byte);
        let asks = match last {
            b'c' | b'n' | b't' | b'x' | b'i' => true,
            b'p' => has(b'$'),
            b'q' => has(b'>'),
            b'u' => has(b'?'),
            b'w' | b'y' => has(b'*') || has(b'$') || has(b'\''),
            b'S' => has(b'?'),
            b'|' => has(b'\''),
            _ => false,
        };
        sequence.len() <= LONGEST && !asks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same whichever way the bytes are split.
    fn passed(data: &[u8]) -> String {
        let whole = Filter::default().pass(data);
        let mut filter = Filter::default();
        let split: Vec<u8> = data.iter().flat_map(|byte| filter.pass(&[*byte])).collect();
        assert_eq!(whole, split);
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn what_a_terminal_shows_passes() {
        let shown = "a\x1b[1;31mrot\x1b[0m\x1b[2J\x1b[10;2H\r\n\tß東🦀\u{a0}\x1b(0x\x1b7\x1b8\x1b[?1049h\x08\x07";
        assert_eq!(passed(shown.as_bytes()), shown);
    }

    #[test]
    fn titles_the_clipboard_and_other_strings_do_not() {
        for hidden in [
            "\x1b]0;title\x07",
            "\x1b]52;c;c2VjcmV0\x1b\\",
            "\x1b]8;;http://x\x1b\\",
            "\x1bP1$r\x1b\\",
            "\x1b_Gpayload\x1b\\",
            "\x1b^x\x1b\\",
            "\x1bXx\x1b\\",
            "\u{9d}52;c;x\x07",
            "\u{90}x\u{9c}",
        ] {
            assert_eq!(passed(format!("a{hidden}b").as_bytes()), "ab", "{hidden:?}");
        }
        assert_eq!(passed(b"a\x9d52;c;x\x07b"), "a52;c;x\x07b", "a lone byte 9D is dropped and begins nothing");
        assert_eq!(passed(b"a\x1b]0;never ended"), "a");
    }

    #[test]
    fn questions_that_the_terminal_would_answer_do_not() {
        for question in [
            "\x1b[6n",
            "\x1b[c",
            "\x1b[>c",
            "\x1b[21t",
            "\x1b[?25$p",
            "\x1b[>0q",
            "\x1b[?u",
            "\x05",
            "\x1bZ",
            "\u{9b}6n",
        ] {
            assert_eq!(passed(format!("a{question}b").as_bytes()), "ab", "{question:?}");
        }
    }

    #[test]
    fn a_sequence_that_hides_in_a_string_stays_hidden_and_one_behind_it_is_shown() {
        assert_eq!(passed(b"\x1b]0;\x1b[31mred"), "\x1b[31mred");
        assert_eq!(passed("\x1b[\u{dd}52;c;x\x07".as_bytes()), "\u{dd}52;c;x\x07");
        assert_eq!(passed(format!("\x1b[{}mx", "1;".repeat(200)).as_bytes()), "x");
    }
}
