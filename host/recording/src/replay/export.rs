use std::io::{self, Read, Write};

use portcullis_verdict::{Entry, Medium};
use serde_json::{Value, json};

use super::Renderer;
use crate::format::VERSION;
use crate::reader::{ReadError, Reader};

/// The size of the terminal that an asciicast of a recording without one is for.
const SIZE: (u16, u16) = (120, 40);

/// A version of the asciicast format (<https://docs.asciinema.org/manual/asciicast/v3/>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastVersion {
    /// Version 2: times since the recording began.
    V2,
    /// Version 3: times since the event before.
    V3,
}

/// Why an export is not whole.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The recording cannot be read, or not further; everything before has been exported.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The export cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Exports a recording for asciinema and its like. A terminal's output is exported as it is; of other recordings, what [`Renderer`] shows.
pub fn asciicast<R: Read>(
    reader: &mut Reader<R>,
    version: CastVersion,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let header = reader.header();
    let timestamp = header.started_ms / 1000;
    let (columns, rows, term) = match &header.medium {
        Medium::Terminal { columns, rows, term } => (*columns, *rows, Some(term.as_str())),
        Medium::Results => (SIZE.0, SIZE.1, None),
    };
    let mut first = match version {
        CastVersion::V2 => json!({"version": 2, "width": columns, "height": rows, "timestamp": timestamp}),
        CastVersion::V3 => json!({"version": 3, "term": {"cols": columns, "rows": rows}, "timestamp": timestamp}),
    };
    match (version, term) {
        (_, None) => {}
        (CastVersion::V2, Some(term)) => first["env"] = json!({"TERM": term}),
        (CastVersion::V3, Some(term)) => first["term"]["type"] = term.into(),
    }
    writeln!(out, "{first}")?;
    let renderer = Renderer::new(&header.subject.principal, &header.subject.target);
    let raw = term.is_some();
    Cast { version, out, renderer, raw, text: Utf8::default(), last: 0 }.events(reader)
}

struct Cast<'a, W> {
    version: CastVersion,
    out: &'a mut W,
    renderer: Renderer,
    raw: bool,
    text: Utf8,
    /// When the last event was, in microseconds.
    last: u64,
}

impl<W: Write> Cast<'_, W> {
    fn events<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<(), ExportError> {
        for timed in reader {
            let timed = timed?;
            match &timed.entry {
                Entry::Resize { columns, rows } if self.raw => {
                    self.event(timed.at_micros, 'r', &format!("{columns}x{rows}"))?;
                }
                Entry::Data { channel, data } if self.raw && channel == "terminal" => {
                    let text = self.text.push(data);
                    self.output(timed.at_micros, &text)?;
                }
                entry => {
                    let text = String::from_utf8_lossy(&self.renderer.render(entry)).replace('\n', "\r\n");
                    self.output(timed.at_micros, &text)?;
                }
            }
        }
        self.out.flush()?;
        Ok(())
    }

    fn output(&mut self, at_micros: u64, text: &str) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { self.event(at_micros, 'o', text) }
    }

    fn event(&mut self, at_micros: u64, code: char, data: &str) -> io::Result<()> {
        let time = match self.version {
            CastVersion::V2 => at_micros,
            CastVersion::V3 => at_micros - self.last,
        };
        self.last = at_micros;
        let data = Value::from(data);
        writeln!(self.out, "[{}.{:06}, \"{code}\", {data}]", time / 1_000_000, time % 1_000_000)
    }
}

/// Makes text of bytes that may be split within a character.
#[derive(Default)]
struct Utf8 {
    rest: Vec<u8>,
}

impl Utf8 {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let kept = match self.rest.utf8_chunks().last() {
            // A character that is not whole yet, rather than bytes that cannot be one.
            Some(last) if std::str::from_utf8(last.invalid()).is_err_and(|e| e.error_len().is_none()) => {
                last.invalid().len()
            }
            _ => 0,
        };
        let rest = self.rest.split_off(self.rest.len() - kept);
        String::from_utf8_lossy(&std::mem::replace(&mut self.rest, rest)).into_owned()
    }
}

