use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{Decide, Judge, Policies, PolicyStatus, Session, Snapshot};
use wasmtime::component::Component;

use crate::canary::{Canaries, Member};
use crate::error::{EngineError, LoadError, Problem};
use crate::host::{Clock, Shared};
use crate::judge::SessionJudge;
use crate::meter::{Meter, Metering};
use crate::policy::{self, Names, Policy};
use crate::rehearsal::Rehearsal;
use crate::runtime::Runtime;
use crate::spec::{Capability, PolicySpec};

/// How the sandbox is set up.
pub struct EngineOptions {
    /// Where compiled code is kept, in a directory that nobody else may enter; `None` compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// How many instances may live at once, over all sessions.
    pub max_instances: u32,
    /// The secret of `crypto.hmac-each`.
    pub hash_key: HashKey,
    /// Hears what every call into a policy cost, trial starts included. Without one nothing is measured.
    pub meter: Option<Meter>,
    /// Count instructions for the meter. It makes guests slower, and their compiled code is kept beside that which does not count.
    pub fuel: bool,
    /// Whether what a policy logs while it is handed values of a result is shown. It may quote them, so only whoever tests a policy wants that.
    pub log_values: bool,
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
pub struct PolicySet {
    pub(crate) policies: Vec<Arc<Policy>>,
    pub(crate) chains: HashMap<String, Arc<[Member]>>,
    canaries: Canaries,
}

/// A set in force, or one that was and has commands under way.
pub(crate) struct Installed {
    pub(crate) generation: u64,
    pub(crate) set: PolicySet,
}

impl Installed {
    pub(crate) fn snapshot(self: &Arc<Self>) -> Snapshot {
        Snapshot::new(self.generation, self.clone())
    }

    pub(crate) fn of(snapshot: &Snapshot) -> Option<Arc<Self>> {
        snapshot.set().clone().downcast().ok()
    }
}

/// The sandbox and the policies in force.
pub struct Engine {
    inner: Arc<Inner>,
}

/// What the judges of all sessions share.
pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    pub(crate) shared: Arc<Shared>,
    pub(crate) current: ArcSwap<Installed>,
    /// Orders swaps.
    swapping: Mutex<()>,
}

impl Engine {
    /// Sets up the sandbox. No policy is in force yet: everything is denied until the first swap.
    pub fn new(options: EngineOptions) -> Result<Arc<Self>, EngineError> {
        let start = Instant::now();
        Self::with_clock(options, Arc::new(move || start.elapsed().as_millis() as u64))
    }

    /// The same with a clock of one's own, in milliseconds, for pauses, expiry and the log's bounds.
    pub fn with_clock(
        options: EngineOptions,
        now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    ) -> Result<Arc<Self>, EngineError> {
        let EngineOptions { cache_dir, max_instances, hash_key, meter, fuel, log_values } = options;
        let now: Clock = now_ms;
        let inner = Inner {
            runtime: Runtime::new(cache_dir.as_deref(), max_instances, Metering::new(meter, fuel))?,
            shared: Arc::new(Shared::new(now, hash_key, log_values)?),
            current: ArcSwap::from_pointee(Installed {
                generation: 0,
                set: PolicySet { policies: Vec::new(), chains: HashMap::new(), canaries: Canaries::default() },
            }),
            swapping: Mutex::default(),
        };
        Ok(Arc::new(Self { inner: Arc::new(inner) }))
    }

    /// Compiles, links, checks capabilities and settings, trial-configures every policy. All problems are collected.
    ///
    /// `bindings` gives the chain of every target, in order. A target without policies is bound to an empty chain; one
    /// that is not in `bindings` is unknown, and everything on it is denied. A policy that is unchanged is taken over
    /// from the set in force with its instances and its health, and a changed one with its state.
    ///
    /// Compiling takes tens of milliseconds to seconds: do not call this where a session waits.
    pub fn prepare(
        &self,
        policies: Vec<PolicySpec>,
        bindings: BTreeMap<String, Vec<String>>,
    ) -> Result<PolicySet, Vec<LoadError>> {
        let current = self.inner.current.load_full();
        let canaries = Canaries::of(&policies);
        let mut errors = canaries.problems(&policies);
        let mut loaded: Vec<Arc<Policy>> = Vec::new();
        let mut names = BTreeSet::new();
        let mut compiled = HashMap::new();
        for spec in policies {
            let name = spec.name.clone();
            let found = if names.insert(name.clone()) {
                self.load(&current.set.policies, spec, &mut compiled)
            } else {
                Err(vec![Problem::Duplicate])
            };
            match found {
                Ok(policy) => loaded.push(policy),
                Err(problems) => {
                    errors.extend(problems.into_iter().map(|problem| LoadError { policy: name.clone(), problem }));
                }
            }
        }
        errors.extend(canaries.narrower(&loaded));
        let chains = bind(&loaded, &names, &canaries, bindings, &mut errors);
        if errors.is_empty() { Ok(PolicySet { policies: loaded, chains, canaries }) } else { Err(errors) }
    }

