use portcullis_verdict::Fault;
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::answer;
use crate::bindings::exports::portcullis::policy::{commands, lifecycle, rows};
use crate::bindings::portcullis::policy::types;
use crate::host::{Host, Question};
use crate::meter::Hook;
use crate::policy::Policy;
use crate::reuse::Answers;
use crate::runtime::Runtime;

/// Why an instance cannot start when all places are taken. It is the gateway's limit, not the policy's failure.
pub(crate) const POOL_IS_FULL: &str = "the gateway runs as many instances as it may (`max_instances`)";

/// Handles of statements that a guest may hold at a time.
const MAX_HANDLES: usize = 10_000;

/// Starting may take so many times as long as a question.
const START_FACTOR: u64 = 10;

/// One guest, running for one session.
pub(crate) struct Instance {
    store: Store<Host>,
    lifecycle: lifecycle::Guest,
    commands: Option<commands::Guest>,
    rows: Option<rows::Guest>,
    limits: CallLimits,
    pub(crate) answers: Answers,
    /// Whether it has trapped: it is not to be asked again.
    pub(crate) dead: bool,
}

#[derive(Clone, Copy)]
struct CallLimits {
    call_ms: u64,
    answer_bytes: u64,
    memory_bytes: u64,
}

impl Instance {
    /// Starts and configures an instance. It must register for what it registered for when the policy was loaded.
    pub(crate) fn start(runtime: &Runtime, policy: &Policy, host: Host) -> Result<Self, Fault> {
        let mut instance = Self::unconfigured(runtime, policy, host)?;
        match instance.configure(runtime, &policy.settings)? {
            kinds if kinds == policy.registered => Ok(instance),
            _ => Err(Fault::Start("it registers for other commands than when it was loaded".into())),
        }
    }

    /// An instance that knows no settings yet.
    pub(crate) fn unconfigured(runtime: &Runtime, policy: &Policy, host: Host) -> Result<Self, Fault> {
        let limits = &policy.limits;
        let limits = CallLimits {
            call_ms: limits.call_ms,
            answer_bytes: limits.answer_bytes,
            memory_bytes: limits.memory_bytes,
        };
        let mut store = Store::new(&runtime.engine, host);
        store.limiter(|host| &mut host.memory);
        store.set_max_component_handles(MAX_HANDLES);
        store.set_hostcall_fuel(limits.answer_bytes as usize);
        let (_call, deadline) = runtime.enter(limits.starting().call_ms);
        store.set_epoch_deadline(deadline);
        let begun = runtime.metering.begin(&mut store);
        let started = policy.pre.instantiate(&mut store).and_then(|instance| {
            let lifecycle = policy.hooks.lifecycle.load(&mut store, &instance)?;
            let commands = policy.hooks.commands.as_ref().map(|hooks| hooks.load(&mut store, &instance)).transpose()?;
            let rows = policy.hooks.rows.as_ref().map(|hooks| hooks.load(&mut store, &instance)).transpose()?;
            Ok((lifecycle, commands, rows))
        });
        store.data_mut().end_lines();
        runtime.metering.end(begun, &store, Hook::Instantiate, started.is_err());
        match started {
            Ok((lifecycle, commands, rows)) => {
                Ok(Self { store, lifecycle, commands, rows, limits, answers: Answers::default(), dead: false })
            }
            Err(e) if e.is::<wasmtime::PoolConcurrencyLimitError>() => Err(Fault::Start(POOL_IS_FULL.into())),
            Err(e) => Err(starting(fault(&store, &e, limits.starting()))),
        }
    }

    /// What it can reach.
    pub(crate) fn host(&mut self) -> &mut Host {
        self.store.data_mut()
    }

    /// Asks what is wrong with the settings, as pairs of path and message.
    pub(crate) fn validate(&mut self, runtime: &Runtime, settings: &str) -> Result<Vec<(String, String)>, Fault> {
        let (limits, lifecycle) = (self.limits.starting(), self.lifecycle.clone());
        let answer = self.call(runtime, Hook::ValidateSettings, limits, Question::default(), |s| {
            lifecycle.call_validate_settings(s, settings)
        });
        let wrong = answer.map_err(starting)?.err().unwrap_or_default();
        Ok(wrong.into_iter().take(100).map(|e| (answer::cut(&e.path), answer::cut(&e.message))).collect())
    }

