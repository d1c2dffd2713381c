//! Tables and stories for terminals. What came from elsewhere is escaped: a query must not drive the reader's terminal.

mod approval;
mod story;

use std::fmt::Write;

use portcullis_verdict::{Event, Head, LiveSession, RecordedSession};

pub(crate) use approval::{approval, approvals, change};
pub(crate) use portcullis_recording::replay::{safe, safe_lines};
pub(crate) use story::{found, input, read_in, story};

use crate::time::shown as time;

/// JSON in which nothing drives the reader's terminal: it escapes controls only, and the terminal's other tricks are escaped here.
pub(crate) fn json_lines(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n'
            || (c.is_ascii() && !c.is_ascii_control())
            || safe(c.encode_utf8(&mut [0; 4])).len() == c.len_utf8()
        {
            out.push(c);
        } else {
            // Such characters stand within texts only.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// An error with what caused it. Some errors tell their cause in their own text, and it is not told twice.
pub(crate) fn reasons(error: &anyhow::Error) -> String {
    let mut told = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// Left-aligned columns, each as wide as its widest cell.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).chain([header[i].len()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    for row in std::iter::once(&header.map(String::from)).chain(rows) {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}

/// The sessions that are open now.
pub(crate) fn live(sessions: &[LiveSession]) -> String {
    let rows: Vec<_> = sessions.iter().map(live_row).collect();
    match rows.as_slice() {
        [] => "no session is open\n".into(),
        rows => table(["SESSION", "WHO", "TARGET", "FROM", "SINCE", "COMMANDS"], rows),
    }
}

fn live_row(s: &LiveSession) -> [String; 6] {
    [
        safe(&s.id),
        safe(&s.principal),
        safe(&s.target),
        safe(&s.client_address),
        time(s.opened_ms),
        s.commands.to_string(),
    ]
}

/// The newest recorded sessions.
pub(crate) fn recent(sessions: &[RecordedSession]) -> String {
    let row = |RecordedSession { opening, ended }: &RecordedSession| match &opening.event {
        Event::Open(open) => Some([
            time(opening.at_ms),
            safe(&open.subject.session),
            safe(&open.subject.principal),
            safe(&open.subject.target),
            safe(&open.client_address),
            match (&open.refused, ended) {
                (Some(why), _) => format!("refused: {}", safe(why)),
                (None, Some(how)) => format!("ended: {}", safe(how)),
                (None, None) => "open".into(),
            },
        ]),
        _ => None,
    };
    let rows: Vec<_> = sessions.iter().filter_map(row).collect();
    match rows.as_slice() {
        [] => "no session is recorded\n".into(),
        rows => table(["TIME", "SESSION", "WHO", "TARGET", "FROM", "OUTCOME"], rows),
    }
}

/// How far a log has come.
pub(crate) fn head(head: &Head) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| out.push_str(&format!("{name:<11}{}\n", safe(&value)));
    line("log", head.log.clone());
    match head.base {
        0 => line("events", format!("1 to {}", head.last)),
        base => line("events", format!("{} to {}; those before were pruned", base + 1, head.last)),
    }
    line("signed", format!("up to event {}", head.checkpoint));
    line("key", head.public_key.clone());
    line("hash", head.hash.clone());
    out
}

/// A text on lines of its own; where a line begins is visible.
fn quote(out: &mut String, lead: &str, text: &str) {
    for line in text.split('\n') {
        let _ = writeln!(out, "  {lead}| {}", safe(line.strip_suffix('\r').unwrap_or(line)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_verdict::{OpenEvent, StoredEvent, Subject};

    use super::*;

    pub(super) fn subject(session: &str, principal: &str, target: &str) -> Arc<Subject> {
        Arc::new(Subject { session: session.into(), principal: principal.into(), target: target.into() })
    }

    #[test]
    fn json_stays_json_and_does_not_drive_the_terminal() {
        let value = serde_json::json!({ "a": "\u{202e}\u{9b}31m\u{e0041}\u{7f}\n", "b": "Straße 🦀" });
        let shown = json_lines(&format!("{value:#}\n"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(shown.contains("\\u202e\\u009b31m\\udb40\\udc41\\u007f\\n") && shown.contains("Straße 🦀"), "{shown}");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("no such file").context("a.toml cannot be read: no such file").context("stopped");
        assert_eq!(reasons(&error), "stopped: a.toml cannot be read: no such file");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["äöü".into(), "b".into()], ["c".into(), String::new()]];
        assert_eq!(table(["A", "LONG"], &rows), "A    LONG\näöü  b\nc\n");
    }

    #[test]
    fn a_recorded_session_is_open_ended_or_refused() {
        let session = |refused: Option<&str>, ended: Option<&str>| RecordedSession {
            opening: StoredEvent {
                number: 1,
                at_ms: 0,
                event: Event::Open(OpenEvent {
                    subject: subject("s", "ann", "shop"),
                    protocol: "postgres".into(),
                    groups: vec![],
                    credential: "none".into(),
                    client_address: "::1".into(),
                    reason: None,
                    refused: refused.map(Into::into),
                }),
            },
            ended: ended.map(Into::into),
        };
        let sessions = [session(None, None), session(None, Some("the client left")), session(Some("wrong\n"), None)];
        // As the command line gets them.
        let sent = serde_json::to_string(&sessions).unwrap();
        let told = recent(&serde_json::from_str::<Vec<_>>(&sent).unwrap());
        let outcomes: Vec<_> = told.lines().skip(1).map(|line| line.split_once("::1   ").unwrap().1).collect();
        assert_eq!(outcomes, ["open", "ended: the client left", "refused: wrong\\n"], "{told}");
    }
}
