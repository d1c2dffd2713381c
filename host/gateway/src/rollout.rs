//! What was and is in force for each policy, and what stood in the way of a change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_engine::{Engine, EngineOptions, PolicySpec};
use portcullis_package::run_case;
use portcullis_proxy::read_statement;
use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{Origin, Refusal, RolloutCounts, RolloutStep};
use sha2::{Digest, Sha256};

use crate::config::{Bound, Trust};
use crate::policy::Trial;
use crate::show::reasons;

/// How long the cases of a package may take together: whoever wants to go back waits for them.
const ALL_CASES: Duration = Duration::from_secs(30);

/// The policies in force with their past, and the newest refusal.
#[derive(Default)]
pub(crate) struct Rollouts {
    policies: Mutex<BTreeMap<String, Policy>>,
    /// Who had to sign what is and was in force.
    trust: Mutex<Trust>,
    refusal: Mutex<Option<Refusal>>,
    counts: Mutex<RolloutCounts>,
    /// Packages with settings whose cases have passed.
    proven: Mutex<BTreeSet<[u8; 32]>>,
}

/// A policy with its past.
#[derive(Clone)]
struct Policy {
    /// What is in force.
    now: Arc<Bound>,
    since_ms: u64,
    /// What was in force before it.
    before: Option<Arc<Bound>>,
    /// What the configuration names: something else after a rollback.
    configured: Arc<Bound>,
}

/// What would be in force for each policy after a change, and who had to sign it.
pub(crate) struct Next(BTreeMap<String, Policy>, Trust);

impl Next {
    /// What the engine is to load.
    pub(crate) fn specs(&self) -> Vec<PolicySpec> {
        self.0.values().map(|policy| policy.now.spec.clone()).collect()
    }
}

impl Rollouts {
    /// What a configuration would put in force. A policy that was taken back stays so until the configuration names something else for it. What was
    /// in force under another trust is not gone back to.
    pub(crate) fn next(&self, configured: &[Bound], trust: &Trust) -> Next {
        let mut policies = lock(&self.policies).clone();
        if *lock(&self.trust) != *trust {
            for policy in policies.values_mut() {
                (policy.now, policy.before) = (policy.configured.clone(), None);
            }
        }
        let next = configured.iter().map(|bound| {
            let configured = Arc::new(bound.clone());
            let policy = match policies.get(&bound.spec.name) {
                Some(known) if same(&known.now, bound) => {
                    Policy { now: configured.clone(), configured, ..known.clone() }
                }
                Some(known) if same(&known.configured, bound) => Policy { configured, ..known.clone() },
                known => {
                    let before = known.map(|known| known.now.clone());
                    Policy { now: configured.clone(), since_ms: now_ms(), before, configured }
                }
            };
            (bound.spec.name.clone(), policy)
        });
        Next(next.collect(), trust.clone())
    }

    /// What would be in force if a policy were taken back.
    pub(crate) fn back(&self, policy: &str) -> Result<Next, String> {
        let mut next = lock(&self.policies).clone();
        let Some(taken) = next.get_mut(policy) else {
            let names: Vec<_> = next.keys().map(String::as_str).collect();
            return Err(format!("there is no policy `{policy}` in force; there are: {}", names.join(", ")));
        };
        if !same(&taken.now, &taken.configured) {
            let version = &taken.now.version;
            return Err(format!(
                "`{policy}` is rolled back to {version} already; change its package or settings to put another version in force"
            ));
        }
        let Some(before) = taken.before.take() else {
            return Err(format!("nothing else was in force for `{policy}` since the gateway started"));
        };
        taken.before = Some(std::mem::replace(&mut taken.now, before));
        taken.since_ms = now_ms();
        Ok(Next(next, lock(&self.trust).clone()))
    }