    /// Hands over the settings; the kinds of command that the policy wants to check come back.
    pub(crate) fn configure(&mut self, runtime: &Runtime, settings: &str) -> Result<Vec<String>, Fault> {
        let (limits, lifecycle) = (self.limits.starting(), self.lifecycle.clone());
        let answer =
            self.call(runtime, Hook::Configure, limits, Question::default(), |s| lifecycle.call_configure(s, settings));
        match answer.map_err(starting)? {
            Ok(registration) => Ok(registration.commands),
            Err(e) => Err(starting(answer::error(&e))),
        }
    }

    /// Asks about the session or a command.
    pub(crate) fn decide(
        &mut self,
        runtime: &Runtime,
        hook: Hook,
        question: Question,
        ask: impl FnOnce(&commands::Guest, &mut Store<Host>) -> wasmtime::Result<Result<types::Verdict, types::Error>>,
    ) -> Result<types::Verdict, Fault> {
        let Some(hooks) = self.commands.take() else {
            return Err(Fault::BadAnswer("it exports no `commands`".into()));
        };
        let answer = self.call(runtime, hook, self.limits, question, |store| ask(&hooks, store));
        self.commands = Some(hooks);
        answer?.map_err(|e| answer::error(&e))
    }

    /// Asks about a result. `extra` bytes may be handed back beyond the policy's limit.
    pub(crate) fn edit<T>(
        &mut self,
        runtime: &Runtime,
        hook: Hook,
        question: Question,
        extra: u64,
        ask: impl FnOnce(&rows::Guest, &mut Store<Host>) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, Fault> {
        let Some(hooks) = self.rows.take() else {
            return Err(Fault::BadAnswer("it exports no `rows`".into()));
        };
        let limits = CallLimits { answer_bytes: self.limits.answer_bytes.saturating_add(extra), ..self.limits };
        let answer = self.call(runtime, hook, limits, question, |store| ask(&hooks, store));
        self.rows = Some(hooks);
        answer?.map_err(|e| answer::error(&e))
    }

    fn call<T>(
        &mut self,
        runtime: &Runtime,
        hook: Hook,
        limits: CallLimits,
        question: Question,
        ask: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        self.store.data_mut().ask(question);
        self.store.set_hostcall_fuel(usize::try_from(limits.answer_bytes).unwrap_or(usize::MAX));
        let (_call, deadline) = runtime.enter(limits.call_ms);
        self.store.set_epoch_deadline(deadline);
        let begun = runtime.metering.begin(&mut self.store);
        let answer = ask(&mut self.store);
        self.store.data_mut().end_lines();
        let unread = self.store.data_mut().answered();
        runtime.metering.end(begun, &self.store, hook, unread.is_some() || answer.is_err());
        self.dead |= answer.is_err();
        match (unread, answer) {
            // Whatever it did without the facts, it was the command that could not be read.
            (Some(why), _) => Err(Fault::Unreadable(why)),
            (None, Ok(answer)) => Ok(answer),
            (None, Err(e)) => Err(fault(&self.store, &e, limits)),
        }
    }
}

impl CallLimits {
    fn starting(self) -> Self {
        Self { call_ms: self.call_ms * START_FACTOR, ..self }
    }
}

/// Names what ended a call.
fn fault(store: &Store<Host>, error: &wasmtime::Error, limits: CallLimits) -> Fault {
    let trap = error.downcast_ref::<Trap>().copied();
    let cause = error.root_cause().to_string();
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        store.data().failed_at(backtrace);
    }
    if trap == Some(Trap::Interrupt) {
        Fault::Timeout(limits.call_ms)
    } else if store.data().memory.refused {
        Fault::Memory(limits.memory_bytes)
    } else if cause.contains("fuel allocated for hostcalls has been exhausted") {
        // wasmtime has no public type for this error; a test would notice if its text changed.
        Fault::BadAnswer(format!("it handed over more than {} bytes in one call", limits.answer_bytes))
    } else {
        Fault::Trap(answer::cut(&cause))
    }
}

/// A failed start says so, but for what has a name of its own.
fn starting(fault: Fault) -> Fault {
    match fault {
        Fault::Timeout(_) | Fault::Memory(_) | Fault::Start(_) => fault,
        other => Fault::Start(format!("it {other}")),
    }
}
