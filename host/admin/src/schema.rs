//! The shapes of what the other crates write as JSON, for the document. Tests hold them against what is really written.

#![expect(dead_code, reason = "shapes are described, and never made")]

use serde::Serialize;
use utoipa::ToSchema;

/// Pages of lists.
macro_rules! pages {
    ($($page:ident of $item:ident,)*) => {$(
        /// A page of a list.
        #[derive(Serialize, ToSchema)]
        pub(crate) struct $page {
            /// The items.
            items: Vec<$item>,
            /// The cursor of the next page; null at the end.
            #[schema(required = true)]
            next: Option<String>,
        }
    )*};
}

pages! {
    ApprovalViews of ApprovalView,
    ChainedEvents of ChainedEvent,
    Checkpoints of Checkpoint,
    LiveSessions of LiveSession,
    RecordedSessions of RecordedSession,
    StoredEvents of StoredEvent,
}

/// A file.
#[derive(Serialize, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct Bytes(Vec<u8>);

/// A session that is open now.
#[derive(Serialize, ToSchema)]
pub(crate) struct LiveSession {
    /// Its identifier.
    id: String,
    /// Who.
    principal: String,
    /// To which target.
    target: String,
    /// From where.
    client_address: String,
    /// When it opened.
    opened_ms: u64,
    /// Commands decided so far.
    commands: u64,
}

/// A session as it was kept: how it began, and what became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordedSession {
    /// The number of its opening.
    number: u64,
    /// When it was opened or refused.
    at_ms: u64,
    /// Its opening, an `Open`.
    event: Event,
    /// How it ended; null for one that is open and one that was refused.
    #[schema(required = true)]
    ended: Option<String>,
}

/// An event as it was kept.
#[derive(Serialize, ToSchema)]
pub(crate) struct StoredEvent {
    /// Its place in the log, from 1, without gaps.
    number: u64,
    /// When it was taken.
    at_ms: u64,
    /// What happened.
    event: Event,
}

/// An event with its link in the chain.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChainedEvent {
    /// Its place in the log, from 1, without gaps.
    number: u64,
    /// When it was taken.
    at_ms: u64,
    /// What happened.
    event: Event,
    /// The bytes that the chain covers, in base64. They hold the same event.
    encoded: String,
    /// The chain's hash after this event, as it is kept: 64 hexadecimal digits at the end of a block of events, else its first 16.
    hash: String,
}

/// The gateway's signature over the log up to an event.
#[derive(Serialize, ToSchema)]
pub(crate) struct Checkpoint {
    /// The log's identifier, 32 hexadecimal digits.
    log: String,
    /// The last event that it covers.
    number: u64,
    /// When it was made.
    at_ms: u64,
    /// The chain's hash after that event, 64 hexadecimal digits.
    hash: String,
    /// The public key that it is signed with, 64 hexadecimal digits.
    key: String,
    /// The Ed25519 signature, 128 hexadecimal digits.
    signature: String,
}

/// How far the log has come.
#[derive(Serialize, ToSchema)]
pub(crate) struct Head {
    /// The log's own identifier, 32 hexadecimal digits.
    log: String,
    /// The public key of its checkpoints (Ed25519), 64 hexadecimal digits.
    public_key: String,
    /// The event before the first one that is still kept; 0 where none was pruned.
    base: u64,
    /// The checkpoint for that event: where the chain of what is kept begins. For event 0 it signs the beginning of the log.
    origin: Checkpoint,
    /// The last event that is durable; 0 for none.
    last: u64,
    /// The last event that a checkpoint is for; 0 for none.
    checkpoint: u64,
    /// The chain's hash after the last event, 64 hexadecimal digits.
    hash: String,
}

