//! No upstream credential and no unmasked value is left behind: the bytes of everything that the gateway wrote are searched.

use portcullis_tests::gateway::{Gateway, USER_PASSWORD};
use portcullis_tests::postgres;
use portcullis_tests::postgres::{PASSWORD, Postgres};
use portcullis_tests::process::holds;

use crate::recordings;
use crate::support::{SHOP, guarded};

#[test]
fn nothing_that_the_gateway_wrote_holds_a_secret() {
    // In plain text on the wire, so that a log of the wire would show it.
    let options = postgres::Options { method: "password", setup: SHOP.into(), ..postgres::Options::default() };
    let postgres = Postgres::start(&options).unwrap();
    let mut options = guarded(&postgres);
    options.target = format!("record = \"results\"\n{}", options.target);
    options.more = "[log]\nlevel = \"trace\"\n".into();
    let mut gateway = Gateway::start(options).unwrap();
    for text in [
        "select * from customers",
        "select email, card, ssn, note from customers",
        "copy customers to stdout",
        "select email::integer from customers",
        "select 1/0",
    ] {
        let (out, err) = gateway.query("alice", text).unwrap();
        assert!(!(out + &err).contains("grace@example.com"), "{text}");
    }
    let mut wrong = gateway.psql("alice", &["-c", "select 1"]).unwrap();
    wrong.env("PGPASSWORD", "a-wrong-password-5Tt").output().unwrap();
    let recorded = gateway.ask("olga", &["sessions", "list", "--recent"]).unwrap();
    assert!(recorded.contains("alice"));
    // What is compressed on disk is searched as what it holds.
    gateway.ask("olga", &["audit", "export", "--output", "audit.jsonl"]).unwrap();
    gateway.stop().unwrap();

    let directory = gateway.directory().to_owned();
    std::fs::write(directory.join("recordings"), recordings::contents(&gateway)).unwrap();
    for place in ["audit.jsonl", "recordings"] {
        assert!(holds(&directory.join(place), b"select * from customers").unwrap(), "{place} has the commands");
    }
    assert!(holds(&directory.join("recordings"), b"a***@example.com").unwrap(), "recordings have results");
    for secret in [
        PASSWORD,
        USER_PASSWORD,
        "a-wrong-password-5Tt",
        "grace@example.com",
        "4111 1111 1111 1111",
        "234-56-7890",
        "ada.home@example.org",
        "bob-token-Xc3",
    ] {
        for place in ["data", "log", "audit.jsonl", "recordings"] {
            assert!(!holds(&directory.join(place), secret.as_bytes()).unwrap(), "{place} holds {secret}");
        }
    }
}
