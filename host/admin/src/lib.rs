//! The gateway's HTTP API: health, metrics, sessions, approvals, policies and reload.
//!
//! Every answer is JSON but for `/metrics`; every error is `{"error": "..."}`. A caller shows a token as
//! `Authorization: Bearer <token>`; the gateway knows only its SHA-256. Nothing is served by cookie or with CORS headers, so a
//! page in somebody's browser cannot use it. A connection serves one request and lives at most a minute.
//!
//! | endpoint | roles |
//! |---|---|
//! | `GET /healthz` | no token |
//! | `GET /readyz` | no token: status only; with one of any role: the reasons |
//! | `GET /metrics` | any |
//! | `GET /v1/sessions`, `GET /v1/sessions/recent`, `GET /v1/sessions/{id}/events` | auditor, operator |
//! | `DELETE /v1/sessions/{id}` | operator |
//! | `GET /v1/approvals`, `GET /v1/approvals/{id}` | reviewer, auditor, operator |
//! | `POST /v1/approvals/{id}/approve`, `POST /v1/approvals/{id}/deny` | reviewer, operator |
//! | `GET /v1/policies` | auditor, operator |
//! | `POST /v1/reload` | operator |

mod access;
mod answer;
mod listener;
mod metrics;
mod routes;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use portcullis_verdict::{ApprovalDesk, AuditReader, Policies, SessionControl, Stats};
use tokio::net::TcpListener;

pub use access::{Role, Token, Tokens};

/// What the API shows and acts on.
pub struct Services {
    /// The gateway's counters.
    pub stats: Arc<Stats>,
    /// The policies in force.
    pub policies: Arc<dyn Policies>,
    /// The sessions that are open now.
    pub sessions: Arc<dyn SessionControl>,
    /// What the audit has kept; `None` where nothing is kept.
    pub audit: Option<Arc<dyn AuditReader>>,
    /// The approval requests.
    pub approvals: Arc<dyn ApprovalDesk>,
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
    address: SocketAddr,
}

impl Admin {
    /// Listens on this address; port 0 picks a free one.
    ///
    /// # Errors
    /// When the system refuses the address.
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let refused = |error| AdminError::Bind { address, error };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves and the requests under way are answered.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        tokens: Tokens,
        services: Services,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AdminError> {
        let app = Arc::new(App { tokens, services, reloading: Mutex::default() });
        let address = self.address;
        let served = axum::serve(listener::Bounded::new(self.listener), routes::router(app));
        served.with_graceful_shutdown(shutdown).await.map_err(|error| AdminError::Serve { address, error })
    }
}

/// What every request sees.
struct App {
    tokens: Tokens,
    services: Services,
    /// Held while the configuration is read again.
    reloading: Mutex<()>,
}
