use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_verdict::{Kind, Mode};
use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bindings::exports::portcullis::policy::{commands, lifecycle, rows};
use crate::error::Problem;
use crate::health::Health;
use crate::host::{self, Host, Services, Shared, wasi};
use crate::instance::Instance;
use crate::runtime::{MAX_MEMORY, Runtime};
use crate::spec::{Capability, PolicyLimits, PolicySpec};
use crate::state::State;

/// A loaded policy, shared by all sessions and by every set that has it unchanged.
pub(crate) struct Policy {
    pub(crate) name: Arc<str>,
    pub(crate) digest: Arc<str>,
    pub(crate) settings: String,
    pub(crate) mode: Mode,
    pub(crate) limits: PolicyLimits,
    pub(crate) capabilities: BTreeSet<Capability>,
    pub(crate) pure: bool,
    pub(crate) pre: InstancePre<Host>,
    pub(crate) hooks: Hooks,
    /// The kinds of command that it wants to check, as it named them.
    pub(crate) registered: Vec<String>,
    /// It can ask what the conditions of a command derive from.
    pub(crate) asks_conditions: bool,
    pub(crate) services: Arc<Services>,
    pub(crate) health: Health,
}

/// The interfaces that a policy exports.
pub(crate) struct Hooks {
    pub(crate) lifecycle: lifecycle::GuestIndices,
    pub(crate) commands: Option<commands::GuestIndices>,
    pub(crate) rows: Option<rows::GuestIndices>,
}

impl Policy {
    /// Whether it is asked about commands of this kind.
    pub(crate) fn checks(&self, kind: Kind) -> bool {
        self.registered.iter().any(|k| k == kind.as_str())
    }

    /// Whether loading this would make the same policy again. For how many sessions it acts is a matter of the set.
    pub(crate) fn is(&self, spec: &PolicySpec, digest: &str) -> bool {
        *self.name == *spec.name
            && *self.digest == *digest
            && self.settings == spec.settings
            && self.mode == spec.mode
            && self.limits == spec.limits
            && self.capabilities == spec.capabilities
            && self.pure == spec.pure
    }

