//! A private PostgreSQL server: its own data directory, its own port, gone when dropped.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::place::{Scratch, free_port};
use crate::process::{Running, find, run, until};

/// The role that the gateway logs in as, and its password.
pub const ROLE: &str = "portcullis";
/// See [`ROLE`].
pub const PASSWORD: &str = "upstream-secret-7Qx";

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The port, or a free one.
    pub port: Option<u16>,
    /// The authentication method of [`ROLE`] over TCP: `trust`, `password`, `md5` or `scram-sha-256`.
    pub method: &'static str,
    /// A certificate and its key, in PEM, for a server that takes only TLS over TCP.
    pub tls: Option<(String, String)>,
    /// The most connections that it takes.
    pub connections: u32,
    /// More lines of its configuration.
    pub config: &'static str,
    /// SQL that is run as the superuser in the database `shop`.
    pub setup: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: None, method: "scram-sha-256", tls: None, connections: 200, config: "", setup: String::new() }
    }
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// Its sessions are told, and what they do is rolled back.
    Fast,
    /// At once, as if it had crashed: it recovers when it starts.
    Immediate,
}

impl Stop {
    fn signal(self) -> &'static str {
        match self {
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
        }
    }
}

/// A server that is running.
pub struct Postgres {
    server: Option<Running>,
    scratch: Scratch,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

/// The directories in which distributions keep the server's programs, the newest first.
pub fn directories() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    let version = |path: &PathBuf| path.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    found.sort_by_key(|path| std::cmp::Reverse(version(path)));
    found
}

/// One of the server's or client's programs.
pub fn program(name: &str) -> Result<PathBuf> {
    find(name, &directories()).with_context(|| format!("{name} is not installed; `cargo xtask setup` installs it"))
}

impl Postgres {
    /// Makes a data directory and starts a server on it, with a database `shop` and the login role [`ROLE`].
    pub fn start(options: &Options) -> Result<Self> {
        let initdb = program("initdb")?;
        let bin = initdb.parent().map(Path::to_path_buf).unwrap_or_default();
        let scratch = Scratch::new("postgres")?;
        let user = unprivileged(scratch.path())?;
        let port = options.port.map_or_else(free_port, Ok)?;
        let mut postgres = Self { server: None, scratch, bin, user, port };
        let data = postgres.data();
        run(postgres
            .program("initdb")
            .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "-N", "-D"])
            .arg(&data))?;
        postgres.configure(options)?;
        postgres.launch()?;
        postgres.sql("postgres", &format!("create role {ROLE} login password '{PASSWORD}'"))?;
        postgres.sql("postgres", &format!("create database shop owner {ROLE}"))?;
        if !options.setup.is_empty() {
            postgres.sql("shop", &options.setup)?;
        }
        Ok(postgres)
    }

    fn launch(&mut self) -> Result<()> {
        let log = fs::File::options().create(true).append(true).open(self.scratch.path().join("log"))?;
        let mut server = self.program("postgres");
        server.arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(log);
        let mut running = Running::start(&mut server, Stop::Fast.signal())?;
        let serves = until("the server starts", Duration::from_secs(60), || {
            if running.has_ended() {
                return Ok(false);
            }
            self.sql("postgres", "select 1").map(|_| true)
        })?;
        ensure!(serves, "the server ended:\n{}", self.log()?);
        self.server = Some(running);
        Ok(())
    }

    /// Stops it like this, and starts it again.
    pub fn restart(&mut self, how: Stop) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.signal(how.signal())?;
            server.wait()?;
        }
        self.launch()
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        if let Some((uid, gid)) = self.user {
            use std::os::unix::process::CommandExt as _;
            command.uid(uid).gid(gid);
        }
        command.current_dir(self.scratch.path()).env("LC_ALL", "C.UTF-8");
        command
    }

    fn configure(&self, options: &Options) -> Result<()> {
        let method = options.method;
        let line = if options.tls.is_some() { "hostssl" } else { "host" };
        // Stored in the form that the method needs.
        let stored = if method == "md5" { "md5" } else { "scram-sha-256" };
        let socket = self.scratch.path().display();
        let mut config = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{socket}'\nfsync = off\n\
             max_connections = {}\npassword_encryption = '{stored}'\n",
            self.port, options.connections
        );
        config += options.config;
        if let Some((certificate, key)) = &options.tls {
            config += "ssl = on\n";
            self.write("server.crt", certificate)?;
            self.write("server.key", key)?;
        }
        let conf = self.data().join("postgresql.conf");
        let default = fs::read_to_string(&conf)?;
        fs::write(conf, default + &config)?;
        let hba = format!("local all all trust\n{line} all all 127.0.0.1/32 {method}\n");
        fs::write(self.data().join("pg_hba.conf"), hba)?;
        Ok(())
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.data().join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some((uid, gid)) = self.user {
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    /// Runs SQL as the superuser, past the gateway, and gives the rows: columns with `|` between, one row a line.
    pub fn sql(&self, database: &str, text: &str) -> Result<String> {
        let mut psql = Command::new(program("psql")?);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", text]);
        psql.arg("-h").arg(self.scratch.path()).args(["-p", &self.port.to_string()]);
        Ok(run(&mut psql)?.trim_end().to_owned())
    }

    /// The user and group that it runs as, if not as ours.
    pub fn user(&self) -> Option<(u32, u32)> {
        self.user
    }

    /// What the server has logged.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.scratch.path().join("log"))?)
    }
}

/// The server refuses to run as root, so root runs it as the user that its package makes.
fn unprivileged(directory: &Path) -> Result<Option<(u32, u32)>> {
    if fs::metadata(directory)?.uid() != 0 {
        return Ok(None);
    }
    let number = |flag: &str| -> Result<u32> { Ok(run(Command::new("id").args([flag, "postgres"]))?.trim().parse()?) };
    let ids = (number("-u")?, number("-g")?);
    ensure!(ids.0 != 0, "the user postgres is root");
    chown(directory, Some(ids.0), Some(ids.1))?;
    Ok(Some(ids))
}
