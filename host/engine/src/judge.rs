use std::sync::{Arc, Weak};

use portcullis_verdict::{
    Answer, Batch, Chain, Command, Denial, Fault, Finding, Grant, Judge, Kind, Mode, Phase, ResultSet, RowPlan, Ruling,
    Session, Snapshot, Statement, Step, Verdict, Wants,
};

use crate::answer::{self, Asked};
use crate::canary::Member;
use crate::engine::{Inner, Installed};
use crate::host::{Host, Question, handle};
use crate::instance::Instance;
use crate::meter::Hook;
use crate::policy::Policy;
use crate::rehearsal::Stage;

/// Decides for one session, with instances of its own.
pub(crate) struct SessionJudge {
    inner: Arc<Inner>,
    session: Arc<Session>,
    instances: Vec<Slot>,
    /// The newest set that was asked, and this session's chain in it.
    generation: Option<u64>,
    chain: Option<Arc<[Member]>>,
    /// Whether some instance is not of that chain: it is kept while commands that its set decided are under way.
    superseded: bool,
    /// In a rehearsal, what stands in for the world.
    stage: Option<Stage>,
}

struct Slot {
    policy: Arc<Policy>,
    /// The newest set for which it was asked.
    set: Weak<Installed>,
    instance: Instance,
}

impl SessionJudge {
    pub(crate) fn new(inner: Arc<Inner>, session: Arc<Session>) -> Self {
        Self { inner, session, instances: Vec::new(), generation: None, chain: None, superseded: false, stage: None }
    }

    /// One whose answers have no consequences.
    pub(crate) fn rehearsing(inner: Arc<Inner>, session: Arc<Session>) -> Self {
        Self { stage: Some(Stage::default()), ..Self::new(inner, session) }
    }

    pub(crate) fn stage(&mut self) -> Option<&mut Stage> {
        self.stage.as_mut()
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The set in force. Instances that nothing needs any more are dropped on the way.
    fn current(&mut self) -> Arc<Installed> {
        let set = self.inner.current.load_full();
        if self.generation != Some(set.generation) {
            self.generation = Some(set.generation);
            self.chain = set.set.chains.get(&self.session.target.name).cloned();
            self.superseded = true;
        }
        if self.superseded {
            let chain = self.chain.as_deref().unwrap_or_default();
            let in_force = |slot: &Slot| chain.iter().any(|m| Arc::ptr_eq(&m.policy, &slot.policy));
            self.instances.retain(|slot| in_force(slot) || slot.set.strong_count() > 0);
            self.superseded = !self.instances.iter().all(in_force);
        }
        set
    }

    /// Asks one policy one question, unless it is held closed.
    pub(crate) fn ask<T>(
        &mut self,
        set: &Arc<Installed>,
        policy: &Arc<Policy>,
        question: impl FnOnce(&Inner, &mut Instance) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.stage.is_some() {
            // How a policy fares in a rehearsal says nothing of how it serves.
            return self.attempt(set, policy, question);
        }
        let inner = self.inner.clone();
        policy.health.admit(&*inner.shared.now)?;
        let outcome = self.attempt(set, policy, question);
        policy.health.settle(&outcome, &*inner.shared.now);
        match &outcome {
            // Clients bring these about as often as they like; the audit has them.
            Ok(_) | Err(Fault::Error(_) | Fault::Unreadable(_)) => {}
            Err(fault) => {
                let (policy, session) = (&*policy.name, &*self.session.id);
                tracing::warn!(target: "portcullis::policy", policy, session, "the policy {fault}");
            }
        }
        outcome
    }

    fn attempt<T>(
        &mut self,
        set: &Arc<Installed>,
        policy: &Arc<Policy>,
        question: impl FnOnce(&Inner, &mut Instance) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let at = self.instance(set, policy)?;
        let instance = &mut self.instances[at].instance;
        if let Some(stage) = &mut self.stage {
            stage.set(policy, &self.session, instance);
        }
        let outcome = question(&self.inner, instance);
        if let Some(stage) = &mut self.stage {
            stage.clear(instance);
        }
        if instance.dead {
            self.instances.swap_remove(at);
        }
        outcome
    }

    /// The place of this session's instance of a policy, which is started if need be.
    fn instance(&mut self, set: &Arc<Installed>, policy: &Arc<Policy>) -> Result<usize, Fault> {
        if let Some(at) = self.instances.iter().position(|slot| Arc::ptr_eq(&slot.policy, policy)) {
            let slot = &mut self.instances[at];
            if !std::ptr::eq(slot.set.as_ptr(), Arc::as_ptr(set)) {
                slot.set = Arc::downgrade(set);
            }
            return Ok(at);
        }
        let instance = match &mut self.stage {
            None => {
                let host = Host::new(Some(self.session.clone()), policy.services.clone());
                Instance::start(&self.inner.runtime, policy, host)?
            }
            Some(stage) => stage.start(&self.inner, policy, &self.session)?,
        };
        self.instances.push(Slot { policy: policy.clone(), set: Arc::downgrade(set), instance });
        Ok(self.instances.len() - 1)
    }

    /// The chain that a set has for this session's target.
    pub(crate) fn chain_of(&self, set: &Installed) -> Option<Arc<[Member]>> {
        set.set.chains.get(&self.session.target.name).cloned()
    }

    /// Nothing is known about the target: it is in no configuration that was put in force.
    fn unknown_target(&self) -> Denial {
        Denial::by_gateway(format!("no policies are in force for the target `{}`", self.session.target.name))
    }

    fn decide(
        &mut self,
        set: &Arc<Installed>,
        member: &Member,
        command: &Arc<Command>,
        statement: &Arc<Statement>,
        grant: Option<&Grant>,
    ) -> Answer {
        let mut inputs = Vec::new();
        let (facts, phase, pure) = (&statement.facts, command.phase, member.policy.pure && grant.is_none());
        let outcome = self.ask(set, &member.policy, |inner, instance| {
            if pure && let Some(said) = instance.answers.said(facts, phase) {
                return Ok(said);
            }
            let question = Question::command(command, statement);
            let (answer, asked) = match grant {
                None => (
                    instance.decide(&inner.runtime, Hook::Check, question, |hooks, s| {
                        hooks.call_check(s, handle(), handle())
                    }),
                    Asked::Check,
                ),
                Some(grant) => (
                    instance.decide(&inner.runtime, Hook::Approved, question, |hooks, s| {
                        hooks.call_approved(s, handle(), handle(), &grant.approvers)
                    }),
                    Asked::Approved,
                ),
            };
            inputs = instance.host().inputs();
            let said = answer::verdict(answer?, asked)?;
            if pure && !instance.host().apart {
                instance.answers.keep_said(facts, phase, &said);
            }
            Ok(said)
        });
        Answer { inputs, ..self.told(member, outcome) }
    }

    fn told(&self, member: &Member, outcome: Result<(Verdict, Vec<Finding>), Fault>) -> Answer {
        let (verdict, findings) = match outcome {
            Ok((verdict, findings)) => (Ok(verdict), findings),
            Err(fault) => (Err(fault), Vec::new()),
        };
        let (policy, digest) = (member.policy.name.clone(), member.policy.digest.clone());
        Answer { policy, digest, mode: member.mode(&self.session.id), verdict, findings, inputs: Vec::new() }
    }
}

/// The gateway's own refusal, as an answer of a chain.
fn refused(denial: Denial) -> Answer {
    Answer {
        policy: denial.policy,
        digest: "".into(),
        mode: Mode::Enforce,
        verdict: Ok(Verdict::Deny(denial.message)),
        findings: Vec::new(),
        inputs: Vec::new(),
    }
}

impl Judge for SessionJudge {
    fn wants(&mut self, kind: Kind) -> Wants {
        self.current();
        match &self.chain {
            Some(chain) => {
                let rows = chain.iter().any(|m| m.edits(&self.session.id));
                let checks = || chain.iter().filter(|m| m.policy.checks(kind));
                let conditions = checks().any(|m| m.policy.asks_conditions);
                Wants { commands: checks().next().is_some(), rows, conditions }
            }
            // Everything is to be asked about, so that everything is denied.
            None => Wants { commands: true, rows: true, conditions: false },
        }
    }

