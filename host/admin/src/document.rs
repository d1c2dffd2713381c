//! The OpenAPI document of the API, made from the endpoints themselves.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::router::endpoints;
use crate::schema;

/// What the document says apart from the endpoints. What streams carry is in none of their answers' schemas, so it is named here.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Portcullis admin API",
        description = "Health, metrics, sessions, recordings, approvals, the audit, policies and reload of a Portcullis gateway. \
            Times are milliseconds since the Unix epoch. Lists are pages: `next` is the `cursor` of the next one, or null. Errors are \
            problems (RFC 9457). A connection serves one request.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(schema::TimedEntry, schema::Level, schema::Lost)),
    tags(
        (name = "gateway", description = "The gateway itself"),
        (name = "sessions", description = "Sessions and their recordings"),
        (name = "approvals", description = "Commands that wait for people"),
        (name = "links", description = "One-time links, as webhooks carry them"),
        (name = "audit", description = "The log of everything"),
    ),
)]
struct Frame;

/// The OpenAPI 3.1 document of the API, as pretty-printed JSON with a line break at its end.
pub fn openapi() -> String {
    let mut document = Frame::openapi();
    document.merge(endpoints().into_openapi());
    let description = "A token of `[[admin.token]]`. Its role opens what each endpoint says.";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
    document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(bearer));
    let mut json = document.to_pretty_json().expect("a document of plain maps and texts can be written");
    json.push('\n');
    json
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", operation_id = "openapi", tag = "gateway",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = serde_json::Value)),
)]
pub(crate) async fn show() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(openapi);
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}
