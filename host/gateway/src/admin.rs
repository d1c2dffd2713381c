//! The HTTP interface: what it shows, and who may use it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portcullis_admin::{Admin, Services, Token, Tokens};
use portcullis_store::Store;
use portcullis_verdict::{AuditReader, Stats};
use tokio::sync::watch::Receiver;

use crate::config::{AdminToken, Loaded, Role};
use crate::serve::Gateway;

/// Who may use the interface, in its own words.
pub(crate) fn tokens(loaded: &Loaded) -> Vec<Token> {
    let token = |token: &AdminToken| Token {
        sha256: token.sha256,
        name: token.name.clone(),
        groups: token.groups.clone(),
        role: match token.role {
            Role::Reviewer => portcullis_admin::Role::Reviewer,
            Role::Auditor => portcullis_admin::Role::Auditor,
            Role::Operator => portcullis_admin::Role::Operator,
        },
    };
    loaded.tokens.iter().map(token).collect()
}

/// What the interface shows and acts on.
pub(crate) fn services(
    gateway: &Arc<Gateway>,
    store: &Arc<Store>,
    stats: Arc<Stats>,
    draining: Arc<AtomicBool>,
) -> Services {
    let reloading = gateway.clone();
    Services {
        stats,
        policies: gateway.engine.clone(),
        sessions: gateway.proxy.sessions(),
        audit: gateway.running.audit.enabled.then(|| store.clone() as Arc<dyn AuditReader>),
        approvals: store.clone(),
        reload: Box::new(move || reloading.reload().map(|generation| format!("generation {generation} is in force"))),
        draining,
    }
}

/// Serves until `ended` says so. Its failure does not end the sessions.
pub(crate) async fn serve(admin: Admin, tokens: Tokens, services: Services, mut ended: Receiver<bool>) {
    let ended = async move {
        // A sender that is gone has ended too.
        let _ = ended.wait_for(|ended| *ended).await;
    };
    if let Err(error) = admin.serve(tokens, services, ended).await {
        tracing::error!("{error}");
    }
}
