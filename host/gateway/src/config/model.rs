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
    /// Where the gateway keeps its store, its recordings, its keys and compiled policies. Created for the gateway's user only.
    pub(crate) data_dir: PathBuf,
    /// Where PostgreSQL clients connect.
    pub(crate) postgres: Postgres,
    /// Who may connect.
    #[serde(default, rename = "user")]
    pub(crate) users: Vec<User>,
    /// What holds for every member of a group of users.
    #[serde(default, rename = "group")]
    pub(crate) groups: Vec<Group>,
    /// The servers behind the gateway.
    #[serde(default, rename = "target")]
    pub(crate) targets: Vec<Target>,
    /// The policies that targets name.
    #[serde(default, rename = "policy")]
    pub(crate) policies: Vec<Policy>,
    /// The registries that packages come from, where they need more than their name.
    #[serde(default, rename = "registry")]
    pub(crate) registries: Vec<Registry>,
    /// Who must have signed packages.
    #[serde(default)]
    pub(crate) trust: Trust,
    /// What is recorded, how durably, how long, and where else it goes.
    #[serde(default)]
    pub(crate) audit: Audit,
    /// The bounds of recordings of what clients see. Whether a target's sessions are recorded says its `record`.
    #[serde(default)]
    pub(crate) recordings: Recordings,
    /// Who may approve in an emergency, and who is told of requests.
    #[serde(default)]
    pub(crate) approvals: Approvals,
    /// The HTTP interface for readers, approvers and operators. Without this section there is none.
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
    /// The most sessions that the user may have open at a time, over all targets. Without it, the least that a `[[group]]` of theirs says.
    pub(crate) max_sessions: Option<usize>,
}

/// What holds for every member of a group of users.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// The name that users have in their `groups`.
    pub(crate) name: String,
    /// The most sessions that each member may have open at a time, over all targets, unless their `[[user]]` says otherwise.
    pub(crate) max_sessions: usize,
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
    /// The most sessions that may be open at a time, of all users together.
    #[serde(default = "sessions")]
    pub(crate) max_sessions: usize,
    /// Labels of columns, each by `schema.table.column`, where a part may be `*`.
    #[serde(default)]
    pub(crate) column_labels: BTreeMap<String, Vec<String>>,
    /// How much of what this target's clients see is recorded.
    #[serde(default)]
    pub(crate) record: Record,
}

/// How much of what a target's clients see is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Record {
    /// Nothing beyond the audit.
    #[default]
    None,
    /// Commands, how they ended, errors and notices, with their timing.
    Commands,
    /// That, and every result as the client saw it.
    Results,
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
    /// The directory of the policy package, or where it is in a registry, by version: `oci://registry.example/policies/block:1.2.0`.
    /// What comes from a registry is what `portcullis.lock`, beside this file, pins.
    pub(crate) package: String,
    /// Whether its answers act or are only recorded.
    #[serde(default)]
    pub(crate) mode: PolicyMode,
    /// The policy acts in this percentage of sessions, chosen by a hash of the session, and only decides and records in the others:
    /// 1 to 100.
    pub(crate) canary: Option<u8>,
    /// For a canary: the policy whose place it takes. That one acts in all other sessions, and only decides and records where the canary
    /// acts.
    pub(crate) replaces: Option<String>,
    /// How often the registry is asked whether the tag means another artifact, in seconds, from 10; 0 for never. A newer one is put in force
    /// if it is signed as `trust` demands and its own cases pass.
    #[serde(default)]
    pub(crate) poll_s: u64,
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

/// How a registry is reached, where its name is not enough. Without a user or a token, the credentials of `docker login` are used.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registry {
    /// Its host name and, unless it is the usual one, its port.
    pub(crate) host: String,
    /// The user to log in as, with `password`.
    pub(crate) username: Option<String>,
    /// The user's password: `env:NAME` or `file:path`.
    pub(crate) password: Option<SecretRef>,
    /// A bearer token in place of user and password: `env:NAME` or `file:path`.
    pub(crate) token: Option<SecretRef>,
    /// The authorities that may vouch for it, PEM. Without it, those of the operating system.
    pub(crate) ca: Option<PathBuf>,
    /// Speak plain HTTP with it. Registries on this machine are spoken to in plain HTTP in any case.
    #[serde(default)]
    pub(crate) plaintext: bool,
}

