//! From the file's shape to what the proxy and the HTTP interface take, with secrets and certificates read.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_proxy::{Config, Limits, PgTarget, Quota, UpstreamTls, User};
use portcullis_store::SigningKey;
use portcullis_verdict::RecordLevel;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};

use super::AdminToken;
use super::model::{self, File, Record, TargetTls};
use super::problem::{Report, Step, at};
use super::secret::{SecretRef, is_world_readable};
use super::tls;

/// The fewest bytes of a masking key.
const MIN_KEY_BYTES: usize = 32;

/// A token with fewer bytes may be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// Users, targets and limits.
pub(super) fn proxy(file: &File, base: &Path, report: &mut Report) -> Config {
    let users = file.users.iter().map(|user| (user.name.clone(), self::user(user, &file.groups))).collect();
    let mut config = Config { users, limits: limits(&file.limits), ..Config::default() };
    for (i, item) in file.targets.iter().enumerate() {
        if let Some(target) = target(i, item, base, report) {
            config.targets.insert(item.name.clone(), target);
        }
    }
    config
}

fn user(user: &model::User, groups: &[model::Group]) -> User {
    let own = user.max_sessions.map(|max_sessions| Quota { max_sessions, group: None });
    let theirs = groups.iter().filter(|group| user.groups.contains(&group.name)).min_by_key(|group| group.max_sessions);
    let theirs = theirs.map(|group| Quota { max_sessions: group.max_sessions, group: Some(group.name.clone()) });
    User {
        groups: user.groups.clone(),
        scram: user.scram.clone(),
        certificate_cn: user.certificate_cn.clone(),
        targets: user.targets.clone(),
        quota: own.or(theirs),
    }
}

fn target(i: usize, target: &model::Target, base: &Path, report: &mut Report) -> Option<PgTarget> {
    let mut password = None;
    if let Some(reference) = &target.password {
        let place = at!["target", i, "password"];
        let read = reference.text(base);
        warn_if_open(reference, base, &place, report);
        password = Some(read.map_err(|why| report.error(place, why, "")).ok()?.as_str().into());
    }
    let tls = match target.tls {
        TargetTls::Disable => UpstreamTls::Disable,
        TargetTls::VerifyFull => {
            let roots = match &target.ca {
                Some(path) => tls::authorities(&base.join(path)),
                None => tls::system_authorities(),
            };
            let place = if target.ca.is_some() { at!["target", i, "ca"] } else { at!["target", i, "name"] };
            let config = roots.and_then(tls::client);
            UpstreamTls::VerifyFull(config.map_err(|why| report.error(place, why, "")).ok()?)
        }
    };
    let seen = portcullis_verdict::Target { name: target.name.clone(), labels: target.labels.clone() };
    Some(PgTarget {
        target: Arc::new(seen),
        host: target.host.clone(),
        port: target.port,
        database: target.database.clone(),
        user: target.user.clone(),
        password,
        tls,
        column_labels: target.column_labels.clone().into_iter().collect(),
        max_sessions: target.max_sessions,
        record: match target.record {
            Record::None => RecordLevel::None,
            Record::Commands => RecordLevel::Commands,
            Record::Results => RecordLevel::Results,
        },
    })
}

fn limits(limits: &model::Limits) -> Limits {
    Limits {
        connections: limits.connections,
        login: Duration::from_millis(limits.login_ms),
        connect: Duration::from_millis(limits.connect_ms),
        client_message_bytes: limits.client_message_bytes,
        server_message_bytes: limits.server_message_bytes,
        pipeline: limits.pipeline,
        hold_bytes: limits.hold_bytes,
        prepared: limits.prepared,
        prepared_bytes: limits.prepared_bytes,
        idle: (limits.idle_s > 0).then(|| Duration::from_secs(limits.idle_s)),
        write_stall: Duration::from_secs(limits.write_stall_s),
        drain: Duration::from_secs(limits.drain_s),
    }
}

/// The listener's certificate, and the authorities of clients if there are any.
pub(super) fn listener_tls(
    file: &File,
    base: &Path,
    report: &mut Report,
) -> Option<(Arc<CertifiedKey>, Option<RootCertStore>)> {
    let tls = file.postgres.tls.as_ref()?;
    let place = |key| at!["postgres", "tls", key];
    warn_if_open(&tls.key, base, &place("key"), report);
    let client_ca = tls.client_ca.as_ref().and_then(|path| {
        let read = tls::authorities(&base.join(path));
        read.map_err(|why| report.error(place("client_ca"), why, "")).ok()
    });
    let key = tls.key.bytes(base).map_err(|why| report.error(place("key"), why, "")).ok()?;
    let certified = tls::certified(&base.join(&tls.certificate), &key);
    let certified = certified.map_err(|why| report.error(place("certificate"), why, "")).ok()?;
    Some((certified, client_ca))
}

