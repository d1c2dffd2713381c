//! Sharing packages: registries, image layouts, signatures, and the lock.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use portcullis_package::trust::{PublicKey, Rule, SecretKey, SecretKeyError, Signer, Trust};
use portcullis_package::{Lock, Package};
use portcullis_registry::{Artifact, Layout, Named, Problem, Pulled, Reference, RegistryError, Signature, check_name};
use secrecy::{ExposeSecret, SecretString};

use crate::cli::RegistryArgs;
use crate::config::{self, read_file};
use crate::packages::{LOCK, Packages, Registries, detached, reference, unpin, wait};
use crate::show::{reasons, safe, safe_lines};

/// The password of secret keys for programs, which have no terminal.
const KEY_PASSWORD: &str = "PORTCULLIS_KEY_PASSWORD";

/// The most bytes of a key's file.
const MAX_KEY: u64 = 64 << 10;

/// How the registries of a command are reached.
fn registries(args: &RegistryArgs) -> anyhow::Result<Registries> {
    match &args.config {
        Some(path) => Ok(config::packages(path)?.1.registries().clone()),
        None => Ok(Registries::default()),
    }
}

/// A reference of the command line, which may hold a digest.
fn parse(text: &str) -> anyhow::Result<Reference> {
    let reference: Reference = text.parse()?;
    ensure!(
        reference.tag().is_some() || reference.digest().is_some(),
        "{reference} names no version and no digest; add one, such as :1.2.0"
    );
    Ok(reference)
}

/// Pulls what a reference stands for.
pub(super) fn fetch(reference: &Reference, args: &RegistryArgs) -> anyhow::Result<Pulled> {
    let client = registries(args)?.client(reference)?;
    Ok(wait(client.pull(reference, reference.digest()))??)
}

/// `portcullis policy push`
pub(super) fn push(package: &Path, to: &str, key: Option<&Path>, args: &RegistryArgs) -> anyhow::Result<()> {
    let package = Package::open(package)?;
    let version = &package.manifest.package.version;
    let given: Reference = to.parse()?;
    // A tag has no `+`, so that `_` stands for it.
    let tagged =
        if given.tag().is_some() { given } else { format!("{given}:{}", version.replace('+', "_")).parse()? };
    // Asked for before anything is sent.
    let key = key.map(secret_key).transpose()?;
    let artifact = Artifact::pack(&package)?;
    for path in package.outside() {
        eprintln!("note: {} lies outside of the package and is packed with it", path.display());
    }
    let client = registries(args)?.client(&tagged)?;
    // Whoever pinned a version must find it for ever.
    let there = match tagged.version().map(|_| wait(client.resolve(&tagged))).transpose()? {
        Some(Err(RegistryError { problem: Problem::Absent(_), .. })) | None => None,
        Some(resolved) => Some(resolved?),
    };
    if let Some(other) = there.filter(|there| there != artifact.digest()) {
        bail!("{tagged} is there already, with the digest {other}; a version never changes: raise it in policy.toml");
    }
    wait(client.push(&tagged, &artifact))??;
    if let Some(key) = key {
        add_signature(&client, &tagged, &artifact, &key)?;
    }
    println!("pushed {tagged}\ndigest {}", artifact.digest());
    Ok(())
}

/// `portcullis policy sign`
pub(super) fn sign(to: &str, key: &Path, args: &RegistryArgs) -> anyhow::Result<()> {
    let reference = parse(to)?;
    let pulled = fetch(&reference, args)?;
    let digest = pulled.artifact.digest();
    ensure!(
        reference.digest().is_some(),
        "{reference} is {digest} now, and a tag can change while you look; look at it with `portcullis policy inspect`, then sign {reference}@{digest}"
    );
    let key = secret_key(key)?;
    add_signature(&registries(args)?.client(&reference)?, &reference, &pulled.artifact, &key)?;
    println!("signed {reference}\ndigest {}", pulled.artifact.digest());
    Ok(())
}

fn add_signature(
    client: &portcullis_registry::Registry,
    reference: &Reference,
    artifact: &Artifact,
    key: &SecretKey,
) -> anyhow::Result<()> {
    let signature = Signature {
        media_type: Signature::MINISIGN.into(),
        bytes: key.sign(artifact.digest().as_str())?.into_bytes(),
        annotations: BTreeMap::new(),
    };
    Ok(wait(client.push_signature(reference, artifact.digest(), &signature))??)
}

