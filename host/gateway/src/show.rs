//! Tables and stories for terminals. What came from elsewhere is escaped: a query must not drive the reader's terminal.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use portcullis_verdict::{
    ApprovalView, CommandEvent, Event, FinishEvent, LiveSession, OpenEvent, RecordedSession, StoredEvent,
};

/// Text on one line: everything that could move the cursor or reorder what is shown is escaped.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Controls, and the invisible characters that reorder or hide text.
        let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
        if c.is_control() || hidden {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same, but lines stay lines.
pub(crate) fn safe_lines(text: &str) -> String {
    text.split('\n').map(safe).collect::<Vec<_>>().join("\n")
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
            safe(&open.session),
            safe(&open.principal),
            safe(&open.target),
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

/// What happened in a session, in order.
pub(crate) fn story(events: &[StoredEvent]) -> String {
    let mut out = String::new();
    for stored in events {
        let at = time(stored.at_ms);
        let told = match &stored.event {
            Event::Open(open) => opened(open),
            Event::Command(command) => commanded(command),
            Event::Finish(finish) => finished(finish),
            Event::Close { reason, .. } => format!("session ended: {}\n", safe(reason)),
            Event::Approval { sequence, approval, what, by, reason, .. } => {
                let by = if by.is_empty() { String::new() } else { format!(" by {}", safe(by)) };
                let reason = if reason.is_empty() { String::new() } else { format!(": {}", safe(reason)) };
                format!("#{sequence} approval {} {}{by}{reason}\n", safe(approval), safe(what))
            }
        };
        let mut lines = told.lines();
        let _ = writeln!(out, "{at}  {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(out, "{:1$}  {line}", "", at.len());
        }
    }
    out
}

fn opened(open: &OpenEvent) -> String {
    let OpenEvent { session, protocol, principal, groups, credential, target, client_address, reason, refused } = open;
    let groups = if groups.is_empty() { String::new() } else { format!(" ({})", safe(&groups.join(", "))) };
    let verb = if refused.is_some() { "was refused" } else { "opened" };
    let mut out = format!("{}{groups} {verb} {} over {}\n", safe(principal), safe(target), safe(protocol));
    let _ = writeln!(out, "session {} from {} by {}", safe(session), safe(client_address), safe(credential));
    if let Some(reason) = reason {
        let _ = writeln!(out, "reason given: {}", safe(reason));
    }
    if let Some(why) = refused {
        let _ = writeln!(out, "why: {}", safe(why));
    }
    out
}

fn commanded(command: &CommandEvent) -> String {
    let outcome = command.outcome.to_uppercase();
    let mut out = format!("#{} {} ({})\n", command.sequence, safe(&outcome), safe(&command.phase));
    quote(&mut out, "", &command.text);
    if let Some(text) = &command.rewrite {
        quote(&mut out, "ran instead: ", text);
    }
    if let Some(message) = &command.message {
        let _ = writeln!(out, "  why: {}", safe(message));
    }
    for answer in &command.answers {
        let monitor = if answer.mode == portcullis_verdict::Mode::Monitor { " (monitor)" } else { "" };
        let message = if answer.message.is_empty() { String::new() } else { format!(": {}", safe(&answer.message)) };
        let _ = writeln!(out, "  {}{monitor} said {}{message}", safe(&answer.policy), safe(&answer.verdict));
        for finding in &answer.findings {
            let _ = writeln!(out, "    {}: {}", safe(&finding.rule), safe(&finding.message));
        }
    }
    if let Some(approval) = &command.approval {
        let _ = writeln!(out, "  approval {}", safe(approval));
    }
    out
}

fn finished(finish: &FinishEvent) -> String {
    let FinishEvent { sequence, tag, rows, bytes, masked, micros, error, session: _ } = finish;
    let how = match error {
        Some(error) => format!("failed: {}", safe(error)),
        None => format!("done: {}", safe(tag)),
    };
    let millis = *micros as f64 / 1000.0;
    format!("#{sequence} {how}; {rows} rows, {bytes} bytes, {masked} masked cells, {millis:.1} ms\n")
}

/// A text on lines of its own; where a line begins is visible.
fn quote(out: &mut String, lead: &str, text: &str) {
    for line in text.split('\n') {
        let _ = writeln!(out, "  {lead}| {}", safe(line.strip_suffix('\r').unwrap_or(line)));
    }
}

/// Approval requests in a table.
pub(crate) fn approvals(views: &[ApprovalView]) -> String {
    let row = |view: &ApprovalView| {
        let line = safe(view.text.lines().next().unwrap_or_default());
        let text: String = line.chars().take(60).collect();
        let more = if text.len() < safe(&view.text).len() { "…" } else { "" };
        let progress = format!("{}/{}", view.approvers.len(), quorum(view));
        [
            safe(&view.id),
            state(view),
            safe(&view.principal),
            safe(&view.target),
            progress,
            time(view.expires_ms),
            text + more,
        ]
    };
    let rows: Vec<_> = views.iter().map(row).collect();
    match rows.as_slice() {
        [] => "nothing waits for approval\n".into(),
        rows => table(["ID", "STATE", "WHO", "TARGET", "APPROVED", "UNTIL", "COMMAND"], rows),
    }
}

/// One approval request, with the exact text that would run.
pub(crate) fn approval(view: &ApprovalView) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<10}{}\n", safe(value)));
    line("approval", &view.id);
    line("state", &state(view));
    line("who", &view.principal);
    line("target", &view.target);
    line("session", &format!("{}, command {}", view.session, view.sequence));
    line("opened", &time(view.opened_ms));
    line("until", &time(view.expires_ms));
    if let Some(reason) = &view.reason {
        line("reason", reason);
    }
    for demand in &view.demands {
        let (terms, groups) = (&demand.terms, demand.terms.any_of.join(", "));
        line("demanded", &format!("by {}: {}", demand.policy, terms.reason));
        line("", &format!("{} of {groups}", people(terms.quorum)));
    }
    if !view.approvers.is_empty() {
        line("approved", &format!("by {}", view.approvers.join(", ")));
    }
    if let Some(decided) = &view.decided {
        line("ended", decided);
    }
    line("sha256", &view.digest);
    out.push_str("what would run:\n");
    quote(&mut out, "", &view.text);
    for (index, parameter) in view.parameters.iter().enumerate() {
        quote(&mut out, &format!("${} = ", index + 1), parameter);
    }
    out
}

