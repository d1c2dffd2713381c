//! `portcullis audit …`

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use portcullis_deliver::{Format, checkpoint_line, event_line};
use portcullis_verdict::{Head, StoredEvent};

use super::log::{Line, of_gateway};
use super::{output, print, print_all, verify};
use crate::cli::{Access, AuditCommand, ExportFormat, Search};
use crate::client::Client;
use crate::{show, time};

pub(crate) fn audit(command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Search(search) => {
            if let (Some(from), Some(to)) = (search.from, search.to)
                && from >= to
            {
                bail!("nothing lies between: `--from` {} is not before `--to` {}", time::shown(from), time::shown(to));
            }
            let client = Client::new(&search.remote.access)?;
            let items = client.items("audit/events", &query(&search), None, search.limit as usize);
            print_all(&search.remote, items, |events: Vec<StoredEvent>| show::found(&events))?;
        }
        AuditCommand::Export { format, after, output, access } => export(format, after, output.as_deref(), &access)?,
        AuditCommand::Verify(args) => return verify::verify(&args),
        AuditCommand::Head { remote } => {
            let answer = Client::new(&remote.access)?.get("audit/head")?;
            print(&remote, answer, |head: Head| show::head(&head))?;
        }
        AuditCommand::Key { access } => {
            let head: Head = Client::new(&access)?.get("audit/head")?;
            writeln!(std::io::stdout(), "{}", show::safe(&head.public_key))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A search as the interface takes it.
fn query(search: &Search) -> Vec<(&'static str, String)> {
    let texts = [
        ("principal", &search.principal),
        ("target", &search.target),
        ("session", &search.session),
        ("text", &search.text),
        ("verdict", &search.verdict),
        ("policy", &search.policy),
        ("kind", &search.kind),
    ];
    let texts = texts.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    let times = [("from_ms", search.from), ("to_ms", search.to)];
    let times = times.into_iter().filter_map(|(key, value)| Some((key, value?.to_string())));
    texts.chain(times).collect()
}

fn export(format: ExportFormat, after: u64, to: Option<&Path>, access: &Access) -> anyhow::Result<()> {
    let client = Client::new(access)?;
    let mut out = output(to)?;
    let head: Head = client.get("audit/head")?;
    let mut events = 0;
    of_gateway(&client, &head, after, |line| {
        let text = match (&line, format) {
            (Line::Event(event), ExportFormat::Jsonl) => event_line(event, Format::Jsonl),
            (Line::Event(event), ExportFormat::Ocsf) => event_line(event, Format::Ocsf),
            (Line::Checkpoint(checkpoint), ExportFormat::Jsonl) => checkpoint_line(checkpoint),
            // It is no event of anybody's.
            (Line::Checkpoint(_), ExportFormat::Ocsf) => return Ok(()),
        };
        events += u64::from(matches!(line, Line::Event(_)));
        Ok(writeln!(out, "{text}")?)
    })?;
    out.flush()?;
    eprintln!("{events} events were exported");
    Ok(())
}
