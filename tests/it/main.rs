//! End to end: real clients, a real gateway, a real PostgreSQL, components built from source.

#![allow(clippy::unwrap_used, reason = "what fails here is to fail the test")]

mod admin;
mod approvals;
mod attacks;
mod audit;
mod chaos;
mod crashes;
mod drivers;
mod evidence;
mod grants;
mod held;
mod languages;
mod limits;
mod line;
mod load;
mod logins;
mod matrix;
mod policies;
mod programs;
mod protocol;
mod raw;
mod recordings;
mod replay;
mod rollout;
mod secrets;
mod suites;
mod support;
mod swap;
mod values;
mod vandals;
mod webhooks;