fn state(view: &ApprovalView) -> String {
    format!("{:?}", view.state).to_lowercase()
}

fn quorum(view: &ApprovalView) -> u32 {
    view.demands.iter().map(|demand| demand.terms.quorum).max().unwrap_or(1)
}

fn people(count: u32) -> String {
    if count == 1 { "1 person".into() } else { format!("{count} different people") }
}

/// A time in UTC, to the second.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "-".into(), |t| t.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal() {
        let text = "SELECT '\x1b[2J\u{9b}31m'\r\n-- \u{202e}txet\u{200b}\x07";
        assert_eq!(safe(text), "SELECT '\\u{1b}[2J\\u{9b}31m'\\r\\n-- \\u{202e}txet\\u{200b}\\u{7}");
        assert_eq!(safe("Straße – 東京 🦀 'x' \\n"), "Straße – 東京 🦀 'x' \\n");
        assert_eq!(safe_lines("a\n\x1bb\n"), "a\n\\u{1b}b\n");
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
                    session: "s".into(),
                    protocol: "postgres".into(),
                    principal: "ann".into(),
                    groups: vec![],
                    credential: "none".into(),
                    target: "shop".into(),
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

    #[test]
    fn a_story_names_commands_policies_and_masked_cells() {
        let answer = portcullis_verdict::AnswerRecord {
            policy: "no-destructive-sql".into(),
            digest: "ab".into(),
            mode: portcullis_verdict::Mode::Monitor,
            verdict: "deny".into(),
            message: "DELETE without WHERE".into(),
            findings: vec![portcullis_verdict::Finding { rule: "no-where".into(), message: "orders".into() }],
        };
        let command = CommandEvent {
            session: "s".into(),
            sequence: 7,
            kind: "sql".into(),
            phase: "execute".into(),
            text: "DELETE\nFROM orders\x1b[0m".into(),
            rewrite: Some("SELECT 1".into()),
            verbs: vec![],
            effects: portcullis_verdict::Effects::empty(),
            outcome: "deny".into(),
            message: Some("not here".into()),
            answers: vec![answer],
            approval: Some("k7wz".into()),
        };
        let finish = FinishEvent {
            session: "s".into(),
            sequence: 7,
            tag: "SELECT 3".into(),
            rows: 3,
            bytes: 30,
            masked: 2,
            micros: 1500,
            error: None,
        };
        let at = |number, event| StoredEvent { number, at_ms: 1_700_000_000_000, event };
        let told = story(&[at(1, Event::Command(command)), at(2, Event::Finish(finish))]);
        let expected = "\
2023-11-14 22:13:20Z  #7 DENY (execute)
                        | DELETE
                        | FROM orders\\u{1b}[0m
                        ran instead: | SELECT 1
                        why: not here
                        no-destructive-sql (monitor) said deny: DELETE without WHERE
                          no-where: orders
                        approval k7wz
2023-11-14 22:13:20Z  #7 done: SELECT 3; 3 rows, 30 bytes, 2 masked cells, 1.5 ms
";
        assert_eq!(told, expected);
    }
}
