use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use portcullis_package::{Manifest as Policy, Package, World};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::ArtifactError;
use crate::metadata::{self, Metadata};
use crate::oci::{self, Descriptor, MAX_MANIFEST, Manifest};
use crate::sbom;

/// The media type of a component's configuration, as the Wasm tools have agreed.
pub(crate) const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM: &str = "application/wasm";
/// What the metadata are, as an artifact that refers to the package.
const METADATA_TYPE: &str = "application/vnd.portcullis.package.v1";
const METADATA_LAYER: &str = "application/vnd.portcullis.package.v1.tar";
const SBOM_TYPE: &str = "application/vnd.cyclonedx+json";

const METADATA: &str = "dev.portcullis.package.metadata";
const SBOM: &str = "dev.portcullis.package.sbom";
const TITLE: &str = "org.opencontainers.image.title";
const VERSION: &str = "org.opencontainers.image.version";

/// The most bytes of a configuration.
pub(crate) const MAX_CONFIG: u64 = 1 << 20;
/// The most bytes of a bill of materials.
pub(crate) const MAX_SBOM: u64 = 16 << 20;

/// Every image has been made at some time, and a time would make the digest another at each packing.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// A package as bytes. What is in it has been checked: every digest, the manifest, and each file of the metadata.
///
/// It is an OCI image with the component as its only layer, so that every tool for Wasm components can take it. The other
/// files and the bill of materials refer to the image as artifacts of their own, and the image names their digests: so the
/// digest of the image, which is what is signed and pinned, covers all of it.
#[derive(Clone)]
pub struct Artifact {
    digest: Digest,
    manifest: Bytes,
    parts: Parts,
    contents: Metadata,
}

/// What a package consists of beside its image manifest.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) config: Bytes,
    pub(crate) component: Bytes,
    pub(crate) metadata: Bytes,
    pub(crate) sbom: Bytes,
}

/// What an image manifest promises: where the parts are.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) config: Digest,
    pub(crate) component: Digest,
    pub(crate) metadata: Digest,
    pub(crate) sbom: Digest,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    created: String,
    architecture: String,
    os: String,
    layer_digests: Vec<Digest>,
    component: Interfaces,
}

#[derive(Deserialize, Serialize)]
struct Interfaces {
    exports: Vec<String>,
    imports: Vec<String>,
}

impl Artifact {
    /// Packs a package. The same files give the same digest on every machine and at any time.
    pub fn pack(package: &Package) -> Result<Self, ArtifactError> {
        let component = Bytes::from_owner(package.component()?);
        let world = World::of(&component)
            .map_err(|source| ArtifactError::Unfit { component: package.component_path(), source })?;
        let contents = Metadata::new(package.files()?)?;
        let sbom = sbom::make(&contents.manifest, &component, package.source().as_deref())?;
        let layer = file(WASM, Package::COMPONENT, &component);
        let config = oci::to_bytes(&Config {
            created: CREATED.into(),
            architecture: "wasm".into(),
            os: "wasip2".into(),
            layer_digests: vec![layer.digest.clone()],
            component: Interfaces { exports: world.exports, imports: world.imports },
        });
        let parts = Parts { config, component, metadata: contents.to_tar()?, sbom };
        let mut manifest = Manifest::new(Descriptor::of(CONFIG, &parts.config), vec![layer]);
        manifest.annotations = annotations(&contents.manifest, &parts);
        let manifest = manifest.to_bytes();
        // Nothing is packed that would be refused when it is pulled.
        Self::assemble(&Digest::of(&manifest), manifest, parts)
    }

    /// Puts together what was pulled. Everything is checked against the digest of the image manifest.
    pub(crate) fn assemble(digest: &Digest, manifest: Bytes, parts: Parts) -> Result<Self, ArtifactError> {
        let promise = Promise::read(digest, &manifest)?;
        verify(CONFIG_PART, &promise.config, &parts.config, MAX_CONFIG)?;
        verify(COMPONENT_PART, &promise.component, &parts.component, Package::MAX_COMPONENT)?;
        verify(metadata::WHAT, &promise.metadata, &parts.metadata, metadata::MAX_METADATA)?;
        verify(SBOM_PART, &promise.sbom, &parts.sbom, MAX_SBOM)?;
        promise.check_config(&parts.config)?;
        sbom::check(&parts.sbom)?;
        let contents = Metadata::read(&parts.metadata)?;
        promise.check_about(&contents.manifest)?;
        Ok(Self { digest: digest.clone(), manifest, parts, contents })
    }

