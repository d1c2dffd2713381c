//! A gateway of its own: the real binary with a configuration in a directory that is gone when dropped.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::place::{Scratch, free_port, portcullis, root};
use crate::postgres::{PASSWORD, Postgres, ROLE, program};
use crate::process::{Running, until};

/// The password of every user in these tests.
pub const USER_PASSWORD: &str = "wonderland-9Zk";
/// The admin tokens: name, groups, role, token.
const TOKENS: [(&str, &str, &str, &str); 4] = [
    ("alice", "\"reviewers\"", "approver", "alice-token-Vb2-0123456789abcdef"),
    ("bob", "\"reviewers\"", "approver", "bob-token-Xc3-0123456789abcdef01"),
    ("olga", "", "operator", "olga-token-Mn4-0123456789abcdef0"),
    ("rita", "", "reader", "rita-token-Kp5-0123456789abcdef0"),
];

/// How a gateway is configured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port of the target's server on 127.0.0.1.
    pub upstream: u16,
    /// The target's policies, in order.
    pub chain: Vec<&'static str>,
    /// `[[policy]]` tables.
    pub policies: String,
    /// More keys of `[postgres]`, and its subtables.
    pub listener: String,
    /// More keys of the user alice.
    pub alice: String,
    /// Keys of the target that protect its connection.
    pub protection: String,
    /// More keys of the target.
    pub target: String,
    /// More keys of `[admin]`, and its subtables.
    pub admin: String,
    /// More tables.
    pub more: String,
    /// Its `data_dir`; a relative one is below the gateway's directory.
    pub data_dir: String,
    /// Which build to run: `debug` or `release`.
    pub profile: &'static str,
}

impl Options {
    /// A gateway before this server, in plain text on both sides, without policies.
    pub fn before(postgres: &Postgres) -> Self {
        Self {
            upstream: postgres.port,
            chain: vec![],
            policies: String::new(),
            listener: String::new(),
            alice: String::new(),
            protection: "tls = \"disable\"\n".into(),
            target: String::new(),
            admin: String::new(),
            more: String::new(),
            data_dir: "data".into(),
            profile: "debug",
        }
    }

    /// Adds a policy at the end of the chain: its name, its package below the checkout's root, and more keys.
    #[must_use]
    pub fn with(mut self, name: &'static str, package: &str, keys: &str) -> Self {
        let package = root().join(package);
        let _ = write!(
            self.policies,
            "[[policy]]\nname = \"{name}\"\npackage = {:?}\n{keys}\n",
            package.display().to_string()
        );
        self.chain.push(name);
        self
    }
}

/// A gateway that is running.
pub struct Gateway {
    running: Running,
    scratch: Scratch,
    binary: PathBuf,
    options: Options,
    /// Where clients connect, on 127.0.0.1.
    pub port: u16,
    /// Where the admin interface listens, on 127.0.0.1.
    pub admin: u16,
}

impl Gateway {
    /// Starts one and waits until it serves.
    pub fn start(options: Options) -> Result<Self> {
        let scratch = Scratch::new("gateway")?;
        Self::start_in(scratch, options)
    }

    /// Starts one in a directory that holds what the configuration names.
    pub fn start_in(scratch: Scratch, options: Options) -> Result<Self> {
        let binary = portcullis(options.profile)?;
        let (port, admin) = (free_port()?, free_port()?);
        fs::write(scratch.path().join("portcullis.toml"), config(&options, port, admin, &binary)?)?;
        let running = serve(&binary, scratch.path())?;
        let mut gateway = Self { running, scratch, binary, options, port, admin };
        gateway.wait()?;
        Ok(gateway)
    }

    /// Starts it again after it has ended, in the same directory and with the configuration as it is now.
    pub fn restart(&mut self) -> Result<()> {
        self.launch()?;
        self.wait()
    }

    /// The same, without waiting until it serves.
    pub fn launch(&mut self) -> Result<()> {
        self.stop()?;
        self.running = serve(&self.binary, self.scratch.path())?;
        Ok(())
    }

    /// Waits until it serves.
    pub fn wait(&mut self) -> Result<()> {
        // Components of interpreters take a while to compile on a busy machine.
        let serves = until("the gateway serves", Duration::from_secs(300), || {
            if self.running.has_ended() {
                return Ok(false);
            }
            if self.speaks_tls() {
                drop(TcpStream::connect(("127.0.0.1", self.admin))?);
                return Ok(true);
            }
            ensure!(self.http("/readyz", None)?.starts_with("HTTP/1.1 200"), "it is not ready");
            Ok(true)
        })?;
        ensure!(serves, "the gateway ended: {}", self.log()?);
        Ok(())
    }

