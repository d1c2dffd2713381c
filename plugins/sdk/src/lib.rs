//! Write Portcullis policies in Rust.
//!
//! A policy is a struct that is made from its settings ([`Policy`]) and answers questions about commands ([`Commands`]), about
//! results ([`Rows`]), or both; [`export!`] makes a component of it:
//!
//! ```
//! use portcullis_sdk::{Command, Commands, Effects, Error, Policy, Session, SettingError, Verdict};
//!
//! struct ReadOnly;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {}
//!
//! impl Policy for ReadOnly {
//!     type Settings = Settings;
//!
//!     fn new(_: Settings) -> Result<Self, Vec<SettingError>> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Commands for ReadOnly {
//!     fn check(&mut self, _: &Session, command: &Command) -> Result<Verdict, Error> {
//!         let reads = |e: Effects| (e - Effects::READ).is_empty();
//!         Ok(match command.parsed() && command.sql().iter().all(|s| reads(s.effects())) {
//!             true => Verdict::allow(),
//!             false => Verdict::deny("this target is for reading"),
//!         })
//!     }
//! }
//!
//! portcullis_sdk::export!(ReadOnly: commands);
//! ```
//!
//! In the gateway [`Session`], [`Command`], [`SqlStatement`] and [`ResultSet`] are handles of the host: each method is a call
//! and a copy, so read what you need, once. On any other machine they are the test doubles of [`testing`], and `cargo test`
//! runs a policy without a gateway. The documentation of every type is in `wit/policy.wit`.

mod answers;
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod glue;
mod policy;
mod rows;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use answers::SettingErrors;
pub use bindings::imports::portcullis::policy::facts::{Column, ColumnRef, Effects, Parameter, Phase, Relation};
pub use bindings::imports::portcullis::policy::types::{
    Approval, Decision, Error, Finding, Reuse, SettingError, Verdict,
};
pub use bindings::rows::exports::portcullis::policy::rows::{
    Action, BatchResult, Chunk, Edit, Mask, Patch, Plan, Rule, Spans,
};
pub use policy::{Commands, Policy, Rows, load};

#[cfg(target_arch = "wasm32")]
pub use bindings::imports::portcullis::policy::{
    clock, crypto, detect,
    facts::{Command, ResultSet, Session, SqlStatement},
    log, random, state,
};
#[cfg(not(target_arch = "wasm32"))]
pub use testing::{
    facts::{Command, ResultSet, Session, SqlStatement},
    host::{clock, crypto, detect, log, random, state},
};
