//! The drivers that people use, each in text and binary where it can, through masks and denials.

use std::process::Command;

use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD};
use portcullis_tests::place::Scratch;
use portcullis_tests::{clients, place};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::support::{Authority, guarded, shop, skipped, write_private};

/// Starts a gateway for a driver, once in plain text and once with TLS, and says which.
fn each_mode(check: impl Fn(&Gateway, &'static str, &Authority)) {
    for mode in ["disable", "require"] {
        let postgres = shop();
        let scratch = Scratch::new("driver").unwrap();
        let authority = Authority::new();
        let (certificate, key) = authority.issue("localhost", true);
        write_private(&scratch, "server.crt", &certificate);
        write_private(&scratch, "server.key", &key);
        let tls = "[postgres.tls]\ncertificate = \"server.crt\"\nkey = \"file:server.key\"\n";
        let options = guarded(&postgres);
        let listener = if mode == "require" { tls.to_owned() } else { String::new() };
        check(&Gateway::start_in(scratch, Options { listener, ..options }).unwrap(), mode, &authority);
    }
}

/// Runs a driver's script, which prints `ok` at its end.
fn run(command: impl Fn() -> Command, script: &str) {
    each_mode(|gateway, mode, _| {
        let mut command = command();
        command.arg(place::root().join("tests/clients").join(script)).env("PGSSLMODE", mode);
        command.env("PGHOST", "127.0.0.1").env("PGPORT", gateway.port.to_string());
        command.env("PGUSER", "alice").env("PGDATABASE", "shop").env("PGPASSWORD", USER_PASSWORD);
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.trim_end().ends_with("ok"), "{script} with TLS {mode}:\n{out}{err}");
    });
}

fn missing(what: &str) {
    skipped(format!("{what} is missing; `cargo xtask setup` installs it"));
}

#[test]
fn psycopg() {
    match clients::python() {
        Some(python) => run(|| Command::new(&python), "psycopg_3.py"),
        None => missing("psycopg"),
    }
}

#[test]
fn asyncpg() {
    match clients::python() {
        Some(python) => run(|| Command::new(&python), "asyncpg_all.py"),
        None => missing("asyncpg"),
    }
}

#[test]
fn node_postgres() {
    match clients::node() {
        Some(directory) => run(
            || {
                let mut node = Command::new("node");
                node.env("NODE_PATH", directory.join("node_modules"));
                node
            },
            "node_postgres.js",
        ),
        None => missing("node-postgres"),
    }
}

#[test]
fn tokio_postgres_in_binary() {
    each_mode(|gateway, mode, authority| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(play(gateway, mode, authority));
    });
}

async fn play(gateway: &Gateway, mode: &str, authority: &Authority) {
    let config =
        format!("host=127.0.0.1 port={} user=alice dbname=shop password={USER_PASSWORD} sslmode={mode}", gateway.port);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = MakeRustlsConnect::new(tls.with_root_certificates(roots).with_no_client_auth());
    let (client, connection) = tokio_postgres::connect(&config, tls).await.unwrap();
    tokio::spawn(connection);
    let row = client.query_one("select id, email, card, ssn from customers where id = $1", &[&1i32]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    assert_eq!(row.get::<_, String>(1), "a***@example.com");
    assert_eq!(row.get::<_, String>(2), "***************1111");
    let error = client.query("delete from orders", &[]).await.unwrap_err();
    assert_eq!(error.code().map(|c| c.code()), Some("42501"));
    // Many statements on their way at once, one of which is denied.
    let (a, b, c) = tokio::join!(
        client.query_one("select count(*) from orders", &[]),
        client.execute("update orders set cents = 0", &[]),
        client.query_one("select 2::int4", &[]),
    );
    assert_eq!(a.unwrap().get::<_, i64>(0), 40);
    assert!(b.is_err());
    assert_eq!(c.unwrap().get::<_, i32>(0), 2);
}
