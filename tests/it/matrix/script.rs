//! Conversations written down, a message a line, so that a table of them can be read:
//!
//! ```text
//! # what it is about
//! Q select 1                       a query
//! P s select $1::text              a Parse: a name, or `-` for none, and the text
//! B p s / 1 x / 1                  a Bind: portal, statement, parameters, format codes of the result
//! D S s | C P p | E p 3            Describe and Close of a statement or portal; Execute of a portal, with a limit of rows
//! S | H | d data | c | f           Sync, Flush; data of a COPY, its end and its failure
//! F                                a function call
//! = T D C ZI                       what has come since the last such line
//! ```

use crate::raw::{Answer, Raw, bind, close, describe, execute, flush, message, parse, query, sync};

/// A conversation.
pub(super) struct Script {
    pub(super) title: &'static str,
    lines: Vec<&'static str>,
}

/// Reads a table of conversations.
pub(super) fn scripts(table: &'static str) -> Vec<Script> {
    let mut scripts: Vec<Script> = vec![];
    for line in table.lines().filter(|line| !line.is_empty()) {
        match (line.strip_prefix("# "), scripts.last_mut()) {
            (Some(title), _) => scripts.push(Script { title, lines: vec![] }),
            (None, Some(script)) => script.lines.push(line),
            (None, None) => panic!("a line before the first title: {line}"),
        }
    }
    scripts
}

impl Script {
    /// Plays it: what came, and for each `=` what should have come and did.
    pub(super) fn play(&self, raw: &mut Raw) -> (Vec<Answer>, Vec<(&'static str, String)>) {
        let (mut answers, mut compared) = (vec![], vec![]);
        let (mut copies, mut since) = (None, 0);
        for line in &self.lines {
            if let Some(expected) = line.strip_prefix("= ") {
                let stories: Vec<String> = answers.iter().skip(since).map(Answer::story).collect();
                compared.push((expected, stories.join(" ")));
                since = answers.len();
                continue;
            }
            raw.send(&self.message(line));
            // A Query and a Sync are answered, unless the server waits for data; so is the data of a COPY that a Query began.
            let kind = line.as_bytes()[0];
            let answered = match kind {
                b'Q' | b'S' | b'F' => true,
                b'c' | b'f' => copies.take() == Some(b'Q'),
                _ => false,
            };
            if answered {
                let answer = raw.until_any(b"ZG");
                copies = answer.bodies(b'G').next().map(|_| kind);
                answers.push(answer);
            }
        }
        (answers, compared)
    }

    fn message(&self, line: &str) -> Vec<u8> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let name = |name: &'_ str| if name == "-" { String::new() } else { name.to_owned() };
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match kind {
            "Q" => query(rest),
            "P" => parse(&name(first), more),
            "B" => {
                let parts: Vec<Vec<&str>> = rest.split('/').map(|part| part.split_whitespace().collect()).collect();
                let [names, parameters, formats] = &parts[..] else { panic!("{}: {line}", self.title) };
                let formats: Vec<u16> = formats.iter().map(|format| format.parse().unwrap()).collect();
                bind(&name(names[0]), &name(names[1]), parameters, &formats)
            }
            "D" => describe(first.as_bytes()[0], &name(more)),
            "C" => close(first.as_bytes()[0], &name(more)),
            "E" => execute(&name(first), more.parse().unwrap()),
            "S" => sync(),
            "H" => flush(),
            "d" => message(b'd', rest.replace("\\t", "\t").replace("\\n", "\n").as_bytes()),
            "c" => message(b'c', b""),
            "f" => message(b'f', b"enough\0"),
            "F" => message(b'F', &[0; 12]),
            _ => panic!("{}: {line}", self.title),
        }
    }
}
