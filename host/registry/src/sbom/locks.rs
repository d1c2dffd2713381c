//! The lock files of the languages that policies are written in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Component, Hash, Licence};
use crate::error::ArtifactError;

/// The most bytes of a lock file.
const MAX_LOCK: u64 = 16 << 20;

/// What the lock files of a source directory name.
pub(super) fn read(source: &Path) -> Result<BTreeSet<Component>, ArtifactError> {
    let mut found = cargo(source)?;
    if let Some(text) = text(&source.join("go.sum"))? {
        found.extend(go(&text));
    }
    if let Some(text) = text(&source.join("package-lock.json"))? {
        found.extend(npm(&text).map_err(|message| broken(&source.join("package-lock.json"), message))?);
    }
    for name in ["requirements.lock", "requirements.txt"] {
        found.extend(text(&source.join(name))?.as_deref().map(python).unwrap_or_default());
    }
    Ok(found)
}

fn library(kind: &str, name: &str, version: &str) -> Component {
    // What a package URL reserves is escaped as in every URL; of names of packages that is `@` alone.
    let purl = format!("pkg:{kind}/{}@{}", name.replace('@', "%40"), version.replace('+', "%2B"));
    let (name, version) = (name.to_owned(), version.to_owned());
    Component { kind: "library", bom_ref: purl.clone(), name, version, purl: Some(purl), ..Component::default() }
}

#[derive(Deserialize)]
struct CargoLock {
    #[serde(default)]
    package: Vec<Crate>,
}

#[derive(Deserialize)]
struct Crate {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// The crates that a crate depends on, by the lock of its workspace.
fn cargo(source: &Path) -> Result<BTreeSet<Component>, ArtifactError> {
    #[derive(Deserialize)]
    struct CargoToml {
        package: Option<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let file = source.join("Cargo.toml");
    let Some(manifest) = text(&file)? else { return Ok(BTreeSet::new()) };
    let manifest: CargoToml = toml::from_str(&manifest).map_err(|error| broken(&file, error.message().into()))?;
    let source = source.canonicalize().map_err(|error| failed(source, error))?;
    let lock = source.ancestors().map(|dir| dir.join("Cargo.lock")).find(|file| file.is_file());
    let (Some(Named { name }), Some(file)) = (manifest.package, lock) else { return Ok(BTreeSet::new()) };
    let Some(text) = text(&file)? else { return Ok(BTreeSet::new()) };
    let lock: CargoLock = toml::from_str(&text).map_err(|error| broken(&file, error.message().into()))?;
    Ok(below(&lock, &name))
}

/// Everything that a crate depends on, directly or not, without itself.
fn below(lock: &CargoLock, root: &str) -> BTreeSet<Component> {
    let mut seen = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(wanted) = left.pop() {
        // `name`, or `name version` where there are several, or `name version (source)` where even those are.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let is_wanted = |found: &&Crate| found.name == name && version.is_none_or(|version| version == found.version);
        for found in lock.package.iter().filter(is_wanted) {
            if seen.insert((&found.name, &found.version, &found.checksum)) {
                left.extend(found.dependencies.iter().cloned());
            }
        }
    }
    let component = |(name, version, checksum): (&String, &String, &Option<String>)| {
        let hashes = checksum.iter().map(|hex| Hash { alg: "SHA-256", content: hex.clone() }).collect();
        Component { hashes, ..library("cargo", name, version) }
    };
    seen.into_iter().filter(|(name, ..)| *name != root).map(component).collect()
}

fn go(text: &str) -> BTreeSet<Component> {
    let module = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        (!version.ends_with("/go.mod")).then(|| library("golang", name, version))
    };
    text.lines().filter_map(module).collect()
}

fn npm(text: &str) -> Result<BTreeSet<Component>, String> {
    #[derive(Deserialize)]
    struct Lock {
        #[serde(default)]
        packages: BTreeMap<String, Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        version: Option<String>,
        integrity: Option<String>,
        license: Option<String>,
        #[serde(default)]
        dev: bool,
    }
    let lock: Lock = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let component = |(path, entry): (&String, &Entry)| {
        let (_, name) = path.rsplit_once("node_modules/")?;
        let hash = entry.integrity.as_deref().and_then(|integrity| integrity.strip_prefix("sha512-"));
        let hash = hash.and_then(|hash| STANDARD.decode(hash).ok());
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Component {
            scope: entry.dev.then_some("excluded"),
            hashes: hash.into_iter().map(|bytes| Hash { alg: "SHA-512", content: hex(bytes) }).collect(),
            licenses: entry.license.iter().map(|text| Licence { expression: text.clone() }).collect(),
            ..library("npm", name, entry.version.as_deref()?)
        })
    };
    Ok(lock.packages.iter().filter_map(component).collect())
}

