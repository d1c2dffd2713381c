//! Components as bytes: made from a core module, checked, and written.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::manifest::{Capability, Hook, Manifest};

/// The interfaces that a policy may import and export.
pub(crate) const POLICY: &str = "portcullis:policy/";

/// The packages of WASI 0.2 of which a policy may import interfaces, since its tool chain may insist: nothing is behind
/// them in the gateway.
const WASI: [&str; 7] = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];

/// Why a module or component is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The module cannot be made a component.
    #[error("the module cannot be made a component: {0}")]
    Encoding(String),
    /// It wants something that is no policy's business.
    #[error(
        "the component imports `{0}`, which the gateway does not give: policies import {POLICY}*@0.1, and of WASI 0.2 what \
         their tool chain insists on"
    )]
    Import(String),
    /// It uses a capability that the manifest does not declare.
    #[error(
        "the component imports {POLICY}{name}, which needs a capability; say why under [capabilities] in policy.toml: {name} = \"…\"",
        name = .0.as_str()
    )]
    Undeclared(Capability),
    /// Its hooks are not those of the manifest.
    #[error("policy.toml says hooks = [{declared}], and the component exports [{exported}]; make them agree")]
    Hooks {
        /// What the manifest says.
        declared: String,
        /// What the component exports.
        exported: String,
    },
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

/// Checks that a component is a policy, imports what it may, and exports what its manifest says.
pub(crate) fn check(component: &[u8], manifest: &Manifest) -> Result<(), Unfit> {
    let decoded = wit_component::decode(component).map_err(|error| Unfit::Encoding(format!("{error:#}")))?;
    let DecodedWasm::Component(resolve, world) = &decoded else { return Err(Unfit::NoPolicy) };
    let Some(world) = resolve.worlds.get(*world) else { return Err(Unfit::NoPolicy) };
    for name in world.imports.keys().map(|key| resolve.name_world_key(key)).filter(|name| !is_wasi(name)) {
        let Some(interface) = interface(&name) else { return Err(Unfit::Import(name)) };
        let needed = Capability::ALL.into_iter().find(|capability| capability.as_str() == interface);
        if let Some(capability) = needed.filter(|needed| !manifest.capabilities.contains_key(needed)) {
            return Err(Unfit::Undeclared(capability));
        }
    }
    let names: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    let exports = |wanted: &str| names.iter().any(|name| interface(name) == Some(wanted));
    if !exports("lifecycle") {
        return Err(Unfit::NoPolicy);
    }
    let exported: Vec<Hook> = Hook::ALL.into_iter().filter(|hook| exports(hook.as_str())).collect();
    let declared = &manifest.package.hooks;
    if exported != *declared {
        let list =
            |hooks: &[Hook]| hooks.iter().map(|hook| format!("{:?}", hook.as_str())).collect::<Vec<_>>().join(", ");
        return Err(Unfit::Hooks { declared: list(declared), exported: list(&exported) });
    }
    Ok(())
}

/// `clock` of `portcullis:policy/clock@0.1.1`.
fn interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix(POLICY)?.split_once('@')?;
    version.starts_with("0.1.").then_some(interface)
}

