use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use portcullis_verdict::{Entry, RecordLevel, Recorder, RecordingError, Room};

use crate::directory::{Desk, OnLimit};
use crate::format::{self, TooLong};
use crate::writer::Order;

/// Entries are handed to the writer when they take so many bytes, or after a second.
const CHUNK: usize = 64 << 10;

/// A session waits while so many bytes of its entries are not written.
pub(crate) const UNDER_WAY: usize = 1 << 20;

/// What a session and the writer share of a recording.
pub(crate) struct Shared {
    state: Mutex<State>,
    started: Instant,
}

struct State {
    /// Encoded entries that the writer has not taken.
    fresh: Taken,
    /// The time of the last one, in microseconds.
    at_micros: u64,
    /// Bytes that the writer has taken and not written.
    writing: usize,
    /// The writer has been told that there is something for it.
    told: bool,
    fate: Fate,
    waker: Option<Waker>,
}

enum Fate {
    Going,
    /// The writer is about to end it.
    Failing,
    /// The session must not go on.
    Ended(String),
    /// It may go on, and is to be told why there is no recording.
    Stopped(String),
    /// It has been told.
    Silent,
}

/// What the writer takes from a session.
#[derive(Default)]
pub(crate) struct Taken {
    bytes: Vec<u8>,
    /// How many entries.
    entries: u64,
    /// The bytes and entries up to the end of each whole chunk.
    chunks: Vec<(usize, u64)>,
}

impl Taken {
    /// Ends a chunk where it is large enough; true if it is.
    fn cut(&mut self) -> bool {
        let begin = self.chunks.last().map_or(0, |(bytes, _)| *bytes);
        let whole = self.bytes.len() - begin >= CHUNK;
        if whole {
            self.chunks.push((self.bytes.len(), self.entries));
        }
        whole
    }

    /// Its chunks, each with the number of its entries, which are whole.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let rest = Some((self.bytes.len(), self.entries)).filter(|end| self.chunks.last() != Some(end));
        let mut begin = (0, 0);
        self.chunks.iter().copied().chain(rest).map(move |end| {
            let (bytes, entries) = std::mem::replace(&mut begin, end);
            (self.bytes.get(bytes..end.0).unwrap_or_default(), end.1 - entries)
        })
    }
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        let state =
            State { fresh: Taken::default(), at_micros: 0, writing: 0, told: false, fate: Fate::Going, waker: None };
        Arc::new(Self { state: Mutex::new(state), started: Instant::now() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what there is to write, if there is anything.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut state = self.state();
        state.told = false;
        // A busy session needs as much room again; one that has recorded nothing meanwhile keeps none.
        let bytes = Vec::with_capacity((state.fresh.bytes.len() / 4 * 5).min(2 * CHUNK));
        let taken = std::mem::replace(&mut state.fresh, Taken { bytes, ..Taken::default() });
        state.writing = taken.bytes.len();
        (!taken.bytes.is_empty()).then_some(taken)
    }

    /// What was taken is written.
    pub(crate) fn written(&self) {
        let mut state = self.state();
        state.writing = 0;
        wake(state);
    }

    /// The recording does not go on.
    pub(crate) fn stop(&self, how: OnLimit, why: &str) {
        let mut state = self.state();
        if matches!(state.fate, Fate::Going | Fate::Failing) {
            state.stop(how, why);
            wake(state);
        }
    }

    /// The time since the last entry, for the closing record.
    pub(crate) fn idle_micros(&self) -> u64 {
        micros(self.started).saturating_sub(self.state().at_micros)
    }
}

impl State {
    fn stop(&mut self, how: OnLimit, why: &str) {
        self.fate = match how {
            OnLimit::End => Fate::Ended(why.into()),
            OnLimit::Stop => Fate::Stopped(why.into()),
        };
        // Nobody will write it.
        (self.fresh, self.writing) = (Taken::default(), 0);
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The session's side of a recording.
pub(crate) struct FileRecorder {
    id: u64,
    level: RecordLevel,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    desk: Arc<Desk>,
}

impl FileRecorder {
    pub(crate) fn new(
        id: u64,
        level: RecordLevel,
        shared: Arc<Shared>,
        orders: Sender<Order>,
        desk: Arc<Desk>,
    ) -> Self {
        desk.live.fetch_add(1, Ordering::Relaxed);
        Self { id, level, shared, orders, desk }
    }

    fn send(&self, order: Order) {
        if self.orders.send(order).is_err() {
            self.shared.stop(OnLimit::End, "recordings have been closed");
        }
    }
}

impl Recorder for FileRecorder {
    fn record(&mut self, entry: Entry<'_>) {
        if !takes(self.level, &entry) {
            return;
        }
        let mut state = self.shared.state();
        if !matches!(state.fate, Fate::Going) {
            return;
        }
        let now = micros(self.shared.started).max(state.at_micros);
        let delta = now - state.at_micros;
        match format::put_entry(&mut state.fresh.bytes, delta, &entry) {
            Ok(records) => (state.fresh.entries, state.at_micros) = (state.fresh.entries + records, now),
            Err(TooLong(len)) => {
                state.fate = Fate::Failing;
                drop(state);
                let why = format!("an entry of {len} bytes is longer than a recording can hold");
                return self.send(Order::Fail(self.id, why));
            }
        }
        if state.fresh.cut() && !state.told {
            state.told = true;
            drop(state);
            self.send(Order::Write(self.id));
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<Room, RecordingError>> {
        let mut state = self.shared.state();
        let full = state.fresh.bytes.len() + state.writing > UNDER_WAY;
        match &mut state.fate {
            Fate::Ended(why) => Poll::Ready(Err(RecordingError(why.clone()))),
            Fate::Stopped(why) => {
                let why = std::mem::take(why);
                state.fate = Fate::Silent;
                Poll::Ready(Ok(Room::Stopped(why)))
            }
            Fate::Going if !full => Poll::Ready(Ok(Room::Free)),
            Fate::Going | Fate::Failing => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Fate::Silent => Poll::Ready(Ok(Room::Free)),
        }
    }
}

impl Drop for FileRecorder {
    fn drop(&mut self) {
        self.desk.live.fetch_sub(1, Ordering::Relaxed);
        // Where there is no writer any more, it has closed the recording itself.
        let _ = self.orders.send(Order::Close(self.id));
    }
}

/// A recording that could not begin, where the session may go on without it.
pub(crate) struct NoRecorder(pub(crate) Option<String>);

impl Recorder for NoRecorder {
    fn record(&mut self, _: Entry<'_>) {}

    fn poll_room(&mut self, _: &mut Context<'_>) -> Poll<Result<Room, RecordingError>> {
        Poll::Ready(Ok(self.0.take().map_or(Room::Free, Room::Stopped)))
    }
}

fn takes(level: RecordLevel, entry: &Entry<'_>) -> bool {
    match level {
        RecordLevel::None => false,
        RecordLevel::Commands => entry.level() == RecordLevel::Commands,
        RecordLevel::Results => true,
    }
}
