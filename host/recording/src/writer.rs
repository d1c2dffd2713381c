use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use portcullis_verdict::Stats;
use portcullis_verdict::text::hex;
use sha2::{Digest, Sha256};
use zstd::bulk::Compressor;
use zstd::zstd_safe::{CParameter, compress_bound};

use crate::closer::{Finished, Task};
use crate::directory::{Desk, Name, OnLimit};
use crate::format::{self, Closing, ClosingReason};
use crate::recorder::Shared;

/// What has been recorded is written after this time at the latest.
const FLUSH: Duration = Duration::from_secs(1);

/// The content of a frame is at most so long: what a crash leaves of a frame is lost.
const FRAME: usize = 128 << 10;

/// So many bytes are kept free below the limit for the closing record's frame.
const CLOSING_ROOM: u64 = 64;

/// What the writer is to do.
pub(crate) enum Order {
    /// A recording begins.
    Open(u64, Box<Recording>),
    /// It has entries to be written.
    Write(u64),
    /// It has an entry that cannot be written, why.
    Fail(u64, String),
    /// Its session has ended.
    Close(u64),
    /// The gateway stops.
    Stop,
}

/// A recording that is under way.
pub(crate) struct Recording {
    pub(crate) name: Name,
    pub(crate) file: File,
    /// Magic, version and header.
    pub(crate) beginning: Vec<u8>,
    pub(crate) session: Lifeline,
    written: u64,
    entries: u64,
    hash: Sha256,
}

impl Recording {
    pub(crate) fn new(name: Name, file: File, beginning: Vec<u8>, shared: Arc<Shared>) -> Self {
        Self { name, file, beginning, session: Lifeline(shared), written: 0, entries: 0, hash: Sha256::new() }
    }
}

/// Whatever becomes of the writer, no session waits for it for ever.
pub(crate) struct Lifeline(Arc<Shared>);

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.0.stop(OnLimit::End, "recordings have been closed");
    }
}

/// Compresses and writes what all sessions record.
pub(crate) struct Writer {
    desk: Arc<Desk>,
    closer: Sender<Task>,
    recordings: HashMap<u64, Recording>,
    press: Press,
}

impl Writer {
    pub(crate) fn new(desk: Arc<Desk>, closer: Sender<Task>) -> io::Result<Self> {
        Ok(Self { desk, closer, recordings: HashMap::new(), press: Press::new()? })
    }

