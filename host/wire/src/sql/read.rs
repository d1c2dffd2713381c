//! Reads a text with the server's grammar and walks the whole tree of each statement.

mod define;
mod expression;
mod functions;
mod lineage;
mod query;
mod statement;
mod walk;

use pg_query::{Error, FingerprintOptions, ParserOptions};

use self::walk::Walker;
use super::{Facts, Lexing, MAX_RUNS, MAX_TEXT, MAX_TOKENS, Unreadable};

/// Reads a text as a server with these settings would. What the server may accept but this reader cannot follow, such as
/// very deep nesting, is unreadable.
pub fn read(text: &str, lexing: Lexing) -> Result<Facts, Unreadable> {
    bounded(text, lexing)?;
    let options = options(lexing);
    let tree = pg_query::parse(text, options).map_err(unreadable)?;
    let mut statements = Vec::with_capacity(tree.protobuf.stmts.len());
    for raw in &tree.protobuf.stmts {
        let Some(statement) = &raw.stmt else { return Err(Unreadable("a statement without content".into())) };
        statements.push(Walker::facts(statement, text.len()).ok_or_else(too_deep)?);
    }
    // Names are kept whole: texts about `orders_2024_01` and `orders_2024_02`, or about tables of two schemas that share an
    // alias, are not alike to a policy.
    let whole_names = FingerprintOptions::FULL_RELNAME | FingerprintOptions::RANGEVAR_PG17_COMPAT;
    let fingerprint = pg_query::fingerprint(text, options, whole_names).map_err(unreadable)?.hex;
    Ok(Facts { fingerprint, statements })
}

/// Whether a text takes no more time and memory to parse than it may.
pub(super) fn bounded(text: &str, lexing: Lexing) -> Result<(), Unreadable> {
    if text.len() > MAX_TEXT {
        return Err(Unreadable(format!("the text is longer than the {MAX_TEXT} bytes that are read")));
    }
    if !has_short_runs(text) {
        return Err(Unreadable("the text has runs of operator characters that would take too long to read".into()));
    }
    if text.len() > MAX_TOKENS && !has_few_tokens(text, lexing) {
        return Err(Unreadable(format!("the text has more than the {MAX_TOKENS} tokens that are read")));
    }
    Ok(())
}

/// Whether its runs of operator characters are short enough, see [`MAX_RUNS`].
fn has_short_runs(text: &str) -> bool {
    let runs = text.as_bytes().split(|byte| !b"~!@#^&|`?+-*/%<>=".contains(byte));
    runs.map(|run| run.len() * run.len()).sum::<usize>() <= MAX_RUNS
}

/// The scanner knows only the default settings; with others each byte counts, since it may be a token.
fn has_few_tokens(text: &str, lexing: Lexing) -> bool {
    lexing == Lexing::default() && pg_query::scan_tokens(text).is_ok_and(|tokens| tokens.len() <= MAX_TOKENS)
}

fn options(lexing: Lexing) -> ParserOptions {
    let mut options = ParserOptions::DISABLE_ESCAPE_STRING_WARNING;
    if !lexing.standard_conforming_strings {
        options |= ParserOptions::DISABLE_STANDARD_CONFORMING_STRINGS;
    }
    if !lexing.backslash_quote {
        options |= ParserOptions::DISABLE_BACKSLASH_QUOTE;
    }
    options
}

fn too_deep() -> Unreadable {
    Unreadable("its parts are nested too deeply to be read".into())
}

/// The parser's messages quote the text, which may hold literals: only their class is passed on.
fn unreadable(error: Error) -> Unreadable {
    const CLASSES: [(&str, &str); 9] = [
        ("syntax error at end of input", "a syntax error at its end"),
        ("syntax error", "a syntax error"),
        ("unterminated", "a comment, string or quoted name that does not end"),
        ("zero-length delimited identifier", "a quoted name of no characters"),
        ("stack depth limit", "its parts are nested too deeply to be read"),
        ("memory exhausted", "its parts are nested too deeply to be read"),
        ("invalid Unicode", "an invalid Unicode escape"),
        ("trailing junk", "a number or parameter that runs into a name"),
        ("unsafe use of \\'", "a backslash before a quote, which the session's settings forbid"),
    ];
    match error {
        Error::Decode(_) => too_deep(),
        Error::Conversion(_) => Unreadable("a zero byte".into()),
        Error::Parse(message) => {
            let class = CLASSES.iter().find(|(start, _)| message.starts_with(start)).map(|(_, class)| *class);
            Unreadable(class.unwrap_or("an error that PostgreSQL's grammar reports").into())
        }
        _ => Unreadable("an error in the parser".into()),
    }
}
