//! Approval requests: to see, to follow and to decide.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use portcullis_verdict::{ApprovalError, ApprovalState, ApprovalView, Words};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::access::{Caller, Need};
use crate::page::{Answer, Page, Paging, blocking};
use crate::problem::{Problem, Refused, Unreadable};
use crate::router::Shared;
use crate::schema;
use crate::streams::{Feed, Slot};

/// Requests that are read at a time while they are followed.
const CHUNK: usize = 50;

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Also those that have ended.
    #[serde(default)]
    #[param(default = false)]
    all: bool,
    /// The most items of the page. It may have fewer although there are more: only `next` tells.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// The approval requests.
///
/// Newest first. Any role.
#[utoipa::path(
    get, path = "/v1/approvals", operation_id = "listApprovals", tag = "approvals",
    params(Which),
    responses((status = 200, description = "A page of requests", body = schema::ApprovalViews), Refused),
    security(("token" = [])),
)]
pub(crate) async fn list(State(app): Shared, caller: Caller, Query(which): Query<Which>) -> Answer<Page> {
    caller.must(Need::SeeApprovals)?;
    let Which { all, limit, cursor } = which;
    let page = move |app: &App| {
        let number = |view: &ApprovalView| view.number;
        let read = |before, limit| Ok(app.services.approvals.list(all, before, limit)?);
        Page::gather_by_number(&Paging { limit, cursor }, number, read)
    };
    blocking(&app, page).await
}

/// One approval request.
///
/// Any role.
#[utoipa::path(
    get, path = "/v1/approvals/{id}", operation_id = "getApproval", tag = "approvals",
    params(("id" = String, Path, description = "The request")),
    responses(
        (status = 200, description = "The request", body = schema::ApprovalView),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        Refused,
    ),
    security(("token" = [])),
)]
pub(crate) async fn show(State(app): Shared, caller: Caller, Path(id): Path<String>) -> Answer<Json<ApprovalView>> {
    caller.must(Need::SeeApprovals)?;
    blocking(&app, move |app| Ok(app.services.approvals.show(&id)?)).await.map(Json)
}

/// What goes with an approval.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approve {
    /// The reviewer's words.
    #[serde(default)]
    reason: String,
    /// Approve alone, past the policy's groups and quorum and even the own request. The configuration must allow it
    /// (`approvals.break_glass`), and the reason must have at least 10 characters.
    #[serde(default)]
    break_glass: bool,
}

/// Approves.
///
/// As the token's holder. Gives the request as it stands: `state` stays `open` while more people must. Roles: approver, operator.
#[utoipa::path(
    post, path = "/v1/approvals/{id}/approve", operation_id = "approve", tag = "approvals",
    params(("id" = String, Path, description = "The request")),
    request_body = Approve,
    responses(
        (status = 200, description = "The request as it stands now", body = schema::ApprovalView),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended, or the caller has approved already",
         body = Problem, content_type = "application/problem+json"),
        Refused, Unreadable,
    ),
    security(("token" = [])),
)]
pub(crate) async fn approve(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Json(Approve { reason, break_glass }): Json<Approve>,
) -> Answer<Json<ApprovalView>> {
    caller.must(Need::Decide)?;
    let decide = move |app: &App| {
        let words = Words { reason, break_glass, link: None };
        Ok(app.services.approvals.approve(&id, &caller.reviewer, &words)?)
    };
    blocking(&app, decide).await.map(Json)
}

/// What goes with a refusal.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deny {
    /// The reviewer's words.
    #[serde(default)]
    reason: String,
}

/// Refuses.
///
/// As the token's holder, which ends the request. Roles: approver, operator.
#[utoipa::path(
    post, path = "/v1/approvals/{id}/deny", operation_id = "deny", tag = "approvals",
    params(("id" = String, Path, description = "The request")),
    request_body = Deny,
    responses(
        (status = 200, description = "The request as it stands now", body = schema::ApprovalView),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has ended", body = Problem, content_type = "application/problem+json"),
        Refused, Unreadable,
    ),
    security(("token" = [])),
)]
pub(crate) async fn deny(
    State(app): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Json(Deny { reason }): Json<Deny>,
) -> Answer<Json<ApprovalView>> {
    caller.must(Need::Decide)?;
    let decide = move |app: &App| {
        let words = Words { reason, ..Words::default() };
        Ok(app.services.approvals.deny(&id, &caller.reviewer, &words)?)
    };
    blocking(&app, decide).await.map(Json)
}

