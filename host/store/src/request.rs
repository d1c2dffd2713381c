//! An approval request as it stands: what a decision makes of it, and how the file holds it.

use std::sync::Arc;

use portcullis_verdict::{
    ApprovalError, ApprovalOutcome, ApprovalRequest, ApprovalState, ApprovalView, Demand, Grant, Reuse, Reviewer,
    Subject, Words,
};
use serde::{Deserialize, Serialize};

use crate::record::{BadValue, decode};

/// The first byte of every value in `approvals`. Any change of the encoded types needs a new one, and a reader of the old.
const VERSION: u8 = 2;

/// The most bytes of a reviewer's words that are kept.
pub(crate) const REASON_BYTES: usize = 1024;

/// The most bytes of a command that people are asked to read: its text and parameters.
pub(crate) const COMMAND_BYTES: usize = 1 << 20;

/// The fewest characters of a justification for breaking glass.
const JUSTIFICATION: usize = 10;

/// An approval request as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) id: Arc<str>,
    pub(crate) state: ApprovalState,
    pub(crate) session: Arc<str>,
    pub(crate) sequence: u64,
    pub(crate) principal: String,
    pub(crate) target: String,
    pub(crate) text: Arc<str>,
    pub(crate) digest: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) demands: Vec<Demand>,
    pub(crate) given: Vec<Given>,
    pub(crate) opened_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) reason: Option<String>,
    pub(crate) decided: Option<String>,
    /// The webhooks whose one-time link has carried a decision.
    pub(crate) used_links: Vec<String>,
}

/// One person's approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) at_ms: u64,
    /// The demands that it counts for, by their index.
    pub(crate) demands: Vec<u32>,
    /// It counts alone, whatever the quorum.
    pub(crate) broken_glass: bool,
    /// How it came, as in the audit's event.
    pub(crate) via: String,
}

/// What is told apart when an earlier grant or an open request is to serve a command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    principal: String,
    target: String,
    digest: String,
}

impl Key {
    pub(crate) fn of(request: &ApprovalRequest) -> Self {
        let session = &request.session;
        Self {
            principal: session.principal.name.clone(),
            target: session.target.name.clone(),
            digest: request.digest.clone(),
        }
    }
}

impl Record {
    pub(crate) fn open(id: Arc<str>, number: u64, request: ApprovalRequest, now: u64) -> Result<Self, ApprovalError> {
        let Some(ttl_seconds) = request.demands.iter().map(|d| d.terms.ttl_seconds).min() else {
            return Err(ApprovalError::Store("the request demands nothing".into()));
        };
        let bytes = command_bytes(&request.text, &request.parameters);
        if bytes > COMMAND_BYTES {
            return Err(ApprovalError::TooLong { bytes, most: COMMAND_BYTES });
        }
        let session = &request.session;
        Ok(Self {
            number,
            id,
            state: ApprovalState::Open,
            session: session.id.clone(),
            sequence: request.sequence,
            principal: session.principal.name.clone(),
            target: session.target.name.clone(),
            text: request.text,
            digest: request.digest,
            parameters: request.parameters,
            demands: request.demands,
            given: Vec::new(),
            opened_ms: now,
            expires_ms: now.saturating_add(u64::from(ttl_seconds) * 1000),
            reason: request.reason.as_deref().map(str::to_owned),
            decided: None,
            used_links: Vec::new(),
        })
    }

    /// The length of its text and parameters.
    pub(crate) fn command_bytes(&self) -> usize {
        command_bytes(&self.text, &self.parameters)
    }

    /// The memory of its longer texts; many short parameters take more than they show.
    pub(crate) fn weight(&self) -> usize {
        let reason = self.reason.as_ref().map_or(0, String::len);
        self.command_bytes() + self.parameters.len() * size_of::<String>() + reason
    }

    // === decisions ===

    /// The request with this reviewer's approval: still open, or approved.
    pub(crate) fn approve(&self, reviewer: &Reviewer, words: &Words, now: u64) -> Result<Self, ApprovalError> {
        self.check_link(words)?;
        let demands = if words.break_glass {
            check_glass(reviewer, words)?;
            (0..self.demands.len() as u32).collect()
        } else {
            self.check_own(reviewer)?;
            if self.given.iter().any(|g| g.by == reviewer.name) {
                return Err(ApprovalError::Repeated(reviewer.name.clone()));
            }
            self.eligible(reviewer, |demand| !self.is_met(demand))?
        };
        let mut record = self.clone();
        record.used_links.extend(words.link.clone());
        record.given.push(Given {
            by: reviewer.name.clone(),
            reason: bounded(&words.reason).into(),
            at_ms: now,
            demands,
            broken_glass: words.break_glass,
            via: via(words),
        });
        if (0..record.demands.len()).all(|demand| record.is_met(demand)) {
            record.state = ApprovalState::Approved;
            record.decided = Some(if words.break_glass {
                format!("approved by {} alone, who broke the glass", reviewer.name)
            } else {
                format!("approved by {}", names(record.given.iter()).join(", "))
            });
        }
        Ok(record)
    }

