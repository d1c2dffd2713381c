//! Policies in their sandbox: components of `portcullis:policy@0.1` run by wasmtime.
//!
//! [`Engine::prepare`] loads a set of policies and finds everything that is wrong with it; [`Engine::swap`] puts it in
//! force. The engine implements [`Decide`](portcullis_verdict::Decide): each session gets a judge with instances of its
//! own, started at their first question and dropped after any fault.

mod answer;
mod bindings;
mod canary;
mod detect;
mod engine;
mod error;
mod health;
mod host;
mod instance;
mod judge;
mod meter;
mod policy;
mod rehearsal;
mod reuse;
mod rows;
mod runtime;
mod spec;
mod state;

pub use engine::{Engine, EngineOptions, Inspection, PolicySet};
pub use error::{EngineError, LoadError, Problem};
pub use meter::{Call, Hook, Meter};
pub use rehearsal::{Fidelity, Rehearsal, Script};
pub use spec::{Capability, PolicyLimits, PolicySpec, Rollout, UnknownCapability};
