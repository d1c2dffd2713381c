//! Modules of tool chains that know WASI preview 1 and nothing of components: the interface is described to `wit-component`, and
//! what a run-time wants of a machine is answered by a small adapter instead of by the host.

use wasmparser::{ConstExpr, DataKind, Export, ExternalKind, Import, Operator, Parser, Payload, TypeRef};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use crate::compat::SERVED;
use crate::component::Unfit;

/// The interface, for guests whose tool chain does not embed it.
const POLICY_WIT: &str = include_str!("../../../../wit/policy.wit");

/// What a run-time finds in place of a machine.
const ADAPTER: &str = include_str!("wasip1.wat");

/// What such a module imports.
const WASI: &str = "wasi_snapshot_preview1";

/// The global by which a module says where the adapter may assemble lines.
const SCRATCH: &str = "portcullis_scratch";

/// Go's linker keeps this many bytes from 4096 on for a host that passes arguments in them, which this one does not.
const GO_ARGUMENTS: std::ops::Range<u32> = 4096..12288;

/// Makes a module a component. Its hooks are those that it exports.
pub(super) fn encode(module: &[u8]) -> Result<Vec<u8>, Unfit> {
    let about = About::read(module).map_err(encoding)?;
    let wit = Wit::read(about.patch)?;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&wit.embedded(module, about.world())?).map_err(encoding)?;
    if about.wasi {
        encoder.adapter(WASI, &wit.embedded(&about.adapter()?, "host-imports")?).map_err(encoding)?;
    }
    encoder.encode().map_err(encoding)
}

fn encoding(error: impl std::fmt::Display) -> Unfit {
    Unfit::Encoding(format!("{error:#}"))
}

/// The interface, read.
struct Wit {
    resolve: Resolve,
    package: PackageId,
}

impl Wit {
    /// As a module calls it that was made for `0.1.{patch}`: names have to be the same, and what is in them is.
    fn read(patch: u64) -> Result<Self, Unfit> {
        let mut resolve = Resolve::default();
        let text = POLICY_WIT.replace(&package(SERVED), &package(patch));
        let package = resolve.push_str("policy.wit", &text).map_err(encoding)?;
        Ok(Self { resolve, package })
    }

    /// The module with the description of a world in it.
    fn embedded(&self, module: &[u8], world: &str) -> Result<Vec<u8>, Unfit> {
        let world = self.resolve.select_world(&[self.package], Some(world)).map_err(encoding)?;
        let mut module = module.to_vec();
        embed_component_metadata(&mut module, &self.resolve, world, StringEncoding::UTF8).map_err(encoding)?;
        Ok(module)
    }
}

fn package(patch: u64) -> String {
    format!("package portcullis:policy@0.1.{patch};")
}

/// What matters of a module.
struct About {
    /// The interface that it was made for is `0.1.{patch}`.
    patch: u64,
    /// The interfaces that it exports.
    commands: bool,
    rows: bool,
    /// Whether it wants something of a machine.
    wasi: bool,
    /// The value of `SCRATCH`.
    scratch: Option<u32>,
    /// Where its data begins.
    first_data: Option<u32>,
}

impl About {
    fn read(module: &[u8]) -> wasmparser::Result<Self> {
        let mut about =
            Self { patch: SERVED, commands: false, rows: false, wasi: false, scratch: None, first_data: None };
        let mut globals = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        let Import { module, ty, .. } = import?;
                        about.wasi |= module == WASI;
                        // Imported globals are counted before the module's own.
                        globals.extend(matches!(ty, TypeRef::Global(_)).then_some(None));
                    }
                }
                Payload::GlobalSection(all) => {
                    for global in all {
                        globals.push(constant(&global?.init_expr)?);
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let Export { name, kind, index } = export?;
                        about.commands |= name.starts_with("portcullis:policy/commands@");
                        about.rows |= name.starts_with("portcullis:policy/rows@");
                        let version = name.strip_prefix("portcullis:policy/lifecycle@0.1.");
                        let patch = version.and_then(|version| version.split('#').next()?.parse().ok());
                        about.patch = patch.unwrap_or(about.patch);
                        if kind == ExternalKind::Global && name == SCRATCH {
                            about.scratch = globals.get(index as usize).copied().flatten();
                        }
                    }
                }
                Payload::DataSection(segments) => {
                    for segment in segments {
                        let DataKind::Active { offset_expr, .. } = segment?.kind else { continue };
                        let at = constant(&offset_expr)?.unwrap_or(0);
                        about.first_data = Some(about.first_data.map_or(at, |first| first.min(at)));
                    }
                }
                _ => {}
            }
        }
        Ok(about)
    }

    /// What it finds in place of a machine.
    fn adapter(&self) -> Result<Vec<u8>, Unfit> {
        let (patch, scratch) = (self.patch.to_string(), self.scratch()?.to_string());
        wat::parse_str(ADAPTER.replace("PATCH", &patch).replace("SCRATCH", &scratch)).map_err(encoding)
    }

    fn world(&self) -> &'static str {
        match (self.commands, self.rows) {
            (true, false) => "command-policy",
            (false, true) => "row-policy",
            // One that exports neither is told what it lacks.
            _ => "policy",
        }
    }

    /// Where the adapter may assemble lines.
    fn scratch(&self) -> Result<u32, Unfit> {
        let in_arguments = self.first_data.is_some_and(|first| first >= GO_ARGUMENTS.end).then_some(GO_ARGUMENTS.start);
        let nowhere =
            || Unfit::Encoding(format!("it uses {WASI} and has no global `{SCRATCH}`; build it with the SDK"));
        self.scratch.or(in_arguments).ok_or_else(nowhere)
    }
}

/// The value of an expression that is one `i32.const`.
fn constant(expression: &ConstExpr<'_>) -> wasmparser::Result<Option<u32>> {
    Ok(match expression.get_operators_reader().read()? {
        Operator::I32Const { value } => Some(value.cast_unsigned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
