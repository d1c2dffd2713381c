//! The metadata of a package: everything but its component, as one plain tar.
//!
//! There is one way to write it (sorted by name, no times, no owners, no compression), and what is read must be written in
//! that way. So two archives of the same files have the same digest, and there is no room for links, owners, duplicates or
//! content that only some readers see.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use portcullis_package::{Manifest, Package};
use tar::{Archive, EntryType, Header};

use crate::error::ArtifactError;

/// The most bytes of an archive.
pub(crate) const MAX_METADATA: u64 = 16 << 20;

/// The most files of an archive.
const MAX_FILES: usize = 2000;

/// The most bytes of a file's name: what fits into one field of a header.
const MAX_NAME: usize = 100;

/// How messages name it.
pub(crate) const WHAT: &str = "the package's metadata";

/// The files of a package beside its component.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    pub(crate) manifest: Manifest,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    /// Checks files that are to be packed, or that were packed.
    pub(crate) fn new(files: BTreeMap<String, Vec<u8>>) -> Result<Self, ArtifactError> {
        let refused = |message: String| Err(ArtifactError::invalid(WHAT, message));
        if let Some(name) = files.keys().find(|name| !may_be_packed(name)) {
            return refused(format!(
                "`{}` does not belong into a package: that holds policy.toml, {}, README.md, LICENSE* and cases/*.toml, with \
                 names of at most {MAX_NAME} bytes",
                name.escape_debug(),
                Package::SETTINGS_SCHEMA
            ));
        }
        if files.len() > MAX_FILES {
            return refused(format!("it has more than {MAX_FILES} files"));
        }
        let Some(text) = files.get(Package::MANIFEST) else { return refused("it has no policy.toml".into()) };
        let Ok(text) = str::from_utf8(text) else { return refused("policy.toml is not UTF-8 text".into()) };
        let manifest = Manifest::parse(Path::new(Package::MANIFEST), text)?;
        if let Some(why) = manifest.not_portable() {
            return refused(format!("policy.toml: {why}; pack the package anew"));
        }
        let has_schema = files.contains_key(Package::SETTINGS_SCHEMA);
        if has_schema != manifest.package.settings_schema.is_some() {
            let (it, but) =
                if has_schema { ("has", "policy.toml names none") } else { ("lacks", "policy.toml names it") };
            return refused(format!("it {it} {}, and {but}; pack the package anew", Package::SETTINGS_SCHEMA));
        }
        Ok(Self { manifest, files })
    }

    /// Reads an archive.
    pub(crate) fn read(archive: &[u8]) -> Result<Self, ArtifactError> {
        let metadata = Self::new(files(archive)?)?;
        if metadata.to_tar()? != archive {
            let message = "it is not a plain tar of files sorted by name, without times, owners and anything behind its end; \
                           pack the package anew";
            return Err(ArtifactError::invalid(WHAT, message));
        }
        Ok(metadata)
    }

    /// Writes the archive.
    pub(crate) fn to_tar(&self) -> Result<Bytes, ArtifactError> {
        let archive = to_tar(self.files.iter().map(|(name, content)| (name.as_str(), content.as_slice())));
        let archive = archive.map_err(|error| ArtifactError::invalid(WHAT, error.to_string()))?;
        if archive.len() as u64 > MAX_METADATA {
            return Err(ArtifactError::TooLarge { what: WHAT.into(), limit: MAX_METADATA });
        }
        Ok(archive.into())
    }
}

/// A tar of these files, in this order.
pub(crate) fn to_tar<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        archive.append(&header(name, content.len() as u64)?, content)?;
    }
    archive.into_inner()
}

/// The header of a plain file.
pub(crate) fn header(name: &str, size: u64) -> std::io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

fn files(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ArtifactError> {
    let refused = |message: String| ArtifactError::invalid(WHAT, message);
    let broken = |error: std::io::Error| refused(format!("cannot be read: {error}"));
    if archive.len() as u64 > MAX_METADATA {
        return Err(ArtifactError::TooLarge { what: WHAT.into(), limit: MAX_METADATA });
    }
    let mut files = BTreeMap::new();
    // Raw: extensions such as long names are entries of a kind that is refused.
    for entry in Archive::new(archive).entries().map_err(broken)?.raw(true) {
        let entry = entry.map_err(broken)?;
        let path = entry.path_bytes();
        let Ok(name) = str::from_utf8(&path) else {
            return Err(refused(format!("`{}` is a name that is not UTF-8", path.escape_ascii())));
        };
        let name = name.to_owned();
        if entry.header().entry_type() != EntryType::Regular {
            let kind = entry.header().entry_type();
            return Err(refused(format!("`{}` is not a plain file but {kind:?}", name.escape_debug())));
        }
        if files.len() == MAX_FILES {
            return Err(refused(format!("it has more than {MAX_FILES} files")));
        }
        let size = entry.size();
        let mut content = Vec::new();
        // The size is a claim; there is no more than the archive has.
        entry.take(MAX_METADATA).read_to_end(&mut content).map_err(broken)?;
        if content.len() as u64 != size {
            return Err(refused(format!("`{}` has {} bytes and claims {size}", name.escape_debug(), content.len())));
        }
        if files.insert(name.clone(), content).is_some() {
            return Err(refused(format!("`{}` is there twice", name.escape_debug())));
        }
    }
    Ok(files)
}

/// Whether a file of this name belongs into a package. The component does not: it is a layer of its own.
fn may_be_packed(name: &str) -> bool {
    let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
    let legal = name.len() <= MAX_NAME && !name.contains(char::is_control);
    let case = name.strip_prefix("cases/").and_then(|name| name.strip_suffix(".toml"));
    let known = [Package::MANIFEST, Package::SETTINGS_SCHEMA, "README.md"].contains(&name);
    legal && (known || case.is_some_and(plain) || (name.starts_with("LICENSE") && plain(name)))
}