    /// Works until it is told to stop, or nobody is left who could tell it.
    pub(crate) fn run(mut self, orders: &Receiver<Order>) {
        let mut flush = Instant::now() + FLUSH;
        loop {
            // Nothing is to be flushed while nothing is recorded.
            let next = if self.recordings.is_empty() {
                orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                orders.recv_timeout(flush.saturating_duration_since(Instant::now()))
            };
            match next {
                Ok(Order::Open(id, recording)) => self.open(id, *recording),
                Ok(Order::Write(id)) => self.write(id),
                Ok(Order::Fail(id, why)) => self.fail(id, &why),
                Ok(Order::Close(id)) => self.close(id, ClosingReason::Session),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= flush {
                self.each(Self::write);
                flush = Instant::now() + FLUSH;
            }
        }
        self.each(|writer, id| writer.close(id, ClosingReason::Shutdown));
    }

    fn each(&mut self, act: impl Fn(&mut Self, u64)) {
        let ids: Vec<u64> = self.recordings.keys().copied().collect();
        for id in ids {
            act(self, id);
        }
    }

    fn open(&mut self, id: u64, mut recording: Recording) {
        let beginning = std::mem::take(&mut recording.beginning);
        let outcome = self.press.frames(&beginning).and_then(|frames| recording.put(frames));
        self.recordings.insert(id, recording);
        self.settle(id, outcome.map(|()| true));
    }

    fn write(&mut self, id: u64) {
        let outcome = self.flush(id);
        self.settle(id, outcome);
    }

    /// Ends a recording that has failed, or has no room for more.
    fn settle(&mut self, id: u64, outcome: io::Result<bool>) {
        match outcome {
            Ok(true) => {}
            Ok(false) => self.limit(id),
            Err(error) => self.give_up(id, &format!("the recording of this session cannot be written: {error}")),
        }
    }

    /// Writes what a session has recorded; false where the limit does not allow it.
    fn flush(&mut self, id: u64) -> io::Result<bool> {
        let Some(recording) = self.recordings.get_mut(&id) else {
            return Ok(true);
        };
        let Some(taken) = recording.session.0.take() else {
            return Ok(true);
        };
        for (bytes, entries) in taken.chunks() {
            let frames = self.press.frames(bytes)?;
            if recording.written + frames.len() as u64 + CLOSING_ROOM > self.desk.options.max_bytes {
                return Ok(false);
            }
            recording.put(frames)?;
            recording.entries += entries;
        }
        recording.session.0.written();
        Ok(true)
    }

    fn limit(&mut self, id: u64) {
        let most = self.desk.options.max_bytes;
        let why = format!("the recording of this session has reached its limit of {most} bytes (`recordings.max_mib`)");
        if let Some(recording) = self.stop(id, self.desk.options.on_limit, "stopped", &why) {
            self.end(recording, ClosingReason::Limit, "stopped", why);
        }
    }

    fn fail(&mut self, id: u64, why: &str) {
        self.write(id);
        self.give_up(id, &format!("the recording of this session cannot go on: {why}"));
    }

    fn give_up(&mut self, id: u64, why: &str) {
        if let Some(recording) = self.stop(id, self.desk.options.on_failure, "failed", why) {
            self.finish(recording, "failed", why.into());
        }
    }

    fn stop(&mut self, id: u64, how: OnLimit, state: &str, why: &str) -> Option<Recording> {
        let recording = self.recordings.remove(&id)?;
        Stats::bump(&self.desk.stats.recordings_stopped);
        tracing::warn!(session = %recording.name.subject.session, "a recording has {state}: {why}");
        recording.session.0.stop(how, why);
        Some(recording)
    }

    fn close(&mut self, id: u64, reason: ClosingReason) {
        self.write(id);
        // It is gone if that failed, or if it had ended before.
        if let Some(recording) = self.recordings.remove(&id) {
            let detail = match reason {
                ClosingReason::Shutdown => "the gateway stopped before the session had ended",
                ClosingReason::Session | ClosingReason::Limit => "",
            };
            self.end(recording, reason, "ended", detail.into());
        }
    }

    /// Writes the closing record.
    fn end(&mut self, mut recording: Recording, reason: ClosingReason, state: &'static str, detail: String) {
        let mut closing = Vec::new();
        let idle = recording.session.0.idle_micros();
        format::put_closing(&mut closing, idle, Closing { entries: recording.entries, reason });
        match self.press.frames(&closing).and_then(|frames| recording.put(frames)) {
            Ok(()) => self.finish(recording, state, detail),
            Err(error) => {
                if state == "ended" {
                    Stats::bump(&self.desk.stats.recordings_stopped);
                }
                let session = &recording.name.subject.session;
                tracing::warn!(%session, "the end of a recording cannot be written: {error}");
                let lead = if detail.is_empty() { detail } else { detail + "; " };
                self.finish(recording, "failed", format!("{lead}its end cannot be written: {error}"));
            }
        }
    }

    fn finish(&self, recording: Recording, state: &'static str, detail: String) {
        let Recording { name, file, written, entries, hash, .. } = recording;
        let sha256 = hex(&hash.finalize());
        let finished = Finished { name, file, bytes: written, entries, sha256, state, detail };
        // The closer outlives the writer; were it gone, the next start would find the file.
        let _ = self.closer.send(Task::Finish(finished));
    }
}

impl Recording {
    /// Writes whole frames. If that fails, the file ends behind those before.
    fn put(&mut self, frames: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(frames) {
            if let Err(also) = self.file.set_len(self.written) {
                let session = &self.name.subject.session;
                tracing::warn!(%session, "the end of a recording cannot be cut off: {also}");
            }
            return Err(error);
        }
        self.written += frames.len() as u64;
        self.hash.update(frames);
        Ok(())
    }
}

/// Makes frames of content. One context serves all sessions, so that an idle one costs no memory.
struct Press {
    compressor: Compressor<'static>,
    frames: Vec<u8>,
    frame: Vec<u8>,
}

impl Press {
    fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(1)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self { compressor, frames: Vec::new(), frame: Vec::with_capacity(compress_bound(FRAME)) })
    }

    fn frames(&mut self, content: &[u8]) -> io::Result<&[u8]> {
        self.frames.clear();
        let even = content.len().div_ceil(content.len().div_ceil(FRAME).max(1)).max(1);
        for part in content.chunks(even) {
            self.compressor.compress_to_buffer(part, &mut self.frame)?;
            self.frames.extend_from_slice(&self.frame);
        }
        // What a single huge entry took is given back.
        self.frames.shrink_to(4 << 20);
        Ok(&self.frames)
    }
}
