//! A policy under test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::bail;
use portcullis_engine::{Engine, PolicySpec};
use portcullis_package::{Case, Package};
use portcullis_verdict::{Credential, Decide, Judge, Principal, Session, Target};

use super::prepare;
use crate::show::{reasons, safe_lines};

/// A policy under test: alone in its set, and bound to the target of the newest session.
pub(crate) struct Trial {
    engine: Arc<Engine>,
    spec: PolicySpec,
    bound: Mutex<Vec<String>>,
}

impl Trial {
    /// Loads a policy.
    pub(crate) fn new(engine: &Arc<Engine>, spec: PolicySpec) -> anyhow::Result<Self> {
        prepare(engine, spec.clone(), &[])?;
        Ok(Self { engine: engine.clone(), spec, bound: Mutex::default() })
    }

    /// The policy's name.
    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }
}

/// The cases of a package; having none is an error.
pub(super) fn cases(package: &Package) -> anyhow::Result<Vec<Case>> {
    let cases = package.cases()?;
    if cases.is_empty() {
        bail!("the package has no cases: write some to {}", package.dir.join("cases").display());
    }
    Ok(cases)
}

/// A session of an ordinary user, the same that a case has which says nothing about it.
pub(super) fn somebody(target: &str) -> Session {
    Session {
        id: "00000000-0000-7000-8000-000000000000".into(),
        protocol: "postgres",
        principal: Principal { name: "alice".into(), groups: Vec::new(), credential: Credential::Scram },
        target: Arc::new(Target { name: target.into(), labels: BTreeMap::new() }),
        // An address for documentation (RFC 5737).
        client_address: SocketAddr::from(([192, 0, 2, 1], 40000)),
        reason: None,
    }
}

impl Decide for Trial {
    fn judge(&self, session: &Arc<Session>) -> Box<dyn Judge> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if *bound != [session.target.name.clone()] {
            *bound = vec![session.target.name.clone()];
            match prepare(&self.engine, self.spec.clone(), &bound) {
                Ok(set) => drop(self.engine.swap(set)),
                // The set before it knows no such target, so the case fails.
                Err(error) => eprintln!("error: {}", safe_lines(&reasons(&error))),
            }
        }
        self.engine.judge(session)
    }
}
