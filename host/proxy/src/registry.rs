//! The sessions that are open now: who they are, how to end them, and which cancel keys are theirs.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use portcullis_verdict::{LiveSession, RecordLevel, Session, SessionControl, TimedEntry, Watched, Watching};
use portcullis_wire::pg::message::Fault;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

/// Entries that wait for the slowest watcher of a session; more are lost to it.
const WATCHED: usize = 256;

/// What others ask of a session.
#[derive(Clone, Debug)]
pub(crate) enum Control {
    /// Cancel what it is doing.
    Cancel,
    /// End it, by whom.
    Kill(String),
    /// The gateway stops: end when nothing is under way.
    Drain,
    /// Tell these what the client asks for and sees.
    Watch(broadcast::Sender<Arc<TimedEntry>>),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: BTreeMap<Arc<str>, Entry>,
    keys: HashMap<Vec<u8>, Arc<str>>,
    per_target: HashMap<String, usize>,
    /// The gateway stops: nobody joins any more.
    draining: bool,
}

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    opened_ms: u64,
    commands: Arc<AtomicU64>,
    control: mpsc::UnboundedSender<Control>,
    /// What watchers see of it.
    level: RecordLevel,
    /// Where they listen, once there was one.
    watchers: Option<broadcast::Sender<Arc<TimedEntry>>>,
    /// A cancel is in the queue: another would add nothing.
    cancelling: Arc<AtomicBool>,
    key: Vec<u8>,
}

/// A session's place in the registry; dropping it leaves.
pub(crate) struct Place {
    registry: Arc<Registry>,
    id: Arc<str>,
    /// What others ask of the session.
    control: mpsc::UnboundedReceiver<Control>,
    cancelling: Arc<AtomicBool>,
    /// Counts its commands, for the list of live sessions.
    pub(crate) commands: Arc<AtomicU64>,
}

impl Place {
    /// What others ask of the session, in order.
    pub(crate) fn poll_control(&mut self, cx: &mut Context<'_>) -> Poll<Option<Control>> {
        let control = self.control.poll_recv(cx);
        if let Poll::Ready(Some(Control::Cancel)) = control {
            self.cancelling.store(false, Ordering::Release);
        }
        control
    }

    /// Puts the server's process number at the front of the cancel key, which nobody was told yet, and gives the key. Servers may give
    /// out the same number: a key that another session has is not taken.
    pub(crate) fn key_with(&self, number: [u8; 4]) -> Vec<u8> {
        let inner = &mut *self.registry.lock();
        let Some(entry) = inner.sessions.get_mut(&self.id) else { return vec![] };
        let mut key = entry.key.clone();
        key.splice(..number.len().min(key.len()), number);
        if !inner.keys.contains_key(&key) {
            inner.keys.remove(&entry.key);
            inner.keys.insert(key.clone(), self.id.clone());
            entry.key = key;
        }
        entry.key.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        if let Some(entry) = inner.sessions.remove(&self.id) {
            inner.keys.remove(&entry.key);
            let target = &entry.session.target.name;
            if let Some(count) = inner.per_target.get_mut(target) {
                *count -= 1;
            }
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session with its cancel key, to a target that is recorded at this level and takes at most `max`. The error says why not.
    pub(crate) fn join(
        self: &Arc<Self>,
        session: &Arc<Session>,
        key: Vec<u8>,
        record: RecordLevel,
        max: usize,
    ) -> Result<Place, Fault> {
        let (sender, control) = mpsc::unbounded_channel();
        let cancelling = Arc::new(AtomicBool::new(false));
        let commands = Arc::new(AtomicU64::new(0));
        let mut inner = self.lock();
        if inner.draining {
            return Err(Fault::fatal("57P01", "the gateway is shutting down"));
        }
        let count = inner.per_target.entry(session.target.name.clone()).or_default();
        if *count >= max {
            return Err(Fault::fatal("53300", "the target has as many sessions as it may have"));
        }
        *count += 1;
        inner.keys.insert(key.clone(), session.id.clone());
        let entry = Entry {
            session: session.clone(),
            opened_ms: now_ms(),
            commands: commands.clone(),
            control: sender,
            level: if record == RecordLevel::Results { record } else { RecordLevel::Commands },
            watchers: None,
            cancelling: cancelling.clone(),
            key,
        };
        inner.sessions.insert(session.id.clone(), entry);
        Ok(Place { registry: self.clone(), id: session.id.clone(), control, cancelling, commands })
    }

    /// Passes a cancel request on to the session that the key belongs to. An unknown key is ignored, as the protocol demands.
    pub(crate) fn cancel(&self, key: &[u8]) {
        let inner = self.lock();
        if let Some(entry) = inner.keys.get(key).and_then(|id| inner.sessions.get(id))
            && !entry.cancelling.swap(true, Ordering::AcqRel)
        {
            // A session that ends does not listen any more.
            let _ = entry.control.send(Control::Cancel);
        }
    }

    /// Asks every session to end when nothing is under way, or at once, and lets no more join.
    pub(crate) fn end_all(&self, control: &Control) {
        let mut inner = self.lock();
        inner.draining = true;
        for entry in inner.sessions.values() {
            let _ = entry.control.send(control.clone());
        }
    }

    /// How many sessions are open.
    pub(crate) fn len(&self) -> usize {
        self.lock().sessions.len()
    }
}

impl SessionControl for Registry {
    fn live(&self) -> Vec<LiveSession> {
        let show = |(id, entry): (&Arc<str>, &Entry)| LiveSession {
            id: id.to_string(),
            principal: entry.session.principal.name.clone(),
            target: entry.session.target.name.clone(),
            client_address: entry.session.client_address.to_string(),
            opened_ms: entry.opened_ms,
            commands: entry.commands.load(Ordering::Relaxed),
        };
        self.lock().sessions.iter().map(show).collect()
    }

    fn kill(&self, id: &str, by: &str) -> bool {
        let inner = self.lock();
        let entry = inner.sessions.get(id);
        entry.is_some_and(|entry| entry.control.send(Control::Kill(by.to_owned())).is_ok())
    }

    fn watch(&self, id: &str) -> Option<Box<dyn Watching>> {
        let mut inner = self.lock();
        let entry = inner.sessions.get_mut(id)?;
        let watchers = entry.watchers.get_or_insert_with(|| broadcast::Sender::new(WATCHED)).clone();
        let next = Watcher::next(watchers.subscribe());
        // Each time: a session forgets its watchers when none of them is left.
        entry.control.send(Control::Watch(watchers)).ok()?;
        Some(Box::new(Watcher { level: entry.level, next }))
    }
}

/// One who watches a session.
struct Watcher {
    level: RecordLevel,
    next: Pin<Box<dyn Future<Output = Received> + Send>>,
}

type Received = (Result<Arc<TimedEntry>, RecvError>, broadcast::Receiver<Arc<TimedEntry>>);

impl Watcher {
    fn next(mut entries: broadcast::Receiver<Arc<TimedEntry>>) -> Pin<Box<dyn Future<Output = Received> + Send>> {
        Box::pin(async move { (entries.recv().await, entries) })
    }
}

impl Watching for Watcher {
    fn level(&self) -> RecordLevel {
        self.level
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Watched>> {
        let (received, entries) = ready!(self.next.as_mut().poll(cx));
        self.next = Self::next(entries);
        Poll::Ready(match received {
            Ok(entry) => Some(Watched::Entry(entry)),
            Err(RecvError::Lagged(count)) => Some(Watched::Lost(count)),
            Err(RecvError::Closed) => None,
        })
    }
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
