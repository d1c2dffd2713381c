use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{Decide, Judge, Policies, PolicyStatus, Session};

use crate::error::{EngineError, LoadError};
use crate::spec::{Capability, PolicySpec};

/// How the sandbox is set up.
pub struct EngineOptions {
    /// Where compiled code is kept, in a private directory; `None` compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// How many instances may live at once, over all sessions.
    pub max_instances: u32,
    /// The secret of `crypto.hmac-each`.
    pub hash_key: HashKey,
}

/// What a component is and needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// Its size in bytes.
    pub size: usize,
    /// The names of its imports.
    pub imports: Vec<String>,
    /// The interfaces with hooks that it exports: `lifecycle`, `commands`, `rows`.
    pub hooks: Vec<String>,
    /// What must be granted.
    pub capabilities: BTreeSet<Capability>,
}

/// A set of policies ready to be put in force.
pub struct PolicySet {}

/// The sandbox and the policies in force.
pub struct Engine {}

impl Engine {
    /// Sets up the sandbox. No policy is in force yet: everything is denied until the first swap.
    pub fn new(_options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        Ok(Arc::new(Self {}))
    }

    /// Compiles, links, checks capabilities and settings, trial-configures every policy.
    pub fn prepare(
        &self,
        _policies: Vec<PolicySpec>,
        _bindings: BTreeMap<String, Vec<String>>,
    ) -> Result<PolicySet, Vec<LoadError>> {
        Err(Vec::new())
    }

    /// Puts a set in force.
    pub fn swap(&self, _set: PolicySet) -> u64 {
        0
    }

    /// Remembers why the newest configuration was refused.
    pub fn refuse(&self, _why: String) {}

    /// What a component imports, exports and needs.
    pub fn inspect(&self, _component: &[u8]) -> Result<Inspection, LoadError> {
        Err(LoadError { policy: String::new(), problem: crate::Problem::Duplicate })
    }
}

impl Decide for Engine {
    fn judge(&self, _session: &Arc<Session>) -> Box<dyn Judge> {
        unimplemented!("under construction")
    }
}

impl Policies for Engine {
    fn status(&self) -> Vec<PolicyStatus> {
        Vec::new()
    }
    fn generation(&self) -> u64 {
        0
    }
    fn last_refusal(&self) -> Option<String> {
        None
    }
}