    /// The digest of the image manifest: what is signed, pinned and pulled.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What the package's `policy.toml` says.
    pub fn policy(&self) -> &Policy {
        &self.contents.manifest
    }

    /// The JSON schema of its settings, if there is one.
    pub fn schema(&self) -> Result<Option<serde_json::Value>, ArtifactError> {
        let Some(schema) = self.contents.files.get(Package::SETTINGS_SCHEMA) else { return Ok(None) };
        let read = serde_json::from_slice(schema);
        read.map(Some).map_err(|error| {
            ArtifactError::invalid(metadata::WHAT, format!("{} is not JSON: {error}", Package::SETTINGS_SCHEMA))
        })
    }

    /// The image manifest.
    pub fn manifest_bytes(&self) -> &Bytes {
        &self.manifest
    }

    /// The image's configuration.
    pub fn config(&self) -> &Bytes {
        &self.parts.config
    }

    /// The component.
    pub fn component(&self) -> &Bytes {
        &self.parts.component
    }

    /// The other files, as a tar.
    pub fn metadata(&self) -> &Bytes {
        &self.parts.metadata
    }

    /// The bill of materials, in CycloneDX's JSON.
    pub fn sbom(&self) -> &Bytes {
        &self.parts.sbom
    }

    /// Writes the package into a directory that is not there yet: as a whole, or not at all.
    pub fn unpack(&self, dir: &Path) -> Result<Package, ArtifactError> {
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |source| ArtifactError::File { file, source }
        };
        if fs::symlink_metadata(dir).is_ok() {
            let source =
                std::io::Error::new(ErrorKind::AlreadyExists, "is there already; name a directory that is not");
            return Err(failed(dir)(source));
        }
        let (parent, temporary) = beside(dir).ok_or_else(|| failed(dir)(std::io::Error::other("has no name")))?;
        fs::create_dir_all(&parent).map_err(failed(&parent))?;
        let written = self.write(&temporary).and_then(|()| fs::rename(&temporary, dir).map_err(failed(dir)));
        if let Err(error) = written {
            // What cannot be removed is in nobody's way, and the first error is the one to tell.
            let _ = fs::remove_dir_all(&temporary);
            return Err(error);
        }
        File::open(&parent).and_then(|parent| parent.sync_all()).map_err(failed(&parent))?;
        Ok(Package::open(dir)?)
    }

    fn write(&self, dir: &Path) -> Result<(), ArtifactError> {
        fs::create_dir(dir).map_err(|source| ArtifactError::File { file: dir.to_owned(), source })?;
        let component = (Package::COMPONENT, self.parts.component.as_ref());
        let files = self.contents.files.iter().map(|(name, content)| (name.as_str(), content.as_slice()));
        // The names are those that a package may have: no more than one directory deep.
        for (name, content) in files.chain([component]) {
            let file = dir.join(name);
            let parent = file.parent().unwrap_or(dir);
            let written = fs::create_dir_all(parent).and_then(|()| File::create_new(&file)).and_then(|mut out| {
                out.write_all(content)?;
                out.sync_all()
            });
            written.map_err(|source| ArtifactError::File { file: file.clone(), source })?;
        }
        Ok(())
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::of(oci::IMAGE_MANIFEST, &self.manifest)
    }

    /// What refers to the image: the artifacts of the metadata and of the bill of materials.
    pub(crate) fn referrers(&self) -> [(Manifest, Bytes); 2] {
        let parts = [
            (METADATA_TYPE, METADATA_LAYER, "package.tar", &self.parts.metadata),
            (SBOM_TYPE, SBOM_TYPE, "sbom.cdx.json", &self.parts.sbom),
        ];
        parts.map(|(artifact_type, kind, name, content)| {
            let layer = file(kind, name, content);
            (Manifest::referrer(artifact_type, self.descriptor(), layer), content.clone())
        })
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifact({} {})", self.contents.manifest.package.name, self.digest)
    }
}

pub(crate) const CONFIG_PART: &str = "the image's configuration";
pub(crate) const COMPONENT_PART: &str = "the component";
pub(crate) const SBOM_PART: &str = "the bill of materials";

