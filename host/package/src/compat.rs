//! Which gateways a component loads on: what it uses of `portcullis:policy`, and what each version of that added.
//!
//! Within 0.1 the interface only grows, so that a component loads on every gateway that has all that it uses, whichever version it
//! was built with. wasmtime matches the versions by the same rule.

use std::fmt;

use wit_component::DecodedWasm;
use wit_parser::{InterfaceId, Resolve, WorldItem};

use crate::component::{POLICY, Unfit};

/// The newest `N` of `portcullis:policy@0.1.N` that this gateway serves.
pub const SERVED: u64 = 1;

/// What a version of the interface added: its `N`, and the functions of each of its interfaces.
type Addition = (u64, &'static [(&'static str, &'static [&'static str])]);

/// What each version added, the oldest first.
const ADDED: &[Addition] = &[FIRST, (1, &[("facts", &["[method]command.conditions"])])];

const FIRST: Addition = (
    0,
    &[
        (
            "facts",
            &[
                "[method]session.id",
                "[method]session.protocol",
                "[method]session.principal",
                "[method]session.groups",
                "[method]session.target",
                "[method]session.label",
                "[method]session.client-address",
                "[method]session.credential",
                "[method]session.reason",
                "[method]command.kind",
                "[method]command.phase",
                "[method]command.text",
                "[method]command.fingerprint",
                "[method]command.parsed",
                "[method]command.sql",
                "[method]command.parameters",
                "[method]sql-statement.dialect",
                "[method]sql-statement.verb",
                "[method]sql-statement.effects",
                "[method]sql-statement.relations",
                "[method]sql-statement.columns-read",
                "[method]sql-statement.functions",
                "[method]sql-statement.has-where",
                "[method]result-set.id",
                "[method]result-set.columns",
            ],
        ),
        ("types", &[]),
        ("log", &["write"]),
        ("clock", &["now-ms"]),
        ("random", &["bytes"]),
        ("state", &["get", "put", "increment"]),
        ("detect", &["names", "scan"]),
        ("crypto", &["hmac-each"]),
        ("lifecycle", &["validate-settings", "configure"]),
        ("commands", &["open", "check", "approved"]),
        ("rows", &["plan-result", "filter-batch"]),
    ],
);

/// What a component needs of the policy interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The least `N` of `portcullis:policy@0.1.N` that has all that it uses.
    pub version: u64,
    /// What it uses that no version before that has, such as `clock.now-ms`; empty for the first version.
    pub uses: Vec<String>,
}

impl Needs {
    /// Reads what a component needs.
    pub fn of(component: &[u8]) -> Result<Self, Unfit> {
        let decoded = wit_component::decode(component).map_err(|error| Unfit::Encoding(format!("{error:#}")))?;
        let DecodedWasm::Component(resolve, world) = &decoded else { return Err(Unfit::NoPolicy) };
        let Some(world) = resolve.worlds.get(*world) else { return Err(Unfit::NoPolicy) };
        let mut needs = Self { version: 0, uses: Vec::new() };
        for (key, item) in world.imports.iter().chain(&world.exports) {
            if let WorldItem::Interface { id, .. } = item {
                needs.add(resolve, &resolve.name_world_key(key), *id);
            }
        }
        needs.uses.sort();
        needs.uses.dedup();
        Ok(needs)
    }

    /// Whether this gateway serves it.
    pub fn is_served(&self) -> bool {
        (0..=SERVED).contains(&self.version)
    }

    /// Adds the functions of an interface that is called `name`.
    fn add(&mut self, resolve: &Resolve, name: &str, id: InterfaceId) {
        let Some((interface, built_with)) = versioned(name) else { return };
        let functions = resolve.interfaces.get(id).into_iter().flat_map(|interface| interface.functions.keys());
        for function in functions {
            // What no version here has was added by one that this gateway does not know, up to the one that it was built with.
            let version = added(interface, function).unwrap_or(built_with.max(SERVED + 1));
            if version > self.version {
                self.version = version;
                self.uses.clear();
            }
            if version == self.version && version > 0 {
                self.uses.push(format!("{interface}.{}", function.trim_start_matches("[method]")));
            }
        }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version;
        if self.is_served() {
            write!(f, "needs portcullis:policy@0.1.{version}: this gateway and every other that serves at least that")
        } else {
            let uses = self.uses.join(", ");
            write!(
                f,
                "needs portcullis:policy@0.1.{version} for {uses}, this gateway serves 0.1.{SERVED}: it loads on gateways that serve \
                 at least that"
            )
        }
    }
}

/// The version that added a function to an interface.
fn added(interface: &str, function: &str) -> Option<u64> {
    let has = |(name, functions): &(&str, &[&str])| *name == interface && functions.contains(&function);
    ADDED.iter().find(|(_, interfaces)| interfaces.iter().any(has)).map(|(version, _)| *version)
}

/// `clock` and 3 of `portcullis:policy/clock@0.1.3`.
fn versioned(name: &str) -> Option<(&str, u64)> {
    let (interface, version) = name.strip_prefix(POLICY)?.split_once("@0.1.")?;
    Some((interface, version.parse().ok()?))
}

#[cfg(test)]
mod tests;