/// Follows the approval requests.
///
/// Server-sent events: an `approval` (data: ApprovalView) for each open request at first, then for each that is new, has changed or has
/// ended. A comment every 15 s keeps the stream alive. Any role.
#[utoipa::path(
    get, path = "/v1/approvals/watch", operation_id = "watchApprovals", tag = "approvals",
    responses((status = 200, description = "The events", body = String, content_type = "text/event-stream"), Refused),
    security(("token" = [])),
)]
pub(crate) async fn watch(State(app): Shared, caller: Caller, slot: Slot) -> Answer {
    caller.must(Need::SeeApprovals)?;
    let followed = app.clone();
    Ok(slot.events(&app, caller, |feed| async move {
        let mut follower = Follower { app: followed, feed, told: HashMap::new(), newest: 0 };
        follower.follow().await
    }))
}

/// Finds out what has changed about the requests, and tells it.
struct Follower {
    app: Arc<App>,
    feed: Feed,
    /// The open requests as they were told last, by identifier: a hash of each.
    told: HashMap<String, u64>,
    /// The newest request that was looked at, so that one that opens and ends between two looks is told too.
    newest: u64,
}

impl Follower {
    async fn follow(&mut self) -> io::Result<()> {
        // No count is as high, so it resolves at once. It is asked before the first look, so that nothing is missed between them.
        let mut seen = self.changed(u64::MAX).await?;
        self.newest = self.newest().await?;
        self.tell_open().await?;
        loop {
            seen = self.changed(seen).await?;
            self.tell_new().await?;
            self.tell_open().await?;
        }
    }

    async fn changed(&mut self, seen: u64) -> io::Result<u64> {
        let changed = self.app.services.approvals.changed(seen);
        self.feed.wait(changed).await
    }

    async fn read(&mut self, all: bool, before: Option<u64>, limit: usize) -> io::Result<Vec<ApprovalView>> {
        let app = self.app.clone();
        let read = async move { blocking(&app, move |app| Ok(app.services.approvals.list(all, before, limit)?)).await };
        self.feed.wait(read).await?.map_err(unread)
    }

    async fn newest(&mut self) -> io::Result<u64> {
        Ok(self.read(true, None, 1).await?.first().map_or(0, |view| view.number))
    }

    /// Those that came since the last look, whatever has become of them. No more are read than can have come.
    async fn tell_new(&mut self) -> io::Result<()> {
        let newest = self.newest().await?;
        let (mut left, looked_at) = (newest, std::mem::replace(&mut self.newest, newest));
        while left > looked_at {
            let most = CHUNK.min(usize::try_from(left - looked_at).unwrap_or(CHUNK));
            let views = self.read(true, Some(left + 1), most).await?;
            left = views.last().map_or(0, |view| view.number.saturating_sub(1));
            for view in views.into_iter().filter(|view| view.number > looked_at) {
                self.tell(view).await?;
            }
        }
        Ok(())
    }

    /// The open ones that have changed, and those that are open no more.
    async fn tell_open(&mut self) -> io::Result<()> {
        let (mut before, mut gone) = (None, self.told.clone());
        loop {
            let views = self.read(false, before, CHUNK).await?;
            // One with fewer than were asked for is not the last: long commands end it early.
            let Some(last) = views.last() else { break };
            before = Some(last.number);
            for view in views {
                gone.remove(&view.id);
                self.tell(view).await?;
            }
        }
        for id in gone.into_keys() {
            let app = self.app.clone();
            let wanted = id.clone();
            let shown = async move { blocking(&app, move |app| Ok(app.services.approvals.show(&wanted))).await };
            match self.feed.wait(shown).await?.map_err(unread)? {
                Ok(view) => self.tell(view).await?,
                // It was pruned meanwhile.
                Err(ApprovalError::Unknown(_)) => drop(self.told.remove(&id)),
                Err(error) => return Err(unread(error.into())),
            }
        }
        Ok(())
    }

    /// Tells a request unless it stands as it was told last.
    async fn tell(&mut self, view: ApprovalView) -> io::Result<()> {
        let mut hash = DefaultHasher::new();
        serde_json::to_vec(&view)?.hash(&mut hash);
        let hash = hash.finish();
        let open = view.state == ApprovalState::Open;
        let before = if open { self.told.insert(view.id.clone(), hash) } else { self.told.remove(&view.id) };
        if before == Some(hash) { Ok(()) } else { self.feed.event("approval", &view).await }
    }
}

fn unread(problem: Problem) -> io::Error {
    io::Error::other(problem.detail)
}
