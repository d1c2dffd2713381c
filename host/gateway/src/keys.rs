//! The data directory and the keys in it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use portcullis_store::SigningKey;
use portcullis_verdict::LinkKey;
use portcullis_verdict::mask::HashKey;
use secrecy::zeroize::Zeroizing;

use crate::config::{Loaded, from_hex};
use crate::password::random;

/// The bytes of a key that is made here.
const KEY_BYTES: usize = 32;

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
    let key = kept(&path, || Ok(Zeroizing::new(random::<KEY_BYTES>()?.to_vec())))?;
    whole(&path, &key, "that masks differently")?;
    Ok(HashKey::new(&key))
}

/// The key of the links that carry decisions, made at the first start.
pub(crate) fn link_key(data_dir: &Path) -> anyhow::Result<LinkKey> {
    let path = data_dir.join("links.key");
    let key = kept(&path, || Ok(Zeroizing::new(random::<KEY_BYTES>()?.to_vec())))?;
    whole(&path, &key, "that makes the links sent so far void")?;
    Ok(LinkKey::new(&key))
}

/// The key that signs the log: the configured one, or the one in the data directory, made at the first start. Its public half is added
/// to those beside it for whoever verifies.
pub(crate) fn signing_key(loaded: &mut Loaded) -> anyhow::Result<SigningKey> {
    let key = match loaded.signing_key.take() {
        Some(key) => key,
        None => {
            let path = loaded.data_dir.join("audit.key");
            let pem = kept(&path, || Ok(Zeroizing::new(SigningKey::generate().to_pem().into_bytes())))?;
            let key = std::str::from_utf8(&pem).ok().and_then(|pem| SigningKey::from_pem(pem).ok());
            let shown = path.display();
            key.with_context(|| {
                format!(
                    "{shown} is no Ed25519 key in PEM; restore it, or remove it to sign with another one from here on"
                )
            })?
        }
    };
    if let Some(before) = publish(&loaded.data_dir.join("audit.pub"), &key.public_hex())? {
        let key = key.public_hex();
        tracing::warn!(
            key,
            before,
            "checkpoints are signed with another key from now on; to verify the log takes both: `--key audit.pub` gives every key there"
        );
    }
    Ok(key)
}

/// Adds the public key to the file of those that have signed the log, the newest last: what they have signed is verified with them for
/// ever. Gives back the key before it, if it is another one.
fn publish(path: &Path, key: &str) -> anyhow::Result<Option<String>> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => bail!("{} cannot be read: {error}", path.display()),
    };
    let mut keys: Vec<&str> = text.lines().map(str::trim).filter(|line| from_hex(line).is_some()).collect();
    let before = keys.last().copied();
    if before == Some(key) {
        return Ok(None);
    }
    keys.retain(|other| *other != key);
    keys.push(key);
    write(path, (keys.join("\n") + "\n").as_bytes(), 0o644)?;
    Ok(before.map(str::to_owned))
}

/// What a file of the data directory holds; where there is none, it is made for the gateway's user only.
fn kept(path: &Path, make: impl FnOnce() -> anyhow::Result<Zeroizing<Vec<u8>>>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Zeroizing::new(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let bytes = make()?;
            write(path, &bytes, 0o600)?;
            Ok(bytes)
        }
        Err(error) => bail!("{} cannot be read: {error}", path.display()),
    }
}

fn whole(path: &Path, key: &[u8], effect: &str) -> anyhow::Result<()> {
    if key.len() < KEY_BYTES {
        bail!("the key {} is cut short; restore it, or remove it to get another one {effect}", path.display());
    }
    Ok(())
}

/// Written under another name first: a crash leaves a whole file or none.
fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let write = || {
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        // The name is durable when the directory is.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only() {
        let dir = crate::config::scratch("keys");
        let path = dir.join("masking.key");
        let made = kept(&path, || Ok(Zeroizing::new(vec![7; 32]))).unwrap();
        assert_eq!((made.to_vec(), mode(&path)), (vec![7; 32], 0o600));
        let again = kept(&path, || panic!("there is one already")).unwrap();
        assert_eq!(again.to_vec(), vec![7; 32]);
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
        assert_eq!(left.len(), 1, "no draft is left: {left:?}");
    }

    #[test]
    fn a_key_that_is_cut_short_is_refused() {
        let dir = crate::config::scratch("short-key");
        std::fs::write(dir.join("links.key"), [7; 31]).unwrap();
        let error = link_key(&dir).err().unwrap().to_string();
        assert!(error.contains("links.key is cut short"), "{error}");
    }

    #[test]
    fn the_key_of_the_log_is_kept_and_its_public_half_is_beside_it() {
        let mut loaded = crate::config::loaded_good();
        data_dir(&loaded.data_dir).unwrap();
        let made = signing_key(&mut loaded).unwrap().public_hex();
        assert_eq!(signing_key(&mut loaded).unwrap().public_hex(), made);
        let public = loaded.data_dir.join("audit.pub");
        assert_eq!(std::fs::read_to_string(&public).unwrap(), format!("{made}\n"));
        assert_eq!((mode(&public), mode(&loaded.data_dir.join("audit.key"))), (0o644, 0o600));
        // A key that the configuration names takes its place, and what the one before has signed is still to be verified.
        let configured = SigningKey::generate();
        let shown = configured.public_hex();
        loaded.signing_key = Some(configured);
        assert_eq!(signing_key(&mut loaded).unwrap().public_hex(), shown);
        assert_eq!(std::fs::read_to_string(&public).unwrap(), format!("{made}\n{shown}\n"));
        std::fs::write(loaded.data_dir.join("audit.key"), "junk").unwrap();
        assert!(signing_key(&mut loaded).unwrap_err().to_string().contains("no Ed25519 key"));
    }

    #[test]
    fn a_change_of_the_key_is_told_once_and_no_key_is_forgotten() {
        let path = crate::config::scratch("audit-pub").join("audit.pub");
        let [a, b] = ["a", "b"].map(|digit| digit.repeat(64));
        let text = || std::fs::read_to_string(&path).unwrap();
        assert_eq!((publish(&path, &a).unwrap(), text()), (None, format!("{a}\n")));
        assert_eq!((publish(&path, &b).unwrap(), text()), (Some(a.clone()), format!("{a}\n{b}\n")));
        assert_eq!(publish(&path, &b).unwrap(), None);
        assert_eq!((publish(&path, &a).unwrap(), text()), (Some(b.clone()), format!("{b}\n{a}\n")));
        std::fs::write(&path, format!("junk\u{fffd}\n{b}")).unwrap();
        assert_eq!(
            (publish(&path, &a).unwrap(), text()),
            (Some(b.clone()), format!("{b}\n{a}\n")),
            "what is no key goes"
        );
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
