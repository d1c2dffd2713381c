//! Talks to a running gateway over its HTTP interface.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Method, Request, Response};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body, BodyReader};

use crate::address::{Address, is_this_machine};
use crate::cli::Access;
use crate::config::read_file;
use crate::show::safe;

/// Items that are asked for at a time.
const PAGE: usize = 1000;

/// The largest answer that is read into memory.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// Files longer than this hold no certificates.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// The longest wait for a whole answer.
const ANSWER: Duration = Duration::from_secs(60);

/// The longest silence on a stream. The gateway says something every 15 s.
const SILENCE: Duration = Duration::from_secs(50);

/// A gateway, and who asks it.
pub(crate) struct Client {
    agent: Agent,
    /// Where the interface's paths begin.
    base: String,
    /// The address as the user gave it.
    given: String,
    token: Zeroizing<String>,
}

/// The gateway has understood and does not do it.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The status of HTTP.
    pub(crate) status: u16,
    detail: String,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Client {
    pub(crate) fn new(access: &Access) -> anyhow::Result<Self> {
        let (base, address) = base(&access.admin)?;
        // The variable may be set for other gateways.
        let meant = access.ca.is_some() && access.ca != std::env::var_os("PORTCULLIS_CA").map(Into::into);
        if meant && !address.https {
            bail!("`--ca` has an effect with https:// only");
        }
        // Nothing carries the token to where the user did not send it.
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None);
        let config = config.timeout_connect(Some(Duration::from_secs(10))).timeout_per_read(Some(SILENCE));
        let config = if address.https { config.tls_config(tls(access.ca.as_deref())?) } else { config };
        let agent = config.build().new_agent();
        Ok(Self { agent, base, given: access.admin.clone(), token: token(access.token_file.as_deref())? })
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(self.call(Method::GET, path, None, Some(ANSWER))?)
    }

    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        self.answer(self.call(Method::POST, path, Some(body), Some(ANSWER))?)
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.answer(self.call(Method::DELETE, path, None, Some(ANSWER))?)
    }

    /// The items of a list that a query passes, at most so many, from a cursor on if one is given. They are asked for page by page.
    pub(crate) fn items<'a, T: DeserializeOwned>(
        &'a self,
        path: &str,
        query: &[(&str, String)],
        cursor: Option<String>,
        most: usize,
    ) -> impl Iterator<Item = anyhow::Result<T>> + use<'a, T> {
        let query: String = query.iter().map(|(key, value)| format!("&{key}={}", encoded(value))).collect();
        let path = format!("{path}?limit={}{query}", PAGE.min(most));
        Items { client: self, path, cursor, page: Vec::new().into_iter(), more: true }.take(most)
    }

    /// Something of any length and duration, as it comes.
    pub(crate) fn stream(&self, path: &str) -> anyhow::Result<BodyReader<'static>> {
        Ok(self.call(Method::GET, path, None, None)?.into_body().into_reader())
    }

    /// Writes something of any length to a file.
    pub(crate) fn download(&self, path: &str, file: &mut impl Write) -> anyhow::Result<()> {
        let mut body = self.stream(path)?;
        std::io::copy(&mut body, file).with_context(|| format!("the answer of {} is cut short", self.given))?;
        Ok(())
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Option<Duration>,
    ) -> anyhow::Result<Response<Body>> {
        let request = Request::builder().method(method).uri(format!("{}/{path}", self.base));
        let request = request.header("authorization", format!("Bearer {}", *self.token));
        let sent = match body {
            None => {
                let request = self.agent.configure_request(request.body(())?).timeout_global(within).build();
                self.agent.run(request)
            }
            Some(body) => {
                let request = request.header("content-type", "application/json").body(body.to_string())?;
                self.agent.run(self.agent.configure_request(request).timeout_global(within).build())
            }
        };
        let response = sent.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response)) }
    }

    /// Why there is no answer, and the way out if it can be told.
    fn unreachable(&self, error: ureq::Error) -> anyhow::Error {
        let given = &self.given;
        let https = self.base.starts_with("https:");
        let known = match (&error, tls_error(&error)) {
            (_, Some(error)) => distrust(error, given),
            (ureq::Error::Protocol(_), None) if !https => {
                let rest = given.strip_prefix("http://").unwrap_or(given);
                Some(format!("{given} answers, but not in HTTP: this port speaks TLS, it seems; write https://{rest}"))
            }
            _ => None,
        };
        match known {
            Some(known) => anyhow::anyhow!(known),
            None => {
                let context = format!("the gateway does not answer at {given}; `--admin` says where it is");
                anyhow::Error::new(error).context(context)
            }
        }
    }

    fn answer<T: DeserializeOwned>(&self, response: Response<Body>) -> anyhow::Result<T> {
        let text = response.into_body().into_with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = text.with_context(|| format!("the answer of {} is cut short", self.given))?;
        serde_json::from_str(&text).context("the gateway's answer is not understood; is it of another version?")
    }

    /// Why it was not done, as the gateway says it (RFC 9457).
    fn refusal(&self, response: Response<Body>) -> anyhow::Error {
        let status = response.status();
        let text = response.into_body().into_with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let problem: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        let told = ["detail", "title"].iter().find_map(|key| problem[*key].as_str().filter(|told| !told.is_empty()));
        let detail = match (status.as_u16(), told) {
            (401, _) => "the gateway does not know this token".into(),
            (_, Some(told)) => told.to_owned(),
            (_, None) => format!("{} answered {status}; is that a portcullis gateway's HTTP interface?", self.given),
        };
        Refusal { status: status.as_u16(), detail }.into()
    }
}

