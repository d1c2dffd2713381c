//! From `[[audit.sink]]` and `[[approvals.webhook]]` to what delivers to them.

use std::path::Path;

use portcullis_deliver::{Content, Destination, Format, Sink, SyslogAddress, Webhook};
use secrecy::SecretString;

use super::model::{self, File, SinkContent, SinkFormat, WebhookFormat};
use super::problem::{Report, Step, at};
use super::resolve::warn_if_open;
use super::secret::SecretRef;
use super::tls;
use crate::address::Address;

/// The way out, where a sink goes nowhere.
const SINK_HINT: &str = "write \"file:path\", \"syslog+udp://host:port\", \"syslog+tcp://host:port\", \"syslog+unix:/path\" or \
                         \"https://…\"";

/// The way out, where a URL may not be used.
const URL_HINT: &str = "write an https:// URL without a name, a password or a `#`; http:// is for this machine";

/// The way to a key of the table that is read.
type Place<'a> = &'a dyn Fn(&str) -> Vec<Step>;

/// Where the audit's events and checkpoints go.
pub(super) fn sinks(file: &File, base: &Path, report: &mut Report) -> Vec<Sink> {
    let sinks = file.audit.sinks.iter().enumerate();
    let sinks: Vec<_> = sinks
        .filter_map(|(i, item)| Some((i, sink(item, &|key| at!["audit", "sink", i, key], base, report)?)))
        .collect();
    for (i, sink) in &sinks {
        if let Destination::File(path) = &sink.to {
            directory(path, &base.join(&file.data_dir), at!["audit", "sink", *i, "to"], report);
        }
    }
    sinks.into_iter().map(|(_, sink)| sink).collect()
}

/// Reports a file that could not be made where it is to be. The gateway makes its own directory before.
fn directory(file: &Path, data_dir: &Path, place: Vec<Step>, report: &mut Report) {
    let Some(dir) = file.parent().filter(|dir| *dir != data_dir && !dir.is_dir()) else { return };
    let shown = dir.display();
    report.error(place, format!("there is no directory {shown}"), &format!("mkdir -p {shown}"));
}

fn sink(sink: &model::Sink, place: Place<'_>, base: &Path, report: &mut Report) -> Option<Sink> {
    let to = destination(sink, place, base, report)?;
    let content = match sink.send {
        SinkContent::Events => Content::Events,
        SinkContent::Checkpoints => Content::Checkpoints,
        SinkContent::Both => Content::Both,
    };
    let format = match sink.format {
        SinkFormat::Jsonl => Format::Jsonl,
        SinkFormat::Ocsf => Format::Ocsf,
    };
    let made = Sink { name: sink.name.clone(), content, format, to };
    made.check().map_err(|why| report.error(place("to"), why, "")).ok()?;
    Some(made)
}

fn destination(sink: &model::Sink, place: Place<'_>, base: &Path, report: &mut Report) -> Option<Destination> {
    let is_url = sink.to.starts_with("https:") || sink.to.starts_with("http:");
    for (key, given) in [("token", sink.token.is_some()), ("ca", sink.ca.is_some())] {
        if given && !is_url {
            report.error(place(key), format!("`{key}` has an effect for a URL only"), "remove it");
        }
    }
    let to = place("to");
    if is_url {
        Address::guarded(&sink.to).map_err(|why| report.error(to, why, URL_HINT)).ok()?;
        let token = secret(sink.token.as_ref(), place("token"), base, report)?;
        let ca = authorities(sink.ca.as_deref(), place("ca"), base, report)?;
        return Some(Destination::Http { url: sink.to.clone(), token, ca });
    }
    if let Some(path) = sink.to.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Some(Destination::File(base.join(path)));
    }
    let address = sink.to.strip_prefix("syslog+").ok_or_else(|| "this is no place that events can go to".to_owned());
    let address = address.and_then(|address| address.parse::<SyslogAddress>());
    Some(Destination::Syslog(address.map_err(|why| report.error(to, why, SINK_HINT)).ok()?))
}

/// Who is told of approval requests.
pub(super) fn webhooks(file: &File, base: &Path, report: &mut Report) -> Vec<Webhook> {
    let webhooks = file.approvals.webhooks.iter().enumerate();
    webhooks.filter_map(|(i, item)| webhook(item, &|key| at!["approvals", "webhook", i, key], base, report)).collect()
}

fn webhook(webhook: &model::Webhook, place: Place<'_>, base: &Path, report: &mut Report) -> Option<Webhook> {
    let at_url = place("url");
    let url = match SecretRef::try_from(toml::Value::from(webhook.url.as_str())) {
        Ok(reference) => {
            warn_if_open(&reference, base, &at_url, report);
            let read = reference.text(base);
            read.map_err(|why| report.error(at_url.clone(), why, "")).ok()?.to_string()
        }
        Err(_) => webhook.url.clone(),
    };
    Address::guarded(&url).map_err(|why| report.error(at_url, why, URL_HINT)).ok()?;
    let format = match webhook.format {
        WebhookFormat::Json => portcullis_deliver::WebhookFormat::Json,
        WebhookFormat::Slack => portcullis_deliver::WebhookFormat::Slack,
    };
    let secret = secret(webhook.secret.as_ref(), place("secret"), base, report)?;
    let ca = authorities(webhook.ca.as_deref(), place("ca"), base, report)?;
    let made = Webhook { name: webhook.name.clone(), url, secret, format, reviewer: webhook.reviewer.clone(), ca };
    made.check().map_err(|why| report.error(place("url"), why, "")).ok()?;
    Some(made)
}

/// The secret, if one is named; none where it cannot be read.
fn secret(
    reference: Option<&SecretRef>,
    place: Vec<Step>,
    base: &Path,
    report: &mut Report,
) -> Option<Option<SecretString>> {
    let Some(reference) = reference else { return Some(None) };
    warn_if_open(reference, base, &place, report);
    let text = reference.text(base).map_err(|why| report.error(place, why, "")).ok()?;
    Some(Some(text.as_str().into()))
}

/// The authorities in PEM, if some are named; none where they cannot be used.
fn authorities(path: Option<&Path>, place: Vec<Step>, base: &Path, report: &mut Report) -> Option<Option<Vec<u8>>> {
    let Some(path) = path else { return Some(None) };
    tls::pem(&base.join(path)).map(Some).map_err(|why| report.error(place, why, "")).ok()
}
