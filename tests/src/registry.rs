//! A private registry of OCI artifacts: Debian's `docker-registry`, with its own configuration, directory and port, gone when
//! dropped. The system's own is not touched. It has no referrers API.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::place::{Scratch, free_port};
use crate::process::{Running, find, until};

/// Who may use a registry that asks for a password.
pub const USERNAME: &str = "publisher";
/// The user's password.
pub const PASSWORD: &str = "open sesame";
/// The same for `htpasswd`: bcrypt is the only kind that the registry takes.
const HTPASSWD: &str = "publisher:$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW\n";

/// A registry.
pub struct Registry {
    _server: Running,
    scratch: Scratch,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

/// The server's program.
pub fn program() -> Result<PathBuf> {
    find("docker-registry", &[]).context("docker-registry is not installed; `cargo xtask setup` installs it")
}

impl Registry {
    /// Starts one, open to all or with a password, and waits until it listens.
    pub fn start(with_password: bool) -> Result<Self> {
        let (program, scratch, port) = (program()?, Scratch::new("registry")?, free_port()?);
        let dir = scratch.path();
        let htpasswd = dir.join("htpasswd");
        fs::write(&htpasswd, HTPASSWD)?;
        let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", htpasswd.display());
        let auth = if with_password { auth } else { String::new() };
        let configuration = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:{port}\n{auth}",
            dir.join("data").display()
        );
        fs::write(dir.join("config.yml"), configuration)?;
        let log = fs::File::create(dir.join("log"))?;
        let mut server = Command::new(program);
        server.arg("serve").arg(dir.join("config.yml")).stdout(log.try_clone()?).stderr(log).stdin(Stdio::null());
        let mut running = Running::start(&mut server, "TERM")?;
        let listens = until("the registry listens", Duration::from_secs(30), || {
            if running.has_ended() {
                return Ok(false);
            }
            Ok(std::net::TcpStream::connect(("127.0.0.1", port)).map(|_| true)?)
        })?;
        ensure!(listens, "the registry ended:\n{}", fs::read_to_string(dir.join("log"))?);
        Ok(Self { _server: running, scratch, port })
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it keeps its files.
    pub fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }
}
