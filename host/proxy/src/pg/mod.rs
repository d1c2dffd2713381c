//! The PostgreSQL driver: from an accepted connection to the end of its session.

mod catalogue;
mod facts;
mod results;
mod session;
mod startup;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use portcullis_verdict::{Credential, Denial, Event, OpenEvent, Outcome, Principal, Stats};
use portcullis_wire::pg::frame::put;
use portcullis_wire::pg::login::{Login, LoginError, Progress, Tls};
use portcullis_wire::pg::message::{Fault, put_parameter_status};
use portcullis_wire::pg::scram::Verifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

pub(crate) use self::catalogue::Catalogue;
pub(crate) use self::facts::Facts;
use self::session::{End, Session, Shared};
use self::startup::Wish;
use crate::config::{PgListener, PgTarget, User};
use crate::io::Stream;
use crate::pipeline::Pipeline;
use crate::proxy::{Gate, State, random};

/// A denial as the client sees it.
pub(crate) fn denied(policy: &str, message: &str) -> Fault {
    let by = if policy == "portcullis" { "portcullis".to_owned() } else { format!("policy \"{policy}\"") };
    Fault::error("42501", format!("denied by {by}: {message}"))
}

/// Why a connection did not become a session.
enum NoSession {
    /// The client is told.
    Refused(Fault),
    /// It left, or its connection carried a cancel request: nobody is there to be told.
    Gone,
}

impl From<std::io::Error> for NoSession {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

impl From<LoginError> for NoSession {
    fn from(error: LoginError) -> Self {
        Self::Refused(error.fault())
    }
}

/// A client that may come in, and its connection.
struct Known {
    principal: Principal,
    target: Arc<PgTarget>,
    wish: Wish,
    catalogue: Arc<Catalogue>,
}

/// A connection on which nobody is known yet.
struct Door {
    stream: Stream,
    input: BytesMut,
    login: Login,
    output: Vec<u8>,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(gate: Arc<Gate>, tcp: TcpStream, peer: SocketAddr, listener: PgListener) {
    let state = gate.state();
    let patience = state.config.limits.login;
    let Ok(entered) = tokio::time::timeout(patience, enter(&gate, &state, tcp, peer, &listener)).await else {
        Stats::bump(&gate.parts.stats.logins_refused);
        return tracing::info!(%peer, "a login took too long");
    };
    if let Some((door, known)) = entered {
        open(gate, state, door, known, peer).await;
    }
}

async fn enter(
    gate: &Gate,
    state: &State,
    tcp: TcpStream,
    peer: SocketAddr,
    listener: &PgListener,
) -> Option<(Door, Known)> {
    let mut door = match accept(tcp, listener).await {
        Ok(door) => door,
        Err(error) => {
            tracing::debug!(%peer, %error, "a connection ended before the login");
            return None;
        }
    };
    match door.identify(gate, state, listener).await {
        Ok(known) => Some((door, known)),
        Err(NoSession::Gone) => None,
        Err(NoSession::Refused(fault)) => {
            Stats::bump(&gate.parts.stats.logins_refused);
            tracing::info!(%peer, code = fault.code, reason = %fault.message, "a login was refused");
            door.refuse(&fault).await;
            None
        }
    }
}

/// A client of PostgreSQL 17 and later may start TLS at once; then it must name the protocol (ALPN, RFC 7301), so that no other
/// protocol's client can be lured here.
async fn accept(tcp: TcpStream, listener: &PgListener) -> std::io::Result<Door> {
    const TLS_HANDSHAKE: u8 = 22;
    tcp.set_nodelay(true)?;
    let mut first = [0];
    let direct = tcp.peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE;
    let (stream, tls) = match &listener.tls {
        Some(config) if direct => {
            let tls = TlsAcceptor::from(config.clone()).accept(tcp).await?;
            if tls.get_ref().1.alpn_protocol() != Some(b"postgresql") {
                return Err(std::io::Error::other("direct TLS without the protocol's name"));
            }
            (Stream::Server(Box::new(tls)), Tls::Active)
        }
        Some(_) => (Stream::Plain(tcp), Tls::Offered),
        None => (Stream::Plain(tcp), Tls::Unavailable),
    };
    Ok(Door { stream, input: BytesMut::with_capacity(1024), login: Login::new(tls), output: Vec::new() })
}

impl Door {
    /// What is to be written, behind what the login has written.
    fn output(&mut self) -> &mut Vec<u8> {
        self.output.append(&mut self.login.take_output());
        &mut self.output
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.output();
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output.clear();
        }
        Ok(())
    }

