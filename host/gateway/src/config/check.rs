//! What the shape of the file cannot say: names that must exist, be unique, or belong together.

use std::collections::BTreeSet;

use portcullis_engine::Capability;

use super::model::{
    Admin, Approvals, File, Group, Policy, PolicyMode, Postgres, Record, Target, TargetTls, Token, User, Webhook,
};
use super::problem::{Report, Step, at, nearest};
use crate::address::{Address, is_this_machine};
use crate::packages::reference;
use crate::password::Verifier;

/// Reports everything that is wrong in the file by itself; no other file is read.
pub(crate) fn check(file: &File, report: &mut Report) {
    names(report, &["user"], file.users.iter().map(|user| user.name.as_str()));
    names(report, &["group"], file.groups.iter().map(|group| group.name.as_str()));
    names(report, &["target"], file.targets.iter().map(|target| target.name.as_str()));
    names(report, &["policy"], file.policies.iter().map(|policy| policy.name.as_str()));
    names(report, &["audit", "sink"], file.audit.sinks.iter().map(|sink| sink.name.as_str()));
    names(report, &["approvals", "webhook"], file.approvals.webhooks.iter().map(|webhook| webhook.name.as_str()));
    postgres(&file.postgres, report);
    if file.users.is_empty() {
        report.error(
            at![],
            "there is no [[user]], so nobody could connect",
            "add a [[user]] with a name and a verifier",
        );
    }
    if file.targets.is_empty() {
        report.error(at![], "there is no [[target]], so there is nothing to connect to", "add a [[target]]");
    }
    for (i, item) in file.users.iter().enumerate() {
        user(i, item, file, report);
    }
    for (i, item) in file.groups.iter().enumerate() {
        group(i, item, file, report);
    }
    for (i, item) in file.targets.iter().enumerate() {
        target(i, item, file, report);
    }
    policies(file, report);
    registries(file, report);
    if let Some(item) = &file.admin {
        admin(item, report);
    }
    approvals(&file.approvals, file.admin.as_ref(), report);
    limits(file, report);
    audit(file, report);
    if file.recordings.max_mib == 0 {
        let hint = "at least 1; a target without recordings has `record = \"none\"`";
        report.error(at!["recordings", "max_mib"], "no recording could hold anything", hint);
    }
    if let Err(error) = file.log.level.parse::<tracing_subscriber::EnvFilter>() {
        report.error(
            at!["log", "level"],
            format!("the log level cannot be read: {error}"),
            "such as \"info\" or \"debug\"",
        );
    }
}

fn names<'a>(report: &mut Report, list: &[&str], names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    let (header, what) = (list.join("."), list.last().copied().unwrap_or_default());
    for (i, name) in names.enumerate() {
        let place = list.iter().map(|key| Step::from(*key)).chain(at![i, "name"]).collect();
        if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
            report.error(
                place,
                format!("the {what}'s name is empty, too long or holds control characters"),
                "use 1 to 63 bytes",
            );
        } else if !seen.insert(name) {
            report.error(place, format!("there are two [[{header}]] named `{name}`"), "give each its own name");
        }
    }
}

/// Reports each of `named` that is not among `known`.
fn exist(report: &mut Report, (list, i, key): (&str, usize, &str), named: &[String], what: &str, known: &[&str]) {
    let mut seen = BTreeSet::new();
    for (j, name) in named.iter().enumerate() {
        let place = at![list, i, key, j];
        if !known.contains(&name.as_str()) {
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => format!("there is no [[{what}]] at all"),
                None => format!("there are: {}", known.join(", ")),
            };
            report.error(place, format!("there is no {what} named `{name}`"), &hint);
        } else if !seen.insert(name) {
            report.error(place, format!("`{name}` is named twice"), "remove one of them");
        }
    }
}

