//! Errors as the API tells them, and the headers of every answer.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use portcullis_verdict::{ApprovalError, AuditError};
use serde_json::json;

/// The most bytes of an error's text.
const ERROR_BYTES: usize = 4096;

/// Why a request was not served.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

impl From<ApprovalError> for Problem {
    fn from(error: ApprovalError) -> Self {
        let status = match &error {
            ApprovalError::Unknown(_) => StatusCode::NOT_FOUND,
            ApprovalError::NotOpen { .. } | ApprovalError::Repeated(_) => StatusCode::CONFLICT,
            ApprovalError::OwnRequest(_) | ApprovalError::NotAReviewer { .. } => StatusCode::FORBIDDEN,
            ApprovalError::TooMany(_) | ApprovalError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<AuditError> for Problem {
    fn from(error: AuditError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// Gives every answer the headers it needs, and the framework's own refusals the shape of ours.
pub(crate) async fn shape(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    if (status.is_client_error() || status.is_server_error()) && !is_json {
        let text = to_bytes(response.into_body(), ERROR_BYTES).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let reason = status.canonical_reason().unwrap_or("refused").to_lowercase();
        response = Problem::new(status, if text.is_empty() { reason } else { text.into_owned() }).into_response();
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
