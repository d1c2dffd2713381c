//! The tests that drivers have of themselves, before a gateway that only records: each ends as it ends without a gateway. What ends
//! otherwise is listed with its reason, which is a limit that docs/postgres.md names.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use portcullis_tests::clients::suites::{ASYNCPG, PG8000, Suite};
use portcullis_tests::gateway::{Gateway, Options, USER_PASSWORD, verifier};
use portcullis_tests::place::{Scratch, portcullis, root};
use portcullis_tests::postgres::{PASSWORD, Postgres};
use portcullis_tests::{clients, postgres};
use serde_json::Value;

use crate::support::skipped;

/// How a test ended, by its name.
type Outcomes = BTreeMap<String, String>;

/// The databases that the suites use, some of which they make.
const DATABASES: [&str; 3] = ["postgres", "testdb", "asyncpg_intro_test"];

/// A server with a superuser, and a gateway where a user and targets have the names of that role and its databases.
fn sides(setup: &str) -> (Postgres, Gateway) {
    let postgres = Postgres::start(&postgres::Options::default()).unwrap();
    postgres.sql("postgres", &format!("alter role postgres password '{PASSWORD}'; {setup}")).unwrap();
    let verifier = verifier(&portcullis("debug").unwrap()).unwrap();
    let mut more = format!("[[user]]\nname = \"postgres\"\ngroups = []\nscram = \"{verifier}\"\n");
    for name in DATABASES {
        more += &format!(
            "[[target]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"{name}\"\nuser = \"postgres\"\n\
             password = \"env:UPSTREAM_PASSWORD\"\npolicies = []\ntls = \"disable\"\n",
            postgres.port
        );
    }
    let gateway = Gateway::start(Options { more, ..Options::before(&postgres) }).unwrap();
    (postgres, gateway)
}

/// Runs a suite without a gateway and through it. What may end otherwise stands in `known`, as the beginning of a test's name and why.
fn compare(setup: &str, known: &[(&str, &str)], run: impl Fn(&mut Command) -> Outcomes, command: impl Fn() -> Command) {
    let (postgres, gateway) = sides(setup);
    let at = |port: u16, password: &str| {
        let mut command = command();
        command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGPASSWORD", password);
        run(command.env("PGUSER", "postgres").env("PGDATABASE", "postgres"))
    };
    let direct = at(postgres.port, PASSWORD);
    let through = at(gateway.port, USER_PASSWORD);
    assert_eq!(direct.len(), through.len());
    let passed = direct.values().filter(|outcome| outcome.starts_with("pass")).count();
    println!("{} tests, {passed} of which pass without a gateway", direct.len());
    assert!(passed > 100, "{direct:?}");
    let mut unseen: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let mut problems = Vec::new();
    for (name, outcome) in &direct {
        let found = through.get(name).map_or("missing", String::as_str);
        if found == outcome {
            continue;
        }
        match known.iter().find(|(known, _)| name.starts_with(known)) {
            Some((known, _)) => unseen.retain(|name| name != known),
            None => problems.push(format!("{name}: {outcome} without the gateway, {found} through it")),
        }
    }
    problems.extend(unseen.iter().map(|name| format!("{name} ends the same: take it from the list")));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The tests of pgx, by their packages.
fn go(setup: &str, known: &[(&str, &str)]) {
    if clients::go::suite().is_none() {
        return skipped("the tests of pgx are missing; `cargo xtask setup` installs them");
    }
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        let events = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        let outcome = |event: Value| {
            let of = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let name = format!("{}.{}", of("Package").trim_start_matches("github.com/jackc/pgx/v5"), of("Test"));
            let ended = ["pass", "fail", "skip"].contains(&of("Action").as_str()) && event["Test"].is_string();
            // Directories for one run only are in the names of some, which know no server.
            (ended && !name.contains("/001/")).then(|| (name, of("Action")))
        };
        events.filter_map(outcome).collect()
    };
    compare(setup, known, run, || {
        let mut command = clients::go::suite().unwrap();
        // The packages that know a server, one at a time: they share the database.
        command.args([
            "test",
            "-json",
            "-count=1",
            "-p=1",
            "-vet=off",
            "-short",
            ".",
            "./pgconn",
            "./pgtype",
            "./pgxpool",
            "./stdlib",
        ]);
        // What is not said here stands in the environment as for libpq.
        command.env("PGX_TEST_DATABASE", "application_name=pgx");
        command
    });
}

