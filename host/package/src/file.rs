//! Reading files: bounded, and with errors that say where.

use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::PackageError;

/// The most bytes of a text file of a package.
pub(crate) const MAX_TEXT: u64 = 1 << 20;

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(file: &Path, limit: u64) -> Result<Vec<u8>, PackageError> {
    let failed = |source| PackageError::Read { file: file.into(), source };
    // A pipe would be waited for.
    if std::fs::metadata(file).map_err(failed)?.file_type().is_fifo() {
        return Err(failed(std::io::Error::other("it is a pipe, not a file")));
    }
    let mut bytes = Vec::new();
    // The length that the file system tells is not trusted: what is read is bounded by itself.
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(PackageError::TooLarge { file: file.into(), limit });
    }
    Ok(bytes)
}

/// Reads a text file.
pub(crate) fn read_text(file: &Path) -> Result<String, PackageError> {
    let invalid = |_| PackageError::Invalid { file: file.into(), message: "is not UTF-8 text".into() };
    String::from_utf8(read(file, MAX_TEXT)?).map_err(invalid)
}

/// Reads a TOML text that came from `file`.
pub(crate) fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, PackageError> {
    toml::from_str(text).map_err(|error| {
        let message = with_hint(error.message().trim_end());
        syntax(file, text, error.span().map_or(0, |span| span.start), message)
    })
}

/// An error at a byte of a TOML text.
pub(crate) fn syntax(file: &Path, text: &str, at: usize, message: String) -> PackageError {
    let (line, column) = place(text, at);
    PackageError::Syntax { file: file.into(), line, column, message }
}

/// The line of a byte of a text and the character in that line, from 1.
pub(crate) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

/// Adds the likeliest of the names in serde's ``unknown field `x`, expected one of `y`, `z` ``.
fn with_hint(message: &str) -> String {
    let one_line = message.replace('\n', "; ");
    let mut names = one_line.split('`').skip(1).step_by(2);
    if !one_line.starts_with("unknown ") {
        return one_line;
    }
    let nearest = names.next().and_then(|unknown| nearest(unknown, names));
    nearest.map_or(one_line.clone(), |name| format!("{one_line}; did you mean `{name}`?"))
}

/// The name that is closest to `word`, if it may be a slip of it.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let close = |name: &&str| distance(word, name) <= (word.chars().count().max(name.chars().count()) / 3).max(1);
    names.filter(close).min_by_key(|name| distance(word, name))
}

/// The fewest changes from one word to the other: a character more, less or other, or two that changed places. `_` and
/// `-` are the same.
fn distance(a: &str, b: &str) -> usize {
    let chars = |word: &str| word.replace('_', "-").chars().collect::<Vec<_>>();
    let (a, b) = (chars(a), chars(b));
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let other = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swap = if swapped { table[i - 2][j - 2] + 1 } else { usize::MAX };
                other.min(swap).min(table[i - 1][j] + 1).min(table[i][j - 1] + 1)
            };
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let names = ["name", "settings-schema", "capabilities"];
        let found = |word| nearest(word, names.into_iter());
        assert_eq!(found("nmae"), Some("name"));
        assert_eq!(found("nam"), Some("name"));
        assert_eq!(found("settings_schema"), Some("settings-schema"));
        assert_eq!(found("capabilites"), Some("capabilities"));
        assert_eq!(found("licence"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn places_count_characters() {
        let text = "a = 1\nä = x";
        let error = parse::<toml::Table>(Path::new("f.toml"), text).unwrap_err();
        assert!(error.to_string().starts_with("f.toml:2:"), "{error}");
        let PackageError::Syntax { line, column, .. } = syntax(Path::new("f"), text, 9, String::new()) else {
            panic!()
        };
        assert_eq!((line, column), (2, 3));
    }

    #[test]
    fn a_file_is_bounded() {
        let dir = crate::package::tests::Dir::new("bounded");
        let file = dir.put("f", "12345");
        assert_eq!(read(&file, 5).unwrap(), b"12345");
        assert!(matches!(read(&file, 4), Err(PackageError::TooLarge { limit: 4, .. })));
        assert!(matches!(read(&dir.path("none"), 4), Err(PackageError::Read { .. })));
    }
}
