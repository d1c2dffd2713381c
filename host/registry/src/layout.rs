//! OCI image layouts: packages in a directory or in one plain tar. The gateway's own store of packages is such a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use portcullis_package::Package;
use serde::{Deserialize, Serialize};
use tar::{Archive, EntryType};

use crate::artifact::{Artifact, CONFIG, MAX_CONFIG, MAX_SBOM, Parts, Promise, beside, verify};
use crate::digest::Digest;
use crate::error::ArtifactError;
use crate::metadata::{self, MAX_METADATA};
use crate::oci::{self, IMAGE_MANIFEST, Index, MAX_MANIFEST, Manifest};
use crate::signature::{self, MAX_SIGNATURE, Signature};

mod contents;

use contents::Contents;

/// What a manifest is called in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";
const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const LAYOUT_VERSION: &str = "1.0.0";

/// The most files of a layout in a tar.
const MAX_FILES: usize = 20_000;

/// The most bytes of a name.
const MAX_NAME: usize = 512;

/// Packages in a directory or a tar. Whatever is read is checked against its digest, each time.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    /// Where each file of a tar is; a directory has none.
    tar: Option<BTreeMap<String, Place>>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    size: u64,
}

/// A package that goes into a layout.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// What it is called there: as a rule its reference without the scheme, `registry.example/policies/block:1.2.0`.
    pub name: &'a str,
    /// The package.
    pub artifact: &'a Artifact,
    /// Its signatures.
    pub signatures: &'a [Signature],
}

/// A package that is in a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is called there.
    pub name: Option<String>,
    /// Its digest.
    pub digest: Digest,
}

