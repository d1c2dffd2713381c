//! What the audit has kept.

use axum::Json;
use axum::extract::{Query, State};
use portcullis_verdict::{ChainedEvent, Checkpoint, Filter, Head, StoredEvent};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::App;
use crate::access::{Caller, Need};
use crate::gateway::record;
use crate::page::{Answer, Page, Paging, blocking};
use crate::problem::Refused;
use crate::router::Shared;
use crate::schema;

/// How far the log has come.
///
/// Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/audit/head", operation_id = "getAuditHead", tag = "audit",
    responses((status = 200, description = "The head", body = schema::Head), Refused),
    security(("token" = [])),
)]
pub(crate) async fn head(State(app): Shared, caller: Caller) -> Answer<Json<Head>> {
    caller.must(Need::Read)?;
    blocking(&app, |app| Ok(app.services.audit.head()?)).await.map(Json)
}

/// What a search looks for. Everything that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Search {
    /// The principal's name.
    principal: Option<String>,
    /// The target's name.
    target: Option<String>,
    /// The session.
    session: Option<String>,
    /// Not before this time, in milliseconds since the Unix epoch.
    from_ms: Option<u64>,
    /// Before this time, in milliseconds since the Unix epoch.
    to_ms: Option<u64>,
    /// A part of a command's text, of its rewrite, of a message or of a reason, whatever the case of ASCII letters.
    text: Option<String>,
    /// The outcome of a command (`allow`, `review`, `deny`), or what happened to an approval (`approved`, `broken-glass`, …).
    verdict: Option<String>,
    /// A policy that answered, or that masked.
    policy: Option<String>,
    /// The kind of event: `open`, `command`, `finish`, `close`, `approval`, `recording`, `system`, `inputs`.
    kind: Option<String>,
    /// The most items of the page. It may have fewer, or none, although there are more: only `next` tells.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

impl Search {
    fn split(self) -> (Filter, Paging) {
        let Self { principal, target, session, from_ms, to_ms, text, verdict, policy, kind, limit, cursor } = self;
        (Filter { principal, target, session, from_ms, to_ms, text, verdict, policy, kind }, Paging { limit, cursor })
    }
}

/// Searches the log.
///
/// Newest first. A page looks at a bounded part of the log, and may be empty while `next` is not null. Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/audit/events", operation_id = "searchAudit", tag = "audit",
    params(Search),
    responses((status = 200, description = "A page of events", body = schema::StoredEvents), Refused),
    security(("token" = [])),
)]
pub(crate) async fn search(State(app): Shared, caller: Caller, Query(search): Query<Search>) -> Answer<Page> {
    caller.must(Need::Read)?;
    let (filter, paging) = search.split();
    let page = move |app: &App| {
        Page::gather(
            &paging,
            |event: &StoredEvent| event.number,
            |before, limit| {
                let found = app.services.audit.search(&filter, before, limit)?;
                Ok((found.events, found.next))
            },
        )
    };
    blocking(&app, page).await
}

/// The log itself.
///
/// In order, each event with its link in the chain. The cursor is the number of the last event that the caller has; `0` to begin.
/// Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/audit/export", operation_id = "exportAudit", tag = "audit",
    params(Paging),
    responses((status = 200, description = "A page of events", body = schema::ChainedEvents), Refused),
    security(("token" = [])),
)]
pub(crate) async fn export(State(app): Shared, caller: Caller, Query(paging): Query<Paging>) -> Answer<Page> {
    caller.must(Need::Read)?;
    // Once for an export, however many pages it takes.
    if paging.cursor.as_deref().is_none_or(|cursor| cursor == "0") {
        record(&app, "export", &caller.reviewer.name, "from the log's beginning".into()).await?;
    }
    let page = move |app: &App| {
        let number = |event: &ChainedEvent| event.stored.number;
        let read = |after: Option<u64>, limit| Ok(app.services.audit.export(after.unwrap_or(0), limit)?);
        Page::gather_at_once(&paging, number, read)
    };
    blocking(&app, page).await
}

/// The log's checkpoints.
///
/// In order. The cursor is the number of the event of the last one that the caller has; `0` to begin. Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/audit/checkpoints", operation_id = "listCheckpoints", tag = "audit",
    params(Paging),
    responses((status = 200, description = "A page of checkpoints", body = schema::Checkpoints), Refused),
    security(("token" = [])),
)]
pub(crate) async fn checkpoints(State(app): Shared, caller: Caller, Query(paging): Query<Paging>) -> Answer<Page> {
    caller.must(Need::Read)?;
    let page = move |app: &App| {
        let number = |checkpoint: &Checkpoint| checkpoint.number;
        let read = |after: Option<u64>, limit| Ok(app.services.audit.checkpoints(after.unwrap_or(0), limit)?);
        Page::gather_by_number(&paging, number, read)
    };
    blocking(&app, page).await
}
