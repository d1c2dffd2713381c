//! What a layout holds: an index, and the blobs that its manifests name.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{MAX_NAME, NAME};
use crate::artifact::Artifact;
use crate::digest::Digest;
use crate::error::ArtifactError;
use crate::oci::{Descriptor, EMPTY, EMPTY_CONTENT, IMAGE_MANIFEST, Index, Manifest};
use crate::signature::{self, Signature};

pub(super) struct Contents {
    pub(super) index: Index,
    /// Those that are new.
    pub(super) blobs: BTreeMap<Digest, Bytes>,
}

impl Default for Contents {
    fn default() -> Self {
        Self::of(Index::new(Vec::new()))
    }
}

impl Contents {
    pub(super) fn of(index: Index) -> Self {
        Self { index, blobs: BTreeMap::new() }
    }

    /// Adds a package with all of its signatures.
    pub(super) fn add(
        &mut self,
        name: Option<&str>,
        artifact: &Artifact,
        signatures: &[Signature],
    ) -> Result<(), ArtifactError> {
        if let Some(name) = name.filter(|name| !is_name(name)) {
            let message = format!("is not a name for a package: 1 to {MAX_NAME} letters, digits, and `-._:@/+`");
            return Err(ArtifactError::invalid(&format!("`{}`", name.escape_debug()), message));
        }
        signature::check_count(signatures.len())?;
        signatures.iter().try_for_each(Signature::check)?;
        for content in [artifact.config(), artifact.component()] {
            self.blob(content.clone());
        }
        self.blob(artifact.manifest_bytes().clone());
        self.enter(artifact.descriptor(), name);
        for (manifest, content) in artifact.referrers() {
            self.blob(content);
            self.manifest(&manifest, None);
        }
        let (cosign, others): (Vec<_>, Vec<_>) = signatures.iter().partition(|s| s.media_type == Signature::COSIGN);
        for signature in signatures {
            self.blob(signature.bytes.clone().into());
        }
        for signature in others {
            self.manifest(&signature.referrer(artifact.descriptor()), None);
        }
        if !cosign.is_empty() {
            let manifest = signature::cosign_image(cosign.into_iter().map(Signature::descriptor).collect());
            self.blob(signature::cosign_config(&manifest));
            self.manifest(&manifest, Some(&signature::cosign_tag(artifact.digest())));
        }
        Ok(())
    }

    fn manifest(&mut self, manifest: &Manifest, name: Option<&str>) {
        let content = manifest.to_bytes();
        let mut descriptor = Descriptor::of(IMAGE_MANIFEST, &content);
        descriptor.artifact_type.clone_from(&manifest.artifact_type);
        if manifest.config.media_type == EMPTY {
            self.blob(Bytes::from_static(EMPTY_CONTENT));
        }
        self.blob(content);
        self.enter(descriptor, name);
    }

    fn blob(&mut self, content: Bytes) {
        self.blobs.insert(Digest::of(&content), content);
    }

    /// Enters a manifest into the index. Whoever had its name loses it.
    fn enter(&mut self, mut manifest: Descriptor, name: Option<&str>) {
        if let Some(name) = name {
            for other in self.index.manifests.iter_mut().filter(|other| other.digest != manifest.digest) {
                if other.annotations.get(NAME).is_some_and(|its| its == name) {
                    other.annotations.remove(NAME);
                }
            }
            manifest.annotations.insert(NAME.into(), name.into());
        } else if self.index.manifests.iter().any(|other| other.digest == manifest.digest) {
            // It is there, and may have a name.
            return;
        }
        self.index.manifests.retain(|other| other.digest != manifest.digest || other.annotations.contains_key(NAME));
        self.index.enter(manifest);
    }
}

fn is_name(name: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || b"-._:@/+".contains(&c);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(legal) && !signature::is_cosign_tag(name)
}