#[derive(Deserialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

/// The items of a list, in its order.
struct Items<'a, T> {
    client: &'a Client,
    path: String,
    cursor: Option<String>,
    page: std::vec::IntoIter<T>,
    more: bool,
}

impl<T: DeserializeOwned> Items<'_, T> {
    fn turn(&mut self) -> anyhow::Result<()> {
        let cursor = self.cursor.as_ref().map(|cursor| format!("&cursor={}", encoded(cursor))).unwrap_or_default();
        let Page { items, next } = self.client.get(&format!("{}{cursor}", self.path))?;
        if next.is_some() && next == self.cursor {
            bail!("the gateway's list does not go on: its next page is the one before");
        }
        (self.more, self.cursor, self.page) = (next.is_some(), next, items.into_iter());
        Ok(())
    }
}

impl<T: DeserializeOwned> Iterator for Items<'_, T> {
    type Item = anyhow::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.page.next() {
                return Some(Ok(item));
            }
            if !self.more {
                return None;
            }
            if let Err(error) = self.turn() {
                self.more = false;
                return Some(Err(error));
            }
        }
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Why there is no TLS with a gateway, and the way out.
fn distrust(error: &rustls::Error, given: &str) -> Option<String> {
    use rustls::CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else {
        let plain = matches!(error, rustls::Error::InvalidMessage(_));
        return plain.then(|| {
            let rest = given.strip_prefix("https://").unwrap_or(given);
            format!(
                "this port does not speak TLS ({given}); if your token may travel in plain text, write http://{rest}"
            )
        });
    };
    Some(match bad {
        Bad::UnknownIssuer | Bad::BadSignature => {
            "the gateway's certificate is not trusted: give `--ca FILE` with the authority that signed it".into()
        }
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            format!("the gateway's certificate is not for the name in {given}; write a name that it holds (subjectAltName)")
        }
        Bad::Expired | Bad::ExpiredContext { .. } => "the gateway's certificate has expired: it needs a new one".into(),
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "the gateway's certificate is not valid yet; is the time right on both sides?".into()
        }
        // That library has no name for it of its own.
        Bad::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the gateway's certificate is an authority's: make one with `basicConstraints=CA:FALSE`, signed by an authority, \
             and give that as `--ca FILE`"
                .into()
        }
        other => format!("the gateway's certificate cannot be used: {other}"),
    })
}

/// What may stand in a path: identifiers have no other characters.
pub(crate) fn segment(id: &str) -> anyhow::Result<&str> {
    let legal = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !legal {
        let id = safe(id);
        bail!("`{id}` is no identifier; `portcullis sessions list` and `portcullis approvals list` show them");
    }
    Ok(id)
}

/// A value as it stands in a query (RFC 3986 section 2.1).
fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Where the interface's paths begin. Without a scheme it is HTTP, on this machine only: to another, the token would travel in
/// plain text without anybody having said so.
fn base(admin: &str) -> anyhow::Result<(String, Address)> {
    let (admin, has_scheme) = (admin.trim_end_matches('/'), admin.contains("://"));
    let url = if has_scheme { admin.to_owned() } else { format!("http://{admin}") };
    let address = match Address::read(&url) {
        Ok(_) if url.contains('?') => bail!("`--admin` is no address: this URL has a query"),
        Ok(address) => address,
        Err(why) => bail!("`--admin` is no address: {why}; write one such as http://127.0.0.1:9432"),
    };
    if let Some(rest) = admin.strip_suffix("/v1") {
        bail!("leave the path /v1 out of `--admin`: write {rest}");
    }
    if !has_scheme && !is_this_machine(&address.host) {
        bail!(
            "`--admin {admin}` is another machine; if it speaks TLS, write https://{admin}; if your token may travel in plain \
             text, write {url}"
        );
    }
    Ok((format!("{url}/v1"), address))
}

fn tls(ca: Option<&Path>) -> anyhow::Result<TlsConfig> {
    let pem = ca.map(|path| read_file(path, MAX_PEM_BYTES)).transpose().map_err(anyhow::Error::msg)?;
    portcullis_deliver::tls(pem.as_deref())
        .map_err(|why| anyhow::anyhow!("the gateway cannot be known over TLS: {why}"))
}