/// Something worth keeping: an object with one key, which names its kind.
#[derive(Serialize, ToSchema)]
pub(crate) enum Event {
    /// A session was opened or refused.
    Open(OpenEvent),
    /// A command was decided.
    Command(CommandEvent),
    /// A command that went upstream has ended.
    Finish(FinishEvent),
    /// A session ended.
    Close {
        /// The session.
        subject: Subject,
        /// How it ended, such as `client left` or `killed by bob`.
        reason: String,
    },
    /// Something happened to an approval request.
    Approval(ApprovalEvent),
    /// Something happened to a session's recording.
    Recording(RecordingEvent),
    /// Something happened to the log or to the gateway as a whole.
    System(SystemEvent),
    /// What policies got from their capabilities while they decided a command.
    Inputs(InputsEvent),
}

/// What an event of a session is about.
#[derive(Serialize, ToSchema)]
pub(crate) struct Subject {
    /// The session.
    session: String,
    /// Who, as the listener authenticated them; for a refused login, who was claimed.
    principal: String,
    /// The target's name.
    target: String,
}

/// A session was opened or refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenEvent {
    /// The session.
    subject: Subject,
    /// The protocol.
    protocol: String,
    /// The principal's groups.
    groups: Vec<String>,
    /// By which credential.
    credential: String,
    /// From where.
    client_address: String,
    /// The justification, if any was given.
    #[schema(required = true)]
    reason: Option<String>,
    /// Why the session was refused, if it was.
    #[schema(required = true)]
    refused: Option<String>,
}

/// A command was decided.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommandEvent {
    /// The session.
    subject: Subject,
    /// The command's number in its session.
    sequence: u64,
    /// The command's kind.
    kind: String,
    /// `prepare` or `execute`.
    phase: String,
    /// The text that the client sent.
    text: String,
    /// The text that runs in its place, if a policy rewrote it.
    #[schema(required = true)]
    rewrite: Option<String>,
    /// What the gateway read in the text that the client sent.
    facts: Facts,
    /// The bound parameters as people read them, where the configuration asks for them.
    parameters: Vec<String>,
    /// The justification that goes with it, if any was given.
    #[schema(required = true)]
    reason: Option<String>,
    /// `allow`, `review` or `deny`.
    outcome: String,
    /// Why it was denied, as the client was told.
    #[schema(required = true)]
    message: Option<String>,
    /// Every policy's answer.
    answers: Vec<AnswerRecord>,
    /// The approval request that this decision rests on, if any.
    #[schema(required = true)]
    approval: Option<String>,
    /// The time that the policies took, in microseconds.
    micros: u64,
}

/// What the gateway read in a text.
#[derive(Serialize, ToSchema)]
pub(crate) struct Facts {
    /// Stable across literals, white space and letter case; empty when the text could not be read.
    fingerprint: String,
    /// The statements in it.
    sql: Reading,
}

/// The statements of a text, or why it could not be read.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reading {
    /// In order.
    Statements(Vec<SqlStatement>),
    /// Why it could not be read.
    Unreadable(String),
}

/// One statement as the server's own grammar reads it.
#[derive(Serialize, ToSchema)]
pub(crate) struct SqlStatement {
    /// The dialect it was read in, such as `postgres`.
    dialect: String,
    /// The leading verb in upper case, such as `SELECT`.
    verb: String,
    /// What it and its parts may do.
    effects: Effects,
    /// The relations it names, each with what is done to it.
    relations: Vec<Relation>,
    /// The columns it names, as far as the text tells.
    columns_read: Vec<ColumnRef>,
    /// The functions it calls.
    functions: Vec<String>,
    /// Whether every UPDATE or DELETE in it has a WHERE clause that is more than a constant.
    has_where: bool,
}

/// Names of what may be done, with ` | ` between them, such as `READ | WRITE`; empty for nothing.
#[derive(Serialize, ToSchema)]
pub(crate) struct Effects(String);

/// A relation that a statement names.
#[derive(Serialize, ToSchema)]
pub(crate) struct Relation {
    /// The schema, or empty.
    schema: String,
    /// The name as the server folds it.
    name: String,
    /// What the statement does to it.
    effects: Effects,
}

