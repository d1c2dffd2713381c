//! What a guest can reach: the facts of the question it is asked, and the services that it was granted.

mod backtrace;
mod facts;
mod log;
mod services;
mod source;
pub(crate) mod wasi;

use std::fs::File;
use std::sync::Arc;

use portcullis_verdict::mask::HashKey;
use portcullis_verdict::{Command, Inputs, ResultSet, Session, Statement};
use wasmtime::component::{HasSelf, Linker, Resource};

use crate::bindings::portcullis::policy as wit;
use crate::error::EngineError;
use crate::host::backtrace::Latest;
use crate::host::log::LogGate;
use crate::host::wasi::Wasi;
use crate::runtime::MAX_TABLE_ELEMENTS;
use crate::spec::{Capability, PolicyLimits};
use crate::state::State;

pub(crate) use source::Cue;

/// Milliseconds of a clock that never goes back.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What all policies share.
pub(crate) struct Shared {
    pub(crate) now: Clock,
    random: File,
    hash_key: HashKey,
    log_values: bool,
}

impl Shared {
    pub(crate) fn new(now: Clock, hash_key: HashKey, log_values: bool) -> Result<Self, EngineError> {
        let random = File::open("/dev/urandom").map_err(EngineError::Random)?;
        Ok(Self { now, random, hash_key, log_values })
    }
}

/// What all instances of a policy share.
pub(crate) struct Services {
    pub(crate) policy: Arc<str>,
    pub(crate) limits: PolicyLimits,
    pub(crate) state: Arc<State>,
    pub(crate) shared: Arc<Shared>,
    /// Where it failed last.
    pub(crate) backtrace: Latest,
    log: LogGate,
}

impl Services {
    pub(crate) fn new(policy: Arc<str>, limits: PolicyLimits, state: Arc<State>, shared: Arc<Shared>) -> Self {
        Self { policy, limits, state, shared, backtrace: Latest::default(), log: LogGate::default() }
    }
}

/// What one instance can reach.
pub(crate) struct Host {
    session: Option<Arc<Session>>,
    services: Arc<Services>,
    pub(crate) memory: Memory,
    question: Question,
    /// What stands in for the world, in a rehearsal.
    cue: Option<Cue>,
    /// What the guest got from its capabilities since it was asked.
    inputs: Inputs,
    /// Whether it has been told, or has done, something that another command with the same facts may not bring.
    pub(crate) apart: bool,
    /// Handles of statements are numbered through all questions, so that a stale one is never taken for another.
    first_statement: u32,
    wasi: Wasi,
}

/// What the guest is being asked about.
#[derive(Default)]
pub(crate) struct Question {
    command: Option<(Arc<Command>, Arc<Statement>)>,
    result: Option<Arc<ResultSet>>,
    /// Why facts that the guest asked for are not there.
    unread: Option<String>,
    /// It is handed values of the result.
    values: bool,
}

impl Question {
    /// About this command with this statement, which a policy before may have rewritten.
    pub(crate) fn command(command: &Arc<Command>, statement: &Arc<Statement>) -> Self {
        Self { command: Some((command.clone(), statement.clone())), ..Self::default() }
    }

    /// About this result of a command.
    pub(crate) fn result(command: &Arc<Command>, result: &Arc<ResultSet>) -> Self {
        Self { result: Some(result.clone()), ..Self::command(command, &command.statement) }
    }

    /// About values of this result.
    pub(crate) fn values(command: &Arc<Command>, result: &Arc<ResultSet>) -> Self {
        Self { values: true, ..Self::result(command, result) }
    }
}

impl Question {
    /// Whether what the guest gets from its capabilities is taken down: where the audit records the answer.
    fn is_recorded(&self) -> bool {
        self.command.is_some() && self.result.is_none()
    }
}

impl Host {
    pub(crate) fn new(session: Option<Arc<Session>>, services: Arc<Services>) -> Self {
        let memory = Memory { limit: services.limits.memory_bytes as usize, used: 0, refused: false };
        let question = Question::default();
        let (inputs, wasi) = (Inputs::default(), Wasi::default());
        Self { session, services, memory, question, cue: None, inputs, apart: false, first_statement: 0, wasi }
    }

    /// The name of the policy that it serves.
    pub(crate) fn policy(&self) -> &str {
        &self.services.policy
    }

    /// Sets what the next call is about.
    pub(crate) fn ask(&mut self, question: Question) {
        self.question = question;
        self.apart = false;
        self.memory.refused = false;
    }

    /// Forgets the question. Returns why facts that the guest asked for were not there, if it did.
    pub(crate) fn answered(&mut self) -> Option<String> {
        let question = std::mem::take(&mut self.question);
        if let Some((_, statement)) = &question.command {
            let count = statement.facts.sql.as_ref().map_or(0, Vec::len);
            self.first_statement = self.first_statement.wrapping_add(count as u32);
        }
        question.unread
    }
}

/// The one session, command or result that a question is about. Borrowed handles do not outlive the call.
pub(crate) fn handle<T: 'static>() -> Resource<T> {
    Resource::new_borrow(0)
}

/// Offers what is always available and what was granted, and nothing else.
pub(crate) fn link(linker: &mut Linker<Host>, granted: impl Fn(Capability) -> bool) -> wasmtime::Result<()> {
    type Own = HasSelf<Host>;
    wit::types::add_to_linker::<Host, Own>(linker, |h| h)?;
    wit::facts::add_to_linker::<Host, Own>(linker, |h| h)?;
    wit::log::add_to_linker::<Host, Own>(linker, |h| h)?;
    wit::detect::add_to_linker::<Host, Own>(linker, |h| h)?;
    if granted(Capability::Clock) {
        wit::clock::add_to_linker::<Host, Own>(linker, |h| h)?;
    }
    if granted(Capability::Random) {
        wit::random::add_to_linker::<Host, Own>(linker, |h| h)?;
    }
    if granted(Capability::State) {
        wit::state::add_to_linker::<Host, Own>(linker, |h| h)?;
    }
    if granted(Capability::Crypto) {
        wit::crypto::add_to_linker::<Host, Own>(linker, |h| h)?;
    }
    Ok(())
}

/// Bounds the memory of one instance and remembers a refusal, to tell it from other traps.
pub(crate) struct Memory {
    limit: usize,
    used: usize,
    pub(crate) refused: bool,
}

impl Memory {
    /// Bytes of all linear memories.
    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl wasmtime::ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        self.refused |= used > self.limit;
        if used <= self.limit {
            self.used = used;
        }
        Ok(used <= self.limit)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}
