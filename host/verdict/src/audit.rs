use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::{Finding, Mode};
use crate::command::Facts;
use crate::input::Input;

/// Takes what happened, in order, and keeps it.
pub trait AuditSink: Send + Sync {
    /// Appends an event. A command goes upstream only with the receipt.
    fn append(&self, event: Event) -> Appended;

    /// Keeps what has happened already, such as the end of a command: nothing can be refused any more, so a sink that has no room takes it
    /// all the same. The caller bounds how many there are.
    fn note(&self, event: Event) {
        drop(self.append(event));
    }

    /// Waits until everything that was appended is durable, whatever the configuration demands of each event: for what must not be done
    /// before its event would outlive a crash. It blocks for a disk. A sink whose receipts all mean that has nothing to wait for.
    fn flush(&self) -> Result<(), AuditError> {
        Ok(())
    }
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

impl Appended {
    /// Resolves when the event is as durable as the configuration demands, or lost.
    pub async fn received(self) -> Result<Receipt, AuditError> {
        match self {
            Self::Done(receipt) => Ok(receipt),
            Self::Pending(receipt) => receipt.await,
            Self::Failed(error) => Err(error),
        }
    }
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

/// What the audit cannot do, and why.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// Give what it has kept.
    #[error("the audit log cannot be read: {0}")]
    Read(String),
    /// Take events.
    #[error("the audit log cannot be written: {0}")]
    Write(String),
}

/// What an event of a session is about: repeated in each, so that every event can be read by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The session.
    pub session: Arc<str>,
    /// Who, as the listener authenticated them; for a refused login, who was claimed.
    pub principal: Arc<str>,
    /// The target's name.
    pub target: Arc<str>,
}

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
        subject: Arc<Subject>,
        /// How it ended, such as `client left` or `killed by bob`.
        reason: String,
    },
    /// Something happened to an approval request.
    Approval(ApprovalEvent),
    /// Something happened to a session's recording.
    Recording(RecordingEvent),
    /// Something happened to the log or to the gateway as a whole.
    System(SystemEvent),
    /// What policies got from their capabilities while they decided a command. Written right behind the command.
    Inputs(InputsEvent),
}

impl Event {
    /// The session that it belongs to, if it belongs to one.
    pub fn subject(&self) -> Option<&Arc<Subject>> {
        match self {
            Self::Open(e) => Some(&e.subject),
            Self::Command(e) => Some(&e.subject),
            Self::Finish(e) => Some(&e.subject),
            Self::Close { subject, .. } => Some(subject),
            Self::Approval(e) => Some(&e.subject),
            Self::Recording(e) => Some(&e.subject),
            Self::Inputs(e) => Some(&e.subject),
            Self::System(_) => None,
        }
    }

    /// The bytes of its longer texts, by which those that wait are bounded.
    pub fn weight(&self) -> usize {
        let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        match self {
            Self::Command(e) => {
                let answers = e
                    .answers
                    .iter()
                    .map(|a| a.message.len() + a.findings.iter().map(|f| f.message.len()).sum::<usize>());
                e.text.len()
                    + e.rewrite.as_ref().map_or(0, |t| t.len())
                    + e.message.as_ref().map_or(0, String::len)
                    + e.reason.as_ref().map_or(0, |t| t.len())
                    + texts(&e.parameters)
                    + answers.sum::<usize>()
            }
            Self::Open(e) => texts(&e.groups),
            Self::Inputs(e) => e.inputs.iter().flat_map(|p| &p.inputs).map(Input::size).sum(),
            _ => 0,
        }
    }

    /// Its name in exports and searches.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Command(_) => "command",
            Self::Finish(_) => "finish",
            Self::Close { .. } => "close",
            Self::Approval(_) => "approval",
            Self::Recording(_) => "recording",
            Self::System(_) => "system",
            Self::Inputs(_) => "inputs",
        }
    }
}

