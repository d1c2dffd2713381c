//! Errors as the API tells them (RFC 9457), and the headers of every answer.

use std::borrow::Cow;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use portcullis_verdict::{ApprovalError, AuditError};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// The media type of a problem.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// The most bytes of an error's text that the framework wrote.
const ERROR_BYTES: usize = 4096;

/// Why a request was not served (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    #[schema(value_type = String)]
    title: Cow<'static, str>,
    /// The HTTP status.
    status: u16,
    /// What happened, and the way out.
    pub(crate) detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused").into();
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (self.status(), [(CONTENT_TYPE, PROBLEM)], body).into_response()
    }
}

impl From<ApprovalError> for Problem {
    fn from(error: ApprovalError) -> Self {
        let status = match &error {
            ApprovalError::Unknown(_) => StatusCode::NOT_FOUND,
            ApprovalError::NotOpen { .. } | ApprovalError::Repeated(_) => StatusCode::CONFLICT,
            ApprovalError::LinkUsed => StatusCode::GONE,
            ApprovalError::OwnRequest(_) | ApprovalError::NotAReviewer { .. } | ApprovalError::NoBreakGlass(_) => {
                StatusCode::FORBIDDEN
            }
            ApprovalError::NoJustification(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ApprovalError::TooMany(_)
            | ApprovalError::TooManyOfPrincipal { .. }
            | ApprovalError::TooLong { .. }
            | ApprovalError::TooMuchText(_)
            | ApprovalError::TooMuchTextOfPrincipal { .. }
            | ApprovalError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// What every endpoint with a token may answer instead, for the document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub(crate) enum Refused {
    /// The request is not one that this endpoint takes.
    #[response(status = 400, content_type = "application/problem+json")]
    Bad(Problem),
    /// There is no token, or none of this gateway's.
    #[response(status = 401, content_type = "application/problem+json")]
    Unknown(Problem),
    /// The token's role does not open this.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The request failed inside the gateway; its log tells why.
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(Problem),
    /// The store cannot be read or written, or too many streams are open.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What an endpoint with a body may answer instead, for the document.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described, never made")]
pub(crate) enum Unreadable {
    /// The body cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Bad(Problem),
    /// The body is too long.
    #[response(status = 413, content_type = "application/problem+json")]
    Long(Problem),
    /// The body is of another media type.
    #[response(status = 415, content_type = "application/problem+json")]
    Foreign(Problem),
    /// The body says something else than it should, or too little.
    #[response(status = 422, content_type = "application/problem+json")]
    Wrong(Problem),
}

/// Gives every answer the headers it needs, and the framework's own refusals the shape of ours.
pub(crate) async fn shape(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    let ours = |kind: &HeaderValue| {
        ["application/", "text/html"].iter().any(|ours| kind.as_bytes().starts_with(ours.as_bytes()))
    };
    let ours = response.headers().get(CONTENT_TYPE).is_some_and(ours);
    if (status.is_client_error() || status.is_server_error()) && !ours {
        let text = to_bytes(response.into_body(), ERROR_BYTES).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let detail = if text.is_empty() { standing_in(status) } else { &text };
        response = Problem::new(status, detail).into_response();
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The detail where the framework gives none.
fn standing_in(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "there is no such endpoint; `/v1/openapi.json` lists them",
        StatusCode::METHOD_NOT_ALLOWED => "this endpoint has no such method; `/v1/openapi.json` lists them",
        _ => "the request was refused",
    }
}
