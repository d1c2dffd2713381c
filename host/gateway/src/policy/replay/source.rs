//! Where audited events come from: a running gateway, an export, or the store of a gateway that does not run.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use portcullis_store::verify_file;
use portcullis_verdict::{ApprovalView, ChainedEvent, Demand, Head, StoredEvent};

use super::compare::Demands;
use crate::client::Client;
use crate::commands::log::{Line, of_file};

/// The most approval requests whose terms are kept.
const MAX_REQUESTS: usize = 100_000;

/// Where events come from.
pub(super) enum Source {
    Gateway(Client),
    Export(PathBuf),
    Store(PathBuf),
}

impl Source {
    /// Hands over every event in order. What is wrong with the log comes back in words.
    pub(super) fn events(
        &self,
        take: &mut dyn FnMut(&StoredEvent) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<String>> {
        match self {
            Self::Gateway(client) => of_gateway(client, take).map(|()| None),
            Self::Export(file) => of_export(file, take).map(|()| None),
            Self::Store(file) => of_store(file, take),
        }
    }

    /// What policies demanded of people, which events do not keep: as far as a running gateway still knows.
    pub(super) fn demands(&self) -> anyhow::Result<Option<Demands>> {
        let Self::Gateway(client) = self else { return Ok(None) };
        let mut demands = Demands::new();
        let requests = client.items::<ApprovalView>("approvals", &[("all", "true".into())], None, MAX_REQUESTS);
        for request in requests {
            let ApprovalView { session, sequence, demands: demanded, .. } = request?;
            let terms = demanded.into_iter().map(|Demand { policy, terms }| (policy, terms));
            demands.insert((session.into(), sequence), terms.collect());
        }
        Ok(Some(demands))
    }
}

fn of_gateway(client: &Client, take: &mut dyn FnMut(&StoredEvent) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let head: Head = client.get("audit/head")?;
    let first = Some(head.base.to_string());
    for event in client.items::<ChainedEvent>("audit/export", &[], first, usize::MAX) {
        let ChainedEvent { stored, .. } = event?;
        // A gateway at work writes faster than its log can be followed to an end.
        if stored.number > head.last {
            break;
        }
        take(&stored)?;
    }
    Ok(())
}

fn of_export(path: &Path, take: &mut dyn FnMut(&StoredEvent) -> anyhow::Result<()>) -> anyhow::Result<()> {
    of_file(path, |line| match line {
        Ok(Line::Event(event)) => take(&event.stored),
        Ok(Line::Checkpoint(_)) => Ok(()),
        Err(junk) if junk.is_ocsf => bail!(
            "{} is an export for others (OCSF), which does not hold everything; write one with `audit export --format jsonl`",
            path.display()
        ),
        Err(junk) => bail!("{} is no export of `portcullis audit export`: {junk}", path.display()),
    })
}

/// A file that is damaged is read as far as it can be: a replay proves nothing, and says what is wrong.
fn of_store(path: &Path, take: &mut dyn FnMut(&StoredEvent) -> anyhow::Result<()>) -> anyhow::Result<Option<String>> {
    let mut failed = None;
    let report = verify_file(path, &[], &[], |event| {
        if failed.is_none() {
            failed = take(event).err();
        }
    });
    let report = report.with_context(|| format!("{} cannot be replayed", path.display()))?;
    if let Some(error) = failed {
        return Err(error);
    }
    let problem = report.problems.first().map(|problem| anyhow!("{problem}"));
    Ok(problem.map(|first| {
        let count = report.problems.len();
        format!("the log has problems ({count}), which `audit verify --store` shows; the first: {first}")
    }))
}
