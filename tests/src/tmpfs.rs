//! A small file system in memory, to be filled up.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::place::Scratch;
use crate::process::run;

/// A mounted one; it is unmounted when dropped.
pub struct Tmpfs {
    scratch: Scratch,
    uid: u32,
}

/// What takes up the room.
const FILLER: &str = "filler";

impl Tmpfs {
    /// Mounts one of this size, such as `8m`. It takes root, or sudo without a password.
    pub fn mount(size: &str) -> Result<Self> {
        let scratch = Scratch::new("tmpfs")?;
        let owner = fs::metadata(scratch.path())?;
        let options = format!("size={size},mode=0700,uid={},gid={}", owner.uid(), owner.gid());
        let mut mount = privileged("mount", owner.uid());
        run(mount.args(["-t", "tmpfs", "-o", &options, "portcullis-test"]).arg(scratch.path()))?;
        Ok(Self { scratch, uid: owner.uid() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.scratch.path()
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
        if let Err(error) = run(privileged("umount", self.uid).arg("--lazy").arg(self.path())) {
            eprintln!("{error}");
        }
    }
}

fn privileged(program: &str, uid: u32) -> Command {
    if uid == 0 {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", program]);
    sudo
}