fn token(file: Option<&Path>) -> anyhow::Result<Zeroizing<String>> {
    let token = match file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?,
        None => std::env::var("PORTCULLIS_TOKEN").map_err(|_| {
            anyhow::anyhow!("there is no token: set the environment variable PORTCULLIS_TOKEN, or give `--token-file`")
        })?,
    };
    let token = Zeroizing::new(token);
    let trimmed = token.trim();
    if trimmed.is_empty() || !trimmed.bytes().all(|b| b.is_ascii_graphic()) {
        bail!("the token is empty or holds characters that no token has");
    }
    Ok(Zeroizing::new(trimmed.to_owned()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// A gateway that answers each connection with the next of these texts; gives back the requests' first lines.
    pub(crate) fn scripted(answers: Vec<String>) -> (Client, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let given = format!("http://{}", listener.local_addr().unwrap());
        let base = format!("{given}/v1");
        let server = std::thread::spawn(move || {
            let serve = |answer: String| {
                let (stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(&stream).lines();
                let first = lines.next().unwrap().unwrap();
                lines.find(|line| line.as_ref().unwrap().is_empty()).unwrap().unwrap();
                (&stream).write_all(answer.as_bytes()).unwrap();
                first.strip_suffix(" HTTP/1.1").unwrap().to_owned()
            };
            answers.into_iter().map(serve).collect()
        });
        let agent = Agent::config_builder().http_status_as_error(false).proxy(None).build().new_agent();
        (Client { agent, base, given, token: Zeroizing::new("token".into()) }, server)
    }

    /// An answer as the gateway sends it.
    pub(crate) fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_bare_address_is_one_of_this_machine() {
        for (admin, expected) in [
            ("127.0.0.1:9432", "http://127.0.0.1:9432/v1"),
            ("localhost:9432/", "http://localhost:9432/v1"),
            ("[::1]:9432", "http://[::1]:9432/v1"),
            ("http://gate.example:9432/", "http://gate.example:9432/v1"),
            ("https://gate.example/portcullis", "https://gate.example/portcullis/v1"),
        ] {
            assert_eq!(base(admin).unwrap().0, expected);
        }
        for (admin, expected) in [
            ("gate.example:9432", "write https://gate.example:9432"),
            ("localhost@gate.example:9432", "before `@`"),
            ("https://gate.example?a=b", "has a query"),
            ("https://gate.example:9432/v1/", "write https://gate.example:9432"),
            ("127.0.0.1:9432 ", "is no address"),
            ("", "is no address"),
        ] {
            let error = base(admin).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_list_is_read_to_its_last_page() {
        let pages = [r#"{"items":[1,2],"next":"a b&c"}"#, r#"{"items":[],"next":"d"}"#, r#"{"items":[3],"next":null}"#];
        let (client, server) = scripted(pages.map(|page| answer("200 OK", page)).to_vec());
        let items = client.items::<u64>("audit/events", &[("text", "drop table\u{e9}".into())], None, usize::MAX);
        assert_eq!(items.collect::<anyhow::Result<Vec<_>>>().unwrap(), [1, 2, 3]);
        let path = "GET /v1/audit/events?limit=1000&text=drop%20table%C3%A9";
        assert_eq!(server.join().unwrap(), [path, &format!("{path}&cursor=a%20b%26c"), &format!("{path}&cursor=d")]);
    }

    #[test]
    fn no_more_pages_are_asked_for_than_are_wanted() {
        let (client, server) = scripted(vec![answer("200 OK", r#"{"items":[1,2],"next":"a"}"#)]);
        let items = client.items::<u64>("sessions", &[], None, 2);
        assert_eq!(items.collect::<anyhow::Result<Vec<_>>>().unwrap(), [1, 2]);
        assert_eq!(server.join().unwrap(), ["GET /v1/sessions?limit=2"]);
    }

    #[test]
    fn a_list_that_does_not_go_on_ends_in_an_error() {
        let page = || answer("200 OK", r#"{"items":[1],"next":"a"}"#);
        let (client, server) = scripted(vec![page(), page()]);
        let items: Vec<_> = client.items::<u64>("sessions", &[], None, usize::MAX).collect();
        assert!(matches!(&items[..], [Ok(1), Err(error)] if error.to_string().contains("does not go on")), "{items:?}");
        server.join().unwrap();
    }

    #[test]
    fn a_refusal_tells_the_gateways_words() {
        let problem = r#"{"type":"about:blank","title":"Conflict","status":409,"detail":"approval k7wz is not open"}"#;
        for (status, body, expected) in [
            ("409 Conflict", problem, "approval k7wz is not open"),
            ("401 Unauthorized", "{}", "does not know this token"),
            ("502 Bad Gateway", "<html>", "is that a portcullis gateway"),
        ] {
            let (client, server) = scripted(vec![answer(status, body)]);
            let error = client.get::<Value>("approvals/k7wz").unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(status.starts_with(&error.downcast_ref::<Refusal>().unwrap().status.to_string()));
            server.join().unwrap();
        }
    }

    #[test]
    fn an_answer_that_is_cut_is_an_error() {
        let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"items\"";
        let (client, server) = scripted(vec![cut.into(), cut.into()]);
        assert!(client.get::<Value>("policies").unwrap_err().to_string().contains("is cut short"));
        assert!(
            client.download("sessions/s/recording", &mut Vec::new()).unwrap_err().to_string().contains("is cut short")
        );
        server.join().unwrap();
    }
}