impl Promise {
    /// Reads the image manifest of a package.
    pub(crate) fn read(digest: &Digest, content: &[u8]) -> Result<Self, ArtifactError> {
        let what = format!("the image manifest {digest}");
        verify(&what, digest, content, MAX_MANIFEST)?;
        let mut manifest = Manifest::read(&what, content)?;
        let refused = |message: String| ArtifactError::invalid(&what, message);
        if manifest.config.media_type != CONFIG {
            let message = format!("`config.mediaType` is `{}` instead of `{CONFIG}`", manifest.config.media_type);
            return Err(refused(format!(
                "{message}: this is no Wasm component; `portcullis policy push` makes a package"
            )));
        }
        let layer = match manifest.layers.pop() {
            Some(layer) if manifest.layers.is_empty() => layer,
            layer => {
                let count = manifest.layers.len() + usize::from(layer.is_some());
                return Err(refused(format!("`layers` has {count} entries, and a package has one, its component")));
            }
        };
        if layer.media_type != WASM {
            return Err(refused(format!("`layers[0].mediaType` is `{}` instead of `{WASM}`", layer.media_type)));
        }
        if layer.size > Package::MAX_COMPONENT {
            return Err(ArtifactError::TooLarge { what: COMPONENT_PART.into(), limit: Package::MAX_COMPONENT });
        }
        let named = |key: &str| {
            let Some(digest) = manifest.annotations.get(key) else {
                return Err(refused(format!(
                    "has no annotation `{key}`: this is a plain Wasm component, without the policy.toml, schema and cases of \
                     a package; push it with `portcullis policy push`, or put the component into a package of your own"
                )));
            };
            digest.parse().map_err(|error| refused(format!("annotation `{key}`: {error}")))
        };
        let (metadata, sbom) = (named(METADATA)?, named(SBOM)?);
        let (config, annotations) = (manifest.config.digest, manifest.annotations);
        Ok(Self { config, component: layer.digest, metadata, sbom, annotations })
    }

    fn check_config(&self, content: &[u8]) -> Result<(), ArtifactError> {
        let config: Config = oci::parse(CONFIG_PART, content)?;
        let refused = |message: String| Err(ArtifactError::invalid(CONFIG_PART, message));
        if (config.architecture.as_str(), config.os.as_str()) != ("wasm", "wasip2") {
            return refused(format!("it is for {}/{} instead of wasm/wasip2", config.architecture, config.os));
        }
        if config.layer_digests != [self.component.clone()] {
            return refused(format!("`layerDigests` does not name the component {}, and nothing else", self.component));
        }
        Ok(())
    }

    /// Who only reads the annotations must not be told of another package.
    fn check_about(&self, policy: &Policy) -> Result<(), ArtifactError> {
        let about = &policy.package;
        for (key, told) in [(TITLE, &about.name), (VERSION, &about.version)] {
            let annotated = self.annotations.get(key);
            if annotated != Some(told) {
                let annotated = annotated.map_or("missing".into(), |text| format!("`{}`", text.escape_debug()));
                let message = format!("annotation `{key}` is {annotated}, and policy.toml says `{told}`; pack it anew");
                return Err(ArtifactError::invalid("the image manifest", message));
            }
        }
        Ok(())
    }
}

fn annotations(policy: &Policy, parts: &Parts) -> BTreeMap<String, String> {
    let about = &policy.package;
    let image = |key: &str| format!("org.opencontainers.image.{key}");
    let told = [
        (TITLE.to_owned(), Some(about.name.clone())),
        (VERSION.to_owned(), Some(about.version.clone())),
        (image("description"), Some(about.description.clone())),
        (image("authors"), Some(about.authors.join(", ")).filter(|authors| !authors.is_empty())),
        (image("licenses"), about.license.clone()),
        (image("source"), about.source.clone()),
        (METADATA.to_owned(), Some(Digest::of(&parts.metadata).to_string())),
        (SBOM.to_owned(), Some(Digest::of(&parts.sbom).to_string())),
    ];
    told.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// A layer with the name of a file, to which tools that pull any artifact write it.
fn file(media_type: &str, name: &str, content: &[u8]) -> Descriptor {
    let annotations = BTreeMap::from([(TITLE.to_owned(), name.to_owned())]);
    Descriptor { annotations, ..Descriptor::of(media_type, content) }
}

/// Checks content against its digest.
pub(crate) fn verify(what: &str, expected: &Digest, content: &[u8], limit: u64) -> Result<(), ArtifactError> {
    if content.len() as u64 > limit {
        return Err(ArtifactError::TooLarge { what: what.into(), limit });
    }
    let found = Digest::of(content);
    if found == *expected {
        return Ok(());
    }
    Err(ArtifactError::Digest { what: what.into(), expected: expected.clone(), found })
}

/// A path's directory, and a name in it that nobody else uses.
pub(crate) fn beside(path: &Path) -> Option<(PathBuf, PathBuf)> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name()?.to_string_lossy().into_owned();
    let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let unique = format!(".{name}.{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Some((parent.to_owned(), parent.join(unique)))
}

#[cfg(test)]
pub(crate) mod tests;