/// A session was opened or refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenEvent {
    /// The session.
    pub subject: Arc<Subject>,
    /// The protocol.
    pub protocol: Cow<'static, str>,
    /// The principal's groups.
    pub groups: Vec<String>,
    /// By which credential.
    pub credential: Cow<'static, str>,
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
    pub subject: Arc<Subject>,
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
    /// What the host read in the text that the client sent.
    pub facts: Arc<Facts>,
    /// The bound parameters as people read them, where the configuration asks for them.
    pub parameters: Vec<String>,
    /// The justification that goes with it, if any was given.
    pub reason: Option<Arc<str>>,
    /// `allow`, `review` or `deny`.
    pub outcome: Cow<'static, str>,
    /// Why it was denied, as the client was told.
    pub message: Option<String>,
    /// Every policy's answer.
    pub answers: Vec<AnswerRecord>,
    /// The approval request that this decision rests on, if any.
    pub approval: Option<Arc<str>>,
    /// The time that the policies took, in microseconds.
    pub micros: u64,
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
    pub subject: Arc<Subject>,
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
    /// The policies that masked or edited its results, in the order of the chain.
    pub masked_by: Vec<Arc<str>>,
    /// From the permit to the last byte, in microseconds.
    pub micros: u64,
    /// The SQLSTATE or the gateway's own error, if it failed. Never the server's message, which may hold values. It begins with
    /// [`NOT_SENT`] where policies allowed the command and the gateway itself refused it.
    pub error: Option<String>,
}

/// How the error of a command begins that was allowed and not sent.
pub const NOT_SENT: &str = "not sent";

/// Something happened to an approval request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalEvent {
    /// The session of the held command.
    pub subject: Arc<Subject>,
    /// The held command.
    pub sequence: u64,
    /// The request.
    pub approval: Arc<str>,
    /// `requested`, `approved`, `denied`, `expired`, `withdrawn`, `left` (the client did not wait, and the request stays open),
    /// `joined` (a later command waits for the same request), `broken-glass` (approved alone, past the policy's terms), or `revoked`
    /// (a grant that served later commands serves none any more).
    pub what: Cow<'static, str>,
    /// The reviewer, or empty.
    pub by: String,
    /// The reviewer's words, or why it ended.
    pub reason: String,
    /// How the decision came: `api`, or `link` and the name of the webhook that carried it; empty where nobody decided.
    pub via: String,
}

/// Something happened to a session's recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordingEvent {
    /// The session.
    pub subject: Arc<Subject>,
    /// `started`, `ended` (whole), `stopped` (a limit was reached), `failed` (it could not be written, or not be begun), `cut`
    /// (the gateway died; what is there was found at the next start), or `pruned` (its time was over).
    pub state: Cow<'static, str>,
    /// The file, below the directory of recordings.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file in hexadecimal; empty where there is no file, or none any more, or it has just been begun.
    pub sha256: String,
    /// Entries in it.
    pub entries: u64,
    /// Why it is not whole, or empty.
    pub detail: String,
}

/// Something happened to the log or to the gateway as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SystemEvent {
    /// `started`, `stopped`; `configured`, `refused` (a configuration that was put in force, or not); `lost` (events that could not be kept),
    /// `migrated`, `pruned`, `tampered`, `key-changed` (the log itself); `kill`, `reload`, `watch`, `recording`, `export`: what somebody did over the HTTP interface.
    pub what: Cow<'static, str>,
    /// Who did it, or empty.
    pub by: String,
    /// What exactly.
    pub detail: String,
}

/// What policies got from their capabilities while they decided a command: with it the same policies decide the same again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputsEvent {
    /// The session.
    pub subject: Arc<Subject>,
    /// The command's number in its session.
    pub sequence: u64,
    /// `prepare` or `execute`.
    pub phase: Cow<'static, str>,
    /// The policies that got any, in the order of the chain.
    pub inputs: Vec<PolicyInputs>,
}

/// What one policy got from its capabilities while it answered one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyInputs {
    /// The policy.
    pub policy: Arc<str>,
    /// The SHA-256 of its component.
    pub digest: Arc<str>,
    /// What it got, in the order in which it asked.
    pub inputs: Vec<Input>,
}