/// The HTTP interface's certificate.
pub(super) fn admin_tls(file: &File, base: &Path, report: &mut Report) -> Option<Arc<CertifiedKey>> {
    let tls = file.admin.as_ref()?.tls.as_ref()?;
    let place = |key| at!["admin", "tls", key];
    warn_if_open(&tls.key, base, &place("key"), report);
    let key = tls.key.bytes(base).map_err(|why| report.error(place("key"), why, "")).ok()?;
    let certified = tls::certified(&base.join(&tls.certificate), &key);
    let certified = certified.map_err(|why| report.error(place("certificate"), why, "")).ok()?;
    if tls::is_authority(&certified) {
        let hint = "make one with `basicConstraints=CA:FALSE`, signed by an authority";
        let message =
            "this certificate is an authority's own: clients such as `portcullis` do not accept it for a server";
        report.warn(place("certificate"), message, hint);
    }
    Some(certified)
}

/// The key that signs the log, if the file names one.
pub(super) fn signing_key(file: &File, base: &Path, report: &mut Report) -> Option<SigningKey> {
    let reference = file.audit.signing_key.as_ref()?;
    let place = at!["audit", "signing_key"];
    warn_if_open(reference, base, &place, report);
    let pem = reference.text(base).map_err(|why| report.error(place.clone(), why, "")).ok()?;
    SigningKey::from_pem(&pem).map_err(|why| report.error(place, format!("{reference}: {why}"), "")).ok()
}

/// Who may use the HTTP interface; tokens are kept as their digests only.
pub(super) fn tokens(file: &File, base: &Path, report: &mut Report) -> Vec<AdminToken> {
    let mut tokens: Vec<AdminToken> = Vec::new();
    for (i, token) in file.admin.iter().flat_map(|admin| &admin.tokens).enumerate() {
        let place = at!["admin", "token", i, "token"];
        let sha256 = match (&token.token, &token.sha256) {
            (Some(reference), None) => {
                warn_if_open(reference, base, &place, report);
                match reference.text(base) {
                    Ok(text) if text.len() < MIN_TOKEN_BYTES => {
                        let message = format!("the token of `{}` has less than {MIN_TOKEN_BYTES} bytes", token.name);
                        report.warn(place, message, "make a random one: openssl rand -hex 32");
                        Sha256::digest(text.as_bytes()).into()
                    }
                    Ok(text) => Sha256::digest(text.as_bytes()).into(),
                    Err(why) => {
                        report.error(place, why, "");
                        continue;
                    }
                }
            }
            // Anything else is reported where the file is checked.
            (None, Some(hex)) if let Some(digest) = from_hex(hex) => digest,
            _ => continue,
        };
        if tokens.iter().any(|other| other.sha256 == sha256) {
            let message = format!("the token of `{}` is another one's too", token.name);
            report.error(at!["admin", "token", i, "name"], message, "give each entry its own: a token has one role");
        }
        let (name, groups) = (token.name.clone(), token.groups.clone());
        let break_glass = token.role.decides() && groups.iter().any(|group| file.approvals.break_glass.contains(group));
        tokens.push(AdminToken { name, groups, role: token.role, sha256, break_glass });
    }
    tokens
}

/// The key of the `hash` mask, if the file names one.
pub(super) fn masking_key(file: &File, base: &Path, report: &mut Report) -> Option<Zeroizing<Vec<u8>>> {
    let reference = file.masking.key.as_ref()?;
    let place = at!["masking", "key"];
    warn_if_open(reference, base, &place, report);
    match reference.bytes(base) {
        Ok(key) if key.len() >= MIN_KEY_BYTES => return Some(key),
        Ok(_) => report.error(place, format!("{reference} has less than {MIN_KEY_BYTES} bytes"), "take random ones"),
        Err(why) => report.error(place, why, ""),
    }
    None
}

/// Warns of a secret in a file that is everybody's to read.
pub(super) fn warn_if_open(reference: &SecretRef, base: &Path, place: &[Step], report: &mut Report) {
    if let Some(path) = reference.path(base).filter(|path| is_world_readable(path)) {
        let shown = path.display();
        report.warn(
            place.to_vec(),
            format!("everybody on this machine can read {shown}"),
            &format!("chmod 600 {shown}"),
        );
    }
}

/// The 32 bytes of a SHA-256 in hexadecimal.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}
