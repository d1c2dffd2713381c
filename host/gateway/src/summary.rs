//! What `portcullis check` says of a configuration that holds together.

use crate::config::{Loaded, PolicyMode, Role, TargetTls};
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
        line("", format!("past {chain}; {} labelled columns", target.column_labels.len()));
    }
    for policy in &file.policies {
        let mode = if policy.mode == PolicyMode::Enforce { "enforced" } else { "only watched" };
        line("policy", format!("{} from {} ({mode})", policy.name, policy.package.display()));
    }
    let audit = if file.audit.enabled { format!("{:?}", file.audit.durability).to_lowercase() } else { "off".into() };
    line("audit", audit);
    for token in file.admin.iter().flat_map(|admin| &admin.tokens) {
        let role = match token.role {
            Role::Reviewer => "reviewer",
            Role::Auditor => "auditor",
            Role::Operator => "operator",
        };
        line("admin", format!("{} as {role}", token.name));
    }
    out.push_str("The configuration is good.\n");
    out
}
