//! The commands that talk to a running gateway over its HTTP interface.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use portcullis_verdict::{ApprovalView, LiveSession, RecordedSession, StoredEvent};
use secrecy::zeroize::Zeroizing;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::{Method, Request, Uri};

use crate::cli::{ApprovalsCommand, Decision, Remote, SessionsCommand};
use crate::show;

/// Events that are asked for at a time.
const PAGE: usize = 1000;

/// Recorded sessions that are listed.
const RECENT: usize = 50;

/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// `portcullis sessions …`
pub(crate) fn sessions(command: SessionsCommand) -> anyhow::Result<()> {
    match command {
        SessionsCommand::List { recent: false, remote } => {
            let answer = Client::new(&remote)?.list("sessions", "sessions")?;
            print(&remote, &answer, |sessions: Vec<LiveSession>| show::live(&sessions))
        }
        SessionsCommand::List { recent: true, remote } => {
            let answer = Client::new(&remote)?.list(&format!("sessions/recent?limit={RECENT}"), "sessions")?;
            print(&remote, &answer, |sessions: Vec<RecordedSession>| show::recent(&sessions))
        }
        SessionsCommand::Show { id, remote } => {
            let answer = events(&Client::new(&remote)?, &id)?;
            print(&remote, &answer, |events: Vec<StoredEvent>| show::story(&events))
        }
        SessionsCommand::Kill { id, remote } => {
            let answer =
                Client::new(&remote)?.call(Method::DELETE, &format!("sessions/{}", segment(&id)?), Value::Null)?;
            print(&remote, &answer, |_: Value| format!("session {id} is ended\n"))
        }
    }
}

/// `portcullis approvals …`
pub(crate) fn approvals(command: ApprovalsCommand) -> anyhow::Result<()> {
    match command {
        ApprovalsCommand::List { all, remote } => {
            let answer = Client::new(&remote)?.list(&format!("approvals?all={all}"), "approvals")?;
            print(&remote, &answer, |views: Vec<ApprovalView>| show::approvals(&views))
        }
        ApprovalsCommand::Show { id, remote } => {
            let answer = Client::new(&remote)?.get(&format!("approvals/{}", segment(&id)?))?;
            print(&remote, &answer, |view: ApprovalView| show::approval(&view))
        }
        ApprovalsCommand::Approve(decision) => decide(&decision, "approve"),
        ApprovalsCommand::Deny(decision) => decide(&decision, "deny"),
    }
}

fn decide(decision: &Decision, verb: &str) -> anyhow::Result<()> {
    let Decision { id, reason, remote } = decision;
    let path = format!("approvals/{}/{verb}", segment(id)?);
    let answer = Client::new(remote)?.post(&path, json!({ "reason": reason }))?;
    print(remote, &answer, |view: ApprovalView| show::approval(&view))
}

/// `portcullis reload`
pub(crate) fn reload(remote: &Remote) -> anyhow::Result<()> {
    let answer = Client::new(remote)?.post("reload", json!({}))?;
    print(remote, &answer, |answer: Value| {
        format!("{}\n", show::safe(answer["reloaded"].as_str().unwrap_or("reloaded")))
    })
}

/// Every event of a session, in pages: a long session does not fit in one answer.
fn events(client: &Client, id: &str) -> anyhow::Result<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = client.list(&format!("sessions/{}/events?after={after}&limit={PAGE}", segment(id)?), "events")?;
        let Value::Array(page) = page else { bail!("the gateway gave an answer that is no list of events") };
        after = page.last().and_then(|event| event["number"].as_u64()).unwrap_or(after);
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return Ok(Value::Array(all));
        }
    }
}

