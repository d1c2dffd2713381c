//! What several tests need.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::nothing_may_be_missing;
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::{self, Postgres};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};

/// The sample data of the quickstart.
pub(crate) const SHOP: &str = include_str!("../../examples/quickstart/shop.sql");

/// A server with the sample data.
pub(crate) fn shop() -> Postgres {
    Postgres::start(&postgres::Options { setup: SHOP.into(), ..postgres::Options::default() }).unwrap()
}

/// Labels of the personal data in the sample data.
pub(crate) const LABELS: &str = "[target.column_labels]\n\
    \"public.customers.email\" = [\"pii\", \"pii.email\"]\n\
    \"public.customers.card\" = [\"pii\", \"pii.card\"]\n\
    \"public.customers.ssn\" = [\"pii\", \"pii.ssn\"]\n";

/// A gateway with all the ready-made policies.
pub(crate) fn guarded(postgres: &Postgres) -> Options {
    let mut options = Options::before(postgres)
        .with("no-destructive-sql", "policies/no-destructive-sql", "capabilities = [\"clock\"]")
        .with("review-schema-changes", "policies/review-schema-changes", "")
        .with("hide-personal-data", "policies/hide-personal-data", "")
        .with("fair-use", "policies/fair-use", "capabilities = [\"state\"]");
    options.target = LABELS.into();
    options
}

/// A server and a gateway with all the ready-made policies, shared by the tests that run at the same time and change nothing
/// in them.
pub(crate) struct Common {
    pub(crate) gateway: Gateway,
    pub(crate) postgres: Postgres,
}

/// See [`Common`]. The last test that holds it stops both.
pub(crate) fn common() -> Arc<Common> {
    static SHARED: Mutex<Weak<Common>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(common) = shared.upgrade() {
        return common;
    }
    let postgres = shop();
    let common = Arc::new(Common { gateway: Gateway::start(guarded(&postgres)).unwrap(), postgres });
    *shared = Arc::downgrade(&common);
    common
}

/// Says that a test was skipped, where that may be.
pub(crate) fn skipped(what: impl Display) {
    assert!(!nothing_may_be_missing(), "{what}");
    eprintln!("skipped: {what}");
}

/// A certificate authority for a test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn certificate(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate and its key for a name, and for 127.0.0.1 if it is a server's.
    pub(crate) fn issue(&self, name: &str, server: bool) -> (String, String) {
        let mut params = CertificateParams::new(if server { vec!["localhost".to_owned()] } else { vec![] }).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if server {
            params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Writes a file that only its owner may read, and gives its path.
pub(crate) fn write_private(scratch: &Scratch, name: &str, text: &str) -> String {
    let path = scratch.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// SplitMix64: what is tried is the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
