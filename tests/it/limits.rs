//! How many sessions there may be, of a user, on a target and at all; and what becomes of those that are too many.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD};
use portcullis_tests::place::{Scratch, free_port};
use portcullis_tests::postgres::{self, Postgres};
use portcullis_tests::process::until;
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use crate::evidence::{Client, PATIENCE, connect, json, only_session, told};
use crate::line::{Cut, Line};
use crate::support::{Authority, SHOP, shop, write_private};
use crate::vandals::login;

const OWN: &str = "FATAL: too many connections for user \"alice\": max_sessions of user \"alice\" is 1";
const TARGET: &str = "FATAL: too many connections for target \"shop\": its max_sessions is reached";

/// A gateway whose alice has keys of her own, without policies.
fn limited(postgres: &Postgres, alice: &str, target: &str, more: &str) -> Options {
    let (alice, target, more) = (alice.to_owned(), target.to_owned(), more.to_owned());
    Options { alice, target, more, ..Options::before(postgres) }
}

/// What somebody is told who comes too.
fn refusal(gateway: &Gateway, user: &str) -> String {
    match Client::connect(gateway, user) {
        Ok(_) => "nothing".into(),
        Err(error) => error.to_string(),
    }
}

fn enter(gateway: &Gateway, user: &str) -> Client {
    Client::connect(gateway, user).unwrap()
}

