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
mod logins;
mod policies;
mod protocol;
mod recordings;
mod replay;
mod rollout;
mod secrets;
mod support;
mod swap;
mod values;
mod webhooks;
