use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::audit::Subject;

/// Who connected: a person, a CI job or an agent, as the listener authenticated them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// The name from the configuration, never one that the client merely claimed.
    pub name: String,
    /// The groups that the configuration gives this principal.
    pub groups: Vec<String>,
    /// What proved the name.
    pub credential: Credential,
}

/// What proved a principal's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credential {
    /// A TLS client certificate that the listener verified.
    Certificate,
    /// SCRAM-SHA-256 (RFC 5802, RFC 7677).
    Scram,
}

impl Credential {
    /// The name under which the audit and the command line show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Scram => "scram-sha-256",
        }
    }
}

/// A server behind the gateway, as policies see it: its name and labels, never its address or credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name under which clients ask for it.
    pub name: String,
    /// Free labels from the configuration, such as `env = "production"`.
    pub labels: BTreeMap<String, String>,
}

/// One authenticated connection of a principal to a target.
#[derive(Clone, Debug)]
pub struct Session {
    /// A UUID version 7 in its hyphenated form: unique, and ordered by time.
    pub id: Arc<str>,
    /// The protocol's name, such as `postgres`.
    pub protocol: &'static str,
    /// Who connected.
    pub principal: Principal,
    /// What they connected to.
    pub target: Arc<Target>,
    /// Where they connected from.
    pub client_address: SocketAddr,
    /// The justification given when the session was opened, if any.
    pub reason: Option<String>,
}

impl Session {
    /// What its events are about.
    pub fn subject(&self) -> Subject {
        Subject {
            session: self.id.clone(),
            principal: self.principal.name.as_str().into(),
            target: self.target.name.as_str().into(),
        }
    }
}
