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
use crate::answer::Problem;

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
}

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees approval requests and decides them.
    Reviewer,
    /// Sees sessions, their events, approval requests and policies.
    Auditor,
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
        let Token { name, groups, role, .. } = token.clone();
        Some(Caller { reviewer: Reviewer { name, groups }, role })
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
    Audit,
    /// End sessions, reload.
    Operate,
}

/// The holder of the token of a request.
pub(crate) struct Caller {
    pub(crate) reviewer: Reviewer,
    role: Role,
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
            Need::Decide => matches!(self.role, Role::Reviewer | Role::Operator),
            Need::Audit => matches!(self.role, Role::Auditor | Role::Operator),
            Need::Operate => self.role == Role::Operator,
        };
        if allowed {
            return Ok(());
        }
        let Reviewer { name, .. } = &self.reviewer;
        Err(Problem::new(StatusCode::FORBIDDEN, format!("the role of {name}'s token does not allow this")))
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Self::find(app, &parts.headers)
    }
}
