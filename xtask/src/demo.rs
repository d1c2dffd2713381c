//! The quickstart, set up and torn down: a private PostgreSQL with sample data, and the gateway before it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::place::{artifacts, portcullis, root};
use portcullis_tests::postgres::{self, Postgres, program};
use portcullis_tests::process::{Running, until};

use crate::{setup, steps};

/// As in `examples/quickstart/portcullis.toml`.
const SERVER_PORT: u16 = 55432;
const PORTS: [u16; 3] = [6432, 9432, SERVER_PORT];
const CONNECT: &str = "host=127.0.0.1 port=6432 user=alice dbname=shop";
/// Somebody wants it to end.
static STOP: AtomicBool = AtomicBool::new(false);
const PASSWORD: &str = "wonderland";

/// What is running. Fields are dropped in this order: the gateway first.
struct Demo {
    _gateway: Running,
    _postgres: Postgres,
    _data: Data,
    config: PathBuf,
    binary: PathBuf,
    reviewer: String,
    operator: String,
}

/// The gateway's data directory, removed at the end: the next demo begins anew.
struct Data(PathBuf);

impl Drop for Data {
    fn drop(&mut self) {
        // There may be none.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the demo until Ctrl-C, or through its script.
pub(crate) fn demo(script: bool) -> Result<()> {
    setup::for_demo()?;
    steps::show("build of the gateway", &mut steps::cargo(&["build", "-p", "portcullis-gateway", "--locked"]))?;
    steps::plugins("debug")?;
    // Before anything is started, so that nothing is left running.
    let (interrupt, interrupted) = mpsc::channel();
    ctrlc::set_handler(move || {
        STOP.store(true, Ordering::Relaxed);
        // Nobody listens while the script plays: then the next step ends it.
        let _ = interrupt.send(());
    })?;
    for port in PORTS {
        TcpListener::bind(("127.0.0.1", port)).with_context(|| format!("port {port} is in use; stop what holds it"))?;
    }
    let demo = Demo::start()?;
    if script {
        return demo.tour();
    }
    demo.invite();
    interrupted.recv()?;
    println!("\ncleaning up");
    Ok(())
}

/// Where the gateway's log goes.
fn log() -> PathBuf {
    artifacts("debug").join("demo.log")
}

impl Demo {
    fn start() -> Result<Self> {
        let quickstart = root().join("examples/quickstart");
        let config = configure(&quickstart)?;
        let data = Data(config.with_file_name("data"));
        let _ = fs::remove_dir_all(&data.0);
        println!("==> a private PostgreSQL on port {SERVER_PORT}");
        let sample = fs::read_to_string(quickstart.join("shop.sql"))?;
        let options = postgres::Options { port: Some(SERVER_PORT), setup: sample, ..postgres::Options::default() };
        let postgres = Postgres::start(&options).context("is the port free?")?;
        println!("==> the gateway on port 6432");
        let binary = portcullis("debug")?;
        let (reviewer, operator) = (token()?, token()?);
        let mut serve = Command::new(&binary);
        serve.args(["serve", "--config"]).arg(&config).current_dir(root());
        serve.env("SHOP_PASSWORD", postgres::PASSWORD).env("BOB_TOKEN", &reviewer).env("OPERATOR_TOKEN", &operator);
        let log = log();
        serve.stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        // A group of its own: Ctrl-C goes to this program, which stops it in order.
        std::os::unix::process::CommandExt::process_group(&mut serve, 0);
        let mut gateway = Running::start(&mut serve, "TERM")?;
        let ready = until("the gateway serves", Duration::from_secs(30), || {
            ensure!(!gateway.has_ended(), "it ended");
            let output = psql("select 1")?.output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(())
        });
        ready.with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(Self { _gateway: gateway, _postgres: postgres, _data: data, config, binary, reviewer, operator })
    }

    fn invite(&self) {
        let binary = self.binary.strip_prefix(root()).unwrap_or(&self.binary).display();
        println!(
            "\nIt runs. In another terminal:\n\n    PGPASSWORD={PASSWORD} psql \"{CONNECT}\"\n\n\
             and there, for example:\n\n    select * from customers;\n    select upper(email) as harmless from customers;\n    \
             drop table orders;\n    delete from orders;\n    alter table orders add column gift boolean;\n\n\
             The last one waits for bob. In a third terminal, in this directory:\n\n    \
             export PORTCULLIS_TOKEN={}\n    {binary} approvals list\n    {binary} approvals approve <id>\n\n\
             And who ran what, and why:\n\n    export PORTCULLIS_TOKEN={}\n    {binary} sessions list --recent\n    \
             {binary} sessions show <id>\n    {binary} sessions replay <id>\n    {binary} audit search --verdict deny\n    \
             {binary} audit verify\n\nIts configuration, a copy that the next demo makes anew; a change is in force at once:\n\n    {}\n\n\
             and the gateway's log:\n\n    {}\n\n\
             A policy of your own there: examples/write-a-policy/README.md. Ctrl-C ends it and cleans up.",
            self.reviewer,
            self.operator,
            self.config.display(),
            log().display()
        );
    }

    /// Plays what [`Demo::invite`] proposes, and shows what each party sees.
    fn tour(&self) -> Result<()> {
        title("alice reads customers: personal data is masked, under any name");
        self.alice("select id, name, email, card, ssn, note from customers")?;
        self.alice("select upper(email) as harmless from customers limit 1")?;
        title("alice tries to destroy something: refused, with the reason, and her session goes on");
        self.alice("drop table orders")?;
        self.alice("delete from orders")?;
        title("alice changes the schema: held until somebody else approves");
        let migration = "alter table orders add column gift boolean";
        println!("alice> {migration}");
        let held = psql(migration)?.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let id = until("the migration is held", Duration::from_secs(20), || {
            let list: serde_json::Value =
                serde_json::from_slice(&self.cli(&self.reviewer, &["approvals", "list", "--json"])?.stdout)?;
            let list = list.as_array().or_else(|| list["approvals"].as_array()).context("no list")?;
            Ok(list.first().and_then(|r| r["id"].as_str()).context("nothing is held")?.to_owned())
        })?;
        self.run("bob", &self.reviewer, &["approvals", "show", &id])?;
        self.run("bob", &self.reviewer, &["approvals", "approve", &id, "--reason", "reviewed"])?;
        let output = held.wait_with_output()?;
        print(&output);
        ensure!(output.status.success(), "the migration did not run");
        self.alice("select id, product, gift from orders order by id limit 1")?;
        title("olga, who operates it, reads what happened");
        let recent = self.cli(&self.operator, &["sessions", "list", "--recent", "--json"])?;
        let recent: serde_json::Value = serde_json::from_slice(&recent.stdout)?;
        for session in sessions(&recent).iter().rev().skip(1) {
            self.run("olga", &self.operator, &["sessions", "show", session])?;
        }
        title("she sees what alice saw, as it happened, and that nobody has changed the log since");
        let first = sessions(&recent).into_iter().rev().nth(1).context("no session is recorded")?;
        self.run("olga", &self.operator, &["sessions", "replay", &first, "--max-idle", "1s"])?;
        self.run("olga", &self.operator, &["audit", "search", "--verdict", "deny"])?;
        let key = self.cli(&self.operator, &["audit", "key"])?;
        let key = String::from_utf8_lossy(&key.stdout).trim().to_owned();
        self.run("olga", &self.operator, &["audit", "verify", "--key", &key])
    }

    fn alice(&self, text: &str) -> Result<()> {
        println!("alice> {text}");
        print(&psql(text)?.output()?);
        Ok(())
    }

    fn cli(&self, token: &str, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(&self.binary).args(arguments).env("PORTCULLIS_TOKEN", token).stdin(Stdio::null()).output()?)
    }

    fn run(&self, who: &str, token: &str, arguments: &[&str]) -> Result<()> {
        println!("{who}$ portcullis {}", arguments.join(" "));
        let output = self.cli(token, arguments)?;
        print(&output);
        ensure!(output.status.success(), "portcullis {arguments:?} failed");
        Ok(())
    }
}

/// Copies the quickstart's configuration to where it can be changed without a change of the repository.
fn configure(quickstart: &Path) -> Result<PathBuf> {
    let directory = artifacts("debug").join("demo");
    fs::create_dir_all(&directory)?;
    let directory = directory.canonicalize()?;
    let text = fs::read_to_string(quickstart.join("portcullis.toml"))?;
    let policies = root().join("policies");
    let config = directory.join("portcullis.toml");
    fs::write(&config, text.replace("\"../../policies/", &format!("\"{}/", policies.display())))?;
    Ok(config)
}

fn psql(text: &str) -> Result<Command> {
    ensure!(!STOP.load(Ordering::Relaxed), "interrupted");
    let mut psql = Command::new(program("psql")?);
    psql.env("PGCONNECT_TIMEOUT", "5");
    psql.args(["-X", "-P", "null=NULL", "-d", CONNECT, "-c", text]).env("PGPASSWORD", PASSWORD).stdin(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut psql, 0);
    Ok(psql)
}

fn title(text: &str) {
    println!("\n--- {text}\n");
}

fn print(output: &Output) {
    print!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    println!();
}

/// The identifiers in a list of recorded sessions, wherever the list puts them.
fn sessions(list: &serde_json::Value) -> Vec<String> {
    match list {
        serde_json::Value::Array(items) => items.iter().flat_map(sessions).collect(),
        serde_json::Value::Object(fields) => match fields.get("session").and_then(|s| s.as_str()) {
            Some(id) => vec![id.to_owned()],
            None => fields.values().flat_map(sessions).collect(),
        },
        _ => vec![],
    }
}

/// A token that nobody can guess.
fn token() -> Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    fs::File::open(Path::new("/dev/urandom"))?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
