//! Manifests, indexes and descriptors of OCI's image specification 1.1, as far as packages need them.
//!
//! They are written from structures, never from JSON objects: the order of a structure's keys does not depend on how
//! serde_json was built, and so neither does the digest.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::ArtifactError;

pub(crate) const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The content of the empty descriptor.
pub(crate) const EMPTY_CONTENT: &[u8] = b"{}";

/// The most bytes of a manifest or an index.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;

/// What points to content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn of(media_type: &str, content: &[u8]) -> Self {
        let (digest, size) = (Digest::of(content), content.len() as u64);
        Self { media_type: media_type.into(), artifact_type: None, digest, size, annotations: BTreeMap::new() }
    }
}

/// An image manifest: a package, or something that refers to one.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Manifest {
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: IMAGE_MANIFEST.into(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// What refers to a package.
    pub(crate) fn referrer(artifact_type: &str, subject: Descriptor, layer: Descriptor) -> Self {
        let empty = Descriptor::of(EMPTY, EMPTY_CONTENT);
        let artifact_type = Some(artifact_type.to_owned());
        // A subject is named without what else its descriptor says.
        let subject = Some(Descriptor { artifact_type: None, annotations: BTreeMap::new(), ..subject });
        Self { artifact_type, subject, ..Self::new(empty, vec![layer]) }
    }

    /// Reads one, and refuses what is something else with words.
    pub(crate) fn read(what: &str, content: &[u8]) -> Result<Self, ArtifactError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            media_type: Option<String>,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = parse(what, content)?;
        let media_type = kind.media_type.unwrap_or_default();
        if kind.manifests.is_some() || media_type == IMAGE_INDEX || media_type == DOCKER_LIST {
            let message =
                "is an index of several images, and a package is one image for all platforms; name one by its digest";
            return Err(ArtifactError::invalid(what, message));
        }
        if media_type != IMAGE_MANIFEST {
            let message =
                format!("`mediaType` is `{media_type}` instead of `{IMAGE_MANIFEST}`; a package is an OCI image");
            return Err(ArtifactError::invalid(what, message));
        }
        let manifest: Self = parse(what, content)?;
        if manifest.schema_version != 2 {
            return Err(ArtifactError::invalid(
                what,
                format!("`schemaVersion` is {} instead of 2", manifest.schema_version),
            ));
        }
        Ok(manifest)
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        to_bytes(self)
    }
}

/// A list of manifests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    #[serde(default = "index_type")]
    media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

impl Index {
    pub(crate) fn new(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: index_type(), manifests }
    }

    pub(crate) fn read(what: &str, content: &[u8]) -> Result<Self, ArtifactError> {
        let index: Self = parse(what, content)?;
        if index.schema_version != 2 || index.media_type != IMAGE_INDEX {
            return Err(ArtifactError::invalid(what, "is not an OCI image index of schema version 2"));
        }
        Ok(index)
    }

    /// Enters a manifest, once.
    pub(crate) fn enter(&mut self, manifest: Descriptor) {
        if !self.manifests.contains(&manifest) {
            self.manifests.push(manifest);
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        to_bytes(self)
    }
}

fn index_type() -> String {
    IMAGE_INDEX.into()
}

/// Reads foreign JSON.
pub(crate) fn parse<'a, T: Deserialize<'a>>(what: &str, content: &'a [u8]) -> Result<T, ArtifactError> {
    serde_json::from_slice(content).map_err(|error| ArtifactError::invalid(what, format!("cannot be read: {error}")))
}

pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Bytes {
    // The structures hold nothing that JSON cannot say.
    serde_json::to_vec(value).unwrap_or_default().into()
}
