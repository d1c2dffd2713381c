//! A policy under test.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use portcullis_engine::{Engine, PolicySpec};
use portcullis_package::{Case, Package};
use portcullis_verdict::{Decide, Judge, Session};

use super::{prepare, spec};
use crate::show::{reasons, safe_lines};

/// A policy under test: alone in its set, and bound to whatever target a case names.
pub(crate) struct Trial {
    engine: Arc<Engine>,
    pub(super) spec: PolicySpec,
    bound: Mutex<Vec<String>>,
}

/// Loads the package in a directory, with its cases.
pub(super) fn trial(engine: &Arc<Engine>, dir: &Path) -> anyhow::Result<(Trial, Vec<Case>)> {
    let package = Package::open(dir)?;
    let cases = package.cases()?;
    if cases.is_empty() {
        bail!("the package has no cases: write some to {}", dir.join("cases").display());
    }
    Ok((Trial::new(engine, spec(&package)?)?, cases))
}

impl Trial {
    /// Loads a policy.
    pub(crate) fn new(engine: &Arc<Engine>, spec: PolicySpec) -> anyhow::Result<Self> {
        prepare(engine, spec.clone(), &[])?;
        Ok(Self { engine: engine.clone(), spec, bound: Mutex::default() })
    }
}

impl Decide for Trial {
    fn judge(&self, session: &Arc<Session>) -> Box<dyn Judge> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if !bound.contains(&session.target.name) {
            bound.push(session.target.name.clone());
            match prepare(&self.engine, self.spec.clone(), &bound) {
                Ok(set) => drop(self.engine.swap(set)),
                // The set before it knows no such target, so the case fails.
                Err(error) => eprintln!("error: {}", safe_lines(&reasons(&error))),
            }
        }
        self.engine.judge(session)
    }
}
