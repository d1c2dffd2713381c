use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::approval::Grant;
use crate::chain::{Denial, Ruling};
use crate::command::{Command, Kind, Statement};
use crate::rows::{Batch, ResultSet, RowPlan};
use crate::session::Session;

/// Decides for sessions: the gateway's handle to its current set of policies.
pub trait Decide: Send + Sync {
    /// A judge for one session. It starts nothing; policies start at their first question.
    fn judge(&self, session: &Arc<Session>) -> Box<dyn Judge>;
}

/// What the policies of a session want to be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Some policy is asked about commands of this kind, so their facts are needed.
    pub commands: bool,
    /// Some policy is asked about results.
    pub rows: bool,
    /// Some policy may ask what a command's conditions derive from, so the catalogue is needed before it is decided.
    pub conditions: bool,
}

/// Decides for one session, with instances of its own of every policy.
///
/// Calls are short and bounded by the policies' time limits; they do not wait for anybody.
pub trait Judge: Send {
    /// What the policies in force now want to be asked about commands of this kind.
    fn wants(&mut self, kind: Kind) -> Wants;

    /// Whether the session may open.
    fn open(&mut self) -> Ruling;

    /// Decides on a command with the policies in force now. A policy named by one of `grants` has demanded a review
    /// of this very command before, and is told who approved. `read` reads the facts of a rewritten text.
    fn check(&mut self, command: &Arc<Command>, grants: &[Grant], read: &dyn Fn(&str) -> Arc<Statement>) -> Ruling;

    /// Whether some policy of the set that decided a command is asked about its results.
    fn edits(&self, snapshot: &Snapshot) -> bool;

    /// What to do with each column of a result of a command that `snapshot` decided.
    fn plan(&mut self, snapshot: &Snapshot, command: &Arc<Command>, result: &Arc<ResultSet>)
    -> Result<RowPlan, Denial>;

    /// Lets the inspecting policies of a plan edit a batch of rows.
    fn filter(
        &mut self,
        snapshot: &Snapshot,
        command: &Arc<Command>,
        result: &Arc<ResultSet>,
        plan: &RowPlan,
        batch: &mut Batch,
    ) -> Result<(), Denial>;

    /// The session has nothing under way and has been quiet for a while: what can be made anew may be given back.
    fn rest(&mut self);
}

/// The set of policies that decided a command. It lives as long as anything that it decided is under way.
#[derive(Clone)]
pub struct Snapshot {
    generation: u64,
    set: Arc<dyn Any + Send + Sync>,
}

impl Snapshot {
    /// Wraps a set of policies under its generation number.
    pub fn new(generation: u64, set: Arc<dyn Any + Send + Sync>) -> Self {
        Self { generation, set }
    }

    /// A set without policies.
    pub fn empty() -> Self {
        Self::new(0, Arc::new(()))
    }

    /// Counts the sets: a swap increases it.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The set, for the engine that made it.
    pub fn set(&self) -> &Arc<dyn Any + Send + Sync> {
        &self.set
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Snapshot").field(&self.generation).finish()
    }
}

/// The policies in force and how they fare, for health and metrics.
pub trait Policies: Send + Sync {
    /// Every policy of the set in force.
    fn status(&self) -> Vec<PolicyStatus>;
    /// The set's generation.
    fn generation(&self) -> u64;
}

/// How one policy fares.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PolicyStatus {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its component, in hexadecimal.
    pub digest: String,
    /// Whether its answers act.
    pub mode: crate::Mode,
    /// Whether it answers.
    pub state: PolicyState,
    /// Questions asked.
    pub calls: u64,
    /// Questions it failed to answer.
    pub faults: u64,
    /// Its latest failure.
    pub last_fault: Option<String>,
    /// Where in its code it trapped or was stopped last: a line for each function, with its place in the source where the
    /// component says so.
    pub last_backtrace: Option<String>,
    /// Of how many sessions in a hundred it decides, if it is a canary; in the others it is in monitor mode.
    pub canary: Option<u8>,
}

/// Whether a policy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyState {
    /// It answers.
    Serving,
    /// It has failed repeatedly; everything it would decide is denied.
    HeldClosed,
}
