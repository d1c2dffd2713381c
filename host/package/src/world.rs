use wit_component::DecodedWasm;

use crate::component::Unfit;

/// What a component needs and gives, by the names of the interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// Its imports, by name.
    pub imports: Vec<String>,
    /// Its exports, by name.
    pub exports: Vec<String>,
}

impl World {
    /// Reads it from the component's bytes.
    pub fn of(component: &[u8]) -> Result<Self, Unfit> {
        let decoded = wit_component::decode(component).map_err(|error| Unfit::Encoding(format!("{error:#}")))?;
        let DecodedWasm::Component(resolve, world) = &decoded else { return Err(Unfit::NoPolicy) };
        let Some(world) = resolve.worlds.get(*world) else { return Err(Unfit::NoPolicy) };
        let mut imports: Vec<String> = world.imports.keys().map(|key| resolve.name_world_key(key)).collect();
        let mut exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
        imports.sort();
        exports.sort();
        Ok(Self { imports, exports })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::tests::{WIT, component};

    #[test]
    fn a_component_tells_its_interfaces() {
        let names = |interface: &str| vec![format!("portcullis:policy/{interface}@0.1.1")];
        let world = World::of(&component(WIT, "timed")).unwrap();
        assert_eq!(world.imports, names("clock"));
        assert!(world.exports.contains(&names("lifecycle")[0]));
        assert!(World::of(b"nonsense").is_err());
    }
}
