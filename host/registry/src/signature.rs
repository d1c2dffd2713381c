use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::digest::Digest;
use crate::error::ArtifactError;
use crate::oci::{self, Descriptor, Manifest};

/// The configuration of an ordinary image.
const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A signature of a package as it was found. Who judges it is another crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// [`Signature::MINISIGN`] or [`Signature::COSIGN`].
    pub media_type: String,
    /// The signature, or what it signs where the annotations hold the signature.
    pub bytes: Vec<u8>,
    /// What goes with it.
    pub annotations: BTreeMap<String, String>,
}

/// The most signatures of a package.
pub(crate) const MAX_SIGNATURES: usize = 64;

/// The most bytes of one.
pub(crate) const MAX_SIGNATURE: u64 = 64 << 10;

impl Signature {
    /// A file as minisign writes it.
    pub const MINISIGN: &str = "application/vnd.portcullis.signature.v1+minisign";
    /// What cosign signs ("simple signing"); the signature is in the annotation `dev.cosignproject.cosign/signature`.
    pub const COSIGN: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

    /// Checks that it is one that can be carried.
    pub(crate) fn check(&self) -> Result<(), ArtifactError> {
        if ![Self::MINISIGN, Self::COSIGN].contains(&self.media_type.as_str()) {
            let message = format!("`{}` is no kind of signature that is known here", self.media_type);
            return Err(ArtifactError::invalid(WHAT, message));
        }
        if self.bytes.len() as u64 > MAX_SIGNATURE {
            return Err(ArtifactError::TooLarge { what: WHAT.into(), limit: MAX_SIGNATURE });
        }
        Ok(())
    }

    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor { annotations: self.annotations.clone(), ..Descriptor::of(&self.media_type, &self.bytes) }
    }

    /// The artifact that refers to the package, for signatures that are kept as such.
    pub(crate) fn referrer(&self, subject: Descriptor) -> Manifest {
        Manifest::referrer(&self.media_type, subject, self.descriptor())
    }
}

pub(crate) const WHAT: &str = "the signature";

/// cosign keeps all signatures of an image as layers of one image, under this tag.
pub(crate) fn cosign_tag(digest: &Digest) -> String {
    format!("{}.sig", digest.as_tag())
}

pub(crate) fn is_cosign_tag(tag: &str) -> bool {
    tag.starts_with("sha256-") && tag.ends_with(".sig")
}

/// The image that holds all of cosign's signatures. Its configuration is an image's, as cosign writes it.
pub(crate) fn cosign_image(layers: Vec<Descriptor>) -> Manifest {
    let config = cosign_config_of(&layers);
    Manifest::new(Descriptor::of(IMAGE_CONFIG, &config), layers)
}

/// The configuration of such an image.
pub(crate) fn cosign_config(image: &Manifest) -> Bytes {
    cosign_config_of(&image.layers)
}

fn cosign_config_of(layers: &[Descriptor]) -> Bytes {
    #[derive(Serialize)]
    struct Config<'a> {
        architecture: &'a str,
        os: &'a str,
        config: BTreeMap<String, String>,
        rootfs: RootFs<'a>,
    }
    #[derive(Serialize)]
    struct RootFs<'a> {
        r#type: &'a str,
        diff_ids: Vec<&'a Digest>,
    }
    let diff_ids = layers.iter().map(|layer| &layer.digest).collect();
    let rootfs = RootFs { r#type: "layers", diff_ids };
    oci::to_bytes(&Config { architecture: "", os: "", config: BTreeMap::new(), rootfs })
}

/// The signatures that a manifest holds: layers of a kind that is known. There may be others, which mean nothing here.
pub(crate) fn layers(manifest: &Manifest, media_type: &str) -> Vec<Descriptor> {
    manifest.layers.iter().filter(|layer| layer.media_type == media_type).cloned().collect()
}

/// Refuses more signatures than any honest package has.
pub(crate) fn check_count(count: usize) -> Result<(), ArtifactError> {
    if count <= MAX_SIGNATURES {
        return Ok(());
    }
    let message =
        format!("there are more than {MAX_SIGNATURES} of them; remove those that are not needed from the registry");
    Err(ArtifactError::invalid("the package's signatures", message))
}
