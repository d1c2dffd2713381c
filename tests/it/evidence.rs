//! What the tests of the audit and of recordings share: a client that keeps its session, and the command line's answers.

use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::gateway::{Gateway, USER_PASSWORD};
use portcullis_tests::process::until;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_postgres::{AsyncMessage, NoTls, SimpleQueryMessage};

/// The longest wait for what is to happen by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A client in one session.
pub(crate) struct Client {
    runtime: Runtime,
    client: tokio_postgres::Client,
    notices: Arc<Mutex<Vec<String>>>,
}

/// Connects over plain TCP; notices go to the list.
pub(crate) async fn connect(
    port: u16,
    user: &str,
    notices: Arc<Mutex<Vec<String>>>,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let config = format!("host=127.0.0.1 port={port} user={user} dbname=shop password={USER_PASSWORD}");
    let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await?;
    tokio::spawn(async move {
        // Whatever ends the connection, the next command tells it.
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notice(notice) = message {
                notices.lock().unwrap().push(format!("{}: {}", notice.severity(), notice.message()));
            }
        }
    });
    Ok(client)
}

/// What the server or the gateway said, or what else went wrong.
pub(crate) fn told(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{}: {}", error.severity(), error.message()),
        None => format!("no answer: {error}"),
    }
}

impl Client {
    pub(crate) fn connect(gateway: &Gateway, user: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let notices = Arc::default();
        let client = runtime.block_on(connect(gateway.port, user, Arc::clone(&notices)));
        let client = client.map_err(|error| anyhow::anyhow!("{}", told(&error)))?;
        Ok(Self { runtime, client, notices })
    }

    /// Runs a text and gives the rows' values, NULL as `-`; or the error.
    pub(crate) fn query(&self, text: &str) -> Result<Vec<String>, String> {
        let messages = self.runtime.block_on(self.client.simple_query(text)).map_err(|error| told(&error))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = |row: &tokio_postgres::SimpleQueryRow| {
            let values: Vec<&str> = (0..row.len()).map(|i| row.get(i).unwrap_or("-")).collect();
            values.join("|")
        };
        Ok(rows.map(row).collect())
    }

    /// Runs a prepared text with these parameters, and gives the number of rows.
    pub(crate) fn execute(&self, text: &str, parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)]) -> u64 {
        self.runtime.block_on(self.client.execute(text, parameters)).unwrap()
    }

    /// The notices and warnings that have come.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.notices.lock().unwrap().clone()
    }
}

/// Both outputs of a program.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What a command of the command line answers with `--json`.
pub(crate) fn json(gateway: &Gateway, arguments: &[&str]) -> Result<Vec<Value>> {
    let answer = gateway.ask("rita", &[arguments, &["--json"]].concat())?;
    Ok(serde_json::from_str(&answer)?)
}

/// The events that a search finds, the newest first.
pub(crate) fn search(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    json(gateway, &[&["audit", "search", "--limit", "10000"], arguments].concat()).unwrap()
}

/// An event's kind and content.
pub(crate) fn event(stored: &Value) -> (&str, &Value) {
    let (kind, content) = stored["event"].as_object().unwrap().iter().next().unwrap();
    (kind, content)
}

/// An event's kind with what is told by it: the text of a command, the tag or error of its end, and the like.
pub(crate) fn brief(stored: &Value) -> String {
    let (kind, content) = event(stored);
    let keys = ["text", "error", "tag", "what", "state", "reason"];
    let told = keys.iter().find_map(|key| content[*key].as_str()).unwrap_or_default();
    format!("{kind} {told}").trim_end().to_owned()
}

/// The only session that is open.
pub(crate) fn only_session(gateway: &Gateway) -> String {
    let live = json(gateway, &["sessions", "list"]).unwrap();
    assert_eq!(live.len(), 1, "{live:?}");
    live[0]["id"].as_str().unwrap().to_owned()
}

/// The newest session, once it has ended and so has its recording, if it has one.
pub(crate) fn ended_session(gateway: &Gateway) -> String {
    until("the session has ended", PATIENCE, || {
        let recent = json(gateway, &["sessions", "list", "--recent"])?;
        let newest = recent.first().context("no session is recorded")?;
        ensure!(newest["ended"].is_string(), "{newest}");
        let id = newest["event"]["Open"]["subject"]["session"].as_str().context("no identifier")?.to_owned();
        let states: Vec<String> =
            search(gateway, &["--session", &id, "--kind", "recording"]).iter().map(brief).collect();
        ensure!(states.len() != 1 || states[0].ends_with("failed"), "it is still written: {states:?}");
        Ok(id)
    })
    .unwrap()
}

/// The public key of the log's signatures.
pub(crate) fn key(gateway: &Gateway) -> String {
    gateway.ask("rita", &["audit", "key"]).unwrap().trim().to_owned()
}

/// Checks a log; true and the report if it holds.
pub(crate) fn verify(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let output = gateway.cli("rita", &[&["audit", "verify"], arguments].concat()).unwrap();
    let (out, err) = texts(&output);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{out}{err}");
    assert_eq!(output.status.success(), out.contains("problems     none"), "{out}{err}");
    (output.status.success(), out + &err)
}