/// Who must have signed packages.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Trust {
    /// Refuse directories of packages that `portcullis.lock` does not pin, too. Without it, a directory is read as it is, and again when
    /// it changes; one that is pinned is held to that in any case.
    pub(crate) lock_directories: bool,
    /// Whose signatures count.
    #[serde(rename = "signer")]
    pub(crate) signers: Vec<Signer>,
    /// What must be signed by whom. A package must satisfy every rule that covers its repository.
    #[serde(rename = "rule")]
    pub(crate) rules: Vec<TrustRule>,
}

/// Someone whose signatures count.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signer {
    /// The name that rules use.
    pub(crate) name: String,
    /// The public key: a line as minisign prints it, a PEM as cosign writes it, or `file:path` of either.
    pub(crate) key: String,
}

/// What must be signed by whom.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustRule {
    /// The repositories that it covers: registry and path, where `*` is any run of characters, such as `registry.example/policies/*`.
    pub(crate) namespace: String,
    /// All of these signers must have signed.
    #[serde(default)]
    pub(crate) all_of: Vec<String>,
    /// Some of these signers must have signed.
    #[serde(default)]
    pub(crate) any_of: Vec<String>,
    /// How many different signers at least, of both lists. Without it: everyone of `all_of`, and one of `any_of` if that is given.
    pub(crate) at_least: Option<usize>,
}

/// What is recorded, how durably, how long, and where else it goes.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Audit {
    /// Record sessions and commands. Approvals and recordings are noted in any case.
    pub(crate) enabled: bool,
    /// When an event counts as recorded.
    pub(crate) durability: Durability,
    /// With `interval` durability: the longest time until an event is on disk, in milliseconds.
    pub(crate) interval_ms: u64,
    /// Events that may wait to be written. When that many wait, commands wait too.
    pub(crate) queue: usize,
    /// What becomes of commands while the log cannot be written.
    pub(crate) on_failure: OnFailure,
    /// Record the bound parameters of commands, too. They may hold what nobody should read in a log.
    pub(crate) parameters: bool,
    /// Record what policies got from the capabilities clock, random and state while they decided a command, so that the decision can be repeated.
    pub(crate) inputs: bool,
    /// The key that signs the log: `env:NAME` or `file:path`, Ed25519 in PEM (PKCS #8). Without it one is made at the first start and
    /// kept in `data_dir`.
    pub(crate) signing_key: Option<SecretRef>,
    /// The longest time from an event to a signature that covers it, in seconds.
    pub(crate) checkpoint_s: u64,
    /// Events older than this many days are removed; 0 keeps them for ever.
    pub(crate) keep_days: u64,
    /// The oldest events are removed while the log is larger, in MiB; 0 for no bound.
    pub(crate) keep_mib: u64,
    /// Where else events and signatures go.
    #[serde(rename = "sink")]
    pub(crate) sinks: Vec<Sink>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            durability: Durability::Interval,
            interval_ms: 50,
            queue: 65_536,
            on_failure: OnFailure::Refuse,
            parameters: false,
            inputs: true,
            signing_key: None,
            checkpoint_s: 1,
            keep_days: 0,
            keep_mib: 0,
            sinks: Vec::new(),
        }
    }
}

/// What becomes of commands while the log cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFailure {
    /// They are refused.
    Refuse,
    /// They run unrecorded. How many events were lost is recorded as soon as the log can be written again.
    Continue,
}

/// A place outside of `data_dir` where events and signatures go, each at least once.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sink {
    /// Its name: how far it has come is kept under it.
    pub(crate) name: String,
    /// Where to: `file:path`, `syslog+udp://host:port`, `syslog+tcp://host:port`, `syslog+unix:/path`, or an `https://` URL that takes
    /// POST requests. `http://` goes to this machine only.
    pub(crate) to: String,
    /// What goes there.
    #[serde(default)]
    pub(crate) send: SinkContent,
    /// The form of events.
    #[serde(default)]
    pub(crate) format: SinkFormat,
    /// For a URL: a bearer token that it is sent, `env:NAME` or `file:path`.
    pub(crate) token: Option<SecretRef>,
    /// For a URL: the authorities that may vouch for the server, PEM. Without it, those of the operating system.
    pub(crate) ca: Option<PathBuf>,
}

/// What goes to a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SinkContent {
    /// What happened.
    #[default]
    Events,
    /// The log's signatures: kept elsewhere, they show whether the log was cut or replaced.
    Checkpoints,
    /// Both.
    Both,
}

