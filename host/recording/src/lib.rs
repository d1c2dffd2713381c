//! Recordings of what the clients of sessions saw: their format, the files, and how they are shown again.
//!
//! A session's [`Recorder`](portcullis_verdict::Recorder) encodes entries into a buffer of its own. One thread, the writer, compresses the
//! buffers of all sessions and writes the files; another, the closer, makes finished files durable, enters them in the audit and gives them
//! their final names, so that a slow disk holds up only what waits for it. [`Reader`] reads a file back, and [`replay`] shows it.

mod closer;
mod directory;
pub mod format;
mod prune;
mod reader;
mod recorder;
pub mod replay;
mod salvage;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::{Directory, OnLimit, Options};
pub use reader::{ReadError, Reader};
