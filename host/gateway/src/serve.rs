//! Wiring: from a configuration to a running gateway, and from a changed one to a gateway that follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use portcullis_admin::{Admin, Tokens};
use portcullis_engine::{Engine, EngineOptions, PolicySet};
use portcullis_proxy::{Parts, PgListener, Proxy};
use portcullis_store::{Store, StoreOptions};
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{AuditSink, Stats};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::Receiver;

use crate::config::{self, Certificate, Durability, File, Loaded};
use crate::watch::Watch;
use crate::{admin, keys, log, summary};

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// `portcullis check`: everything that `serve` does before it serves.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let loaded = config::load(path, &mut BTreeSet::new())?;
    // The key matters to no check, and the compiled code to nobody.
    let engine = Engine::new(options(&loaded, None, HashKey::new(&[0; 32])))?;
    let prepared = engine.prepare(loaded.policies.clone(), bindings(&loaded.file));
    prepared.map_err(|errors| loaded.refuse(&errors))?;
    keys::check_data_dir(&loaded.data_dir)?;
    loaded.warnings.iter().for_each(|warning| eprintln!("{}", warning.full));
    print!("{}", summary::summary(&loaded));
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
    let (stop, hang_up) = (stop_signals()?, signal(SignalKind::hangup())?);
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
    let admin = match &loaded.file.admin {
        Some(admin) => Some(Admin::bind(admin.listen).await?),
        None => None,
    };
    let tokens = Tokens::new(admin::tokens(&loaded));
    let (running, watch) = (loaded.file, Mutex::new(watch));
    let gateway = Arc::new(Gateway { path, engine, proxy, certificate, tokens, running, watch });
    let draining = Arc::new(AtomicBool::new(false));
    let services = admin::services(&gateway, &store, stats, draining.clone());
    let ended = tokio::sync::watch::Sender::new(false);
    let address = admin.as_ref().map(Admin::local_addr);
    // It goes on while sessions end: a held command may still be approved.
    let admin =
        admin.map(|admin| tokio::spawn(admin::serve(admin, gateway.tokens.clone(), services, ended.subscribe())));
    tracing::info!(postgres = ?gateway.proxy.addresses(), admin = address.map(tracing::field::display), "serving");
    serve_until(&gateway, stop, hang_up, &draining).await;
    ended.send_replace(true);
    if let Some(admin) = admin {
        // Whatever became of it, the gateway stops.
        let _ = tokio::time::timeout(Duration::from_secs(3), admin).await;
    }
    tokio::task::spawn_blocking(move || store.close()).await.context("the store was not closed")?;
    tracing::info!("stopped");
    Ok(())
}

/// Serves until a signal to stop, then until the sessions have ended or a second signal.
async fn serve_until(gateway: &Arc<Gateway>, mut stop: Receiver<u32>, hang_up: Signal, draining: &AtomicBool) {
    let mut first = stop.clone();
    let follow = tokio::spawn(gateway.clone().follow(hang_up));
    let asked = async move {
        // The sender lives as long as the process.
        let _ = first.wait_for(|count| *count > 0).await;
        draining.store(true, Ordering::Relaxed);
        tracing::info!("stopping when the sessions have ended; a second signal stops at once");
    };
    tokio::select! {
        () = gateway.proxy.clone().run(asked) => {}
        _ = stop.wait_for(|count| *count > 1) => tracing::warn!("stopping at once"),
    }
    follow.abort();
}

/// Counts the signals to stop.
fn stop_signals() -> anyhow::Result<Receiver<u32>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (count, counted) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(counted)
}

fn options(loaded: &Loaded, cache_dir: Option<PathBuf>, hash_key: HashKey) -> EngineOptions {
    // Every session may have an instance of every policy of its target.
    let chain = loaded.file.targets.iter().map(|target| target.policies.len()).max().unwrap_or(0);
    let sessions: usize = loaded.file.targets.iter().map(|target| target.max_sessions).sum();
    let most = sessions.min(loaded.file.limits.connections).saturating_mul(chain).max(16);
    EngineOptions { cache_dir, max_instances: u32::try_from(most).unwrap_or(u32::MAX), hash_key }
}

fn bindings(file: &File) -> BTreeMap<String, Vec<String>> {
    file.targets.iter().map(|target| (target.name.clone(), target.policies.clone())).collect()
}

fn open_store(loaded: &Loaded, stats: &Arc<Stats>) -> anyhow::Result<Arc<Store>> {
    let audit = &loaded.file.audit;
    let durability = match audit.durability {
        Durability::Interval => portcullis_store::Durability::Interval(Duration::from_millis(audit.interval_ms)),
        Durability::Strict => portcullis_store::Durability::Strict,
    };
    let max_open_approvals = loaded.file.limits.open_approvals;
    let options = StoreOptions { durability, queue: audit.queue, max_open_approvals };
    Ok(Store::open(&loaded.data_dir.join("store.redb"), options, stats.clone())?)
}

