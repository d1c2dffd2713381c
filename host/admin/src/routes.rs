//! The endpoints.

use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError};

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use portcullis_verdict::{ApprovalView, AuditReader, PolicyState};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::{Caller, Need};
use crate::answer::{Problem, shape};
use crate::{App, metrics};

/// The most bytes of a request's body.
const BODY_BYTES: usize = 64 << 10;

/// The entries of a page that names no limit, and the most of any page.
const PAGE: usize = 100;
const PAGE_LIMIT: usize = 1000;

type Answer<T = Json<Value>> = Result<T, Problem>;
type Shared = State<Arc<App>>;

pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/metrics", get(metrics_page))
        .route("/v1/sessions", get(live_sessions))
        .route("/v1/sessions/recent", get(recent_sessions))
        .route("/v1/sessions/{id}", delete(kill_session))
        .route("/v1/sessions/{id}/events", get(session_events))
        .route("/v1/approvals", get(approvals))
        .route("/v1/approvals/{id}", get(approval))
        .route("/v1/approvals/{id}/approve", post(approve))
        .route("/v1/approvals/{id}/deny", post(deny))
        .route("/v1/policies", get(policies))
        .route("/v1/reload", post(reload))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn(shape))
        .with_state(app)
}

/// `GET /healthz`: 200 `{"alive": true}` as long as the process answers.
async fn health() -> Json<Value> {
    Json(json!({ "alive": true }))
}

/// `GET /readyz`: 200 while new sessions are taken, 503 while the gateway drains. `{"ready": bool}`, and for a caller with a token
/// also `"reasons": [string]`, why it is not ready; `"held_closed": [string]`, the policies that deny everything after repeated
/// failures, which does not make the gateway unready; `"last_refusal": string or null`, why the newest configuration is not in force.
async fn readiness(State(app): Shared, headers: HeaderMap) -> Answer<Response> {
    let draining = app.services.draining.load(Ordering::Relaxed);
    let mut body = json!({ "ready": !draining });
    if headers.contains_key(AUTHORIZATION) {
        Caller::find(&app, &headers)?.must(Need::Watch)?;
        let policies = app.services.policies.status().into_iter();
        let held: Vec<String> = policies.filter(|p| p.state == PolicyState::HeldClosed).map(|p| p.name).collect();
        let reasons: &[&str] = if draining { &["the gateway drains: it takes no new sessions"] } else { &[] };
        let last_refusal = app.services.policies.last_refusal();
        body = json!({ "ready": !draining, "reasons": reasons, "held_closed": held, "last_refusal": last_refusal });
    }
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok((status, Json(body)).into_response())
}

/// `GET /metrics`: the OpenMetrics text format. The only labels are `policy` and `version`.
async fn metrics_page(State(app): Shared, caller: Caller) -> Answer<Response> {
    caller.must(Need::Watch)?;
    let page = metrics::page(&app.services);
    let page = page.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response())
}

