//! The tools of the languages that policies are written in, in the cache.

pub mod c;
pub mod go;
pub mod javascript;
pub mod python;
