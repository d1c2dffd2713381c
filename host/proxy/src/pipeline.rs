//! The way of every command of every protocol: decide, record, hold if people must approve, decide again, permit.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use portcullis_verdict::{
    AnswerRecord, Appended, ApprovalOutcome, ApprovalRequest, Approvals, AuditError, AuditSink, Command, CommandEvent,
    Demand, Denial, Event, Grant, Hold, InputsEvent, Judge, Outcome, Parameter, Permit, PolicyInputs, Receipt, Ruling,
    Session, Snapshot, Statement, Stats, Subject,
};

/// Decides and records for one session.
pub(crate) struct Pipeline {
    pub(crate) session: Arc<Session>,
    /// What every event of the session is about.
    pub(crate) subject: Arc<Subject>,
    pub(crate) judge: Box<dyn Judge>,
    audit: Option<Arc<dyn AuditSink>>,
    approvals: Arc<dyn Approvals>,
    pub(crate) stats: Arc<Stats>,
    /// Bound parameters are recorded too.
    record_parameters: bool,
    /// What policies got from their capabilities is recorded too.
    record_inputs: bool,
}

/// What comes of a command.
pub(crate) enum Decision {
    /// It may be sent.
    Go(Go),
    /// It must not be sent.
    Deny(Denial),
    /// It waits; see [`Pipeline::poll`].
    Wait(Waiting),
}

/// Leave to send a command.
pub(crate) struct Go {
    /// The proof.
    pub(crate) permit: Permit,
    /// The policies that decided, which also decide on the rows.
    pub(crate) snapshot: Snapshot,
    /// What runs in place of the client's text, if a policy rewrote it.
    pub(crate) rewrite: Option<Arc<Statement>>,
}

/// A command that waits for people or for the disk.
pub(crate) struct Waiting {
    command: Arc<Command>,
    state: State,
}

/// What comes of the event of a command that was allowed or denied: the receipt, and the ruling that it is for.
type Recorded = Result<(Receipt, Ruling), AuditError>;

enum State {
    Approval { hold: Hold, granted: Granted },
    Disk(Pin<Box<dyn Future<Output = Recorded> + Send>>),
}

/// What people have granted so far, and for what. A policy that comes meanwhile asks people of its own, and what others have granted for the very
/// same stands.
struct Granted {
    /// Of what the people see, and of nothing else that may run.
    digest: String,
    grants: Vec<Grant>,
}

impl Waiting {
    /// The approval that it waits for.
    pub(crate) fn approval(&self) -> Option<&Hold> {
        match &self.state {
            State::Approval { hold, .. } => Some(hold),
            State::Disk(_) => None,
        }
    }
}

impl Pipeline {
    pub(crate) fn new(
        session: Arc<Session>,
        judge: Box<dyn Judge>,
        audit: Option<Arc<dyn AuditSink>>,
        approvals: Arc<dyn Approvals>,
        stats: Arc<Stats>,
        record_parameters: bool,
        record_inputs: bool,
    ) -> Self {
        let subject = Arc::new(session.subject());
        Self { session, subject, judge, audit, approvals, stats, record_parameters, record_inputs }
    }

    /// Asks the policies about a command. `read` reads the facts of a text that a policy puts in its place.
    pub(crate) fn decide(&mut self, command: Arc<Command>, read: &dyn Fn(&str) -> Arc<Statement>) -> Decision {
        let asked = Instant::now();
        let ruling = self.judge.check(&command, &[], read);
        self.settle(command, ruling, asked, None)
    }

    /// Goes on with a command that waits.
    pub(crate) fn poll(
        &mut self,
        waiting: &mut Waiting,
        cx: &mut Context<'_>,
        read: &dyn Fn(&str) -> Arc<Statement>,
    ) -> Poll<Decision> {
        let decision = match &mut waiting.state {
            State::Disk(recorded) => match std::task::ready!(recorded.as_mut().poll(cx)) {
                Ok((receipt, ruling)) => match &ruling.outcome {
                    Outcome::Deny(denial) => self.deny(denial.clone()),
                    Outcome::Allow | Outcome::Review(_) => self.permit(ruling, receipt),
                },
                Err(error) => self.unrecorded(&error),
            },
            State::Approval { hold, granted } => {
                let outcome = std::task::ready!(hold.outcome.as_mut().poll(cx));
                let (id, Granted { digest, grants }) = (hold.id.clone(), granted);
                let granted = Granted { digest: std::mem::take(digest), grants: std::mem::take(grants) };
                Stats::unbump(&self.stats.holds_active);
                self.approved(waiting.command.clone(), outcome, id, granted, read)
            }
        };
        Poll::Ready(decision)
    }

