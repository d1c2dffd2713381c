//! Listeners, and what their connections share.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{Approvals, AuditSink, Decide, Recorders, SessionControl, Stats};
use portcullis_wire::pg::scram::Verifier;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, PgListener, PgTarget, User};
use crate::pg::{self, Catalogue, Facts};
use crate::registry::{Control, Registry};
use crate::workers::Workers;

/// Connections beyond the limit that may go as far as to say who they are, so that a cancel request acts and a refusal reaches its client
/// also behind TLS.
const SPARE: usize = 32;

/// The traits that the proxy drives, and what it shares with others.
pub struct Parts {
    /// The policies.
    pub decide: Arc<dyn Decide>,
    /// The audit; `None` where the configuration turns it off.
    pub audit: Option<Arc<dyn AuditSink>>,
    /// Where held commands wait for people.
    pub approvals: Arc<dyn Approvals>,
    /// Who takes recordings; without one, no session opens on a target that is to be recorded.
    pub recorders: Option<Arc<dyn Recorders>>,
    /// The audit gets the values of bound parameters too.
    pub record_parameters: bool,
    /// The audit gets what policies got from their capabilities too, so that their decisions can be repeated.
    pub record_inputs: bool,
    /// What happened so far.
    pub stats: Arc<Stats>,
    /// The secret of the mask `hash`.
    pub hash_key: HashKey,
}

/// What connections share.
pub(crate) struct Gate {
    pub(crate) parts: Parts,
    pub(crate) registry: Arc<Registry>,
    pub(crate) facts: Arc<Facts>,
    /// What the salts of users who do not exist are made from.
    pub(crate) decoy: [u8; 32],
    state: ArcSwap<State>,
}

/// A configuration and what is made from it.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) targets: BTreeMap<String, (Arc<PgTarget>, Arc<Catalogue>)>,
    /// How often the users' passwords are hashed, so that a user who does not exist looks like one who does.
    pub(crate) iterations: u32,
}

impl Gate {
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }
}

impl State {
    fn new(config: Config, before: Option<&Self>) -> Self {
        let target = |(name, target): (&String, &PgTarget)| {
            let before = before.and_then(|state| state.targets.get(name)).map(|(_, catalogue)| &**catalogue);
            let catalogue = Catalogue::new(target.clone(), config.limits.clone(), before);
            (name.clone(), (Arc::new(target.clone()), Arc::new(catalogue)))
        };
        let targets = config.targets.iter().map(target).collect();
        let iterations = |user: &User| Some(Verifier::parse(user.scram.as_deref()?)?.iterations());
        let iterations = config.users.values().filter_map(iterations).max().unwrap_or(4096);
        Self { config, targets, iterations }
    }
}

/// Why the data path cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A listener cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The threads for sessions cannot be started.
    #[error("the threads for sessions cannot be started: {0}")]
    Workers(std::io::Error),
}

/// The data path: bound listeners and everything behind them.
pub struct Proxy {
    gate: Arc<Gate>,
    listeners: Vec<(TcpListener, PgListener)>,
    addresses: Vec<SocketAddr>,
    connections: Arc<Semaphore>,
    /// For those who come when all of these are taken.
    spare: Arc<Semaphore>,
    workers: Workers,
}

impl Proxy {
    /// Binds every listener; none serves before [`Proxy::run`].
    pub async fn bind(listeners: Vec<PgListener>, config: Config, parts: Parts) -> Result<Arc<Self>, ProxyError> {
        let mut bound = Vec::new();
        let mut addresses = Vec::new();
        for listener in listeners {
            let failed = |error| ProxyError::Listen(listener.address, error);
            let socket = bind(listener.address).map_err(failed)?;
            addresses.push(socket.local_addr().map_err(failed)?);
            bound.push((socket, listener));
        }
        let connections = Arc::new(Semaphore::new(config.limits.connections));
        let gate = Gate {
            parts,
            registry: Arc::default(),
            facts: Arc::default(),
            decoy: random(),
            state: ArcSwap::from_pointee(State::new(config, None)),
        };
        let workers = Workers::start().map_err(ProxyError::Workers)?;
        let (gate, spare) = (Arc::new(gate), Arc::new(Semaphore::new(SPARE)));
        Ok(Arc::new(Self { gate, listeners: bound, addresses, connections, spare, workers }))
    }

