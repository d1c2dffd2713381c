use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};

use crate::record::{RecordLevel, TimedEntry};

/// Counters of the whole gateway. Each is only ever increased, but for the two that say `active`.
#[derive(Debug, Default)]
pub struct Stats {
    /// Sessions open now.
    pub sessions_active: AtomicU64,
    /// Sessions opened.
    pub sessions_opened: AtomicU64,
    /// Connections that did not become a session.
    pub logins_refused: AtomicU64,
    /// Commands allowed.
    pub commands_allowed: AtomicU64,
    /// Commands denied.
    pub commands_denied: AtomicU64,
    /// Commands held for approval.
    pub commands_held: AtomicU64,
    /// Commands held now.
    pub holds_active: AtomicU64,
    /// Rows sent to clients.
    pub rows: AtomicU64,
    /// Cells that a policy changed.
    pub cells_masked: AtomicU64,
    /// Results refused or ended by a policy or by a limit.
    pub results_refused: AtomicU64,
    /// Upstream connections that could not be opened.
    pub upstream_failures: AtomicU64,
    /// Sessions ended because a peer broke the protocol.
    pub protocol_errors: AtomicU64,
    /// Events that the audit could not take.
    pub audit_failures: AtomicU64,
    /// Approvals given by breaking glass.
    pub glass_broken: AtomicU64,
    /// Recordings that are not whole: a limit was reached, or they could not be written.
    pub recordings_stopped: AtomicU64,
    /// Deliveries to webhooks and sinks that failed; each is tried again.
    pub delivery_failures: AtomicU64,
}

impl Stats {
    /// Adds one to a counter.
    pub fn bump(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one from a counter that says `active`.
    pub fn unbump(counter: &AtomicU64) {
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A session that is open now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveSession {
    /// Its identifier.
    pub id: String,
    /// Who.
    pub principal: String,
    /// To which target.
    pub target: String,
    /// From where.
    pub client_address: String,
    /// When it opened, in milliseconds since the Unix epoch.
    pub opened_ms: u64,
    /// Commands decided so far.
    pub commands: u64,
}

/// Shows, follows and ends the sessions that are open now.
pub trait SessionControl: Send + Sync {
    /// The sessions open now, oldest first.
    fn live(&self) -> Vec<LiveSession>;
    /// Ends a session at both sides; false if there is none with this identifier.
    fn kill(&self, id: &str, by: &str) -> bool;
    /// Follows a session from now on; none if there is none with this identifier. A watcher sees at most what the target's recordings hold,
    /// and commands in any case.
    fn watch(&self, id: &str) -> Option<Box<dyn Watching>>;
}

/// What a session's client sees, as it happens. A watcher who is too slow loses entries and does not hold up the session.
pub trait Watching: Send {
    /// What is seen of the session.
    fn level(&self) -> RecordLevel;
    /// What comes next; `Ready(None)` when the session has ended.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Watched>>;
}

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// What the client saw.
    Entry(std::sync::Arc<TimedEntry>),
    /// So many entries were lost since the watcher was too slow.
    Lost(u64),
}
