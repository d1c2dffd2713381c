//! Components as bytes: made from a core module, checked, and written.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::manifest::Capability;

/// The interfaces that a policy may import and export.
const POLICY: &str = "portcullis:policy/";

/// Why a module or component is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The module cannot be made a component.
    #[error("the module cannot be made a component: {0}")]
    Encoding(String),
    /// It wants something that is no policy's business.
    #[error("the component imports `{0}`, which the gateway does not give: policies import only {POLICY}*@0.1")]
    Import(String),
    /// It uses a capability that the manifest does not declare.
    #[error(
        "the component imports {POLICY}{name}, which needs a capability; add \"{name}\" to `capabilities` in policy.toml",
        name = .0.as_str()
    )]
    Undeclared(Capability),
    /// It exports nothing that the gateway would call.
    #[error("the component does not export {POLICY}lifecycle@0.1; every policy must")]
    NoPolicy,
}

/// Makes a core module a component.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.module(module).map_err(|e| Unfit::Encoding(format!("{e:#}")))?;
    encoder.validate(true).encode().map_err(|e| Unfit::Encoding(format!("{e:#}")))
}

/// Checks that a component is a policy and imports what it may.
pub(crate) fn check(component: &[u8], declared: &[Capability]) -> Result<(), Unfit> {
    let decoded = wit_component::decode(component).map_err(|error| Unfit::Encoding(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = &decoded else { return Err(Unfit::NoPolicy) };
    let Some(world) = resolve.worlds.get(*world) else { return Err(Unfit::NoPolicy) };
    for name in world.imports.keys().map(|key| resolve.name_world_key(key)) {
        let Some(interface) = interface(&name) else { return Err(Unfit::Import(name)) };
        let needed = Capability::ALL.into_iter().find(|capability| capability.as_str() == interface);
        if let Some(capability) = needed.filter(|needed| !declared.contains(needed)) {
            return Err(Unfit::Undeclared(capability));
        }
    }
    let exports = |name: String| interface(&name) == Some("lifecycle");
    let is_policy = world.exports.keys().map(|key| resolve.name_world_key(key)).any(exports);
    if is_policy { Ok(()) } else { Err(Unfit::NoPolicy) }
}

/// `clock` of `portcullis:policy/clock@0.1.0`.
fn interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix(POLICY)?.split_once('@')?;
    version.starts_with("0.1.").then_some(interface)
}

/// The SHA-256 of a component, in hexadecimal.
pub(crate) fn digest(component: &[u8]) -> String {
    Sha256::digest(component).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file as a whole or not at all: a gateway that watches it never sees half a component.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (Some(dir), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(std::io::Error::other("it has no file name"));
    };
    std::fs::create_dir_all(dir)?;
    let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let temporary = dir.join(format!(".{}.{unique}.tmp", name.to_string_lossy()));
    let written = std::fs::File::create(&temporary).and_then(|mut out| {
        out.write_all(bytes)?;
        out.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, file));
    if renamed.is_err() {
        // What cannot be removed is in nobody's way, and the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    renamed
}
