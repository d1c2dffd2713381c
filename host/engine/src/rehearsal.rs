//! Questions asked again, with what was recorded in place of the world.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_verdict::{
    Batch, Command, Denial, Grant, Input, Judge, ResultSet, RowPlan, Ruling, Session, Snapshot, Statement,
};
use sha2::{Digest, Sha256};

use crate::engine::Inner;
use crate::host::{Cue, Host, Services};
use crate::instance::Instance;
use crate::judge::SessionJudge;
use crate::policy::Policy;
use crate::state::State;

/// Asks the policies in force again about the commands of one session, without leave for anything to happen: what policies get from their
/// capabilities comes from a [`Script`], and neither their state nor their health is touched.
///
/// An instance lives as long as the rehearsal, unless it traps, while the session may have had several; the keyed hashes of `crypto` are
/// those of this engine's key. What a policy keeps in its memory between questions, and what it got while it was configured or asked to open the
/// session, is not recorded.
pub struct Rehearsal {
    judge: SessionJudge,
}

/// What was recorded of one command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// When it was decided, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What each policy got from its capabilities, by its name.
    pub inputs: HashMap<String, Vec<Input>>,
}

/// How close a rehearsal is to what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// Everything that policies got from their capabilities stood in the script.
    Exact,
    /// Some of it did not: the clock then gave the script's time, randomness came from a fixed stream, and the state was one of the
    /// rehearsal's own.
    Approximate,
}

impl Rehearsal {
    pub(crate) fn new(inner: Arc<Inner>, session: Arc<Session>) -> Self {
        Self { judge: SessionJudge::rehearsing(inner, session) }
    }

    /// What [`Judge::check`] would have decided, and whether that rests on the script alone.
    pub fn check(
        &mut self,
        command: &Arc<Command>,
        grants: &[Grant],
        read: &dyn Fn(&str) -> Arc<Statement>,
        script: Script,
    ) -> (Ruling, Fidelity) {
        if let Some(stage) = self.judge.stage() {
            (stage.script, stage.sequence, stage.missed) = (script, command.sequence, false);
        }
        let ruling = self.judge.check(command, grants, read);
        let missed = self.judge.stage().is_none_or(|stage| stage.missed);
        (ruling, if missed { Fidelity::Approximate } else { Fidelity::Exact })
    }

    /// As [`Judge::plan`], for a command that was decided by this rehearsal.
    pub fn plan(
        &mut self,
        snapshot: &Snapshot,
        command: &Arc<Command>,
        result: &Arc<ResultSet>,
    ) -> Result<RowPlan, Denial> {
        self.judge.plan(snapshot, command, result)
    }

    /// As [`Judge::filter`].
    pub fn filter(
        &mut self,
        snapshot: &Snapshot,
        command: &Arc<Command>,
        result: &Arc<ResultSet>,
        plan: &RowPlan,
        batch: &mut Batch,
    ) -> Result<(), Denial> {
        self.judge.filter(snapshot, command, result, plan, batch)
    }
}

/// What a rehearsing judge has in place of the world.
#[derive(Default)]
pub(crate) struct Stage {
    /// By policy; nobody else sees them.
    states: HashMap<Arc<str>, Arc<State>>,
    script: Script,
    /// The command that the script is of.
    sequence: u64,
    /// Whether some policy asked for what is not in the script.
    missed: bool,
    /// Questions so far, so that each draws other randomness.
    questions: u64,
}

impl Stage {
    /// Starts a policy's instance. Nothing is recorded of starts.
    pub(crate) fn start(
        &mut self,
        inner: &Inner,
        policy: &Policy,
        session: &Arc<Session>,
    ) -> Result<Instance, portcullis_verdict::Fault> {
        let state = self.states.entry(policy.name.clone()).or_default().clone();
        let services = Services::new(policy.name.clone(), policy.limits.clone(), state, inner.shared.clone());
        let mut host = Host::new(Some(session.clone()), Arc::new(services));
        host.cue(self.cue(policy, session, Vec::new()));
        let mut started = Instance::start(&inner.runtime, policy, host);
        // A start that fails did not fail so when the policy decided.
        self.missed |= started.as_mut().map_or(true, |instance| instance.host().missed());
        started
    }

    /// To be called before a question.
    pub(crate) fn set(&mut self, policy: &Policy, session: &Session, instance: &mut Instance) {
        let inputs = self.script.inputs.remove(&*policy.name).unwrap_or_default();
        instance.host().cue(self.cue(policy, session, inputs));
    }

    /// To be called when it has been answered.
    pub(crate) fn clear(&mut self, instance: &mut Instance) {
        self.missed |= instance.host().missed();
    }

    fn cue(&mut self, policy: &Policy, session: &Session, inputs: Vec<Input>) -> Cue {
        self.questions += 1;
        let seed = Sha256::new()
            .chain_update(&*session.id)
            .chain_update(self.sequence.to_be_bytes())
            .chain_update(self.questions.to_be_bytes())
            .chain_update(&*policy.name);
        Cue::new(self.script.now_ms, inputs, seed.finalize().into())
    }
}
