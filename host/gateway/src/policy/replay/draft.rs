//! The policy that is tried: alone in its set, and bound to the targets as they come up.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use portcullis_engine::{Engine, PolicySpec, Rehearsal};
use portcullis_package::{Package, read_settings};
use portcullis_verdict::Session;

use super::super::{engine, prepare, spec};
use super::sessions::MAX_REHEARSALS;

/// The most targets that a log may name.
const MAX_TARGETS: usize = 1000;

/// A busy machine must not make faults that depend on how busy it is.
const CALL_MS: u64 = 2000;

/// See the module.
pub(super) struct Draft {
    engine: Arc<Engine>,
    spec: PolicySpec,
    bound: BTreeSet<String>,
    pub(super) version: String,
    /// The SHA-256 of its component.
    pub(super) digest: String,
    /// Whether it decides on commands.
    pub(super) commands: bool,
    /// Whether it decides on rows.
    pub(super) rows: bool,
}

impl Draft {
    /// Loads a package, with other settings merged over its own if there are any.
    pub(super) fn open(dir: &Path, settings: Option<&Path>) -> anyhow::Result<Self> {
        let package = Package::open(dir)?;
        let patch = settings.map(read_settings).transpose()?;
        let mut spec = spec(&package, patch.as_ref())?;
        spec.limits.call_ms = CALL_MS;
        // Each rehearsal has one instance, recorded results another, and a trial start needs a place, too.
        let engine = engine(MAX_REHEARSALS as u32 + 2, None, false)?;
        let found = engine.inspect(&spec.component)?;
        let has = |hook: &str| found.hooks.iter().any(|h| h == hook);
        let (commands, rows) = (has("commands"), has("rows"));
        let version = package.manifest.package.version.to_string();
        let mut draft = Self { engine, spec, bound: BTreeSet::new(), version, digest: found.digest, commands, rows };
        draft.install()?;
        Ok(draft)
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    /// A rehearsal of a session; none where the log names more targets than can be bound.
    pub(super) fn rehearse(&mut self, session: &Arc<Session>) -> anyhow::Result<Option<Rehearsal>> {
        let target = &session.target.name;
        if !self.bound.contains(target) {
            if self.bound.len() >= MAX_TARGETS {
                return Ok(None);
            }
            self.bound.insert(target.clone());
            self.install()?;
        }
        Ok(Some(self.engine.rehearsal(session)))
    }

    /// The policy stays the same one, and with it the instances of the rehearsals that are under way.
    fn install(&mut self) -> anyhow::Result<()> {
        let targets: Vec<String> = self.bound.iter().cloned().collect();
        self.engine.swap(prepare(&self.engine, self.spec.clone(), &targets)?);
        Ok(())
    }
}
