//! What is known to get past policies elsewhere, tried class by class against a real server. `docs/postgres.md` has the list in words.

mod door;
mod effects;
mod leaks;
mod masks;
mod order;
mod script;
mod text;
mod wire;

use std::time::Duration;

use anyhow::ensure;
use portcullis_tests::gateway::Options;
use portcullis_tests::postgres::Postgres;
use portcullis_tests::process::until;

/// Protocol 3.0.
const V3: u32 = 3 << 16;
const ALICE: [(&str, &str); 2] = [("user", "alice"), ("database", "shop")];

/// A gateway with only the policy that refuses.
fn refusing(postgres: &Postgres) -> Options {
    Options::before(postgres).with("no-destructive-sql", "policies/no-destructive-sql", "capabilities = [\"clock\"]")
}

/// What is in the sample's orders.
fn orders(postgres: &Postgres) -> String {
    postgres.sql("shop", "select count(*), sum(cents) from orders").unwrap()
}

/// Waits until so many sessions sleep at the server.
fn await_sleepers(postgres: &Postgres, count: usize) {
    until("so many sleep", Duration::from_secs(30), || {
        let text = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and state = 'active' and pid <> pg_backend_pid()";
        let found = postgres.sql("shop", text)?;
        ensure!(found == count.to_string(), "{found} sleep");
        Ok(())
    })
    .unwrap();
}
