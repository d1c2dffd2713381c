//! TLS for both sides, from PEM files.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::secret::read;

/// The protocols' names in ALPN: clients that offer one are not mistaken for another protocol's.
pub(crate) const POSTGRESQL: &[u8] = b"postgresql";
/// HTTP/1.1 (RFC 7301 section 6).
pub(crate) const HTTP: &[u8] = b"http/1.1";

/// Files longer than this are no certificates.
const MAX_PEM_BYTES: u64 = 4 << 20;

/// The listener's certificate, which may be replaced while clients connect.
#[derive(Debug)]
pub(crate) struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// Starts with this one.
    pub(crate) fn new(key: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(key)))
    }

    /// New handshakes use this one.
    pub(crate) fn replace(&self, key: Arc<CertifiedKey>) {
        self.0.store(key);
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Reads a certificate chain and takes its key; they must belong together.
pub(crate) fn certified(chain: &Path, key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let certificates = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key is not a private key in PEM".to_owned())?;
    match CertifiedKey::from_der(certificates, key, &provider()) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(format!("the key does not belong to {}", chain.display())),
        Err(error) => Err(format!("certificate and key cannot be used: {error}")),
    }
}

/// Whether a certificate says that it is an authority's, as `openssl req -x509` makes it unless told otherwise.
pub(crate) fn is_authority(certified: &CertifiedKey) -> bool {
    let read = certified.cert.first().and_then(|der| x509_parser::parse_x509_certificate(der).ok());
    read.is_some_and(|(_, certificate)| certificate.is_ca())
}

/// A listener's side of TLS.
pub(crate) fn server(
    certificate: Arc<Certificate>,
    client_ca: Option<RootCertStore>,
    protocol: &[u8],
) -> Result<Arc<ServerConfig>, String> {
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            // A client without a certificate may still log in with SCRAM.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = verifier.allow_unauthenticated().build().map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}

/// The gateway's side of TLS towards a server.
pub(crate) fn client(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![POSTGRESQL.to_vec()];
    Ok(Arc::new(config))
}

/// The authorities in a PEM file.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("{} holds a certificate that cannot be used: {error}", path.display()))?;
    }
    Ok(roots)
}

/// The text of a PEM file whose authorities can be used.
pub(crate) fn pem(path: &Path) -> Result<Vec<u8>, String> {
    authorities(path)?;
    read(path, MAX_PEM_BYTES)
}

/// The authorities that the operating system trusts.
pub(crate) fn system_authorities() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Systems carry certificates that rustls refuses; those vouch for nobody.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err("the operating system has no certificate authorities".into()) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path, MAX_PEM_BYTES)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(format!("{} holds no certificate in PEM", path.display())),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
