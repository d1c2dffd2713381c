//! Wiring: from a configuration to a running gateway, and from a changed one to a gateway that follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use portcullis_admin::{Admin, Tokens};
use portcullis_deliver::{Deliveries, Links};
use portcullis_engine::{Engine, EngineOptions, PolicySet};
use portcullis_package::Lock;
use portcullis_proxy::{Parts, PgListener, Proxy};
use portcullis_recording::Directory;
use portcullis_store::{Retention, Store, StoreOptions};
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{
    AuditReader, AuditSink, Event, LinkKey, Origin, Refusal, Rollout, RolloutCounts, RolloutStep, Stats, SystemEvent,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::Receiver;

use crate::config::{self, Certificate, Durability, File, Loaded, OnFailure, OnLimit, Recordings, Refused};
use crate::packages;
use crate::rollout::{Next, Rollouts};
use crate::show::reasons;
use crate::watch::Watch;
use crate::{admin, keys, log, policy, summary};

/// The longest that a stop waits for deliveries to come to the end of the log.
const CATCH_UP: Duration = Duration::from_secs(2);

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Between two looks for recordings whose time is over.
const PRUNE: Duration = Duration::from_secs(600);

/// How often in a row what a tag means may be refused before it is asked for less often.
const PATIENCE: u32 = 10;

/// The longest pause until it is asked for again.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

const MIB: u64 = 1 << 20;

/// `portcullis check`: everything that `serve` does before it serves.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let loaded = config::load(path, &mut BTreeSet::new())?;
    // The key matters to no check. Compiled code is kept with that of the other commands: the gateway's own directory may be another user's.
    let engine = Engine::new(options(&loaded, policy::compiled(), HashKey::new(&[0; 32])))?;
    ready(&engine, &Rollouts::default(), &loaded, policy::compiled())?;
    keys::check_data_dir(&loaded.data_dir)?;
    loaded.warnings.iter().for_each(|warning| eprintln!("{}", warning.full));
    print!("{}", summary::summary(&loaded));
    Ok(())
}

