//! Programs that are run and looked after.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Runs a program to its end and gives what it printed. Its errors are in the error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?} failed ({}):\n{out}{err}", output.status);
    Ok(out.into_owned())
}

/// The first program of this name in these directories and then in `PATH`.
pub fn find(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = directories.iter().cloned().chain(std::env::split_paths(&path));
    all.map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A program that runs until it is dropped, and then gets this signal.
pub struct Running {
    child: Child,
    signal: &'static str,
}

impl Running {
    /// Starts it. `signal` is what `kill -s` takes.
    pub fn start(command: &mut Command, signal: &'static str) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, signal })
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) -> Result<()> {
        run(Command::new("kill").args([OsStr::new("-s"), OsStr::new(signal), self.id().to_string().as_ref()])).map(drop)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.has_ended() {
            if Instant::now() > deadline {
                self.kill()?;
                bail!("process {} did not end within 30 s", self.id());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits for that.
    pub fn stop(&mut self) -> Result<()> {
        if !self.has_ended() {
            self.signal(self.signal)?;
        }
        self.wait().with_context(|| format!("it was sent {}", self.signal))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error}");
        }
    }
}

/// Tries until it succeeds or the time is up; then the last error is given.
pub fn until<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what} within {} s", limit.as_secs())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Whether any file under a directory, or the file itself, holds these bytes.
pub fn holds(path: &Path, bytes: &[u8]) -> Result<bool> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            if holds(&entry?.path(), bytes)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let content = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(content.windows(bytes.len()).any(|window| window == bytes))
}
