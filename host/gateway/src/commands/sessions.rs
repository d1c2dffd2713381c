//! `portcullis sessions …`

use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::{Context, bail};
use portcullis_recording::replay::Renderer;
use portcullis_verdict::{LiveSession, RecordedSession, StoredEvent, TimedEntry};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{print, print_all, recording};
use crate::cli::{Remote, SessionsCommand};
use crate::client::{Client, segment};
use crate::follow::{Message, Pauses, follow};
use crate::show;

/// Recorded sessions that are listed.
const RECENT: usize = 50;

pub(crate) fn sessions(command: SessionsCommand) -> anyhow::Result<ExitCode> {
    match command {
        SessionsCommand::List { recent: false, remote } => {
            let client = Client::new(&remote.access)?;
            let items = client.items("sessions", &[], None, usize::MAX);
            print_all(&remote, items, |sessions: Vec<LiveSession>| show::live(&sessions))?;
        }
        SessionsCommand::List { recent: true, remote } => {
            let client = Client::new(&remote.access)?;
            let items = client.items("sessions/recent", &[], None, RECENT);
            print_all(&remote, items, |sessions: Vec<RecordedSession>| show::recent(&sessions))?;
        }
        SessionsCommand::Show { id, remote } => {
            let client = Client::new(&remote.access)?;
            let items = client.items(&format!("sessions/{}/events", segment(&id)?), &[], None, usize::MAX);
            print_all(&remote, items, |events: Vec<StoredEvent>| show::story(&events))?;
        }
        SessionsCommand::Kill { id, remote } => {
            let answer = Client::new(&remote.access)?.delete(&format!("sessions/{}", segment(&id)?))?;
            print(&remote, answer, |_: Value| format!("session {id} is ended\n"))?;
        }
        SessionsCommand::Watch { id, remote } => watch(&id, &remote)?,
        SessionsCommand::Replay(replay) => return recording::replay(replay),
        SessionsCommand::Export { recording, format, output, access } => {
            return recording::export(&recording, format, output.as_deref(), &access);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn watch(id: &str, remote: &Remote) -> anyhow::Result<()> {
    let client = Client::new(&remote.access)?;
    let path = format!("sessions/{}/watch", segment(id)?);
    let mut live = client.items::<LiveSession>("sessions", &[], None, usize::MAX);
    let session = live.find(|session| session.as_ref().map_or(true, |session| session.id == id)).transpose()?;
    let Some(LiveSession { principal, target, .. }) = session else {
        bail!("no such session is open; `portcullis sessions list` shows those that are");
    };
    let mut watcher = Watcher { renderer: Renderer::new(&principal, &target), json: remote.json };
    follow(&client, &path, Pauses::default(), |message| watcher.take(message, &mut std::io::stdout().lock()))
}

/// Shows what a session's client sees. What is not of the session itself goes to standard error.
struct Watcher {
    renderer: Renderer,
    json: bool,
}

#[derive(Deserialize)]
struct Level {
    level: String,
}

#[derive(Deserialize)]
struct Lost {
    count: u64,
}

impl Watcher {
    fn take(&mut self, message: &Message, out: &mut impl Write) -> anyhow::Result<ControlFlow<()>> {
        match message.name.as_str() {
            "level" => {
                let Level { level } = read(message)?;
                let seen = if level == "results" { "commands and results" } else { "commands, and no results" };
                eprintln!("watching {seen}");
            }
            "entry" if self.json => {
                out.write_all((show::json_lines(&message.data) + "\n").as_bytes())?;
                out.flush()?;
            }
            "entry" => {
                let timed: TimedEntry = read(message)?;
                out.write_all(&self.renderer.render(&timed.entry))?;
                out.flush()?;
            }
            "lost" => {
                let Lost { count } = read(message)?;
                eprintln!("{count} entries were not shown: they came too fast");
            }
            "end" => {
                eprintln!("the session has ended");
                return Ok(ControlFlow::Break(()));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn read<T: DeserializeOwned>(message: &Message) -> anyhow::Result<T> {
    serde_json::from_str(&message.data).context("the gateway's message is not understood; is it of another version?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_sees_entries_until_the_session_ends() {
        let message = |name: &str, data: &str| Message { name: name.into(), data: data.into() };
        let command =
            message("entry", r#"{"at_micros":5,"type":"command","sequence":1,"text":"SELECT '\u001b[2J\u202e'"}"#);
        for (json, expected) in
            [(false, "ann@shop=> SELECT '\\u{1b}[2J\\u{202e}'\n".to_owned()), (true, format!("{}\n", command.data))]
        {
            let mut watcher = Watcher { renderer: Renderer::new("ann", "shop"), json };
            let mut out = Vec::new();
            let mut take = |message: &Message| watcher.take(message, &mut out).unwrap();
            assert!(take(&message("level", r#"{"level":"commands"}"#)).is_continue());
            assert!(take(&command).is_continue());
            assert!(take(&message("lost", r#"{"count":3}"#)).is_continue());
            assert!(take(&message("later", "?")).is_continue());
            assert!(take(&message("end", "")).is_break());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
