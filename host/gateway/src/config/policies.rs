//! From `[[policy]]`, `[[registry]]` and `[trust]` to what the engine takes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use portcullis_engine::{PolicyLimits, PolicySpec, Problem, Rollout};
use portcullis_package::trust::{PublicKey, Rule, Signer, Trust};
use portcullis_package::{Case, Lock, PackageError};
use portcullis_registry::{Credentials, RegistryOptions};
use portcullis_verdict::{Mode, RolloutStep};

use super::model::{self, File, Policy, PolicyMode};
use super::problem::{Report, at};
use super::resolve::warn_if_open;
use crate::packages::{Found, LOCK, Packages, Registries, Unfit, locks};

/// How long one question of a package's own cases may take.
const CASE_MS: u64 = 1000;

/// A policy that may be loaded, with where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// What the engine takes.
    pub(crate) spec: PolicySpec,
    /// The package's name.
    pub(crate) package: String,
    /// Its version.
    pub(crate) version: String,
    /// The configuration's `package`.
    pub(crate) source: String,
    /// The digest of its artifact, where it came as one or is pinned.
    pub(crate) artifact: Option<String>,
    /// Who signed it, of those who had to.
    pub(crate) signers: Vec<String>,
    /// The package's own cases.
    pub(crate) cases: Vec<Case>,
    /// The package as its cases expect it: with its own settings.
    pub(crate) own: PolicySpec,
}

/// Opens every package and settles its settings; reports what cannot be used. `pins` are taken in place of what the lock files say.
pub(super) fn read(
    file: &File,
    base: &Path,
    pins: &Lock,
    watched: &mut BTreeSet<PathBuf>,
    report: &mut Report,
) -> Vec<Bound> {
    watched.insert(base.join(LOCK));
    let keys = file.trust.signers.iter().filter_map(|signer| signer.key.strip_prefix("file:"));
    watched.extend(keys.map(|path| base.join(path)));
    watched.extend(file.registries.iter().filter_map(|registry| registry.ca.as_ref()).map(|path| base.join(path)));
    let secrets = file.registries.iter().flat_map(|registry| [&registry.password, &registry.token]).flatten();
    watched.extend(secrets.filter_map(|secret| secret.path(base)));
    let (Some(packages), false) = (packages(file, base, pins, report), file.policies.is_empty()) else {
        return Vec::new();
    };
    let mut bound = Vec::new();
    for (i, policy) in file.policies.iter().enumerate() {
        let found = packages.find(&policy.package, watched);
        let read = found.and_then(|found| self::bound(policy, found, watched));
        match read {
            Ok(read) => bound.push(read),
            Err(Unfit { step, reason, hint }) => {
                let key = if step == RolloutStep::Settings { "settings" } else { "package" };
                report.error_at(step, at!["policy", i, key], format!("policy `{}`: {reason}", policy.name), &hint);
            }
        }
    }
    bound
}

/// What decides which packages may be loaded.
pub(crate) fn packages(file: &File, base: &Path, pins: &Lock, report: &mut Report) -> Option<Packages> {
    let data_dir = base.join(&file.data_dir);
    let (trust, registries) = (trust(file, base, report), registries(file, base, report));
    let polled = file.policies.iter().filter(|policy| policy.poll_s > 0).map(|policy| policy.package.as_str());
    let mut lock = locks(base, &data_dir, polled).map_err(|why| report.error(at![], why, "")).ok()?;
    for (source, locked) in pins.iter() {
        let version = locked.version.to_string();
        if lock.is_downgrade(source, &version) {
            let message = format!("version {version} of {source} is older than what is pinned meanwhile");
            report.error_at(RolloutStep::Verify, at![], message, "");
        }
        // They were read from a lock, so they fit into one.
        let _ = lock.set(source, &version, &locked.digest);
    }
    Some(Packages::new(base, &data_dir, lock, trust?, file.trust.lock_directories, registries?))
}

/// The key of a `[[policy]]` that an engine's refusal is about.
pub(super) fn key(problem: &Problem) -> &'static str {
    match problem {
        Problem::NotGranted(_) => "capabilities",
        Problem::Canary(_) => "canary",
        Problem::Json(_) | Problem::Setting { .. } => "settings",
        Problem::Limit { .. } => "limits",
        _ => "name",
    }
}

/// The step of a change at which the engine refuses.
pub(super) fn step(problem: &Problem) -> RolloutStep {
    match problem {
        Problem::NotAComponent(_) => RolloutStep::Compile,
        Problem::Exports(_) | Problem::Import(_) | Problem::Mismatch(_) | Problem::NotGranted(_) => {
            RolloutStep::Interface
        }
        Problem::Json(_) | Problem::Setting { .. } => RolloutStep::Settings,
        Problem::Registration { .. } | Problem::Start(_) => RolloutStep::Start,
        _ => RolloutStep::Configuration,
    }
}

