//! What a session's client asked for and saw, for the session's recording and for those who watch it.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use portcullis_verdict::{Entry, RecordLevel, RecordedColumn, Recorder, RecordingError, Room, TimedEntry};
use portcullis_wire::pg::message::{Field, Shape};
use portcullis_wire::pg::tap::{Item, MAX_MESSAGE, Tap};
use portcullis_wire::pg::types;
use tokio::sync::broadcast;

/// The largest entry that watchers get, in bytes: so many times as many entries may wait for each session's slowest watcher.
const MAX_WATCHED: usize = 64 << 10;

/// See the module. Where nothing is recorded and nobody watches it does nothing.
pub(crate) struct Transcript {
    level: RecordLevel,
    on: bool,
    pen: Pen,
    /// There is none until the end of the message that was on its way when the first watcher came.
    tap: Option<Tap>,
    /// How much of what waits to be written was seen.
    seen: usize,
    /// Why the recording has stopped, until the client is told.
    stopped: Option<String>,
    /// Why the bytes cannot be read any more.
    broken: Option<RecordingError>,
}

/// Who gets the entries, and what they need to know of those before.
struct Pen {
    recorder: Option<Box<dyn Recorder>>,
    watchers: Option<broadcast::Sender<Arc<TimedEntry>>>,
    began: Instant,
    /// The columns of a result of which nothing has come yet.
    announced: Option<Shape>,
}

impl Transcript {
    /// Of a session that begins, with the recorder that its target's level demands.
    pub(crate) fn new(recorder: Option<Box<dyn Recorder>>, level: RecordLevel) -> Self {
        let on = recorder.is_some();
        let pen = Pen { recorder, watchers: None, began: Instant::now(), announced: None };
        let mut transcript = Self { level, on, pen, tap: None, seen: 0, stopped: None, broken: None };
        transcript.tap = on.then(|| transcript.new_tap());
        transcript
    }

    fn new_tap(&self) -> Tap {
        Tap::new(self.wants_results())
    }

    /// Whether anybody gets what [`Transcript::see`] sees.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether somebody gets results, so that [`Transcript::columns`] has to be told.
    pub(crate) fn wants_results(&self) -> bool {
        self.level == RecordLevel::Results && self.pen.is_used()
    }

    /// Somebody watches from now on.
    pub(crate) fn watch(&mut self, watchers: broadcast::Sender<Arc<TimedEntry>>) {
        self.pen.watchers = Some(watchers);
        self.on = true;
    }

    /// Sees what waits to be written to the client, which begins where the last [`Transcript::rewind`] was. `between` says that
    /// it ends with a whole message.
    pub(crate) fn see(&mut self, out: &[u8], between: bool) {
        let new = out.get(self.seen..).unwrap_or_default();
        self.seen = out.len();
        match &mut self.tap {
            Some(tap) => {
                let pen = &mut self.pen;
                if let Err(error) = tap.feed(new, |item| pen.item(item)) {
                    self.broken = Some(RecordingError(format!("what the client gets cannot be read: {error}")));
                    // Watchers see nothing more; it is no reason to end what they watch.
                    self.pen.watchers = None;
                }
            }
            None if between => self.tap = Some(self.new_tap()),
            None => {}
        }
        self.pause();
    }

    /// Everything that waited was written.
    pub(crate) fn rewind(&mut self) {
        self.seen = 0;
    }

    /// A command is sent with this text, or denied.
    pub(crate) fn command(&mut self, sequence: u64, text: &str) {
        self.pen.record(Entry::Command { sequence, text: text.into() });
    }

    /// The next rows have these columns, whatever was described before.
    pub(crate) fn columns(&mut self, shape: &Shape) {
        self.pen.announced = Some(shape.clone());
    }

    /// A command that was sent has ended.
    pub(crate) fn end(&mut self, sequence: u64, tag: &str) {
        self.pen.record(Entry::End { sequence, tag: tag.into() });
    }

    /// Ready when the session may cause more to be recorded. An error ends the session.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecordingError>> {
        let Some(recorder) = &mut self.pen.recorder else { return Poll::Ready(Ok(())) };
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        if let Room::Stopped(why) = ready!(recorder.poll_room(cx))? {
            self.stopped = Some(why);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether the client has to be told that its recording has stopped.
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Why the recording has stopped; once. From then on there is no recording.
    pub(crate) fn take_stopped(&mut self) -> Option<String> {
        let why = self.stopped.take()?;
        self.pen.recorder = None;
        Some(why)
    }

    /// Rests until somebody watches again.
    fn pause(&mut self) {
        if !self.pen.is_used() {
            (self.on, self.tap, self.broken, self.pen.announced) = (false, None, None, None);
        }
    }
}

impl Pen {
    fn is_used(&self) -> bool {
        self.recorder.is_some() || self.watchers.is_some()
    }

    fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Columns(shape) => self.announced = Some(shape),
            Item::Rows { count, data } => {
                self.announce();
                self.record(Entry::Rows { count, data: data.into() });
            }
            Item::Copy(data) => self.record(Entry::Data { channel: "copy".into(), data: data.into() }),
            Item::Message { severity, code, text } => {
                self.record(Entry::Message { severity, code, text: text.into() });
            }
            // A result without rows.
            Item::Complete(_) => self.announce(),
            // A description that nothing followed.
            Item::Ready => self.announced = None,
            Item::Oversized { tag, bytes } => {
                let what = if tag == b'D' { "row" } else { "message" };
                if tag == b'D' {
                    self.announce();
                }
                let text = format!(
                    "portcullis: a {what} of {bytes} bytes is not recorded, since it is larger than {MAX_MESSAGE} bytes"
                );
                self.record(note(text));
            }
        }
    }

    fn announce(&mut self) {
        if let Some(shape) = self.announced.take() {
            self.record(Entry::Columns { columns: shape.iter().map(column).collect() });
        }
    }

    fn record(&mut self, entry: Entry<'_>) {
        if let Some(watchers) = &self.watchers {
            let at_micros = self.began.elapsed().as_micros() as u64;
            let watched = TimedEntry { at_micros, entry: watched(&entry) };
            if watchers.send(Arc::new(watched)).is_err() {
                // Nobody is left.
                self.watchers = None;
            }
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.record(entry);
        }
    }
}

fn column(field: &Field) -> RecordedColumn {
    let type_name = types::name(field.type_oid).unwrap_or_default().to_owned();
    RecordedColumn { name: field.name.clone(), type_name, binary: field.binary }
}

/// The gateway's own remark, which the client does not see.
fn note(text: String) -> Entry<'static> {
    Entry::Message { severity: "WARNING".into(), code: "54000".into(), text: text.into() }
}

/// What watchers get of an entry: what is too large only by its size.
fn watched(entry: &Entry<'_>) -> Entry<'static> {
    let (what, bytes) = match entry {
        Entry::Command { text, .. } => ("a command", text.len()),
        Entry::Rows { data, .. } => ("rows", data.len()),
        Entry::Data { data, .. } => ("data", data.len()),
        Entry::Message { text, .. } => ("a message", text.len()),
        Entry::Columns { .. } | Entry::End { .. } | Entry::Resize { .. } => ("", 0),
    };
    if bytes > MAX_WATCHED {
        return note(format!(
            "portcullis: {what} of {bytes} bytes cannot be watched, since more than {MAX_WATCHED} cannot"
        ));
    }
    entry.clone().into_owned()
}
