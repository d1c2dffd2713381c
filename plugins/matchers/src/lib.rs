//! Rules that match commands by their facts: what `block` refuses and `approve` holds.

mod facts;
mod glob;
mod rules;

pub use glob::{Glob, Qualified};
pub use rules::{Hit, Matchers, Opaque, Rules, RulesBuilder};
