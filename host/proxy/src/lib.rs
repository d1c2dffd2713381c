//! The data path of Portcullis on tokio: listeners, TLS, upstream connections, and the pipeline that asks, records and permits.
//!
//! It knows neither how policies run nor where events are kept: it drives the traits in [`Parts`].

mod config;
mod io;
mod pg;
mod pipeline;
mod proxy;
mod registry;
mod workers;

use std::sync::Arc;

pub use config::{Config, Limits, PgListener, PgTarget, Quota, UpstreamTls, User};
pub use proxy::{Parts, Proxy, ProxyError};

/// Reads the facts of an SQL text as a session would, for tools that ask policies without a session.
pub fn read_statement(text: &str) -> Arc<portcullis_verdict::Statement> {
    pg::Facts::default().read(&text.into())
}