    fn load(
        &self,
        current: &[Arc<Policy>],
        spec: PolicySpec,
        compiled: &mut HashMap<String, Component>,
    ) -> Result<Arc<Policy>, Vec<Problem>> {
        let digest = policy::digest(&spec.component);
        let namesake = current.iter().find(|p| *p.name == *spec.name);
        if let Some(same) = namesake.filter(|p| p.is(&spec, &digest)) {
            return Ok(same.clone());
        }
        let known = current.iter().find(|p| *p.digest == *digest).map(|p| p.pre.component().clone());
        let component = match compiled.get(&digest).cloned().or(known) {
            Some(component) => component,
            None => policy::compile(&self.inner.runtime, &spec.component).map_err(|problem| vec![problem])?,
        };
        compiled.insert(digest.clone(), component.clone());
        let state = namesake.map(|p| p.services.state.clone()).unwrap_or_default();
        Policy::load(&self.inner.runtime, &self.inner.shared, spec, &component, digest, state).map(Arc::new)
    }

    /// Puts a set in force and returns its generation. What the set before it decided is finished by that one.
    pub fn swap(&self, set: PolicySet) -> u64 {
        let _one_at_a_time = self.inner.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.inner.current.load().generation + 1;
        self.inner.current.store(Arc::new(Installed { generation, set }));
        generation
    }

    /// A rehearsal of what the policies in force would have decided for a session. Its instances count as others do
    /// ([`EngineOptions::max_instances`]), and it changes nothing that sessions see.
    pub fn rehearsal(&self, session: &Arc<Session>) -> Rehearsal {
        Rehearsal::new(self.inner.clone(), session.clone())
    }

    /// How many instances live now, over all sessions.
    pub fn instances(&self) -> u64 {
        self.inner.runtime.engine.pooling_allocator_metrics().map_or(0, |pool| pool.component_instances())
    }

    /// What a component imports, exports and needs.
    pub fn inspect(&self, component: &[u8]) -> Result<Inspection, LoadError> {
        let refused = |problem| LoadError { policy: "inspected".into(), problem };
        let compiled = policy::compile(&self.inner.runtime, component).map_err(refused)?;
        let names = Names::of(&self.inner.runtime, &compiled);
        if let Some(problem) = names.misfits().into_iter().next() {
            return Err(refused(problem));
        }
        Ok(Inspection {
            digest: policy::digest(component),
            size: component.len(),
            hooks: names.hooks().map(Into::into).collect(),
            capabilities: names.capabilities().collect(),
            imports: names.imports,
        })
    }
}

/// Makes each target's chain. A policy that failed to load has been reported and is passed over here.
fn bind(
    loaded: &[Arc<Policy>],
    named: &BTreeSet<String>,
    canaries: &Canaries,
    bindings: BTreeMap<String, Vec<String>>,
    errors: &mut Vec<LoadError>,
) -> HashMap<String, Arc<[Member]>> {
    let mut chains = HashMap::new();
    for (target, names) in bindings {
        for (canary, replaced) in canaries.alone(&names).filter(|(_, replaced)| named.contains(*replaced)) {
            let why = format!("replaces `{replaced}`, which the target `{target}` is not bound to: bind it to both");
            errors.push(LoadError { policy: canary.clone(), problem: Problem::Canary(why) });
        }
        let mut chain: Vec<Arc<Policy>> = Vec::with_capacity(names.len());
        for name in names.clone() {
            match loaded.iter().find(|p| *p.name == *name) {
                Some(policy) if chain.iter().any(|p| Arc::ptr_eq(p, policy)) => {
                    errors.push(LoadError { policy: name, problem: Problem::BoundTwice(target.clone()) });
                }
                Some(policy) => chain.push(policy.clone()),
                None if named.contains(&name) => {}
                None => errors.push(LoadError { policy: name, problem: Problem::Missing(target.clone()) }),
            }
        }
        chains.insert(target, chain.into_iter().map(|policy| canaries.member(policy, &names)).collect());
    }
    chains
}

impl Decide for Engine {
    fn judge(&self, session: &Arc<Session>) -> Box<dyn Judge> {
        Box::new(SessionJudge::new(self.inner.clone(), session.clone()))
    }
}

impl Policies for Engine {
    fn status(&self) -> Vec<PolicyStatus> {
        let current = self.inner.current.load();
        let status = |p: &Arc<Policy>| PolicyStatus {
            name: p.name.to_string(),
            digest: p.digest.to_string(),
            mode: p.mode,
            state: p.health.state(),
            calls: p.health.calls(),
            faults: p.health.faults(),
            last_fault: p.health.last(),
            last_backtrace: p.services.backtrace.get(),
            canary: current.set.canaries.percent(&p.name),
        };
        current.set.policies.iter().map(status).collect()
    }

    fn generation(&self) -> u64 {
        self.inner.current.load().generation
    }
}