    /// A hold is given up: by a cancel, a disconnect or the end of the gateway. Dropping it withdraws the command; what becomes of the
    /// request is the desk's to say.
    pub(crate) fn give_up(&self, waiting: Waiting) {
        if waiting.approval().is_some() {
            Stats::unbump(&self.stats.holds_active);
        }
    }

    /// Records what needs no permit.
    pub(crate) fn record(&self, event: impl FnOnce(Arc<Subject>) -> Event) {
        if let Some(audit) = &self.audit {
            audit.note(event(self.subject.clone()));
        }
    }

    /// Records the opening of the session, or its refusal.
    pub(crate) fn record_opening(&self, event: Event) -> impl Future<Output = Result<(), AuditError>> + Send + use<> {
        let appended = self.audit.as_ref().map(|audit| audit.append(event));
        async move {
            match appended {
                None => Ok(()),
                Some(appended) => appended.received().await.map(drop),
            }
        }
    }

    fn approved(
        &mut self,
        command: Arc<Command>,
        outcome: ApprovalOutcome,
        id: Arc<str>,
        mut granted: Granted,
        read: &dyn Fn(&str) -> Arc<Statement>,
    ) -> Decision {
        let refused = |message: String| self.deny(Denial::by_gateway(message));
        match outcome {
            // The policies are asked once more: they, or the time, may have changed since.
            ApprovalOutcome::Granted(grants) => {
                let asked = Instant::now();
                granted.grants.extend(grants);
                let mut ruling = self.judge.check(&command, &granted.grants, read);
                // The bytes that were approved are the bytes that run.
                if ruling.outcome == Outcome::Allow && command.digest(final_text(&command, &ruling)) != granted.digest {
                    let message = format!("the policies would run another text than the one that approval {id} is for");
                    ruling.outcome = Outcome::Deny(Denial::by_gateway(message));
                }
                self.settle(command, ruling, asked, Some((id, granted)))
            }
            ApprovalOutcome::Denied { by, reason } if reason.is_empty() => {
                refused(format!("{by} denied approval {id}"))
            }
            ApprovalOutcome::Denied { by, reason } => refused(format!("{by} denied approval {id}: {reason}")),
            ApprovalOutcome::Expired => refused(format!("approval {id} expired before anybody decided")),
        }
    }

    /// Records what the policies, `asked` at that time, said of a command, and does as they say.
    fn settle(
        &mut self,
        command: Arc<Command>,
        mut ruling: Ruling,
        asked: Instant,
        approval: Option<(Arc<str>, Granted)>,
    ) -> Decision {
        let appended = self.audit.as_ref().map(|audit| {
            let approval = approval.as_ref().map(|(id, _)| id.clone());
            let inputs = self.inputs(&command, &mut ruling);
            let event = self.event(&command, &mut ruling, asked, approval);
            append(&**audit, Event::Command(event), inputs.map(Event::Inputs))
        });
        match (&ruling.outcome, appended) {
            // A denial is told when it is recorded, as what is allowed is sent then.
            (Outcome::Allow | Outcome::Deny(_), Some(Appended::Pending(receipt))) => {
                let recorded = Box::pin(async move { Ok((receipt.await?, ruling)) });
                Decision::Wait(Waiting { command, state: State::Disk(recorded) })
            }
            (Outcome::Deny(denial), _) => self.deny(denial.clone()),
            (_, Some(Appended::Failed(error))) => self.unrecorded(&error),
            (Outcome::Review(demands), _) => match approval {
                // A policy that was not in force when people were asked demands its own approval of the same command.
                Some((_, Granted { grants, .. }))
                    if demands.iter().all(|d| grants.iter().any(|g| g.policy == d.policy)) =>
                {
                    self.deny(Denial::by_gateway("the policies ask for the same approval again"))
                }
                approval => self.hold(command, &ruling, demands.clone(), approval.map(|(_, granted)| granted)),
            },
            (Outcome::Allow, None) => self.permit(ruling, Receipt::accepted()),
            (Outcome::Allow, Some(Appended::Done(receipt))) => self.permit(ruling, receipt),
        }
    }

