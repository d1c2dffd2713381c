use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::approval::Demand;
use crate::audit::Receipt;
use crate::command::Phase;
use crate::decide::Snapshot;
use crate::input::Input;

/// What one policy says of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it run as far as this policy is concerned.
    Allow,
    /// Let this text run in its place; the policies after this one decide on the new text.
    Rewrite(String),
    /// Hold it until people approve.
    Review(Terms),
    /// Refuse it with this message.
    Deny(String),
}

/// What a policy demands before a command may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The groups whose members may approve; any of them will do.
    pub any_of: Vec<String>,
    /// How many different people must approve; at least 1.
    pub quorum: u32,
    /// How long the request stays open, in seconds.
    pub ttl_seconds: u32,
    /// Whether the approval serves later commands too.
    pub reuse: crate::approval::Reuse,
    /// Why approval is needed, shown to the client and the reviewer.
    pub reason: String,
}

/// A fact that explains a verdict, kept for the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule that spoke.
    pub rule: String,
    /// What it saw.
    pub message: String,
}

/// Why a policy gave no usable answer. Each is a denial: the gateway fails closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The answer breaks the interface's rules.
    #[error("gave a bad answer: {0}")]
    BadAnswer(String),
    /// It returned an error.
    #[error("returned an error: {0}")]
    Error(String),
    /// It has failed too often and is not asked until the given pause is over.
    #[error("is held closed after repeated failures; the last one: it {0}")]
    HeldClosed(String),
    /// It used more memory than it may.
    #[error("ran out of its memory of {0} bytes")]
    Memory(u64),
    /// It could not be started.
    #[error("could not be started: {0}")]
    Start(String),
    /// It did not answer in time.
    #[error("did not answer within {0} ms")]
    Timeout(u64),
    /// It trapped.
    #[error("trapped: {0}")]
    Trap(String),
    /// It asked for facts of a command that the host could not read.
    #[error("needs facts of a command that could not be read: {0}")]
    Unreadable(String),
}

/// Whether a policy's answers act or are only recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its answers act.
    #[default]
    Enforce,
    /// Its answers are recorded and do not act.
    Monitor,
}

/// One policy's answer to one question, kept to explain the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The policy's name.
    pub policy: Arc<str>,
    /// The SHA-256 of its component, in hexadecimal.
    pub digest: Arc<str>,
    /// Whether the answer acts.
    pub mode: Mode,
    /// What it said, or why it said nothing usable.
    pub verdict: Result<Verdict, Fault>,
    /// The facts it gave for that.
    pub findings: Vec<Finding>,
    /// What it got from its capabilities meanwhile; empty for most.
    pub inputs: Vec<Input>,
}

/// A refusal, with the policy that refused and a message fit for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The policy, or `portcullis` where the gateway itself refuses.
    pub policy: Arc<str>,
    /// Why; it holds no value of a result and nothing of the upstream's credentials.
    pub message: String,
}

impl Denial {
    /// A refusal by the gateway itself.
    pub fn by_gateway(message: impl Into<String>) -> Self {
        Self { policy: "portcullis".into(), message: message.into() }
    }
}

/// What the whole chain decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It may run.
    Allow,
    /// It may run once every demand is met.
    Review(Vec<Demand>),
    /// It must not run.
    Deny(Denial),
}

impl Outcome {
    /// The name under which the audit and the metrics show it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Review(_) => "review",
            Self::Deny(_) => "deny",
        }
    }
}

/// The outcome for one command, how it came about, and the policies that will also decide on its rows.
#[derive(Debug)]
pub struct Ruling {
    /// What was decided.
    pub outcome: Outcome,
    /// Every policy's answer, in the order of the chain.
    pub explanation: Vec<Answer>,
    /// The text to run in place of the client's, if a policy rewrote it.
    pub rewrite: Option<Arc<crate::Statement>>,
    /// The set of policies that decided.
    pub snapshot: Snapshot,
    sequence: u64,
}

impl Ruling {
    /// The permit to send the command upstream, if it was allowed and has been recorded.
    ///
    /// This is the only maker of [`Permit`]s: without an allowing chain and the audit's receipt there is none.
    pub fn permit(self, _recorded: Receipt) -> Option<Permit> {
        matches!(self.outcome, Outcome::Allow).then_some(Permit { sequence: self.sequence })
    }
}

/// Proof that one command was allowed and recorded. It cannot be cloned; sending the command consumes it.
#[derive(Debug)]
pub struct Permit {
    sequence: u64,
}

impl Permit {
    /// The command it is for.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// Folds the answers of a chain of policies into a [`Ruling`]: deny beats review beats rewrite beats allow.
#[derive(Debug)]
pub struct Chain {
    sequence: u64,
    phase: Phase,
    snapshot: Snapshot,
    answers: Vec<Answer>,
    demands: Vec<Demand>,
    rewrite: Option<Arc<crate::Statement>>,
    denial: Option<Denial>,
}

/// What to do after an answer was added to a chain.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the next policy about the same text.
    Continue,
    /// Read this text, hand it to [`Chain::rewritten`], and ask the next policy about it.
    Rewrite(String),
    /// The chain has decided.
    Stop,
}

impl Chain {
    /// A chain that decides on the command with this number. In [`Phase::Prepare`] a review is recorded and does not hold:
    /// nothing runs yet, and the chain is asked again when it is to.
    pub fn new(sequence: u64, phase: Phase, snapshot: Snapshot) -> Self {
        Self { sequence, phase, snapshot, answers: Vec::new(), demands: Vec::new(), rewrite: None, denial: None }
    }

