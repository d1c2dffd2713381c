//! The interface for the guest of one package: its world imports what the package may use and exports what it promises. Interpreters
//! import the whole of their world, so that any other world would ask for capabilities that the package does not need.

use std::path::Path;

use super::BuildError;
use crate::component;
use crate::manifest::Manifest;

const INTERFACE: &str = include_str!("../../../../wit/policy.wit");

/// The world's name.
pub(super) const NAME: &str = "guest";

/// Writes the interface and the world into a directory.
pub(super) fn write(dir: &Path, manifest: &Manifest) -> Result<(), BuildError> {
    for (name, text) in [("policy.wit", INTERFACE), ("guest.wit", &text(manifest))] {
        let file = dir.join(name);
        component::write(&file, text.as_bytes()).map_err(|source| BuildError::Write { file, source })?;
    }
    Ok(())
}

fn text(manifest: &Manifest) -> String {
    let granted = manifest.capabilities.keys().map(|capability| capability.as_str());
    let imports = ["facts", "log", "detect"].into_iter().chain(granted).map(|name| format!("  import {name};\n"));
    let hooks = manifest.package.hooks.iter().map(|hook| hook.as_str());
    let exports = ["lifecycle"].into_iter().chain(hooks).map(|name| format!("  export {name};\n"));
    format!("package portcullis:policy@0.1.1;\n\nworld {NAME} {{\n{}}}\n", imports.chain(exports).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_has_what_the_manifest_says_and_nothing_else() {
        let manifest: Manifest = toml::from_str(
            "[package]\nname = \"p\"\nversion = \"0.1.0\"\ndescription = \"d\"\ninterface = \"0.1\"\n\
             component = \"p.wasm\"\nhooks = [\"rows\"]\n[capabilities]\nstate = \"it counts\"\n",
        )
        .unwrap();
        assert_eq!(
            text(&manifest),
            "package portcullis:policy@0.1.1;\n\nworld guest {\n  import facts;\n  import log;\n  import detect;\n  \
             import state;\n  export lifecycle;\n  export rows;\n}\n"
        );
    }
}
