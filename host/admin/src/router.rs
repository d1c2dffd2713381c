//! Every endpoint by its path, and what all have in common.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::{Router, middleware};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::shape;
use crate::{App, approvals, audit, document, gateway, links, sessions};

/// The most bytes of a request's body.
const BODY_BYTES: usize = 64 << 10;

pub(crate) type Shared = State<Arc<App>>;

pub(crate) fn router(app: Arc<App>) -> Router {
    let router: Router<Arc<App>> = endpoints().into();
    router.layer(DefaultBodyLimit::max(BODY_BYTES)).layer(middleware::from_fn(shape)).with_state(app)
}

/// The endpoints with their descriptions; the path and method of each are in its own.
pub(crate) fn endpoints() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(gateway::health))
        .routes(routes!(gateway::readiness))
        .routes(routes!(gateway::metrics_page))
        .routes(routes!(document::show))
        .routes(routes!(sessions::live))
        .routes(routes!(sessions::recent))
        .routes(routes!(sessions::kill))
        .routes(routes!(sessions::events))
        .routes(routes!(sessions::watch))
        .routes(routes!(sessions::recording))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::watch))
        .routes(routes!(approvals::show))
        .routes(routes!(approvals::approve))
        .routes(routes!(approvals::deny))
        .routes(routes!(links::show, links::decide))
        .routes(routes!(audit::head))
        .routes(routes!(audit::search))
        .routes(routes!(audit::export))
        .routes(routes!(audit::checkpoints))
        .routes(routes!(gateway::policies))
        .routes(routes!(gateway::rollback))
        .routes(routes!(gateway::reload))
}
