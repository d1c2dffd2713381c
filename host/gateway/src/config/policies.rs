//! From `[[policy]]` to what the engine takes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use portcullis_engine::{PolicyLimits, PolicySpec, Problem};
use portcullis_package::{Package, PackageError};
use portcullis_verdict::Mode;

use super::model::{self, File, Policy, PolicyMode};
use super::problem::{Report, at};

/// Opens every package and settles its settings; reports what cannot be used.
pub(super) fn read(file: &File, base: &Path, watched: &mut BTreeSet<PathBuf>, report: &mut Report) -> Vec<PolicySpec> {
    let mut specs = Vec::new();
    for (i, policy) in file.policies.iter().enumerate() {
        match spec(policy, base, watched) {
            Ok(spec) => specs.push(spec),
            Err(error) => {
                let key = if matches!(error, PackageError::Settings { .. }) { "settings" } else { "package" };
                report.error(at!["policy", i, key], format!("policy `{}`: {error}", policy.name), "");
            }
        }
    }
    specs
}

/// The key of a `[[policy]]` that an engine's refusal is about.
pub(super) fn key(problem: &Problem) -> &'static str {
    match problem {
        Problem::NotGranted(_) => "capabilities",
        Problem::Json(_) | Problem::Setting { .. } => "settings",
        Problem::Limit { .. } => "limits",
        _ => "name",
    }
}

fn spec(policy: &Policy, base: &Path, watched: &mut BTreeSet<PathBuf>) -> Result<PolicySpec, PackageError> {
    let dir = base.join(&policy.package);
    watched.insert(dir.join("policy.toml"));
    let package = Package::open(&dir)?;
    watched.insert(package.component_path());
    watched.extend(package.manifest.package.settings_schema.iter().map(|schema| package.dir.join(schema)));
    Ok(PolicySpec {
        name: policy.name.clone(),
        settings: package.settings(policy.settings.as_ref())?.to_string(),
        component: package.component()?,
        mode: match policy.mode {
            PolicyMode::Enforce => Mode::Enforce,
            PolicyMode::Monitor => Mode::Monitor,
        },
        // Unknown names are reported where the file is checked.
        capabilities: policy.capabilities.iter().filter_map(|name| name.parse().ok()).collect(),
        limits: limits(&policy.limits),
        canary: None,
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
