//! Sessions: those open now, those of before, what they did, and their recordings.

use std::fs::File;
use std::future::poll_fn;
use std::io;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::IntoResponse;
use portcullis_verdict::{RecordedSession, StoredEvent, Watched, Watching};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use utoipa::ToSchema;

use crate::access::{Caller, Need};
use crate::gateway::record;
use crate::page::{Answer, Page, Paging, blocking};
use crate::problem::{Problem, Refused};
use crate::router::Shared;
use crate::schema;
use crate::streams::{Feed, Slot};

/// The sessions open now.
///
/// Oldest first, all in one page. Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "listSessions", tag = "sessions",
    responses((status = 200, description = "The sessions", body = schema::LiveSessions), Refused),
    security(("token" = [])),
)]
pub(crate) async fn live(State(app): Shared, caller: Caller) -> Answer<Json<Value>> {
    caller.must(Need::Read)?;
    let sessions = blocking(&app, |app| Ok(app.services.sessions.live())).await?;
    Ok(Json(json!({ "items": sessions, "next": null })))
}

/// The newest sessions.
///
/// Newest first, also those that were refused: how each began, and what became of it. Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/sessions/recent", operation_id = "listRecentSessions", tag = "sessions",
    params(Paging),
    responses((status = 200, description = "A page of sessions", body = schema::RecordedSessions), Refused),
    security(("token" = [])),
)]
pub(crate) async fn recent(State(app): Shared, caller: Caller, Query(paging): Query<Paging>) -> Answer<Page> {
    caller.must(Need::Read)?;
    let page = move |app: &crate::App| {
        let number = |session: &RecordedSession| session.opening.number;
        Page::gather_by_number(&paging, number, |before, limit| Ok(app.services.audit.sessions(before, limit)?))
    };
    blocking(&app, page).await
}

/// What a session did.
///
/// In order; the page after the last one so far shows what came since. Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/events", operation_id = "listSessionEvents", tag = "sessions",
    params(("id" = String, Path, description = "The session"), Paging),
    responses(
        (status = 200, description = "A page of events", body = schema::StoredEvents),
        (status = 404, description = "Nothing is known of it",
         body = Problem, content_type = "application/problem+json"),
        Refused,
    ),
    security(("token" = [])),
)]
pub(crate) async fn events(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Query(paging): Query<Paging>,
) -> Answer<Page> {
    caller.must(Need::Read)?;
    let page = move |app: &crate::App| {
        Page::gather_by_number(
            &paging,
            |event: &StoredEvent| event.number,
            |after, limit| {
                let events = app.services.audit.session(&id, after.unwrap_or(0), limit)?;
                if events.is_empty() && after.is_none() { Err(no_session()) } else { Ok(events) }
            },
        )
    };
    blocking(&app, page).await
}

/// The session that was ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct Killed {
    /// Its identifier.
    killed: String,
}

/// Ends a session.
///
/// At both sides. It is recorded first; where it cannot be, it is done all the same, and logged. Roles: operator.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", operation_id = "killSession", tag = "sessions",
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 200, description = "It is ended", body = Killed),
        (status = 404, description = "It is not open", body = Problem, content_type = "application/problem+json"),
        Refused,
    ),
    security(("token" = [])),
)]
pub(crate) async fn kill(State(app): Shared, caller: Caller, Path(id): Path<String>) -> Answer<Json<Killed>> {
    caller.must(Need::Operate)?;
    let by = caller.reviewer.name;
    let open = blocking(&app, |app| Ok(app.services.sessions.live())).await?;
    let session = open.into_iter().find(|session| session.id == id).ok_or_else(no_session)?;
    let detail = format!("session {id} of {} to {}", session.principal, session.target);
    if let Err(error) = record(&app, "kill", &by, detail).await {
        tracing::error!(session = id, by, %error, "a session is ended over the admin API, which the audit does not record");
    }
    let killed = blocking(&app, move |app| {
        let killed = app.services.sessions.kill(&id, &by).then_some(id).ok_or_else(no_session)?;
        tracing::info!(session = killed, by, "a session was ended over the admin API");
        Ok(killed)
    });
    Ok(Json(Killed { killed: killed.await? }))
}