fn postgres(postgres: &Postgres, report: &mut Report) {
    if postgres.listen.is_empty() {
        report.error(at!["postgres", "listen"], "there is no address to listen on", "such as [\"127.0.0.1:6432\"]");
    }
    let required = postgres.tls.as_ref().is_some_and(|tls| tls.required);
    for (i, address) in postgres.listen.iter().enumerate() {
        let place = at!["postgres", "listen", i];
        if postgres.listen[..i].contains(address) && address.port() != 0 {
            report.error(place, format!("{address} is named twice"), "remove one of them");
        } else if !address.ip().is_loopback() && !required && !postgres.plaintext {
            let hint = "add [postgres.tls] and leave its `required` at true, or say `plaintext = true` in [postgres]";
            report.error(place, format!("other machines reach {address}, and TLS is not required"), hint);
        }
    }
    if postgres.plaintext && required {
        let hint = "set `required = false` in [postgres.tls], or remove `plaintext`";
        report.error(at!["postgres", "plaintext"], "`plaintext` is set, and TLS is required", hint);
    }
}

fn user(i: usize, user: &User, file: &File, report: &mut Report) {
    let name = &user.name;
    if user.scram.is_none() && user.certificate_cn.is_none() {
        let hint = "add `scram` with what `portcullis users hash-password` prints, or `certificate_cn`";
        report.error(at!["user", i, "name"], format!("user `{name}` has no credential"), hint);
    }
    if let Some(verifier) = &user.scram {
        match verifier.parse::<Verifier>() {
            Err(why) => {
                let hint = "`portcullis users hash-password` makes one; a password itself does not belong here";
                let message = format!("user `{name}` has a malformed SCRAM verifier: {why}");
                report.error(at!["user", i, "scram"], message, hint);
            }
            Ok(read) if read.iterations < 4096 => {
                let message =
                    format!("the verifier of `{name}` has {} iterations; RFC 7677 asks for 4096", read.iterations);
                report.error(at!["user", i, "scram"], message, "make it anew with `portcullis users hash-password`");
            }
            Ok(_) => {}
        }
    }
    let asks = file.postgres.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if user.certificate_cn.is_some() && !asks {
        let message = format!("user `{name}` has a `certificate_cn`, but no client certificates are asked for");
        report.error(at!["user", i, "certificate_cn"], message, "set `client_ca` in [postgres.tls]");
    }
    if user.certificate_cn.as_deref() == Some("") {
        report.error(
            at!["user", i, "certificate_cn"],
            "the common name is empty",
            "name the certificate's common name",
        );
    }
    if user.max_sessions == Some(0) {
        let hint = "allow at least 1; who may not connect is in no [[user]]";
        report.error(at!["user", i, "max_sessions"], "no session could open", hint);
    }
    let known: Vec<&str> = file.targets.iter().map(|target| target.name.as_str()).collect();
    exist(report, ("user", i, "targets"), user.targets.as_deref().unwrap_or_default(), "target", &known);
}

fn group(i: usize, group: &Group, file: &File, report: &mut Report) {
    if group.max_sessions == 0 {
        report.error(at!["group", i, "max_sessions"], "no session could open", "allow at least 1");
    }
    let known: BTreeSet<&str> = file.users.iter().flat_map(|user| &user.groups).map(String::as_str).collect();
    if !known.contains(group.name.as_str()) {
        let near = nearest(&group.name, known.iter().copied());
        let hint = near.map_or("name it in a user's `groups`".into(), |near| format!("did you mean `{near}`?"));
        report.warn(at!["group", i, "name"], format!("nobody is in the group `{}`", group.name), &hint);
    }
}

