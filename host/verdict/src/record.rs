use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};

use crate::session::Session;

/// How much of what a target's clients see is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordLevel {
    /// Nothing beyond the audit.
    #[default]
    None,
    /// Commands, how they ended, errors and notices, with their timing.
    Commands,
    /// That, and all results.
    Results,
}

/// What a recording shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// Commands and their results.
    Results,
    /// A terminal: its output is in [`Entry::Data`] on the channel `terminal`.
    Terminal {
        /// Its width in characters.
        columns: u16,
        /// Its height in characters.
        rows: u16,
        /// Its type, such as `xterm-256color`.
        term: String,
    },
}

/// One thing that a session's client saw, or asked for. No protocol's own messages are in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Entry<'a> {
    /// A command was sent on, or denied.
    Command {
        /// Its number in the session.
        sequence: u64,
        /// Its text.
        text: Cow<'a, str>,
    },
    /// The columns of the rows that follow.
    Columns {
        /// In order.
        columns: Vec<RecordedColumn>,
    },
    /// Rows of the result whose columns came before.
    Rows {
        /// How many.
        count: u32,
        /// For each row the number of its values (16 bits), and for each value its length in bytes (32 bits; −1 for NULL) and the
        /// bytes; numbers are signed and big-endian.
        #[serde(with = "base64_bytes")]
        data: Cow<'a, [u8]>,
    },
    /// Bytes of a stream.
    Data {
        /// Which: `copy`, `terminal`, `stderr`, `body`.
        channel: Cow<'a, str>,
        /// The bytes.
        #[serde(with = "base64_bytes")]
        data: Cow<'a, [u8]>,
    },
    /// An error, a notice or another message.
    Message {
        /// Such as `ERROR` or `NOTICE`.
        severity: Cow<'a, str>,
        /// The protocol's own code, such as a SQLSTATE.
        code: Cow<'a, str>,
        /// The text, with detail and hint on lines of their own.
        text: Cow<'a, str>,
    },
    /// A command ended.
    End {
        /// Its number in the session.
        sequence: u64,
        /// The completion tag, or empty.
        tag: Cow<'a, str>,
    },
    /// The terminal's size changed.
    Resize {
        /// Its width in characters.
        columns: u16,
        /// Its height in characters.
        rows: u16,
    },
}

impl Entry<'_> {
    /// The same, without borrowing.
    pub fn into_owned(self) -> Entry<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Command { sequence, text } => Entry::Command { sequence, text: owned(text) },
            Self::Columns { columns } => Entry::Columns { columns },
            Self::Rows { count, data } => Entry::Rows { count, data: Cow::Owned(data.into_owned()) },
            Self::Data { channel, data } => {
                Entry::Data { channel: owned(channel), data: Cow::Owned(data.into_owned()) }
            }
            Self::Message { severity, code, text } => {
                Entry::Message { severity: owned(severity), code: owned(code), text: owned(text) }
            }
            Self::End { sequence, tag } => Entry::End { sequence, tag: owned(tag) },
            Self::Resize { columns, rows } => Entry::Resize { columns, rows },
        }
    }

    /// The least level at which it is recorded.
    pub fn level(&self) -> RecordLevel {
        match self {
            Self::Command { .. } | Self::Message { .. } | Self::End { .. } => RecordLevel::Commands,
            Self::Columns { .. } | Self::Rows { .. } | Self::Data { .. } | Self::Resize { .. } => RecordLevel::Results,
        }
    }
}

/// A column of a recorded result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedColumn {
    /// Its name as the client sees it.
    pub name: String,
    /// Its type's name, where it is known.
    pub type_name: String,
    /// Whether its values are in the type's binary format instead of text.
    pub binary: bool,
}

/// An entry with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimedEntry {
    /// Since the recording began, or since a watcher came, in microseconds.
    pub at_micros: u64,
    /// What.
    #[serde(flatten)]
    pub entry: Entry<'static>,
}

/// Opens recordings.
pub trait Recorders: Send + Sync {
    /// Opens the recording of a session. The error says why the session must not open without it.
    fn open(
        &self,
        session: &Arc<Session>,
        level: RecordLevel,
        medium: Medium,
    ) -> Result<Box<dyn Recorder>, RecordingError>;
}

/// Takes what one session's client sees. Dropping it closes the recording: what it has taken is written, and its size and digest
/// go into the audit.
pub trait Recorder: Send {
    /// Takes an entry, or leaves it where the level asks for less. It takes no time but for a copy; memory is bounded if nothing is recorded
    /// before [`Recorder::poll_room`] is ready. Entries after an error, or after the recording has stopped, are dropped.
    fn record(&mut self, entry: Entry<'_>);

    /// Ready when more may be recorded. An error ends the session; a recording that stops by configuration does not give one, but
    /// gives [`Room::Stopped`] once, so that the client can be told.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<Room, RecordingError>>;
}

/// The files of recordings, as they are on disk.
pub trait RecordingFiles: Send + Sync {
    /// The recording of a session, whole or under way; none where there is none.
    fn open(&self, session: &str) -> std::io::Result<Option<std::fs::File>>;
}

/// Whether a recording goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Free,
    /// It has just stopped, why; the session goes on without it.
    Stopped(String),
}

/// The recording cannot go on, and the session must not go on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordingError(pub String);

/// Serde's form of bytes in JSON: base64 (RFC 4648 §4).
mod base64_bytes {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ptr_arg, reason = "serde hands over a reference to the field as it is")]
    pub(super) fn serialize<S: Serializer>(bytes: &Cow<'_, [u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, [u8]>, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(&*text).map(Cow::Owned).map_err(|_| D::Error::custom("this is not base64"))
    }
}