impl From<crate::Answer> for AnswerRecord {
    fn from(answer: crate::Answer) -> Self {
        use crate::Verdict::{Allow, Deny, Review, Rewrite};
        let (verdict, message) = match answer.verdict {
            Ok(Allow) => ("allow", String::new()),
            Ok(Rewrite(text)) => ("rewrite", text),
            Ok(Review(terms)) => ("review", terms.reason),
            Ok(Deny(message)) => ("deny", message),
            Err(fault) => ("fault", fault.to_string()),
        };
        Self {
            policy: answer.policy,
            digest: answer.digest,
            mode: answer.mode,
            verdict: verdict.into(),
            message,
            findings: answer.findings,
        }
    }
}

/// Reads back what was kept. Every method may wait for the disk, but for `grown` and `checkpointed`.
pub trait AuditReader: Send + Sync {
    /// The newest sessions first, also refused ones, at most `limit`; of those whose opening has a number less than `before`, if given.
    fn sessions(&self, before: Option<u64>, limit: usize) -> Result<Vec<RecordedSession>, AuditError>;
    /// The events of one session in order, from event `after` on (exclusive; 0 for all), at most `limit`.
    fn session(&self, id: &str, after: u64, limit: usize) -> Result<Vec<StoredEvent>, AuditError>;
    /// The newest events first that a filter passes, at most `limit`; of those with a number less than `before`, if given.
    fn search(&self, filter: &Filter, before: Option<u64>, limit: usize) -> Result<Found, AuditError>;
    /// Events in order with their links in the chain, from event `after` on (exclusive), at most `limit`, or fewer that are large.
    fn export(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, AuditError>;
    /// The checkpoints in order that are for an event after `after`, at most `limit`.
    fn checkpoints(&self, after: u64, limit: usize) -> Result<Vec<Checkpoint>, AuditError>;
    /// How far the log has come.
    fn head(&self) -> Result<Head, AuditError>;
    /// Resolves when an event with a number greater than `after` is durable, or the store is closed.
    fn grown(&self, after: u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// Resolves when a checkpoint for an event with a number greater than `after` is durable, or the store is closed.
    fn checkpointed(&self, after: u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// How far a consumer of the log has come; kept across restarts.
pub trait Cursors: Send + Sync {
    /// The last event that a consumer has dealt with; `None` for one that is new.
    fn cursor(&self, name: &str) -> Result<Option<u64>, AuditError>;
    /// Keeps it. It may be durable later than it returns: after a crash, a consumer sees some events again.
    fn set_cursor(&self, name: &str, number: u64) -> Result<(), AuditError>;
}

/// How far a log has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The log's own identifier, 32 hexadecimal digits, in which its chain begins.
    pub log: String,
    /// The public key of its checkpoints (Ed25519, RFC 8032), 64 hexadecimal digits.
    pub public_key: String,
    /// The event before the first one that is still kept; 0 where none was pruned.
    pub base: u64,
    /// The checkpoint for that event: where the chain of what is kept begins. For event 0 it signs the beginning of the log.
    pub origin: Checkpoint,
    /// The last event that is durable; 0 for none.
    pub last: u64,
    /// The last event that a checkpoint is for; 0 for none.
    pub checkpoint: u64,
    /// The chain's hash after the last event, 64 hexadecimal digits.
    pub hash: String,
}

/// What a search looks for. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The principal's name.
    pub principal: Option<String>,
    /// The target's name.
    pub target: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// Not before this time, in milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Before this time, in milliseconds since the Unix epoch.
    pub to_ms: Option<u64>,
    /// A part of a command's text, of its rewrite, of a message or of a reason, whatever the case of ASCII letters.
    pub text: Option<String>,
    /// The outcome of a command (`allow`, `review`, `deny`, which the gateway's own refusals are too), or what happened to an approval (`approved`, `broken-glass`, …).
    pub verdict: Option<String>,
    /// A policy that answered, or that masked.
    pub policy: Option<String>,
    /// The kind of event, as [`Event::kind`] names it.
    pub kind: Option<String>,
}

impl Filter {
    /// Whether an event passes.
    pub fn passes(&self, stored: &StoredEvent) -> bool {
        let subject = stored.event.subject();
        let same = |wanted: &Option<String>, found: fn(&Subject) -> &str| {
            wanted.as_deref().is_none_or(|wanted| subject.is_some_and(|s| found(s) == wanted))
        };
        self.from_ms.is_none_or(|from| stored.at_ms >= from)
            && self.to_ms.is_none_or(|to| stored.at_ms < to)
            && same(&self.principal, |s| &s.principal)
            && same(&self.target, |s| &s.target)
            && same(&self.session, |s| &s.session)
            && self.kind.as_deref().is_none_or(|kind| stored.event.kind() == kind)
            && self.verdict.as_deref().is_none_or(|verdict| stored.event.verdict() == Some(verdict))
            && self.policy.as_deref().is_none_or(|policy| stored.event.names_policy(policy))
            && self.text.as_deref().is_none_or(|text| stored.event.says(text))
    }
}

impl Event {
    fn verdict(&self) -> Option<&str> {
        match self {
            Self::Command(e) => Some(&e.outcome),
            Self::Approval(e) => Some(&e.what),
            Self::Open(e) if e.refused.is_some() => Some("deny"),
            Self::Finish(e) if e.error.as_ref().is_some_and(|error| error.starts_with(NOT_SENT)) => Some("deny"),
            _ => None,
        }
    }

    fn names_policy(&self, policy: &str) -> bool {
        match self {
            Self::Command(e) => e.answers.iter().any(|a| &*a.policy == policy),
            Self::Finish(e) => e.masked_by.iter().any(|p| &**p == policy),
            Self::Inputs(e) => e.inputs.iter().any(|p| &*p.policy == policy),
            _ => false,
        }
    }

    fn says(&self, text: &str) -> bool {
        let holds = |hay: &str| {
            let (hay, text) = (hay.as_bytes(), text.as_bytes());
            text.is_empty() || hay.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text))
        };
        let any = |hays: &[Option<&str>]| hays.iter().flatten().any(|hay| holds(hay));
        match self {
            Self::Open(e) => any(&[e.reason.as_deref(), e.refused.as_deref()]),
            Self::Command(e) => any(&[Some(&e.text), e.rewrite.as_deref(), e.message.as_deref(), e.reason.as_deref()]),
            Self::Finish(e) => any(&[Some(&e.tag), e.error.as_deref()]),
            Self::Close { reason, .. } => holds(reason),
            Self::Approval(e) => any(&[Some(&e.approval), Some(&e.by), Some(&e.reason)]),
            Self::Recording(e) => any(&[Some(&e.file), Some(&e.detail)]),
            Self::System(e) => any(&[Some(&e.what), Some(&e.by), Some(&e.detail)]),
            Self::Inputs(_) => false,
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The events, newest first.
    pub events: Vec<StoredEvent>,
    /// Where to go on: as `before` of the next search. None at the log's beginning. A search may stop early with few events
    /// or none, since it looks at a bounded part of the log.
    pub next: Option<u64>,
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

/// An event with its link in the chain: the line of an export.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChainedEvent {
    /// The event, for people and programs.
    #[serde(flatten)]
    pub stored: StoredEvent,
    /// The bytes that the chain covers, in base64 (RFC 4648 §4). They hold the same event.
    pub encoded: String,
    /// The chain's hash after this event, as it is kept: 64 hexadecimal digits at the end of a block of events, else its first 16.
    pub hash: String,
}

/// The gateway's signature over the log up to an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The log's identifier, 32 hexadecimal digits.
    pub log: String,
    /// The last event that it covers.
    pub number: u64,
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The chain's hash after that event, 64 hexadecimal digits.
    pub hash: String,
    /// The public key that it is signed with, 64 hexadecimal digits.
    pub key: String,
    /// The Ed25519 signature (RFC 8032), 128 hexadecimal digits.
    pub signature: String,
}