/// `GET /v1/sessions`: the sessions open now, oldest first. `{"sessions": [{"id", "principal", "target", "client_address",
/// "opened_ms", "commands"}]}`; times are milliseconds since the Unix epoch.
async fn live_sessions(State(app): Shared, caller: Caller) -> Answer {
    caller.must(Need::Audit)?;
    let sessions = blocking(&app, |app| Ok(app.services.sessions.live())).await?;
    Ok(Json(json!({ "sessions": sessions })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recent {
    limit: Option<usize>,
}

/// `GET /v1/sessions/recent?limit=100`: the newest sessions, also refused ones, newest first: their opening events, and how they ended.
/// `{"sessions": [{"number", "at_ms", "event", "ended"}]}`, with `ended` null for one that is open or was refused; `limit` is at most
/// 1000. 404 where no audit is kept.
async fn recent_sessions(State(app): Shared, caller: Caller, Query(page): Query<Recent>) -> Answer {
    caller.must(Need::Audit)?;
    let limit = page.limit.unwrap_or(PAGE).min(PAGE_LIMIT);
    let sessions = blocking(&app, move |app| Ok(audit(app)?.sessions(limit)?)).await?;
    Ok(Json(json!({ "sessions": sessions })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// `GET /v1/sessions/{id}/events?after=0&limit=100`: what a session did, in order, from the event after number `after` on.
/// `{"events": [{"number", "at_ms", "event"}]}`; `limit` is at most 1000. The next page starts after the last `number`; an empty
/// page is the end so far. 404 where nothing is known of the session, or no audit is kept.
async fn session_events(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Query(Events { after, limit }): Query<Events>,
) -> Answer {
    caller.must(Need::Audit)?;
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE_LIMIT);
    let events = blocking(&app, move |app| {
        let events = audit(app)?.session(&id, after, limit)?;
        if events.is_empty() && after == 0 {
            return Err(no_session());
        }
        Ok(events)
    });
    Ok(Json(json!({ "events": events.await? })))
}

/// `DELETE /v1/sessions/{id}`: ends a session at both sides. `{"killed": id}`; 404 where it is not open.
async fn kill_session(State(app): Shared, caller: Caller, Path(id): Path<String>) -> Answer {
    caller.must(Need::Operate)?;
    let by = caller.reviewer.name;
    let killed = blocking(&app, move |app| {
        let killed = app.services.sessions.kill(&id, &by).then_some(id).ok_or_else(no_session)?;
        tracing::info!(session = killed, by, "a session was ended over the admin API");
        Ok(killed)
    });
    Ok(Json(json!({ "killed": killed.await? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    all: bool,
}

/// `GET /v1/approvals?all=false`: the open requests, newest first; with `all=true` ended ones too, as far as the store lists them.
/// `{"approvals": [approval]}`; an approval is `{"id", "state", "session", "sequence", "principal", "target", "text", "digest", "parameters",
/// "demands", "approvers", "opened_ms", "expires_ms", "reason", "decided"}`, with `state` one of `open`, `approved`, `denied`,
/// `expired`, `withdrawn`, and times in milliseconds since the Unix epoch.
async fn approvals(State(app): Shared, caller: Caller, Query(which): Query<Which>) -> Answer {
    caller.must(Need::SeeApprovals)?;
    let approvals = blocking(&app, move |app| Ok(app.services.approvals.list(which.all)?)).await?;
    Ok(Json(json!({ "approvals": approvals })))
}

/// `GET /v1/approvals/{id}`: one approval; 404 where there is none.
async fn approval(State(app): Shared, caller: Caller, Path(id): Path<String>) -> Answer<Json<ApprovalView>> {
    caller.must(Need::SeeApprovals)?;
    blocking(&app, move |app| Ok(app.services.approvals.show(&id)?)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    #[serde(default)]
    reason: String,
}

/// `POST /v1/approvals/{id}/approve` with `{"reason": string}`: approves as the token's holder, and gives the approval as it stands:
/// `state` stays `open` while more people must. 403 where it is the caller's own or they may not decide it; 404 where there is none;
/// 409 where it has ended or they have approved already; 503 where the decision is not durable yet.
async fn approve(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Json(words): Json<Words>,
) -> Answer<Json<ApprovalView>> {
    caller.must(Need::Decide)?;
    let decide = move |app: &App| Ok(app.services.approvals.approve(&id, &caller.reviewer, &words.reason)?);
    blocking(&app, decide).await.map(Json)
}

/// `POST /v1/approvals/{id}/deny` with `{"reason": string}`: refuses, which ends the request. Answers like `approve`.
async fn deny(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Json(words): Json<Words>,
) -> Answer<Json<ApprovalView>> {
    caller.must(Need::Decide)?;
    let decide = move |app: &App| Ok(app.services.approvals.deny(&id, &caller.reviewer, &words.reason)?);
    blocking(&app, decide).await.map(Json)
}

/// `GET /v1/policies`: the policies in force. `{"generation": number, "last_refusal": string or null, "policies": [{"name", "digest",
/// "mode", "state", "calls", "faults", "last_fault"}]}`, with `state` either `serving` or `held-closed`.
async fn policies(State(app): Shared, caller: Caller) -> Answer {
    caller.must(Need::Audit)?;
    let policies = &app.services.policies;
    let (generation, last_refusal) = (policies.generation(), policies.last_refusal());
    Ok(Json(json!({ "generation": generation, "last_refusal": last_refusal, "policies": policies.status() })))
}

/// `POST /v1/reload`: reads the configuration again. `{"reloaded": string}` says what is in force then; 409 with the reason where the
/// new configuration is refused, and the old one stays in force, or where another reload is under way.
async fn reload(State(app): Shared, caller: Caller) -> Answer {
    caller.must(Need::Operate)?;
    let by = caller.reviewer.name;
    let reloaded = blocking(&app, move |app| {
        let conflict = |message: String| Problem::new(StatusCode::CONFLICT, message);
        let _alone = match app.reloading.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(conflict("another reload is under way; try again".into())),
            // A reload that panicked changed nothing that this one relies on.
            Err(TryLockError::Poisoned(lock)) => lock.into_inner(),
            Ok(lock) => lock,
        };
        tracing::info!(by, "a reload was asked for over the admin API");
        (app.services.reload)().map_err(conflict)
    });
    Ok(Json(json!({ "reloaded": reloaded.await? })))
}

fn audit(app: &App) -> Answer<&dyn AuditReader> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "this gateway keeps no audit; it is off (`audit.enabled`)");
    app.services.audit.as_deref().ok_or_else(none)
}

fn no_session() -> Problem {
    let hint = "`portcullis sessions list` shows the open ones, with `--recent` also those that have ended";
    Problem::new(StatusCode::NOT_FOUND, format!("there is no such session; {hint}"))
}

/// Runs what may wait for a disk or a lock where it holds up nobody else.
async fn blocking<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&App) -> Answer<T> + Send + 'static,
) -> Answer<T> {
    let app = app.clone();
    let done = tokio::task::spawn_blocking(move || work(&app)).await;
    done.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the gateway; its log tells why"))
    })
}
