/// A pattern in which `*` stands for any run of characters, empty or not. ASCII letters match in either case, since a server
/// folds names that are not quoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// A pattern for a whole text.
    pub fn whole(pattern: &str) -> Self {
        Self(pattern.to_ascii_lowercase())
    }

    /// A pattern for any part of a text.
    pub fn anywhere(pattern: &str) -> Self {
        Self::whole(&format!("*{pattern}*"))
    }

    /// Whether the text fits. Takes at most pattern length × text length steps.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // Where to resume after the latest star, with one more byte of the text left to it.
        let mut star = None;
        while t < text.len() {
            if pattern.get(p) == Some(&b'*') {
                star = Some((p + 1, t));
                p += 1;
            } else if pattern.get(p) == text.get(t).map(u8::to_ascii_lowercase).as_ref() {
                (p, t) = (p + 1, t + 1);
            } else if let Some((after, from)) = star {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|b| *b == b'*')
    }
}

/// A pattern for a name in a schema: `name`, or `schema.name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qualified {
    schema: Option<Glob>,
    name: Glob,
}

impl Qualified {
    /// Reads a pattern; without a schema it fits any.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let parts: Vec<&str> = pattern.split('.').collect();
        match parts[..] {
            _ if parts.contains(&"") => Err(format!("`{pattern}` has an empty part; `*` fits any name")),
            [name] => Ok(Self { schema: None, name: Glob::whole(name) }),
            [schema, name] => Ok(Self { schema: Some(Glob::whole(schema)), name: Glob::whole(name) }),
            _ => Err(format!("`{pattern}` has more parts than `schema.name`")),
        }
    }

    /// Whether the name fits. An empty schema is one that the text does not give: it may be any, so it fits.
    pub fn matches(&self, schema: &str, name: &str) -> bool {
        let in_schema = self.schema.as_ref().is_none_or(|s| schema.is_empty() || s.matches(schema));
        in_schema && self.name.matches(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, fits) in [
            ("drop table", "DROP TABLE", true),
            ("DROP *", "drop index", true),
            ("DROP *", "DROP", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("*ab", "aab", true),
            ("*é*", "café!", true),
            ("x", "xx", false),
        ] {
            assert_eq!(Glob::whole(pattern).matches(text), fits, "{pattern} {text}");
        }
        assert!(Glob::anywhere("copy*program").matches("COPY t FROM\nPROGRAM 'x'"));
        assert!(!Glob::anywhere("copy*program").matches("PROGRAM COPY"));
    }

    #[test]
    fn hostile_texts_take_bounded_time() {
        let glob = Glob::anywhere(&"a*".repeat(30));
        assert!(!glob.matches(&"a".repeat(29)));
        assert!(glob.matches(&"ab".repeat(10_000)));
        assert!(!Glob::whole(&format!("{}b", "a*".repeat(30))).matches(&"a".repeat(10_000)));
    }

    #[test]
    fn a_schema_that_the_text_does_not_give_may_be_any() {
        for (pattern, schema, name, fits) in [
            ("salaries", "payroll", "salaries", true),
            ("payroll.*", "payroll", "salaries", true),
            ("payroll.*", "public", "salaries", false),
            ("payroll.salaries", "", "salaries", true),
            ("payroll.salaries", "", "customers", false),
        ] {
            assert_eq!(Qualified::new(pattern).unwrap().matches(schema, name), fits, "{pattern} {schema}.{name}");
        }
        for pattern in ["", ".", "a.", "a.b.c"] {
            assert!(Qualified::new(pattern).is_err(), "{pattern}");
        }
    }
}
