//! The vocabulary of Portcullis: who asks, what they ask, what was decided, and the traits between the parts.
//!
//! Nothing here does I/O, reads a clock or knows a protocol. The other crates meet only through these types:
//! the engine implements [`Decide`], the store implements [`AuditSink`] and [`Approvals`], recordings are taken by [`Recorders`], and the
//! proxy drives them all.

mod approval;
mod audit;
mod chain;
mod command;
mod decide;
mod input;
mod link;
pub mod mask;
mod observe;
mod record;
mod rollout;
mod rows;
mod session;
pub mod text;

pub use approval::{
    ApprovalDesk, ApprovalError, ApprovalOutcome, ApprovalRequest, ApprovalState, ApprovalView, Approvals, Demand,
    Grant, Hold, Reuse, Reviewer, Words,
};
pub use audit::{
    AnswerRecord, Appended, ApprovalEvent, AuditError, AuditReader, AuditSink, ChainedEvent, Checkpoint, CommandEvent,
    Cursors, Event, Filter, FinishEvent, Found, Head, InputsEvent, NOT_SENT, OpenEvent, PolicyInputs, Receipt,
    RecordedSession, RecordingEvent, StoredEvent, Subject, SystemEvent,
};
pub use chain::{Answer, Chain, Denial, Fault, Finding, Mode, Outcome, Permit, Ruling, Step, Terms, Verdict};
pub use command::{
    ColumnRef, Command, Effects, Facts, Kind, Lineage, Named, Origins, Other, Output, Parameter, Phase, Relation,
    SqlStatement, Statement,
};
pub use decide::{Decide, Judge, Policies, PolicyState, PolicyStatus, Snapshot, Wants};
pub use input::{Input, Inputs};
pub use link::{Link, LinkError, LinkKey};
pub use mask::Mask;
pub use observe::{LiveSession, SessionControl, Stats, Watched, Watching};
pub use record::{
    Entry, Medium, RecordLevel, RecordedColumn, Recorder, Recorders, RecordingError, RecordingFiles, Room, TimedEntry,
};
pub use rollout::{Origin, Refusal, Rollout, RolloutCounts, RolloutStep};
pub use rows::{Action, BadEdit, Batch, Chunk, Column, ColumnPlan, Edit, Limit, ResultSet, RowPlan};
pub use session::{Credential, Principal, Session, Target};
