//! The log as it is exported: events in order, and the checkpoints that vouch for them.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use portcullis_verdict::{ChainedEvent, Checkpoint, Head};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::Value;

use crate::client::Client;

/// The longest line of an export.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// A line of an export.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Line {
    Event(ChainedEvent),
    Checkpoint(Checkpoint),
}

/// Hands over the log of a running gateway from behind an event up to where it stands: first the checkpoint in which the chain begins
/// there, if there is one, and each other checkpoint behind the event that it is for.
pub(super) fn of_gateway(
    client: &Client,
    head: &Head,
    after: u64,
    mut take: impl FnMut(Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let checkpoints_after = if after <= head.base {
        take(Line::Checkpoint(head.origin.clone()))?;
        head.base
    } else {
        after - 1
    };
    let all = |path, after: u64| (path, Some(after.to_string()));
    let (path, cursor) = all("audit/checkpoints", checkpoints_after);
    let mut checkpoints = client.items::<Checkpoint>(path, &[], cursor, usize::MAX).peekable();
    let (path, cursor) = all("audit/export", after);
    let mut vouch = |up_to: u64, take: &mut dyn FnMut(Line) -> anyhow::Result<()>| -> anyhow::Result<()> {
        while let Some(next) = checkpoints.next_if(|next| next.as_ref().map_or(true, |next| next.number <= up_to)) {
            take(Line::Checkpoint(next?))?;
        }
        Ok(())
    };
    for event in client.items::<ChainedEvent>(path, &[], cursor, usize::MAX) {
        let event = event?;
        // A gateway at work writes faster than its log can be followed to an end.
        if event.stored.number > head.last {
            break;
        }
        vouch(event.stored.number - 1, &mut take)?;
        take(Line::Event(event))?;
    }
    vouch(head.last, &mut take)
}

/// A line of a file that is none of an export.
#[derive(Debug, PartialEq)]
pub(crate) struct Junk {
    /// Its number in the file, from 1.
    pub(crate) number: u64,
    /// It is an event of the Open Cybersecurity Schema Framework.
    pub(crate) is_ocsf: bool,
    why: String,
}

impl Junk {
    fn new(number: u64, line: &[u8], error: &serde_json::Error) -> Self {
        #[derive(Deserialize)]
        struct Ocsf {
            #[serde(rename = "class_uid")]
            _class_uid: u64,
        }
        let why = error.to_string();
        // It counts from the beginning of this line, and tells nothing.
        let why = why.rsplit_once(" at line ").map_or(&*why, |(why, _)| why).to_owned();
        Self { number, is_ocsf: serde_json::from_slice::<Ocsf>(line).is_ok(), why }
    }
}

impl fmt::Display for Junk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.why)
    }
}

/// Hands over each line of an export, or why it is none.
pub(crate) fn of_file(
    path: &Path,
    mut take: impl FnMut(Result<Line, Junk>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let unread = || format!("{} cannot be read", path.display());
    let mut file = BufReader::new(File::open(path).with_context(unread)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line).with_context(unread)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 == MAX_LINE_BYTES {
            bail!("{}: line {number} is longer than {MAX_LINE_BYTES} bytes", path.display());
        }
        take(parse(&line).map_err(|error| Junk::new(number, &line, &error)))?;
    }
    Ok(())
}

/// A line, if it says nothing but what is verified: people read it.
fn parse(line: &[u8]) -> serde_json::Result<Line> {
    let value: Value = serde_json::from_slice(line)?;
    let line = Line::deserialize(&value)?;
    let (kind, mut again) = match &line {
        Line::Event(event) => ("event", serde_json::to_value(event)?),
        Line::Checkpoint(checkpoint) => ("checkpoint", serde_json::to_value(checkpoint)?),
    };
    again["type"] = kind.into();
    if again == value { Ok(line) } else { Err(serde_json::Error::custom("it has members that no export has")) }
}

/// The checkpoints in a file to which they were sent. Events beside them do not matter.
pub(super) fn checkpoints(path: &Path) -> anyhow::Result<Vec<Checkpoint>> {
    let (mut checkpoints, shown) = (Vec::new(), path.display());
    of_file(path, |line| {
        match line {
            Ok(Line::Checkpoint(checkpoint)) => checkpoints.push(checkpoint),
            Ok(Line::Event(_)) => {}
            Err(junk) if junk.is_ocsf => {}
            Err(junk) => bail!("{shown} holds something else than events and checkpoints: {junk}"),
        }
        Ok(())
    })?;
    if checkpoints.is_empty() {
        bail!("{shown} holds no checkpoints; was it written by a sink with `send = \"checkpoints\"`?");
    }
    Ok(checkpoints)
}

