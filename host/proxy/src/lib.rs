//! The data path of Portcullis on tokio: listeners, TLS, upstream connections, and the pipeline that asks, records and permits.

mod config;

pub use config::{Config, Limits, PgListener, PgTarget, UpstreamTls, User};