/// The form of the events of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SinkFormat {
    /// The lines of `portcullis audit export`, which `portcullis audit verify` can check.
    #[default]
    Jsonl,
    /// The Open Cybersecurity Schema Framework's, for collectors that know it.
    Ocsf,
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

/// The bounds of recordings of what clients see.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Recordings {
    /// The largest recording of one session, compressed, in MiB.
    pub(crate) max_mib: u64,
    /// What happens when a recording is as large as it may be.
    pub(crate) on_limit: OnLimit,
    /// What happens when a recording cannot be written.
    pub(crate) on_failure: OnLimit,
    /// Recordings that ended longer ago than this many days are removed; 0 keeps them for ever.
    pub(crate) keep_days: u64,
    /// The oldest recordings are removed while all of them together are larger, in MiB; 0 for no bound.
    pub(crate) keep_mib: u64,
}

impl Default for Recordings {
    fn default() -> Self {
        Self { max_mib: 1024, on_limit: OnLimit::End, on_failure: OnLimit::End, keep_days: 0, keep_mib: 0 }
    }
}

/// What happens to a session whose recording cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnLimit {
    /// It is ended.
    End,
    /// It goes on unrecorded; its client is told, and the audit says so.
    Stop,
}

/// Who may approve in an emergency, and who is told of requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Approvals {
    /// The groups whose members, as `[[admin.token]]` names them, may approve any request alone, their own included. It takes a
    /// justification, and is recorded and logged as breaking glass.
    pub(crate) break_glass: Vec<String>,
    /// Who is told of requests and of how they end.
    #[serde(rename = "webhook")]
    pub(crate) webhooks: Vec<Webhook>,
}

/// Someone, or a channel, that is told of approval requests and of how they end, by a POST request for each.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// Its name: how far it has come is kept under it.
    pub(crate) name: String,
    /// Where to: an `https://` URL, or `env:NAME` or `file:path` that holds one, since whoever knows some services' URLs may write
    /// there. `http://` goes to this machine only.
    pub(crate) url: String,
    /// The form of the messages.
    #[serde(default)]
    pub(crate) format: WebhookFormat,
    /// The secret that signs the messages, `env:NAME` or `file:path`, so that the receiver can tell them from others'.
    pub(crate) secret: Option<SecretRef>,
    /// Who reads the messages: the name of an `[[admin.token]]` with the role approver or operator. They then carry links that decide
    /// in this name, once. Needs `admin.public_url`. Leave it out where others read the messages, too.
    pub(crate) reviewer: Option<String>,
    /// The authorities that may vouch for the server, PEM. Without it, those of the operating system.
    pub(crate) ca: Option<PathBuf>,
}

/// The form of a webhook's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WebhookFormat {
    /// For programs.
    #[default]
    Json,
    /// For Slack's incoming webhooks, and what understands the same.
    Slack,
}

/// The HTTP interface for readers, approvers and operators.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// The address to listen on. Without `[admin.tls]` it speaks HTTP without TLS, so it is to be a loopback address then.
    pub(crate) listen: SocketAddr,
    /// Listen without TLS on an address that other machines reach. Tokens can be read on the way, unless something else protects it.
    #[serde(default)]
    pub(crate) plaintext: bool,
    /// The listener's side of TLS.
    pub(crate) tls: Option<AdminTls>,
    /// Where people reach this interface, such as `https://gate.example:9432`: links in webhooks begin with it.
    pub(crate) public_url: Option<String>,
    /// Who may use it.
    #[serde(default, rename = "token")]
    pub(crate) tokens: Vec<Token>,
}

/// The HTTP interface's side of TLS. Certificate and key are read again when they change.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdminTls {
    /// The certificate chain, PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key, PEM: `env:NAME` or `file:path`.
    pub(crate) key: SecretRef,
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
    /// See everything, decide nothing.
    Reader,
    /// See and decide approvals.
    Approver,
    /// Everything, ending sessions and reloading included.
    Operator,
}

impl Role {
    /// Its name in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Approver => "approver",
            Self::Operator => "operator",
        }
    }

    /// Whether it decides approvals.
    pub(crate) fn decides(self) -> bool {
        matches!(self, Self::Approver | Self::Operator)
    }
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
pub(crate) fn settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
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
