//! What leaves the gateway by itself: the audit's stream to files, syslog and collectors, and notifications of approvals.
//!
//! Each destination is a consumer of the log (`follow`) in a thread of its own, with a cursor that is kept across restarts: everything
//! arrives at least once and in order, and a destination that is slow or gone holds up nothing but itself.

mod follow;
mod item;
mod ocsf;
mod post;
mod sinks;
#[cfg(test)]
mod tests;
mod visible;
mod webhook;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_verdict::{ApprovalDesk, AuditReader, Cursors, LinkKey, Stats};
use secrecy::SecretString;
use tokio::sync::watch;

use follow::{Consumer, Follower, Pace, Progress, Start, Stream};
pub use item::{checkpoint_line, event_line};
pub use ocsf::ocsf;
pub use post::tls;

/// How long [`Deliveries::stop`] waits for what is under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// What deliveries read from and report to.
#[derive(Clone)]
pub struct Services {
    /// The log.
    pub audit: Arc<dyn AuditReader>,
    /// How far each consumer has come.
    pub cursors: Arc<dyn Cursors>,
    /// How approval requests stand.
    pub approvals: Arc<dyn ApprovalDesk>,
    /// Where failures are counted.
    pub stats: Arc<Stats>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As the gateway's own JSON lines, which can be verified.
    #[default]
    Jsonl,
    /// As events of the Open Cybersecurity Schema Framework.
    Ocsf,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The events.
    Events,
    /// The signed checkpoints, from the one on in which the chain begins.
    Checkpoints,
    /// Both; first the checkpoint in which the chain begins, and then each behind the events that it covers.
    Both,
}

/// Where the audit's stream goes.
#[derive(Clone)]
pub enum Destination {
    /// Appended to a file, which may be renamed or removed at any time.
    File(PathBuf),
    /// To a syslog server (RFC 5424).
    Syslog(SyslogAddress),
    /// Posted to a collector as `application/x-ndjson`.
    Http {
        /// Where.
        url: String,
        /// The bearer token.
        token: Option<SecretString>,
        /// Who vouches for the server, in PEM, instead of the system's roots.
        ca: Option<Vec<u8>>,
    },
}

impl Destination {
    /// It as the configuration has it, without the parts of a URL that may hold a secret.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Syslog(address) => format!("syslog+{address}"),
            Self::Http { url, .. } => post::shown(url).unwrap_or_else(|| "a URL that is none".into()),
        }
    }
}

/// Where a syslog server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// `host:port`; a message in each datagram (RFC 5426). What gets lost on the way is lost.
    Udp(String),
    /// `host:port`; messages with octet counting (RFC 6587 §3.4.1). What the server had not read when its connection broke is lost.
    Tcp(String),
    /// A socket on this machine: of datagrams, or a stream with a message in each line.
    Unix(PathBuf),
}

impl FromStr for SyslogAddress {
    type Err = String;

    fn from_str(address: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{address}` is no syslog server's address; write udp://host:port, tcp://host:port or unix:/path")
        };
        if let Some(path) = address.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(wrong()) };
        }
        let (scheme, peer) = address.split_once("://").ok_or_else(wrong)?;
        let port = peer.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse().ok());
        match (scheme, port) {
            ("udp", Some(1..=u16::MAX)) => Ok(Self::Udp(peer.into())),
            ("tcp", Some(1..=u16::MAX)) => Ok(Self::Tcp(peer.into())),
            _ => Err(wrong()),
        }
    }
}

/// Writes what [`FromStr`] reads.
impl fmt::Display for SyslogAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(peer) => write!(f, "udp://{peer}"),
            Self::Tcp(peer) => write!(f, "tcp://{peer}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A destination of the audit's stream.
#[derive(Clone)]
pub struct Sink {
    /// Its name, under which its cursor is kept: under another name it begins anew.
    pub name: String,
    /// What it gets.
    pub content: Content,
    /// In which form.
    pub format: Format,
    /// Where.
    pub to: Destination,
}

impl Sink {
    /// Whether it can work at all; to be asked when the configuration is read. Without this, deliveries fail with the same words.
    pub fn check(&self) -> Result<(), String> {
        match &self.to {
            Destination::Http { url, ca, .. } => post::Post::new(url, ca.as_deref()).map(drop),
            Destination::File(_) | Destination::Syslog(_) => Ok(()),
        }
    }
}

/// The form of a webhook's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookFormat {
    /// The gateway's own.
    #[default]
    Json,
    /// What Slack and its kind show.
    Slack,
}

/// Someone to be told about approval requests. Its URL is often a secret by itself, and shown nowhere.
#[derive(Clone)]
pub struct Webhook {
    /// Its name, under which its cursor is kept.
    pub name: String,
    /// Where.
    pub url: String,
    /// What its messages are signed with.
    pub secret: Option<SecretString>,
    /// The form of its messages.
    pub format: WebhookFormat,
    /// Who reads it, if it is one person: then its messages carry links that decide in their name.
    pub reviewer: Option<String>,
    /// Who vouches for the server, in PEM, instead of the system's roots.
    pub ca: Option<Vec<u8>>,
}

impl Webhook {
    /// Whether it can work at all; to be asked when the configuration is read. Without this, deliveries fail with the same words.
    pub fn check(&self) -> Result<(), String> {
        post::Post::new(&self.url, self.ca.as_deref()).map(drop)
    }
}

/// How links that decide are made.
#[derive(Clone)]
pub struct Links {
    /// Where people reach the gateway's HTTP interface, such as `https://gate.example:9432`, with or without a slash at its end.
    pub base_url: String,
    /// What links are signed with.
    pub key: LinkKey,
}

/// The deliveries under way. Dropping it ends them too, without waiting.
pub struct Deliveries {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    ended: mpsc::Receiver<Infallible>,
    progress: Vec<Progress>,
}

impl Deliveries {
    /// Whether every sink and webhook has dealt with everything up to this event, if it is told of events, and up to this checkpoint, if
    /// it is told of checkpoints. To be asked before [`Deliveries::stop`], which waits for nothing that is not yet under way.
    pub fn caught_up(&self, last: u64, checkpoint: u64) -> bool {
        self.progress.iter().all(|progress| progress.reached(last, checkpoint))
    }