/// Exports a recording as JSON, a value a line: first what it is of, then its entries.
pub fn json_lines<R: Read>(reader: &mut Reader<R>, out: &mut impl Write) -> Result<(), ExportError> {
    let mut first = serde_json::to_value(reader.header()).map_err(io::Error::from)?;
    first["format"] = "portcullis-recording".into();
    first["version"] = VERSION.into();
    writeln!(out, "{first}")?;
    for timed in reader {
        serde_json::to_writer(&mut *out, &timed?).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use portcullis_verdict::{RecordLevel, Subject, TimedEntry};

    use super::*;
    use crate::format::{self, Closing, ClosingReason, Header};
    use crate::testing::{columns, rows};

    fn recording(medium: Medium, entries: &[(u64, Entry<'_>)]) -> Vec<u8> {
        let header = Header {
            subject: Subject { session: "s".into(), principal: "ann".into(), target: "shop".into() },
            protocol: "postgres".into(),
            medium,
            level: RecordLevel::Results,
            started_ms: 1_700_000_000_123,
        };
        let mut content = Vec::new();
        format::put_header(&mut content, &header).unwrap();
        for (delta, entry) in entries {
            format::put_entry(&mut content, *delta, entry).unwrap();
        }
        format::put_closing(&mut content, 0, Closing { entries: entries.len() as u64, reason: ClosingReason::Session });
        zstd::bulk::compress(&content, 1).unwrap()
    }

    fn cast(file: &[u8], version: CastVersion) -> Vec<Value> {
        let mut out = Vec::new();
        asciicast(&mut Reader::new(file).unwrap(), version, &mut out).unwrap();
        lines(&out)
    }

    fn lines(out: &[u8]) -> Vec<Value> {
        std::str::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn terminal(text: &[u8]) -> Entry<'_> {
        Entry::Data { channel: "terminal".into(), data: Cow::Borrowed(text) }
    }

    #[test]
    fn a_terminal_is_exported_as_it_is() {
        let medium = Medium::Terminal { columns: 80, rows: 24, term: "xterm".into() };
        let (umlaut, euro) = ("\x1b[1mü".as_bytes(), "€".as_bytes());
        let file = recording(
            medium,
            &[
                (1_500_000, terminal(umlaut)),
                (500_000, terminal(&euro[..1])),
                (250_000, terminal(&euro[1..])),
                (1, Entry::Resize { columns: 100, rows: 30 }),
                (1, terminal(b"\xff\"\x00")),
            ],
        );
        let v3 = cast(&file, CastVersion::V3);
        assert_eq!(
            v3[0],
            json!({"version": 3, "term": {"cols": 80, "rows": 24, "type": "xterm"}, "timestamp": 1_700_000_000})
        );
        assert_eq!(v3[1], json!([1.5, "o", "\u{1b}[1mü"]));
        assert_eq!(v3[2], json!([0.75, "o", "€"]));
        assert_eq!(v3[3], json!([0.000_001, "r", "100x30"]));
        assert_eq!(v3[4], json!([0.000_001, "o", "\u{fffd}\"\0"]));
        let v2 = cast(&file, CastVersion::V2);
        assert_eq!(
            v2[0],
            json!({"version": 2, "width": 80, "height": 24, "timestamp": 1_700_000_000, "env": {"TERM": "xterm"}})
        );
        assert_eq!(v2[2], json!([2.25, "o", "€"]));
        assert_eq!(v2.len(), 5);
    }

    #[test]
    fn results_are_exported_as_a_terminal_would_show_them() {
        let entries = [
            (0, Entry::Command { sequence: 1, text: "SELECT '\x1b'".into() }),
            (10, columns(&[("a", "text")])),
            (10, rows(&[&[Some("1")]])),
            (10, Entry::End { sequence: 1, tag: "SELECT 1".into() }),
        ];
        let v3 = cast(&recording(Medium::Results, &entries), CastVersion::V3);
        assert_eq!(v3[1], json!([0.0, "o", "ann@shop=> SELECT '\\u{1b}'\r\n"]));
        assert_eq!(v3[2], json!([0.000_02, "o", " a\r\n---\r\n 1\r\n"]));
        assert_eq!(v3[3], json!([0.000_01, "o", "(1 row)\r\nSELECT 1\r\n"]));
    }

    #[test]
    fn lines_of_json_are_read_back_as_the_entries() {
        let entry = rows(&[&[Some("1"), None]]);
        let file = recording(Medium::Results, &[(7, entry.clone())]);
        let mut out = Vec::new();
        json_lines(&mut Reader::new(&file[..]).unwrap(), &mut out).unwrap();
        let lines = lines(&out);
        assert_eq!(lines[0]["format"], "portcullis-recording");
        assert_eq!(lines[0]["subject"]["principal"], "ann");
        let read: TimedEntry = serde_json::from_value(lines[1].clone()).unwrap();
        assert_eq!(read, TimedEntry { at_micros: 7, entry });
    }

    #[test]
    fn what_a_cut_recording_holds_is_exported_before_the_error() {
        let mut content = Vec::new();
        let whole = recording(Medium::Results, &[(0, Entry::End { sequence: 1, tag: "BEGIN".into() })]);
        content.extend_from_slice(&zstd::bulk::decompress(&whole, 1 << 20).unwrap());
        let cut = zstd::bulk::compress(&content[..content.len() - 3], 1).unwrap();
        let mut out = Vec::new();
        let error = asciicast(&mut Reader::new(&cut[..]).unwrap(), CastVersion::V3, &mut out).unwrap_err();
        assert!(matches!(error, ExportError::Read(ReadError::Cut { entries: 1, .. })), "{error}");
        assert_eq!(lines(&out).len(), 2);
        out.clear();
        assert!(json_lines(&mut Reader::new(&cut[..]).unwrap(), &mut out).is_err());
        assert_eq!(lines(&out).len(), 2);
    }
}
