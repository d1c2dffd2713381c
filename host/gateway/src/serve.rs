//! Wiring: from a configuration to a running gateway, and from a changed one to a gateway that follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use portcullis_engine::{Engine, EngineOptions};
use portcullis_proxy::{Parts, PgListener, Proxy};
use portcullis_store::{Store, StoreOptions};
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{AuditSink, Policies, Stats};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Certificate, Durability, File, Loaded};
use crate::watch::Watch;
use crate::{keys, log, show};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// `portcullis check`: everything that `serve` does before it serves.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let loaded = config::load(path, &mut BTreeSet::new())?;
    // The key matters to no check, and the compiled code to nobody.
    let engine = Engine::new(options(&loaded, None, HashKey::new(&[0; 32])))?;
    let prepared = engine.prepare(loaded.policies.clone(), bindings(&loaded.file));
    prepared.map_err(|errors| loaded.refuse(&errors))?;
    loaded.warnings.iter().for_each(|warning| eprintln!("{}", warning.full));
    print!("{}", show::summary(&loaded));
    Ok(())
}

/// `portcullis serve`
pub(crate) fn serve(path: &Path) -> anyhow::Result<()> {
    let mut watch = Watch::default();
    let (before, mut files) = (watch.before(), BTreeSet::new());
    let loaded = config::load(path, &mut files)?;
    watch.after(before, &files);
    log::start(&loaded.file);
    warn(&loaded);
    keys::data_dir(&loaded.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(path.to_owned(), loaded, watch))
}

async fn run(path: PathBuf, mut loaded: Loaded, watch: Watch) -> anyhow::Result<()> {
    // Taken first: a signal that comes while the gateway starts is not lost.
    let mut signals = Signals::new()?;
    let hash_key = keys::masking_key(&loaded)?;
    let engine = Engine::new(options(&loaded, Some(loaded.data_dir.join("compiled")), hash_key.clone()))?;
    let set = engine.prepare(std::mem::take(&mut loaded.policies), bindings(&loaded.file));
    engine.swap(set.map_err(|errors| loaded.refuse(&errors))?);
    let stats = Arc::new(Stats::default());
    let store = open_store(&loaded, &stats)?;
    let audit = loaded.file.audit.enabled.then(|| store.clone() as Arc<dyn AuditSink>);
    let parts = Parts { decide: engine.clone(), audit, approvals: store.clone(), stats: stats.clone(), hash_key };
    let (listeners, certificate) = listeners(&mut loaded)?;
    let proxy = Proxy::bind(listeners, std::mem::take(&mut loaded.proxy), parts).await?;
    let reloader = Arc::new(Reloader { path, engine, proxy, certificate, running: loaded.file, watch: Mutex::new(watch) });
    let stopped = tokio::sync::watch::Sender::new(false);
    let admin = start_admin(&reloader, &loaded.tokens, &store, &stats, stopped.subscribe()).await?;
    let follow = tokio::spawn(reloader.clone().follow(signals.hang_up));
    tracing::info!(postgres = ?reloader.proxy.addresses(), "serving");
    let proxy = reloader.proxy.clone();
    tokio::select! {
        () = proxy.run(async { tracing::info!(signal = stop(&mut signals.interrupt, &mut signals.terminate).await, "stopping") }) => {}
        // `run` gives sessions their time; whoever asks twice does not want to wait.
        () = twice(&mut signals.again) => tracing::warn!("stopping at once"),
    }
    follow.abort();
    stopped.send_replace(true);
    if let Some(admin) = admin {
        // Whatever became of it, the gateway stops.
        let _ = admin.await;
    }
    tokio::task::spawn_blocking(move || store.close()).await.context("the store was not closed")?;
    tracing::info!("stopped");
    Ok(())
}
