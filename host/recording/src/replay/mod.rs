//! Recordings for people: on a terminal, as they happened, and in formats of other programs.
//!
//! Whatever comes from elsewhere is escaped, so that nothing recorded drives the reader's terminal. The output of a recorded terminal is
//! passed on, since there is no other way to show it, but without what does more than show.

mod export;
mod player;
mod safe;
mod terminal;
mod values;

use std::fmt::Write;

use portcullis_verdict::{Entry, RecordedColumn};

pub use export::{CastVersion, ExportError, asciicast, json_lines};
pub use player::{Piece, Play, Player};
pub use safe::{safe, safe_lines};

use terminal::Filter;
use values::{Rows, is_number, show};

/// A column is padded to this width at most; longer values stand as they are.
const MAX_WIDTH: usize = 80;

/// Turns entries into what a terminal shows. Of a result it keeps no more than an entry of rows at a time: the widths of its columns are
/// those that its first rows need.
pub struct Renderer {
    prompt: String,
    columns: Vec<RecordedColumn>,
    widths: Vec<usize>,
    /// Rows of the result so far, also those that were skipped; none where there is no result.
    rows: Option<u64>,
    terminal: Filter,
}

impl Renderer {
    /// For a session of a principal at a target, which the prompt names.
    pub fn new(principal: &str, target: &str) -> Self {
        let prompt = format!("{}@{}", safe(principal), safe(target));
        Self { prompt, columns: Vec::new(), widths: Vec::new(), rows: None, terminal: Filter::default() }
    }

    /// What an entry shows, which may be nothing yet. It is UTF-8, except for a recorded terminal's output.
    pub fn render(&mut self, entry: &Entry<'_>) -> Vec<u8> {
        let mut out = String::new();
        match entry {
            Entry::Command { text, .. } => self.command(&mut out, text),
            Entry::Columns { columns } => self.begin(&mut out, columns),
            Entry::Rows { count, data } => self.table(&mut out, *count, data),
            Entry::Data { channel, data } if channel == "terminal" => return self.terminal.pass(data),
            Entry::Data { channel, data } if channel == crate::format::ROWS_CHANNEL => {
                let _ = writeln!(out, "[{} bytes of rows that are too long to be shown]", data.len());
            }
            Entry::Data { data, .. } => out = safe_lines(&String::from_utf8_lossy(data)),
            Entry::Message { severity, code, text } => {
                let code = if code.is_empty() { String::new() } else { format!(" {}", safe(code)) };
                let _ = writeln!(out, "{}{code}: {}", safe(severity), safe_lines(text));
            }
            Entry::End { tag, .. } => self.end(&mut out, tag),
            Entry::Resize { .. } => {}
        }
        out.into_bytes()
    }

