//! The PostgreSQL driver: from an accepted connection to the end of its session.

mod catalogue;
mod door;
mod end;
mod facts;
mod held;
mod prepared;
mod results;
mod session;
mod side;
mod startup;
mod transcript;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_verdict::{
    Denial, Event, Medium, OpenEvent, Outcome, RecordLevel, Recorder, RecordingError, Stats, Subject,
};
use portcullis_wire::pg::frame::put;
use portcullis_wire::pg::message::{Fault, put_parameter_status};
use tokio::net::TcpStream;

pub(crate) use self::catalogue::Catalogue;
pub(crate) use self::door::full;
use self::door::{Door, Known, NoSession, accept};
use self::end::End;
pub(crate) use self::facts::Facts;
use self::session::{Session, Shared};
use self::transcript::Transcript;
use crate::config::PgListener;
use crate::pipeline::Pipeline;
use crate::proxy::{Gate, State, random};
use crate::registry::Place;

/// How much of a refusal is told, in bytes: it may quote what a stranger sent.
const MAX_REFUSAL: usize = 256;

/// A denial as the client sees it.
pub(crate) fn denied(policy: &str, message: &str) -> Fault {
    let by = if policy == "portcullis" { "portcullis".to_owned() } else { format!("policy \"{policy}\"") };
    // A policy may refuse without a word.
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    Fault::error("42501", format!("denied by {by}{message}"))
}