fn target(i: usize, target: &Target, file: &File, report: &mut Report) {
    let name = &target.name;
    let known: Vec<&str> = file.policies.iter().map(|policy| policy.name.as_str()).collect();
    exist(report, ("target", i, "policies"), &target.policies, "policy", &known);
    if target.policies.is_empty() {
        let message = format!("target `{name}` has no policies: everything is allowed");
        report.warn(at!["target", i, "name"], message, "name its policies in `policies`");
    }
    for (key, value) in [("host", &target.host), ("database", &target.database), ("user", &target.user)] {
        if value.is_empty() || value.contains('\0') {
            report.error(at!["target", i, key], format!("`{key}` is empty or holds a NUL byte"), "");
        }
    }
    if target.port == 0 {
        report.error(at!["target", i, "port"], "port 0 is not a server's", "PostgreSQL's is 5432");
    }
    if target.max_sessions == 0 {
        report.error(at!["target", i, "max_sessions"], "no session could open", "allow at least 1");
    }
    if target.tls == TargetTls::Disable {
        if target.ca.is_some() {
            report.error(at!["target", i, "ca"], "`ca` has no effect with `tls = \"disable\"`", "remove one of them");
        }
        if !is_this_machine(&target.host) {
            let message = format!("queries, results and the login of `{name}` travel in plain text to {}", target.host);
            report.warn(at!["target", i, "tls"], message, "use `tls = \"verify-full\"`");
        }
    }
    if target.record != Record::None && !file.audit.enabled {
        let hint = "remove `enabled = false` in [audit]; it tells what is recorded, and that it is whole";
        report.error(at!["target", i, "record"], "a recording needs the audit, which is off", hint);
    }
    column_labels(i, target, report);
}

fn column_labels(i: usize, target: &Target, report: &mut Report) {
    for (column, labels) in &target.column_labels {
        if column.split('.').count() != 3 || column.split('.').any(str::is_empty) {
            let hint = "write \"schema.table.column\"; a part may be `*`, as in \"public.*.email\"";
            report.error(
                at!["target", i, "column_labels", column.as_str()],
                format!("`{column}` does not name a column"),
                hint,
            );
        }
        if labels.is_empty() || labels.iter().any(String::is_empty) {
            let place = at!["target", i, "column_labels", column.as_str()];
            report.error(
                place,
                format!("`{column}` has no label, or an empty one"),
                "such as [\"pii\", \"pii.email\"]",
            );
        }
    }
}

fn policies(file: &File, report: &mut Report) {
    for (i, policy) in file.policies.iter().enumerate() {
        let name = &policy.name;
        if !file.targets.iter().any(|target| target.policies.contains(name)) {
            report.warn(
                at!["policy", i, "name"],
                format!("no target uses policy `{name}`"),
                "name it in a target's `policies`",
            );
        }
        rollout(i, policy, file, report);
        for capability in &policy.capabilities {
            if capability.parse::<Capability>().is_err() {
                let message = format!("there is no capability `{capability}`");
                let known = Capability::ALL.map(Capability::as_str).join(", ");
                let hint = format!("there are: {known}; `portcullis policy inspect` shows what a policy needs");
                report.error(at!["policy", i, "capabilities"], message, &hint);
            }
        }
    }
}

/// How a policy comes into force: as a canary, or by polling.
fn rollout(i: usize, policy: &Policy, file: &File, report: &mut Report) {
    let (name, mode) = (&policy.name, policy.mode);
    if policy.canary.is_some_and(|percent| !(1..=100).contains(&percent)) {
        let hint = "the percentage of sessions in which it acts: 1 to 100";
        report.error(at!["policy", i, "canary"], "this is no percentage from 1 to 100", hint);
    }
    if policy.canary.is_some() && mode == PolicyMode::Monitor {
        let message = format!("policy `{name}` is a canary and in monitor mode, so that it would act nowhere");
        report.error(at!["policy", i, "mode"], message, "leave out `mode` or `canary`");
    }
    if policy.replaces.is_some() && policy.canary.is_none() {
        let hint = "add `canary` with the percentage of sessions in which it takes the place of the other";
        report.error(at!["policy", i, "replaces"], format!("policy `{name}` is no canary"), hint);
    }
    if policy.poll_s == 0 {
        return;
    }
    let place = at!["policy", i, "poll_s"];
    match reference(&policy.package) {
        // What cannot be read is reported where it is looked for.
        Err(_) => {}
        Ok(None) => {
            let message = format!("policy `{name}` comes from a directory, which is followed in any case");
            report.error(place, message, "remove `poll_s`, or name a place in a registry as `package`");
        }
        Ok(Some(_)) if policy.poll_s < 10 => {
            report.error(place, "a registry is not asked more often than every 10 s", "such as 60");
        }
        Ok(Some(reference)) if reference.version().is_some() => {
            let message = format!("the tag of {reference} is a version, which never means another artifact");
            report.error(place, message, "follow a tag that moves, such as `:1` or `:stable`");
        }
        Ok(Some(reference)) if file.trust.rules.is_empty() => {
            let message =
                format!("nobody has to sign {reference}, so that whoever can push there decides what runs here");
            report.error(place, message, "add a [[trust.rule]] that covers it");
        }
        Ok(Some(_)) => {}
    }
}

