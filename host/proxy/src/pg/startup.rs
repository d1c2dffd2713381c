//! What a client may set when it opens a session, and what reaches the server of it.

use portcullis_wire::pg::login::Startup;
use portcullis_wire::pg::message::Fault;

/// Parameters that change how values look, which notices come, how queries are planned, how long things last, or nothing: what drivers
/// send by themselves or recommend. Others could change what names and texts mean.
const ALLOWED: [&str; 14] = [
    "application_name",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    // libpq sends it for PGGEQO, and asyncpg's users switch just-in-time compilation off for its questions about types.
    "geqo",
    "jit",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "statement_timeout",
    "tcp_user_timeout",
    "timezone",
    "transaction_timeout",
];

/// The longest justification, in bytes.
pub(super) const MAX_REASON: usize = 1024;
/// The longest name of a user or a target, in bytes.
const MAX_NAME: usize = 63;

/// A session that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// The principal's name, as claimed.
    pub(super) user: String,
    /// The target's name.
    pub(super) target: String,
    /// The justification (`portcullis.reason`).
    pub(super) reason: Option<String>,
    /// What the server is told.
    pub(super) parameters: Vec<(String, String)>,
    /// The minor version of protocol 3.
    pub(super) minor: u16,
}

impl Wish {
    /// Who asks for what, without the startup's other parameters. A user name `target:user` names the target, for clients that cannot
    /// choose a database.
    pub(super) fn of(startup: &Startup) -> Result<Self, Fault> {
        let (target, user) = startup.user.split_once(':').unwrap_or((&startup.database, &startup.user));
        // No user and no target has a longer one, and strangers must not fill the log and the audit.
        if user.len().max(target.len()) > MAX_NAME {
            return Err(Fault::fatal("42622", format!("names of users and targets have at most {MAX_NAME} bytes")));
        }
        // Texts and values must be what the gateway takes them for.
        let parameters = vec![("client_encoding".to_owned(), "UTF8".to_owned())];
        Ok(Self { user: user.to_owned(), target: target.to_owned(), reason: None, parameters, minor: startup.minor })
    }

    /// Adds the other parameters, or says which may not be set.
    pub(super) fn add(&mut self, parameters: Vec<(String, String)>) -> Result<(), Fault> {
        for (name, value) in parameters {
            if name.eq_ignore_ascii_case("options") {
                for (name, value) in options(&value)? {
                    self.set(name, value)?;
                }
            } else {
                self.set(name, value)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: String, value: String) -> Result<(), Fault> {
        match name.to_ascii_lowercase().as_str() {
            "client_encoding" => encoding(&value),
            "portcullis.reason" if value.len() > MAX_REASON => {
                Err(Fault::fatal("22001", format!("portcullis.reason is longer than {MAX_REASON} bytes")))
            }
            "portcullis.reason" => {
                self.reason = Some(value);
                Ok(())
            }
            "replication" if ["false", "off", "no", "0"].contains(&value.as_str()) => Ok(()),
            "replication" => Err(Fault::fatal("0A000", "replication is not available through this gateway")),
            lower if ALLOWED.contains(&lower) => {
                self.parameters.push((name, value));
                Ok(())
            }
            _ => Err(Fault::fatal("42501", format!("the parameter \"{name}\" may not be set when opening a session"))
                .with_hint("leave it out, or use SET in the session, where policies see it")),
        }
    }
}

/// UTF-8 by its names, or the encoding of those who do not care.
fn encoding(value: &str) -> Result<(), Fault> {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    if ["utf8", "unicode", "sqlascii"].contains(&plain.as_str()) {
        return Ok(());
    }
    Err(Fault::fatal("0A000", "the gateway speaks UTF-8 only")
        .with_hint("set client_encoding (PGCLIENTENCODING) to UTF8"))
}

/// Reads command-line options: `-c name=value` and `--name=value`, with backslashes before spaces that belong to a value.
fn options(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let bad = |word: &str| {
        Fault::fatal("42501", format!("the option \"{word}\" may not be set when opening a session"))
            .with_hint("only `-c name=value` is understood")
    };
    let words = words(text);
    let mut rest = words.iter();
    let mut found = Vec::new();
    while let Some(word) = rest.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(long), _) => long,
            (None, Some("")) => rest.next().map(String::as_str).ok_or_else(|| bad(word))?,
            (None, Some(joined)) => joined,
            (None, None) => return Err(bad(word)),
        };
        let (name, value) = setting.split_once('=').ok_or_else(|| bad(word))?;
        // As on the server's command line.
        found.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(found)
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut escaped) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            _ if escaped => {
                word.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(parameters: &[(&str, &str)]) -> Result<Wish, Fault> {
        let startup = Startup { user: "al".into(), database: "shop".into(), parameters: vec![], minor: 0 };
        let mut wish = Wish::of(&startup)?;
        wish.add(parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())?;
        Ok(wish)
    }

    #[test]
    fn harmless_parameters_pass_and_utf8_is_ensured() {
        let wish = wish(&[("application_name", "psql"), ("client_encoding", "'UTF-8'"), ("TimeZone", "UTC")]).unwrap();
        let names: Vec<_> = wish.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(names, [("client_encoding", "UTF8"), ("application_name", "psql"), ("TimeZone", "UTC")]);
    }

    #[test]
    fn options_are_read_as_the_server_would() {
        let wish =
            wish(&[("options", r"-c portcullis.reason=ticket\ 7 --statement-timeout=5s  -cDateStyle=ISO -c jit=off")])
                .unwrap();
        assert_eq!(wish.reason.as_deref(), Some("ticket 7"));
        assert_eq!(
            wish.parameters[1..],
            [("statement_timeout", "5s"), ("DateStyle", "ISO"), ("jit", "off")].map(|(n, v)| (n.into(), v.into()))
        );
    }

    #[test]
    fn what_could_change_meanings_is_refused() {
        for (name, value) in [
            ("search_path", "evil"),
            ("options", "-c search_path=evil"),
            ("options", "-csession_preload_libraries=x"),
            ("options", "-E"),
            ("options", "-c"),
            ("standard_conforming_strings", "off"),
            ("client_encoding", "LATIN1"),
            ("replication", "database"),
            ("role", "postgres"),
        ] {
            assert!(wish(&[(name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn the_user_can_name_the_target() {
        let startup = Startup { user: "shop:al".into(), database: "shop:al".into(), parameters: vec![], minor: 0 };
        let wish = Wish::of(&startup).unwrap();
        assert_eq!((wish.user.as_str(), wish.target.as_str()), ("al", "shop"));
    }
}
