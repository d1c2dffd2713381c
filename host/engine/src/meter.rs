use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::Store;

use crate::host::Host;

/// Hears of every call into a policy, on the thread that made it, before the answer is used: it should be quick.
pub type Meter = Arc<dyn Fn(&Call<'_>) + Send + Sync>;

/// One call into a policy, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The policy's name.
    pub policy: &'a str,
    /// What was called.
    pub hook: Hook,
    /// How long it took, in nanoseconds.
    pub nanos: u64,
    /// The fuel that it consumed, about one unit for each WebAssembly instruction, where [`EngineOptions::fuel`](crate::EngineOptions::fuel)
    /// asks for it. An answer to the same question costs an instance in the same state the same on every machine.
    pub fuel: Option<u64>,
    /// The linear memory that the instance holds after it, in bytes.
    pub memory_bytes: u64,
    /// Whether it ended in a fault. An error that the policy returns is an answer.
    pub failed: bool,
}

/// What can be called in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Making an instance of the component.
    Instantiate,
    /// `lifecycle.validate-settings`.
    ValidateSettings,
    /// `lifecycle.configure`.
    Configure,
    /// `commands.open`.
    Open,
    /// `commands.check`.
    Check,
    /// `commands.approved`.
    Approved,
    /// `rows.plan-result`.
    Plan,
    /// `rows.filter-batch`.
    Filter,
}

impl Hook {
    /// All of them, in the order in which an instance sees them.
    pub const ALL: [Self; 8] = [
        Self::Instantiate,
        Self::ValidateSettings,
        Self::Configure,
        Self::Open,
        Self::Check,
        Self::Approved,
        Self::Plan,
        Self::Filter,
    ];

    /// The function's name in the policy interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instantiate => "instantiate",
            Self::ValidateSettings => "validate-settings",
            Self::Configure => "configure",
            Self::Open => "open",
            Self::Check => "check",
            Self::Approved => "approved",
            Self::Plan => "plan-result",
            Self::Filter => "filter-batch",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Measures calls if somebody wants to hear of them.
pub(crate) struct Metering {
    meter: Option<Meter>,
    fuel: bool,
}

/// A fresh tank for every call, which none can empty: fuel measures here, and time is what is limited.
const TANK: u64 = u64::MAX;

impl Metering {
    pub(crate) fn new(meter: Option<Meter>, fuel: bool) -> Self {
        Self { fuel: fuel && meter.is_some(), meter }
    }

    /// Whether guests must be compiled so that they count.
    pub(crate) fn counts_fuel(&self) -> bool {
        self.fuel
    }

    /// To be called right before a call into a guest.
    pub(crate) fn begin(&self, store: &mut Store<Host>) -> Option<Instant> {
        self.meter.as_ref()?;
        if self.fuel {
            // It fails only where fuel is not configured.
            let _ = store.set_fuel(TANK);
        }
        Some(Instant::now())
    }

    /// Tells what the call cost.
    pub(crate) fn end(&self, begun: Option<Instant>, store: &Store<Host>, hook: Hook, failed: bool) {
        let (Some(meter), Some(begun)) = (&self.meter, begun) else { return };
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let host = store.data();
        meter(&Call {
            policy: host.policy(),
            hook,
            nanos,
            fuel: self.fuel.then(|| TANK - store.get_fuel().unwrap_or(TANK)),
            memory_bytes: host.memory.used() as u64,
            failed,
        });
    }
}
