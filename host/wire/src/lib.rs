//! Sans-IO protocol machines and the facts of commands: bytes in, bytes and questions out. No socket, no clock, no policy.

pub mod pg;
pub mod sql;
