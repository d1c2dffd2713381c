//! The shape of the configuration file. Doc comments here are the descriptions in `docs/config.schema.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::secret::SecretRef;

/// The configuration of a Portcullis gateway. Every path is relative to the directory of this file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "portcullis.toml")]
pub(crate) struct File {
    /// Where the gateway keeps its store, its masking key and compiled policies. Created for the gateway's user only.
    pub(crate) data_dir: PathBuf,
    /// Where PostgreSQL clients connect.
    pub(crate) postgres: Postgres,
    /// Who may connect.
    #[serde(default, rename = "user")]
    pub(crate) users: Vec<User>,
    /// The servers behind the gateway.
    #[serde(default, rename = "target")]
    pub(crate) targets: Vec<Target>,
    /// The policies that targets name.
    #[serde(default, rename = "policy")]
    pub(crate) policies: Vec<Policy>,
    /// What is recorded, and how durably.
    #[serde(default)]
    pub(crate) audit: Audit,
    /// The HTTP interface for reviewers, auditors and operators. Without this section there is none.
    pub(crate) admin: Option<Admin>,
    /// The bounds of everything that a peer could make grow or last.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// How results are masked.
    #[serde(default)]
    pub(crate) masking: Masking,
    /// What the gateway writes to standard error.
    #[serde(default)]
    pub(crate) log: Log,
}

/// Where PostgreSQL clients connect.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Postgres {
    /// Addresses to listen on, such as `127.0.0.1:6432` or `[::]:6432`.
    pub(crate) listen: Vec<SocketAddr>,
    /// Accept clients without TLS on addresses that other machines reach. Their queries and results can be read and
    /// changed on the way.
    #[serde(default)]
    pub(crate) plaintext: bool,
    /// The listener's side of TLS. Needed for addresses that other machines reach, unless `plaintext` is set.
    pub(crate) tls: Option<ListenerTls>,
}

/// The listener's side of TLS. Certificate and key are read again when they change; the rest at a restart.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenerTls {
    /// The certificate chain, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM.
    pub(crate) key: SecretRef,
    /// The authorities whose client certificates are accepted, PEM. Without it none are asked for.
    pub(crate) client_ca: Option<PathBuf>,
    /// Refuse clients that do not use TLS.
    #[serde(default = "yes")]
    pub(crate) required: bool,
}

/// Someone who may connect: a person, a CI job or an agent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// The name that the client logs in with.
    pub(crate) name: String,
    /// The groups that policies and reviewers see.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// The verifier of the user's password, as `portcullis users hash-password` prints it:
    /// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    pub(crate) scram: Option<String>,
    /// The common name of a client certificate that proves this user.
    pub(crate) certificate_cn: Option<String>,
    /// The targets that the user may open. Without it, all of them.
    pub(crate) targets: Option<Vec<String>>,
}

/// A PostgreSQL server behind the gateway.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    /// What clients give as the database's name.
    pub(crate) name: String,
    /// The server's host name or address.
    pub(crate) host: String,
    /// The server's port.
    #[serde(default = "postgres_port")]
    pub(crate) port: u16,
    /// The database on the server.
    pub(crate) database: String,
    /// The role that the gateway logs in as.
    pub(crate) user: String,
    /// The role's password: `env:NAME` or `file:path`.
    pub(crate) password: Option<SecretRef>,
    /// How the connection to the server is protected.
    #[serde(default)]
    pub(crate) tls: TargetTls,
    /// The authorities that may vouch for the server, PEM. Without it, those of the operating system.
    pub(crate) ca: Option<PathBuf>,
    /// The policies of this target, in the order in which they decide.
    #[serde(default)]
    pub(crate) policies: Vec<String>,
    /// Free labels that policies see, such as `env = "production"`.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
    /// The most sessions that may be open at a time.
    #[serde(default = "sessions")]
    pub(crate) max_sessions: usize,
    /// Labels of columns, each by `schema.table.column`, where a part may be `*`.
    #[serde(default)]
    pub(crate) column_labels: BTreeMap<String, Vec<String>>,
}

/// How the connection to a server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TargetTls {
    /// TLS; the server's certificate chain and host name are verified.
    #[default]
    VerifyFull,
    /// In plain text.
    Disable,
}

/// A policy: a package with its settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// The name that targets, denials and the audit use.
    pub(crate) name: String,
    /// The directory of the policy package.
    pub(crate) package: PathBuf,
    /// Whether its answers act or are only recorded.
    #[serde(default)]
    pub(crate) mode: PolicyMode,
    /// What of the host's interfaces the policy may use, such as `clock` or `state`.
    #[serde(default)]
    pub(crate) capabilities: BTreeSet<String>,
    /// Settings, merged over the package's own.
    #[serde(default, deserialize_with = "settings")]
    #[schemars(with = "Option<Map<String, Value>>")]
    pub(crate) settings: Option<Value>,
    /// What the policy may use.
    #[serde(default)]
    pub(crate) limits: PolicyLimits,
}

/// Whether a policy's answers act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PolicyMode {
    /// Its answers act.
    #[default]
    Enforce,
    /// Its answers are recorded and do not act.
    Monitor,
}

/// What one policy may use. What is not given is the gateway's default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyLimits {
    /// Memory of one session's instance, in MiB.
    pub(crate) memory_mib: Option<u32>,
    /// Time of one call, in milliseconds.
    pub(crate) call_ms: Option<u32>,
    /// Bytes that one call may hand back, in KiB.
    pub(crate) answer_kib: Option<u32>,
    /// Log lines in a second; more are dropped.
    pub(crate) log_lines_per_second: Option<u32>,
    /// Entries in the policy's state.
    pub(crate) state_entries: Option<u32>,
}

