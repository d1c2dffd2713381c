use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::Terms;
use crate::session::Session;

/// Whether an approval serves later commands too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// It serves the command that was held, once.
    #[default]
    Once,
    /// It serves identical commands of the same principal on the same target until it expires.
    SameCommand,
}

/// What one policy demands before a command may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The policy.
    pub policy: Arc<str>,
    /// Its terms.
    pub terms: Terms,
}

/// Who met a policy's demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The policy whose demand is met.
    pub policy: Arc<str>,
    /// The people who approved.
    pub approvers: Vec<String>,
}

/// Opens approval requests for held commands.
pub trait Approvals: Send + Sync {
    /// Opens a request, or finds a grant that serves it already.
    fn request(&self, request: ApprovalRequest) -> Result<Hold, ApprovalError>;
}

/// A command that waits for people.
#[derive(Clone, Debug)]
pub struct ApprovalRequest {
    /// The session of the command.
    pub session: Arc<Session>,
    /// The command's number in its session.
    pub sequence: u64,
    /// The exact text that will run.
    pub text: Arc<str>,
    /// The SHA-256 of everything that will run: text and parameters, in hexadecimal.
    pub digest: String,
    /// The bound parameters as a reviewer reads them; see [`crate::Parameter::shown`].
    pub parameters: Vec<String>,
    /// What must be met, all of it.
    pub demands: Vec<Demand>,
    /// The justification that goes with the command, if any was given.
    pub reason: Option<Arc<str>>,
}

/// A held command's place in the queue. Dropping it withdraws the command; the request with it, unless [`Hold::stays_open`].
pub struct Hold {
    /// The request's identifier, short enough to type.
    pub id: Arc<str>,
    /// What it waits for: the demands that are not met yet.
    pub demands: Vec<Demand>,
    /// Until when it waits, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// Every demand may be reused: without this client the request stays open, and once it is granted the same command of the same
    /// principal on the same target passes until it expires.
    pub stays_open: bool,
    /// Resolves when the people have spoken or the time is up.
    pub outcome: Pin<Box<dyn Future<Output = ApprovalOutcome> + Send>>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApprovalOutcome {
    /// Every demand is met.
    Granted(Vec<Grant>),
    /// A reviewer refused.
    Denied {
        /// The reviewer.
        by: String,
        /// Their words.
        reason: String,
    },
    /// Nobody decided in time.
    Expired,
}

/// Why an approval request could not be opened, shown or decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// It is not open any more.
    #[error("approval {id} is not open: it is {state}")]
    NotOpen {
        /// The request.
        id: String,
        /// Its state.
        state: String,
    },
    /// There is none with this identifier.
    #[error("there is no approval {0}; `portcullis approvals list` shows the open ones")]
    Unknown(String),
    /// Nobody decides on their own commands.
    #[error("{0} asked for this approval; nobody decides on their own")]
    OwnRequest(String),
    /// The reviewer is in none of the groups that may approve.
    #[error("{reviewer} may not decide this approval: it takes a member of {groups}")]
    NotAReviewer {
        /// The reviewer.
        reviewer: String,
        /// The groups that may.
        groups: String,
    },
    /// The reviewer has approved already.
    #[error("{0} has approved this already; another member must")]
    Repeated(String),
    /// The link by which the decision came has been used.
    #[error("this link has been used already, and serves once")]
    LinkUsed,
    /// The configuration does not let the reviewer break glass.
    #[error("{0} may not break glass; `approvals.break_glass` names the groups that may")]
    NoBreakGlass(String),
    /// Breaking glass needs words.
    #[error("breaking glass needs a justification of at least {0} characters, for the record")]
    NoJustification(usize),
    /// Too many requests are open.
    #[error("{0} approval requests are open already, which is the limit (`limits.open_approvals`)")]
    TooMany(usize),
    /// Too many requests of one principal are open.
    #[error(
        "{principal} has {most} approval requests open already, which is the limit for one principal (a tenth of \
         `limits.open_approvals`)"
    )]
    TooManyOfPrincipal {
        /// Who asked.
        principal: String,
        /// The most that one principal may have open.
        most: usize,
    },
    /// The command is too long for anybody to read.
    #[error("a command of {bytes} bytes is too long to be reviewed; the limit is {most}")]
    TooLong {
        /// The length of its text and parameters.
        bytes: usize,
        /// The longest that may be held.
        most: usize,
    },
    /// The open requests leave no room for another's text.
    #[error("the commands of the open approval requests leave no room for this one; together they may have {0} bytes")]
    TooMuchText(usize),
    /// The open requests of one principal leave no room for another's text.
    #[error(
        "the commands of {principal}'s open approval requests leave no room for this one; together those of one principal \
         may have {most} bytes"
    )]
    TooMuchTextOfPrincipal {
        /// Who asked.
        principal: String,
        /// The most bytes of one principal.
        most: usize,
    },
    /// The store cannot keep it.
    #[error("the approval cannot be stored: {0}")]
    Store(String),
}

