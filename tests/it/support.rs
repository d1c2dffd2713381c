//! What several tests need.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::postgres::{self, Postgres};

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
