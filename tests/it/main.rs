//! End to end: real clients, a real gateway, a real PostgreSQL, components built from source.

#![allow(clippy::unwrap_used, reason = "what fails here is to fail the test")]

mod admin;
mod approvals;
mod attacks;
mod chaos;
mod drivers;
mod logins;
mod policies;
mod protocol;
mod secrets;
mod support;
mod swap;
mod webhooks;