/// A suite for pytest, with options that leave tests out.
fn pytest(suite: Suite, setup: &str, left_out: &[&str], known: &[(&str, &str)]) {
    let (Some(python), Some(directory)) = (clients::python::python(), suite.directory()) else {
        return skipped(format!("{suite:?} is missing; `cargo xtask setup` installs it"));
    };
    let scratch = Scratch::new("suite").unwrap();
    let file = scratch.path().join("outcomes");
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        let log = String::from_utf8_lossy(&output.stdout);
        let outcomes = fs::read_to_string(&file).unwrap_or_else(|_| panic!("no test ran:\n{log}"));
        fs::remove_file(&file).unwrap();
        let pair = |line: &str| line.split_once(' ').map(|(outcome, name)| (name.to_owned(), outcome.to_owned()));
        outcomes.lines().filter_map(pair).collect()
    };
    compare(setup, known, run, || {
        let mut command = Command::new(&python);
        command.args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "outcomes",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
        ]);
        command.args(left_out).current_dir(&directory);
        command
            .env("PYTHONPATH", root().join("tests/clients"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("OUTCOMES", &file);
        command
    });
}

const USERS: &str = "users are the gateway's: a role that SQL makes cannot log in";
const TARGETS: &str = "a database that is no target cannot be opened";
const ENCODING: &str = "the gateway speaks UTF-8 only";
const STARTUP: &str = "search_path is no parameter that a session may open with";
const VERSION: &str = "the gateway speaks 3.2, whatever the server speaks";
const TOGETHER: &str =
    "what belongs together is sent together: the server does not see the pause that the test makes in it";

#[test]
fn pg8000_tests_itself() {
    let left_out = [
        // They need ways to log in that a server's pg_hba.conf would have to offer, and switch the server's TLS on and off.
        "--ignore-glob=*/auth",
        // What it reads is not in the package.
        "--ignore=test/test_readme.py",
        // Whether a connection that is cut off ends in a message or in a reset is a matter of chance.
        "--deselect=test/dbapi/test_connection.py::test_broken_pipe_read",
        "--deselect=test/legacy/test_connection.py::test_broken_pipe_read",
        "--deselect=test/native/test_connection.py::test_broken_pipe_read",
        "--benchmark-disable",
        // The driver itself takes most of a minute for it; pgx's tests have as many parameters.
        "--deselect=test/native/test_query.py::test_max_parameters",
    ];
    let known = [
        ("test/dbapi/test_connection.py::test_password_bytes", USERS),
        ("test/legacy/test_connection.py::testBytesPassword", USERS),
        ("test/legacy/test_connection.py::test_scram_sha_256", TARGETS),
        ("test/native/test_connection.py::test_bytes_password", USERS),
    ];
    pytest(PG8000, "create extension hstore", &left_out, &known);
}

#[test]
fn asyncpg_tests_itself() {
    let left_out = [
        // Servers of its own, and the package's own style.
        "--ignore=tests/test_connect.py",
        "--ignore=tests/test__sourcecode.py",
        "--ignore=tests/test__environment.py",
        // How much of a batch has been sent when its error comes: more, where a gateway takes it faster than the server.
        "--deselect=tests/test_execute.py::TestExecuteMany::test_executemany_server_failure_during_writes",
        // It leaves connections behind, whose end it then notices or not.
        "--deselect=tests/test_pool.py::TestPool::test_pool_config_persistence",
    ];
    pytest(ASYNCPG, "", &left_out, &[]);
}

#[test]
fn pgx_tests_itself() {
    let setup = "create extension hstore; create extension ltree; create domain uint64 as numeric(20, 0);\
                 create user \" tricky, ' } \"\" \\ test user \" superuser password 'secret'";
    let known = [
        (".TestConnSimpleProtocolRefusesNonUTF8ClientEncoding", ENCODING),
        (".TestPrepareHandlesTimeoutBetweenParseAndDescribe", TOGETHER),
        (".TestPrepareWithDigestedNameHandlesTimeoutBetweenParseAndDescribe", TOGETHER),
        (".TestSendBatchHandlesTimeoutBetweenParseAndDescribe", TOGETHER),
        ("/pgconn.TestConnectProtocolVersion32", VERSION),
        ("/pgconn.TestConnectWithRuntimeParams", STARTUP),
    ];
    go(setup, &known);
}
