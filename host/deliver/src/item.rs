//! What goes out, and its form as a line.

use portcullis_verdict::{ChainedEvent, Checkpoint, Event, Subject};
use serde::Serialize;
use serde_json::json;

use crate::visible::{Lines, visible};
use crate::{Format, ocsf};

/// The longest name in a line that had to be shortened.
const NAME_CHARS: usize = 128;

/// An event, or a checkpoint.
pub(crate) enum Item {
    Event(ChainedEvent),
    Checkpoint(Checkpoint),
}

impl Item {
    /// The event that it is, or that it is for.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Event(event) => event.stored.number,
            Self::Checkpoint(checkpoint) => checkpoint.number,
        }
    }

    /// When, in milliseconds since the Unix epoch.
    pub(crate) fn at_ms(&self) -> u64 {
        match self {
            Self::Event(event) => event.stored.at_ms,
            Self::Checkpoint(checkpoint) => checkpoint.at_ms,
        }
    }

    /// The chain's hash.
    pub(crate) fn hash(&self) -> &str {
        match self {
            Self::Event(event) => &event.hash,
            Self::Checkpoint(checkpoint) => &checkpoint.hash,
        }
    }

    /// Its name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Event(event) => event.stored.event.kind(),
            Self::Checkpoint(_) => "checkpoint",
        }
    }

    /// The session that it is about, if it is about one.
    pub(crate) fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Event(event) => event.stored.event.subject().map(|subject| &**subject),
            Self::Checkpoint(_) => None,
        }
    }

    /// Whether someone should look at it.
    pub(crate) fn is_warning(&self) -> bool {
        match self {
            Self::Event(event) => is_warning(&event.stored.event),
            Self::Checkpoint(_) => false,
        }
    }

    /// The line for it, without its end.
    pub(crate) fn line(&self, format: Format) -> String {
        match self {
            Self::Event(event) => event_line(event, format),
            Self::Checkpoint(checkpoint) => checkpoint_line(checkpoint),
        }
    }

    /// A line for where the whole one has no room: it tells that it is not all, and by number and hash what is meant.
    pub(crate) fn short_line(&self) -> String {
        let name =
            |of: fn(&Subject) -> &str| self.subject().map(|subject| visible(of(subject), NAME_CHARS, Lines::One));
        json!({
            "type": if self.subject().is_some() || matches!(self, Self::Event(_)) { "event" } else { "checkpoint" },
            "truncated": true,
            "number": self.number(),
            "at_ms": self.at_ms(),
            "kind": self.kind(),
            "session": name(|subject| &subject.session),
            "principal": name(|subject| &subject.principal),
            "target": name(|subject| &subject.target),
            "hash": self.hash(),
        })
        .to_string()
    }
}

/// Whether someone should look at an event: something was refused or denied, a safeguard was passed over, or evidence is missing.
pub(crate) fn is_warning(event: &Event) -> bool {
    match event {
        Event::Open(e) => e.refused.is_some(),
        Event::Command(e) => e.outcome == "deny",
        Event::Approval(e) => matches!(&*e.what, "denied" | "revoked" | "broken-glass"),
        Event::Recording(e) => matches!(&*e.state, "stopped" | "failed" | "cut"),
        Event::System(e) => e.what == "lost",
        Event::Finish(_) | Event::Close { .. } | Event::Inputs(_) => false,
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Event(&'a ChainedEvent),
    Checkpoint(&'a Checkpoint),
}

impl Line<'_> {
    fn write(&self) -> String {
        serde_json::to_string(self).expect("events and checkpoints have only names as keys")
    }
}

/// An event as a line of JSON, without its end. As OCSF it has the chain's hash among what is not mapped, and not the bytes that
/// the chain covers: it cannot be verified by itself.
pub fn event_line(event: &ChainedEvent, format: Format) -> String {
    match format {
        Format::Jsonl => Line::Event(event).write(),
        Format::Ocsf => {
            let mut mapped = ocsf(&event.stored);
            mapped["unmapped"]["hash"] = json!(event.hash);
            mapped.to_string()
        }
    }
}

/// A checkpoint as a line of JSON, without its end.
pub fn checkpoint_line(checkpoint: &Checkpoint) -> String {
    Line::Checkpoint(checkpoint).write()
}