/// Serves one accepted connection to its end. One without a place may cancel what others do, and is else refused when it has said who it is.
pub(crate) async fn serve(gate: Arc<Gate>, tcp: TcpStream, peer: SocketAddr, listener: PgListener, has_place: bool) {
    let state = gate.state();
    let patience = state.config.limits.login;
    let Ok(entered) = tokio::time::timeout(patience, enter(&gate, &state, tcp, peer, &listener, has_place)).await
    else {
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
    has_place: bool,
) -> Option<(Door, Known)> {
    let mut door = match accept(tcp, listener, &state.config.limits).await {
        Ok(door) => door,
        Err(error) => {
            tracing::debug!(%peer, %error, "a connection ended before the login");
            return None;
        }
    };
    match door.identify(gate, state, listener, has_place).await {
        Ok(known) => Some((door, known)),
        Err(NoSession::Gone) => None,
        Err(NoSession::Refused(mut fault)) => {
            Stats::bump(&gate.parts.stats.logins_refused);
            fault.message.truncate(fault.message.floor_char_boundary(MAX_REFUSAL));
            let (user, target) = door.wish.take().map(|wish| (wish.user, wish.target)).unwrap_or_default();
            tracing::info!(%peer, ?user, ?target, code = fault.code, reason = fault.message, "a login was refused");
            record_stranger(gate, user, target, peer, &fault).await;
            door.refuse(&fault).await;
            None
        }
    }
}

/// Opens the session of a known client, and runs it to its end.
async fn open(gate: Arc<Gate>, state: Arc<State>, mut door: Door, known: Known, peer: SocketAddr) {
    let parts = &gate.parts;
    let session = Arc::new(portcullis_verdict::Session {
        id: uuid::Uuid::now_v7().to_string().into(),
        protocol: "postgres",
        principal: known.principal.clone(),
        target: known.target.target.clone(),
        client_address: peer,
        reason: known.wish.reason.clone(),
    });
    let judge = parts.decide.judge(&session);
    let (audit, approvals, stats) = (parts.audit.clone(), parts.approvals.clone(), parts.stats.clone());
    let (parameters, inputs) = (parts.record_parameters, parts.record_inputs);
    let mut pipeline = Pipeline::new(session.clone(), judge, audit, approvals, stats, parameters, inputs);
    let key = cancel_key(known.wish.minor);
    let place = match admit(&gate, &mut pipeline, &key, &known).await {
        Ok(place) => place,
        Err(fault) => {
            Stats::bump(&parts.stats.logins_refused);
            let (user, target) = (&session.principal.name, &session.target.name);
            tracing::info!(%peer, ?user, ?target, code = fault.code, reason = fault.message, "a login was refused");
            return door.refuse(&fault).await;
        }
    };
    let recorder = match record(&gate, &session, known.target.record, state.config.limits.connect).await {
        Ok(recorder) => recorder,
        Err(error) => {
            Stats::bump(&parts.stats.logins_refused);
            tracing::error!(session = %session.id, %error, "a session is refused since it cannot be recorded");
            let reason = format!("the recording could not be opened: {error}");
            pipeline.record(|subject| Event::Close { subject, reason });
            return door.refuse(&Fault::fatal("58000", "sessions are refused while they cannot be recorded")).await;
        }
    };
    let upstream = match upstream::connect(&known.target, &known.wish.parameters, &state.config.limits).await {
        Ok(upstream) => upstream,
        Err(error) => {
            Stats::bump(&parts.stats.upstream_failures);
            tracing::warn!(session = %session.id, target = session.target.name, %error, "the server cannot be reached");
            drop(recorder);
            let reason = "the server could not be reached".to_owned();
            pipeline.record(|subject| Event::Close { subject, reason });
            return door.refuse(&error.fault(&session.target.name)).await;
        }
    };
    // By its process number a client finds itself among the server's sessions and in notifications.
    let key = upstream.ready.cancel_key.first_chunk().map_or(key, |number| place.key_with(*number));
    greet(door.output(), &session.principal.name, &upstream.ready.parameters, &key);
    if door.flush().await.is_err() {
        drop(recorder);
        return pipeline.record(|subject| Event::Close { subject, reason: End::ClientLeft.to_string() });
    }
    let shared = Shared {
        facts: gate.facts.clone(),
        catalogue: known.catalogue,
        target: known.target,
        limits: state.config.limits.clone(),
        hash_key: parts.hash_key.clone(),
        audited: parts.audit.is_some(),
    };
    drop(state);
    let transcript = Transcript::new(recorder, shared.target.record);
    Stats::bump(&parts.stats.sessions_opened);
    let _active = Active::new(&parts.stats);
    let (principal, target) = (session.principal.name.as_str(), session.target.name.as_str());
    tracing::info!(session = %session.id, principal, target, %peer, "a session opened");
    let end = Session::new(shared, pipeline, transcript, place, (door.stream, door.input), upstream).run().await;
    tracing::info!(session = %session.id, reason = %end, "a session ended");
}

/// Asks the policies whether the session may open, finds it a place, and records what came of that.
async fn admit(gate: &Gate, pipeline: &mut Pipeline, key: &[u8], known: &Known) -> Result<Place, Fault> {
    let session = pipeline.session.clone();
    let place = gate.registry.join(&session, key.to_vec(), &known.target, known.quota.as_ref());
    let admitted = match (pipeline.judge.open().outcome, place) {
        (Outcome::Deny(Denial { policy, message }), _) => {
            Err(Fault { severity: "FATAL", code: "28000", ..denied(&policy, &message) })
        }
        (Outcome::Review(_), _) => Err(Fault::fatal("28000", "a session cannot be held for approval")),
        (Outcome::Allow, place) => place,
    };
    let recorded = pipeline.record_opening(opening(pipeline, admitted.as_ref().err()));
    if let Err(error) = recorded.await {
        tracing::error!(session = %session.id, %error, "a session is refused since it cannot be recorded");
        return Err(Fault::fatal("58000", "sessions are refused while the audit log cannot be written"));
    }
    admitted
}

/// Opens the recording that a target's level demands. It touches a disk, so that it may take its time.
async fn record(
    gate: &Gate,
    session: &Arc<portcullis_verdict::Session>,
    level: RecordLevel,
    patience: Duration,
) -> Result<Option<Box<dyn Recorder>>, RecordingError> {
    if level == RecordLevel::None {
        return Ok(None);
    }
    let failed = |why: &str| RecordingError(why.to_owned());
    let recorders = gate.parts.recorders.clone().ok_or_else(|| failed("nothing takes recordings"))?;
    let session = session.clone();
    let opening = tokio::task::spawn_blocking(move || recorders.open(&session, level, Medium::Results));
    let opened = tokio::time::timeout(patience, opening).await.map_err(|_| failed("it took too long"))?;
    opened.map_err(|_| failed("the gateway failed at it"))?.map(Some)
}

/// Records a login that was refused, under the name that was claimed.
async fn record_stranger(gate: &Gate, principal: String, target: String, peer: SocketAddr, fault: &Fault) {
    let Some(audit) = &gate.parts.audit else { return };
    let event = Event::Open(OpenEvent {
        subject: Arc::new(Subject {
            session: uuid::Uuid::now_v7().to_string().into(),
            principal: principal.into(),
            target: target.into(),
        }),
        protocol: "postgres".into(),
        groups: vec![],
        credential: "none".into(),
        client_address: peer.to_string(),
        reason: None,
        refused: Some(fault.message.clone()),
    });
    if let Err(error) = audit.append(event).received().await {
        tracing::error!(%peer, %error, "a refused login could not be recorded");
    }
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

fn opening(pipeline: &Pipeline, refused: Option<&Fault>) -> Event {
    let session = &pipeline.session;
    Event::Open(OpenEvent {
        subject: pipeline.subject.clone(),
        protocol: session.protocol.into(),
        groups: session.principal.groups.clone(),
        credential: session.principal.credential.as_str().into(),
        client_address: session.client_address.to_string(),
        reason: session.reason.clone(),
        refused: refused.map(|fault| fault.message.clone()),
    })
}

/// A process number that means nothing until the server's is known, and a secret: of 4 bytes in protocol 3.0, of 32 in 3.2.
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