/// A column of a relation.
#[derive(Serialize, ToSchema)]
pub(crate) struct ColumnRef {
    /// The schema, or empty.
    schema: String,
    /// The relation, or empty.
    relation: String,
    /// The column's name; `*` for all columns of the relation.
    name: String,
}

/// One policy's answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct AnswerRecord {
    /// The policy.
    policy: String,
    /// The SHA-256 of its component.
    digest: String,
    /// Whether it acted.
    mode: Mode,
    /// `allow`, `rewrite`, `review`, `deny` or `fault`.
    verdict: String,
    /// Its message, or what went wrong.
    message: String,
    /// Its findings.
    findings: Vec<Finding>,
}

/// Whether a policy's answers act (`enforce`) or are only recorded (`monitor`).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Enforce,
    Monitor,
}

/// A fact that explains a verdict.
#[derive(Serialize, ToSchema)]
pub(crate) struct Finding {
    /// The rule that spoke.
    rule: String,
    /// What it saw.
    message: String,
}

/// A command that went upstream has ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct FinishEvent {
    /// The session.
    subject: Subject,
    /// The command's number in its session.
    sequence: u64,
    /// The server's completion tag, such as `SELECT 3`, or empty.
    tag: String,
    /// Rows that the client received.
    rows: u64,
    /// Bytes of the server's rows, before policies changed them, and of COPY data in either direction.
    bytes: u64,
    /// Cells that a policy changed.
    masked: u64,
    /// The policies that masked or edited its results, in the order of the chain.
    masked_by: Vec<String>,
    /// From the permit to the last byte, in microseconds.
    micros: u64,
    /// The SQLSTATE or the gateway's own error, if it failed.
    #[schema(required = true)]
    error: Option<String>,
}

/// Something happened to an approval request.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApprovalEvent {
    /// The session of the held command.
    subject: Subject,
    /// The held command.
    sequence: u64,
    /// The request.
    approval: String,
    /// `requested`, `approved`, `denied`, `expired`, `withdrawn`, `left`, `joined`, `broken-glass` or `revoked`.
    what: String,
    /// The reviewer, or empty.
    by: String,
    /// The reviewer's words, or why it ended.
    reason: String,
    /// How the decision came: `api`, or `link` and the name of the webhook that carried it; empty where nobody decided.
    via: String,
}

/// Something happened to a session's recording.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordingEvent {
    /// The session.
    subject: Subject,
    /// `started`, `ended` (whole), `stopped` (a limit was reached), `failed` (it could not be written, or not be begun), `cut`
    /// (the gateway died; what is there was found at the next start), or `pruned` (its time was over).
    state: String,
    /// The file, below the directory of recordings.
    file: String,
    /// Its size in bytes.
    bytes: u64,
    /// The SHA-256 of the file in hexadecimal; empty where there is no file, or none any more, or it has just been begun.
    sha256: String,
    /// Entries in it.
    entries: u64,
    /// Why it is not whole, or empty.
    detail: String,
}

/// Something happened to the log or to the gateway as a whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct SystemEvent {
    /// `started`, `stopped`, `lost`, `migrated`, `pruned`, or what an operator did: `kill`, `reload`.
    what: String,
    /// Who did it, or empty.
    by: String,
    /// What exactly.
    detail: String,
}

/// What policies got from their capabilities while they decided a command: with it the same policies decide the same again.
#[derive(Serialize, ToSchema)]
pub(crate) struct InputsEvent {
    /// The session.
    subject: Subject,
    /// The command's number in its session.
    sequence: u64,
    /// `prepare` or `execute`.
    phase: String,
    /// The policies that got any, in the order of the chain.
    inputs: Vec<PolicyInputs>,
}