    /// Runs the cases of every package that has not passed them yet. The error names the policy, and says which case fails and how.
    pub(crate) fn prove(&self, next: &Next, cache_dir: Option<PathBuf>) -> Result<(), (String, String)> {
        let unproven: Vec<_> = {
            let proven = lock(&self.proven);
            let of = |policy: &Policy| (fingerprint(&policy.now), policy.now.clone());
            next.0
                .values()
                .map(of)
                .filter(|(print, bound)| !bound.cases.is_empty() && !proven.contains(print))
                .collect()
        };
        if unproven.is_empty() {
            return Ok(());
        }
        let hash_key = HashKey::new(&[0; 32]);
        let options =
            EngineOptions { cache_dir, max_instances: 4, hash_key, meter: None, fuel: false, log_values: false };
        let engine = Engine::new(options).map_err(|error| (String::new(), reasons(&error.into())))?;
        for (print, bound) in unproven {
            run_cases(&engine, &bound).map_err(|why| (bound.spec.name.clone(), why))?;
            lock(&self.proven).insert(print);
        }
        Ok(())
    }

    /// Takes note that a change is in force.
    pub(crate) fn applied(&self, next: Next) {
        // What is in force no more need not be remembered as proven.
        let prints: BTreeSet<_> =
            next.0.values().flat_map(|p| [Some(&p.now), p.before.as_ref()]).flatten().map(|b| fingerprint(b)).collect();
        lock(&self.proven).retain(|print| prints.contains(print));
        *lock(&self.policies) = next.0;
        *lock(&self.trust) = next.1;
        *lock(&self.refusal) = None;
        lock(&self.counts).applied += 1;
    }

    /// Takes note that a policy was taken back.
    pub(crate) fn rolled_back(&self, next: Next) {
        *lock(&self.policies) = next.0;
        *lock(&self.refusal) = None;
        lock(&self.counts).rolled_back += 1;
    }

    /// Takes note of why a change is not in force.
    pub(crate) fn refused(&self, step: RolloutStep, reason: String) {
        *lock(&self.refusal) = Some(Refusal { step, reason, at_ms: now_ms() });
        lock(&self.counts).refused += 1;
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        lock(&self.refusal).clone()
    }

    pub(crate) fn counts(&self) -> RolloutCounts {
        *lock(&self.counts)
    }

    /// Where each policy in force came from.
    pub(crate) fn origins(&self) -> Vec<Origin> {
        let version = |bound: &Bound| bound.version.clone();
        let origin = |(name, policy): (&String, &Policy)| Origin {
            policy: name.clone(),
            package: policy.now.package.clone(),
            version: version(&policy.now),
            source: policy.now.source.clone(),
            artifact: policy.now.artifact.clone(),
            signers: policy.now.signers.clone(),
            since_ms: policy.since_ms,
            rolled_back: !same(&policy.now, &policy.configured),
            previous: policy.before.as_deref().map(version),
        };
        lock(&self.policies).iter().map(origin).collect()
    }

    /// The version of a policy that is in force.
    pub(crate) fn version(&self, policy: &str) -> Option<String> {
        lock(&self.policies).get(policy).map(|policy| policy.now.version.clone())
    }
}

fn run_cases(engine: &Arc<Engine>, bound: &Bound) -> Result<(), String> {
    let trial = Trial::new(engine, bound.own.clone()).map_err(|error| reasons(&error))?;
    let begun = Instant::now();
    for case in &bound.cases {
        if begun.elapsed() > ALL_CASES {
            return Err(format!("its own cases take longer than {} s", ALL_CASES.as_secs()));
        }
        run_case(case, &trial, &bound.own.name, &read_statement).outcome.map_err(|difference| {
            let file = case.file.file_name().unwrap_or_default().to_string_lossy();
            format!("its own case \"{}\" in cases/{file} fails: {}", case.name, difference.replace('\n', "; "))
        })?;
    }
    Ok(())
}

/// Whether both would make the same policy.
fn same(one: &Bound, other: &Bound) -> bool {
    let (a, b) = (&one.spec, &other.spec);
    let alike = a.name == b.name && a.settings == b.settings && a.mode == b.mode && a.capabilities == b.capabilities;
    alike && a.limits == b.limits && a.canary == b.canary && a.component == b.component && one.version == other.version
}

/// Of a package with its own settings and cases.
fn fingerprint(bound: &Bound) -> [u8; 32] {
    let mut hash = Sha256::new();
    let cases = format!("{:?}", bound.cases);
    for part in [&bound.own.component[..], bound.own.settings.as_bytes(), cases.as_bytes()] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.update(format!("{:?}{:?}", bound.own.limits, bound.own.capabilities));
    hash.finalize().into()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