/// `portcullis policy pull`
pub(super) fn pull(from: &str, output: Option<&Path>, args: &RegistryArgs) -> anyhow::Result<()> {
    let reference = parse(from)?;
    let artifact = fetch(&reference, args)?.artifact;
    let dir = output.map_or_else(|| PathBuf::from(&artifact.policy().package.name), Path::to_owned);
    artifact.unpack(&dir)?;
    println!(
        "{} {}: {}\ndigest {}",
        artifact.policy().package.name,
        artifact.policy().package.version,
        dir.display(),
        artifact.digest()
    );
    Ok(())
}

/// `portcullis policy keygen`
pub(super) fn keygen(file: &Path, without_password: bool) -> anyhow::Result<()> {
    let public = PathBuf::from(format!("{}.pub", file.display()));
    for path in [file, &public] {
        ensure!(!path.exists(), "{} is there already; a key is never overwritten", path.display());
    }
    let password = if without_password { None } else { Some(new_password()?) };
    let made = SecretKey::generate(password.as_ref())?;
    let write = |path: &Path, mode: u32, text: &str| -> anyhow::Result<()> {
        let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        let written = created.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("{} cannot be written", path.display()))
    };
    write(file, 0o600, made.secret.expose_secret())?;
    write(&public, 0o644, &made.public)?;
    println!("the secret key is {}: keep it; the public key is {}: give it away", file.display(), public.display());
    print!("{}", made.public);
    Ok(())
}

fn new_password() -> anyhow::Result<SecretString> {
    if let Some(password) = given_password() {
        return Ok(password);
    }
    let hint = format!("set {KEY_PASSWORD}, or say --without-password");
    ensure!(std::io::stdin().is_terminal(), "there is no terminal to ask for a password; {hint}");
    let password: SecretString = rpassword::prompt_password("Password for the key: ")?.into();
    ensure!(!password.expose_secret().is_empty(), "the password is empty; {hint}");
    let again: SecretString = rpassword::prompt_password("Again: ")?.into();
    ensure!(password.expose_secret() == again.expose_secret(), "the passwords differ");
    Ok(password)
}

fn given_password() -> Option<SecretString> {
    std::env::var(KEY_PASSWORD).ok().filter(|password| !password.is_empty()).map(Into::into)
}

/// Opens a secret key, and asks for its password if it has one.
fn secret_key(path: &Path) -> anyhow::Result<SecretKey> {
    let name = || format!("the key {}", path.display());
    let bytes = read_file(path, MAX_KEY).map_err(anyhow::Error::msg)?;
    let text: SecretString = String::from_utf8(bytes).with_context(|| format!("{} is not text", name()))?.into();
    match SecretKey::open(&text, given_password().as_ref()) {
        Err(SecretKeyError::NeedsPassword) if std::io::stdin().is_terminal() => {
            let password: SecretString =
                rpassword::prompt_password(format!("Password of {}: ", path.display()))?.into();
            SecretKey::open(&text, Some(&password)).with_context(name)
        }
        Err(SecretKeyError::NeedsPassword) => bail!("{} has a password; set {KEY_PASSWORD}", name()),
        opened => opened.with_context(name),
    }
}

