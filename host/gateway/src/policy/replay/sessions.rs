//! The sessions of a log: how they were opened, and one rehearsal for each that is under way.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use portcullis_engine::Rehearsal;
use portcullis_verdict::{Credential, OpenEvent, Principal, Session, Target};

/// The most rehearsals at a time: each holds an instance of the draft.
pub(super) const MAX_REHEARSALS: usize = 64;

/// The most sessions that are known at a time.
const MAX_SESSIONS: usize = 16_384;

/// The most results whose recordings are waited for.
const MAX_FINISHED: usize = 1_000_000;

/// The labels of each target.
pub(super) type Labels = BTreeMap<String, BTreeMap<String, String>>;

/// Sessions that have been opened and not been dealt with to their end. The one that was used least recently is forgotten first.
#[derive(Default)]
pub(super) struct Sessions {
    known: HashMap<Arc<str>, Known>,
    /// By when they were used last.
    used: BTreeMap<u64, Arc<str>>,
    /// Those that have a rehearsal, by when it was asked last.
    rehearsing: BTreeMap<u64, Arc<str>>,
    ticks: u64,
    /// Results, over all sessions.
    finished: usize,
}

/// A session that has been opened.
pub(super) struct Known {
    /// Itself, or why it cannot be taken up again.
    pub(super) session: Result<Arc<Session>, &'static str>,
    pub(super) rehearsal: Option<Rehearsal>,
    /// Whether it ever had a rehearsal.
    pub(super) begun: bool,
    /// The last command that was held for people by the answer that the draft's is held against.
    pub(super) reviewed: Option<u64>,
    /// The cells that were changed in the results of the commands that are looked at, by the command's number.
    pub(super) finished: BTreeMap<u64, u64>,
    recorded: bool,
    closed: bool,
    used: u64,
    asked: u64,
}

impl Sessions {
    /// A session was opened.
    pub(super) fn open(&mut self, open: &OpenEvent, labels: &Labels) {
        if self.known.len() >= MAX_SESSIONS
            && let Some((_, oldest)) = self.used.first_key_value()
        {
            self.remove(&oldest.clone());
        }
        let session = session(open, labels).map(Arc::new);
        let id = open.subject.session.clone();
        self.remove(&id);
        let known = Known {
            session,
            rehearsal: None,
            begun: false,
            reviewed: None,
            finished: BTreeMap::new(),
            recorded: false,
            closed: false,
            used: 0,
            asked: 0,
        };
        self.known.insert(id.clone(), known);
        self.get(&id);
    }

    /// A session, which counts as used.
    pub(super) fn get(&mut self, id: &str) -> Option<&mut Known> {
        self.ticks += 1;
        let (key, known) = (self.known.get_key_value(id)?.0.clone(), self.known.get_mut(id)?);
        self.used.remove(&known.used);
        known.used = self.ticks;
        self.used.insert(self.ticks, key);
        Some(known)
    }

    /// To be called when a session's rehearsal is about to be asked: makes room for it.
    pub(super) fn rehearse(&mut self, id: &Arc<str>) {
        self.ticks += 1;
        let Some(known) = self.known.get_mut(id) else { return };
        self.rehearsing.remove(&known.asked);
        known.asked = self.ticks;
        self.rehearsing.insert(self.ticks, id.clone());
        if self.rehearsing.len() > MAX_REHEARSALS
            && let Some((_, oldest)) = self.rehearsing.pop_first()
            && let Some(known) = self.known.get_mut(&oldest)
        {
            known.rehearsal = None;
        }
    }

    /// The recording of a session has begun.
    pub(super) fn recorded(&mut self, id: &str) {
        if let Some(known) = self.known.get_mut(id) {
            known.recorded = true;
        }
    }

    /// A command of a session has ended, with so many cells changed. False where there are too many.
    pub(super) fn finish(&mut self, id: &str, sequence: u64, masked: u64) -> bool {
        let Some(known) = self.known.get_mut(id).filter(|known| known.recorded) else { return true };
        if self.finished >= MAX_FINISHED {
            return false;
        }
        self.finished += usize::from(known.finished.insert(sequence, masked).is_none());
        true
    }

    /// A session has ended. Its recording is entered in the log after that.
    pub(super) fn close(&mut self, id: &str) {
        let Some(known) = self.known.get_mut(id) else { return };
        self.rehearsing.remove(&known.asked);
        (known.closed, known.rehearsal) = (true, None);
        if known.finished.is_empty() {
            self.remove(id);
        }
    }

    /// A session's recording has been dealt with.
    pub(super) fn shown(&mut self, id: &str) {
        let Some(known) = self.known.get_mut(id) else { return };
        self.finished -= std::mem::take(&mut known.finished).len();
        known.recorded = false;
        if known.closed {
            self.remove(id);
        }
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, id: &str) {
        if let Some(known) = self.known.remove(id) {
            self.finished -= known.finished.len();
            self.used.remove(&known.used);
            self.rehearsing.remove(&known.asked);
        }
    }
}

/// A session as policies saw it.
fn session(open: &OpenEvent, labels: &Labels) -> Result<Session, &'static str> {
    let credential = [Credential::Certificate, Credential::Scram].into_iter().find(|c| c.as_str() == open.credential);
    let (Some(credential), "postgres") = (credential, &*open.protocol) else {
        return Err("its session came by a protocol or a credential that is not known here");
    };
    let client_address = open.client_address.parse::<SocketAddr>();
    let client_address = client_address.map_err(|_| "its session came from an address that cannot be read")?;
    let (principal, target) = (open.subject.principal.to_string(), open.subject.target.to_string());
    let labels = labels.get(&target).cloned().unwrap_or_default();
    Ok(Session {
        id: open.subject.session.clone(),
        protocol: "postgres",
        principal: Principal { name: principal, groups: open.groups.clone(), credential },
        target: Arc::new(Target { name: target, labels }),
        client_address,
        reason: open.reason.clone(),
    })
}
