//! Facts of SQL statements.