/// Prints an answer as JSON, or in the words of `words`.
fn print<T: DeserializeOwned>(remote: &Remote, answer: &Value, words: impl FnOnce(T) -> String) -> anyhow::Result<()> {
    let text = if remote.json {
        // JSON escapes controls, and the terminal's other tricks are spelt out here.
        show::safe_lines(&format!("{answer:#}\n"))
    } else {
        let read =
            T::deserialize(answer).context("the gateway's answer is not understood; is it of another version?")?;
        words(read)
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// What may stand in a path: identifiers have no other characters.
fn segment(id: &str) -> anyhow::Result<&str> {
    let legal = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !legal {
        let id = show::safe(id);
        bail!("`{id}` is no identifier; `portcullis sessions list` and `portcullis approvals list` show them");
    }
    Ok(id)
}

/// Where the interface's paths begin. Without a scheme it is HTTP, on this machine only: to another, the token would travel in
/// plain text without anybody having said so.
fn base(admin: &str) -> anyhow::Result<String> {
    let (admin, has_scheme) = (admin.trim_end_matches('/'), admin.contains("://"));
    let url = if has_scheme { admin.to_owned() } else { format!("http://{admin}") };
    let uri: Option<Uri> = url.parse().ok();
    let Some(host) = uri.as_ref().and_then(Uri::host) else {
        bail!("`--admin` is no address: `{admin}`; write one such as http://127.0.0.1:9432");
    };
    let is_local = |ip: IpAddr| ip.is_loopback();
    if !has_scheme && host != "localhost" && !host.trim_matches(['[', ']']).parse().is_ok_and(is_local) {
        bail!("`--admin {admin}` is another machine, where your token travels in plain text; if it may, write {url}");
    }
    Ok(format!("{url}/v1"))
}

struct Client {
    agent: ureq::Agent,
    base: String,
    token: Zeroizing<String>,
}

impl Client {
    fn new(remote: &Remote) -> anyhow::Result<Self> {
        // Nothing carries the token to where the user did not send it.
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)));
        let base = base(&remote.admin)?;
        Ok(Self { agent: config.build().new_agent(), base, token: token(remote.token_file.as_deref())? })
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, Value::Null)
    }

    /// A list, which the answer holds under this key.
    fn list(&self, path: &str, key: &str) -> anyhow::Result<Value> {
        Ok(self.get(path)?[key].take())
    }

    fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, body)
    }

    fn call(&self, method: Method, path: &str, body: Value) -> anyhow::Result<Value> {
        let request = Request::builder().method(method).uri(format!("{}/{path}", self.base));
        let request = request.header("authorization", format!("Bearer {}", *self.token));
        let sent = if body.is_null() {
            self.agent.run(request.body(())?)
        } else {
            self.agent.run(request.header("content-type", "application/json").body(body.to_string())?)
        };
        let unreachable = || format!("the gateway does not answer at {}; `--admin` says where it is", self.base);
        let mut response = sent.with_context(unreachable)?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = text.with_context(|| format!("the answer of {} is cut short", self.base))?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        match answer {
            _ if status.as_u16() == 401 => bail!("the gateway does not know this token"),
            Some(answer) if status.is_success() => Ok(answer),
            None if status.is_success() && text.trim().is_empty() => Ok(Value::Null),
            Some(Value::Object(answer)) if answer.get("error").is_some_and(Value::is_string) => {
                bail!("{}", answer["error"].as_str().unwrap_or_default())
            }
            _ => bail!("{} answered {status}; is that a portcullis gateway's HTTP interface?", self.base),
        }
    }
}

fn token(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    let token = match file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?,
        None => std::env::var("PORTCULLIS_TOKEN").map_err(|_| {
            anyhow::anyhow!("there is no token: set the environment variable PORTCULLIS_TOKEN, or give `--token-file`")
        })?,
    };
    let token = Zeroizing::new(token);
    let trimmed = token.trim();
    if trimmed.is_empty() || !trimmed.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("the token is empty or holds characters that no token has");
    }
    Ok(Zeroizing::new(trimmed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn a_bare_address_is_one_of_this_machine() {
        for (admin, expected) in [
            ("127.0.0.1:9432", "http://127.0.0.1:9432/v1"),
            ("localhost:9432/", "http://localhost:9432/v1"),
            ("[::1]:9432", "http://[::1]:9432/v1"),
            ("http://gate.example:9432/", "http://gate.example:9432/v1"),
            ("https://gate.example/portcullis", "https://gate.example/portcullis/v1"),
        ] {
            assert_eq!(base(admin).unwrap(), expected);
        }
        for (admin, expected) in [
            ("gate.example:9432", "write http://gate.example:9432"),
            ("localhost@gate.example:9432", "another machine"),
            ("127.0.0.1:9432 ", "is no address"),
            ("", "is no address"),
        ] {
            let error = base(admin).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