    /// The request as this reviewer refuses it, or revokes it if it was approved. Whoever may approve any part may stop the whole, also
    /// after having approved.
    pub(crate) fn deny(&self, reviewer: &Reviewer, words: &Words) -> Result<Self, ApprovalError> {
        self.check_link(words)?;
        self.check_own(reviewer)?;
        self.eligible(reviewer, |_| true)?;
        let mut record = self.clone();
        record.used_links.extend(words.link.clone());
        record.state = ApprovalState::Denied;
        let what = if self.state == ApprovalState::Approved { "revoked" } else { "denied" };
        record.decided = Some(match bounded(&words.reason) {
            "" => format!("{what} by {}", reviewer.name),
            reason => format!("{what} by {}: {reason}", reviewer.name),
        });
        Ok(record)
    }

    /// A link serves once, and tells so as long as the request is known.
    pub(crate) fn check_link(&self, words: &Words) -> Result<(), ApprovalError> {
        match &words.link {
            Some(link) if self.used_links.contains(link) => Err(ApprovalError::LinkUsed),
            _ => Ok(()),
        }
    }

    fn check_own(&self, reviewer: &Reviewer) -> Result<(), ApprovalError> {
        if self.principal == reviewer.name {
            return Err(ApprovalError::OwnRequest(reviewer.name.clone()));
        }
        Ok(())
    }

    /// The demands that an approval by this reviewer counts for, among those that `relevant` picks.
    fn eligible(&self, reviewer: &Reviewer, relevant: impl Fn(usize) -> bool) -> Result<Vec<u32>, ApprovalError> {
        let relevant: Vec<(usize, &Demand)> = self.demands.iter().enumerate().filter(|(i, _)| relevant(*i)).collect();
        let may = |d: &Demand| d.terms.any_of.iter().any(|group| reviewer.groups.contains(group));
        let counts: Vec<u32> = relevant.iter().filter(|(_, d)| may(d)).map(|(i, _)| *i as u32).collect();
        if counts.is_empty() {
            let mut groups: Vec<&str> =
                relevant.iter().flat_map(|(_, d)| &d.terms.any_of).map(String::as_str).collect();
            groups.sort_unstable();
            groups.dedup();
            return Err(ApprovalError::NotAReviewer { reviewer: reviewer.name.clone(), groups: groups.join(" or ") });
        }
        Ok(counts)
    }

    // === how it stands ===

    /// What its events are about.
    pub(crate) fn subject(&self) -> Subject {
        Subject {
            session: self.session.clone(),
            principal: self.principal.as_str().into(),
            target: self.target.as_str().into(),
        }
    }

    pub(crate) fn key(&self) -> Key {
        Key { principal: self.principal.clone(), target: self.target.clone(), digest: self.digest.clone() }
    }

    /// Whether this command may wait for it too, and rest on its grant.
    pub(crate) fn can_be_joined_by(&self, request: &ApprovalRequest) -> bool {
        self.stays_open() && self.key() == Key::of(request) && self.demands == request.demands
    }

    /// The people who approved for this demand.
    pub(crate) fn approvers(&self, demand: usize) -> Vec<String> {
        names(self.given_for(demand))
    }

    pub(crate) fn is_met(&self, demand: usize) -> bool {
        let quorum = self.demands.get(demand).map_or(1, |d| d.terms.quorum.max(1));
        self.given_for(demand).any(|g| g.broken_glass) || self.approvers(demand).len() >= quorum as usize
    }

    fn given_for(&self, demand: usize) -> impl Iterator<Item = &Given> {
        self.given.iter().filter(move |g| g.demands.contains(&(demand as u32)))
    }

    /// What it still waits for.
    pub(crate) fn unmet(&self) -> Vec<Demand> {
        self.demands.iter().enumerate().filter(|(i, _)| !self.is_met(*i)).map(|(_, d)| d.clone()).collect()
    }

    pub(crate) fn grants(&self) -> Vec<Grant> {
        let grant = |(i, d): (usize, &Demand)| Grant { policy: d.policy.clone(), approvers: self.approvers(i) };
        self.demands.iter().enumerate().map(grant).collect()
    }

    /// Whether it outlives its client: its grant will serve whoever comes back with the same command.
    pub(crate) fn stays_open(&self) -> bool {
        !self.demands.is_empty() && self.demands.iter().all(|d| d.terms.reuse == Reuse::SameCommand)
    }

    /// Whether a later command may rest on it, as far as its terms go. Glass is broken for what waits, and for nothing after it.
    pub(crate) fn is_reusable(&self) -> bool {
        let terms_allow = self.demands.iter().any(|d| d.terms.reuse == Reuse::SameCommand);
        self.state == ApprovalState::Approved && terms_allow && !self.is_glass_broken()
    }

    fn is_glass_broken(&self) -> bool {
        self.given.iter().any(|g| g.broken_glass)
    }

