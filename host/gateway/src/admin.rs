//! The HTTP interface: what it shows, and who may use it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portcullis_admin::{Admin, Services, Token, Tokens};
use portcullis_recording::Directory;
use portcullis_store::Store;
use portcullis_verdict::{AuditSink, LinkKey, Stats};
use tokio::sync::watch::Receiver;

use crate::config::{self, AdminToken, Certificate, Loaded, Role};
use crate::serve::Gateway;

/// Who may use the interface, in its own words.
pub(crate) fn tokens(loaded: &Loaded) -> Vec<Token> {
    let token = |token: &AdminToken| Token {
        sha256: token.sha256,
        name: token.name.clone(),
        groups: token.groups.clone(),
        role: match token.role {
            Role::Reader => portcullis_admin::Role::Reader,
            Role::Approver => portcullis_admin::Role::Approver,
            Role::Operator => portcullis_admin::Role::Operator,
        },
        break_glass: token.break_glass,
    };
    loaded.tokens.iter().map(token).collect()
}

/// Listens where the configuration says, if it does; the certificate may be replaced later.
pub(crate) async fn bind(loaded: &mut Loaded) -> anyhow::Result<(Option<Admin>, Option<Arc<Certificate>>)> {
    let Some(admin) = &loaded.file.admin else { return Ok((None, None)) };
    let certificate = loaded.admin_tls.take().map(Certificate::new);
    let tls = certificate.clone().map(|held| config::tls_server(held, None, config::HTTP));
    let tls = tls.transpose().map_err(anyhow::Error::msg)?;
    Ok((Some(Admin::bind(admin.listen, tls).await?), certificate))
}

/// What the gateway keeps, as the interface needs it.
pub(crate) struct Kept {
    pub(crate) store: Arc<Store>,
    pub(crate) recordings: Arc<Directory>,
    pub(crate) link_key: LinkKey,
}

/// What the interface shows and acts on.
pub(crate) fn services(gateway: &Arc<Gateway>, kept: Kept, stats: Arc<Stats>, draining: Arc<AtomicBool>) -> Services {
    let reloading = gateway.clone();
    let Kept { store, recordings, link_key } = kept;
    Services {
        stats,
        policies: gateway.engine.clone(),
        rollout: gateway.clone(),
        sessions: gateway.proxy.sessions(),
        audit: store.clone(),
        sink: gateway.running.audit.enabled.then(|| store.clone() as Arc<dyn AuditSink>),
        recordings: Some(recordings),
        links: Some(link_key),
        approvals: store,
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
