//! The engine against hostile and minimal guests, which `tests/guests` builds.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bench;
mod canary;
mod capabilities;
mod faults;
mod guests;
mod loading;
mod meter;
mod rehearsal;
mod results;
mod reuse;
mod swaps;
mod verdicts;
mod wasi;
