//! Who may do what.

use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use portcullis_verdict::Reviewer;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::App;
use crate::problem::Problem;

/// A bearer token: whose it is and what it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The SHA-256 of the token. Tokens are long and random, so a plain hash does not help to find one.
    pub sha256: [u8; 32],
    /// The name of its holder, a principal's: nobody approves their own commands.
    pub name: String,
    /// The holder's groups, which say whose commands they may approve.
    pub groups: Vec<String>,
    /// What it opens.
    pub role: Role,
    /// Whether its holder may approve alone in an emergency (`approvals.break_glass`).
    pub break_glass: bool,
}

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything: sessions and what they did, recordings, the audit, approval requests, policies.
    Reader,
    /// Sees approval requests and decides them.
    Approver,
    /// Everything, also ending sessions and reloading the configuration.
    Operator,
}

/// The tokens in force, shared with whoever reloads the configuration.
#[derive(Clone, Default)]
pub struct Tokens(Arc<RwLock<Vec<Token>>>);

impl Tokens {
    /// These tokens.
    pub fn new(tokens: Vec<Token>) -> Self {
        Self(Arc::new(RwLock::new(tokens)))
    }

    /// Puts these in their place, from the next request on.
    pub fn replace(&self, tokens: Vec<Token>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tokens;
    }

    /// The holder of this token. The time it takes tells nothing about the tokens in force but their number.
    fn holder(&self, token: &[u8]) -> Option<Caller> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (mut found, mut at) = (Choice::from(0), 0);
        for (index, token) in tokens.iter().enumerate() {
            let equal = digest.ct_eq(&token.sha256);
            at = u64::conditional_select(&at, &(index as u64), equal);
            found |= equal;
        }
        let token = bool::from(found).then(|| tokens.get(at as usize)).flatten()?;
        let Token { name, groups, role, break_glass, sha256 } = token.clone();
        Some(Caller { reviewer: Reviewer { name, groups, break_glass }, role, sha256 })
    }

    /// Whether a caller from before could come again: their token is in force, and opens what it opened.
    pub(crate) fn hold(&self, caller: &Caller) -> bool {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tokens.iter().any(|token| token.sha256 == caller.sha256 && token.role == caller.role)
    }

    /// Who decides by a link in this name: the holder of a token that opens decisions. A link never breaks glass.
    pub(crate) fn decider(&self, name: &str) -> Option<Reviewer> {
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.iter().find(|token| token.name == name && token.role.decides())?;
        Some(Reviewer { name: token.name.clone(), groups: token.groups.clone(), break_glass: false })
    }
}

impl Role {
    fn decides(self) -> bool {
        matches!(self, Self::Approver | Self::Operator)
    }
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// See metrics or readiness: any token will do.
    Watch,
    /// See approval requests.
    SeeApprovals,
    /// Approve or deny.
    Decide,
    /// See sessions, what they did, and the policies.
    Read,
    /// End sessions, reload.
    Operate,
}

/// The holder of the token of a request.
pub(crate) struct Caller {
    pub(crate) reviewer: Reviewer,
    role: Role,
    sha256: [u8; 32],
}

impl Caller {
    /// The caller of a request with these headers.
    pub(crate) fn find(app: &App, headers: &HeaderMap) -> Result<Self, Problem> {
        let refusal =
            || Problem::new(StatusCode::UNAUTHORIZED, "show a valid token as `Authorization: Bearer <token>`");
        let value = headers.get(AUTHORIZATION).ok_or_else(refusal)?.as_bytes();
        let (scheme, token) = value.split_at_checked(b"bearer ".len()).ok_or_else(refusal)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(refusal());
        }
        app.tokens.holder(token).ok_or_else(refusal)
    }

    /// Refuses what the caller's role does not open.
    pub(crate) fn must(&self, need: Need) -> Result<(), Problem> {
        let allowed = match need {
            Need::Watch | Need::SeeApprovals => true,
            Need::Decide => self.role.decides(),
            Need::Read => matches!(self.role, Role::Reader | Role::Operator),
            Need::Operate => self.role == Role::Operator,
        };
        if allowed {
            return Ok(());
        }
        let Reviewer { name, .. } = &self.reviewer;
        let detail =
            format!("the role of {name}'s token does not allow this; `admin.token` in the configuration gives it");
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Self::find(app, &parts.headers)
    }
}
