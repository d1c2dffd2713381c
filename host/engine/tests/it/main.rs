//! The engine against hostile and minimal guests, which `tests/guests` builds.

mod bench;
mod capabilities;
mod faults;
mod guests;
mod loading;
mod results;
mod swaps;
mod verdicts;
