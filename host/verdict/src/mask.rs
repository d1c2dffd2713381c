//! Masks that the host applies itself, on the text form of a value.
//!
//! A mask is compiled once per column of a result: what it yields is valid for the column's type, or NULL.

mod paths;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub use self::paths::Path;

/// What takes the place of a text that is hidden altogether.
pub const REDACTED: &str = "[redacted]";
/// The same as JSON.
const REDACTED_JSON: &str = "\"[redacted]\"";

/// A way to hide a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// A fixed value. It must be valid for the column's type.
    Constant(String),
    /// A date or timestamp keeps its year and becomes the first moment of it.
    DateToYear,
    /// An e-mail address keeps its first character and its domain.
    Email,
    /// A keyed hash (HMAC-SHA-256, 128 bits): equal values stay equal, and nobody without the key can try guesses.
    Hash,
    /// All characters but the last `n` become `*`; a value of at most `n` characters is hidden altogether.
    KeepLast(u32),
    /// NULL.
    Null,
    /// `[redacted]` where the type can hold it, else NULL.
    Redact,
    /// The same for the values at these places of a JSON text, and all of any other value.
    RedactAt(Vec<Path>),
}

/// A mask may name so many places.
const MOST_PATHS: usize = 64;

impl Mask {
    /// Reads a mask by its name in the policy interface and its parameters.
    ///
    /// `constant` takes `value`, `keep-last` takes `count` (1 to 1000), `redact` takes any number of `path`; the others take none.
    pub fn parse(name: &str, parameters: &[(String, String)]) -> Result<Self, String> {
        let allowed: &[&str] = match name {
            "constant" => &["value"],
            "keep-last" => &["count"],
            "redact" => &["path"],
            _ => &[],
        };
        if let Some((key, _)) = parameters.iter().find(|(k, _)| !allowed.contains(&k.as_str())) {
            return Err(format!("the mask `{name}` has no parameter `{key}`"));
        }
        let parameter = |key: &str| {
            let found = parameters.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
            found.ok_or_else(|| format!("the mask `{name}` needs the parameter `{key}`"))
        };
        match name {
            "constant" => Ok(Self::Constant(parameter("value")?.into())),
            "date-to-year" => Ok(Self::DateToYear),
            "email" => Ok(Self::Email),
            "hash" => Ok(Self::Hash),
            "keep-last" => match parameter("count")?.parse() {
                Ok(count @ 1..=1000) => Ok(Self::KeepLast(count)),
                _ => Err("the parameter `count` of `keep-last` is a whole number from 1 to 1000".into()),
            },
            "null" => Ok(Self::Null),
            "redact" if parameters.is_empty() => Ok(Self::Redact),
            "redact" if parameters.len() > MOST_PATHS => {
                Err(format!("the mask `redact` has at most {MOST_PATHS} paths"))
            }
            "redact" => {
                parameters.iter().map(|(_, path)| Path::parse(path)).collect::<Result<_, _>>().map(Self::RedactAt)
            }
            _ => Err(format!(
                "there is no mask `{name}`; there are constant, date-to-year, email, hash, keep-last, null and redact"
            )),
        }
    }

    /// Fits the mask to a type. The error says why a constant is not valid for it.
    pub fn compile(&self, ty: &ValueType, key: &HashKey) -> Result<Compiled, String> {
        use ValueType::{Date, Json, Text, Timestamp, Uuid};
        let redacted = || match ty {
            Text { .. } => Compiled::Constant(ty.fit(REDACTED.into())),
            Json => Compiled::Constant(REDACTED_JSON.into()),
            _ => Compiled::Null,
        };
        let per_value = |rule| Compiled::Each { rule, ty: ty.clone() };
        Ok(match (self, ty) {
            (Self::Null, _) => Compiled::Null,
            (Self::Constant(value), _) => Compiled::Constant(ty.constant(value)?),
            (Self::Hash, Text { .. } | Uuid) => per_value(Rule::Hash(key.clone())),
            (Self::KeepLast(count), Text { .. }) => per_value(Rule::KeepLast(*count as usize)),
            (Self::Email, Text { .. }) => per_value(Rule::Email),
            (Self::RedactAt(paths), Json) => per_value(Rule::RedactAt(paths.clone())),
            (Self::DateToYear, Text { .. } | Date | Timestamp) => per_value(Rule::Year),
            _ => redacted(),
        })
    }
}

