//! Addresses of HTTP services, to which secrets go: where they may go, and what an address must not hold.

use std::net::IpAddr;

use ureq::http::Uri;

/// A URL that holds together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether it is protected by TLS.
    pub(crate) https: bool,
    /// The host's name or address.
    pub(crate) host: String,
}

impl Address {
    /// Reads a URL. No error repeats it: some hold secrets.
    pub(crate) fn read(url: &str) -> Result<Self, &'static str> {
        // A fragment is never sent, so somebody meant something else by it.
        if url.contains('#') {
            return Err("this URL holds a `#`");
        }
        let uri: Uri = url.parse().map_err(|_| "this is no URL")?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("this is no URL of HTTP"),
        };
        let authority =
            uri.authority().filter(|authority| !authority.host().is_empty()).ok_or("this URL has no host")?;
        if authority.as_str().contains('@') {
            return Err("this URL holds a name or a password before `@`");
        }
        Ok(Self { https, host: authority.host().to_owned() })
    }

    /// Reads a URL to which secrets may go: one of HTTPS, or of this machine.
    pub(crate) fn guarded(url: &str) -> Result<Self, &'static str> {
        let address = Self::read(url)?;
        if address.https || is_this_machine(&address.host) {
            return Ok(address);
        }
        Err("what is sent to this URL can be read on the way: it is another machine's, and not of HTTPS")
    }
}

/// Whether nothing that goes there leaves this machine.
pub(crate) fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_https_or_stay_on_this_machine() {
        for url in [
            "https://gate.example",
            "https://gate.example:9432/a?b=c",
            "http://127.0.0.1:80/",
            "http://[::1]:80",
            "http://localhost",
        ] {
            assert!(Address::guarded(url).is_ok(), "{url}");
        }
        for (url, expected) in [
            ("http://gate.example", "read on the way"),
            ("http://127.0.0.1.gate.example", "read on the way"),
            ("http://localhost@gate.example", "before `@`"),
            ("https://me:hunter2@gate.example", "before `@`"),
            ("https://gate.example/#x", "holds a `#`"),
            ("ftp://gate.example", "no URL of HTTP"),
            ("gate.example", "no URL of HTTP"),
            ("https://", "no URL"),
            ("", "no URL"),
        ] {
            let why = Address::guarded(url).expect_err(url);
            assert!(why.contains(expected) && !why.contains("hunter2"), "{url}: {why}");
        }
    }
}