    /// The directory with its configuration, data and log.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Its `data_dir`.
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join(&self.options.data_dir)
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.scratch.path().join("log"))?)
    }

    /// Changes its configuration; it reads the new one by itself, or when it is told to.
    pub fn configure(&mut self, change: impl FnOnce(&mut Options)) -> Result<()> {
        change(&mut self.options);
        let text = config(&self.options, self.port, self.admin, &self.binary)?;
        // Renamed into place, as editors and deployments do: a half-written file is never read.
        let path = self.scratch.path().join("portcullis.toml");
        fs::write(path.with_extension("new"), text)?;
        Ok(fs::rename(path.with_extension("new"), path)?)
    }

    /// Has it read its configuration again, and gives what it says.
    pub fn reload(&self) -> Result<Output> {
        self.cli("olga", &["reload"])
    }

    /// Asks it to stop, and waits for that.
    pub fn stop(&mut self) -> Result<()> {
        self.running.stop()
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.running.kill()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.running.signal(signal)
    }

    /// `psql` as this user, without the user's own configuration, for one script.
    pub fn psql(&self, user: &str, arguments: &[&str]) -> Result<Command> {
        let mut psql = Command::new(program("psql")?);
        psql.args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", user, "-d", "shop"]);
        psql.args(arguments).env("PGPASSWORD", USER_PASSWORD).env("PGCONNECT_TIMEOUT", "20").stdin(Stdio::null());
        Ok(psql)
    }

    /// Runs one command with `psql` as this user: what it printed, and what it complained about.
    pub fn query(&self, user: &str, text: &str) -> Result<(String, String)> {
        let output = self.psql(user, &["-c", text])?.output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        Ok((text(&output.stdout), text(&output.stderr)))
    }

    /// Runs the gateway's command line with this person's token.
    pub fn cli(&self, name: &str, arguments: &[&str]) -> Result<Output> {
        Ok(self.command(name, arguments)?.output()?)
    }

    /// The same, to be started.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Result<Command> {
        let token = token(name)?;
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("PORTCULLIS_TOKEN", token).current_dir(self.scratch.path());
        let scheme = if self.speaks_tls() { "https" } else { "http" };
        command.env("PORTCULLIS_ADMIN", format!("{scheme}://127.0.0.1:{}", self.admin)).stdin(Stdio::null());
        Ok(command)
    }

    /// Like [`Gateway::cli`], for commands that must succeed; gives what they print.
    pub fn ask(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let output = self.cli(name, arguments)?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "portcullis {arguments:?} failed:\n{out}{err}");
        Ok(out.into_owned())
    }

    /// Gets a page of the admin interface: status line, headers and body.
    pub fn http(&self, path: &str, name: Option<&str>) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let token = TOKENS
            .iter()
            .find(|t| Some(t.0) == name)
            .map_or(String::new(), |t| format!("Authorization: Bearer {}\r\n", t.3));
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{token}Connection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Posts to the admin interface, with these header lines: status line, headers and body.
    pub fn post(&self, path: &str, headers: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn speaks_tls(&self) -> bool {
        self.options.admin.contains("[admin.tls]")
    }
}

/// This person's token for the admin interface.
pub fn token(name: &str) -> Result<&'static str> {
    Ok(TOKENS.iter().find(|t| t.0 == name).context("nobody has that token")?.3)
}

/// Starts the gateway in the directory that holds its configuration. Its log goes on where there is one.
fn serve(binary: &Path, directory: &Path) -> Result<Running> {
    let log = File::options().create(true).append(true).open(directory.join("log"))?;
    let mut serve = Command::new(binary);
    serve.arg("serve").arg("--config").arg(directory.join("portcullis.toml"));
    serve.env("UPSTREAM_PASSWORD", PASSWORD).envs(TOKENS.map(|(name, .., token)| (variable(name), token)));
    serve.current_dir(directory).stdout(Stdio::null()).stderr(log);
    Running::start(&mut serve, "TERM")
}

fn variable(name: &str) -> String {
    format!("{}_TOKEN", name.to_uppercase())
}

fn config(options: &Options, port: u16, admin: u16, binary: &Path) -> Result<String> {
    let verifier = verifier(binary)?;
    let mut users = String::new();
    for (name, groups) in [("alice", "\"dev\""), ("bob", "\"dev\""), ("dora", "\"dev\", \"dba\"")] {
        let certificate = if options.listener.contains("client_ca") {
            format!("certificate_cn = \"{name}\"\n")
        } else {
            String::new()
        };
        let own = if name == "alice" { options.alice.as_str() } else { "" };
        write!(users, "[[user]]\nname = \"{name}\"\ngroups = [{groups}]\nscram = \"{verifier}\"\n{certificate}{own}")?;
    }
    let mut tokens = String::new();
    for (name, groups, role, _) in TOKENS {
        let variable = variable(name);
        write!(
            tokens,
            "[[admin.token]]\nname = \"{name}\"\ngroups = [{groups}]\nrole = \"{role}\"\ntoken = \"env:{variable}\"\n"
        )?;
    }
    let Options { upstream, chain, policies, listener, protection, target, more, data_dir, .. } = options;
    let interface = &options.admin;
    Ok(format!(
        "data_dir = \"{data_dir}\"\n\
         [postgres]\nlisten = [\"127.0.0.1:{port}\"]\n{listener}\n\
         {users}\
         [[target]]\nname = \"shop\"\nhost = \"127.0.0.1\"\nport = {upstream}\ndatabase = \"shop\"\nuser = \"{ROLE}\"\n\
         password = \"env:UPSTREAM_PASSWORD\"\npolicies = {chain:?}\n{protection}{target}\n\
         {policies}\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n{interface}\n{tokens}\n{more}"
    ))
}

/// The users' verifier, made as an operator makes one.
pub fn verifier(binary: &Path) -> Result<String> {
    static VERIFIER: OnceLock<String> = OnceLock::new();
    if let Some(verifier) = VERIFIER.get() {
        return Ok(verifier.clone());
    }
    let mut hash = Command::new(binary);
    hash.args(["users", "hash-password", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = hash.spawn()?;
    child.stdin.take().context("no standard input")?.write_all(USER_PASSWORD.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "portcullis users hash-password failed");
    let verifier = String::from_utf8(output.stdout)?.trim().to_owned();
    Ok(VERIFIER.get_or_init(|| verifier).clone())
}
