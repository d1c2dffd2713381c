//! The PostgreSQL frontend/backend protocol.