    /// The grants for these demands, if each is one of its own, on the same terms, and may be reused.
    pub(crate) fn covers(&self, demands: &[Demand]) -> Option<Vec<Grant>> {
        let find = |wanted: &Demand| {
            let at = self.demands.iter().position(|d| d == wanted && d.terms.reuse == Reuse::SameCommand)?;
            Some(Grant { policy: wanted.policy.clone(), approvers: self.approvers(at) })
        };
        demands.iter().map(find).collect()
    }

    /// As reviewers see it when no client waits for it.
    pub(crate) fn view(&self) -> ApprovalView {
        ApprovalView {
            number: self.number,
            id: self.id.to_string(),
            state: self.state,
            session: self.session.to_string(),
            sequence: self.sequence,
            principal: self.principal.clone(),
            target: self.target.clone(),
            text: self.text.to_string(),
            digest: self.digest.clone(),
            parameters: self.parameters.clone(),
            demands: self.demands.clone(),
            approvers: names(self.given.iter()),
            broken_glass: self.is_glass_broken(),
            waiting: false,
            opened_ms: self.opened_ms,
            expires_ms: self.expires_ms,
            reason: self.reason.clone(),
            decided: self.decided.clone(),
        }
    }
}

/// Each person once: who has approved may break the glass later.
fn names<'a>(given: impl Iterator<Item = &'a Given>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for by in given.map(|g| &g.by) {
        if !names.contains(by) {
            names.push(by.clone());
        }
    }
    names
}

fn command_bytes(text: &str, parameters: &[String]) -> usize {
    text.len() + parameters.iter().map(String::len).sum::<usize>()
}

fn check_glass(reviewer: &Reviewer, words: &Words) -> Result<(), ApprovalError> {
    if !reviewer.break_glass {
        return Err(ApprovalError::NoBreakGlass(reviewer.name.clone()));
    }
    if words.reason.trim().chars().count() < JUSTIFICATION {
        return Err(ApprovalError::NoJustification(JUSTIFICATION));
    }
    Ok(())
}

/// As much of a reviewer's words as is kept.
pub(crate) fn bounded(reason: &str) -> &str {
    reason.get(..reason.floor_char_boundary(REASON_BYTES)).unwrap_or_default()
}

/// How a decision came.
pub(crate) fn via(words: &Words) -> String {
    words.link.as_ref().map_or_else(|| "api".into(), |webhook| format!("link {webhook}"))
}

/// What a decided request means to those who wait for it; `None` while it is open.
pub(crate) fn outcome(record: &Record, reviewer: &Reviewer, words: &Words) -> Option<ApprovalOutcome> {
    match record.state {
        ApprovalState::Approved => Some(ApprovalOutcome::Granted(record.grants())),
        ApprovalState::Denied => {
            Some(ApprovalOutcome::Denied { by: reviewer.name.clone(), reason: bounded(&words.reason).into() })
        }
        ApprovalState::Expired | ApprovalState::Open | ApprovalState::Withdrawn => None,
    }
}

// === the file ===

pub(crate) fn encode_approval(record: &Record) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(record, vec![VERSION])
}

pub(crate) fn decode_approval(bytes: &[u8]) -> Result<Record, BadValue> {
    match bytes.split_first() {
        Some((&VERSION, body)) => decode(body),
        Some((&v1::VERSION, body)) => decode::<v1::Record>(body).map(Record::from),
        Some((other, _)) => Err(BadValue::Version(*other)),
        None => Err(BadValue::Empty),
    }
}

/// Requests as they were kept before links and the breaking of glass.
mod v1 {
    use std::sync::Arc;

    use portcullis_verdict::{ApprovalState, Demand};
    use serde::Deserialize;

    pub(super) const VERSION: u8 = 1;

    #[derive(Deserialize)]
    pub(super) struct Record {
        number: u64,
        id: Arc<str>,
        state: ApprovalState,
        session: Arc<str>,
        sequence: u64,
        principal: String,
        target: String,
        text: Arc<str>,
        digest: String,
        parameters: Vec<String>,
        demands: Vec<Demand>,
        given: Vec<Given>,
        opened_ms: u64,
        expires_ms: u64,
        reason: Option<String>,
        decided: Option<String>,
    }

    #[derive(Deserialize)]
    struct Given {
        by: String,
        reason: String,
        at_ms: u64,
        demands: Vec<u32>,
    }

    impl From<Record> for super::Record {
        fn from(old: Record) -> Self {
            Self {
                number: old.number,
                id: old.id,
                state: old.state,
                session: old.session,
                sequence: old.sequence,
                principal: old.principal,
                target: old.target,
                text: old.text,
                digest: old.digest,
                parameters: old.parameters,
                demands: old.demands,
                given: old.given.into_iter().map(super::Given::from).collect(),
                opened_ms: old.opened_ms,
                expires_ms: old.expires_ms,
                reason: old.reason,
                decided: old.decided,
                used_links: Vec::new(),
            }
        }
    }

    impl From<Given> for super::Given {
        fn from(Given { by, reason, at_ms, demands }: Given) -> Self {
            Self { by, reason, at_ms, demands, broken_glass: false, via: "api".into() }
        }
    }
}

#[cfg(test)]
mod tests;
