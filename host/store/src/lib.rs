//! The embedded store: audit events, sessions, approvals and grants in one crash-safe file.
//!
//! One operating-system thread owns every write. Appenders hand it events over a bounded queue; it numbers them,
//! encodes them and commits them in groups. Whatever goes wrong with the file turns the sink *failed*: it refuses every
//! event, and with it the command that the event was to record, until the file can be written again. What the sink had
//! accepted by then is kept and written first.
//!
//! # The file
//!
//! It is a redb database. Every transaction is committed with two-phase commit and is durable when the commit returns. What is in
//! it is described byte by byte in `docs/store-format.md`; in short:
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `"format"`, `"event_bytes"` | the layout of this table list: 2; the bytes of all blocks |
//! | `identity` | `"log"`, `"origin"` | the log's identifier, 16 bytes; the checkpoint for the event before the first that is kept |
//! | `events` | number of the last event of a block; numbers count from 1 without gaps | a block of up to 64 events |
//! | `checkpoints` | the event that it is for | a signature over the chain up to that event |
//! | `cursors` | name of a consumer | the last event that it has dealt with |
//! | `sessions` | session | the number of its first event, which stands for the session in the other tables |
//! | `session_events` | (session's first event, key in `events` of a block that tells of it) | – |
//! | `openings` | number of an opening event | – |
//! | `live_sessions` | session's first event | whom it is about; there as long as it has no closing event |
//! | `approvals` | number, from 1 | the request as it stands |
//! | `approval_ids` | identifier | the number in `approvals` |
//! | `live_approvals` | number of a request that is open, or granted and reusable | – |
//!
//! Each event is linked to the one before by a SHA-256 chain, and the writer signs how far it has come with Ed25519: see [`verify`].
//!
//! A reader that meets a version it does not know stops with an error; it never guesses. The writer is the only place
//! that numbers and encodes events. On opening, sessions and requests that an earlier run left open are ended in the log.

mod approvals;
mod chain;
mod error;
mod file;
mod journal;
mod offline;
mod prune;
mod queue;
mod read;
mod record;
mod request;
mod start;
mod store;
mod tables;
mod v1;
pub mod verify;
mod writer;

#[cfg(test)]
mod testing;

pub use chain::{BadKey, SigningKey};
pub use error::StoreError;
pub use offline::verify_file;
pub use prune::Retention;
pub use store::{Durability, OnFailure, Store, StoreOptions};
