//! The drivers that people use, each in text and binary where it can, through masks and denials.

use std::process::Command;

use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD};
use portcullis_tests::place::Scratch;
use portcullis_tests::{clients, place};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::support::{Authority, guarded, shop, skipped, write_private};

/// Starts a gateway for a driver, once in plain text and once with TLS, and says which.
fn each_mode(mut check: impl FnMut(&Gateway, &'static str, &Authority)) {
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

/// Runs what plays with a driver, which prints `ok` at its end.
fn run(what: &str, command: Option<Command>) {
    let Some(mut command) = command else {
        return skipped(format!("what runs {what} is missing; `cargo xtask setup` installs it"));
    };
    each_mode(|gateway, mode, _| {
        command.env("PGSSLMODE", mode).env("PGHOST", "127.0.0.1").env("PGPORT", gateway.port.to_string());
        command.env("PGUSER", "alice").env("PGDATABASE", "shop").env("PGPASSWORD", USER_PASSWORD);
        let output = command.output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && out.trim_end().ends_with("ok"), "{what} with TLS {mode}:\n{out}{err}");
    });
}

/// Runs a script in the language of a program.
fn script(name: &str, program: Option<Command>) {
    let with_script = |mut program: Command| {
        program.arg(place::root().join("tests/clients").join(name));
        program
    };
    run(name, program.map(with_script));
}

fn python() -> Option<Command> {
    clients::python::python().map(Command::new)
}

#[test]
fn psycopg() {
    script("psycopg_3.py", python());
}

#[test]
fn psycopg2() {
    script("psycopg_2.py", python());
}

#[test]
fn asyncpg() {
    script("asyncpg_all.py", python());
}

#[test]
fn pg8000() {
    script("pg8000_all.py", python());
}

#[test]
fn sqlalchemy() {
    script("sqlalchemy_orm.py", python());
}

#[test]
fn node_postgres() {
    script("node_postgres.js", clients::node::node());
}

#[test]
fn postgres_js() {
    script("postgres_js.js", clients::node::node());
}

#[test]
fn sequelize() {
    script("sequelize_orm.js", clients::node::node());
}

#[test]
fn pgjdbc() {
    script("PgJdbc.java", clients::java::java());
}

#[test]
fn pgx() {
    let with_program = |mut go: Command| {
        go.args(["run", "."]);
        go
    };
    run("pgx", clients::go::go().map(with_program));
}

#[test]
fn sqlx() {
    match clients::rust::sqlx() {
        Some(program) => run("sqlx", Some(Command::new(program))),
        None => skipped("the program with sqlx is not built; `cargo xtask test` builds it"),
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