    /// Where it listens, in the order of the listeners.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Puts a new configuration in force for new sessions; open ones keep theirs.
    pub fn reload(&self, config: Config) {
        let state = State::new(config, Some(&self.gate.state()));
        self.gate.state.store(Arc::new(state));
    }

    /// Shows, follows and ends the sessions that are open.
    pub fn sessions(&self) -> Arc<dyn SessionControl> {
        self.gate.registry.clone()
    }

    /// Serves until `shutdown`, then takes no more connections, lets sessions finish what they do until the limit for that, ends
    /// the others and returns.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let stop = tokio::sync::watch::Sender::new(());
        let accepting: Vec<_> = (0..self.listeners.len())
            .map(|index| {
                let (proxy, mut stopped) = (self.clone(), stop.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = stopped.changed() => {}
                        () = proxy.accept(index) => {}
                    }
                })
            })
            .collect();
        shutdown.await;
        stop.send_replace(());
        for task in accepting {
            // A task that panicked accepts nothing either.
            let _ = task.await;
        }
        self.drain().await;
    }

    async fn drain(&self) {
        let config = self.gate.state();
        let total = u32::try_from(config.config.limits.connections).unwrap_or(u32::MAX);
        self.gate.registry.end_all(&Control::Drain);
        if tokio::time::timeout(config.config.limits.drain, self.connections.acquire_many(total)).await.is_ok() {
            return;
        }
        tracing::warn!(sessions = self.gate.registry.len(), "sessions are ended at their work");
        self.gate.registry.end_all(&Control::Kill("the gateway's shutdown".into()));
        // Long enough for the last words to clients and the audit.
        let _ = tokio::time::timeout(Duration::from_secs(3), self.connections.acquire_many(total)).await;
    }

    async fn accept(&self, index: usize) {
        let Some((socket, listener)) = self.listeners.get(index) else { return };
        loop {
            let (tcp, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Such as too many open files: trying again at once would only burn time.
                    tracing::error!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let place = self.connections.clone().try_acquire_owned();
            let has_place = place.is_ok();
            let Ok(place) = place.or_else(|_| self.spare.clone().try_acquire_owned()) else {
                Stats::bump(&self.gate.parts.stats.logins_refused);
                turn_away(tcp);
                continue;
            };
            // The worker's own runtime has to watch the connection, not this one.
            match tcp.into_std() {
                Ok(tcp) => {
                    self.workers.spawn(serve(self.gate.clone(), tcp, peer, listener.clone(), (place, has_place)))
                }
                Err(error) => tracing::error!(%error, "a connection cannot be handed to a worker"),
            }
        }
    }
}

async fn serve(
    gate: Arc<Gate>,
    tcp: std::net::TcpStream,
    peer: SocketAddr,
    listener: PgListener,
    (place, has_place): (OwnedSemaphorePermit, bool),
) {
    match TcpStream::from_std(tcp) {
        Ok(tcp) => pg::serve(gate, tcp, peer, listener, has_place).await,
        Err(error) => tracing::error!(%error, "a connection cannot be watched"),
    }
    drop(place);
}

/// Who asks for TLS first may not understand it, but nobody waits for what they ask. The message is short enough for any socket buffer, so nothing
/// waits for that either.
fn turn_away(mut tcp: TcpStream) {
    tracing::warn!("a connection is refused since the limit of connections is reached");
    let mut message = Vec::new();
    pg::full().put(&mut message);
    tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(1), tcp.write_all(&message)).await });
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    filled.expect("the operating system gives random bytes");
    bytes
}
