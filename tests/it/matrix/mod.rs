//! What is known to get past policies elsewhere, tried class by class against a real server. `docs/postgres.md` has the list in words.

mod effects;
mod leaks;
mod masks;
mod text;
mod wire;
