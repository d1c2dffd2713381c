//! A small file system in memory, to be filled up.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::place::Scratch;
use crate::process::run;

/// A mounted one; it is unmounted when dropped.
pub struct Tmpfs(Scratch);

/// What takes up the room.
const FILLER: &str = "filler";

impl Tmpfs {
    /// Mounts one of this size, such as `8m`. It takes root.
    pub fn mount(size: &str) -> Result<Self> {
        let scratch = Scratch::new("tmpfs")?;
        let options = format!("size={size},mode=0700");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "portcullis-test"]).arg(scratch.path()))?;
        Ok(Self(scratch))
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes up all the room that is left.
    pub fn fill(&self) -> Result<()> {
        let path = self.path().join(FILLER);
        let mut filler = File::options().create(true).append(true).open(&path)?;
        loop {
            match filler.write(&[0x5a; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
            }
        }
    }

    /// Gives the room back.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.path().join(FILLER))?)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg("--lazy").arg(self.path())) {
            eprintln!("{error}");
        }
    }
}
