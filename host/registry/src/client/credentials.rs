//! Credentials, and where docker keeps them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::error::Problem;

type Result<T> = std::result::Result<T, Problem>;

/// The most bytes of docker's configuration, and of what a helper prints.
const MAX_CONFIG: u64 = 1 << 20;

/// How long a helper may take. It may ask a person to unlock something.
const HELPER: Duration = Duration::from_secs(60);

/// Who the client is to a registry.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A user. The registry's token server is asked with them, if it has one.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A token that the registry itself takes.
    Bearer(SecretString),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<SecretString>,
    username: Option<String>,
    password: Option<SecretString>,
    identitytoken: Option<SecretString>,
}

/// `$DOCKER_CONFIG`, or `.docker` in the home directory.
pub(super) fn docker_directory() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("DOCKER_CONFIG").or_else(|| Some(var("HOME")?.join(".docker")))
}

/// What docker knows for a registry.
pub(super) async fn docker(dir: Option<&Path>, registry: &str) -> Result<Option<Credentials>> {
    let Some(file) = dir.map(|dir| dir.join("config.json")) else { return Ok(None) };
    let wrong = |message: &str| Problem::Invalid(format!("{}: {message}", file.display()));
    let mut text = Vec::new();
    match std::fs::File::open(&file).and_then(|opened| opened.take(MAX_CONFIG).read_to_end(&mut text)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => drop(read.map_err(|error| wrong(&error.to_string()))?),
    }
    // An error of the parser may repeat what it read.
    let config: Config = serde_json::from_slice(&text).map_err(|_| wrong("is not a configuration of docker (JSON)"))?;
    if let Some(helper) = find(&config.cred_helpers, registry).or(config.creds_store.as_ref()) {
        return ask(helper, registry).await;
    }
    let Some(entry) = find(&config.auths, registry) else { return Ok(None) };
    if entry.identitytoken.is_some() {
        return Err(wrong(&format!(
            "the entry of {registry} is an identity token, which is not supported; use a password or a token"
        )));
    }
    if let (Some(username), Some(password)) = (&entry.username, &entry.password) {
        return Ok(Some(Credentials::Basic { username: username.clone(), password: password.clone() }));
    }
    let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.expose_secret().is_empty()) else { return Ok(None) };
    let decoded = STANDARD.decode(auth.expose_secret()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) =
        pair.ok_or_else(|| wrong(&format!("`auth` of {registry} is not user:password in base64")))?;
    Ok(Some(Credentials::Basic { username: username.into(), password: password.into() }))
}

/// The entry of a registry; docker writes some with a scheme and a path.
fn find<'a, T>(entries: &'a BTreeMap<String, T>, registry: &str) -> Option<&'a T> {
    let host = |key: &str| {
        let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default().to_ascii_lowercase()
    };
    entries.get(registry).or_else(|| entries.iter().find(|(key, _)| host(key) == registry).map(|(_, entry)| entry))
}

/// Asks one of docker's helpers.
async fn ask(helper: &str, registry: &str) -> Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Told {
        username: String,
        secret: SecretString,
    }
    let program = format!("docker-credential-{helper}");
    let failed = |message: String| Problem::Invalid(format!("`{program} get` for {registry}: {message}"));
    if !helper.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) {
        return Err(failed("is no name of a helper".into()));
    }
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let (mut stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let run = async {
        if let Some(mut stdin) = stdin.take() {
            stdin.write_all(registry.as_bytes()).await?;
        }
        let mut told = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(MAX_CONFIG).read_to_end(&mut told).await?;
        }
        Ok::<_, std::io::Error>((child.wait().await?, told))
    };
    let late = |_| failed(format!("it gave no answer within {} s", HELPER.as_secs()));
    let (status, told) =
        tokio::time::timeout(HELPER, run).await.map_err(late)?.map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        let unknown = told.windows(9).any(|words| words == b"not found");
        return if unknown { Ok(None) } else { Err(failed(format!("it failed ({status})"))) };
    }
    let told: Told = serde_json::from_slice(&told).map_err(|_| failed("its answer cannot be read".into()))?;
    if told.username == "<token>" {
        return Err(failed("it has an identity token, which is not supported; use a password or a token".into()));
    }
    Ok(Some(Credentials::Basic { username: told.username, password: told.secret }))
}