/// Whether this is `wasi:io/streams@0.2.3` or the like.
fn is_wasi(name: &str) -> bool {
    let versioned = name.strip_prefix("wasi:").and_then(|name| name.split_once('@'));
    versioned.is_some_and(|(interface, version)| {
        let known = interface.split_once('/').is_some_and(|(package, _)| WASI.contains(&package));
        let patch = version.strip_prefix("0.2.").unwrap_or_default();
        known && !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
    })
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use wit_component::{StringEncoding, metadata};
    use wit_parser::{ManglingAndAbi, Resolve};

    pub(crate) const WIT: &str = "package portcullis:policy@0.1.1;
        interface lifecycle { configure: func(); }
        interface commands { check: func(); }
        interface clock { now-ms: func() -> u64; }
        world timed { import clock; export commands; export lifecycle; }
        world plain { export commands; export lifecycle; }
        world silent { import clock; }";

    /// What a guest's tool chain puts into the custom section `component-type` of its module.
    pub(crate) fn metadata(wit: &str, world: &str) -> Vec<u8> {
        let (resolve, world) = resolve(wit, world);
        metadata::encode(&resolve, world, StringEncoding::UTF8, None).unwrap()
    }

    fn resolve(wit: &str, world: &str) -> (Resolve, wit_parser::WorldId) {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("test.wit", wit).unwrap();
        let world = resolve.select_world(&[package], Some(world)).unwrap();
        (resolve, world)
    }

    pub(crate) fn component(wit: &str, world: &str) -> Vec<u8> {
        let (resolve, world) = resolve(wit, world);
        let mut module = wit_component::dummy_module(&resolve, world, ManglingAndAbi::Standard32);
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        encode(&module).unwrap()
    }

    fn manifest(more: &str) -> Manifest {
        toml::from_str(&format!("{}{more}", crate::package::tests::MINIMAL)).unwrap()
    }

    #[test]
    fn a_policy_imports_what_it_declares() {
        let clock = manifest("[capabilities]\nclock = \"opening hours\"\n");
        assert_eq!(check(&component(WIT, "plain"), &manifest("")), Ok(()));
        assert_eq!(check(&component(WIT, "timed"), &clock), Ok(()));
        let state = manifest("[capabilities]\nstate = \"counters\"\n");
        let error = check(&component(WIT, "timed"), &state).unwrap_err();
        assert!(error.to_string().contains("policy.toml: clock = "), "{error}");
        assert_eq!(check(&component(WIT, "silent"), &clock), Err(Unfit::NoPolicy));
    }

    #[test]
    fn a_policy_exports_the_hooks_that_it_declares() {
        let wit = WIT.replace("export lifecycle; }", "export lifecycle; export rows; }");
        let wit = wit.replace("interface clock", "interface rows { plan-result: func(); }\n interface clock");
        let error = check(&component(&wit, "plain"), &manifest("")).unwrap_err();
        assert!(
            error.to_string().contains(r#"hooks = ["commands"], and the component exports ["commands", "rows"]"#),
            "{error}"
        );
    }

    #[test]
    fn foreign_imports_are_refused_by_name() {
        let foreign = "package evil:net@0.1.0; interface sockets { dial: func(); } world w { import sockets; }";
        assert_eq!(check(&component(foreign, "w"), &manifest("")), Err(Unfit::Import("evil:net/sockets@0.1.0".into())));
        let later = WIT.replace("0.1.1", "0.2.0");
        let import = "portcullis:policy/clock@0.2.0".to_owned();
        assert_eq!(check(&component(&later, "timed"), &manifest("")), Err(Unfit::Import(import)));
        let bare = "package portcullis:policy@0.1.1; world w { import now: func(); }";
        assert_eq!(check(&component(bare, "w"), &manifest("")), Err(Unfit::Import("now".into())));
    }

    #[test]
    fn wasi_0_2_may_be_imported() {
        let import = |package: &str, version: &str| {
            let wit = format!(
                "package test:it;
                world w {{
                    import {package}/thing@{version};
                    export portcullis:policy/commands@0.1.1;
                    export portcullis:policy/lifecycle@0.1.1;
                }}
                package {package}@{version} {{ interface thing {{ get: func(); }} }}
                package portcullis:policy@0.1.1 {{
                    interface commands {{ check: func(); }}
                    interface lifecycle {{ configure: func(); }}
                }}"
            );
            check(&component(&wit, "w"), &manifest(""))
        };
        for (package, version) in [("wasi:cli", "0.2.0"), ("wasi:http", "0.2.12"), ("wasi:filesystem", "0.2.3")] {
            assert_eq!(import(package, version), Ok(()), "{package}@{version}");
        }
        for (package, version) in
            [("wasi:nn", "0.2.0"), ("wasi:cli", "0.3.0"), ("wasi:cli", "0.2.0-rc.1"), ("evil:cli", "0.2.0")]
        {
            let import = import(package, version);
            assert_eq!(import, Err(Unfit::Import(format!("{package}/thing@{version}"))));
        }
    }

    #[test]
    fn what_is_no_module_or_component_is_refused() {
        assert!(matches!(encode(b"nonsense"), Err(Unfit::Encoding(_))));
        assert!(matches!(check(b"nonsense", &manifest("")), Err(Unfit::Encoding(_))));
        // A module that was built without the interface.
        assert_eq!(check(&encode(b"\0asm\x01\0\0\0").unwrap(), &manifest("")), Err(Unfit::NoPolicy));
    }

    #[test]
    fn a_file_is_written_whole_and_leaves_nothing_behind() {
        let dir = crate::package::tests::Dir::new("atomic");
        let file = dir.path("out/deep/c.wasm");
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        let entries = |name: &str| std::fs::read_dir(dir.path(name)).unwrap().count();
        assert_eq!(entries("out/deep"), 1);
        // A directory is in the way: the rename fails after the bytes were written.
        dir.put("taken/c.wasm/x", "");
        assert!(write(&dir.path("taken/c.wasm"), b"one").is_err());
        assert_eq!(entries("taken"), 1);
    }
}
