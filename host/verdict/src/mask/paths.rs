//! Places within a JSON text: `$.contact.email`, `$.items[*].card`, `$."odd name"[0]`, `$.*`.

use serde::de::IgnoredAny;

/// A way from the root of a JSON text to some of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The value of this key.
    Key(String),
    /// The value of any key.
    AnyKey,
    /// The element at this place.
    Index(usize),
    /// Any element.
    AnyIndex,
}

impl Path {
    /// Reads a path. Keys of other characters than letters, digits, `_` and `-` stand in quotes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a path such as `$.contact.email` or `$.items[*].card`");
        let mut rest = text.strip_prefix('$').ok_or_else(wrong)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = step(rest).ok_or_else(wrong)?;
            steps.push(step);
            rest = behind;
        }
        if steps.is_empty() { Err(wrong()) } else { Ok(Self(steps)) }
    }
}

/// The first step of a path, and what is behind it.
fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(index) = text.strip_prefix('[') {
        let (index, rest) = index.split_once(']')?;
        let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
        return match index {
            "*" => Some((Step::AnyIndex, rest)),
            _ if digits => Some((Step::Index(index.parse().ok()?), rest)),
            _ => None,
        };
    }
    let key = text.strip_prefix('.')?;
    if let Some(rest) = key.strip_prefix('*') {
        return Some((Step::AnyKey, rest));
    }
    if key.starts_with('"') {
        let end = string_end(key.as_bytes(), 0);
        return Some((Step::Key(serde_json::from_str(key.get(..end)?).ok()?), &key[end..]));
    }
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let end = key.find(|c| !is_name(c)).unwrap_or(key.len());
    (end > 0).then(|| (Step::Key(key[..end].to_owned()), &key[end..]))
}

/// A text of many short values would grow much under a long replacement: by more than this, and so many times, it does not.
const ROOM: (usize, usize) = (64 << 10, 16);

/// Appends a JSON text in which the values at the ends of these paths are `replacement`. False if it is no JSON, or would become far too
/// large: nothing was appended then.
pub(super) fn replace(paths: &[Path], json: &[u8], replacement: &[u8], out: &mut Vec<u8>) -> bool {
    // What serde ignores it does not check for UTF-8.
    if !std::str::from_utf8(json).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok()) {
        return false;
    }
    let start = out.len();
    let most = start + ROOM.0 + json.len().saturating_mul(ROOM.1).min(json.len().max(64 << 20));
    let mut walk = Walk { json, at: 0, copied: 0, replacement, most, out };
    let paths: Vec<&[Step]> = paths.iter().map(|path| &path.0[..]).collect();
    walk.value(&paths);
    walk.out.extend_from_slice(json.get(walk.copied..).unwrap_or_default());
    let fits = out.len() <= most;
    if !fits {
        out.truncate(start);
    }
    fits
}

/// A walk through a text that is JSON.
struct Walk<'a> {
    json: &'a [u8],
    at: usize,
    /// What is before has been appended.
    copied: usize,
    replacement: &'a [u8],
    /// Where the output gets too large.
    most: usize,
    out: &'a mut Vec<u8>,
}