/// What one policy got from its capabilities while it answered one question.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyInputs {
    /// The policy.
    policy: String,
    /// The SHA-256 of its component.
    digest: String,
    /// What it got, in the order in which it asked.
    inputs: Vec<Input>,
}

/// One thing that a policy got from a capability.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Input {
    /// The time, in milliseconds since the Unix epoch.
    Clock(u64),
    /// Randomness from the operating system, in base64.
    Random(String),
    /// A value of its state in base64, or null.
    Get(Option<String>),
    /// Whether a value was put into its state.
    Put(Kept),
    /// The sum of a counter in its state.
    Increment(Sum),
    /// More than is kept: what came after is not known.
    Truncated,
}

/// Whether a value was kept.
#[derive(Serialize, ToSchema)]
pub(crate) enum Kept {
    /// It was.
    Ok(()),
    /// Why not.
    Err(String),
}

/// A counter's sum.
#[derive(Serialize, ToSchema)]
pub(crate) enum Sum {
    /// The sum.
    Ok(i64),
    /// Why there is none.
    Err(String),
}

/// An approval request as a reviewer sees it.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApprovalView {
    /// Its place among all requests, from 1.
    number: u64,
    /// Its identifier.
    id: String,
    /// How it stands.
    state: ApprovalState,
    /// The session of the held command.
    session: String,
    /// The command's number in its session.
    sequence: u64,
    /// Who asked.
    principal: String,
    /// For which target.
    target: String,
    /// The exact text that will run.
    text: String,
    /// The SHA-256 of text and parameters.
    digest: String,
    /// The bound parameters as a reviewer reads them.
    parameters: Vec<String>,
    /// What must be met.
    demands: Vec<Demand>,
    /// Who approved so far.
    approvers: Vec<String>,
    /// Whether it was approved by breaking glass.
    broken_glass: bool,
    /// Whether a client waits for it now.
    waiting: bool,
    /// When it was opened.
    opened_ms: u64,
    /// When it expires.
    expires_ms: u64,
    /// The justification, if any was given.
    #[schema(required = true)]
    reason: Option<String>,
    /// Who ended it, and why.
    #[schema(required = true)]
    decided: Option<String>,
}

/// How an approval request stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ApprovalState {
    Approved,
    Denied,
    Expired,
    Open,
    Withdrawn,
}

/// What one policy demands before a command may run.
#[derive(Serialize, ToSchema)]
pub(crate) struct Demand {
    /// The policy.
    policy: String,
    /// Its terms.
    terms: Terms,
}

/// The terms of an approval.
#[derive(Serialize, ToSchema)]
pub(crate) struct Terms {
    /// The groups whose members may approve; any of them will do.
    any_of: Vec<String>,
    /// How many different people must approve.
    quorum: u32,
    /// How long the request stays open, in seconds.
    ttl_seconds: u32,
    /// Whether the approval serves later commands too.
    reuse: Reuse,
    /// Why approval is needed.
    reason: String,
}

/// Whether an approval serves the held command `once`, or the `same-command` of the same principal on the same target until it expires.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reuse {
    Once,
    SameCommand,
}

/// The policies in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct Policies {
    /// How often the set of policies was swapped.
    generation: u64,
    /// Why the newest change is not in force.
    #[schema(required = true)]
    last_refusal: Option<Refusal>,
    /// Each policy.
    policies: Vec<PolicyStatus>,
}

/// Why a change is not in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct Refusal {
    /// The step that failed.
    step: RolloutStep,
    /// Every reason, in a line.
    reason: String,
    /// When, in milliseconds since the Unix epoch.
    at_ms: u64,
}

/// The steps of a change of policies, in their order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RolloutStep {
    Configuration,
    Resolve,
    Verify,
    Compile,
    Interface,
    Settings,
    Start,
    Cases,
}

