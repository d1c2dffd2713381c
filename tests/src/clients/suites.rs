//! The tests that drivers have of themselves, from their source packages.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::{is_stamped, python};
use crate::place::cache;
use crate::process::run;

/// A driver for Python whose source package brings its tests.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    name: &'static str,
    version: &'static str,
    /// The directory of the tests in it.
    tests: &'static str,
}

/// That of asyncpg, which uses the whole of the extended protocol.
pub const ASYNCPG: Suite = Suite { name: "asyncpg", version: "0.32.0", tests: "tests" };
/// That of pg8000.
pub const PG8000: Suite = Suite { name: "pg8000", version: "1.31.6", tests: "test" };

impl Suite {
    /// The directory to run its tests in, if they are there. The driver is not in it: the installed one is tested.
    pub fn directory(self) -> Option<PathBuf> {
        is_stamped(&self.place(), self.version).then(|| self.place())
    }

    fn place(self) -> PathBuf {
        cache().join("clients/suites").join(self.name)
    }

    fn install(self) -> Result<()> {
        let (place, Self { name, version, tests }) = (self.place(), self);
        if is_stamped(&place, version) {
            return Ok(());
        }
        println!("  downloading the tests of {name}");
        // Nothing is there if there never was anything.
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place)?;
        let mut download = python::pip();
        download.args(["download", "--quiet", "--no-deps", "--no-binary", name, "--dest"]).arg(&place);
        run(download.arg(format!("{name}=={version}")))?;
        let archive = place.join(format!("{name}-{version}.tar.gz"));
        let within = format!("{name}-{version}/{tests}");
        run(Command::new("tar")
            .args(["--strip-components=1", "-C"])
            .arg(&place)
            .arg("-xzf")
            .arg(&archive)
            .arg(within))?;
        fs::remove_file(archive)?;
        Ok(fs::write(place.join("stamp"), version)?)
    }
}

/// Downloads what is missing.
pub(super) fn install() -> Result<()> {
    ASYNCPG.install()?;
    PG8000.install()
}