/// The secret of [`Mask::Hash`].
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

impl HashKey {
    /// A key from bytes; 32 random ones are best.
    pub fn new(secret: &[u8]) -> Self {
        // HMAC takes keys of any length (RFC 2104 section 2).
        #[allow(clippy::unwrap_used, reason = "HMAC refuses no key length")]
        Self(Hmac::new_from_slice(secret).unwrap())
    }

    /// The HMAC-SHA-256 of a value.
    pub fn mac(&self, value: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(value);
        mac.finalize().into_bytes().into()
    }

    /// The half of it that [`Mask::Hash`] shows.
    fn digest(&self, value: &[u8]) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&self.mac(value)[..16]);
        half
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey")
    }
}

/// What a mask has to know of a column's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// True or false.
    Bool,
    /// A calendar date.
    Date,
    /// A whole number in this range.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// JSON.
    Json,
    /// A decimal or floating-point number.
    Number,
    /// Anything else: only NULL is known to be valid.
    Other,
    /// Characters.
    Text {
        /// The most characters it holds, if bounded.
        max_chars: Option<u32>,
        /// Whether shorter values are padded with spaces to that length.
        padded: bool,
    },
    /// A date with a time of day.
    Timestamp,
    /// A UUID.
    Uuid,
}

impl ValueType {
    /// An unbounded text.
    pub const TEXT: Self = Self::Text { max_chars: None, padded: false };

    /// Cuts and pads a text as the type demands.
    fn fit(&self, mut text: Vec<u8>) -> Vec<u8> {
        self.fit_from(&mut text, 0);
        text
    }

    fn fit_from(&self, out: &mut Vec<u8>, start: usize) {
        let Self::Text { max_chars: Some(max), padded } = self else {
            return;
        };
        let is_first = |b: &u8| *b & 0xC0 != 0x80;
        let tail = out.get(start..).unwrap_or_default();
        let chars = tail.iter().filter(|b| is_first(b)).count();
        if let Some((cut, _)) = tail.iter().enumerate().filter(|(_, b)| is_first(b)).nth(*max as usize) {
            out.truncate(start + cut);
        } else if *padded {
            out.resize(out.len() + (*max as usize).saturating_sub(chars), b' ');
        }
    }

    /// Checks that a constant is valid for the type.
    fn constant(&self, value: &str) -> Result<Vec<u8>, String> {
        let valid = match self {
            Self::Bool => matches!(value, "t" | "f"),
            Self::Date => is_date(value),
            Self::Integer { min, max } => {
                !value.starts_with('+') && value.parse::<i64>().is_ok_and(|n| (*min..=*max).contains(&n))
            }
            Self::Json => is_json(value),
            Self::Number => value.parse::<f64>().is_ok_and(f64::is_finite) && !value.starts_with('+'),
            Self::Other => false,
            Self::Text { max_chars, .. } => {
                !value.contains('\0') && max_chars.is_none_or(|m| value.chars().count() <= m as usize)
            }
            Self::Timestamp => value.len() == 19 && value.get(..10).is_some_and(is_date) && is_time(&value[10..]),
            Self::Uuid => is_uuid(value),
        };
        if !valid {
            return Err(format!("the constant is not a valid {}", self.name()));
        }
        Ok(self.fit(value.as_bytes().to_vec()))
    }

