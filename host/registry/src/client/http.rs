//! Requests to a registry: bounded in time and size, and with credentials for nobody else.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LINK, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::RegistryOptions;
use super::auth::Auth;
use crate::error::{ArtifactError, Problem};
use crate::reference::Reference;

type Result<T> = std::result::Result<T, Problem>;

/// The most redirects of one request.
const MAX_REDIRECTS: usize = 5;

/// The most bytes of an error that a registry sends.
const MAX_ERROR: u64 = 64 << 10;

#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    auth: Auth,
    plain: Plain,
}

/// Who is reached without TLS.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    hosts: BTreeSet<String>,
    loopback: bool,
}

/// A request: to a path of the repository, or to where an answer has pointed.
pub(super) struct Call {
    method: Method,
    place: Place,
    accept: Option<&'static str>,
    body: Option<(String, Bytes)>,
    push: bool,
}

enum Place {
    Path(String),
    Url(Url),
}

impl Call {
    pub(super) fn new(method: Method, path: String) -> Self {
        let push = method == Method::PUT || method == Method::POST;
        Self { method, place: Place::Path(path), accept: None, body: None, push }
    }

    pub(super) fn to(method: Method, url: Url) -> Self {
        Self { place: Place::Url(url), ..Self::new(method, String::new()) }
    }

    pub(super) fn accepts(self, accept: &'static str) -> Self {
        Self { accept: Some(accept), ..self }
    }

    pub(super) fn with(self, kind: &str, body: Bytes) -> Self {
        Self { body: Some((kind.to_owned(), body)), ..self }
    }

    /// A question that belongs to a push, so that one token serves all of it.
    pub(super) fn for_push(self) -> Self {
        Self { push: true, ..self }
    }
}

impl Plain {
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self { hosts: BTreeSet::new(), loopback: true }
    }

    fn allows(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        let with_port = url.port_or_known_default().map(|port| format!("{host}:{port}")).unwrap_or_default();
        (is_loopback && self.loopback) || self.hosts.contains(host) || self.hosts.contains(&with_port)
    }

    /// Whether one may go from a place to another. From TLS there is no way back.
    pub(super) fn check(&self, from: &Url, to: &Url) -> Result<()> {
        let refused = |why: &str| {
            let host = to.host_str().unwrap_or_default();
            Err(Problem::Refused(format!("the registry sends on to {}://{host}, {why}", to.scheme())))
        };
        if !to.username().is_empty() || to.password().is_some() {
            return refused("with a user in the address, which is not taken");
        }
        match to.scheme() {
            "https" => Ok(()),
            "http" if from.scheme() == "https" => refused("out of TLS, which is never followed"),
            "http" if self.allows(to) => Ok(()),
            "http" => refused("without TLS; allow that host without TLS if it must be so"),
            _ => refused("which is no HTTP"),
        }
    }
}

impl Http {
    pub(super) fn new(options: RegistryOptions) -> Result<Self> {
        let loopback = options.ca.is_none();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(|error| Problem::Invalid(format!("TLS cannot be set up: {error}")))?;
        let tls = tls.with_root_certificates(roots(options.ca.as_deref())?).with_no_client_auth();
        // Redirects are followed here, where it is known what they may carry.
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(options.idle)
            .read_timeout(options.idle)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        let client = client.build().map_err(|error| Problem::Invalid(chain(error)))?;
        let plain = Plain { hosts: options.plain_http, loopback };
        let auth = Auth::new(options.credentials, options.docker);
        Ok(Self { client, auth, plain })
    }

    /// Asks the registry, as somebody if it wants to know, and follows where it sends on to.
    pub(super) async fn call(&self, reference: &Reference, call: Call) -> Result<Answer> {
        let home = self.home(reference)?;
        let url = match &call.place {
            Place::Path(path) => joined(&home, &format!("/v2/{}/{path}", reference.repository()))?,
            Place::Url(url) => url.clone(),
        };
        self.plain.check(&home, &url)?;
        let known = self.auth.known(reference, call.push);
        let answer = self.send(&home, url.clone(), &call, known.as_ref()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || !same(&home, &answer.url) {
            return Ok(answer);
        }
        let challenge = answer.challenge();
        let granted = self.auth.answer(&self.client, &self.plain, &home, reference, call.push, &challenge).await?;
        match granted {
            Some(header) => self.send(&home, url, &call, Some(&header)).await,
            None => Ok(answer),
        }
    }

    /// The registry's own address.
    fn home(&self, reference: &Reference) -> Result<Url> {
        let parse = |scheme: &str| format!("{scheme}://{}/", reference.registry()).parse::<Url>();
        let home = parse("https").map_err(|error| Problem::Invalid(error.to_string()))?;
        let plain = parse("http").ok().filter(|plain| self.plain.allows(plain));
        Ok(plain.unwrap_or(home))
    }

    async fn send(&self, home: &Url, mut url: Url, call: &Call, auth: Option<&HeaderValue>) -> Result<Answer> {
        // Once it has left the registry, a request has no credentials, wherever it comes to.
        let mut auth = auth;
        for _ in 0..=MAX_REDIRECTS {
            auth = auth.filter(|_| same(home, &url));
            let mut request = self.client.request(call.method.clone(), url.clone());
            if let Some(accept) = call.accept {
                request = request.header(ACCEPT, accept);
            }
            if let Some(auth) = auth {
                request = request.header(AUTHORIZATION, auth);
            }
            if let Some((kind, body)) = &call.body {
                request = request.header(CONTENT_TYPE, kind).body(body.clone());
            }
            let response = request.send().await.map_err(|error| unreachable(&url, error))?;
            let answer = Answer { response, url };
            if !answer.status().is_redirection() || call.body.is_some() || call.method == Method::POST {
                return Ok(answer);
            }
            url = answer.location()?;
            self.plain.check(&answer.url, &url)?;
        }
        Err(Problem::Refused(format!(
            "the registry sends on more than {MAX_REDIRECTS} times; look at its configuration"
        )))
    }
}

/// What a registry has answered; its body has not been read.
pub(super) struct Answer {
    response: Response,
    url: Url,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Whether the registry keeps a list of what refers to an image.
    pub(super) fn knows_subjects(&self) -> bool {
        self.response.headers().contains_key("oci-subject")
    }

