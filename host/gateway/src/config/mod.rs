//! The configuration file: read, checked in one pass, and resolved to what the parts of the gateway take.

mod check;
mod deliveries;
mod model;
mod policies;
mod problem;
mod resolve;
mod secret;
mod tls;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::{loaded_good, scratch};

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_deliver::{Sink, Webhook};
use portcullis_engine::LoadError;
use portcullis_package::Lock;
use portcullis_store::SigningKey;
use portcullis_verdict::RolloutStep;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};

pub(crate) use model::{
    Audit, Durability, File, LogFormat, OnFailure, OnLimit, PolicyMode, Record, Recordings, Role, TargetTls, Trust,
};
pub(crate) use policies::Bound;
pub(crate) use problem::Problem;
use problem::{Report, at};

pub(crate) use resolve::from_hex;
pub(crate) use secret::read as read_file;
pub(crate) use tls::{Certificate, HTTP, POSTGRESQL, server as tls_server};

use crate::packages::Packages;

/// Configuration files are not larger than this.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// A configuration that holds together, with everything read that it refers to.
pub(crate) struct Loaded {
    /// The file's text, to show places in it.
    text: String,
    path: PathBuf,
    /// What the file says.
    pub(crate) file: File,
    /// Where the store and the rest is kept.
    pub(crate) data_dir: PathBuf,
    /// Users, targets and limits.
    pub(crate) proxy: portcullis_proxy::Config,
    /// The listener's certificate and the authorities of clients.
    pub(crate) tls: Option<(Arc<CertifiedKey>, Option<RootCertStore>)>,
    /// The HTTP interface's certificate.
    pub(crate) admin_tls: Option<Arc<CertifiedKey>>,
    /// Who may use the HTTP interface.
    pub(crate) tokens: Vec<AdminToken>,
    /// The key that signs the log, if the file names one.
    pub(crate) signing_key: Option<SigningKey>,
    /// Where the audit goes besides the store.
    pub(crate) sinks: Vec<Sink>,
    /// Who is told of approval requests.
    pub(crate) webhooks: Vec<Webhook>,
    /// The key of the `hash` mask, if the file names one.
    pub(crate) masking_key: Option<Zeroizing<Vec<u8>>>,
    /// The policies.
    pub(crate) policies: Vec<Bound>,
    /// What should not stay as it is.
    pub(crate) warnings: Vec<Problem>,
}

/// Someone who may use the HTTP interface.
pub(crate) struct AdminToken {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
    pub(crate) role: Role,
    pub(crate) sha256: [u8; 32],
    pub(crate) break_glass: bool,
}

/// A configuration that cannot be used: every reason, with its place.
#[derive(Debug)]
pub(crate) struct Refused(Vec<Problem>);

impl Refused {
    fn file(why: String) -> Self {
        let step = RolloutStep::Configuration;
        Self(vec![Problem { full: format!("error: {why}\n"), brief: why, step }])
    }

    /// The first step that failed.
    pub(crate) fn step(&self) -> RolloutStep {
        self.0.iter().map(|problem| problem.step).min().unwrap_or(RolloutStep::Configuration)
    }

    /// Everything in a line, for logs.
    pub(crate) fn brief(&self) -> String {
        self.0.iter().map(|problem| problem.brief.as_str()).collect::<Vec<_>>().join("; ")
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{}", problem.full))?;
        match self.0.len() {
            1 => write!(f, "the configuration cannot be used"),
            count => write!(f, "the configuration cannot be used: {count} errors"),
        }
    }
}

/// Reads a configuration file and everything that it refers to.
///
/// `watched` gets the files that the configuration rests on, also where it cannot be used.
pub(crate) fn load(path: &Path, watched: &mut BTreeSet<PathBuf>) -> Result<Loaded, Refused> {
    load_with(path, &Lock::default(), watched)
}