/// A package with its signatures.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The package.
    pub artifact: Artifact,
    /// Its signatures as they were found. Nobody has judged them.
    pub signatures: Vec<Signature>,
}

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// There is no such package in it.
    #[error("{} holds no package `{wanted}`; it holds {}", path.display(), if there.is_empty() { "none" } else { there })]
    Absent {
        /// The layout.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What is there instead.
        there: String,
    },
    /// What it holds is broken.
    #[error("{}: {source}", path.display())]
    Artifact {
        /// The layout.
        path: PathBuf,
        /// What is wrong.
        source: ArtifactError,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no layout, or cannot be made one.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The layout.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Writes packages into a new layout: a tar if the path ends in `.tar`, else a directory. As a whole, or not at all.
    pub fn save(path: &Path, packages: &[Named<'_>]) -> Result<(), LayoutError> {
        let invalid = |message: &str| LayoutError::Invalid { path: path.to_owned(), message: message.into() };
        let mut contents = Contents::default();
        let mut names = BTreeSet::new();
        for package in packages {
            if !names.insert(package.name) {
                return Err(invalid(&format!("`{}` is named twice", package.name)));
            }
            let added = contents.add(Some(package.name), package.artifact, package.signatures);
            added.map_err(|source| LayoutError::Artifact { path: path.to_owned(), source })?;
        }
        if fs::symlink_metadata(path).is_ok() {
            return Err(invalid("is there already; name a path that is not"));
        }
        let (parent, temporary) = beside(path).ok_or_else(|| invalid("is no name of a file"))?;
        let written = fs::create_dir_all(parent).and_then(|()| {
            if path.extension().is_some_and(|extension| extension == "tar") {
                write_tar(&temporary, &contents)?;
            } else {
                write_directory(&temporary, &contents)?;
            }
            fs::rename(&temporary, path)
        });
        written.map_err(|source| {
            // What cannot be removed is in nobody's way, and the first error is the one to tell.
            let _ = fs::remove_file(&temporary).or_else(|_| fs::remove_dir_all(&temporary));
            LayoutError::File { file: path.to_owned(), source }
        })
    }

    /// Opens a layout: a directory, or a tar of one.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let tar = if path.is_dir() { None } else { Some(places(path)?) };
        let layout = Self { path: path.to_owned(), tar };
        let marker = layout.read(MARKER, MAX_MANIFEST).map_err(|error| match error {
            LayoutError::File { source, .. } if source.kind() == ErrorKind::NotFound => {
                layout.invalid("is no OCI image layout: it has no file `oci-layout`")
            }
            other => other,
        })?;
        let marker: Marker = oci::parse(MARKER, &marker).map_err(|source| layout.broken(source))?;
        if marker.image_layout_version != LAYOUT_VERSION {
            let version = marker.image_layout_version.escape_debug();
            return Err(
                layout.invalid(&format!("is an image layout of version {version}, and {LAYOUT_VERSION} is known"))
            );
        }
        Ok(layout)
    }

    /// Opens the layout in a directory, and makes an empty one where there is none.
    pub fn open_or_create(dir: &Path) -> Result<Self, LayoutError> {
        if !dir.join(MARKER).exists() {
            let created = write_directory(dir, &Contents::default());
            created.map_err(|source| LayoutError::File { file: dir.to_owned(), source })?;
        }
        Self::open(dir)
    }

    /// The packages in it.
    pub fn list(&self) -> Result<Vec<Listed>, LayoutError> {
        let mut listed = Vec::new();
        for manifest in self.index()?.manifests {
            let name = manifest.annotations.get(NAME).cloned();
            if manifest.media_type == IMAGE_MANIFEST && manifest.artifact_type.is_none() {
                let content = self.blob("an image manifest", &manifest.digest, MAX_MANIFEST)?;
                let found = Manifest::read("an image manifest", &content).map_err(|source| self.broken(source))?;
                if found.subject.is_none() && found.config.media_type == CONFIG {
                    listed.push(Listed { name, digest: manifest.digest });
                }
            }
        }
        Ok(listed)
    }

    /// The digest of the package that is called so, with or without `oci://`, or that has this digest.
    pub fn find(&self, wanted: &str) -> Result<Digest, LayoutError> {
        let listed = self.list()?;
        let name = wanted.strip_prefix("oci://").unwrap_or(wanted);
        let found = listed.iter().find(|l| l.name.as_deref() == Some(name) || l.digest.as_str() == wanted);
        let told = |listed: &Listed| listed.name.clone().unwrap_or_else(|| listed.digest.to_string());
        found.map(|listed| listed.digest.clone()).ok_or_else(|| LayoutError::Absent {
            path: self.path.clone(),
            wanted: wanted.into(),
            there: listed.iter().take(10).map(told).collect::<Vec<_>>().join(", "),
        })
    }

    /// Whether it holds the package. What it holds is not read.
    pub fn contains(&self, digest: &Digest) -> bool {
        match &self.tar {
            Some(places) => places.contains_key(&blob(digest)),
            None => self.path.join(blob(digest)).is_file(),
        }
    }

    /// Reads a package with its signatures.
    pub fn get(&self, digest: &Digest) -> Result<Pulled, LayoutError> {
        if !self.contains(digest) {
            return Err(self.find(digest.as_str()).err().unwrap_or_else(|| self.invalid("lacks a blob that it lists")));
        }
        let manifest = self.blob("the image manifest", digest, MAX_MANIFEST)?;
        let promise = Promise::read(digest, &manifest).map_err(|source| self.broken(source))?;
        let parts = Parts {
            config: self.blob("the image's configuration", &promise.config, MAX_CONFIG)?,
            component: self.blob("the component", &promise.component, Package::MAX_COMPONENT)?,
            metadata: self.blob(metadata::WHAT, &promise.metadata, MAX_METADATA)?,
            sbom: self.blob("the bill of materials", &promise.sbom, MAX_SBOM)?,
        };
        let artifact = Artifact::assemble(digest, manifest, parts).map_err(|source| self.broken(source))?;
        Ok(Pulled { artifact, signatures: self.signatures(digest)? })
    }

    /// Puts a package into a directory. A name that another package has there passes to this one; signatures are added to
    /// those that are there. Several processes may do so at once.
    pub fn put(&self, name: Option<&str>, artifact: &Artifact, signatures: &[Signature]) -> Result<(), LayoutError> {
        if self.tar.is_some() {
            return Err(self.invalid("is a tar, to which nothing is added; save all packages together into a new one"));
        }
        let failed = |source| LayoutError::File { file: self.path.clone(), source };
        let lock = File::create(self.path.join("lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut all = self.signatures(artifact.digest())?;
        all.extend(signatures.iter().filter(|new| !all.contains(new)).cloned().collect::<Vec<_>>());
        let mut contents = Contents::of(self.index()?);
        contents.add(name, artifact, &all).map_err(|source| self.broken(source))?;
        // The index is last: what it names is there.
        write_contents(&self.path, &contents).map_err(failed)
    }

    fn signatures(&self, subject: &Digest) -> Result<Vec<Signature>, LayoutError> {
        let mut found = Vec::new();
        let what = signature::WHAT;
        for manifest in self.index()?.manifests.iter().filter(|manifest| manifest.media_type == IMAGE_MANIFEST) {
            let is_cosign = manifest.annotations.get(NAME).is_some_and(|name| *name == signature::cosign_tag(subject));
            let kind = if is_cosign { Signature::COSIGN } else { Signature::MINISIGN };
            if !is_cosign && manifest.artifact_type.as_deref().is_some_and(|kind| kind != Signature::MINISIGN) {
                continue;
            }
            // What is damaged is no signature, and need not be of this package at all.
            let content = self.blob(what, &manifest.digest, MAX_MANIFEST);
            let Some(manifest) = content.ok().and_then(|content| Manifest::read(what, &content).ok()) else { continue };
            if !is_cosign && manifest.subject.as_ref().is_none_or(|its| its.digest != *subject) {
                continue;
            }
            for layer in signature::layers(&manifest, kind) {
                signature::check_count(found.len() + 1).map_err(|source| self.broken(source))?;
                let bytes = self.blob(what, &layer.digest, MAX_SIGNATURE)?.to_vec();
                found.push(Signature { media_type: layer.media_type, bytes, annotations: layer.annotations });
            }
        }
        Ok(found)
    }

    fn index(&self) -> Result<Index, LayoutError> {
        Index::read(INDEX, &self.read(INDEX, MAX_MANIFEST)?).map_err(|source| self.broken(source))
    }

    fn blob(&self, what: &str, digest: &Digest, limit: u64) -> Result<Bytes, LayoutError> {
        let content = self.read(&blob(digest), limit)?;
        verify(what, digest, &content, limit).map_err(|source| self.broken(source))?;
        Ok(content)
    }

    /// A file of the layout.
    fn read(&self, name: &str, limit: u64) -> Result<Bytes, LayoutError> {
        let file = self.path.join(name);
        let failed = |source| LayoutError::File { file: file.clone(), source };
        let mut content = Vec::new();
        let (from, size) = match &self.tar {
            None => (File::open(&file).map_err(failed)?, limit + 1),
            Some(places) => {
                let place = places.get(name).ok_or_else(|| failed(ErrorKind::NotFound.into()))?;
                let mut tar = File::open(&self.path).map_err(failed)?;
                tar.seek(SeekFrom::Start(place.offset)).map_err(failed)?;
                (tar, place.size.min(limit + 1))
            }
        };
        from.take(size).read_to_end(&mut content).map_err(failed)?;
        if content.len() as u64 > limit {
            return Err(self.broken(ArtifactError::TooLarge { what: name.into(), limit }));
        }
        Ok(content.into())
    }

    fn broken(&self, source: ArtifactError) -> LayoutError {
        LayoutError::Artifact { path: self.path.clone(), source }
    }

    fn invalid(&self, message: &str) -> LayoutError {
        LayoutError::Invalid { path: self.path.clone(), message: message.into() }
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Where the files of a tar are. Nothing is unpacked.
fn places(path: &Path) -> Result<BTreeMap<String, Place>, LayoutError> {
    let failed = |source| LayoutError::File { file: path.to_owned(), source };
    let invalid = |message: String| Err(LayoutError::Invalid { path: path.to_owned(), message });
    let mut places = BTreeMap::new();
    let mut archive = Archive::new(File::open(path).map_err(failed)?);
    for entry in archive.entries_with_seek().map_err(failed)?.raw(true) {
        let entry = entry.map_err(failed)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let shown = name.escape_debug();
        match entry.header().entry_type() {
            EntryType::Directory => continue,
            EntryType::Regular => {}
            kind => {
                return invalid(format!("`{shown}` is not a plain file but {kind:?}; use a tar in the format ustar"));
            }
        }
        if places.len() == MAX_FILES {
            return invalid(format!("has more than {MAX_FILES} files"));
        }
        let place = Place { offset: entry.raw_file_position(), size: entry.size() };
        if places.insert(name.strip_prefix("./").unwrap_or(&name).to_owned(), place).is_some() {
            return invalid(format!("`{shown}` is there twice"));
        }
    }
    Ok(places)
}

fn marker() -> Bytes {
    oci::to_bytes(&Marker { image_layout_version: LAYOUT_VERSION.into() })
}

fn write_tar(file: &Path, contents: &Contents) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(File::create_new(file)?);
    let blobs = contents.blobs.iter().map(|(digest, content)| (blob(digest), content.clone()));
    let first = [(MARKER.to_owned(), marker()), (INDEX.to_owned(), contents.index.to_bytes())];
    for (name, content) in first.into_iter().chain(blobs) {
        archive.append(&metadata::header(&name, content.len() as u64)?, content.as_ref())?;
    }
    archive.into_inner()?.sync_all()
}

fn write_directory(dir: &Path, contents: &Contents) -> std::io::Result<()> {
    fs::create_dir_all(dir.join("blobs/sha256"))?;
    write_contents(dir, contents)?;
    // The marker is last: a directory with one is whole.
    write_file(&dir.join(MARKER), &marker())
}

fn write_contents(dir: &Path, contents: &Contents) -> std::io::Result<()> {
    for (digest, content) in &contents.blobs {
        let file = dir.join(blob(digest));
        // A file that is there may have been damaged.
        if fs::read(&file).ok().is_none_or(|there| there != *content) {
            write_file(&file, content)?;
        }
    }
    File::open(dir.join("blobs/sha256"))?.sync_all()?;
    write_file(&dir.join(INDEX), &contents.index.to_bytes())
}

/// Writes a file as a whole or not at all.
fn write_file(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let (dir, temporary) = beside(file).ok_or(ErrorKind::InvalidFilename)?;
    let written = File::create_new(&temporary).and_then(|mut out| {
        out.write_all(content)?;
        out.sync_all()?;
        fs::rename(&temporary, file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.and_then(|()| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests;