    /// Takes note of an entry that is not shown.
    pub fn skip(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Rows { count, .. } => self.rows = Some(self.rows.unwrap_or(0) + u64::from(*count)),
            entry => {
                self.render(entry);
            }
        }
    }

    fn command(&mut self, out: &mut String, text: &str) {
        self.finish(out);
        let text = safe_lines(&text.replace("\r\n", "\n"));
        for (index, line) in text.trim_end_matches('\n').split('\n').enumerate() {
            let sign = if index == 0 { '=' } else { '-' };
            let _ = writeln!(out, "{}{sign}> {line}", self.prompt);
        }
    }

    fn begin(&mut self, out: &mut String, columns: &[RecordedColumn]) {
        self.finish(out);
        self.columns = columns.to_vec();
        self.rows = Some(0);
    }

    fn end(&mut self, out: &mut String, tag: &str) {
        self.finish(out);
        if !tag.is_empty() {
            let _ = writeln!(out, "{}", safe(tag));
        }
    }

    /// Ends the result before, if there is one.
    fn finish(&mut self, out: &mut String) {
        if let Some(rows) = self.rows.take() {
            if rows == 0 {
                self.header(out, &[]);
            }
            let _ = writeln!(out, "({rows} {})", if rows == 1 { "row" } else { "rows" });
        }
        self.columns.clear();
        self.widths.clear();
    }

    fn table(&mut self, out: &mut String, count: u32, data: &[u8]) {
        let mut rows = Rows::new(data);
        if self.widths.is_empty() {
            // The first rows are looked at twice, so that one entry's cells are not all held at once.
            let first: Vec<_> = Rows::new(data).take(1000).map(|row| self.cells(&row)).collect();
            self.header(out, &first);
        }
        for row in rows.by_ref() {
            let cells = self.cells(&row);
            self.line(out, &cells);
        }
        if rows.broken {
            out.push_str("[rows that cannot be read]\n");
        }
        self.rows = Some(self.rows.unwrap_or(0) + u64::from(count));
    }

    fn cells(&self, row: &[Option<&[u8]>]) -> Vec<String> {
        row.iter().enumerate().map(|(index, value)| show(*value, self.columns.get(index))).collect()
    }

    /// Fixes the widths and writes the columns' names.
    fn header(&mut self, out: &mut String, first: &[Vec<String>]) {
        let names: Vec<String> = self.columns.iter().map(|column| safe(&column.name)).collect();
        let width = |text: &String| text.chars().count().clamp(1, MAX_WIDTH);
        self.widths = names.iter().map(width).collect();
        for row in first {
            for (widest, cell) in self.widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        if names.is_empty() {
            return;
        }
        self.line(out, &names);
        let rules: Vec<String> = self.widths.iter().map(|width| "-".repeat(width + 2)).collect();
        let _ = writeln!(out, "{}", rules.join("+"));
    }

    fn line(&self, out: &mut String, cells: &[String]) {
        let begin = out.len();
        for (index, cell) in cells.iter().enumerate() {
            let width = self.widths.get(index).copied().unwrap_or(0);
            let lead = if index == 0 { " " } else { " | " };
            let _ = match self.columns.get(index).is_some_and(is_number) {
                true => write!(out, "{lead}{cell:>width$}"),
                false => write!(out, "{lead}{cell:width$}"),
            };
        }
        let end = begin + out.get(begin..).unwrap_or_default().trim_end().len();
        out.truncate(end);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::testing::{columns, rows};

    fn shown(entries: &[Entry<'_>]) -> String {
        let mut renderer = Renderer::new("ann", "shop");
        entries.iter().map(|entry| String::from_utf8(renderer.render(entry)).unwrap()).collect()
    }

    fn command(text: &str) -> Entry<'_> {
        Entry::Command { sequence: 1, text: text.into() }
    }

    fn end(tag: &str) -> Entry<'_> {
        Entry::End { sequence: 1, tag: tag.into() }
    }

    #[test]
    fn a_result_is_a_table() {
        let told = shown(&[
            command("SELECT id, name\nFROM users;"),
            columns(&[("id", "int4"), ("name", "text")]),
            rows(&[&[Some("1"), Some("Ann")], &[Some("12"), None]]),
            rows(&[&[Some("123"), Some("two\nlines")]]),
            end("SELECT 3"),
            command("SELECT 1 WHERE false"),
            columns(&[("?column?", "int4")]),
            end("SELECT 0"),
            command("DELETE FROM x"),
            Entry::Message { severity: "ERROR".into(), code: "42P01".into(), text: "no such table\nHINT: look".into() },
            end(""),
        ]);
        let expected = "\
ann@shop=> SELECT id, name
ann@shop-> FROM users;
 id | name
----+------
  1 | Ann
 12 | ∅
 123 | two\\nlines
(3 rows)
SELECT 3
ann@shop=> SELECT 1 WHERE false
 ?column?
----------
(0 rows)
SELECT 0
ann@shop=> DELETE FROM x
ERROR 42P01: no such table
HINT: look
";
        assert_eq!(told, expected);
    }

    #[test]
    fn a_result_behind_another_has_a_table_of_its_own() {
        let (a, b) = (columns(&[("a", "text")]), columns(&[("long", "text")]));
        let told = shown(&[a, rows(&[&[Some("1")]]), b, rows(&[&[Some("2")]]), end("")]);
        assert_eq!(told, " a\n---\n 1\n(1 row)\n long\n------\n 2\n(1 row)\n");
    }

    #[test]
    fn whatever_is_recorded_does_not_drive_the_terminal() {
        let evil = "\x1b]52;c;x\x07\u{202e}";
        let told = shown(&[
            command(evil),
            Entry::Columns {
                columns: vec![RecordedColumn { name: evil.into(), type_name: evil.into(), binary: false }],
            },
            rows(&[&[Some(evil)]]),
            Entry::Message { severity: evil.into(), code: evil.into(), text: evil.into() },
            Entry::Data { channel: "copy".into(), data: Cow::Borrowed(evil.as_bytes()) },
            end(evil),
        ]);
        assert!(told.contains("\\u{202e}"));
        assert!(!told.contains(['\x1b', '\x07', '\u{202e}']), "{told:?}");
        let told = String::from_utf8(Renderer::new(evil, evil).render(&command("x"))).unwrap();
        assert!(!told.contains(['\x1b', '\x07', '\u{202e}']), "{told:?}");
    }

    #[test]
    fn rows_that_are_not_rows_are_said_to_be_so() {
        let junk = Entry::Rows { count: 1, data: Cow::Borrowed(&[0, 9, 1]) };
        assert!(shown(&[columns(&[("a", "text")]), junk.clone()]).contains("[rows that cannot be read]"));
        // Rows without columns, and more values than columns.
        assert_eq!(shown(&[rows(&[&[Some("1")]])]), " 1\n");
        assert!(shown(&[columns(&[("a", "text")]), rows(&[&[Some("1"), Some("2")]])]).contains(" 1 | 2\n"));
    }

    #[test]
    fn after_skipped_rows_the_table_has_its_header_and_counts_all() {
        let mut renderer = Renderer::new("ann", "shop");
        renderer.skip(&command("SELECT"));
        renderer.skip(&columns(&[("a", "text")]));
        renderer.skip(&rows(&[&[Some("1")]]));
        let told = [rows(&[&[Some("2")]]), end("SELECT 2")].map(|e| String::from_utf8(renderer.render(&e)).unwrap());
        assert_eq!(told.concat(), " a\n---\n 2\n(2 rows)\nSELECT 2\n");
    }
}
