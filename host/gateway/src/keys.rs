//! The data directory and the masking key in it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use portcullis_verdict::mask::HashKey;
use secrecy::zeroize::Zeroizing;

use crate::config::Loaded;
use crate::password::random;

/// Makes the data directory for this user alone; one that others can enter is refused.
pub(crate) fn data_dir(dir: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("`data_dir` {} cannot be made", dir.display()))?;
    is_private(dir)
}

/// Whether [`data_dir`] would succeed, as far as can be told without making anything.
pub(crate) fn check_data_dir(dir: &Path) -> anyhow::Result<()> {
    let there = dir.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
    // A relative path without a first part that exists is made where the program runs.
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        bail!("`data_dir` {}: {} is no directory; name another place", dir.display(), there.display());
    }
    if let Err(error) = rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        let (dir, there) = (dir.display(), there.display());
        bail!(
            "`data_dir` {dir}: this user cannot write to {there}: {error}; make it the gateway's user's, or name another place"
        );
    }
    if there == dir { is_private(dir) } else { Ok(()) }
}

fn is_private(dir: &Path) -> anyhow::Result<()> {
    let mode = std::fs::metadata(dir).with_context(|| format!("`data_dir` {}", dir.display()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let shown = dir.display();
        bail!(
            "others than the gateway's user can enter `data_dir`; it holds keys and recordings. \
             Give it a directory of its own; if nobody else uses this one: chmod 700 {shown}"
        );
    }
    Ok(())
}

/// The key of the `hash` mask: the configured one, or the one in the data directory, made at the first start.
pub(crate) fn masking_key(loaded: &Loaded) -> anyhow::Result<HashKey> {
    if let Some(key) = &loaded.masking_key {
        return Ok(HashKey::new(key));
    }
    let path = loaded.data_dir.join("masking.key");
    let key = match std::fs::read(&path) {
        Ok(key) => Zeroizing::new(key),
        Err(error) if error.kind() == ErrorKind::NotFound => make(&path)?,
        Err(error) => bail!("the masking key {} cannot be read: {error}", path.display()),
    };
    if key.len() < 32 {
        let shown = path.display();
        bail!(
            "the masking key {shown} is cut short; restore it, or remove it to get another one that masks differently"
        );
    }
    Ok(HashKey::new(&key))
}

/// Written under another name first: a crash leaves a whole key or none.
fn make(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let key = Zeroizing::new(random::<32>()?.to_vec());
    let draft = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&key)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().with_context(|| format!("the masking key {} cannot be written", path.display()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let dir = crate::config::scratch("masking-key");
        let path = dir.join("masking.key");
        let made = make(&path).unwrap();
        assert_eq!(*made, std::fs::read(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_data_directory_that_others_enter_is_refused() {
        let dir = crate::config::scratch("data-dir").join("data");
        data_dir(&dir).unwrap();
        assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o750)).unwrap();
        for look in [data_dir, check_data_dir] {
            assert!(look(&dir).unwrap_err().to_string().contains("chmod 700"));
        }
    }

    #[test]
    fn a_check_says_what_is_in_the_way_and_makes_nothing() {
        let dir = crate::config::scratch("data-dir-check");
        check_data_dir(&dir.join("a/b")).unwrap();
        assert!(!dir.join("a").exists());
        std::fs::write(dir.join("file"), "").unwrap();
        let error = check_data_dir(&dir.join("file/data")).unwrap_err().to_string();
        assert!(error.contains("file is no directory"), "{error}");
    }
}