impl Walk<'_> {
    /// Goes over a value to which these paths lead on. No deeper than the longest of them.
    fn value(&mut self, paths: &[&[Step]]) {
        self.space();
        if paths.iter().any(|path| path.is_empty()) {
            self.out.extend_from_slice(self.json.get(self.copied..self.at).unwrap_or_default());
            self.out.extend_from_slice(self.replacement);
            self.skip();
            if self.out.len() > self.most {
                self.at = self.json.len();
            }
            self.copied = self.at;
            return;
        }
        let (close, is_object) = match self.json.get(self.at) {
            Some(b'{') if !paths.is_empty() => (b'}', true),
            Some(b'[') if !paths.is_empty() => (b']', false),
            _ => return self.skip(),
        };
        self.at += 1;
        for index in 0.. {
            self.space();
            if self.json.get(self.at).is_none_or(|byte| *byte == close) {
                break;
            }
            let key = is_object.then(|| self.key());
            let leads = |step: &Step| match (step, &key) {
                (Step::Key(name), Some(key)) => key.as_ref().is_none_or(|key| key == name),
                (Step::AnyKey, Some(_)) | (Step::AnyIndex, None) => true,
                (Step::Index(at), None) => *at == index,
                _ => false,
            };
            let inner = paths.iter().filter_map(|path| path.split_first().filter(|(step, _)| leads(step)));
            let inner: Vec<&[Step]> = inner.map(|(_, rest)| rest).collect();
            self.value(&inner);
            self.space();
            self.at += usize::from(self.json.get(self.at) == Some(&b','));
        }
        self.at += 1;
    }

    /// Takes a key and its colon. One that cannot be decoded is `None`, which might be any.
    fn key(&mut self) -> Option<String> {
        let end = string_end(self.json, self.at);
        let key = self.json.get(self.at..end).and_then(|key| serde_json::from_slice(key).ok());
        self.at = end;
        self.space();
        self.at += 1;
        key
    }

    fn space(&mut self) {
        while matches!(self.json.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes behind the value that begins here.
    fn skip(&mut self) {
        let mut depth = 0usize;
        while let Some(byte) = self.json.get(self.at) {
            match byte {
                b'"' => self.at = string_end(self.json, self.at),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
                return;
            }
        }
    }
}

/// Behind the closing quote of the string that begins here.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(paths: &[&str], json: &str) -> Option<String> {
        let paths: Vec<Path> = paths.iter().map(|path| Path::parse(path).unwrap()).collect();
        let mut out = b"x".to_vec();
        let done = replace(&paths, json.as_bytes(), b"#", &mut out);
        assert!(done || out == b"x");
        done.then(|| String::from_utf8(out[1..].to_vec()).unwrap())
    }

    #[test]
    fn only_what_is_named_is_replaced() {
        for (paths, json, expected) in [
            (&["$.a"][..], r#"{"a": "x", "b": 1}"#, r#"{"a": #, "b": 1}"#),
            (&["$.a.b"], r#"{"a":{"b":[1,{"b":2}],"c":3},"b":4}"#, r#"{"a":{"b":#,"c":3},"b":4}"#),
            (&["$[*].c", "$[1]"], r#"[{"c":1},{"c":2},{"d":{"c":3}}]"#, r##"[{"c":#},#,{"d":{"c":3}}]"##),
            (&["$.*"], r#" {"a":1 , "b":[2]} "#, r##" {"a":# , "b":#} "##),
            (&["$.a", "$.a.b"], r#"{"a":{"b":1}}"#, r##"{"a":#}"##),
            (&["$.*.b", "$.a.c"], r#"{"a":{"b":1,"c":2,"d":3}}"#, r##"{"a":{"b":#,"c":#,"d":3}}"##),
            // The same key twice, and the same key in other words.
            (&["$.a"], r#"{"a":1,"a":2,"\u0061":3,"A":4}"#, r##"{"a":#,"a":#,"\u0061":#,"A":4}"##),
            (&["$.\"x y\\n\"[0]"], r#"{"x y\n":[1,2],"x y":[3]}"#, r##"{"x y\n":[#,2],"x y":[3]}"##),
            (&["$.é-1_"], r#"{"é-1_":null}"#, r##"{"é-1_":#}"##),
            // A key that no text can stand for.
            (&["$.a"], r#"{"\ud800":1,"b":2}"#, r##"{"\ud800":#,"b":2}"##),
            (&["$.a", "$[0]"], r#""a""#, r#""a""#),
            (&["$.a"], "17", "17"),
            (&["$.a[0]"], r#"{"a":{},"b":[{"a":"}"}],"c":"\"{"}"#, r#"{"a":{},"b":[{"a":"}"}],"c":"\"{"}"#),
            (&["$.a"], r#"{"x":"\\","a":"\\\"","y":[]}"#, r#"{"x":"\\","a":#,"y":[]}"#),
            (&["$.a"], "{}", "{}"),
        ] {
            assert_eq!(replaced(paths, json).as_deref(), Some(expected), "{paths:?} {json}");
        }
    }

    #[test]
    fn what_is_no_json_becomes_nothing() {
        for json in ["", "{", "{\"a\":1} x", "{\"a\":1,}", "{a:1}", "\u{feff}{}"] {
            assert_eq!(replaced(&["$.a"], json), None, "{json}");
        }
        assert!(!replace(&[Path::parse("$.a").unwrap()], b"{\"\xff\":1}", b"#", &mut vec![]));
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!("{{\"b\":{}{},\"a\":1}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(replaced(&["$.a"], &deep).unwrap().ends_with("\"a\":#}"));
    }

    #[test]
    fn nothing_grows_beyond_bounds() {
        let many = format!("[{}1]", "1,".repeat(1_000_000));
        let paths = [Path::parse("$[*]").unwrap()];
        let mut out = b"x".to_vec();
        assert!(!replace(&paths, many.as_bytes(), &[b'*'; 1000], &mut out) && out == b"x");
        assert!(out.capacity() < 128 << 20);
        assert!(replace(&paths, many.as_bytes(), &[b'*'; 20], &mut out));
    }

    #[test]
    fn paths_are_checked() {
        for path in [
            "", "$", "a", "$a", "$.", "$..a", "$.a b", "$[", "$[x]", "$[-1]", "$.\"a", "$['a']", "$.a.", "$[+1]", "$[]",
        ] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
