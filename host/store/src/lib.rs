//! The embedded store: audit events, sessions, approvals and grants in one crash-safe file.
//!
//! One operating-system thread owns every write. Appenders hand it events over a bounded queue; it numbers them,
//! encodes them and commits them in groups. Whatever goes wrong with the file turns the sink *failed*: it refuses every
//! event, and with it the command that the event was to record, until the file can be written again. What the sink had
//! accepted by then is kept and written first.
//!
//! # The file
//!
//! It is a redb database. Every transaction is committed with two-phase commit and is durable when the commit returns.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `"format"` | the layout of this table list: 1 |
//! | `events` | number of the last event of a block; numbers count from 1 without gaps | version byte 1, the number of events in the block (one byte), then postcard of `(at_ms, Event)` for each |
//! | `sessions` | session | the number of its first event, which stands for the session in the other tables |
//! | `session_events` | (session's first event, key in `events` of a block that tells of it) | – |
//! | `openings` | number of an opening event | – |
//! | `open_sessions` | session's first event | session; there as long as it has no closing event |
//! | `approvals` | number, from 1 | version byte 1, then postcard of the request as it stands |
//! | `approval_ids` | identifier | the number in `approvals` |
//! | `live_approvals` | number of a request that is open, or granted and reusable | – |
//!
//! A reader that meets a version it does not know stops with an error; it never guesses. The writer is the only place
//! that numbers and encodes events. On opening, sessions and requests that an earlier run left open are ended in the log.

mod approvals;
mod error;
mod file;
mod journal;
mod queue;
mod record;
mod store;
mod tables;
mod writer;

#[cfg(test)]
mod testing;

pub use error::StoreError;
pub use store::{Durability, Store, StoreOptions};
