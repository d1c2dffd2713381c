//! What `portcullis check` says of a configuration that holds together.

use crate::config::{Audit, Loaded, OnFailure, PolicyMode, Record, TargetTls};
use crate::show::safe;

/// Who may connect where, past which policies.
pub(crate) fn summary(loaded: &Loaded) -> String {
    let file = &loaded.file;
    let mut out = String::new();
    let mut line = |name: &str, text: String| out.push_str(&format!("{name:<9}{}\n", safe(&text)));
    let clients = match &file.postgres.tls {
        Some(tls) if tls.required => "TLS only",
        Some(_) => "TLS if the client wants it",
        None => "plain text",
    };
    let addresses: Vec<String> = file.postgres.listen.iter().map(ToString::to_string).collect();
    line("listens", format!("{} ({clients})", addresses.join(", ")));
    for user in &file.users {
        let credentials =
            [user.scram.as_ref().map(|_| "password"), user.certificate_cn.as_ref().map(|_| "certificate")];
        let credentials: Vec<&str> = credentials.into_iter().flatten().collect();
        let targets = user.targets.as_ref().map_or("every target".into(), |targets| targets.join(", "));
        let groups = if user.groups.is_empty() { "in no group".into() } else { user.groups.join(", ") };
        line("user", format!("{} ({groups}) by {} to {targets}", user.name, credentials.join(" or ")));
    }
    for target in &file.targets {
        let tls = if target.tls == TargetTls::VerifyFull { "TLS, verified" } else { "plain text" };
        let (name, host, port, database) = (&target.name, &target.host, target.port, &target.database);
        line("target", format!("{name} is {database} at {host}:{port} as {} ({tls})", target.user));
        let chain = if target.policies.is_empty() { "no policy".into() } else { target.policies.join(" > ") };
        let recorded = match target.record {
            Record::None => "no recordings",
            Record::Commands => "commands are recorded",
            Record::Results => "commands and results are recorded",
        };
        line("", format!("past {chain}; {} labelled columns; {recorded}", target.column_labels.len()));
    }
    for policy in &file.policies {
        let mode = match (policy.mode, policy.canary) {
            (PolicyMode::Monitor, _) => "only watched".to_owned(),
            (PolicyMode::Enforce, None) => "enforced".to_owned(),
            (PolicyMode::Enforce, Some(percent)) => format!("enforced in {percent} % of the sessions"),
        };
        line("policy", format!("{} from {} ({mode})", policy.name, policy.package));
    }
    line("audit", audit(&file.audit));
    for sink in &loaded.sinks {
        // Its path or query may hold a secret.
        line("sink", format!("{} to {}", sink.name, sink.to.shown()));
    }
    for webhook in &file.approvals.webhooks {
        // Not where to: whoever knows some services' URLs may write there.
        let links = webhook.reviewer.as_ref().map_or("without links".into(), |name| format!("with links for {name}"));
        line("webhook", format!("{} {links}", webhook.name));
    }
    for token in &loaded.tokens {
        let glass = if token.break_glass { ", may break glass" } else { "" };
        line("admin", format!("{} as {}{glass}", token.name, token.role.as_str()));
    }
    out.push_str("The configuration is good.\n");
    out
}

fn audit(audit: &Audit) -> String {
    if !audit.enabled {
        return "off".into();
    }
    let failure = if audit.on_failure == OnFailure::Continue { "; commands run unrecorded while it fails" } else { "" };
    let keep = match (audit.keep_days, audit.keep_mib) {
        (0, 0) => "for ever".into(),
        (days, 0) => format!("for {days} days"),
        (0, mib) => format!("up to {mib} MiB"),
        (days, mib) => format!("for {days} days and up to {mib} MiB"),
    };
    format!("{}; kept {keep}{failure}", format!("{:?}", audit.durability).to_lowercase())
}
