//! The door: TLS, the startup message, and who the client is.

use std::sync::Arc;

use bytes::BytesMut;
use portcullis_verdict::{Credential, Principal};
use portcullis_wire::pg::login::{Login, LoginError, Progress, Tls};
use portcullis_wire::pg::message::Fault;
use portcullis_wire::pg::scram::Verifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::catalogue::Catalogue;
use super::startup::Wish;
use crate::config::{Limits, PgListener, PgTarget, Quota, User};
use crate::io::{Stream, bear_with, prepare};
use crate::proxy::{Gate, State, random};

/// Why a connection did not become a session.
pub(super) enum NoSession {
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
pub(super) struct Known {
    pub(super) principal: Principal,
    pub(super) target: Arc<PgTarget>,
    pub(super) wish: Wish,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) quota: Option<Quota>,
}

/// A connection on which nobody is known yet.
pub(super) struct Door {
    pub(super) stream: Stream,
    pub(super) input: BytesMut,
    /// What the client asked for, once it has.
    pub(super) wish: Option<Wish>,
    login: Login,
    output: Vec<u8>,
}

/// A client of PostgreSQL 17 and later may start TLS at once; then it must name the protocol (ALPN, RFC 7301), so that no other
/// protocol's client can be lured here.
pub(super) async fn accept(tcp: TcpStream, listener: &PgListener, limits: &Limits) -> std::io::Result<Door> {
    const TLS_HANDSHAKE: u8 = 22;
    prepare(&tcp)?;
    bear_with(&tcp, limits.write_stall);
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
    let input = BytesMut::with_capacity(1024);
    Ok(Door { stream, input, wish: None, login: Login::new(tls), output: Vec::new() })
}

impl Door {
    /// What is to be written, behind what the login has written.
    pub(super) fn output(&mut self) -> &mut Vec<u8> {
        self.output.append(&mut self.login.take_output());
        &mut self.output
    }

    pub(super) async fn flush(&mut self) -> std::io::Result<()> {
        self.output();
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output.clear();
        }
        Ok(())
    }

    pub(super) async fn refuse(&mut self, fault: &Fault) {
        fault.put(self.output());
        // The client may have gone; there is nobody else to tell.
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }

    pub(super) async fn identify(
        &mut self,
        gate: &Gate,
        state: &State,
        listener: &PgListener,
        has_place: bool,
    ) -> Result<Known, NoSession> {
        let mut claimed: Option<Option<User>> = None;
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
                    // Kept first: a refusal is logged and recorded under the name that was claimed.
                    let wish = self.wish.insert(Wish::of(&startup).map_err(NoSession::Refused)?);
                    if !has_place {
                        return Err(NoSession::Refused(full()));
                    }
                    if listener.require_tls && matches!(self.stream, Stream::Plain(_)) {
                        let fault = Fault::fatal("28000", "this gateway takes only encrypted connections");
                        return Err(NoSession::Refused(fault.with_hint("connect with sslmode=require or stronger")));
                    }
                    wish.add(startup.parameters).map_err(NoSession::Refused)?;
                    let user = state.config.users.get(&wish.user);
                    if user.is_some_and(|u| proves(&self.stream, u)) {
                        self.login.accept();
                        return known(state, wish, user, Credential::Certificate).map_err(NoSession::Refused);
                    }
                    let verifier = user.and_then(|u| Verifier::parse(u.scram.as_deref()?));
                    let verifier =
                        verifier.unwrap_or_else(|| Verifier::decoy(&wish.user, &gate.decoy, state.iterations));
                    self.login.challenge(verifier, nonce());
                    claimed = Some(user.cloned());
                }
                Progress::Authenticated => {
                    let (wish, user) = self.wish.as_ref().zip(claimed.take()).ok_or(NoSession::Gone)?;
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
}

/// Whether the connection's certificate, which the handshake has verified, is this user's.
fn proves(stream: &Stream, user: &User) -> bool {
    let Some(expected) = &user.certificate_cn else { return false };
    let Some(certificate) = stream.peer_certificates().first() else { return false };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let mut names = certificate.subject().iter_common_name();
    let (first, second) = (names.next().and_then(|n| n.as_str().ok()), names.next());
    first == Some(expected) && second.is_none()
}

/// There are as many connections as there may be.
pub(crate) fn full() -> Fault {
    Fault::fatal("53300", "too many connections for the gateway: limits.connections is reached")
}

fn nonce() -> String {
    random::<24>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whoever has proved a name must be somebody, and may open the target.
fn known(state: &State, wish: &Wish, user: Option<&User>, credential: Credential) -> Result<Known, Fault> {
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
    let (target, catalogue, quota) = (target.clone(), catalogue.clone(), user.quota.clone());
    Ok(Known { principal, target, wish: wish.clone(), catalogue, quota })
}
