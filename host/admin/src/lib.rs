//! The gateway's HTTP API: health, metrics, sessions, recordings, approvals, the audit, policies and reload.
//!
//! Lists are `{"items": [...], "next": cursor or null}`; every error is a problem (RFC 9457). A caller shows a token as
//! `Authorization: Bearer <token>`; the gateway knows only its SHA-256. Nothing is served by cookie or with CORS headers, so a
//! page in somebody's browser cannot use it. A connection serves one request and lives at most a minute, or as long as its client
//! takes the bytes of a stream. [`openapi`] describes everything, from the same code that serves it.
//!
//! | endpoint | roles |
//! |---|---|
//! | `GET /healthz`, `GET /v1/openapi.json` | no token |
//! | `GET /readyz` | no token: status only; with one of any role: the reasons |
//! | `GET /metrics` | any |
//! | `GET /v1/sessions`, `GET /v1/sessions/recent` | reader, operator |
//! | `GET /v1/sessions/{id}/events`, `…/watch`, `…/recording` | reader, operator |
//! | `DELETE /v1/sessions/{id}` | operator |
//! | `GET /v1/approvals`, `GET /v1/approvals/watch`, `GET /v1/approvals/{id}` | any |
//! | `POST /v1/approvals/{id}/approve`, `POST /v1/approvals/{id}/deny` | approver, operator |
//! | `GET /v1/links/{token}`, `POST /v1/links/{token}` | no token: the link is one, and serves once |
//! | `GET /v1/audit/head`, `…/events`, `…/export`, `…/checkpoints` | reader, operator |
//! | `GET /v1/policies` | reader, operator |
//! | `POST /v1/policies/{name}/rollback`, `POST /v1/reload` | operator |

mod access;
mod approvals;
mod audit;
mod confirm;
mod document;
mod gateway;
mod links;
mod listener;
mod metrics;
mod page;
mod problem;
mod router;
mod schema;
mod sessions;
mod streams;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portcullis_verdict::{
    ApprovalDesk, AuditReader, AuditSink, LinkKey, Policies, RecordingFiles, Rollout, SessionControl, Stats,
};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

pub use access::{Role, Token, Tokens};
pub use document::openapi;

/// What the API shows and acts on.
pub struct Services {
    /// The gateway's counters.
    pub stats: Arc<Stats>,
    /// The policies in force.
    pub policies: Arc<dyn Policies>,
    /// Where they came from, and the way back.
    pub rollout: Arc<dyn Rollout>,
    /// The sessions that are open now.
    pub sessions: Arc<dyn SessionControl>,
    /// The approval requests.
    pub approvals: Arc<dyn ApprovalDesk>,
    /// What the audit has kept.
    pub audit: Arc<dyn AuditReader>,
    /// Where it is recorded what operators do; `None` where the audit is off.
    pub sink: Option<Arc<dyn AuditSink>>,
    /// The recordings; `None` where nothing is recorded.
    pub recordings: Option<Arc<dyn RecordingFiles>>,
    /// The key of one-time links; `None` where none are given out.
    pub links: Option<LinkKey>,
    /// Reads the configuration again: what is in force then, or why it was refused. It may block; one runs at a time.
    pub reload: Box<dyn Fn() -> Result<String, String> + Send + Sync>,
    /// Whether the gateway takes no new sessions.
    pub draining: Arc<AtomicBool>,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("the admin API cannot listen on {address}: {error}; name another address as `admin.listen`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// The listener has failed.
    #[error("the admin API on {address} has failed: {error}")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
}

/// The API's listener.
pub struct Admin {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    address: SocketAddr,
}

impl Admin {
    /// Listens on this address; port 0 picks a free one. With `tls` it speaks nothing else; its resolver may change the certificate.
    ///
    /// # Errors
    /// When the system refuses the address.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Result<Self, AdminError> {
        let refused = |error| AdminError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, tls, address })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves and the requests under way are answered. Streams end then.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        tokens: Tokens,
        services: Services,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AdminError> {
        let app = Arc::new(App { tokens, services, reloading: Arc::default(), streams: streams::Streams::default() });
        let address = self.address;
        let listener = listener::Bounded::new(self.listener, self.tls);
        let service = router::router(app.clone()).into_make_service_with_connect_info::<listener::Line>();
        let shutdown = async move {
            shutdown.await;
            app.streams.close();
        };
        let served = axum::serve(listener, service).with_graceful_shutdown(shutdown);
        served.await.map_err(|error| AdminError::Serve { address, error })
    }
}

/// What every request sees.
struct App {
    tokens: Tokens,
    services: Services,
    /// Held while the configuration is read again.
    reloading: Arc<Mutex<()>>,
    streams: streams::Streams,
}