    async fn refuse(&mut self, fault: &Fault) {
        fault.put(self.output());
        // The client may have gone; there is nobody else to tell.
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }

    async fn identify(&mut self, gate: &Gate, state: &State, listener: &PgListener) -> Result<Known, NoSession> {
        let mut claimed: Option<(Wish, Option<User>)> = None;
        loop {
            match self.login.handle(&mut self.input)? {
                Progress::NeedMore => {
                    self.flush().await?;
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Err(NoSession::Gone);
                    }
                }
                Progress::StartTls => {
                    self.flush().await?;
                    self.start_tls(listener).await?;
                }
                Progress::Cancel(key) => {
                    gate.registry.cancel(&key);
                    return Err(NoSession::Gone);
                }
                Progress::Startup(startup) => {
                    if listener.require_tls && matches!(self.stream, Stream::Plain(_)) {
                        let fault = Fault::fatal("28000", "this gateway takes only encrypted connections");
                        return Err(NoSession::Refused(fault.with_hint("connect with sslmode=require or stronger")));
                    }
                    let wish = Wish::read(startup).map_err(NoSession::Refused)?;
                    let user = state.config.users.get(&wish.user);
                    if user.is_some_and(|u| self.proves(u)) {
                        self.login.accept();
                        return known(state, wish, user, Credential::Certificate).map_err(NoSession::Refused);
                    }
                    let verifier = user.and_then(|u| Verifier::parse(u.scram.as_deref()?));
                    let verifier = verifier.unwrap_or_else(|| Verifier::decoy(&wish.user, &gate.decoy));
                    self.login.challenge(verifier, nonce());
                    claimed = Some((wish, user.cloned()));
                }
                Progress::Authenticated => {
                    let (wish, user) = claimed.take().ok_or(NoSession::Gone)?;
                    return known(state, wish, user.as_ref(), Credential::Scram).map_err(NoSession::Refused);
                }
            }
        }
    }

    async fn start_tls(&mut self, listener: &PgListener) -> Result<(), NoSession> {
        let Some(config) = &listener.tls else { return Err(NoSession::Gone) };
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Closed) else {
            return Err(NoSession::Gone);
        };
        let tls = TlsAcceptor::from(config.clone()).accept(tcp).await?;
        self.stream = Stream::Server(Box::new(tls));
        self.login.tls_established();
        Ok(())
    }

    /// Whether the connection's certificate, which the handshake has verified, is this user's.
    fn proves(&self, user: &User) -> bool {
        let Some(expected) = &user.certificate_cn else { return false };
        let Some(certificate) = self.stream.peer_certificates().first() else { return false };
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return false };
        let mut names = certificate.subject().iter_common_name();
        let (first, second) = (names.next().and_then(|n| n.as_str().ok()), names.next());
        first == Some(expected) && second.is_none()
    }
}

