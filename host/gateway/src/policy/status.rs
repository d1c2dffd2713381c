//! The policies of a running gateway.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::cli::Remote;
use crate::client::{Client, segment};
use crate::commands::print;
use crate::show::safe;

#[derive(Deserialize)]
struct Status {
    generation: u64,
    last_refusal: Option<Refusal>,
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
struct Refusal {
    step: String,
    reason: String,
    at_ms: i64,
}

#[derive(Deserialize)]
struct Policy {
    name: String,
    digest: String,
    mode: String,
    state: String,
    calls: u64,
    faults: u64,
    last_fault: Option<String>,
    last_backtrace: Option<String>,
    canary: Option<u8>,
    origin: Option<Origin>,
}

#[derive(Deserialize)]
struct Origin {
    version: String,
    source: String,
    artifact: Option<String>,
    signers: Vec<String>,
    since_ms: i64,
    rolled_back: bool,
    previous: Option<String>,
}

/// `portcullis policy status`
pub(super) fn status(remote: &Remote) -> anyhow::Result<()> {
    let answer = Client::new(&remote.access)?.get("policies")?;
    print(remote, answer, |status: Status| words(&status))
}

/// `portcullis policy rollback`
pub(super) fn rollback(policy: &str, remote: &Remote) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Done {
        rolled_back: String,
    }
    let path = format!("policies/{}/rollback", segment(policy)?);
    let answer = Client::new(&remote.access)?.post(&path, &json!({}))?;
    print(remote, answer, |done: Done| format!("{}\n", safe(&done.rolled_back)))
}

fn words(status: &Status) -> String {
    let mut text = format!("generation {}\n", status.generation);
    for policy in &status.policies {
        let canary = policy.canary.map_or(String::new(), |percent| format!(", canary {percent} %"));
        let version = policy.origin.as_ref().map_or(String::new(), |origin| format!(" {}", safe(&origin.version)));
        let (name, mode, state) = (safe(&policy.name), safe(&policy.mode), safe(&policy.state));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\n{name}{version}: {mode}{canary}, {state}, {} calls, {} faults",
            policy.calls, policy.faults
        );
        if let Some(origin) = &policy.origin {
            let since = time(origin.since_ms);
            let _ = writeln!(text, "  from      {}, since {since}", safe(&origin.source));
            if let Some(artifact) = &origin.artifact {
                let _ = writeln!(text, "  artifact  {}", safe(artifact));
            }
            if !origin.signers.is_empty() {
                let _ = writeln!(text, "  signed by {}", safe(&origin.signers.join(", ")));
            }
            if origin.rolled_back {
                let _ = writeln!(text, "  rolled back; the configuration names another package or other settings");
            }
            if let Some(previous) = &origin.previous {
                let _ = writeln!(text, "  before    {}", safe(previous));
            }
        }
        let _ = writeln!(text, "  component sha256:{}", safe(&policy.digest));
        if let Some(fault) = &policy.last_fault {
            let _ = writeln!(text, "  last fault: it {}", safe(fault));
        }
        for line in policy.last_backtrace.iter().flat_map(|trace| trace.lines()) {
            let _ = writeln!(text, "    {}", safe(line));
        }
    }
    if let Some(Refusal { step, reason, at_ms }) = &status.last_refusal {
        let _ = writeln!(
            text,
            "\nthe newest change was refused at {}, at the step `{}`:\n  {}",
            time(*at_ms),
            safe(step),
            safe(reason)
        );
    }
    text
}

fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .map_or_else(|_| "an unknown time".into(), |time| time.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}
