//! One-time links: a reviewer's decision without a token, confirmed on a page.
//!
//! Mail scanners and previews of chats fetch links, so a GET decides nothing. A link says in whose name it decides; that person
//! must hold a token that opens decisions when the link is used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequest, Path, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use portcullis_verdict::{ApprovalError, ApprovalState, ApprovalView, Link, LinkError, Reviewer, Words};
use serde::Deserialize;
use utoipa::openapi::{self, RefOr};
use utoipa::{IntoResponses, ToSchema};

use crate::page::{Answer, blocking};
use crate::problem::{PROBLEM, Problem, Unreadable};
use crate::router::Shared;
use crate::{App, confirm, schema};

/// How a link may not count, for the document: as a page or as a problem.
struct Uncounted;

impl IntoResponses for Uncounted {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let text = openapi::ObjectBuilder::new().schema_type(openapi::Type::String).build();
        let content = |schema: RefOr<openapi::Schema>| openapi::Content::new(Some(schema));
        let response = |(status, description): (&str, &str)| {
            let response = openapi::ResponseBuilder::new()
                .description(description)
                .content(PROBLEM, content(openapi::Ref::from_schema_name("Problem").into()))
                .content("text/html", content(openapi::Schema::from(text.clone()).into()));
            (status.to_owned(), response.build().into())
        };
        let all = [
            ("403", "The reviewer may not decide this, any more or at all."),
            ("404", "The link is not genuine, or its request is gone."),
            ("409", "The request was decided already, or is another than the link was made for."),
            ("410", "The link has expired, or was used."),
            ("500", "The request failed inside the gateway; its log tells why."),
            ("503", "The store cannot be read or written."),
        ];
        all.into_iter().map(response).collect()
    }
}

/// The page on which a link's decision is confirmed.
///
/// It decides nothing. Where the link does not count, the page says why; with `Accept: application/json` it is a problem.
#[utoipa::path(
    get, path = "/v1/links/{token}", operation_id = "showLink", tag = "links",
    params(("token" = String, Path, description = "The link's token")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"), Uncounted),
)]
pub(crate) async fn show(State(app): Shared, Path(token): Path<String>, headers: HeaderMap) -> Response {
    match examine(&app, token).await {
        Ok(Examined { link, view, .. }) => confirm::question(&link, &view),
        Err(problem) => refusal(&headers, problem),
    }
}

/// What goes with a decision by a link.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// The reviewer's words.
    #[serde(default)]
    reason: String,
}

impl<S: Send + Sync> FromRequest<S> for Said {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Some(kind) = request.headers().get(CONTENT_TYPE) else { return Ok(Self::default()) };
        if kind.as_bytes().starts_with(b"application/json") {
            return Json::from_request(request, state)
                .await
                .map(|Json(said)| said)
                .map_err(IntoResponse::into_response);
        }
        Form::from_request(request, state).await.map(|Form(said)| said).map_err(IntoResponse::into_response)
    }
}

/// Decides as the link says.
///
/// In the name of the link's reviewer, once. Gives a page, or with `Accept: application/json` the request as it stands.
#[utoipa::path(
    post, path = "/v1/links/{token}", operation_id = "useLink", tag = "links",
    params(("token" = String, Path, description = "The link's token")),
    request_body(content((Said = "application/x-www-form-urlencoded"), (Said = "application/json"))),
    responses(
        (status = 200, description = "It is decided",
         content((schema::ApprovalView = "application/json"), (String = "text/html"))),
        Uncounted, Unreadable,
    ),
)]
pub(crate) async fn decide(State(app): Shared, Path(token): Path<String>, headers: HeaderMap, said: Said) -> Response {
    match use_link(&app, token, said.reason).await {
        Ok((_, view)) if wants_json(&headers) => Json(view).into_response(),
        Ok((link, view)) => confirm::done(&link, &view),
        Err(problem) => refusal(&headers, problem),
    }
}

async fn use_link(app: &Arc<App>, token: String, reason: String) -> Answer<(Link, ApprovalView)> {
    let Examined { link, reviewer, .. } = examine(app, token).await?;
    let decide = move |app: &App| {
        let words = Words { reason, break_glass: false, link: Some(link.webhook.clone()) };
        let desk = &app.services.approvals;
        let view = match link.approve {
            true => desk.approve(&link.approval, &reviewer, &words)?,
            false => desk.deny(&link.approval, &reviewer, &words)?,
        };
        Ok((link, view))
    };
    blocking(app, decide).await
}

/// A link that counts, and what it is about.
struct Examined {
    link: Link,
    reviewer: Reviewer,
    view: ApprovalView,
}

/// What a link says and is about, if it counts now. A forged one costs a MAC over at most the longest token, and nothing is read for it.
async fn examine(app: &Arc<App>, token: String) -> Answer<Examined> {
    let off = || Problem::new(StatusCode::NOT_FOUND, "this gateway gives out no links (`admin.public_url`)");
    let key = app.services.links.as_ref().ok_or_else(off)?;
    let link = key.verify(&token, now_ms()).map_err(|error| {
        let status = if error == LinkError::Expired { StatusCode::GONE } else { StatusCode::NOT_FOUND };
        Problem::new(status, error.to_string())
    })?;
    let reviewer = app.tokens.decider(&link.reviewer).ok_or_else(|| {
        let detail = format!("{} may not decide approvals any more: no token in force says so", link.reviewer);
        Problem::new(StatusCode::FORBIDDEN, detail)
    })?;
    let id = link.approval.clone();
    let view = blocking(app, move |app| Ok(app.services.approvals.show(&id)?)).await?;
    if view.digest != link.digest {
        let detail = "this link was made for another command than the request has; decide with `portcullis approvals`";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    if view.state != ApprovalState::Open {
        let by = view.decided.as_deref().map(|decided| format!(" ({decided})")).unwrap_or_default();
        let detail = format!("there is nothing left to decide: approval {} is {}{by}", view.id, confirm::state(&view));
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    if view.principal == reviewer.name {
        return Err(ApprovalError::OwnRequest(reviewer.name).into());
    }
    if link.approve && view.approvers.contains(&reviewer.name) {
        return Err(ApprovalError::Repeated(reviewer.name).into());
    }
    Ok(Examined { link, reviewer, view })
}

fn refusal(headers: &HeaderMap, problem: Problem) -> Response {
    if wants_json(headers) { problem.into_response() } else { confirm::refusal(&problem) }
}

fn wants_json(headers: &HeaderMap) -> bool {
    let json = |value: &str| value.contains("application/json") || value.contains("application/problem+json");
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(json))
}

fn now_ms() -> u64 {
    // A clock before 1970 makes every link old, not young.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |now| now.as_millis().try_into().unwrap_or(u64::MAX))
}
