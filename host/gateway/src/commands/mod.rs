//! The commands that talk to a running gateway, or read what it has written.

mod approvals;
mod audit;
pub(crate) mod log;
mod recording;
mod sessions;
mod verify;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::client::Client;
use crate::show::{json_lines, safe};

pub(crate) use approvals::approvals;
pub(crate) use audit::audit;
pub(crate) use sessions::sessions;

/// `portcullis reload`
pub(crate) fn reload(remote: &Remote) -> anyhow::Result<()> {
    let answer = Client::new(&remote.access)?.post("reload", &json!({}))?;
    print(remote, answer, |answer: Value| format!("{}\n", safe(answer["reloaded"].as_str().unwrap_or("reloaded"))))
}

/// Prints an answer as JSON, or in the words of `words`.
pub(crate) fn print<T: DeserializeOwned>(
    remote: &Remote,
    answer: Value,
    words: impl FnOnce(T) -> String,
) -> anyhow::Result<()> {
    let text = if remote.json {
        json_lines(&format!("{answer:#}\n"))
    } else {
        words(T::deserialize(answer).context("the gateway's answer is not understood; is it of another version?")?)
    };
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// Prints a list of answers the same way.
fn print_all<T: DeserializeOwned>(
    remote: &Remote,
    items: impl Iterator<Item = anyhow::Result<Value>>,
    words: impl FnOnce(Vec<T>) -> String,
) -> anyhow::Result<()> {
    print(remote, items.collect::<anyhow::Result<_>>()?, words)
}

/// Where an export goes: a file that only its owner reads, or standard output.
fn output(path: Option<&Path>) -> anyhow::Result<BufWriter<Box<dyn Write>>> {
    let to: Box<dyn Write> = match path {
        Some(path) => Box::new(create(path).with_context(|| format!("{} cannot be written", path.display()))?),
        // It is not escaped for terminals, so that programs read what was recorded.
        None if std::io::stdout().is_terminal() => {
            bail!("an export is for programs: name a file with `--output`, or pipe it")
        }
        None => Box::new(std::io::stdout().lock()),
    };
    Ok(BufWriter::new(to))
}

fn create(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}