/// `portcullis serve`
pub(crate) fn serve(path: &Path) -> anyhow::Result<()> {
    let mut watch = Watch::default();
    let (before, mut files) = (watch.before(), BTreeSet::new());
    if let Ok((file, _)) = config::packages(path) {
        // What is fetched is kept there.
        keys::data_dir(&path.parent().unwrap_or(Path::new("")).join(&file.data_dir))?;
    }
    let loaded = config::load(path, &mut files)?;
    watch.after(before, &files);
    log::start(&loaded.file);
    warn(&loaded);
    keys::data_dir(&loaded.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(run(path.to_owned(), loaded, watch));
    // A registry may still be asked: nobody waits for that.
    runtime.shutdown_background();
    served
}

async fn run(path: PathBuf, mut loaded: Loaded, watch: Watch) -> anyhow::Result<()> {
    // Taken first: a signal that comes while the gateway starts is not lost.
    let (stop, hang_up) = (stop_signals()?, signal(SignalKind::hangup())?);
    let hash_key = keys::masking_key(&loaded)?;
    let engine = Engine::new(options(&loaded, Some(loaded.data_dir.join("compiled")), hash_key.clone()))?;
    let rollouts = Rollouts::default();
    let (set, next) = ready(&engine, &rollouts, &loaded, Some(loaded.data_dir.join("compiled")))?;
    engine.swap(set);
    rollouts.applied(next);
    let stats = Arc::new(Stats::default());
    let store = open_store(&mut loaded, &stats)?;
    let recordings = open_recordings(&loaded, &store, &stats)?;
    let audit = loaded.file.audit.enabled.then(|| store.clone() as Arc<dyn AuditSink>);
    let parts = Parts {
        decide: engine.clone(),
        audit,
        approvals: store.clone(),
        stats: stats.clone(),
        hash_key,
        recorders: Some(recordings.clone()),
        record_parameters: loaded.file.audit.parameters,
        record_inputs: loaded.file.audit.inputs,
    };
    let link_key = keys::link_key(&loaded.data_dir)?;
    let (listeners, certificate) = listeners(&mut loaded)?;
    let proxy = Proxy::bind(listeners, std::mem::take(&mut loaded.proxy), parts).await?;
    let (admin, admin_certificate) = admin::bind(&mut loaded).await?;
    let deliveries = deliver(&mut loaded, &store, &stats, link_key.clone())?;
    let tokens = Tokens::new(admin::tokens(&loaded));
    let configured = loaded.digest();
    let gateway = Gateway {
        path,
        engine,
        rollouts,
        bindings: Mutex::new(bindings(&loaded.file)),
        polls: Mutex::new(Polls::of(&loaded.file)),
        proxy,
        certificate,
        admin_certificate,
        tokens,
        running: loaded.file,
        data_dir: loaded.data_dir,
        watch: Mutex::new(watch),
        changing: Mutex::default(),
        audit: store.clone(),
    };
    let gateway = Arc::new(gateway);
    let draining = Arc::new(AtomicBool::new(false));
    let kept = admin::Kept { store: store.clone(), recordings: recordings.clone(), link_key };
    let services = admin::services(&gateway, kept, stats, draining.clone());
    let retention = tokio::spawn(prune(recordings.clone(), gateway.running.recordings.clone()));
    let expiry = tokio::spawn(expire(store.clone()));
    tell(&store, "started", concat!("portcullis ", env!("CARGO_PKG_VERSION")));
    tell(&store, "configured", &configured);
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
    retention.abort();
    expiry.abort();
    close(recordings, store, deliveries).await?;
    tracing::info!("stopped");
    Ok(())
}

/// In this order: what each still has to say is recorded, delivered and kept by those after it.
async fn close(recordings: Arc<Directory>, store: Arc<Store>, deliveries: Deliveries) -> anyhow::Result<()> {
    let close = move || {
        recordings.close();
        store.stop();
        catch_up(&store, &deliveries);
        deliveries.stop();
        store.close();
    };
    tokio::task::spawn_blocking(close).await.context("recordings, deliveries and the store were not closed")
}

/// Serves until a signal to stop, then until the sessions have ended or a second signal.
async fn serve_until(gateway: &Arc<Gateway>, mut stop: Receiver<u32>, hang_up: Signal, draining: &AtomicBool) {
    let mut first = stop.clone();
    let follow = tokio::spawn(gateway.clone().follow(hang_up));
    let poll = tokio::spawn(gateway.clone().poll());
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
    poll.abort();
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
    EngineOptions {
        cache_dir,
        max_instances: u32::try_from(most).unwrap_or(u32::MAX),
        hash_key,
        meter: None,
        fuel: false,
        log_values: false,
    }
}

fn bindings(file: &File) -> BTreeMap<String, Vec<String>> {
    file.targets.iter().map(|target| (target.name.clone(), target.policies.clone())).collect()
}

/// Everything that a change of policies must pass before it is in force: what is found here costs no session anything.
fn ready(
    engine: &Engine,
    rollouts: &Rollouts,
    loaded: &Loaded,
    cache_dir: Option<PathBuf>,
) -> Result<(PolicySet, Next), Refused> {
    let next = rollouts.next(&loaded.policies, &loaded.file.trust);
    let set = engine.prepare(next.specs(), bindings(&loaded.file)).map_err(|errors| loaded.refuse(&errors))?;
    rollouts.prove(&next, cache_dir).map_err(|(policy, why)| loaded.failed_cases(&policy, &why))?;
    Ok((set, next))
}

fn open_store(loaded: &mut Loaded, stats: &Arc<Stats>) -> anyhow::Result<Arc<Store>> {
    let signing_key = keys::signing_key(loaded)?;
    let audit = &loaded.file.audit;
    let options = StoreOptions {
        durability: match audit.durability {
            Durability::Interval => portcullis_store::Durability::Interval(Duration::from_millis(audit.interval_ms)),
            Durability::Strict => portcullis_store::Durability::Strict,
        },
        queue: audit.queue,
        max_open_approvals: loaded.file.limits.open_approvals,
        on_failure: match audit.on_failure {
            OnFailure::Refuse => portcullis_store::OnFailure::Refuse,
            OnFailure::Continue => portcullis_store::OnFailure::Continue,
        },
        checkpoint: Duration::from_secs(audit.checkpoint_s),
        retention: Retention { max_age: days(audit.keep_days), max_bytes: mib(audit.keep_mib) },
    };
    Ok(Store::open(&loaded.data_dir.join("store.redb"), options, signing_key, stats.clone())?)
}

/// Opened in any case: which targets are recorded may change while the gateway runs.
fn open_recordings(loaded: &Loaded, store: &Arc<Store>, stats: &Arc<Stats>) -> anyhow::Result<Arc<Directory>> {
    let recordings = &loaded.file.recordings;
    let limit = |on_limit| match on_limit {
        OnLimit::End => portcullis_recording::OnLimit::End,
        OnLimit::Stop => portcullis_recording::OnLimit::Stop,
    };
    let options = portcullis_recording::Options {
        max_bytes: recordings.max_mib.saturating_mul(MIB),
        on_limit: limit(recordings.on_limit),
        on_failure: limit(recordings.on_failure),
    };
    let path = loaded.data_dir.join("recordings");
    let opened = Directory::open(&path, options, store.clone(), stats.clone());
    opened.with_context(|| format!("the directory of recordings {} cannot be opened", path.display()))
}

/// Lets what is delivered off the host come to the end of the log, which is signed for that, as far as the other side takes it soon.
fn catch_up(store: &Store, deliveries: &Deliveries) {
    let deadline = Instant::now() + CATCH_UP;
    // A log that cannot be read has been complained of.
    let Ok(head) = store.head() else { return };
    while !deliveries.caught_up(head.last, head.checkpoint) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Keeps in the audit what happens to the gateway as a whole.
fn tell(audit: &Store, what: &'static str, detail: &str) {
    audit.note(Event::System(SystemEvent { what: what.into(), by: String::new(), detail: detail.into() }));
}

/// Ends approval requests whose time is over and for which no client waits: nobody else would notice, and webhooks have to tell.
async fn expire(store: Arc<Store>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let store = store.clone();
        // A panic there has been logged, and the next look may fare better.
        let _ = tokio::task::spawn_blocking(move || store.expire_overdue()).await;
    }
}

/// Removes recordings whose time is over, at the start and then now and then.
async fn prune(directory: Arc<Directory>, keep: Recordings) {
    let mut look = tokio::time::interval(PRUNE);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (max_age, max_bytes) = (days(keep.keep_days), mib(keep.keep_mib));
    while max_age.is_some() || max_bytes.is_some() {
        look.tick().await;
        let directory = directory.clone();
        let max_age = max_age.map(|age| age.as_millis().try_into().unwrap_or(u64::MAX));
        match tokio::task::spawn_blocking(move || directory.prune(max_age, max_bytes)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::info!(count, "recordings whose time was over were removed"),
            Ok(Err(error)) => tracing::warn!(%error, "recordings whose time is over cannot be removed"),
            Err(error) => tracing::error!(%error, "removing recordings whose time is over has failed"),
        }
    }
}

fn deliver(loaded: &mut Loaded, store: &Arc<Store>, stats: &Arc<Stats>, key: LinkKey) -> anyhow::Result<Deliveries> {
    let services = portcullis_deliver::Services {
        audit: store.clone(),
        cursors: store.clone(),
        approvals: store.clone(),
        stats: stats.clone(),
    };
    let (sinks, webhooks) = (std::mem::take(&mut loaded.sinks), std::mem::take(&mut loaded.webhooks));
    let public_url = loaded.file.admin.as_ref().and_then(|admin| admin.public_url.as_deref());
    let links = public_url.map(|url| Links { base_url: url.to_owned(), key });
    portcullis_deliver::start(services, sinks, webhooks, links).context("the deliveries cannot be started")
}

fn days(days: u64) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(days.saturating_mul(24 * 60 * 60)))
}