    fn hold(
        &mut self,
        command: Arc<Command>,
        ruling: &Ruling,
        demands: Vec<Demand>,
        before: Option<Granted>,
    ) -> Decision {
        Stats::bump(&self.stats.commands_held);
        let text = final_text(&command, ruling).clone();
        let digest = command.digest(&text);
        let request = ApprovalRequest {
            session: self.session.clone(),
            sequence: command.sequence,
            digest: digest.clone(),
            parameters: command.parameters.iter().map(Parameter::shown).collect(),
            text,
            demands,
            reason: command.reason.clone(),
        };
        match self.approvals.request(request) {
            Ok(hold) => {
                Stats::bump(&self.stats.holds_active);
                // What was granted for another text does not count for this one.
                let before = before.filter(|before| before.digest == digest);
                let granted = Granted { digest, grants: before.map(|before| before.grants).unwrap_or_default() };
                Decision::Wait(Waiting { command, state: State::Approval { hold, granted } })
            }
            Err(error) => self.deny(Denial::by_gateway(error.to_string())),
        }
    }

    fn permit(&self, mut ruling: Ruling, receipt: Receipt) -> Decision {
        let (snapshot, rewrite) = (ruling.snapshot.clone(), ruling.rewrite.take());
        match ruling.permit(receipt) {
            Some(permit) => {
                Stats::bump(&self.stats.commands_allowed);
                Decision::Go(Go { permit, snapshot, rewrite })
            }
            None => self.deny(Denial::by_gateway("the command was not allowed")),
        }
    }

    fn unrecorded(&self, error: &AuditError) -> Decision {
        tracing::error!(session = %self.session.id, %error, "a command is refused since it cannot be recorded");
        self.deny(Denial::by_gateway("commands are refused while the audit log cannot be written"))
    }

    fn deny(&self, denial: Denial) -> Decision {
        Stats::bump(&self.stats.commands_denied);
        Decision::Deny(denial)
    }

    /// What policies got from their capabilities, if any got something and it is to be recorded.
    fn inputs(&self, command: &Command, ruling: &mut Ruling) -> Option<InputsEvent> {
        if !self.record_inputs {
            return None;
        }
        let got = ruling.explanation.iter_mut().filter(|answer| !answer.inputs.is_empty());
        let inputs = got.map(|answer| PolicyInputs {
            policy: answer.policy.clone(),
            digest: answer.digest.clone(),
            inputs: std::mem::take(&mut answer.inputs),
        });
        let inputs: Vec<PolicyInputs> = inputs.collect();
        let (subject, phase) = (&self.subject, command.phase.as_str());
        (!inputs.is_empty()).then(|| InputsEvent {
            subject: subject.clone(),
            sequence: command.sequence,
            phase: phase.into(),
            inputs,
        })
    }

    fn event(
        &self,
        command: &Command,
        ruling: &mut Ruling,
        asked: Instant,
        approval: Option<Arc<str>>,
    ) -> CommandEvent {
        let statement = &command.statement;
        let message = match &ruling.outcome {
            Outcome::Deny(denial) => Some(denial.message.clone()),
            _ => None,
        };
        let recorded = if self.record_parameters { command.parameters.as_slice() } else { &[] };
        CommandEvent {
            subject: self.subject.clone(),
            sequence: command.sequence,
            kind: statement.kind.as_str().into(),
            phase: command.phase.as_str().into(),
            text: statement.text.clone(),
            rewrite: ruling.rewrite.as_ref().map(|s| s.text.clone()),
            facts: statement.facts.clone(),
            parameters: recorded.iter().map(Parameter::shown).collect(),
            reason: command.reason.clone(),
            outcome: ruling.outcome.as_str().into(),
            message,
            answers: std::mem::take(&mut ruling.explanation).into_iter().map(AnswerRecord::from).collect(),
            approval,
            micros: asked.elapsed().as_micros() as u64,
        }
    }
}

/// Appends a decision, and what it rests on. It is kept when both are.
fn append(audit: &dyn AuditSink, decision: Event, inputs: Option<Event>) -> Appended {
    let first = audit.append(decision);
    let (Appended::Done(_) | Appended::Pending(_), Some(inputs)) = (&first, inputs) else { return first };
    match (first, audit.append(inputs)) {
        (Appended::Failed(error), _) | (_, Appended::Failed(error)) => Appended::Failed(error),
        (Appended::Done(_), second) => second,
        (first, second) => Appended::Pending(Box::pin(async move {
            first.received().await?;
            second.received().await
        })),
    }
}

/// What would run.
fn final_text<'a>(command: &'a Command, ruling: &'a Ruling) -> &'a Arc<str> {
    ruling.rewrite.as_ref().map_or(&command.statement.text, |statement| &statement.text)
}