fn registries(file: &File, report: &mut Report) {
    names(report, &["trust", "signer"], file.trust.signers.iter().map(|signer| signer.name.as_str()));
    let mut seen = BTreeSet::new();
    for (i, registry) in file.registries.iter().enumerate() {
        let host = registry.host.to_ascii_lowercase();
        if host.is_empty() || host.contains(['/', '@', ' ']) {
            let hint = "a host name, and a port if it is not the usual one, such as \"registry.example:5000\"";
            report.error(at!["registry", i, "host"], "this is not a host", hint);
        } else if !seen.insert(host) {
            report.error(at!["registry", i, "host"], "there are two [[registry]] with this host", "remove one of them");
        }
        if registry.username.is_some() != registry.password.is_some() {
            let message = "a user and a password belong together";
            report.error(at!["registry", i, "host"], message, "give both, or a `token`, or neither");
        }
        if registry.token.is_some() && registry.password.is_some() {
            report.error(at!["registry", i, "token"], "there is a password, too", "give one of them");
        }
    }
}

fn admin(admin: &Admin, report: &mut Report) {
    if !admin.listen.ip().is_loopback() && !admin.plaintext && admin.tls.is_none() {
        let hint = "add [admin.tls], or listen on a loopback address behind something that speaks TLS, or say \
                    `plaintext = true` in [admin]";
        let message = format!("other machines reach {}, and tokens travel there in plain text", admin.listen);
        report.error(at!["admin", "listen"], message, hint);
    }
    if admin.plaintext && admin.tls.is_some() {
        report.error(at!["admin", "plaintext"], "`plaintext` is set, and so is [admin.tls]", "remove one of them");
    }
    if let Some(url) = &admin.public_url {
        let read = Address::guarded(url);
        let read = if url.contains('?') { Err("this URL has a query") } else { read };
        if let Err(why) = read {
            report.error(at!["admin", "public_url"], why, "write such as \"https://gate.example:9432\"");
        }
    }
    if admin.tokens.is_empty() {
        report.warn(at!["admin", "listen"], "there is no [[admin.token]], so nobody can use it", "add one");
    }
    for (i, token) in admin.tokens.iter().enumerate() {
        let Token { name, token: secret, sha256, .. } = token;
        let place = at!["admin", "token", i, "name"];
        if name.is_empty() {
            report.error(place.clone(), "the name is empty", "");
        }
        if secret.is_some() == sha256.is_some() {
            let hint =
                "give `token = \"env:NAME\"`, `token = \"file:path\"` or `sha256 = \"<hexadecimal>\"`, and one only";
            report.error(place, format!("`{name}` has no token, or two"), hint);
        }
        if sha256.as_ref().is_some_and(|hex| super::resolve::from_hex(hex).is_none()) {
            let hint = "`printf %s \"$TOKEN\" | sha256sum` prints one";
            report.error(at!["admin", "token", i, "sha256"], "this is not a SHA-256 in hexadecimal", hint);
        }
    }
}

