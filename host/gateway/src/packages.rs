//! Where packages come from: directories, or registries by what the lock pins. Nothing is loaded before it was held against the lock and
//! its signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use portcullis_package::trust::{Detached, Trust};
use portcullis_package::{Lock, Package};
use portcullis_registry::{
    Artifact, Digest, Layout, Pulled, Reference, Registry, RegistryOptions, Signature, check_name,
};
use portcullis_verdict::RolloutStep;

use crate::show::reasons;

/// The name of the lock file, beside the configuration.
pub(crate) const LOCK: &str = "portcullis.lock";

/// What polling has pinned beyond the lock file, in the directory of data.
pub(crate) const POLLED: &str = "polled.lock";

/// Everything that decides which packages may be loaded, and from where.
pub(crate) struct Packages {
    /// What relative paths are relative to.
    base: PathBuf,
    /// The layout in which artifacts are kept.
    store: PathBuf,
    lock: Lock,
    trust: Trust,
    lock_directories: bool,
    registries: Registries,
}

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registries {
    pub(crate) options: RegistryOptions,
    /// Certificates in PEM that a registry is known by, instead of the system's.
    pub(crate) authorities: BTreeMap<String, Vec<u8>>,
}

impl Registries {
    /// A client for the registry of a reference.
    pub(crate) fn client(&self, reference: &Reference) -> anyhow::Result<Registry> {
        let ca = self.authorities.get(reference.registry()).cloned();
        Ok(Registry::new(RegistryOptions { ca, ..self.options.clone() })?)
    }
}

/// A package that may be loaded.
pub(crate) struct Found {
    pub(crate) package: Package,
    /// The digest of its artifact, where it came as one or is pinned.
    pub(crate) digest: Option<Digest>,
    /// Who signed it, of those who had to.
    pub(crate) signers: Vec<String>,
    /// An unpacked artifact; it goes when this does.
    _unpacked: Option<Unpacked>,
}

/// Why a package may not be loaded.
pub(crate) struct Unfit {
    pub(crate) step: RolloutStep,
    pub(crate) reason: String,
    pub(crate) hint: String,
}

impl Unfit {
    fn resolve(reason: impl Into<String>, hint: &str) -> Self {
        Self { step: RolloutStep::Resolve, reason: reason.into(), hint: hint.into() }
    }

    fn verify(reason: impl Into<String>, hint: &str) -> Self {
        Self { step: RolloutStep::Verify, reason: reason.into(), hint: hint.into() }
    }
}

impl Packages {
    /// `lock_directories` says whether directories must be pinned, too.
    pub(crate) fn new(
        base: &Path,
        data_dir: &Path,
        lock: Lock,
        trust: Trust,
        lock_directories: bool,
        registries: Registries,
    ) -> Self {
        Self { base: base.to_owned(), store: data_dir.join("packages"), lock, trust, lock_directories, registries }
    }

    /// Finds the package that a `[[policy]]` names. `watched` gets the files that it rests on.
    pub(crate) fn find(&self, source: &str, watched: &mut BTreeSet<PathBuf>) -> Result<Found, Unfit> {
        match reference(source).map_err(|why| Unfit::resolve(why, ""))? {
            Some(reference) => self.pinned(source, &reference),
            None => self.directory(source, watched),
        }
    }

    fn directory(&self, source: &str, watched: &mut BTreeSet<PathBuf>) -> Result<Found, Unfit> {
        let dir = self.base.join(source);
        watched.insert(dir.join("policy.toml"));
        let package = Package::open(&dir).map_err(|error| Unfit::resolve(error.to_string(), ""))?;
        watched.insert(package.component_path());
        watched.extend(package.manifest.package.settings_schema.iter().map(|schema| package.dir.join(schema)));
        let Some(locked) = self.lock.get(source) else {
            if self.lock_directories {
                let reason = format!("{LOCK} does not pin the directory {source}, and `trust.lock_directories` is set");
                return Err(Unfit::verify(reason, "look at it, then run `portcullis policy lock`"));
            }
            return Ok(Found { package, digest: None, signers: Vec::new(), _unpacked: None });
        };
        let artifact = Artifact::pack(&package).map_err(|error| Unfit::resolve(reasons(&error.into()), ""))?;
        if artifact.digest().as_str() != locked.digest {
            let reason = format!(
                "the directory {source} is not what {LOCK} pins: it is {}, and {} is pinned",
                artifact.digest(),
                locked.digest
            );
            let hint = "look at the change, then run `portcullis policy lock --update` with the policy's name";
            return Err(Unfit::verify(reason, hint));
        }
        // The artifact holds what was compared; the directory may have changed since.
        let digest = artifact.digest().clone();
        unpacked(&artifact).map(|(package, dir)| Found {
            package,
            digest: Some(digest),
            signers: Vec::new(),
            _unpacked: Some(dir),
        })
    }

