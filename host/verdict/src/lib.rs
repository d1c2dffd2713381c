//! The vocabulary of Portcullis: who asks, what they ask, what was decided, and the traits between the parts.
//!
//! Nothing here does I/O, reads a clock or knows a protocol. The other crates meet only through these types:
//! the engine implements [`Decide`], the store implements [`AuditSink`] and [`Approvals`], and the proxy drives them.

mod approval;
mod audit;
mod chain;
mod command;
mod decide;
pub mod mask;
mod observe;
mod rows;
mod session;

pub use approval::{
    ApprovalDesk, ApprovalError, ApprovalOutcome, ApprovalRequest, ApprovalState, ApprovalView, Approvals, Demand,
    Grant, Hold, Reuse, Reviewer,
};
pub use audit::{
    AnswerRecord, Appended, AuditError, AuditReader, AuditSink, CommandEvent, Event, FinishEvent, OpenEvent, Receipt,
    RecordedSession, StoredEvent,
};
pub use chain::{Answer, Chain, Denial, Fault, Finding, Mode, Outcome, Permit, Ruling, Step, Terms, Verdict};
pub use command::{ColumnRef, Command, Effects, Facts, Kind, Parameter, Phase, Relation, SqlStatement, Statement};
pub use decide::{Decide, Judge, Policies, PolicyState, PolicyStatus, Snapshot, Wants};
pub use mask::Mask;
pub use observe::{LiveSession, SessionControl, Stats};
pub use rows::{Action, BadEdit, Batch, Chunk, Column, ColumnPlan, Edit, Limit, ResultSet, RowPlan};
pub use session::{Credential, Principal, Session, Target};