    fn edits(&self, snapshot: &Snapshot) -> bool {
        // A set that is not ours is denied where its rows are asked about.
        !self.deciding(snapshot).is_ok_and(|(_, chain)| chain.iter().all(|m| !m.edits(&self.session.id)))
    }

    fn open(&mut self) -> Ruling {
        let set = self.current();
        let mut ruling = Chain::new(0, Phase::Execute, set.snapshot());
        let Some(chain) = self.chain.clone() else {
            ruling.push(refused(self.unknown_target()));
            return ruling.conclude();
        };
        for member in chain.iter().filter(|m| m.policy.hooks.commands.is_some()) {
            let outcome = self.ask(&set, &member.policy, |inner, instance| {
                let question = Question::default();
                let answer =
                    instance.decide(&inner.runtime, Hook::Open, question, |hooks, s| hooks.call_open(s, handle()))?;
                answer::verdict(answer, Asked::Open)
            });
            if ruling.push(self.told(member, outcome)) == Step::Stop {
                break;
            }
        }
        ruling.conclude()
    }

    fn check(&mut self, command: &Arc<Command>, grants: &[Grant], read: &dyn Fn(&str) -> Arc<Statement>) -> Ruling {
        let set = self.current();
        let mut ruling = Chain::new(command.sequence, command.phase, set.snapshot());
        let Some(chain) = self.chain.clone() else {
            ruling.push(refused(self.unknown_target()));
            return ruling.conclude();
        };
        let kind = command.statement.kind;
        let mut statement = command.statement.clone();
        for member in chain.iter().filter(|m| m.policy.checks(kind)) {
            let grant = grants.iter().find(|g| g.policy == member.policy.name);
            let answer = self.decide(&set, member, command, &statement, grant);
            match ruling.push(answer) {
                Step::Continue => {}
                Step::Rewrite(text) => {
                    statement = read(&text);
                    ruling.rewritten(statement.clone());
                }
                Step::Stop => break,
            }
        }
        ruling.conclude()
    }

    fn plan(
        &mut self,
        snapshot: &Snapshot,
        command: &Arc<Command>,
        result: &Arc<ResultSet>,
    ) -> Result<RowPlan, Denial> {
        self.plan_rows(snapshot, command, result)
    }

    fn filter(
        &mut self,
        snapshot: &Snapshot,
        command: &Arc<Command>,
        result: &Arc<ResultSet>,
        plan: &RowPlan,
        batch: &mut Batch,
    ) -> Result<(), Denial> {
        self.filter_rows(snapshot, command, result, plan, batch)
    }

    fn rest(&mut self) {
        self.instances = Vec::new();
    }
}
