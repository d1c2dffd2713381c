//! Who the client is to a registry: nobody, a user with a password, or the bearer of a token.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http_auth::ChallengeRef;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::credentials::{Credentials, docker};
use super::http::{Plain, unreachable};
use crate::error::Problem;
use crate::reference::Reference;

type Result<T> = std::result::Result<T, Problem>;

/// The most bytes of a token server's answer.
const MAX_TOKEN: usize = 1 << 20;

pub(super) struct Auth {
    given: BTreeMap<String, Credentials>,
    docker: Option<PathBuf>,
    /// What was granted, by registry, repository and whether it is for a push.
    granted: Mutex<HashMap<(String, String, bool), HeaderValue>>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("given", &self.given).field("docker", &self.docker).finish_non_exhaustive()
    }
}

impl Auth {
    pub(super) fn new(given: BTreeMap<String, Credentials>, docker: Option<PathBuf>) -> Self {
        Self { given, docker, granted: Mutex::default() }
    }

    /// What the registry took the last time.
    pub(super) fn known(&self, reference: &Reference, push: bool) -> Option<HeaderValue> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).get(&key(reference, push)).cloned()
    }

    /// Answers a registry's challenge. Without credentials a token server may still give a token for reading.
    pub(super) async fn answer(
        &self,
        client: &Client,
        plain: &Plain,
        home: &Url,
        reference: &Reference,
        push: bool,
        challenges: &[String],
    ) -> Result<Option<HeaderValue>> {
        let credentials = match self.given.get(reference.registry()) {
            Some(given) => Some(given.clone()),
            None => docker(self.docker.as_deref(), reference.registry()).await?,
        };
        let parsed: Vec<_> =
            challenges.iter().filter_map(|text| http_auth::parse_challenges(text).ok()).flatten().collect();
        let scheme = |name: &str| parsed.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(name));
        let header = match (&credentials, scheme("bearer"), scheme("basic")) {
            (Some(Credentials::Bearer(token)), Some(_), _) => bearer(token)?,
            (Some(Credentials::Bearer(_)), None, _) => {
                return Err(Problem::Refused("a token is given, and the registry takes none".into()));
            }
            (Some(Credentials::Basic { .. }) | None, Some(challenge), _) => {
                let url = realm(challenge, reference, push)?;
                plain.check(home, &url)?;
                bearer(&token(client, url, credentials.as_ref()).await?)?
            }
            (Some(Credentials::Basic { username, password }), None, Some(_)) => basic(username, password)?,
            _ => return Ok(None),
        };
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.insert(key(reference, push), header.clone());
        Ok(Some(header))
    }
}

fn key(reference: &Reference, push: bool) -> (String, String, bool) {
    (reference.registry().to_owned(), reference.repository().to_owned(), push)
}

/// The address of the token server, with what is asked of it.
fn realm(challenge: &ChallengeRef<'_>, reference: &Reference, push: bool) -> Result<Url> {
    let parameter = |wanted: &str| {
        let found = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.to_unescaped())
    };
    let realm = parameter("realm").and_then(|realm| realm.parse::<Url>().ok());
    let mut url = realm.ok_or_else(|| Problem::Invalid("the registry names no token server (`realm`)".into()))?;
    // Not the scope of the challenge: nobody makes this client ask for more than it needs.
    let actions = if push { "pull,push" } else { "pull" };
    url.query_pairs_mut().append_pair("scope", &format!("repository:{}:{actions}", reference.repository()));
    if let Some(service) = parameter("service") {
        url.query_pairs_mut().append_pair("service", &service);
    }
    Ok(url)
}

async fn token(client: &Client, url: Url, credentials: Option<&Credentials>) -> Result<SecretString> {
    #[derive(Deserialize)]
    struct Granted {
        token: Option<SecretString>,
        access_token: Option<SecretString>,
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let mut request = client.get(url.clone());
    if let Some(Credentials::Basic { username, password }) = credentials {
        request = request.header(AUTHORIZATION, basic(username, password)?);
    }
    let mut response = request.send().await.map_err(|error| unreachable(&url, error))?;
    if response.status() != StatusCode::OK {
        let status = response.status();
        let message = format!(
            "the token server {host} refuses ({status}); log in with `docker login`, or give other credentials"
        );
        return Err(Problem::Refused(message));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&url, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_TOKEN {
            return Err(Problem::Invalid(format!("the token server {host} sends more than {MAX_TOKEN} bytes")));
        }
    }
    let granted =
        serde_json::from_slice::<Granted>(&body).ok().and_then(|granted| granted.token.or(granted.access_token));
    granted.ok_or_else(|| Problem::Invalid(format!("the token server {host} sends no token")))
}

fn basic(username: &str, password: &SecretString) -> Result<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{}", password.expose_secret()))))
}

fn bearer(token: &SecretString) -> Result<HeaderValue> {
    secret(&format!("Bearer {}", token.expose_secret()))
}

fn secret(text: &str) -> Result<HeaderValue> {
    let value = HeaderValue::from_str(text);
    let mut value =
        value.map_err(|_| Problem::Invalid("the token has characters that no HTTP header can carry".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