    /// Links a compiled component and tries its settings on it. `state` is what a policy of this name kept so far.
    pub(crate) fn load(
        runtime: &Runtime,
        shared: &Arc<Shared>,
        spec: PolicySpec,
        component: &Component,
        digest: String,
        state: Arc<State>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = limits(&spec.limits);
        let names = Names::of(runtime, component);
        problems.extend(names.problems(&spec.capabilities));
        if let Err(e) = serde_json::from_str::<serde::de::IgnoredAny>(&spec.settings) {
            problems.push(Problem::Json(e.to_string()));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (pre, hooks) = link(runtime, component, &names, &spec.capabilities)
            .map_err(|e| vec![Problem::Mismatch(crate::answer::cut(&format!("{e:#}")))])?;
        let name: Arc<str> = spec.name.into();
        let services = Arc::new(Services::new(name.clone(), spec.limits.clone(), state, shared.clone()));
        let mut policy = Self {
            name,
            pure: spec.pure,
            digest: digest.into(),
            settings: spec.settings,
            mode: spec.mode,
            limits: spec.limits,
            capabilities: spec.capabilities,
            pre,
            hooks,
            registered: Vec::new(),
            asks_conditions: names.asks_conditions,
            services,
            health: Health::default(),
        };
        policy.registered = policy.trial(runtime)?;
        Ok(policy)
    }

    /// Starts it once without a session, to hear what it says of its settings.
    fn trial(&self, runtime: &Runtime) -> Result<Vec<String>, Vec<Problem>> {
        let failed = |fault| vec![Problem::Start(fault)];
        let mut instance =
            Instance::unconfigured(runtime, self, Host::new(None, self.services.clone())).map_err(failed)?;
        let wrong = instance.validate(runtime, &self.settings).map_err(failed)?;
        if !wrong.is_empty() {
            return Err(wrong.into_iter().map(|(path, message)| Problem::Setting { path, message }).collect());
        }
        let kinds = instance.configure(runtime, &self.settings).map_err(failed)?;
        let refuse = |kind: &String, why| Problem::Registration { kind: crate::answer::cut(kind), why };
        let known = |kind: &&String| *kind == Kind::Sql.as_str();
        let mut problems: Vec<Problem> =
            kinds.iter().filter(|k| !known(k)).map(|k| refuse(k, "which this gateway does not know")).collect();
        if self.hooks.commands.is_none() {
            problems.extend(kinds.iter().map(|k| refuse(k, "but does not export `commands`")));
        }
        if problems.is_empty() { Ok(kinds) } else { Err(problems) }
    }
}

/// The SHA-256 of a component, in hexadecimal.
pub(crate) fn digest(component: &[u8]) -> String {
    Sha256::digest(component).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compiles a component, or takes it from the cache.
pub(crate) fn compile(runtime: &Runtime, bytes: &[u8]) -> Result<Component, Problem> {
    Component::new(&runtime.engine, bytes)
        .map_err(|e| Problem::NotAComponent(crate::answer::cut(&e.root_cause().to_string())))
}

/// The names of what a component imports and exports.
pub(crate) struct Names {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    pub(crate) asks_conditions: bool,
}

impl Names {
    pub(crate) fn of(runtime: &Runtime, component: &Component) -> Self {
        let ty = component.component_type();
        let asks_conditions = ty.imports(&runtime.engine).any(|(_, import)| match import.ty {
            ComponentItem::ComponentInstance(interface) => {
                interface.exports(&runtime.engine).any(|(name, _)| name == "[method]command.conditions")
            }
            _ => false,
        });
        Self {
            asks_conditions,
            imports: ty.imports(&runtime.engine).map(|(name, _)| name.into()).collect(),
            exports: ty.exports(&runtime.engine).map(|(name, _)| name.into()).collect(),
        }
    }

    /// The interfaces with hooks that are exported.
    pub(crate) fn hooks(&self) -> impl Iterator<Item = &str> {
        let ours = self.exports.iter().filter_map(|name| interface(name));
        ours.filter(|name| matches!(*name, "lifecycle" | "commands" | "rows"))
    }

    /// The capabilities that are imported.
    pub(crate) fn capabilities(&self) -> impl Iterator<Item = Capability> {
        self.imports.iter().filter_map(|name| interface(name)?.parse().ok())
    }

    /// What stands in the way of linking, but for missing grants.
    pub(crate) fn misfits(&self) -> Vec<Problem> {
        let ours = |i: &str| matches!(i, "types" | "facts" | "log" | "detect") || i.parse::<Capability>().is_ok();
        let foreign = |name: &&String| !interface(name).is_some_and(ours) && wasi::interface(name).is_none();
        let mut problems: Vec<Problem> =
            self.imports.iter().filter(foreign).map(|name| Problem::Import(crate::answer::cut(name))).collect();
        let hooks: Vec<&str> = self.hooks().collect();
        if !hooks.contains(&"lifecycle") {
            problems.push(Problem::Exports("exports no `lifecycle`".into()));
        } else if hooks.len() == 1 {
            problems
                .push(Problem::Exports("exports neither `commands` nor `rows`, so there is nothing to ask it".into()));
        }
        problems
    }

    fn problems(&self, granted: &BTreeSet<Capability>) -> Vec<Problem> {
        let missing = self.capabilities().filter(|c| !granted.contains(c)).map(Problem::NotGranted);
        self.misfits().into_iter().chain(missing).collect()
    }
}

/// The interface's name, if it is one of version 0.1 of the policy interface.
fn interface(name: &str) -> Option<&str> {
    let (name, version) = name.strip_prefix("portcullis:policy/")?.split_once('@')?;
    version.starts_with("0.1.").then_some(name)
}

fn link(
    runtime: &Runtime,
    component: &Component,
    names: &Names,
    granted: &BTreeSet<Capability>,
) -> wasmtime::Result<(InstancePre<Host>, Hooks)> {
    let mut linker = Linker::new(&runtime.engine);
    host::link(&mut linker, |capability| granted.contains(&capability))?;
    wasi::link(&mut linker, component, granted)?;
    let pre = linker.instantiate_pre(component)?;
    let exported = |name| names.hooks().any(|h| h == name);
    let hooks = Hooks {
        lifecycle: lifecycle::GuestIndices::new(&pre)?,
        commands: exported("commands").then(|| commands::GuestIndices::new(&pre)).transpose()?,
        rows: exported("rows").then(|| rows::GuestIndices::new(&pre)).transpose()?,
    };
    Ok((pre, hooks))
}

fn limits(limits: &PolicyLimits) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut within = |name, value: u64, range: std::ops::RangeInclusive<u64>, allowed| {
        if !range.contains(&value) {
            problems.push(Problem::Limit { name, value, allowed });
        }
    };
    within("memory_bytes", limits.memory_bytes, 65_536..=MAX_MEMORY, "from 65536 to 4294967296 (4 GiB)");
    within("call_ms", limits.call_ms, 1..=60_000, "from 1 to 60000");
    within("answer_bytes", limits.answer_bytes, 4096..=1 << 30, "from 4096 to 1073741824 (1 GiB)");
    problems
}
