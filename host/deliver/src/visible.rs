//! Foreign text for people's eyes: what would be invisible, or would change how the rest is shown, is written out.

use portcullis_verdict::text::is_hidden;

/// Whether a text may go over several lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    One,
    Many,
}

/// The text with every hidden character as `\u{…}`, but for the line breaks and tabs of a text over several lines; cut to so many
/// characters, with `…` in the place of what is cut off.
pub(crate) fn visible(text: &str, most: usize, lines: Lines) -> String {
    bounded(text, most, |c, shown| match c {
        '\n' | '\t' if lines == Lines::Many => shown.push(c),
        c if is_hidden(c) => shown.extend(c.escape_unicode()),
        c => shown.push(c),
    })
}

/// The text with each character as `write` has it, at most so many characters; whole ones, and `…` in the place of what is cut off.
pub(crate) fn bounded(text: &str, most: usize, mut write: impl FnMut(char, &mut String)) -> String {
    let (mut shown, mut length, mut piece) = (String::new(), 0, String::new());
    // Where to cut if the text turns out too long: room for `…` is left.
    let mut cut = 0;
    for c in text.chars() {
        piece.clear();
        write(c, &mut piece);
        length += piece.chars().count();
        if length > most {
            shown.truncate(cut);
            shown.push('…');
            break;
        }
        shown.push_str(&piece);
        if length < most {
            cut = shown.len();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_text_is_written_out() {
        assert_eq!(visible("a\u{202e}b\u{200b}c\u{1b}[0m", 100, Lines::Many), "a\\u{202e}b\\u{200b}c\\u{1b}[0m");
        assert_eq!(visible("a\n\tb\r\u{a0}", 100, Lines::Many), "a\n\tb\\u{d}\\u{a0}");
        assert_eq!(visible("a\n\tb", 100, Lines::One), "a\\u{a}\\u{9}b");
        assert_eq!(visible("Grüße, 日本 \u{e0041}", 100, Lines::One), "Grüße, 日本 \\u{e0041}");
    }

    #[test]
    fn a_cut_text_says_so_and_keeps_within_its_bound() {
        assert_eq!(visible("abcde", 5, Lines::One), "abcde");
        assert_eq!(visible("abcdef", 5, Lines::One), "abcd…");
        // A character that is written out is not cut in the middle.
        assert_eq!(visible("ab\u{202e}cd", 8, Lines::One), "ab…");
        assert_eq!(visible("\u{202e}", 3, Lines::One), "…");
    }
}