/// What is recorded, and how durably.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// Record sessions and commands. Approvals are kept in any case.
    pub(crate) enabled: bool,
    /// When an event counts as recorded.
    pub(crate) durability: Durability,
    /// With `interval` durability: the longest time until an event is on disk, in milliseconds.
    pub(crate) interval_ms: u64,
    /// Events that may wait to be written. When that many wait, commands wait too.
    pub(crate) queue: usize,
}

impl Default for Audit {
    fn default() -> Self {
        Self { enabled: true, durability: Durability::Interval, interval_ms: 50, queue: 65_536 }
    }
}

/// When an event counts as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// At once; it is on disk within `interval_ms`. A loss of power may take the events of one interval.
    Interval,
    /// When it is on disk. A command waits for that.
    Strict,
}

/// The HTTP interface for reviewers, auditors and operators.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// The address to listen on. It speaks HTTP without TLS, so it is to be a loopback address.
    pub(crate) listen: SocketAddr,
    /// Listen on an address that other machines reach. Tokens can be read on the way, unless something else protects it.
    #[serde(default)]
    pub(crate) plaintext: bool,
    /// Who may use it.
    #[serde(default, rename = "token")]
    pub(crate) tokens: Vec<Token>,
}

/// Someone who may use the HTTP interface.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// Their name. The same name as a user's is the same person: nobody approves their own commands.
    pub(crate) name: String,
    /// Their groups, for approvals.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// What they may do.
    pub(crate) role: Role,
    /// The token: `env:NAME` or `file:path`.
    pub(crate) token: Option<SecretRef>,
    /// The SHA-256 of the token in hexadecimal, instead of `token`.
    pub(crate) sha256: Option<String>,
}

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// See and decide approvals.
    Reviewer,
    /// See sessions and approvals.
    Auditor,
    /// Everything, ending sessions and reloading included.
    Operator,
}

/// The bounds of everything that a peer could make grow or last.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Connections open at a time, over all listeners.
    pub(crate) connections: usize,
    /// From accepting a connection to its session, in milliseconds.
    pub(crate) login_ms: u64,
    /// From dialling a server to being ready there, in milliseconds.
    pub(crate) connect_ms: u64,
    /// The largest message of a client, in bytes; COPY data streams and is not bounded.
    pub(crate) client_message_bytes: usize,
    /// The largest message of a server that is held in memory, in bytes.
    pub(crate) server_message_bytes: usize,
    /// Messages that a client may send ahead of the server's answers.
    pub(crate) pipeline: usize,
    /// Bytes that are read ahead of a held command, to notice that its client left.
    pub(crate) hold_bytes: usize,
    /// Prepared statements and portals of a session.
    pub(crate) prepared: usize,
    /// Bytes of the texts of a session's prepared statements and the parameters of its portals
    pub(crate) prepared_bytes: usize,
    /// Seconds without a byte from a client that has nothing under way; 0 for ever.
    pub(crate) idle_s: u64,
    /// Seconds for a peer that takes no byte.
    pub(crate) write_stall_s: u64,
    /// Seconds from the signal to stop until sessions that are still at work are ended.
    pub(crate) drain_s: u64,
    /// Approval requests open at a time.
    pub(crate) open_approvals: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let proxy = portcullis_proxy::Limits::default();
        Self {
            connections: proxy.connections,
            login_ms: proxy.login.as_millis() as u64,
            connect_ms: proxy.connect.as_millis() as u64,
            client_message_bytes: proxy.client_message_bytes,
            server_message_bytes: proxy.server_message_bytes,
            pipeline: proxy.pipeline,
            hold_bytes: proxy.hold_bytes,
            prepared: proxy.prepared,
            prepared_bytes: proxy.prepared_bytes,
            idle_s: proxy.idle.map_or(0, |idle| idle.as_secs()),
            write_stall_s: proxy.write_stall.as_secs(),
            drain_s: proxy.drain.as_secs(),
            open_approvals: 1000,
        }
    }
}

/// How results are masked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Masking {
    /// The key of the `hash` mask: `env:NAME` or `file:path`, at least 32 bytes. Without it one is made at the first
    /// start and kept in `data_dir`. Gateways with the same key mask the same value alike.
    pub(crate) key: Option<SecretRef>,
}

/// What the gateway writes to standard error.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// Lines for people or for machines.
    pub(crate) format: LogFormat,
    /// How much: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,portcullis_proxy=debug`.
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn yes() -> bool {
    true
}

fn postgres_port() -> u16 {
    5432
}

fn sessions() -> usize {
    100
}

/// What TOML can say and JSON cannot is refused instead of changed.
fn settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    fn json(value: toml::Value) -> Result<Value, String> {
        Ok(match value {
            toml::Value::Array(items) => Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?),
            toml::Value::Boolean(flag) => flag.into(),
            toml::Value::Datetime(_) => return Err("settings are JSON, which has no dates: put it in quotes".into()),
            toml::Value::Float(number) if !number.is_finite() => {
                return Err("settings are JSON: this is no number".into());
            }
            toml::Value::Float(number) => number.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::String(text) => text.into(),
            toml::Value::Table(table) => {
                let entries = table.into_iter().map(|(key, value)| Ok((key, json(value)?)));
                Value::Object(entries.collect::<Result<_, String>>()?)
            }
        })
    }
    json(toml::Value::Table(toml::Table::deserialize(deserializer)?)).map(Some).map_err(D::Error::custom)
}