fn mib(mib: u64) -> Option<u64> {
    (mib > 0).then(|| mib.saturating_mul(MIB))
}

fn listeners(loaded: &mut Loaded) -> anyhow::Result<(Vec<PgListener>, Option<Arc<Certificate>>)> {
    let (mut tls, mut certificate) = (None, None);
    if let Some((certified, client_ca)) = loaded.tls.take() {
        let held = certificate.insert(Certificate::new(certified)).clone();
        tls = Some(config::tls_server(held, client_ca, config::POSTGRESQL).map_err(anyhow::Error::msg)?);
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
    data_dir: PathBuf,
    pub(crate) engine: Arc<Engine>,
    pub(crate) rollouts: Rollouts,
    /// The chains of the targets in force.
    bindings: Mutex<BTreeMap<String, Vec<String>>>,
    polls: Mutex<Polls>,
    pub(crate) proxy: Arc<Proxy>,
    certificate: Option<Arc<Certificate>>,
    admin_certificate: Option<Arc<Certificate>>,
    tokens: Tokens,
    /// The configuration that the gateway was started with.
    pub(crate) running: File,
    watch: Mutex<Watch>,
    /// Held while a set of policies is made ready and put in force.
    changing: Mutex<()>,
    audit: Arc<Store>,
}

impl Gateway {
    /// Reads the configuration again and puts it in force, or refuses it whole. Compiles policies: not for a thread that
    /// drives futures.
    pub(crate) fn reload(&self) -> Result<u64, String> {
        self.change(&Lock::default(), || Ok(()))
    }

    /// The same with other pins than the lock files have. `seal` is the last step before the change is in force.
    fn change(&self, pins: &Lock, seal: impl FnOnce() -> Result<(), String>) -> Result<u64, String> {
        self.attempt(pins, seal).map_err(|(step, why)| {
            self.refuse(step, &why);
            why
        })
    }

    /// Puts the configuration in force, or says at which step it failed and why.
    fn attempt(&self, pins: &Lock, seal: impl FnOnce() -> Result<(), String>) -> Result<u64, (RolloutStep, String)> {
        let mut watch = lock(&self.watch);
        let (before, mut files) = (watch.before(), BTreeSet::new());
        let read = config::load_with(&self.path, pins, &mut files);
        watch.after(before, &files);
        // In the order of reading. Registries may have taken their time, for which nobody who wants to go back waits.
        let _one_at_a_time = lock(&self.changing);
        drop(watch);
        let outcome = read.and_then(|loaded| {
            let (set, next) = ready(&self.engine, &self.rollouts, &loaded, Some(self.data_dir.join("compiled")))?;
            Ok((loaded, set, next))
        });
        let (loaded, set, next) = outcome.map_err(|refused| (refused.step(), refused.brief()))?;
        seal().map_err(|why| (RolloutStep::Resolve, why))?;
        Ok(self.put_in_force(set, next, loaded))
    }

    fn refuse(&self, step: RolloutStep, why: &str) {
        // A line for logs and lists.
        let why = why.split('\n').map(str::trim).collect::<Vec<_>>().join(" ");
        tell(&self.audit, "refused", &format!("{step}: {why}"));
        tracing::error!(%step, "a change is refused, what was in force before it stays so: {why}");
        self.rollouts.refused(step, why);
    }

    fn put_in_force(&self, set: PolicySet, next: Next, mut loaded: Loaded) -> u64 {
        warn(&loaded);
        self.warn_of_fixed(&loaded.file);
        // Policies first: no session finds a new target without them.
        let generation = self.engine.swap(set);
        self.rollouts.applied(next);
        *lock(&self.bindings) = bindings(&loaded.file);
        lock(&self.polls).follow(&loaded.file);
        loaded.proxy.limits.connections = self.running.limits.connections;
        if let (Some(held), Some((certified, _))) = (&self.certificate, loaded.tls.take()) {
            held.replace(certified);
        }
        if let (Some(held), Some(certified)) = (&self.admin_certificate, loaded.admin_tls.take()) {
            held.replace(certified);
        }
        self.tokens.replace(admin::tokens(&loaded));
        tell(&self.audit, "configured", &loaded.digest());
        self.proxy.reload(std::mem::take(&mut loaded.proxy));
        tracing::info!(generation, "the changed configuration is in force");
        generation
    }

    /// Puts what was in force for a policy before its newest change in force again. It may compile.
    pub(crate) fn rollback(&self, policy: &str) -> Result<String, String> {
        let _one_at_a_time = lock(&self.changing);
        let next = self.rollouts.back(policy)?;
        let set = self.engine.prepare(next.specs(), lock(&self.bindings).clone()).map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            format!("what was in force before cannot be loaded: {}", errors.join("; "))
        })?;
        let generation = self.engine.swap(set);
        self.rollouts.rolled_back(next);
        let version = self.rollouts.version(policy).unwrap_or_default();
        let done = format!("{policy} {version}");
        tell(&self.audit, "rolled back", &done);
        tracing::warn!(policy, version, generation, "a policy is rolled back, until its package or settings change");
        Ok(format!("{done} is in force again, as generation {generation}"))
    }

    /// Asks registries whether tags mean other artifacts, as often as the configuration says.
    async fn poll(self: Arc<Self>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let due = lock(&self.polls).due(Instant::now());
            for source in due {
                let gateway = self.clone();
                let asked = tokio::task::spawn_blocking(move || gateway.ask(&source));
                if let Err(error) = asked.await {
                    tracing::error!(%error, "asking a registry has failed");
                }
            }
        }
    }

    /// Asks what a tag means now, and puts that in force if it is new, signed, no step back, and passes everything that a change must. What is
    /// refused is told once and tried again, since it may be signed or mended meanwhile.
    fn ask(&self, source: &str) {
        if !lock(&self.watch).is_at_rest() {
            // What is being edited is not for us to put in force.
            return;
        }
        let outcome = self.newer(source).and_then(|newer| {
            let Some((version, digest)) = newer else { return Ok(()) };
            let mut pins = Lock::default();
            pins.set(source, &version, &digest).map_err(|error| (RolloutStep::Resolve, error.to_string()))?;
            let base = self.path.parent().unwrap_or(Path::new(""));
            // It is pinned before it is in force, so that nothing unpinned ever is.
            let seal =
                || packages::pin(base, &self.data_dir, source, &version, &digest).map_err(|error| reasons(&error));
            self.attempt(&pins, seal)?;
            tracing::info!(source, version, digest, "the tag means another artifact, which is in force");
            Ok(())
        });
        let refusal = outcome.err().map(|(step, why)| (step, format!("{source}: {why}")));
        if let Some((step, why)) = lock(&self.polls).told(source, refusal) {
            self.refuse(step, &why);
        }
    }

    /// The version and digest of what a tag means now, if that is another artifact than is pinned.
    fn newer(&self, source: &str) -> Result<Option<(String, String)>, (RolloutStep, String)> {
        let resolve = |why: String| (RolloutStep::Resolve, why);
        let (_, packages) = config::packages(&self.path).map_err(|refused| (refused.step(), refused.brief()))?;
        let reference = packages::reference(source).map_err(resolve)?;
        let Some(reference) = reference else { return Ok(None) };
        let digest = match packages.resolve(&reference) {
            Ok(digest) => digest,
            // Registries come and go; what is in force does not depend on them.
            Err(error) => {
                tracing::warn!(source, "the registry cannot be asked: {}", reasons(&error));
                return Ok(None);
            }
        };
        if packages.pinned_digest(source) == Some(digest.as_str()) {
            return Ok(None);
        }
        let pulled = packages.pull(&reference, Some(&digest)).map_err(|error| resolve(reasons(&error)))?;
        let signers = packages.verify(&reference, &pulled).map_err(|unfit| (unfit.step, unfit.reason))?;
        let version = pulled.artifact.policy().package.version.clone();
        if signers.is_empty() {
            let why = "nobody has to sign it, so that polling would trust whoever can push; add a [[trust.rule]] that covers it";
            return Err((RolloutStep::Verify, why.into()));
        }
        if !packages.is_newer(source, &version) {
            let why = format!(
                "version {version} is not newer than what is pinned; `portcullis policy lock --update` takes it on purpose"
            );
            return Err((RolloutStep::Verify, why));
        }
        packages.keep(&pulled, None).map_err(|error| resolve(reasons(&error)))?;
        Ok(Some((version, digest.to_string())))
    }

    /// Says which changes wait for a restart.
    fn warn_of_fixed(&self, new: &File) {
        for name in fixed(&self.running, new) {
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
                if forced || lock(&gateway.watch).has_settled() {
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

impl Rollout for Gateway {
    fn origins(&self) -> Vec<Origin> {
        self.rollouts.origins()
    }

    fn refusal(&self) -> Option<Refusal> {
        self.rollouts.refusal()
    }

    fn counts(&self) -> RolloutCounts {
        self.rollouts.counts()
    }

    fn rollback(&self, policy: &str) -> Result<String, String> {
        Self::rollback(self, policy)
    }
}

/// Which tags are asked for, and when next.
#[derive(Default)]
struct Polls(BTreeMap<String, Poll>);

struct Poll {
    every: Duration,
    next: Instant,
    /// What was refused last and why: it is told once.
    refusal: Option<(RolloutStep, String)>,
    /// How often something was refused in a row.
    refusals: u32,
}

impl Polls {
    fn of(file: &File) -> Self {
        let mut polls = Self::default();
        polls.follow(file);
        polls
    }

    /// Takes over what a configuration says.
    fn follow(&mut self, file: &File) {
        let polled: BTreeMap<_, _> = file
            .policies
            .iter()
            .filter(|p| p.poll_s > 0)
            .map(|p| (p.package.clone(), Duration::from_secs(p.poll_s)))
            .collect();
        self.0.retain(|source, _| polled.contains_key(source));
        for (source, every) in polled {
            let new = || Poll { every, next: Instant::now() + every, refusal: None, refusals: 0 };
            self.0.entry(source).or_insert_with(new).every = every;
        }
    }

    /// What is to be asked for now.
    fn due(&mut self, now: Instant) -> Vec<String> {
        let due = self.0.iter_mut().filter(|(_, poll)| poll.next <= now);
        let due = due.map(|(source, poll)| {
            poll.next = now + poll.every;
            source.clone()
        });
        due.collect()
    }

    /// Remembers how asking for a source ended, and gives a refusal back that is another than the last. What is refused again and again is
    /// asked for less often.
    fn told(&mut self, source: &str, refusal: Option<(RolloutStep, String)>) -> Option<(RolloutStep, String)> {
        let poll = self.0.get_mut(source)?;
        poll.refusals = if refusal.is_some() { poll.refusals.saturating_add(1) } else { 0 };
        if poll.refusals > PATIENCE {
            let pause = poll.every.saturating_mul(1 << (poll.refusals - PATIENCE).min(10));
            poll.next = Instant::now() + pause.min(LONGEST_PAUSE.max(poll.every));
        }
        let last = std::mem::replace(&mut poll.refusal, refusal);
        poll.refusal.clone().filter(|new| last.as_ref() != Some(new))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What differs between two configurations and takes effect at the next start only.
fn fixed(old: &File, new: &File) -> Vec<&'static str> {
    let tls = |file: &File| file.postgres.tls.as_ref().map(|tls| (tls.required, tls.client_ca.clone()));
    let listen = |file: &File| file.admin.as_ref().map(|admin| admin.listen);
    let admin_tls = |file: &File| file.admin.as_ref().is_some_and(|admin| admin.tls.is_some());
    let public_url = |file: &File| file.admin.as_ref().and_then(|admin| admin.public_url.clone());
    let changes = [
        ("data_dir", old.data_dir != new.data_dir),
        ("postgres.listen", old.postgres.listen != new.postgres.listen),
        ("postgres.tls, but for the certificate", tls(old) != tls(new)),
        ("audit", old.audit != new.audit),
        ("recordings", old.recordings != new.recordings),
        ("approvals.webhook", old.approvals.webhooks != new.approvals.webhooks),
        ("admin.listen", listen(old) != listen(new)),
        ("admin.tls, but for the certificate", admin_tls(old) != admin_tls(new)),
        ("admin.public_url", public_url(old) != public_url(new)),
        ("masking.key", old.masking.key != new.masking.key),
        ("log", old.log != new.log),
        ("limits.connections", old.limits.connections != new.limits.connections),
        ("limits.open_approvals", old.limits.open_approvals != new.limits.open_approvals),
    ];
    changes.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_effect_at_the_next_start_is_told() {
        let file = |more: &str| -> File {
            let text = "data_dir = \"d\"\npostgres.listen = [\"127.0.0.1:1\"]\nadmin.listen = \"127.0.0.1:2\"\n";
            toml::from_str(&format!("{text}{more}")).unwrap()
        };
        for (more, expected) in [
            ("", vec![]),
            ("approvals.break_glass = [\"dba\"]", vec![]),
            ("[[target]]\nname = \"a\"\nhost = \"h\"\ndatabase = \"a\"\nuser = \"u\"\nrecord = \"results\"", vec![]),
            ("audit.keep_days = 7", vec!["audit"]),
            ("[[audit.sink]]\nname = \"a\"\nto = \"file:a\"", vec!["audit"]),
            ("recordings.max_mib = 7", vec!["recordings"]),
            ("[[approvals.webhook]]\nname = \"a\"\nurl = \"https://a\"", vec!["approvals.webhook"]),
            ("admin.tls = { certificate = \"c\", key = \"file:k\" }", vec!["admin.tls, but for the certificate"]),
            ("admin.public_url = \"https://a\"", vec!["admin.public_url"]),
        ] {
            assert_eq!(fixed(&file(""), &file(more)), expected, "{more}");
        }
        let tls = |path| file(&format!("admin.tls = {{ certificate = \"{path}\", key = \"file:k\" }}"));
        assert!(fixed(&tls("a"), &tls("b")).is_empty(), "another certificate is taken at once");
    }
}
