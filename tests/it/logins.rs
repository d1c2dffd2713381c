//! Who gets in, on either side.

use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::{self, Postgres};

use crate::support::{Authority, SHOP, common, shop, write_private};

/// psql's own error for a connection with these extra parameters.
fn connect(gateway: &Gateway, user: &str, more: &str) -> (String, String) {
    let conninfo = format!("dbname=shop {more}");
    let output = gateway.psql(user, &["-d", &conninfo, "-c", "select current_database()"]).unwrap().output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn strangers_and_wrong_passwords_look_the_same() {
    let common = common();
    let attempt = |user: &str| connect(&common.gateway, user, "password=wrong").1;
    let (known, unknown) = (attempt("alice"), attempt("mallory"));
    assert!(known.contains("password authentication failed"), "{known}");
    assert_eq!(known.replace("alice", "_"), unknown.replace("mallory", "_"));
    // Who was refused is in the audit, under the name that was claimed.
    let recent = common.gateway.ask("olga", &["sessions", "list", "--recent"]).unwrap();
    let told = |l: &&str| l.contains("mallory") && l.contains("refused: password authentication failed");
    assert!(recent.lines().find(told).is_some(), "{recent}");
}

#[test]
fn the_target_is_chosen_by_database_or_by_user() {
    let common = common();
    assert!(connect(&common.gateway, "alice", "dbname=other").1.contains("there is no target \"other\""));
    assert_eq!(connect(&common.gateway, "shop:alice", "dbname=whatever").0, "shop");
}

#[test]
fn startup_parameters_cannot_change_meanings() {
    let common = common();
    let options = |options: &str| {
        let mut psql = common.gateway.psql("alice", &["-c", "show timezone"]).unwrap();
        let output = psql.env("PGOPTIONS", options).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert!(options("-c search_path=evil").contains("may not be set"));
    assert_eq!(options("-c timezone=Asia/Tokyo").trim(), "Asia/Tokyo");
}

#[test]
fn every_method_of_the_server_works() {
    for method in ["trust", "password", "md5", "scram-sha-256"] {
        let options = postgres::Options { method, setup: SHOP.into(), ..postgres::Options::default() };
        let postgres = Postgres::start(&options).unwrap();
        let gateway = Gateway::start(Options::before(&postgres)).unwrap();
        assert_eq!(gateway.query("alice", "select current_user").unwrap().0, postgres::ROLE, "{method}");
    }
}

#[test]
fn a_server_that_cannot_be_reached_is_said_to_be_so_and_no_more() {
    let postgres = shop();
    let mut options = Options::before(&postgres);
    options.upstream = portcullis_tests::place::free_port().unwrap();
    let gateway = Gateway::start(options).unwrap();
    let (_, err) = gateway.query("alice", "select 1").unwrap();
    assert!(err.contains("cannot be reached") && !err.contains(postgres::ROLE), "{err}");
}

#[test]
fn tls_protects_both_sides() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost", true);
    let tls = Some((certificate.clone(), key.clone()));
    let postgres =
        Postgres::start(&postgres::Options { tls, setup: SHOP.into(), ..postgres::Options::default() }).unwrap();
    let scratch = Scratch::new("tls").unwrap();
    let write = |name: &str, text: &str| write_private(&scratch, name, text);
    let ca = write("ca.crt", &authority.pem());
    write("server.crt", &certificate);
    write("server.key", &key);
    let (cert, key) = authority.issue("alice", false);
    let (cert, key) = (write("alice.crt", &cert), write("alice.key", &key));
    let stranger = Authority::new();
    let other_ca = write("other-ca.crt", &stranger.pem());
    let (forged, forged_key) = stranger.issue("alice", false);
    let (forged, forged_key) = (write("forged.crt", &forged), write("forged.key", &forged_key));

    let mut options = Options::before(&postgres);
    options.protection = "ca = \"ca.crt\"\n".into();
    options.listener = "[postgres.tls]\ncertificate = \"server.crt\"\nkey = \"file:server.key\"\nclient_ca = \"ca.crt\"\nrequired = true\n".into();
    let mut gateway = Gateway::start_in(scratch, options).unwrap();

    let verified = format!("sslmode=verify-full sslrootcert={ca}");
    assert_eq!(connect(&gateway, "alice", &verified), ("shop".into(), String::new()));
    assert!(
        connect(&gateway, "alice", "sslmode=disable").1.contains("encrypted"),
        "plain text gets no password prompt"
    );
    let certificate = format!("{verified} sslcert={cert} sslkey={key} password=none");
    assert_eq!(connect(&gateway, "alice", &certificate).0, "shop", "a certificate needs no password");
    let (_, err) = connect(&gateway, "bob", &certificate);
    assert!(err.contains("authentication failed"), "alice's certificate is not bob's: {err}");
    let forged = format!("{verified} sslcert={forged} sslkey={forged_key} password=none");
    assert_ne!(connect(&gateway, "alice", &forged).0, "shop", "another authority's certificate proves nothing");
    assert_eq!(postgres.sql("shop", "select 1").unwrap(), "1");

    // The server's certificate has to be by the authority that the configuration names.
    gateway.configure(|o| o.protection = format!("ca = {other_ca:?}\n")).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    assert!(connect(&gateway, "alice", &verified).1.contains("cannot be reached"));
    // And plain text has to be asked for.
    gateway.configure(|o| o.protection = "tls = \"disable\"\n".into()).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    assert!(connect(&gateway, "alice", &verified).1.contains("cannot be reached"), "the server takes only TLS");
}

#[test]
fn a_session_can_be_ended_from_outside() {
    let postgres = shop();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    let mut psql = gateway.psql("alice", &["-c", "select pg_sleep(600)"]).unwrap();
    let child = psql.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let id = portcullis_tests::process::until("the session opens", std::time::Duration::from_secs(20), || {
        let list: serde_json::Value = serde_json::from_str(&gateway.ask("olga", &["sessions", "list", "--json"])?)?;
        let text = list.to_string();
        let id = text.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next());
        id.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("{text}"))
    })
    .unwrap();
    gateway.ask("olga", &["sessions", "kill", &id]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("administrator command"));
    let missing = gateway.cli("olga", &["sessions", "kill", &id]).unwrap();
    assert!(!missing.status.success());
}