    fn name(&self) -> String {
        match self {
            Self::Bool => "boolean (`t` or `f`)".into(),
            Self::Date => "date (YYYY-MM-DD)".into(),
            Self::Integer { min, max } => format!("integer from {min} to {max}"),
            Self::Json => "JSON text".into(),
            Self::Number => "number".into(),
            Self::Other => "value of this type, for which only NULL is safe".into(),
            Self::Text { max_chars: Some(max), .. } => format!("text of at most {max} characters"),
            Self::Text { .. } => "text".into(),
            Self::Timestamp => "timestamp (YYYY-MM-DD HH:MM:SS)".into(),
            Self::Uuid => "UUID".into(),
        }
    }
}

fn is_date(text: &str) -> bool {
    let b = text.as_bytes();
    let number = |r: std::ops::Range<usize>| text.get(r).and_then(|t| t.parse::<u32>().ok()).unwrap_or(0);
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let digits = |(i, c): (usize, &u8)| if i == 4 || i == 7 { *c == b'-' } else { c.is_ascii_digit() };
    b.len() == 10 && b.iter().enumerate().all(digits) && year > 0 && (1..=days).contains(&day)
}

fn is_time(text: &str) -> bool {
    let b = text.as_bytes();
    let below =
        |r: std::ops::Range<usize>, n: u32| text.get(r).and_then(|t| t.parse().ok()).is_some_and(|v: u32| v < n);
    b.len() == 9
        && b[0] == b' '
        && b[3] == b':'
        && b[6] == b':'
        && below(1..3, 24)
        && below(4..6, 60)
        && below(7..9, 60)
}

fn is_uuid(text: &str) -> bool {
    let dash = |i: usize| matches!(i, 8 | 13 | 18 | 23);
    text.len() == 36 && text.bytes().enumerate().all(|(i, b)| if dash(i) { b == b'-' } else { b.is_ascii_hexdigit() })
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A mask fitted to a type.
#[derive(Clone, Debug)]
pub enum Compiled {
    /// The same bytes for every value.
    Constant(Vec<u8>),
    /// Each value by itself.
    Each {
        /// How.
        rule: Rule,
        /// The type to fit.
        ty: ValueType,
    },
    /// NULL for every value.
    Null,
}

/// How a compiled mask treats each value.
#[derive(Clone, Debug)]
pub enum Rule {
    /// See [`Mask::Email`].
    Email,
    /// See [`Mask::Hash`].
    Hash(HashKey),
    /// See [`Mask::KeepLast`].
    KeepLast(usize),
    /// See [`Mask::RedactAt`].
    RedactAt(Vec<Path>),
    /// See [`Mask::DateToYear`].
    Year,
}

impl Compiled {
    /// Appends the masked form of a value that is not NULL; false means NULL, and then nothing was appended.
    pub fn apply(&self, value: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let done = match self {
            Self::Null => false,
            Self::Constant(bytes) => {
                out.extend_from_slice(bytes);
                return true;
            }
            Self::Each { rule: Rule::Email, .. } => email(value, out),
            Self::Each { rule: Rule::Hash(key), ty } => hash(&key.digest(value), ty, out),
            Self::Each { rule: Rule::KeepLast(count), .. } => keep_last(value, *count, out),
            Self::Each { rule: Rule::RedactAt(paths), .. } => {
                paths::replace(paths, value, REDACTED_JSON.as_bytes(), out)
            }
            Self::Each { rule: Rule::Year, ty } => year(value, ty, out),
        };
        if let Self::Each { ty, .. } = self
            && done
        {
            ty.fit_from(out, start);
        }
        done
    }
}

fn email(value: &[u8], out: &mut Vec<u8>) -> bool {
    let at = value.iter().rposition(|b| *b == b'@').filter(|at| *at > 0);
    match at.and_then(|at| Some((std::str::from_utf8(value).ok()?, at))) {
        Some((text, at)) => {
            out.extend(text.chars().take(1).collect::<String>().as_bytes());
            out.extend(b"***");
            out.extend(&text.as_bytes()[at..]);
        }
        None => out.extend(REDACTED.as_bytes()),
    }
    true
}

fn hash(digest: &[u8; 16], ty: &ValueType, out: &mut Vec<u8>) -> bool {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let uuid = *ty == ValueType::Uuid;
    for (i, byte) in digest.iter().enumerate() {
        if uuid && matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        // A UUID made of a hash is version 8, variant 10 (RFC 9562 section 5.8).
        let byte = match (uuid, i) {
            (true, 6) => byte & 0x0f | 0x80,
            (true, 8) => byte & 0x3f | 0x80,
            _ => *byte,
        };
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
    true
}

fn keep_last(value: &[u8], count: usize, out: &mut Vec<u8>) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        out.extend(REDACTED.as_bytes());
        return true;
    };
    let text = text.trim_end_matches(' ');
    let chars = text.chars().count();
    let hidden = if chars <= count { chars } else { chars - count };
    out.resize(out.len() + hidden, b'*');
    let rest = text.char_indices().nth(hidden).map_or("", |(at, _)| &text[at..]);
    out.extend(rest.as_bytes());
    true
}