/// Where a policy came from.
#[derive(Serialize, ToSchema)]
pub(crate) struct Origin {
    /// The policy's name.
    policy: String,
    /// The package's name.
    package: String,
    /// Its version.
    version: String,
    /// Its directory or its place in a registry, as the configuration names it.
    source: String,
    /// The digest of its artifact, where it came as one or is pinned.
    #[schema(required = true)]
    artifact: Option<String>,
    /// Who signed it, of those who had to.
    signers: Vec<String>,
    /// Since when it is in force, in milliseconds since the Unix epoch.
    since_ms: u64,
    /// Whether it was put in force again in place of what the configuration names.
    rolled_back: bool,
    /// The version that a rollback would put in force.
    #[schema(required = true)]
    previous: Option<String>,
}

/// How one policy fares.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyStatus {
    /// Where it came from.
    #[schema(required = true)]
    origin: Option<Origin>,
    /// Its name.
    name: String,
    /// The SHA-256 of its component, in hexadecimal.
    digest: String,
    /// Whether its answers act.
    mode: Mode,
    /// Whether it answers.
    state: PolicyState,
    /// Questions asked.
    calls: u64,
    /// Questions it failed to answer.
    faults: u64,
    /// Its latest failure.
    #[schema(required = true)]
    last_fault: Option<String>,
    /// Where in its code it trapped or was stopped last, a line for each function.
    #[schema(required = true)]
    last_backtrace: Option<String>,
    /// Of how many sessions in a hundred it decides, if it is a canary; in the others it is in monitor mode.
    #[schema(required = true)]
    canary: Option<u8>,
}

/// Whether a policy answers (`serving`), or has failed repeatedly and everything it would decide is denied (`held-closed`).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PolicyState {
    Serving,
    HeldClosed,
}

/// The data of a `level` event: what a watcher sees of a session.
#[derive(Serialize, ToSchema)]
pub(crate) struct Level {
    level: RecordLevel,
}

/// How much of what clients see is recorded: nothing, `commands` with how they ended and messages, or `results` too.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecordLevel {
    None,
    Commands,
    Results,
}

/// The data of a `lost` event.
#[derive(Serialize, ToSchema)]
pub(crate) struct Lost {
    /// Entries that the watcher was too slow for.
    count: u64,
}

/// The data of an `entry` event: one thing that a session's client saw, or asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct TimedEntry {
    /// Since the watcher came, in microseconds.
    at_micros: u64,
    /// What.
    #[serde(flatten)]
    entry: Entry,
}

/// One thing that a session's client saw, or asked for.
#[derive(Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Entry {
    /// A command was sent on, or denied.
    Command {
        /// Its number in the session.
        sequence: u64,
        /// Its text.
        text: String,
    },
    /// The columns of the rows that follow.
    Columns {
        /// In order.
        columns: Vec<RecordedColumn>,
    },
    /// Rows of the result whose columns came before.
    Rows {
        /// How many.
        count: u32,
        /// In base64; for each row the number of its values (16 bits), and for each value its length in bytes (32 bits; −1 for NULL) and
        /// the bytes; numbers are signed and big-endian.
        data: String,
    },
    /// Bytes of a stream.
    Data {
        /// Which: `copy`, `terminal`, `stderr`, `body`.
        channel: String,
        /// The bytes in base64.
        data: String,
    },
    /// An error, a notice or another message.
    Message {
        /// Such as `ERROR` or `NOTICE`.
        severity: String,
        /// The protocol's own code, such as a SQLSTATE.
        code: String,
        /// The text.
        text: String,
    },
    /// A command ended.
    End {
        /// Its number in the session.
        sequence: u64,
        /// The completion tag, or empty.
        tag: String,
    },
    /// The terminal's size changed.
    Resize {
        /// Its width in characters.
        columns: u16,
        /// Its height in characters.
        rows: u16,
    },
}

/// A column of a result.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordedColumn {
    /// Its name as the client sees it.
    name: String,
    /// Its type's name, where it is known.
    type_name: String,
    /// Whether its values are in the type's binary format instead of text.
    binary: bool,
}