/// Waits until somebody may come in.
fn until_room(gateway: &Gateway, user: &str, why: &str) -> Client {
    until(&format!("there is room after {why}"), PATIENCE, || Client::connect(gateway, user)).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn each_limit_is_told_by_its_name_and_recorded() {
    let postgres = shop();
    let groups = "[[group]]\nname = \"dba\"\nmax_sessions = 1\n[[group]]\nname = \"dev\"\nmax_sessions = 2\n";
    let gateway = Gateway::start(limited(&postgres, "max_sessions = 1\n", "max_sessions = 4\n", groups)).unwrap();
    let _alice = enter(&gateway, "alice");
    assert_eq!(refusal(&gateway, "alice"), OWN);
    let _bobs = [enter(&gateway, "bob"), enter(&gateway, "bob")];
    let dev = "FATAL: too many connections for user \"bob\": max_sessions of group \"dev\" is 2 for each member";
    assert_eq!(refusal(&gateway, "bob"), dev);
    let dora = enter(&gateway, "dora");
    // She is in both groups.
    let dba = "FATAL: too many connections for user \"dora\": max_sessions of group \"dba\" is 1 for each member";
    assert_eq!(refusal(&gateway, "dora"), dba);
    drop(dora);
    let _third = until_room(&gateway, "dora", "she has left");
    // Her own is told before the target's: it is what she can do something about.
    assert_eq!(refusal(&gateway, "dora"), dba);
    let (_, err) = gateway.query("alice", "select 1").unwrap();
    assert!(err.contains(&OWN.replace("FATAL: ", "FATAL:  ")), "{err}");
    let recent = gateway.ask("olga", &["sessions", "list", "--recent"]).unwrap();
    for (user, refused) in [("alice", OWN), ("bob", dev), ("dora", dba)] {
        let refused = format!("refused: {}", refused.trim_start_matches("FATAL: "));
        assert!(recent.lines().any(|l| l.contains(user) && l.contains(&refused)), "{refused}:\n{recent}");
    }
}

#[test]
fn a_storm_gets_exactly_as_many_sessions_as_there_may_be() {
    const COMING: usize = 40;
    let postgres = shop();
    let gateway = Gateway::start(limited(&postgres, "max_sessions = 7\n", "max_sessions = 12\n", "")).unwrap();
    for (users, most, refused) in
        [(["alice", "alice"], 7, OWN.replace("is 1", "is 7")), (["bob", "dora"], 12, TARGET.to_owned())]
    {
        let (mut clients, mut refusals) = (Vec::new(), BTreeMap::<String, usize>::new());
        runtime().block_on(async {
            let task = |n: usize| tokio::spawn(connect(gateway.port, users[n % 2], Arc::default()));
            let tasks: Vec<_> = (0..COMING).map(task).collect();
            for task in tasks {
                match task.await.unwrap() {
                    Ok(client) => clients.push(client),
                    Err(error) => {
                        assert_eq!(error.code().map(|c| c.code()), Some("53300"), "{error}");
                        *refusals.entry(told(&error)).or_default() += 1;
                    }
                }
            }
        });
        assert_eq!((clients.len(), refusals), (most, BTreeMap::from([(refused, COMING - most)])));
        drop(clients);
        until("all have left", PATIENCE, || {
            let live = json(&gateway, &["sessions", "list"])?;
            ensure!(live.is_empty(), "{live:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn every_end_of_a_session_makes_room() {
    let postgres = shop();
    let more = "[limits]\nidle_s = 2\nconnect_ms = 500\n";
    let mut gateway = Gateway::start(limited(&postgres, "max_sessions = 1\n", "", more)).unwrap();
    let full = |gateway: &Gateway| assert_eq!(refusal(gateway, "alice"), OWN);

    let client = enter(&gateway, "alice");
    full(&gateway);
    drop(client);
    let client = until_room(&gateway, "alice", "its client has left");
    gateway.ask("olga", &["sessions", "kill", &only_session(&gateway)]).unwrap();
    drop(until_room(&gateway, "alice", "it was killed"));
    assert!(client.query("select 1").is_err());

    let client = until_room(&gateway, "alice", "its client has left");
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'portcullis'";
    postgres.sql("shop", end).unwrap();
    drop(until_room(&gateway, "alice", "the server has ended it"));
    assert!(client.query("select 1").is_err());

    let client = until_room(&gateway, "alice", "its client has left");
    drop(until_room(&gateway, "alice", "it was idle"));
    assert!(client.query("select 1").is_err());

    // Sessions that never open.
    let port = free_port().unwrap();
    gateway.configure(|options| options.upstream = port).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    for _ in 0..3 {
        let told = until("there is room", PATIENCE, || {
            let told = refusal(&gateway, "alice");
            ensure!(told != OWN, "{told}");
            Ok(told)
        });
        assert_eq!(told.unwrap(), "FATAL: the server behind this target cannot be reached");
    }
    gateway.configure(|options| options.upstream = postgres.port).unwrap();
    assert!(gateway.reload().unwrap().status.success());
    drop(until_room(&gateway, "alice", "the server could not be reached"));
}

#[test]
fn a_reload_changes_limits_and_ends_nobody() {
    let postgres = shop();
    let mut gateway = Gateway::start(limited(&postgres, "max_sessions = 3\n", "", "")).unwrap();
    let reload = |gateway: &mut Gateway, alice: &str, target: &str| {
        gateway.configure(|o| (o.alice, o.target) = (alice.into(), target.into())).unwrap();
        assert!(gateway.reload().unwrap().status.success());
    };
    let mut clients = vec![enter(&gateway, "alice"), enter(&gateway, "alice"), enter(&gateway, "alice")];
    reload(&mut gateway, "max_sessions = 1\n", "");
    for left in [2, 1] {
        assert_eq!(refusal(&gateway, "alice"), OWN);
        clients.iter().for_each(|client| assert_eq!(client.query("select 7"), Ok(vec!["7".to_owned()])));
        clients.pop();
        until("it has left", PATIENCE, || {
            let live = json(&gateway, &["sessions", "list"])?;
            ensure!(live.len() == left, "{live:?}");
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(refusal(&gateway, "alice"), OWN);
    reload(&mut gateway, "max_sessions = 2\n", "max_sessions = 1\n");
    assert_eq!(refusal(&gateway, "bob"), TARGET);
    reload(&mut gateway, "", "");
    clients.extend([enter(&gateway, "alice"), enter(&gateway, "bob")]);
    assert_eq!(clients.len(), 3);
}

/// A client of a gateway that speaks TLS.
fn behind_tls(gateway: &Gateway, text: &str) -> Command {
    gateway.psql("alice", &["-d", "dbname=shop sslmode=require", "-c", text]).unwrap()
}

#[test]
fn who_finds_the_gateway_full_is_told_so_behind_tls_and_may_cancel() {
    let postgres = shop();
    let (certificate, key) = Authority::new().issue("localhost", true);
    let scratch = Scratch::new("full").unwrap();
    write_private(&scratch, "server.crt", &certificate);
    write_private(&scratch, "server.key", &key);
    let mut options = limited(&postgres, "", "", "[limits]\nconnections = 1\n");
    options.listener = "[postgres.tls]\ncertificate = \"server.crt\"\nkey = \"file:server.key\"\n".into();
    let gateway = Gateway::start_in(scratch, options).unwrap();
    let mut busy = behind_tls(&gateway, "select pg_sleep(600)");
    let busy = busy.stderr(Stdio::piped()).spawn().unwrap();
    until("the only place is taken", PATIENCE, || {
        let running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'";
        ensure!(postgres.sql("shop", running)? == "1", "it does not run");
        Ok(())
    })
    .unwrap();
    let output = behind_tls(&gateway, "select 1").output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("FATAL:  too many connections for the gateway: limits.connections is reached"), "{err}");
    let recent = gateway.ask("olga", &["sessions", "list", "--recent"]).unwrap();
    assert!(recent.contains("refused: too many connections for the gateway"), "{recent}");
    let interrupt = Command::new("kill").args(["-s", "INT", &busy.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let err = String::from_utf8(busy.wait_with_output().unwrap().stderr).unwrap();
    assert!(err.contains("canceling statement due to user request"), "{err}");
    // Its place is free again.
    let works = || -> Result<()> {
        let output = behind_tls(&gateway, "select 7").output()?;
        String::from_utf8(output.stdout)?.trim().parse::<i32>().map(drop).context("it is refused")
    };
    until("there is room", PATIENCE, works).unwrap();
}

#[test]
fn a_server_that_is_full_is_told_as_such() {
    let options = postgres::Options { connections: 5, setup: SHOP.into(), ..postgres::Options::default() };
    let postgres = Postgres::start(&options).unwrap();
    let gateway = Gateway::start(Options::before(&postgres)).unwrap();
    // Three of the five are kept for superusers.
    let clients = [enter(&gateway, "alice"), enter(&gateway, "alice")];
    let config = format!("host=127.0.0.1 port={} user=alice dbname=shop password={USER_PASSWORD}", gateway.port);
    let error = runtime().block_on(tokio_postgres::connect(&config, NoTls)).err().unwrap();
    assert_eq!(error.code().map(|c| c.code()), Some("53300"));
    assert_eq!(told(&error), "FATAL: too many connections for target \"shop\": its server takes no more");
    drop(clients);
    until_room(&gateway, "alice", "the others have left");
}

#[test]
fn whoever_takes_nothing_of_what_the_system_holds_for_them_is_given_up() {
    let postgres = shop();
    let gateway =
        Gateway::start(limited(&postgres, "max_sessions = 1\n", "", "[limits]\nwrite_stall_s = 1\n")).unwrap();
    let runtime = runtime();
    let (client, _driver) = runtime.block_on(async {
        let (line, ends) = Line::dial(gateway.port, Cut::Close).await.unwrap();
        let (client, connection) = login("alice", "shop").connect_raw(line, NoTls).await.unwrap();
        ends.down.limit(1000);
        let driver = tokio::spawn(connection);
        // More than fits into what the client's system takes unread, and less than the gateway's system takes at once.
        client.simple_query_raw("select repeat('x', 1000) from generate_series(1, 200)").await.unwrap();
        ends.down.dry().await;
        (client, driver)
    });
    drop(until_room(&gateway, "alice", "its client takes nothing"));
    drop(client);
}