    fn challenge(&self) -> Vec<String> {
        let values = self.response.headers().get_all(reqwest::header::WWW_AUTHENTICATE);
        values.iter().filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    }

    /// Refuses every other status, with what the registry says.
    pub(super) async fn expect(self, expected: StatusCode) -> Result<Self> {
        let status = self.status();
        if status == expected {
            return Ok(self);
        }
        let place = shown(&self.url);
        let said = self.body("the registry's error", MAX_ERROR).await.unwrap_or_default();
        let said = words(&said);
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Problem::Refused(format!(
                "{place} refuses access ({status}{said}); log in with `docker login`, or give other credentials"
            )),
            StatusCode::NOT_FOUND => Problem::Absent(format!("{place} is not there ({status}{said})")),
            _ if status.is_server_error() => {
                Problem::Unreachable(format!("{place} failed ({status}{said}); try again later"))
            }
            _ => Problem::Refused(format!("{place} answered {status} instead of {expected}{said}")),
        })
    }

    /// Reads the body. It ends where the limit is, whatever length it claims.
    pub(super) async fn body(mut self, what: &str, limit: u64) -> Result<Bytes> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.response.chunk().await.map_err(|error| unreachable(&self.url, error))? {
            if body.len() as u64 + chunk.len() as u64 > limit {
                return Err(ArtifactError::TooLarge { what: what.into(), limit }.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Where the answer points to.
    pub(super) fn location(&self) -> Result<Url> {
        let location = self.response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location =
            location.ok_or_else(|| Problem::Invalid(format!("{} says not where to go on", shown(&self.url))))?;
        joined(&self.url, location)
    }

    /// The next page of a list.
    pub(super) fn next_page(&self) -> Result<Option<Url>> {
        let link = self.response.headers().get(LINK).and_then(|value| value.to_str().ok());
        let next = link.filter(|link| link.contains("rel=\"next\"") || link.contains("rel=next"));
        let place = next.and_then(|link| link.trim().strip_prefix('<')).and_then(|link| link.split_once('>'));
        place.map(|(place, _)| joined(&self.url, place)).transpose()
    }
}

fn joined(from: &Url, to: &str) -> Result<Url> {
    from.join(to).map_err(|error| Problem::Invalid(format!("{} points to no address: {error}", shown(from))))
}

fn same(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// An address without its query, which may hold a signature.
fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), url.authority(), url.path())
}

pub(super) fn unreachable(url: &Url, error: reqwest::Error) -> Problem {
    Problem::Unreachable(format!("{}: {}; try again when it can be reached", shown(url), chain(error)))
}

/// An error with its causes, and without the address, which may hold a signature.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What a registry says of an error, in its codes, which are words of the specification.
fn words(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        errors: Vec<Code>,
    }
    #[derive(serde::Deserialize)]
    struct Code {
        code: String,
    }
    let said = serde_json::from_slice::<Said>(body).map(|said| said.errors).unwrap_or_default();
    let legal = |code: &String| code.len() <= 64 && code.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    let codes: Vec<_> = said.into_iter().map(|said| said.code).filter(legal).take(5).collect();
    if codes.is_empty() { String::new() } else { format!(", {}", codes.join(", ")) }
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let broken = |error: String| Problem::Invalid(format!("the CA file of the registry: {error}"));
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| broken(error.to_string()))?;
        roots.add(certificate).map_err(|error| broken(error.to_string()))?;
    }
    if roots.is_empty() { Err(broken("it has no certificate (PEM)".into())) } else { Ok(roots) }
}
