//! The PostgreSQL frontend/backend protocol, versions 3.0 and 3.2 (PostgreSQL documentation, chapter "Frontend/Backend Protocol").
//!
//! Three machines follow each other on a connection: [`login::Login`] speaks to the client until it is known,
//! [`connect::Connect`] logs in to the server, and [`relay::Relay`] carries the session and asks about every command.

#[cfg(feature = "native")]
pub mod connect;
pub mod frame;
pub mod login;
pub mod message;
pub mod relay;
pub mod rows;
pub mod scram;
pub mod tap;
pub mod types;