#[cfg(test)]
pub(super) mod tests {
    use portcullis_deliver::{Format, checkpoint_line, event_line};
    use portcullis_verdict::{Event, StoredEvent, SystemEvent};

    use super::*;
    use crate::client::tests::{answer, scripted};

    pub(crate) fn checkpoint(number: u64) -> Checkpoint {
        let text = |text: &str| text.to_owned();
        Checkpoint { log: text("l"), number, at_ms: 1, hash: text("h"), key: text("k"), signature: text("s") }
    }

    fn event(number: u64) -> ChainedEvent {
        let event = Event::System(SystemEvent { what: "started".into(), by: "\u{202e}".into(), detail: String::new() });
        ChainedEvent { stored: StoredEvent { number, at_ms: 1, event }, encoded: "AA==".into(), hash: "h".into() }
    }

    fn head(base: u64, last: u64) -> Head {
        let text = |text: &str| text.to_owned();
        let origin = checkpoint(base);
        Head { log: text("l"), public_key: text("k"), base, origin, last, checkpoint: last, hash: text("h") }
    }

    fn page<T: serde::Serialize>(items: &[T], next: Option<u64>) -> String {
        let next = next.map(|next| next.to_string());
        answer("200 OK", &serde_json::json!({ "items": items, "next": next }).to_string())
    }

    /// Numbers of events, and of checkpoints with a minus.
    fn lines(client: &Client, head: &Head, after: u64) -> Vec<i64> {
        let mut lines = Vec::new();
        of_gateway(client, head, after, |line| {
            lines.push(match line {
                Line::Event(event) => event.stored.number as i64,
                Line::Checkpoint(checkpoint) => -(checkpoint.number as i64),
            });
            Ok(())
        })
        .unwrap();
        lines
    }

    #[test]
    fn checkpoints_stand_behind_their_events_and_the_first_before_all() {
        let (client, server) = scripted(vec![
            page(&[event(4), event(5)], Some(5)),
            page(&[checkpoint(5)], Some(5)),
            page(&[event(6), event(7), event(8)], None),
            page(&[checkpoint(7), checkpoint(9)], None),
        ]);
        assert_eq!(lines(&client, &head(3, 7), 0), [-3, 4, 5, -5, 6, 7, -7]);
        let asked = server.join().unwrap();
        assert_eq!(asked[0], "GET /v1/audit/export?limit=1000&cursor=0");
        assert_eq!(asked[1], "GET /v1/audit/checkpoints?limit=1000&cursor=3");
    }

    #[test]
    fn a_part_of_a_log_begins_with_the_checkpoint_before_it() {
        let (client, server) = scripted(vec![page(&[event(6)], None), page(&[checkpoint(5), checkpoint(6)], None)]);
        assert_eq!(lines(&client, &head(0, 6), 5), [-5, 6, -6]);
        assert_eq!(server.join().unwrap()[1], "GET /v1/audit/checkpoints?limit=1000&cursor=4");
    }

    #[test]
    fn an_exported_line_is_read_back() {
        let path = crate::config::scratch("lines").join("audit.jsonl");
        let text =
            [checkpoint_line(&checkpoint(0)), event_line(&event(1), Format::Jsonl), "{\"type\":\"event\"".into()];
        std::fs::write(&path, text.join("\n")).unwrap();
        let mut read = Vec::new();
        of_file(&path, |line| {
            read.push(line);
            Ok(())
        })
        .unwrap();
        let junk = read.pop().unwrap().unwrap_err();
        assert_eq!((junk.number, junk.to_string().as_str()), (3, "line 3: EOF while parsing an object"));
        assert_eq!(read, [Ok(Line::Checkpoint(checkpoint(0))), Ok(Line::Event(event(1)))]);
        assert!(checkpoints(&path).unwrap_err().to_string().ends_with("EOF while parsing an object"));
        // What a sink in OCSF writes beside its checkpoints.
        std::fs::write(
            &path,
            [&text[0], &event_line(&event(1), Format::Ocsf)].map(|line| line.clone() + "\n").concat(),
        )
        .unwrap();
        assert_eq!(checkpoints(&path).unwrap(), [checkpoint(0)]);
        std::fs::write(&path, &text[1]).unwrap();
        assert!(checkpoints(&path).unwrap_err().to_string().contains("holds no checkpoints"));
    }
}