fn nonce() -> String {
    random::<24>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whoever has proved a name must be somebody, and may open the target.
fn known(state: &State, wish: Wish, user: Option<&User>, credential: Credential) -> Result<Known, Fault> {
    let Some(user) = user else { return Err(Fault::fatal("28P01", "password authentication failed")) };
    let allowed = user.targets.as_ref().is_none_or(|targets| targets.contains(&wish.target));
    let found = state.targets.get(&wish.target).filter(|_| allowed);
    let Some((target, catalogue)) = found else {
        return Err(Fault::fatal(
            "3D000",
            format!("there is no target \"{}\" for user \"{}\"", wish.target, wish.user),
        )
        .with_hint("the database name chooses the target"));
    };
    let principal = Principal { name: wish.user.clone(), groups: user.groups.clone(), credential };
    Ok(Known { principal, target: target.clone(), wish, catalogue: catalogue.clone() })
}

/// Opens the session of a known client, and runs it to its end.
async fn open(gate: Arc<Gate>, state: Arc<State>, mut door: Door, known: Known, peer: SocketAddr) {
    let session = Arc::new(portcullis_verdict::Session {
        id: uuid::Uuid::now_v7().to_string().into(),
        protocol: "postgres",
        principal: known.principal,
        target: known.target.target.clone(),
        client_address: peer,
        reason: known.wish.reason.clone(),
    });
    let parts = &gate.parts;
    let judge = parts.decide.judge(&session);
    let mut pipeline =
        Pipeline::new(session.clone(), judge, parts.audit.clone(), parts.approvals.clone(), parts.stats.clone());
    let key = cancel_key(known.wish.minor);
    let place = gate.registry.join(&session, key.clone(), known.target.max_sessions);
    let refused = match (pipeline.judge.open().outcome, &place) {
        (Outcome::Deny(Denial { policy, message }), _) => {
            Some(Fault { severity: "FATAL", code: "28000", ..denied(&policy, &message) })
        }
        (Outcome::Review(_), _) => Some(Fault::fatal("28000", "a session cannot be held for approval")),
        (Outcome::Allow, None) => Some(Fault::fatal("53300", "the target has as many sessions as it may have")),
        (Outcome::Allow, Some(_)) => None,
    };
    let event = opening(&session, refused.as_ref());
    let refused = match pipeline.record_opening(event).await {
        Ok(()) => refused,
        Err(error) => {
            tracing::error!(session = %session.id, %error, "a session is refused since it cannot be recorded");
            Some(Fault::fatal("58000", "sessions are refused while the audit log cannot be written"))
        }
    };
    let place = match (refused, place) {
        (None, Some(place)) => place,
        (fault, _) => {
            Stats::bump(&parts.stats.logins_refused);
            let fault = fault.unwrap_or_else(|| Fault::fatal("53300", "the target takes no session"));
            return door.refuse(&fault).await;
        }
    };
    let limits = &state.config.limits;
    let upstream = match upstream::connect(&known.target, &known.wish.parameters, limits).await {
        Ok(upstream) => upstream,
        Err(error) => {
            Stats::bump(&parts.stats.upstream_failures);
            tracing::warn!(session = %session.id, target = session.target.name, %error, "the server cannot be reached");
            let reason = "the server could not be reached".to_owned();
            pipeline.record(|session| Event::Close { session, reason });
            return door.refuse(&Fault::fatal("08006", "the server behind this target cannot be reached")).await;
        }
    };
    greet(door.output(), &session.principal.name, &upstream.ready.parameters, &key);
    if door.flush().await.is_err() {
        return pipeline.record(|session| Event::Close { session, reason: End::ClientLeft.to_string() });
    }
    let shared = Shared {
        facts: gate.facts.clone(),
        catalogue: known.catalogue,
        target: known.target,
        limits: limits.clone(),
        hash_key: parts.hash_key.clone(),
        audited: parts.audit.is_some(),
    };
    Stats::bump(&parts.stats.sessions_opened);
    let _active = Active::new(&parts.stats);
    tracing::info!(session = %session.id, principal = session.principal.name, target = session.target.name, %peer, "a session opened");
    let parameters = upstream.ready.parameters.clone();
    let mut driver = Session::new(shared, pipeline, place, (door.stream, door.input), upstream);
    parameters.iter().for_each(|(name, value)| driver.parameter(name, value));
    let end = driver.run().await;
    tracing::info!(session = %session.id, reason = %end, "a session ended");
}

/// Counts a session while it is open, however it ends.
struct Active<'a>(&'a Stats);

impl<'a> Active<'a> {
    fn new(stats: &'a Stats) -> Self {
        Stats::bump(&stats.sessions_active);
        Self(stats)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        Stats::unbump(&self.0.sessions_active);
    }
}

fn opening(session: &portcullis_verdict::Session, refused: Option<&Fault>) -> Event {
    Event::Open(OpenEvent {
        session: session.id.clone(),
        protocol: session.protocol.into(),
        principal: session.principal.name.clone(),
        groups: session.principal.groups.clone(),
        credential: session.principal.credential.as_str().into(),
        target: session.target.name.clone(),
        client_address: session.client_address.to_string(),
        reason: session.reason.clone(),
        refused: refused.map(|fault| fault.message.clone()),
    })
}

/// A process number that means nothing, and a secret: of 4 bytes in protocol 3.0, of 32 in 3.2.
fn cancel_key(minor: u16) -> Vec<u8> {
    let mut key = random::<36>().to_vec();
    key.truncate(if minor >= 2 { 36 } else { 8 });
    key
}

/// What a client waits for after its login. The server's own name for the session's user is not for it.
fn greet(out: &mut Vec<u8>, principal: &str, parameters: &[(String, String)], key: &[u8]) {
    for (name, value) in parameters {
        let value = if name == "session_authorization" { principal } else { value };
        put_parameter_status(out, name, value);
    }
    put(out, b'K', |b| b.extend_from_slice(key));
    put(out, b'Z', |b| b.push(b'I'));
}