/// The same with other pins for some sources of packages than the lock files have.
pub(crate) fn load_with(path: &Path, pins: &Lock, watched: &mut BTreeSet<PathBuf>) -> Result<Loaded, Refused> {
    watched.insert(path.to_owned());
    let bytes = secret::read(path, MAX_CONFIG_BYTES).map_err(Refused::file)?;
    let not_text = |_| Refused::file(format!("{} is not UTF-8", path.display()));
    let text = String::from_utf8(bytes).map_err(not_text)?;
    let base = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let mut report = Report::new(path, &text);
    let file: File = match toml::from_str(&text) {
        Ok(file) => file,
        Err(error) => {
            report.unreadable(&error, &tables());
            return Err(Refused(report.errors));
        }
    };
    watch(&file, base, watched);
    check::check(&file, &mut report);
    let tls = resolve::listener_tls(&file, base, &mut report);
    let proxy = resolve::proxy(&file, base, &mut report);
    let admin_tls = resolve::admin_tls(&file, base, &mut report);
    let tokens = resolve::tokens(&file, base, &mut report);
    let signing_key = resolve::signing_key(&file, base, &mut report);
    let sinks = deliveries::sinks(&file, base, &mut report);
    let webhooks = deliveries::webhooks(&file, base, &mut report);
    let masking_key = resolve::masking_key(&file, base, &mut report);
    let policies = policies::read(&file, base, pins, watched, &mut report);
    let Report { errors, warnings, .. } = report;
    if !errors.is_empty() {
        return Err(Refused(errors));
    }
    let (data_dir, path) = (base.join(&file.data_dir), path.to_owned());
    Ok(Loaded {
        text,
        path,
        file,
        data_dir,
        proxy,
        tls,
        admin_tls,
        tokens,
        signing_key,
        sinks,
        webhooks,
        masking_key,
        policies,
        warnings,
    })
}

impl Loaded {
    /// What the audit keeps of it: the digest of the file, and each target with its policies.
    pub(crate) fn digest(&self) -> String {
        let targets = self.file.targets.iter().map(|target| match target.policies.as_slice() {
            [] => format!("target {}: no policies", target.name),
            policies => format!("target {}: {}", target.name, policies.join(" > ")),
        });
        let sha256 = portcullis_verdict::text::hex(&Sha256::digest(self.text.as_bytes()));
        format!("the file's SHA-256 is {sha256}; {}", targets.collect::<Vec<_>>().join("; "))
    }

    /// The refusal for a policy whose own cases fail.
    pub(crate) fn failed_cases(&self, policy: &str, why: &str) -> Refused {
        let mut report = Report::new(&self.path, &self.text);
        let place = self.file.policies.iter().position(|other| other.name == policy);
        let place = place.map_or(at![], |i| at!["policy", i, "package"]);
        let hint = "`portcullis policy test` shows all of them";
        report.error_at(RolloutStep::Cases, place, format!("policy `{policy}`: {why}"), hint);
        Refused(report.errors)
    }

    /// The refusal for policies that the engine will not load, each at its place in the file.
    pub(crate) fn refuse(&self, errors: &[LoadError]) -> Refused {
        let mut report = Report::new(&self.path, &self.text);
        for error in errors {
            let place = self.file.policies.iter().position(|policy| policy.name == error.policy);
            let place = place.map_or(at![], |i| at!["policy", i, policies::key(&error.problem)]);
            report.error_at(policies::step(&error.problem), place, error, "");
        }
        Refused(report.errors)
    }
}

/// What decides which packages a configuration may load; nothing else of it is read.
pub(crate) fn packages(path: &Path) -> Result<(File, Packages), Refused> {
    let text = secret::read(path, MAX_CONFIG_BYTES).map_err(Refused::file)?;
    let text = String::from_utf8(text).map_err(|_| Refused::file(format!("{} is not UTF-8", path.display())))?;
    let mut report = Report::new(path, &text);
    let file: File = match toml::from_str(&text) {
        Ok(file) => file,
        Err(error) => {
            report.unreadable(&error, &tables());
            return Err(Refused(report.errors));
        }
    };
    let base = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let packages = policies::packages(&file, base, &Lock::default(), &mut report);
    packages.map(|packages| (file, packages)).ok_or(Refused(report.errors))
}

/// The JSON schema of the configuration file.
pub(crate) fn schema() -> String {
    let schema = schemars::schema_for!(File);
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

/// The keys that the file may have at its root.
fn tables() -> Vec<String> {
    let schema = schemars::schema_for!(File);
    let properties = schema.get("properties").and_then(|properties| properties.as_object());
    properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect()
}

fn watch(file: &File, base: &Path, watched: &mut BTreeSet<PathBuf>) {
    let (tls, admin_tls) = (file.postgres.tls.iter(), file.admin.iter().filter_map(|admin| admin.tls.as_ref()));
    let secrets = tls.clone().map(|tls| &tls.key).chain(admin_tls.clone().map(|tls| &tls.key));
    let secrets = secrets.chain(file.targets.iter().filter_map(|target| target.password.as_ref()));
    let secrets =
        secrets.chain(file.admin.iter().flat_map(|admin| &admin.tokens).filter_map(|token| token.token.as_ref()));
    watched.extend(secrets.filter_map(|secret| secret.path(base)));
    watched
        .extend(tls.flat_map(|tls| [Some(&tls.certificate), tls.client_ca.as_ref()]).flatten().map(|p| base.join(p)));
    watched.extend(admin_tls.map(|tls| base.join(&tls.certificate)));
    watched.extend(file.targets.iter().filter_map(|target| target.ca.as_ref()).map(|p| base.join(p)));
}
