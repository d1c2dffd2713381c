//! The gateway itself: health, metrics, policies, reload, and the record of what operators do.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use portcullis_verdict::{AuditError, Event, PolicyState, SystemEvent};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::access::{Caller, Need};
use crate::page::{Answer, blocking};
use crate::problem::{Problem, Refused};
use crate::router::Shared;
use crate::{App, metrics, schema};

/// How long the audit may take to record what an operator is about to do.
const RECORDING: Duration = Duration::from_secs(5);

/// That the process lives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alive {
    alive: bool,
}

/// Whether the process lives.
///
/// As long as it answers.
#[utoipa::path(
    get, path = "/healthz", operation_id = "health", tag = "gateway",
    responses((status = 200, description = "It lives", body = Alive)),
)]
pub(crate) async fn health() -> Json<Alive> {
    Json(Alive { alive: true })
}

/// Whether the gateway takes new sessions.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// Whether it does.
    ready: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasons: Option<Vec<String>>,
    /// The policies that deny everything after repeated failures, which does not make the gateway unready.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_closed: Option<Vec<String>>,
    /// Why the newest configuration is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refusal: Option<Option<String>>,
}

/// Whether the gateway takes new sessions.
///
/// Not while it drains. The reasons are for callers with a token of any role.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readiness", tag = "gateway",
    responses(
        (status = 200, description = "It does", body = Ready),
        (status = 503, description = "It does not", body = Ready),
        (status = 401, description = "A token was shown, and is none of this gateway's",
         body = Problem, content_type = "application/problem+json"),
    ),
    security((), ("token" = [])),
)]
pub(crate) async fn readiness(State(app): Shared, headers: HeaderMap) -> Answer {
    let draining = app.services.draining.load(Ordering::Relaxed);
    let mut body = Ready { ready: !draining, reasons: None, held_closed: None, last_refusal: None };
    if headers.contains_key(AUTHORIZATION) {
        Caller::find(&app, &headers)?.must(Need::Watch)?;
        let policies = app.services.policies.status().into_iter();
        let held = policies.filter(|p| p.state == PolicyState::HeldClosed).map(|p| p.name).collect();
        let reason = draining.then(|| "the gateway drains: it takes no new sessions".to_owned());
        body.reasons = Some(reason.into_iter().collect());
        body.held_closed = Some(held);
        body.last_refusal = Some(app.services.rollout.refusal().map(|refusal| refusal.reason));
    }
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok((status, Json(body)).into_response())
}

/// The metrics.
///
/// In the OpenMetrics text format. The only labels are `policy` and `version`. Any role.
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "gateway",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"), Refused),
    security(("token" = [])),
)]
pub(crate) async fn metrics_page(State(app): Shared, caller: Caller) -> Answer {
    caller.must(Need::Watch)?;
    let page = metrics::page(&app.services);
    let page = page.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response())
}

/// The policies in force.
///
/// Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/policies", operation_id = "listPolicies", tag = "gateway",
    responses((status = 200, description = "The policies", body = schema::Policies), Refused),
    security(("token" = [])),
)]
pub(crate) async fn policies(State(app): Shared, caller: Caller) -> Answer<Json<Value>> {
    caller.must(Need::Read)?;
    let (policies, rollout) = (&app.services.policies, &app.services.rollout);
    let (generation, last_refusal) = (policies.generation(), rollout.refusal());
    let mut origins: HashMap<_, _> = rollout.origins().into_iter().map(|o| (o.policy.clone(), o)).collect();
    // A policy is shown with where it came from; a change between the two looks leaves that out.
    let shown = policies.status().into_iter().map(|status| {
        let origin = origins.remove(&status.name);
        let mut shown = json!(status);
        shown["origin"] = json!(origin);
        shown
    });
    let shown: Vec<Value> = shown.collect();
    Ok(Json(json!({ "generation": generation, "last_refusal": last_refusal, "policies": shown })))
}

/// What a rollback put in force.
#[derive(Serialize, ToSchema)]
pub(crate) struct RolledBack {
    /// In a sentence.
    rolled_back: String,
}

/// Puts what was in force for a policy before its newest change in force again.
///
/// It stays until the configuration names something else for the policy, or the gateway starts anew. It is recorded first, and not done where
/// it cannot be. Roles: operator.
#[utoipa::path(
    post, path = "/v1/policies/{name}/rollback", operation_id = "rollBackPolicy", tag = "gateway",
    params(("name" = String, Path, description = "The policy's name")),
    responses(
        (status = 200, description = "It is done", body = RolledBack),
        (status = 409, description = "There is nothing to go back to",
         body = Problem, content_type = "application/problem+json"),
        Refused,
    ),
    security(("token" = [])),
)]
pub(crate) async fn rollback(State(app): Shared, caller: Caller, Path(name): Path<String>) -> Answer<Json<RolledBack>> {
    caller.must(Need::Operate)?;
    let conflict = |detail: String| Problem::new(StatusCode::CONFLICT, detail);
    let by = caller.reviewer.name;
    record(&app, "rollback", &by, format!("of the policy {name}, asked for over the admin API")).await?;
    tracing::info!(by, policy = name, "a rollback was asked for over the admin API");
    let done = blocking(&app, move |app| app.services.rollout.rollback(&name).map_err(conflict));
    Ok(Json(RolledBack { rolled_back: done.await? }))
}

/// What is in force after a reload.
#[derive(Serialize, ToSchema)]
pub(crate) struct Reloaded {
    /// In a sentence.
    reloaded: String,
}

/// Reads the configuration again.
///
/// It is recorded first, and not done where it cannot be. Roles: operator.
#[utoipa::path(
    post, path = "/v1/reload", operation_id = "reload", tag = "gateway",
    responses(
        (status = 200, description = "It is done", body = Reloaded),
        (status = 409, description = "The new configuration is refused, and the old one stays in force; or another reload is under way",
         body = Problem, content_type = "application/problem+json"),
        Refused,
    ),
    security(("token" = [])),
)]
pub(crate) async fn reload(State(app): Shared, caller: Caller) -> Answer<Json<Reloaded>> {
    caller.must(Need::Operate)?;
    let conflict = |detail: String| Problem::new(StatusCode::CONFLICT, detail);
    let under_way = |_| conflict("another reload is under way; try again".into());
    let alone = app.reloading.clone().try_lock_owned().map_err(under_way)?;
    let by = caller.reviewer.name;
    record(&app, "reload", &by, "asked for over the admin API".into()).await?;
    tracing::info!(by, "a reload was asked for over the admin API");
    let reloaded = blocking(&app, move |app| {
        // Held to the end, though its caller may leave.
        let _alone = alone;
        (app.services.reload)().map_err(conflict)
    });
    Ok(Json(Reloaded { reloaded: reloaded.await? }))
}

/// Has the audit record what an operator is about to do.
pub(crate) async fn record(app: &Arc<App>, what: &'static str, by: &str, detail: String) -> Result<(), AuditError> {
    let Some(sink) = &app.services.sink else { return Ok(()) };
    let appended = sink.append(Event::System(SystemEvent { what: what.into(), by: by.into(), detail }));
    let late = |_| AuditError::Write(format!("it took more than {} s", RECORDING.as_secs()));
    tokio::time::timeout(RECORDING, appended.received()).await.map_err(late)?.map(drop)
}