    /// Adds the next policy's answer. What a policy in monitor mode says is kept and does not act.
    pub fn push(&mut self, answer: Answer) -> Step {
        let step = match (&answer.verdict, answer.mode) {
            (_, Mode::Monitor) | (Ok(Verdict::Allow), _) => Step::Continue,
            (Ok(Verdict::Rewrite(text)), _) => Step::Rewrite(text.clone()),
            (Ok(Verdict::Review(_)), _) if self.phase == Phase::Prepare => Step::Continue,
            (Ok(Verdict::Review(terms)), _) => {
                self.demands.push(Demand { policy: answer.policy.clone(), terms: terms.clone() });
                Step::Continue
            }
            (Ok(Verdict::Deny(message)), _) => {
                self.denial = Some(Denial { policy: answer.policy.clone(), message: message.clone() });
                Step::Stop
            }
            (Err(fault), _) => {
                let message = format!("the policy {fault}; commands are refused while it does");
                self.denial = Some(Denial { policy: answer.policy.clone(), message });
                Step::Stop
            }
        };
        self.answers.push(answer);
        step
    }

    /// Takes the new text that a [`Step::Rewrite`] asked for.
    pub fn rewritten(&mut self, statement: Arc<crate::Statement>) {
        self.rewrite = Some(statement);
    }

    /// The outcome.
    pub fn conclude(self) -> Ruling {
        let outcome = match (self.denial, self.demands.is_empty()) {
            (Some(denial), _) => Outcome::Deny(denial),
            (None, false) => Outcome::Review(self.demands),
            (None, true) => Outcome::Allow,
        };
        Ruling {
            outcome,
            explanation: self.answers,
            rewrite: self.rewrite,
            snapshot: self.snapshot,
            sequence: self.sequence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Reuse;
    use crate::{Kind, Statement};

    fn answer(policy: &str, verdict: Result<Verdict, Fault>) -> Answer {
        Answer {
            policy: policy.into(),
            digest: "00".into(),
            mode: Mode::Enforce,
            verdict,
            findings: vec![],
            inputs: vec![],
        }
    }

    fn review() -> Result<Verdict, Fault> {
        Ok(Verdict::Review(Terms {
            any_of: vec!["dba".into()],
            quorum: 1,
            ttl_seconds: 60,
            reuse: Reuse::Once,
            reason: "r".into(),
        }))
    }

    fn chain() -> Chain {
        Chain::new(7, Phase::Execute, Snapshot::empty())
    }

    #[test]
    fn an_empty_chain_allows() {
        assert_eq!(chain().conclude().outcome, Outcome::Allow);
    }

    #[test]
    fn deny_beats_review_beats_rewrite_beats_allow() {
        let mut c = chain();
        assert_eq!(c.push(answer("a", Ok(Verdict::Allow))), Step::Continue);
        assert_eq!(c.push(answer("b", Ok(Verdict::Rewrite("select 2".into())))), Step::Rewrite("select 2".into()));
        c.rewritten(Arc::new(Statement::unread(Kind::Sql, "select 2")));
        assert_eq!(c.push(answer("c", review())), Step::Continue);
        assert_eq!(c.push(answer("d", Ok(Verdict::Deny("no".into())))), Step::Stop);
        let ruling = c.conclude();
        assert_eq!(ruling.outcome, Outcome::Deny(Denial { policy: "d".into(), message: "no".into() }));
        assert_eq!(ruling.explanation.len(), 4);
    }

    #[test]
    fn a_review_lets_a_command_be_prepared() {
        let mut c = Chain::new(1, Phase::Prepare, Snapshot::empty());
        assert_eq!(c.push(answer("a", review())), Step::Continue);
        let ruling = c.conclude();
        assert_eq!((&ruling.outcome, ruling.explanation.len()), (&Outcome::Allow, 1));
    }

    #[test]
    fn every_demand_of_a_review_is_kept() {
        let mut c = chain();
        c.push(answer("a", review()));
        c.push(answer("b", review()));
        let Outcome::Review(demands) = c.conclude().outcome else { panic!("not a review") };
        assert_eq!(demands.iter().map(|d| &*d.policy).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_fault_is_a_denial_that_names_the_policy() {
        let mut c = chain();
        assert_eq!(c.push(answer("broken", Err(Fault::Timeout(50)))), Step::Stop);
        let Outcome::Deny(denial) = c.conclude().outcome else { panic!("not a denial") };
        assert_eq!(&*denial.policy, "broken");
        assert!(denial.message.contains("50 ms"), "{}", denial.message);
    }

    #[test]
    fn monitor_records_and_does_not_act() {
        let mut c = chain();
        let mut a = answer("a", Ok(Verdict::Deny("no".into())));
        a.mode = Mode::Monitor;
        assert_eq!(c.push(a), Step::Continue);
        let ruling = c.conclude();
        assert_eq!((ruling.outcome, ruling.explanation.len()), (Outcome::Allow, 1));
    }

    #[test]
    fn only_an_allowing_ruling_gives_a_permit() {
        assert_eq!(chain().conclude().permit(Receipt::accepted()).map(|p| p.sequence()), Some(7));
        let mut c = chain();
        c.push(answer("a", review()));
        assert!(c.conclude().permit(Receipt::accepted()).is_none());
    }
}