/// `portcullis policy verify`
pub(super) fn verify(what: &str, keys: &[PathBuf], args: &RegistryArgs) -> anyhow::Result<ExitCode> {
    let found = find(what, args)?;
    let mut good = true;
    for (name, pulled) in &found {
        let repository = match name.parse::<Reference>() {
            Ok(reference) => {
                check_name(&reference, &pulled.artifact)?;
                format!("{}/{}", reference.registry(), reference.repository())
            }
            // One that was saved from a directory has never been in a registry.
            Err(_) => format!("local/{}", pulled.artifact.policy().package.name),
        };
        let trust = trust(keys, args, &repository)?;
        ensure!(
            !trust.demands(&repository).is_empty(),
            "nothing says who must have signed {name}; give --key, or --config with a [[trust.rule]] that covers {repository}"
        );
        match trust.verify(&repository, pulled.artifact.digest().as_str(), &detached(&pulled.signatures)) {
            Ok(signers) => {
                let signers: Vec<_> = signers.iter().map(|signer| named(signer, keys)).collect();
                println!("{}: signed by {}\ndigest {}", safe(name), signers.join(", "), pulled.artifact.digest())
            }
            Err(error) => {
                eprintln!("error: {}: {}", safe(name), safe_lines(&reasons(&error.into())));
                good = false;
            }
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The file of a key of the command line, or a signer of the configuration.
fn named(signer: &str, keys: &[PathBuf]) -> String {
    let at = signer.strip_prefix("key-").and_then(|at| at.parse::<usize>().ok()?.checked_sub(1));
    at.and_then(|at| keys.get(at)).map_or(signer.to_owned(), |path| path.display().to_string())
}

/// The keys of the command line, each of which must have signed, or else the configuration's rules.
fn trust(keys: &[PathBuf], args: &RegistryArgs, repository: &str) -> anyhow::Result<Trust> {
    if keys.is_empty() {
        return match &args.config {
            Some(path) => Ok(config::packages(path)?.1.trust().clone()),
            None => Ok(Trust::default()),
        };
    }
    let signer = |(at, path): (usize, &PathBuf)| -> anyhow::Result<Signer> {
        let text = String::from_utf8_lossy(&read_file(path, MAX_KEY).map_err(anyhow::Error::msg)?).into_owned();
        let key: PublicKey = text.parse().with_context(|| format!("{} is no public key", path.display()))?;
        Ok(Signer { name: format!("key-{}", at + 1), key })
    };
    let signers = keys.iter().enumerate().map(signer).collect::<anyhow::Result<Vec<_>>>()?;
    let all_of = signers.iter().map(|signer| signer.name.clone()).collect();
    let rule = Rule { namespace: repository.into(), all_of, any_of: Vec::new(), at_least: 0 };
    Ok(Trust::new(signers, vec![rule])?)
}

/// The packages that a reference or an image layout stands for, each with its name there.
pub(super) fn find(what: &str, args: &RegistryArgs) -> anyhow::Result<Vec<(String, Pulled)>> {
    if what.contains("://") {
        let reference = parse(what)?;
        return Ok(vec![(reference.to_string(), fetch(&reference, args)?)]);
    }
    let layout = Layout::open(Path::new(what))?;
    let listed = layout.list()?;
    ensure!(!listed.is_empty(), "{what} holds no packages");
    let named =
        |name: Option<String>, digest: &str| name.map_or_else(|| digest.to_owned(), |name| format!("oci://{name}"));
    let packages =
        listed.into_iter().map(|item| Ok((named(item.name, item.digest.as_str()), layout.get(&item.digest)?)));
    packages.collect()
}

/// `portcullis policy save`
pub(super) fn save(what: &[String], output: &Path, args: &RegistryArgs) -> anyhow::Result<()> {
    let mut packages = Vec::new();
    for item in what {
        if item.contains("://") {
            let reference = parse(item)?;
            let name = reference.to_string();
            packages.push((name.trim_start_matches("oci://").to_owned(), fetch(&reference, args)?));
        } else {
            let package = Package::open(Path::new(item))?;
            let about = &package.manifest.package;
            let name = format!("{}:{}", about.name, about.version.replace('+', "_"));
            packages.push((name, Pulled { artifact: Artifact::pack(&package)?, signatures: Vec::new() }));
        }
    }
    let contents: Vec<Named<'_>> = packages
        .iter()
        .map(|(name, pulled)| Named { name, artifact: &pulled.artifact, signatures: &pulled.signatures })
        .collect();
    Layout::save(output, &contents)?;
    for (name, pulled) in &packages {
        println!("{}  {}", pulled.artifact.digest(), safe(name));
    }
    Ok(())
}

/// `portcullis policy load`
pub(super) fn load(layout: &Path, config: &Path) -> anyhow::Result<()> {
    let (file, packages) = config::packages(config)?;
    let base = config.parent().unwrap_or(Path::new(""));
    crate::keys::data_dir(&base.join(&file.data_dir))?;
    let found = find(&layout.display().to_string(), &RegistryArgs { config: None })?;
    for (name, pulled) in &found {
        if let Ok(reference) = name.parse::<Reference>() {
            check_name(&reference, &pulled.artifact)?;
        }
        packages.keep(pulled, name.strip_prefix("oci://"))?;
        println!("{}  {}", pulled.artifact.digest(), safe(name));
    }
    println!("`portcullis policy lock` pins what the configuration names of them");
    Ok(())
}

/// `portcullis policy annotate`
pub(super) fn annotate(to: &str, annotations: &[String], args: &RegistryArgs) -> anyhow::Result<()> {
    let reference = parse(to)?;
    let notes = annotations.iter().map(|annotation| {
        let pair = annotation.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.with_context(|| format!("`{annotation}` is not KEY=VALUE"))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let notes = notes.collect::<anyhow::Result<BTreeMap<_, _>>>()?;
    let client = registries(args)?.client(&reference)?;
    wait(client.annotate(&reference, notes))??;
    println!("annotated {reference}");
    Ok(())
}

/// `portcullis policy lock`
pub(super) fn lock(config: &Path, update: &[String], check: bool) -> anyhow::Result<ExitCode> {
    let (file, packages) = config::packages(config)?;
    if let Some(unknown) = update.iter().find(|name| !file.policies.iter().any(|policy| policy.name == **name)) {
        bail!("the configuration has no policy `{unknown}`");
    }
    let base = config.parent().unwrap_or(Path::new(""));
    let path = base.join(LOCK);
    let before = Lock::read(&path)?;
    let mut lock = before.clone();
    lock.retain(|source, _| file.policies.iter().any(|policy| policy.package == source));
    let mut missing = false;
    for policy in &file.policies {
        let (source, anew) = (policy.package.as_str(), update.contains(&policy.name));
        let place = reference(source).map_err(anyhow::Error::msg)?;
        let needed = lock.get(source).is_none() && (place.is_some() || file.trust.lock_directories);
        if !needed && !anew {
            continue;
        }
        if check {
            eprintln!("error: {} does not pin {}", path.display(), safe(source));
            missing = true;
            continue;
        }
        let (version, digest) = match place {
            Some(place) => {
                from_registry(&packages, &place, anew).with_context(|| format!("policy `{}`", policy.name))?
            }
            None => {
                let package = Package::open(&base.join(source))?;
                (package.manifest.package.version.clone(), Artifact::pack(&package)?.digest().to_string())
            }
        };
        if before.get(source).is_none_or(|old| old.digest != digest) {
            let old = before.get(source).map_or(String::new(), |old| format!("{} → ", old.version));
            println!("{}  {old}{}  {digest}", safe(source), safe(&version));
        }
        lock.set(source, &version, &digest)?;
        if anew {
            unpin(&base.join(&file.data_dir), source)?;
        }
    }
    if missing {
        return Ok(ExitCode::FAILURE);
    }
    for (source, _) in before.iter().filter(|(source, _)| lock.get(source).is_none()) {
        println!("{}  is not used any more", safe(source));
    }
    if lock == before {
        println!("{} is complete", path.display());
    } else if !check {
        lock.write(&path)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<RegistryError>();
    error.is_some_and(|error| matches!(error.problem, Problem::Unreachable(_)))
}

/// What a tag stands for now, signed as the configuration demands. A package that was put there by `policy load` needs no registry, unless it
/// is to be asked anew and answers.
fn from_registry(packages: &Packages, reference: &Reference, anew: bool) -> anyhow::Result<(String, String)> {
    let pulled = match (packages.kept_as(reference)?, anew) {
        (Some(kept), false) => kept,
        (Some(kept), true) => match packages.pull(reference, None) {
            Err(error) if is_unreachable(&error) => {
                eprintln!("note: {}; what `policy load` put there stays", safe_lines(&reasons(&error)));
                kept
            }
            pulled => pulled?,
        },
        (None, _) => packages.pull(reference, None)?,
    };
    packages.verify(reference, &pulled).map_err(|unfit| anyhow::Error::msg(unfit.reason))?;
    packages.keep(&pulled, None)?;
    Ok((pulled.artifact.policy().package.version.clone(), pulled.artifact.digest().to_string()))
}