/// A person who decides approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewer {
    /// Their name, in the same name space as principals.
    pub name: String,
    /// Their groups.
    pub groups: Vec<String>,
    /// Whether the configuration lets them approve alone in an emergency, their own requests included.
    pub break_glass: bool,
}

/// What a reviewer says with a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Their reason.
    pub reason: String,
    /// Approve alone, past the policy's groups and quorum and even the own request. It must be allowed and justified.
    pub break_glass: bool,
    /// The webhook whose one-time link carries the decision, if one does.
    pub link: Option<String>,
}

/// Where reviewers see and decide approval requests.
pub trait ApprovalDesk: Send + Sync {
    /// The requests, newest first, at most `limit`; only the open ones unless `all`; of those with a number less than `before`, if given.
    fn list(&self, all: bool, before: Option<u64>, limit: usize) -> Result<Vec<ApprovalView>, ApprovalError>;
    /// One request.
    fn show(&self, id: &str) -> Result<ApprovalView, ApprovalError>;
    /// Approves as this reviewer. The state tells whether more are needed.
    fn approve(&self, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError>;
    /// Refuses as this reviewer; one refusal ends the request. One that was granted and would serve later commands is revoked: it serves
    /// none any more.
    fn deny(&self, id: &str, reviewer: &Reviewer, words: &Words) -> Result<ApprovalView, ApprovalError>;
    /// Counts the changes so far: resolves, with the new count, when it is not `seen` any more.
    fn changed(&self, seen: u64) -> Pin<Box<dyn Future<Output = u64> + Send>>;
}

/// How an approval request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalState {
    /// Every demand was met.
    Approved,
    /// A reviewer refused.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// It waits.
    Open,
    /// The client cancelled or left, or the gateway stopped.
    Withdrawn,
}

/// An approval request as a reviewer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalView {
    /// Its place among all requests, from 1; lists go on before it.
    pub number: u64,
    /// Its identifier.
    pub id: String,
    /// How it stands.
    pub state: ApprovalState,
    /// The session of the held command.
    pub session: String,
    /// The command's number in its session.
    pub sequence: u64,
    /// Who asked.
    pub principal: String,
    /// For which target.
    pub target: String,
    /// The exact text that will run.
    pub text: String,
    /// The SHA-256 of text and parameters.
    pub digest: String,
    /// The bound parameters as a reviewer reads them.
    pub parameters: Vec<String>,
    /// What must be met.
    pub demands: Vec<Demand>,
    /// Who approved so far.
    pub approvers: Vec<String>,
    /// Whether it was approved by breaking glass.
    pub broken_glass: bool,
    /// Whether a client waits for it now.
    pub waiting: bool,
    /// When it was opened, in milliseconds since the Unix epoch.
    pub opened_ms: u64,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// The justification of the session, if any was given.
    pub reason: Option<String>,
    /// Who ended it, and why.
    pub decided: Option<String>,
}