/// Follows a session.
///
/// Server-sent events from now on: first `level` (data: Level), then for each thing that the client sees an `entry` (data: TimedEntry);
/// `lost` (data: Lost) where the watcher was too slow; `end` (data: `{}`) when the session has ended. A comment every 15 s keeps the
/// stream alive. Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/watch", operation_id = "watchSession", tag = "sessions",
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 404, description = "It is not open", body = Problem, content_type = "application/problem+json"),
        Refused,
    ),
    security(("token" = [])),
)]
pub(crate) async fn watch(State(app): Shared, caller: Caller, slot: Slot, Path(id): Path<String>) -> Answer {
    caller.must(Need::Read)?;
    let by = caller.reviewer.name.clone();
    let session = id.clone();
    let watching = blocking(&app, move |app| app.services.sessions.watch(&id).ok_or_else(no_session)).await?;
    record(&app, "watch", &by, format!("session {session}")).await?;
    Ok(slot.events(&app, caller, |feed| follow(feed, watching)))
}

async fn follow(mut feed: Feed, mut watching: Box<dyn Watching>) -> io::Result<()> {
    feed.event("level", &json!({ "level": watching.level() })).await?;
    loop {
        match feed.wait(poll_fn(|cx| watching.poll_next(cx))).await? {
            Some(Watched::Entry(entry)) => feed.event("entry", &*entry).await?,
            Some(Watched::Lost(count)) => feed.event("lost", &json!({ "count": count })).await?,
            None => return feed.event("end", &json!({})).await,
        }
    }
}

/// A session's recording.
///
/// The file as it is on disk; of a session that is still open, as far as it is written. Roles: reader, operator.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/recording", operation_id = "getRecording", tag = "sessions",
    params(("id" = String, Path, description = "The session")),
    responses(
        (status = 200, description = "The recording", body = schema::Bytes, content_type = "application/zstd"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        Refused,
    ),
    security(("token" = [])),
)]
pub(crate) async fn recording(State(app): Shared, caller: Caller, slot: Slot, Path(id): Path<String>) -> Answer {
    caller.must(Need::Read)?;
    let (name, by) = (file_name(&id), caller.reviewer.name);
    let session = id.clone();
    let (file, bytes) = blocking(&app, move |app| open_recording(app, &id)).await?;
    record(&app, "recording", &by, format!("session {session}")).await?;
    let body = slot.body(&app, move |mut out| async move {
        // One that is under way grows meanwhile.
        let mut file = tokio::fs::File::from_std(file).take(bytes);
        tokio::io::copy(&mut file, &mut out).await.map(drop)
    });
    let headers = [
        (CONTENT_TYPE, "application/zstd".to_owned()),
        (CONTENT_LENGTH, bytes.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, body).into_response())
}

fn open_recording(app: &crate::App, id: &str) -> Answer<(File, u64)> {
    let none = || {
        Problem::new(StatusCode::NOT_FOUND, "this session has no recording (`record` of its target, and `recordings`)")
    };
    let failed = |error: io::Error| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the recording cannot be read: {error}"))
    };
    let files = app.services.recordings.as_ref().ok_or_else(none)?;
    let file = files.open(id).map_err(failed)?.ok_or_else(none)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok((file, bytes))
}

/// Nothing of what the caller wrote but letters, digits and hyphens goes into a header.
fn file_name(id: &str) -> String {
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!("{id}.zst")
}

fn no_session() -> Problem {
    let hint = "`portcullis sessions list` shows the open ones, with `--recent` also those that have ended";
    Problem::new(StatusCode::NOT_FOUND, format!("there is no such session; {hint}"))
}
