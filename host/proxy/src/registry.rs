//! The sessions that are open now: who they are, whether there may be one more, how to end them, and which cancel keys are theirs.

#[cfg(test)]
mod tests;

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

use crate::config::{PgTarget, Quota};

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
    /// How many sessions are open of each principal and to each target; of whom none is, nothing is kept.
    per_principal: HashMap<String, usize>,
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
            uncount(&mut inner.per_principal, &entry.session.principal.name);
            uncount(&mut inner.per_target, &entry.session.target.name);
        }
    }
}

impl Inner {
    /// Whether one more session keeps within every limit; under the lock that it is added under. How many sessions others have is not told.
    fn has_room(&self, session: &Session, max_sessions: usize, quota: Option<&Quota>) -> Result<(), Fault> {
        let (principal, target) = (&session.principal.name, &session.target.name);
        let count = |counts: &HashMap<String, usize>, name: &String| counts.get(name).copied().unwrap_or_default();
        if let Some(Quota { max_sessions, group }) = quota
            && count(&self.per_principal, principal) >= *max_sessions
        {
            let limit = match group {
                Some(group) => format!("group \"{group}\" is {max_sessions} for each member"),
                None => format!("user \"{principal}\" is {max_sessions}"),
            };
            let message = format!("too many connections for user \"{principal}\": max_sessions of {limit}");
            return Err(Fault::fatal("53300", message));
        }
        if count(&self.per_target, target) >= max_sessions {
            let message = format!("too many connections for target \"{target}\": its max_sessions is reached");
            return Err(Fault::fatal("53300", message));
        }
        Ok(())
    }
}

fn uncount(counts: &mut HashMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session with its cancel key, if its principal and its target may have one more. The error says why not.
    pub(crate) fn join(
        self: &Arc<Self>,
        session: &Arc<Session>,
        key: Vec<u8>,
        target: &PgTarget,
        quota: Option<&Quota>,
    ) -> Result<Place, Fault> {
        let (sender, control) = mpsc::unbounded_channel();
        let cancelling = Arc::new(AtomicBool::new(false));
        let commands = Arc::new(AtomicU64::new(0));
        let mut inner = self.lock();
        if inner.draining {
            return Err(Fault::fatal("57P01", "the gateway is shutting down"));
        }
        inner.has_room(session, target.max_sessions, quota)?;
        *inner.per_principal.entry(session.principal.name.clone()).or_default() += 1;
        *inner.per_target.entry(session.target.name.clone()).or_default() += 1;
        inner.keys.insert(key.clone(), session.id.clone());
        let entry = Entry {
            session: session.clone(),
            opened_ms: now_ms(),
            commands: commands.clone(),
            control: sender,
            level: if target.record == RecordLevel::Results { target.record } else { RecordLevel::Commands },
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
