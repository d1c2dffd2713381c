use portcullis_verdict::Fault;

use crate::spec::Capability;

/// The sandbox cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The directory for compiled code cannot be used.
    #[error("the directory for compiled policies cannot be used: {path}: {reason}")]
    Cache {
        /// The directory.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The operating system's randomness cannot be read.
    #[error("the operating system's randomness cannot be read: {0}")]
    Random(std::io::Error),
    /// wasmtime refuses its configuration or cannot reserve memory.
    #[error("the WebAssembly runtime cannot start with {max_instances} instances (`max_instances`): {reason}")]
    Runtime {
        /// How many instances it was to hold.
        max_instances: u32,
        /// Why it does not start.
        reason: String,
    },
    /// The thread that enforces time limits cannot be started.
    #[error("the thread that enforces the policies' time limits cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Why a policy cannot be used. It says what, where, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy `{policy}`: {problem}")]
pub struct LoadError {
    /// The policy's name.
    pub policy: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A target is bound to a policy that is not in the set.
    #[error("the target `{0}` is bound to it, but there is no such policy")]
    Missing(String),
    /// A target is bound to the policy more than once.
    #[error("the target `{0}` is bound to it more than once")]
    BoundTwice(String),
    /// The bytes are no component that the host can compile.
    #[error(
        "its file is not a WebAssembly component that this gateway can run: {0}; `portcullis policy build` makes one"
    )]
    NotAComponent(String),
    /// It exports nothing that the gateway could ask.
    #[error("it {0}; a policy exports `portcullis:policy/lifecycle` and `commands`, `rows` or both")]
    Exports(String),
    /// It imports something that nobody offers.
    #[error(
        "it imports `{0}`, which the gateway does not offer: a policy imports `portcullis:policy/*@0.1`, and of WASI \
         0.2 what its tool chain insists on"
    )]
    Import(String),
    /// It imports a capability that the operator has not granted.
    #[error("it imports `portcullis:policy/{0}`: grant it with `capabilities = [\"{0}\"]`")]
    NotGranted(Capability),
    /// A type of an import or export is not what the interface says.
    #[error("it does not fit `portcullis:policy@0.1`: {0}; rebuild it against the gateway's `policy.wit`")]
    Mismatch(String),
    /// Its settings are not JSON.
    #[error("its settings are not JSON: {0}")]
    Json(String),
    /// One of its settings is wrong.
    #[error("setting `{path}`: {message}")]
    Setting {
        /// A JSON pointer; empty for the whole.
        path: String,
        /// What is wrong there, in the policy's words.
        message: String,
    },
    /// One of its limits makes no sense.
    #[error("its limit `{name}` is {value}: it must be {allowed}")]
    Limit {
        /// The limit.
        name: &'static str,
        /// What was configured.
        value: u64,
        /// What may be configured.
        allowed: &'static str,
    },
    /// It asks for commands that this gateway does not know, or that it cannot answer.
    #[error("it registers for commands of the kind `{kind}`, {why}")]
    Registration {
        /// The kind.
        kind: String,
        /// Why it will not be asked.
        why: &'static str,
    },
    /// A trial start failed.
    #[error("a trial start failed: it {0}")]
    Start(Fault),
    /// It cannot be a canary in this way.
    #[error("as a canary, it {0}")]
    Canary(String),
    /// Two policies have this name.
    #[error("another policy has the same name")]
    Duplicate,
}