fn python(text: &str) -> BTreeSet<Component> {
    let project = |line: &str| {
        let (name, rest) = line.trim().split_once("==")?;
        let name = name.split('[').next().unwrap_or(name).trim().to_lowercase().replace(['_', '.'], "-");
        let version = rest.split([' ', ';', '\\', '#', ',']).find(|word| !word.is_empty())?;
        (!name.starts_with('#')).then(|| library("pypi", &name, version))
    };
    text.lines().filter_map(project).collect()
}

fn text(file: &Path) -> Result<Option<String>, ArtifactError> {
    let opened = match std::fs::File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| failed(file, error))?,
    };
    let mut text = String::new();
    opened.take(MAX_LOCK + 1).read_to_string(&mut text).map_err(|error| failed(file, error))?;
    if text.len() as u64 > MAX_LOCK {
        return Err(ArtifactError::TooLarge { what: file.display().to_string(), limit: MAX_LOCK });
    }
    Ok(Some(text))
}

fn failed(file: &Path, source: std::io::Error) -> ArtifactError {
    ArtifactError::File { file: file.to_owned(), source }
}

fn broken(file: &Path, message: String) -> ArtifactError {
    ArtifactError::invalid(&file.display().to_string(), message.replace('\n', "; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &BTreeSet<Component>) -> Vec<&str> {
        found.iter().filter_map(|component| component.purl.as_deref()).collect()
    }

    #[test]
    fn a_crate_brings_what_it_depends_on_and_no_more() {
        let lock = r#"
            [[package]]
            name = "policy"
            version = "0.1.0"
            dependencies = ["a", "b 2.0.0"]
            [[package]]
            name = "a"
            version = "1.0.0+x"
            checksum = "aa"
            dependencies = ["a-inner"]
            [[package]]
            name = "a-inner"
            version = "0.3.0"
            dependencies = ["a"]
            [[package]]
            name = "b"
            version = "1.0.0"
            [[package]]
            name = "b"
            version = "2.0.0"
            [[package]]
            name = "other"
            version = "1.0.0"
        "#;
        let found = below(&toml::from_str(lock).unwrap(), "policy");
        assert_eq!(names(&found), ["pkg:cargo/a-inner@0.3.0", "pkg:cargo/a@1.0.0%2Bx", "pkg:cargo/b@2.0.0"]);
        assert!(found.iter().any(|component| component.hashes == [Hash { alg: "SHA-256", content: "aa".into() }]));
    }

    #[test]
    fn the_locks_of_other_languages_are_read() {
        let sum = "example.com/m v1.0.0 h1:x=\nexample.com/m v1.0.0/go.mod h1:y=\n\n";
        assert_eq!(names(&go(sum)), ["pkg:golang/example.com/m@v1.0.0"]);
        let lock = r#"{"packages": {"": {"name": "policy"}, "node_modules/@x/y": {"version": "1.0.0", "license": "MIT",
            "integrity": "sha512-AAEC"}, "node_modules/a/node_modules/b": {"version": "2.0.0", "dev": true},
            "node_modules/linked": {"link": true}}}"#;
        let found = npm(lock).unwrap();
        assert_eq!(names(&found), ["pkg:npm/%40x/y@1.0.0", "pkg:npm/b@2.0.0"]);
        let first = found.first().unwrap();
        assert_eq!((first.hashes[0].content.as_str(), first.licenses[0].expression.as_str()), ("000102", "MIT"));
        assert_eq!(found.last().unwrap().scope, Some("excluded"));
        assert!(npm("{").is_err());
        let lock =
            "# comment==1\nComponentize_Py==0.25.1 \\\n    --hash=sha256:aa\nextra[x]==1.0; python_version > '3'\n";
        assert_eq!(names(&python(lock)), ["pkg:pypi/componentize-py@0.25.1", "pkg:pypi/extra@1.0"]);
    }
}