    fn pinned(&self, source: &str, reference: &Reference) -> Result<Found, Unfit> {
        let Some(locked) = self.lock.get(source) else {
            let reason = format!("{LOCK} does not pin {source}, and nothing is loaded that is not pinned");
            return Err(Unfit::resolve(
                reason,
                "run `portcullis policy lock`, look at the lock, and keep it with the configuration",
            ));
        };
        let digest: Digest = locked
            .digest
            .parse()
            .map_err(|error: portcullis_registry::BadDigest| Unfit::resolve(error.to_string(), ""))?;
        let (pulled, signers) = self.fetch(reference, &digest)?;
        let version = &pulled.artifact.policy().package.version;
        if *version != locked.version.to_string() {
            let reason = format!("{LOCK} pins version {} of {source}, and the package says {version}", locked.version);
            return Err(Unfit::verify(reason, "run `portcullis policy lock --update` with the policy's name"));
        }
        let (package, dir) = unpacked(&pulled.artifact)?;
        Ok(Found { package, digest: Some(digest), signers, _unpacked: Some(dir) })
    }

    /// From what is kept, else from the registry, and kept then; with those who signed it, of those who had to. What was kept before it was
    /// signed gets its signatures from the registry.
    fn fetch(&self, reference: &Reference, digest: &Digest) -> Result<(Pulled, Vec<String>), Unfit> {
        let failed = |error: anyhow::Error| Unfit::resolve(reasons(&error), "");
        let store = self.kept().map_err(failed)?.filter(|store| store.contains(digest));
        let unfit = match store.map(|store| store.get(digest)) {
            Some(Ok(kept)) => match self.verify(reference, &kept) {
                Ok(signers) => return Ok((kept, signers)),
                Err(unfit) => Some(unfit),
            },
            Some(Err(error)) => {
                let hint = format!("remove {} to have it fetched again", self.store.display());
                Some(Unfit::verify(reasons(&error.into()), &hint))
            }
            None => None,
        };
        let pulled = match (self.pull(reference, Some(digest)), unfit) {
            (Ok(pulled), _) => pulled,
            (Err(_), Some(unfit)) => return Err(unfit),
            (Err(error), None) => {
                let hint = format!("{LOCK} pins {digest}; `portcullis policy lock --update` asks the registry anew");
                return Err(Unfit::resolve(reasons(&error), &hint));
            }
        };
        let signers = self.verify(reference, &pulled)?;
        self.keep(&pulled, None).map_err(failed)?;
        Ok((pulled, signers))
    }

    /// Pulls a package with its signatures from its registry.
    pub(crate) fn pull(&self, reference: &Reference, digest: Option<&Digest>) -> anyhow::Result<Pulled> {
        let registry = self.registries.client(reference)?;
        Ok(wait(registry.pull(reference, digest))??)
    }

    /// How registries are reached.
    pub(crate) fn registries(&self) -> &Registries {
        &self.registries
    }

    /// Who must have signed packages.
    pub(crate) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What is kept under the name of a reference.
    pub(crate) fn kept_as(&self, reference: &Reference) -> anyhow::Result<Option<Pulled>> {
        let Some(store) = self.kept()? else { return Ok(None) };
        let name = reference.to_string();
        let name = name.trim_start_matches("oci://");
        let listed = store.list()?.into_iter().find(|listed| listed.name.as_deref() == Some(name));
        listed.map(|listed| store.get(&listed.digest)).transpose().map_err(Into::into)
    }

    /// The digest that a source is held to.
    pub(crate) fn pinned_digest(&self, source: &str) -> Option<&str> {
        self.lock.get(source).map(|locked| locked.digest.as_str())
    }

    /// Whether a version of a source is newer than the pinned one.
    pub(crate) fn is_newer(&self, source: &str, version: &str) -> bool {
        let pinned = self.lock.get(source).map(|locked| &locked.version);
        let version = version.parse::<semver::Version>().ok();
        pinned.zip(version).is_some_and(|(pinned, version)| version.cmp_precedence(pinned).is_gt())
    }

    /// The digest that a tag stands for now.
    pub(crate) fn resolve(&self, reference: &Reference) -> anyhow::Result<Digest> {
        let registry = self.registries.client(reference)?;
        Ok(wait(registry.resolve(reference))??)
    }

    /// Keeps a package, where there is a directory of data yet. A name is for one that comes from no registry.
    pub(crate) fn keep(&self, pulled: &Pulled, name: Option<&str>) -> anyhow::Result<()> {
        if self.store.parent().is_some_and(Path::is_dir) {
            let store = Layout::open_or_create(&self.store)?;
            store.put(name, &pulled.artifact, &pulled.signatures)?;
        }
        Ok(())
    }

