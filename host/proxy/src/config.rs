//! What the proxy has to be told. The gateway fills these from its configuration file; secrets are resolved by then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_verdict::{RecordLevel, Target};
use secrecy::SecretString;

/// Everything that may change while traffic runs. New sessions use the newest one.
#[derive(Debug, Default)]
pub struct Config {
    /// Who may connect.
    pub users: BTreeMap<String, User>,
    /// What they may connect to, by the name that a client gives as its database.
    pub targets: BTreeMap<String, PgTarget>,
    /// The bounds of everything.
    pub limits: Limits,
}

/// Where clients connect. Fixed while the gateway runs, but for the certificates.
#[derive(Clone, Debug)]
pub struct PgListener {
    /// The address to bind; port 0 takes a free one.
    pub address: SocketAddr,
    /// The server side of TLS, if clients may use it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Refuse clients that do not use TLS.
    pub require_tls: bool,
}

/// Someone who may connect.
#[derive(Clone, Debug)]
pub struct User {
    /// The groups that policies and reviewers see.
    pub groups: Vec<String>,
    /// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, PostgreSQL's form of a verifier.
    pub scram: Option<String>,
    /// The common name of a client certificate that proves this user, if one may.
    pub certificate_cn: Option<String>,
    /// The targets that the user may open; `None` for all.
    pub targets: Option<Vec<String>>,
    /// How many sessions the user may have, over all targets; `None` for any number.
    pub quota: Option<Quota>,
}

/// How many sessions a user may have open at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The most.
    pub max_sessions: usize,
    /// The group that says so for each of its members; `None` where it is said of the user.
    pub group: Option<String>,
}

/// A PostgreSQL server behind the gateway.
#[derive(Clone, Debug)]
pub struct PgTarget {
    /// What policies see of it.
    pub target: Arc<Target>,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The database there.
    pub database: String,
    /// The role that the gateway logs in as.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<SecretString>,
    /// How to protect the connection.
    pub tls: UpstreamTls,
    /// Labels for columns, each by `schema.table.column`, where a part may be `*`.
    pub column_labels: Arc<[(String, Vec<String>)]>,
    /// The most sessions that may be open at a time.
    pub max_sessions: usize,
    /// How much of what its clients see is recorded.
    pub record: RecordLevel,
}

/// How the gateway protects its connection to a server.
#[derive(Clone, Debug)]
pub enum UpstreamTls {
    /// In plain text, because the configuration says so.
    Disable,
    /// TLS; the certificate's chain and host name are verified against this configuration's roots.
    VerifyFull(Arc<rustls::ClientConfig>),
}

/// The bounds of everything that a peer could make grow or last.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at a time, over all listeners, sessions or not. Fixed while the gateway runs.
    pub connections: usize,
    /// From accepting a connection to its session.
    pub login: Duration,
    /// From dialling a server to its first ReadyForQuery.
    pub connect: Duration,
    /// The largest message that a client may send, in bytes, but for COPY data, which streams.
    pub client_message_bytes: usize,
    /// The largest message of a server that is held in memory, in bytes: rows that are looked at, descriptions, errors.
    pub server_message_bytes: usize,
    /// Messages that a client may pipeline before the server has answered them.
    pub pipeline: usize,
    /// Bytes that are read ahead of a held command, to notice that its client left.
    pub hold_bytes: usize,
    /// Prepared statements and portals of a session.
    pub prepared: usize,
    /// Bytes of their texts and parameters.
    pub prepared_bytes: usize,
    /// Without a byte from the client while no command is under way; `None` for ever.
    pub idle: Option<Duration>,
    /// For a peer that takes no byte.
    pub write_stall: Duration,
    /// From the signal to stop until sessions that are still at work are ended.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            login: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            client_message_bytes: 16 << 20,
            server_message_bytes: 64 << 20,
            pipeline: 10_000,
            hold_bytes: 1 << 20,
            prepared: 10_000,
            prepared_bytes: 64 << 20,
            idle: None,
            write_stall: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}
