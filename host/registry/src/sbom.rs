//! The bill of materials of a package, in CycloneDX 1.5: its component, what made that, and what the source's lock files name.
//!
//! It has neither a time nor a serial number: the same files give the same bytes.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use portcullis_package::Manifest;
use serde::{Deserialize, Serialize};
use wasm_metadata::Payload;

use crate::artifact::SBOM_PART;
use crate::digest::Digest;
use crate::error::ArtifactError;
use crate::oci;

mod locks;

const FORMAT: &str = "CycloneDX";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bill {
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
}

#[derive(Serialize)]
struct Metadata {
    component: Component,
    properties: Vec<Property>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Licence {
    expression: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Property {
    name: String,
    value: String,
}

/// Makes the bill of a package whose source may be here.
pub(crate) fn make(policy: &Manifest, component: &[u8], source: Option<&Path>) -> Result<Bytes, ArtifactError> {
    let about = &policy.package;
    let itself = Component {
        kind: "application",
        bom_ref: format!("{}@{}", about.name, about.version),
        name: about.name.clone(),
        version: about.version.clone(),
        hashes: vec![Hash { alg: "SHA-256", content: Digest::of(component).hex().into() }],
        licenses: about.license.iter().map(|text| Licence { expression: text.clone() }).collect(),
        ..Component::default()
    };
    let components = source.map_or_else(|| Ok(BTreeSet::new()), locks::read)?;
    let metadata = Metadata { component: itself, properties: producers(component)? };
    let components = components.into_iter().collect();
    Ok(oci::to_bytes(&Bill { bom_format: FORMAT, spec_version: "1.5", version: 1, metadata, components }))
}

/// Checks that a foreign bill is one.
pub(crate) fn check(content: &[u8]) -> Result<(), ArtifactError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        bom_format: String,
    }
    let kind: Kind = oci::parse(SBOM_PART, content)?;
    if kind.bom_format == FORMAT {
        Ok(())
    } else {
        Err(ArtifactError::invalid(SBOM_PART, "is not in CycloneDX's format"))
    }
}

/// The languages and tools that a component, and each module in it, says it was made with.
fn producers(component: &[u8]) -> Result<Vec<Property>, ArtifactError> {
    let broken =
        |error| ArtifactError::invalid("the component", format!("its custom sections cannot be read: {error:#}"));
    let mut found = BTreeSet::new();
    let mut left = vec![Payload::from_binary(component).map_err(broken)?];
    while let Some(payload) = left.pop() {
        for (field, entries) in payload.metadata().producers.iter().flat_map(|producers| producers.iter()) {
            let property = |(name, version): (&String, &String)| Property {
                name: format!("wasm:producers:{field}:{name}"),
                value: version.clone(),
            };
            found.extend(entries.iter().map(property));
        }
        if let Payload::Component { children, .. } = payload {
            left.extend(children);
        }
    }
    Ok(found.into_iter().collect())
}