fn approvals(approvals: &Approvals, admin: Option<&Admin>, report: &mut Report) {
    let tokens = admin.map_or(&[][..], |admin| &admin.tokens);
    for (i, group) in approvals.break_glass.iter().enumerate() {
        if !tokens.iter().any(|token| token.role.decides() && token.groups.contains(group)) {
            let message =
                format!("no [[admin.token]] that decides is in the group `{group}`: nobody may break glass by it");
            report.warn(at!["approvals", "break_glass", i], message, "name a group of somebody's token");
        }
    }
    for (i, webhook) in approvals.webhooks.iter().enumerate() {
        reviewer(i, webhook, admin, tokens, report);
    }
}

/// A webhook with a reviewer carries links that decide in their name.
fn reviewer(i: usize, webhook: &Webhook, admin: Option<&Admin>, tokens: &[Token], report: &mut Report) {
    let Some(reviewer) = &webhook.reviewer else { return };
    let place = at!["approvals", "webhook", i, "reviewer"];
    let mut theirs = tokens.iter().filter(|token| token.name == *reviewer).peekable();
    if theirs.peek().is_none() {
        let near = nearest(reviewer, tokens.iter().map(|token| token.name.as_str()));
        let hint = near.map_or("add one for them".into(), |near| format!("did you mean `{near}`?"));
        report.error(place.clone(), format!("there is no [[admin.token]] named `{reviewer}`"), &hint);
    } else if !theirs.any(|token| token.role.decides()) {
        let message = format!("the role of `{reviewer}` decides no approvals");
        report.error(place.clone(), message, "it takes the role `approver` or `operator`");
    }
    if admin.is_none_or(|admin| admin.public_url.is_none()) {
        let hint = "set `public_url` in [admin], or remove `reviewer`: the messages then carry no links";
        report.error(place, "links need to know where people reach the gateway", hint);
    }
}

fn limits(file: &File, report: &mut Report) {
    let limits = &file.limits;
    let positive = [
        ("connections", limits.connections as u64, 1),
        ("login_ms", limits.login_ms, 1),
        ("connect_ms", limits.connect_ms, 1),
        // A message that no login would fit in.
        ("client_message_bytes", limits.client_message_bytes as u64, 16 << 10),
        ("server_message_bytes", limits.server_message_bytes as u64, 16 << 10),
        ("pipeline", limits.pipeline as u64, 1),
        ("hold_bytes", limits.hold_bytes as u64, 1),
        ("prepared", limits.prepared as u64, 1),
        ("prepared_bytes", limits.prepared_bytes as u64, 1024),
        ("write_stall_s", limits.write_stall_s, 1),
        ("open_approvals", limits.open_approvals as u64, 1),
    ];
    for (key, value, min) in positive {
        if value < min {
            report.error(at!["limits", key], format!("`{key}` is too small"), &format!("at least {min}"));
        }
    }
    // PostgreSQL's own bound: a message's length is a signed 32-bit number.
    for (key, value) in
        [("client_message_bytes", limits.client_message_bytes), ("server_message_bytes", limits.server_message_bytes)]
    {
        if value > i32::MAX as usize {
            report.error(at!["limits", key], format!("`{key}` is larger than any message"), "at most 2147483647");
        }
    }
}

fn audit(file: &File, report: &mut Report) {
    let audit = &file.audit;
    if audit.interval_ms == 0 || audit.interval_ms > 60_000 {
        report.error(
            at!["audit", "interval_ms"],
            "`interval_ms` is out of range",
            "from 1 to 60000; for 0 use `durability = \"strict\"`",
        );
    }
    if audit.queue == 0 {
        report.error(at!["audit", "queue"], "no event could wait to be written", "at least 1");
    }
    if audit.checkpoint_s == 0 || audit.checkpoint_s > 3600 {
        report.error(at!["audit", "checkpoint_s"], "`checkpoint_s` is out of range", "from 1 to 3600");
    }
    if !audit.enabled {
        report.warn(
            at!["audit", "enabled"],
            "nothing is recorded of sessions and commands",
            "remove `enabled = false`",
        );
    }
}