    /// Ends them. What is under way gets two seconds; a delivery that hangs longer is left to its time-out and repeated after the next start.
    pub fn stop(self) {
        self.stop.send_replace(true);
        // Nothing is ever sent: the channel closes when the last thread is at its end.
        let all_ended = self.ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Disconnected);
        for thread in self.threads {
            if all_ended || thread.is_finished() {
                let _ = thread.join();
            } else {
                let name = thread.thread().name().unwrap_or_default();
                tracing::warn!("{name} does not answer; what it had not taken is sent again after the next start");
            }
        }
    }
}

/// Starts a thread for each sink and each webhook. It fails when the system has no room for threads.
pub fn start(
    services: Services,
    sinks: Vec<Sink>,
    webhooks: Vec<Webhook>,
    links: Option<Links>,
) -> io::Result<Deliveries> {
    start_at(Pace::default(), services, sinks, webhooks, links)
}

fn start_at(
    pace: Pace,
    services: Services,
    sinks: Vec<Sink>,
    webhooks: Vec<Webhook>,
    links: Option<Links>,
) -> io::Result<Deliveries> {
    let mut starter = Starter::new(pace, services);
    for sink in sinks {
        let key = format!("sink/{}", sink.name);
        let events = Stream::events(format!("{key}/events"), Start::Base);
        let checkpoints = Stream::checkpoints(format!("{key}/checkpoints"));
        let streams = match sink.content {
            Content::Events => vec![events],
            Content::Checkpoints => vec![checkpoints],
            Content::Both => vec![checkpoints, events],
        };
        let name = format!("sink {}", sink.name);
        starter.start(name, streams, sinks::open(sink))?;
    }
    for webhook in webhooks {
        // A new webhook does not tell old stories.
        let events = Stream::events(format!("webhook/{}", webhook.name), Start::Last);
        let name = format!("webhook {}", webhook.name);
        let consumer = webhook::Notifier::new(webhook, links.clone(), &starter.services);
        starter.start(name, vec![events], Box::new(consumer))?;
    }
    Ok(starter.deliveries)
}

struct Starter {
    pace: Pace,
    services: Services,
    alive: mpsc::Sender<Infallible>,
    deliveries: Deliveries,
}

impl Starter {
    fn new(pace: Pace, services: Services) -> Self {
        let (alive, ended) = mpsc::channel();
        let deliveries =
            Deliveries { stop: watch::Sender::new(false), threads: Vec::new(), ended, progress: Vec::new() };
        Self { pace, services, alive, deliveries }
    }

    fn start(&mut self, name: String, streams: Vec<Stream>, consumer: Box<dyn Consumer>) -> io::Result<()> {
        let signal = follow::Signal::new(self.deliveries.stop.subscribe())?;
        self.deliveries.progress.extend(streams.iter().map(Stream::progress));
        let follower = Follower::new(name.clone(), streams, consumer, self.services.clone(), self.pace, signal);
        let alive = self.alive.clone();
        let run = move || {
            follower.run();
            drop(alive);
        };
        self.deliveries.threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }
}
