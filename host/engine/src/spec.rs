use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use portcullis_verdict::Mode;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// A policy as the operator configures it: a component with its settings, powers and limits.
#[derive(Clone, Debug)]
pub struct PolicySpec {
    /// Its name, unique in a set.
    pub name: String,
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// Its settings, a JSON text.
    pub settings: String,
    /// Whether its answers act.
    pub mode: Mode,
    /// What it may import beyond what is always available.
    pub capabilities: BTreeSet<Capability>,
    /// How much it may use.
    pub limits: PolicyLimits,
    /// It promises that its answers depend on nothing but what it reads: it keeps nothing from one question to the next. Its
    /// answers may be used again.
    pub pure: bool,
    /// Whether it acts for a part of the sessions only.
    pub canary: Option<Rollout>,
}

/// A policy that is tried on a part of the sessions, as a canary: there it acts, and elsewhere it is in monitor mode.
///
/// A session is on the canary's side if `SHA-256(session ‖ 00 ‖ policy)`, its first 8 bytes taken as a big-endian number, modulo 100 is less
/// than `percent`. So a session stays on its side, and a greater share only adds sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Of how many sessions in a hundred it decides: 1 to 100.
    pub percent: u8,
    /// The policy that it is to replace, which is in monitor mode where the canary acts.
    pub replaces: Option<String>,
}

impl Rollout {
    /// Whether the policy of this name acts for a session.
    pub(crate) fn acts(&self, policy: &str, session: &str) -> bool {
        let hash = Sha256::new().chain_update(session).chain_update([0]).chain_update(policy).finalize();
        let number = u64::from_be_bytes(std::array::from_fn(|i| hash[i]));
        number % 100 < u64::from(self.percent)
    }
}

/// A part of the host that a policy may use only if the operator grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// The time.
    Clock,
    /// Randomness from the operating system.
    Random,
    /// Values that outlive an instance.
    State,
    /// Keyed hashes under the gateway's masking key.
    Crypto,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Clock, Self::Random, Self::State, Self::Crypto];

    /// The name in configuration files, which is also the name of the interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Random => "random",
            Self::State => "state",
            Self::Crypto => "crypto",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(name: &str) -> Result<Self, UnknownCapability> {
        let found = Self::ALL.into_iter().find(|c| c.as_str() == name);
        found.ok_or_else(|| UnknownCapability(name.chars().take(64).collect()))
    }
}

/// There is no capability with this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no capability `{0}`; there are clock, random, state and crypto")]
pub struct UnknownCapability(pub String);

/// How much a policy may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLimits {
    /// Bytes of memory of one instance: at least 65536 (a Wasm page), at most 4 GiB. State is bounded by as much again.
    pub memory_bytes: u64,
    /// Milliseconds for one question: 1 to 60000. Starting an instance may take ten times as long.
    pub call_ms: u64,
    /// Bytes that it may hand to the host in one call. A batch of rows adds four times its size.
    pub answer_bytes: u64,
    /// Lines in the gateway's log in any second, over all sessions. What exceeds that is counted.
    pub log_lines_per_second: u32,
    /// Entries in its state.
    pub state_entries: usize,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            call_ms: 100,
            answer_bytes: 4 << 20,
            log_lines_per_second: 20,
            state_entries: 65_536,
        }
    }
}