fn listeners(loaded: &mut Loaded) -> anyhow::Result<(Vec<PgListener>, Option<Arc<Certificate>>)> {
    let (mut tls, mut certificate) = (None, None);
    if let Some((certified, client_ca)) = loaded.tls.take() {
        let held = certificate.insert(Certificate::new(certified)).clone();
        tls = Some(Arc::new(config::tls_server(held, client_ca).map_err(anyhow::Error::msg)?));
    }
    let postgres = &loaded.file.postgres;
    let require_tls = postgres.tls.as_ref().is_some_and(|tls| tls.required);
    let listener = |address: &SocketAddr| PgListener { address: *address, tls: tls.clone(), require_tls };
    Ok((postgres.listen.iter().map(listener).collect(), certificate))
}

fn warn(loaded: &Loaded) {
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{}", warning.brief));
}

/// A running gateway that follows its configuration.
pub(crate) struct Gateway {
    path: PathBuf,
    pub(crate) engine: Arc<Engine>,
    pub(crate) proxy: Arc<Proxy>,
    certificate: Option<Arc<Certificate>>,
    tokens: Tokens,
    /// The configuration that the gateway was started with.
    pub(crate) running: File,
    watch: Mutex<Watch>,
}

impl Gateway {
    /// Reads the configuration again and puts it in force, or refuses it whole. Compiles policies: not for a thread that
    /// drives futures.
    pub(crate) fn reload(&self) -> Result<u64, String> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, mut files) = (watch.before(), BTreeSet::new());
        let read = config::load(&self.path, &mut files);
        watch.after(before, &files);
        let outcome = read.and_then(|loaded| {
            let set = self.engine.prepare(loaded.policies.clone(), bindings(&loaded.file));
            set.map_err(|errors| loaded.refuse(&errors)).map(|set| self.put_in_force(set, loaded))
        });
        outcome.map_err(|refused| {
            let why = refused.brief();
            tracing::error!("the changed configuration is refused, the one before it stays in force: {why}");
            self.engine.refuse(why.clone());
            why
        })
    }

    fn put_in_force(&self, set: PolicySet, mut loaded: Loaded) -> u64 {
        warn(&loaded);
        self.warn_of_fixed(&loaded.file);
        // Policies first: no session finds a new target without them.
        let generation = self.engine.swap(set);
        loaded.proxy.limits.connections = self.running.limits.connections;
        if let (Some(held), Some((certified, _))) = (&self.certificate, loaded.tls.take()) {
            held.replace(certified);
        }
        self.tokens.replace(admin::tokens(&loaded));
        self.proxy.reload(loaded.proxy);
        tracing::info!(generation, "the changed configuration is in force");
        generation
    }

    /// Says which changes wait for a restart.
    fn warn_of_fixed(&self, new: &File) {
        let old = &self.running;
        let tls = |file: &File| file.postgres.tls.as_ref().map(|tls| (tls.required, tls.client_ca.clone()));
        let changes = [
            ("data_dir", old.data_dir != new.data_dir),
            ("postgres.listen", old.postgres.listen != new.postgres.listen),
            ("postgres.tls, but for the certificate", tls(old) != tls(new)),
            ("audit", old.audit != new.audit),
            ("admin.listen", old.admin.as_ref().map(|a| a.listen) != new.admin.as_ref().map(|a| a.listen)),
            ("masking.key", old.masking.key != new.masking.key),
            ("log", old.log != new.log),
            ("limits.connections", old.limits.connections != new.limits.connections),
            ("limits.open_approvals", old.limits.open_approvals != new.limits.open_approvals),
        ];
        for (name, _) in changes.iter().filter(|(_, changed)| *changed) {
            tracing::warn!("`{name}` has changed, which takes effect at the next start");
        }
    }

    /// Reloads on SIGHUP and when files have changed.
    async fn follow(self: Arc<Self>, mut hang_up: Signal) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let forced = tokio::select! {
                _ = hang_up.recv() => true,
                _ = look.tick() => false,
            };
            let gateway = self.clone();
            let reload = move || {
                if forced || gateway.watch.lock().unwrap_or_else(PoisonError::into_inner).has_settled() {
                    // Whether it worked is in the log and in the health report.
                    let _ = gateway.reload();
                }
            };
            if let Err(error) = tokio::task::spawn_blocking(reload).await {
                tracing::error!(%error, "reading the configuration again has failed");
            }
        }
    }
}