fn bound(policy: &Policy, found: Found, watched: &mut BTreeSet<PathBuf>) -> Result<Bound, Unfit> {
    let failed = |error: PackageError| {
        let step =
            if matches!(error, PackageError::Settings { .. }) { RolloutStep::Settings } else { RolloutStep::Resolve };
        Unfit { step, reason: error.to_string(), hint: String::new() }
    };
    let package = &found.package;
    let cases = package.cases().map_err(failed)?;
    if found.digest.is_none() {
        watched.extend(cases.iter().map(|case| case.file.clone()));
    }
    let about = &package.manifest.package;
    let component = package.component().map_err(failed)?;
    let own = PolicySpec {
        name: about.name.clone(),
        settings: package.settings(None).map_err(failed)?.to_string(),
        component: component.clone(),
        mode: Mode::Enforce,
        // Both lists name the same things.
        capabilities: package.manifest.capabilities.keys().filter_map(|c| c.as_str().parse().ok()).collect(),
        // Cases are about what a policy says. How long it takes depends on what else the machine does just then.
        limits: PolicyLimits { call_ms: CASE_MS, ..limits(&policy.limits) },
        pure: about.pure,
        canary: None,
    };
    let spec = PolicySpec {
        name: policy.name.clone(),
        settings: package.settings(policy.settings.as_ref()).map_err(failed)?.to_string(),
        component,
        mode: match policy.mode {
            PolicyMode::Enforce => Mode::Enforce,
            PolicyMode::Monitor => Mode::Monitor,
        },
        // Unknown names are reported where the file is checked.
        capabilities: policy.capabilities.iter().filter_map(|name| name.parse().ok()).collect(),
        limits: limits(&policy.limits),
        pure: about.pure,
        canary: policy.canary.map(|percent| Rollout { percent, replaces: policy.replaces.clone() }),
    };
    Ok(Bound {
        spec,
        package: about.name.clone(),
        version: about.version.clone(),
        source: policy.package.clone(),
        artifact: found.digest.as_ref().map(ToString::to_string),
        signers: found.signers.clone(),
        cases,
        own,
    })
}

fn limits(given: &model::PolicyLimits) -> PolicyLimits {
    let default = PolicyLimits::default();
    PolicyLimits {
        memory_bytes: given.memory_mib.map_or(default.memory_bytes, |mib| u64::from(mib) << 20),
        call_ms: given.call_ms.map_or(default.call_ms, u64::from),
        answer_bytes: given.answer_kib.map_or(default.answer_bytes, |kib| u64::from(kib) << 10),
        log_lines_per_second: given.log_lines_per_second.unwrap_or(default.log_lines_per_second),
        state_entries: given.state_entries.map_or(default.state_entries, |count| count as usize),
    }
}

/// Signers and rules, if all of them make sense.
fn trust(file: &File, base: &Path, report: &mut Report) -> Option<Trust> {
    let mut signers = Vec::new();
    for (i, signer) in file.trust.signers.iter().enumerate() {
        let text = match signer.key.strip_prefix("file:") {
            Some(path) => super::secret::read(&base.join(path), 64 << 10)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            None => Ok(signer.key.clone()),
        };
        match text.and_then(|text| text.parse::<PublicKey>().map_err(|error| error.to_string())) {
            Ok(key) => signers.push(Signer { name: signer.name.clone(), key }),
            Err(why) => {
                let hint = "give the line that minisign prints, a PEM of cosign, or `file:path` of either";
                report.error(at!["trust", "signer", i, "key"], format!("signer `{}`: {why}", signer.name), hint);
            }
        }
    }
    if signers.len() < file.trust.signers.len() {
        return None;
    }
    let rule = |rule: &model::TrustRule| Rule {
        namespace: rule.namespace.clone(),
        all_of: rule.all_of.clone(),
        any_of: rule.any_of.clone(),
        at_least: rule.at_least.unwrap_or(0),
    };
    let rules = file.trust.rules.iter().map(rule).collect();
    Trust::new(signers, rules).map_err(|error| report.error(at!["trust"], error, "")).ok()
}

/// How registries are reached.
pub(crate) fn registries(file: &File, base: &Path, report: &mut Report) -> Option<Registries> {
    let before = report.errors.len();
    let mut registries = Registries { options: RegistryOptions::default(), ..Registries::default() };
    for (i, registry) in file.registries.iter().enumerate() {
        let host = registry.host.to_ascii_lowercase();
        if registry.plaintext {
            registries.options.plain_http.insert(host.clone());
        }
        if let Some(ca) = &registry.ca {
            match super::secret::read(&base.join(ca), 1 << 20) {
                Ok(pem) => drop(registries.authorities.insert(host.clone(), pem)),
                Err(why) => report.error(at!["registry", i, "ca"], why, ""),
            }
        }
        let (key, reference) = match (&registry.token, &registry.password) {
            (Some(token), _) => ("token", token),
            (None, Some(password)) => ("password", password),
            (None, None) => continue,
        };
        let place = at!["registry", i, key];
        warn_if_open(reference, base, &place, report);
        match reference.text(base) {
            Ok(secret) => {
                let secret = secret.as_str().into();
                let credentials = match &registry.username {
                    Some(username) => Credentials::Basic { username: username.clone(), password: secret },
                    None => Credentials::Bearer(secret),
                };
                registries.options.credentials.insert(host, credentials);
            }
            Err(why) => report.error(place, why, ""),
        }
    }
    (report.errors.len() == before).then_some(registries)
}
