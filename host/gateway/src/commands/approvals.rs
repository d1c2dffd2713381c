//! `portcullis approvals …`

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use portcullis_verdict::{ApprovalState, ApprovalView};
use serde_json::{Value, json};

use super::{print, print_all};
use crate::cli::{ApprovalsCommand, Decision, Remote};
use crate::client::{Client, Refusal, segment};
use crate::follow::{Message, Pauses, follow};
use crate::show;

/// Ended requests that are listed.
const ENDED: usize = 1000;

pub(crate) fn approvals(command: ApprovalsCommand) -> anyhow::Result<()> {
    match command {
        ApprovalsCommand::List { all, remote } => {
            let client = Client::new(&remote.access)?;
            let most = if all { ENDED } else { usize::MAX };
            let items = client.items("approvals", &[("all", all.to_string())], None, most);
            print_all(&remote, items, |views: Vec<ApprovalView>| show::approvals(&views))
        }
        ApprovalsCommand::Show { id, remote } => {
            let answer = Client::new(&remote.access)?.get(&format!("approvals/{}", segment(&id)?));
            let answer = answer.map_err(|error| as_typed(error, &id))?;
            print(&remote, answer, |view: ApprovalView| show::approval(&view))
        }
        ApprovalsCommand::Approve { decision, break_glass } => {
            let reason = decision.reason.as_deref().unwrap_or_default();
            decide(&decision, "approve", &json!({ "reason": reason, "break_glass": break_glass }))
        }
        ApprovalsCommand::Deny(decision) => {
            let reason = decision.reason.as_deref().unwrap_or_default();
            decide(&decision, "deny", &json!({ "reason": reason }))
        }
        ApprovalsCommand::Watch { remote } => watch(&remote),
    }
}

fn decide(decision: &Decision, verb: &str, words: &Value) -> anyhow::Result<()> {
    let Decision { id, reason: _, remote } = decision;
    let answer = Client::new(&remote.access)?.post(&format!("approvals/{}/{verb}", segment(id)?), words);
    let answer = answer.map_err(|error| as_typed(error, id))?;
    print(remote, answer, |view: ApprovalView| show::approval(&view))
}

/// The gateway reads an identifier as it may have been meant, and says that; people look for what they have typed.
fn as_typed(error: anyhow::Error, id: &str) -> anyhow::Error {
    match error.downcast_ref::<Refusal>() {
        Some(refusal) if refusal.status == 404 => {
            anyhow::anyhow!(
                "there is no approval {id}; `portcullis approvals list` shows the open ones, with `--all` the others"
            )
        }
        _ => error,
    }
}

fn watch(remote: &Remote) -> anyhow::Result<()> {
    let client = Client::new(&remote.access)?;
    let mut seen = Seen::default();
    follow(&client, "approvals/watch", Pauses::default(), |message| {
        if let Some(view) = seen.news(message)? {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
            let line = if remote.json { show::json_lines(&message.data) + "\n" } else { show::change(&view, now) };
            let mut out = std::io::stdout().lock();
            out.write_all(line.as_bytes())?;
            out.flush()?;
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// The open requests that were shown, so that a stream that begins anew does not tell them again.
#[derive(Default)]
struct Seen(BTreeMap<String, ApprovalView>);

impl Seen {
    /// The request that a message is about, if it has changed.
    fn news(&mut self, message: &Message) -> anyhow::Result<Option<ApprovalView>> {
        if message.name != "approval" {
            return Ok(None);
        }
        let view: ApprovalView = serde_json::from_str(&message.data)
            .context("the gateway's message is not understood; is it of another version?")?;
        let before = match view.state {
            ApprovalState::Open => self.0.insert(view.id.clone(), view.clone()),
            _ => {
                self.0.remove(&view.id);
                None
            }
        };
        Ok((before.as_ref() != Some(&view)).then_some(view))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(state: &str, approvers: &[&str]) -> Message {
        let view = json!({
            "number": 1, "id": "k7wz", "state": state, "session": "s", "sequence": 7, "principal": "alice", "target": "shop",
            "text": "DROP TABLE orders", "digest": "ab", "parameters": [], "demands": [], "approvers": approvers,
            "broken_glass": false, "waiting": true, "opened_ms": 1, "expires_ms": 2, "reason": null, "decided": null,
        });
        Message { name: "approval".into(), data: view.to_string() }
    }

    #[test]
    fn each_change_is_told_once() {
        let mut seen = Seen::default();
        let mut told = |message| seen.news(&message).unwrap().is_some();
        assert!(told(message("open", &[])));
        assert!(!told(message("open", &[])), "the stream has begun anew");
        assert!(told(message("open", &["bob"])));
        assert!(told(message("approved", &["bob", "eve"])));
        assert!(!told(Message { name: "later".into(), data: "?".into() }), "what is not known is passed over");
        assert!(seen.0.is_empty(), "nothing is kept of what has ended");
    }
}
