use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::{Finding, Mode};
use crate::command::Effects;

/// Takes what happened, in order, and keeps it.
pub trait AuditSink: Send + Sync {
    /// Appends an event. A command goes upstream only with the receipt.
    fn append(&self, event: Event) -> Appended;
}

/// How far an event has come.
pub enum Appended {
    /// It is kept as durably as the configuration demands.
    Done(Receipt),
    /// The receipt comes when it is durable.
    Pending(Pin<Box<dyn Future<Output = Result<Receipt, AuditError>> + Send>>),
    /// It is lost, and what it was to record must not happen.
    Failed(AuditError),
}

/// Proof that the audit has taken an event. Only an [`AuditSink`] makes one.
#[derive(Debug)]
pub struct Receipt(());

impl Receipt {
    /// To be called by an [`AuditSink`] that has taken the event.
    pub fn accepted() -> Self {
        Self(())
    }
}

/// The audit cannot take events.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct AuditError(pub String);

/// Something worth keeping. Times are added by the sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A session was opened or refused.
    Open(OpenEvent),
    /// A command was decided. Written before it goes upstream.
    Command(CommandEvent),
    /// A command that went upstream has ended.
    Finish(FinishEvent),
    /// A session ended.
    Close {
        /// The session.
        session: Arc<str>,
        /// How it ended, such as `client left` or `killed by bob`.
        reason: String,
    },
    /// Something happened to an approval request.
    Approval {
        /// The session of the held command.
        session: Arc<str>,
        /// The held command.
        sequence: u64,
        /// The request.
        approval: Arc<str>,
        /// `requested`, `approved`, `denied`, `expired` or `withdrawn`.
        what: String,
        /// The reviewer, or empty.
        by: String,
        /// The reviewer's words, or why it was withdrawn.
        reason: String,
    },
}

/// A session was opened or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenEvent {
    /// The session.
    pub session: Arc<str>,
    /// The protocol.
    pub protocol: Cow<'static, str>,
    /// Who.
    pub principal: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// By which credential.
    pub credential: Cow<'static, str>,
    /// To which target.
    pub target: String,
    /// From where.
    pub client_address: String,
    /// The justification, if any was given.
    pub reason: Option<String>,
    /// Why the session was refused, if it was.
    pub refused: Option<String>,
}

/// A command was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandEvent {
    /// The session.
    pub session: Arc<str>,
    /// The command's number in its session.
    pub sequence: u64,
    /// The command's kind.
    pub kind: Cow<'static, str>,
    /// `prepare` or `execute`.
    pub phase: Cow<'static, str>,
    /// The text that the client sent.
    pub text: Arc<str>,
    /// The text that runs in its place, if a policy rewrote it.
    pub rewrite: Option<Arc<str>>,
    /// The verbs in it; empty where the host did not read it.
    pub verbs: Vec<String>,
    /// The union of the effects of its statements.
    pub effects: Effects,
    /// `allow`, `review` or `deny`.
    pub outcome: Cow<'static, str>,
    /// Why it was denied, as the client was told.
    pub message: Option<String>,
    /// Every policy's answer.
    pub answers: Vec<AnswerRecord>,
    /// The approval request that this decision rests on, if any.
    pub approval: Option<Arc<str>>,
}

/// One policy's answer, as the audit keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// The policy.
    pub policy: Arc<str>,
    /// The SHA-256 of its component.
    pub digest: Arc<str>,
    /// Whether it acted.
    pub mode: Mode,
    /// `allow`, `rewrite`, `review`, `deny` or `fault`.
    pub verdict: Cow<'static, str>,
    /// Its message, or what went wrong.
    pub message: String,
    /// Its findings.
    pub findings: Vec<Finding>,
}

/// A command that went upstream has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishEvent {
    /// The session.
    pub session: Arc<str>,
    /// The command's number in its session.
    pub sequence: u64,
    /// The server's completion tag, such as `SELECT 3`, or empty.
    pub tag: String,
    /// Rows that the client received.
    pub rows: u64,
    /// Bytes of the server's rows, before policies changed them, and of COPY data in either direction; as on the wire.
    pub bytes: u64,
    /// Cells that a policy changed.
    pub masked: u64,
    /// From the permit to the last byte, in microseconds.
    pub micros: u64,
    /// The SQLSTATE or the gateway's own error, if it failed. Never the server's message, which may hold values.
    pub error: Option<String>,
}

impl From<&crate::Answer> for AnswerRecord {
    fn from(answer: &crate::Answer) -> Self {
        use crate::Verdict::{Allow, Deny, Review, Rewrite};
        let (verdict, message) = match &answer.verdict {
            Ok(Allow) => ("allow", String::new()),
            Ok(Rewrite(text)) => ("rewrite", text.clone()),
            Ok(Review(terms)) => ("review", terms.reason.clone()),
            Ok(Deny(message)) => ("deny", message.clone()),
            Err(fault) => ("fault", fault.to_string()),
        };
        Self {
            policy: answer.policy.clone(),
            digest: answer.digest.clone(),
            mode: answer.mode,
            verdict: verdict.into(),
            message,
            findings: answer.findings.clone(),
        }
    }
}

/// Reads back what was kept.
pub trait AuditReader: Send + Sync {
    /// The newest sessions first, also refused ones, at most `limit`.
    fn sessions(&self, limit: usize) -> Result<Vec<RecordedSession>, AuditError>;
    /// The events of one session in order, from event `after` on (exclusive; 0 for all), at most `limit`.
    fn session(&self, id: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, AuditError>;
}

/// A session as it was kept: how it began, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedSession {
    /// Its opening, or why it was refused.
    #[serde(flatten)]
    pub opening: StoredEvent,
    /// How it ended; none for one that is open and one that was refused.
    pub ended: Option<String>,
}

/// An event as it was kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Its place in the log, from 1, without gaps.
    pub number: u64,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}