fn year(value: &[u8], ty: &ValueType, out: &mut Vec<u8>) -> bool {
    let text = std::str::from_utf8(value).unwrap_or("");
    if !text.get(..10).is_some_and(is_date) || text.ends_with("BC") {
        let is_text = matches!(ty, ValueType::Text { .. });
        if is_text {
            out.extend(REDACTED.as_bytes());
        }
        return is_text;
    }
    out.extend(&text.as_bytes()[..4]);
    out.extend(b"-01-01");
    if *ty == ValueType::Timestamp || text.len() > 10 && matches!(ty, ValueType::Text { .. }) {
        out.extend(b" 00:00:00");
    }
    if *ty == ValueType::Timestamp {
        // A time zone offset such as `+02` or `-03:30` stays: the type may demand it.
        let zone = text.get(19..).and_then(|rest| rest.find(['+', '-']).map(|at| &rest[at..]));
        out.extend(zone.unwrap_or("").as_bytes());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &Mask, ty: &ValueType, value: &str) -> Option<String> {
        let mut out = b"x".to_vec();
        let kept = mask.compile(ty, &HashKey::new(b"key")).unwrap().apply(value.as_bytes(), &mut out);
        assert!(kept || out == b"x");
        kept.then(|| String::from_utf8(out[1..].to_vec()).unwrap())
    }

    const CHAR8: ValueType = ValueType::Text { max_chars: Some(8), padded: true };

    #[test]
    fn texts() {
        let t = &ValueType::TEXT;
        assert_eq!(masked(&Mask::Redact, t, "secret").unwrap(), REDACTED);
        assert_eq!(masked(&Mask::KeepLast(4), t, "4111111111111234").unwrap(), "************1234");
        assert_eq!(masked(&Mask::KeepLast(4), t, "123").unwrap(), "***");
        assert_eq!(masked(&Mask::KeepLast(2), t, "äöü€").unwrap(), "**ü€");
        assert_eq!(masked(&Mask::Email, t, "émile@example.org").unwrap(), "é***@example.org");
        assert_eq!(masked(&Mask::Email, t, "not an address").unwrap(), REDACTED);
        assert_eq!(masked(&Mask::Email, t, "@x").unwrap(), REDACTED);
        assert_eq!(masked(&Mask::DateToYear, t, "1984-05-06").unwrap(), "1984-01-01");
        assert_eq!(masked(&Mask::DateToYear, t, "May 6").unwrap(), REDACTED);
        assert_eq!(masked(&Mask::Null, t, "x"), None);
    }

    #[test]
    fn macs_are_those_of_rfc_4231() {
        let mac = HashKey::new(b"Jefe").mac(b"what do ya want for nothing?");
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn bounded_texts_stay_in_their_bounds() {
        assert_eq!(masked(&Mask::Redact, &CHAR8, "secret  ").unwrap(), "[redacte");
        assert_eq!(masked(&Mask::KeepLast(2), &CHAR8, "abcd    ").unwrap(), "**cd    ");
        assert_eq!(masked(&Mask::Hash, &CHAR8, "abcd    ").unwrap().len(), 8);
    }

    #[test]
    fn other_types_stay_valid_or_become_null() {
        let int = ValueType::Integer { min: -32768, max: 32767 };
        assert_eq!(masked(&Mask::Redact, &int, "5"), None);
        assert_eq!(masked(&Mask::Constant("-7".into()), &int, "5").unwrap(), "-7");
        assert!(Mask::Constant("70000".into()).compile(&int, &HashKey::new(b"")).is_err());
        assert!(Mask::Constant("x".into()).compile(&ValueType::Other, &HashKey::new(b"")).is_err());
        assert_eq!(masked(&Mask::Redact, &ValueType::Json, "{}").unwrap(), "\"[redacted]\"");
        assert_eq!(masked(&Mask::DateToYear, &ValueType::Date, "2001-09-09").unwrap(), "2001-01-01");
        assert_eq!(masked(&Mask::DateToYear, &ValueType::Date, "infinity"), None);
        assert_eq!(masked(&Mask::DateToYear, &ValueType::Date, "0044-03-15 BC"), None);
        let stamp = masked(&Mask::DateToYear, &ValueType::Timestamp, "2001-09-09 01:46:40.5+02");
        assert_eq!(stamp.unwrap(), "2001-01-01 00:00:00+02");
        let uuid = masked(&Mask::Hash, &ValueType::Uuid, "a").unwrap();
        assert!(is_uuid(&uuid) && uuid.as_bytes()[14] == b'8', "{uuid}");
    }

    #[test]
    fn places_in_json_are_redacted_and_any_other_value_altogether() {
        let path = |path: &str| ("path".to_owned(), path.to_owned());
        let mask = Mask::parse("redact", &[path("$.mail"), path("$.cards[*]")]).unwrap();
        let shown = masked(&mask, &ValueType::Json, r#"{"id": 1, "mail": "a@b.cc", "cards": [4, "5"]}"#);
        assert_eq!(shown.unwrap(), r#"{"id": 1, "mail": "[redacted]", "cards": ["[redacted]", "[redacted]"]}"#);
        assert_eq!(masked(&mask, &ValueType::Json, "{\"mail\": "), None);
        assert_eq!(masked(&mask, &ValueType::TEXT, "{}").unwrap(), REDACTED);
        assert_eq!(masked(&mask, &ValueType::Date, "2001-09-09"), None);
    }

    #[test]
    fn equal_values_hash_alike_and_the_key_matters() {
        let t = &ValueType::TEXT;
        assert_eq!(masked(&Mask::Hash, t, "a"), masked(&Mask::Hash, t, "a"));
        assert_ne!(masked(&Mask::Hash, t, "a"), masked(&Mask::Hash, t, "b"));
        let mut other = vec![];
        Mask::Hash.compile(t, &HashKey::new(b"other")).unwrap().apply(b"a", &mut other);
        assert_ne!(masked(&Mask::Hash, t, "a").unwrap().into_bytes(), other);
    }

    #[test]
    fn names_and_parameters_are_checked() {
        let p = |k: &str, v: &str| vec![(k.to_owned(), v.to_owned())];
        assert_eq!(Mask::parse("keep-last", &p("count", "4")), Ok(Mask::KeepLast(4)));
        assert_eq!(Mask::parse("redact", &[]), Ok(Mask::Redact));
        assert!(matches!(Mask::parse("redact", &p("path", "$.a")), Ok(Mask::RedactAt(paths)) if paths.len() == 1));
        assert!(Mask::parse("redact", &vec![("path".to_owned(), "$.a".to_owned()); MOST_PATHS + 1]).is_err());
        for (name, parameters) in [
            ("keep-last", p("count", "0")),
            ("keep-last", vec![]),
            ("null", p("a", "b")),
            ("blur", vec![]),
            ("redact", p("path", "a")),
            ("redact", p("paths", "$.a")),
        ] {
            assert!(Mask::parse(name, &parameters).is_err(), "{name}");
        }
    }
}
