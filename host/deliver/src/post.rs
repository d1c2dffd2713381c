//! Posting over HTTP.

use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use ureq::http::{HeaderValue, Request, StatusCode, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use crate::follow::Failure;

/// How long each step of an exchange may take.
const STEP: Duration = Duration::from_secs(10);

/// How long an exchange may take.
const WHOLE: Duration = Duration::from_secs(30);

/// How much of an answer's body is read, so that its connection can be used again.
const ANSWER_BYTES: u64 = 64 << 10;

/// A place to post to.
pub(crate) struct Post {
    agent: ureq::Agent,
    uri: Uri,
    /// [`shown`].
    shown: String,
}

impl Post {
    /// The error says what is wrong with the address or the certificates.
    pub(crate) fn new(url: &str, ca: Option<&[u8]>) -> Result<Self, String> {
        let wrong = || "its URL is none; write one such as https://collector.example/audit".to_owned();
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let shown = origin(&uri).ok_or_else(wrong)?;
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Nothing goes where the configuration does not send it.
            .max_redirects(0)
            .proxy(None)
            .timeout_resolve(Some(STEP))
            .timeout_connect(Some(STEP))
            .timeout_send_request(Some(STEP))
            .timeout_send_body(Some(STEP))
            .timeout_recv_response(Some(STEP))
            .timeout_recv_body(Some(STEP))
            .timeout_global(Some(WHOLE));
        if uri.scheme_str() == Some("https") {
            config = config.tls_config(tls(ca)?);
        }
        Ok(Self { agent: config.build().new_agent(), uri, shown })
    }

    /// Posts; it has arrived when the answer's status says so.
    pub(crate) fn send(&self, content_type: &str, headers: &[(&str, HeaderValue)], body: &str) -> Result<(), Failure> {
        let mut request = Request::post(self.uri.clone())
            .header(USER_AGENT, concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body).map_err(|_| Failure::configuration("its headers are not valid in HTTP"))?;
        let mut answer = self.agent.run(request).map_err(|error| self.unreachable(&error))?;
        // The connection can be used again if the answer is short; what it says does not matter.
        let _ = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        let status = answer.status();
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(self.refused(status, Failure::new)),
            _ if status.is_client_error() || status.is_redirection() => {
                Err(self.refused(status, Failure::configuration))
            }
            _ => Err(self.refused(status, Failure::new)),
        }
    }

    fn refused(&self, status: StatusCode, failure: fn(String) -> Failure) -> Failure {
        failure(format!("{} answered {status}", self.shown))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::new(format!("{} cannot be reached: {error}", self.shown))
    }
}

/// The part of a URL that may be shown: others can hold a secret. None if nothing can be posted to it.
pub(crate) fn shown(url: &str) -> Option<String> {
    origin(&url.parse().ok()?)
}

fn origin(uri: &Uri) -> Option<String> {
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let host = uri.host()?;
    Some(match uri.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// The header that carries a bearer token.
pub(crate) fn bearer(token: &str) -> Result<(&'static str, HeaderValue), String> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "its token has characters that no HTTP header can carry, such as an end of line".to_owned())?;
    value.set_sensitive(true);
    Ok((AUTHORIZATION.as_str(), value))
}

/// How a server is known over TLS: by these certificates in PEM, or by the system's roots.
pub fn tls(ca: Option<&[u8]>) -> Result<TlsConfig, String> {
    let roots = match ca {
        Some(pem) => given(pem)?,
        None => system()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = RootCerts::Specific(Arc::new(roots));
    Ok(TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build())
}

fn given(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut roots = Vec::new();
    for item in ureq::tls::parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| format!("its CA file is broken: {error}"))? {
            // The TLS library passes over what it cannot use.
            rustls::RootCertStore::empty()
                .add(certificate.der().to_vec().into())
                .map_err(|error| format!("its CA file has a certificate that cannot be used: {error}"))?;
            roots.push(certificate);
        }
    }
    if roots.is_empty() { Err("its CA file has no certificate (PEM)".into()) } else { Ok(roots) }
}

fn system() -> Result<Vec<Certificate<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err("the system has no root certificates; install them (package ca-certificates), or name a CA".into());
    }
    Ok(found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}
