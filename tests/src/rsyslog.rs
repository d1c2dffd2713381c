//! A private rsyslog server: its own configuration, directory and port, gone when dropped. The system's own is not touched.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::place::{Scratch, free_port};
use crate::process::{Running, find, until};

/// Where distributions keep it, which is not in everybody's `PATH`.
const DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Who has no rights: root runs it as `nobody`.
const NOBODY: u32 = 65534;

/// A server that takes messages over TCP and writes them to a file.
pub struct Rsyslog {
    server: Option<Running>,
    scratch: Scratch,
    program: PathBuf,
    nobody: bool,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

/// A message as the server has understood it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Such as `logaudit.info`.
    pub priority: String,
    /// Which program sent it.
    pub app: String,
    /// Its kind.
    pub kind: String,
    /// Its structured data, in brackets.
    pub data: String,
    /// The text, without the mark of UTF-8.
    pub text: String,
}

/// The server's program.
pub fn program() -> Result<PathBuf> {
    let directories = DIRECTORIES.map(PathBuf::from);
    find("rsyslogd", &directories).context("rsyslogd is not installed; `cargo xtask setup` installs it")
}

impl Rsyslog {
    /// Starts one and waits until it listens.
    pub fn start() -> Result<Self> {
        let (program, scratch, port) = (program()?, Scratch::new("rsyslog")?, free_port()?);
        let directory = scratch.path();
        let nobody = fs::metadata(directory)?.uid() == 0;
        if nobody {
            chown(directory, Some(NOBODY), Some(NOBODY))?;
        }
        fs::write(directory.join("rsyslog.conf"), configuration(directory, port))?;
        let mut rsyslog = Self { server: None, scratch, program, nobody, port };
        rsyslog.go_on()?;
        Ok(rsyslog)
    }

    /// Starts it again after it was stopped.
    pub fn go_on(&mut self) -> Result<()> {
        let directory = self.scratch.path();
        let log = fs::File::options().create(true).append(true).open(directory.join("log"))?;
        let mut server = Command::new(&self.program);
        server.args(["-n", "-f"]).arg(directory.join("rsyslog.conf"));
        server.arg("-i").arg(directory.join("pid")).stdout(Stdio::null()).stderr(log);
        if self.nobody {
            server.uid(NOBODY).gid(NOBODY);
        }
        let mut running = Running::start(&mut server, "TERM")?;
        let listens = until("rsyslog listens", Duration::from_secs(30), || {
            if running.has_ended() {
                return Ok(false);
            }
            Ok(std::net::TcpStream::connect(("127.0.0.1", self.port)).map(|_| true)?)
        })?;
        ensure!(listens, "rsyslog ended:\n{}", fs::read_to_string(directory.join("log"))?);
        self.server = Some(running);
        Ok(())
    }

    /// Stops it. What it has read it writes first.
    pub fn stop(&mut self) -> Result<()> {
        self.server.take().map_or(Ok(()), |mut server| server.stop())
    }

    /// The messages that it has written so far, in order.
    pub fn received(&self) -> Result<Vec<Message>> {
        let path = self.scratch.path().join("messages");
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = String::from_utf8(fs::read(path)?)?;
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(message).collect()
    }
}

fn message(line: &str) -> Result<Message> {
    let mut fields = line.splitn(5, '\t').map(str::to_owned);
    let mut next = || fields.next().with_context(|| format!("this is no message: {line}"));
    let (priority, app, kind, data, text) = (next()?, next()?, next()?, next()?, next()?);
    let text = text.trim_start_matches([' ', '\u{feff}']).to_owned();
    Ok(Message { priority, app, kind, data, text })
}

fn configuration(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    format!(
        "global(workDirectory=\"{directory}\" maxMessageSize=\"4m\")\n\
         module(load=\"imtcp\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
         template(name=\"fields\" type=\"string\" \
         string=\"%pri-text%\\t%app-name%\\t%msgid%\\t%structured-data%\\t%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{directory}/messages\" template=\"fields\")\n"
    )
}