    fn kept(&self) -> anyhow::Result<Option<Layout>> {
        Ok(if self.store.join("oci-layout").is_file() { Some(Layout::open(&self.store)?) } else { None })
    }

    /// Who of those who must have signed a package has.
    pub(crate) fn verify(&self, reference: &Reference, pulled: &Pulled) -> Result<Vec<String>, Unfit> {
        check_name(reference, &pulled.artifact).map_err(|error| Unfit::verify(reasons(&error.into()), ""))?;
        let repository = format!("{}/{}", reference.registry(), reference.repository());
        let verified = self.trust.verify(&repository, pulled.artifact.digest().as_str(), &detached(&pulled.signatures));
        verified.map_err(|error| Unfit::verify(error.to_string(), ""))
    }
}

/// Signatures as the package's trust takes them.
pub(crate) fn detached(signatures: &[Signature]) -> Vec<Detached<'_>> {
    let detached = signatures.iter().map(|signature| Detached {
        media_type: &signature.media_type,
        bytes: &signature.bytes,
        annotations: &signature.annotations,
    });
    detached.collect()
}

/// The place in a registry that a source names, if it names one. It has a tag, and no digest: that is the lock's.
pub(crate) fn reference(source: &str) -> Result<Option<Reference>, String> {
    if !source.contains("://") {
        return Ok(None);
    }
    let reference: Reference = source.parse().map_err(|error: portcullis_registry::BadReference| error.to_string())?;
    match (reference.tag(), reference.digest()) {
        (None, _) => Err(format!("{source} names no version; add one, such as :1.2.0")),
        (_, Some(_)) => Err(format!("{source} holds a digest, which belongs into {LOCK}; name the version only")),
        _ => Ok(Some(reference)),
    }
}

/// The lock file beside the configuration, with what polling of these sources has pinned since. A pin of polling rests on the one of the lock
/// file that it came after: whoever changes that one has the last word.
pub(crate) fn locks<'a>(base: &Path, data_dir: &Path, polled: impl Iterator<Item = &'a str>) -> Result<Lock, String> {
    let read = |path: PathBuf| Lock::read(&path).map_err(|error| error.to_string());
    let (mut lock, since) = (read(base.join(LOCK))?, read(data_dir.join(POLLED))?);
    for source in polled {
        let Some(first) = lock.get(source) else { continue };
        let newer = since.get(&resting(source, &first.digest));
        let Some(newer) = newer.filter(|newer| newer.version.cmp_precedence(&first.version).is_gt()) else { continue };
        lock.set(source, &newer.version.to_string(), &newer.digest).map_err(|error| error.to_string())?;
    }
    Ok(lock)
}

/// Pins what a tag means now, on top of what the lock file pins.
pub(crate) fn pin(base: &Path, data_dir: &Path, source: &str, version: &str, digest: &str) -> anyhow::Result<()> {
    let (lock, path) = (Lock::read(&base.join(LOCK))?, data_dir.join(POLLED));
    let first = lock.get(source).with_context(|| format!("{LOCK} does not pin {source} any more"))?;
    let mut polled = Lock::read(&path)?;
    let is_current = |entry: &str| lock.iter().any(|(source, first)| entry == resting(source, &first.digest));
    polled.retain(|entry, _| is_current(entry));
    polled.set(&resting(source, &first.digest), version, digest)?;
    Ok(polled.write(&path)?)
}

/// Forgets what polling has pinned for a source: the lock file counts again.
pub(crate) fn unpin(data_dir: &Path, source: &str) -> anyhow::Result<()> {
    let path = data_dir.join(POLLED);
    let before = Lock::read(&path)?;
    let mut polled = before.clone();
    polled.retain(|entry, _| !entry.starts_with(&format!("{source}@")));
    if polled != before {
        polled.write(&path)?;
    }
    Ok(())
}

/// The name of a pin that came after another.
fn resting(source: &str, first: &str) -> String {
    format!("{source}@{first}")
}

/// Runs a future to its end on this thread, which drives no others.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("no runtime for the network can be started")?.block_on(future))
}

/// A directory that goes with this.
struct Unpacked(PathBuf);

impl Drop for Unpacked {
    fn drop(&mut self) {
        // It is under the system's directory for temporary files, which is cleaned in any case.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Unpacks an artifact for reading. The directory is this process's alone.
fn unpacked(artifact: &Artifact) -> Result<(Package, Unpacked), Unfit> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |error: anyhow::Error| Unfit::resolve(reasons(&error), "");
    let dir = std::env::temp_dir().join(format!("portcullis-{}", uuid::Uuid::now_v7()));
    std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|error| failed(error.into()))?;
    let dir = Unpacked(dir);
    let package = artifact.unpack(&dir.0.join("package")).map_err(|error| failed(error.into()))?;
    Ok((package, dir))
}
