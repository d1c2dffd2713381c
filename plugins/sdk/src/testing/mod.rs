//! Doubles of what the host gives a policy, for tests on any machine.
//!
//! ```
//! use portcullis_sdk::{Effects, testing};
//!
//! let alice = testing::session("alice").with_groups(["dev"]);
//! let drop = testing::sql("DROP TABLE x", [testing::statement("DROP TABLE").with_relation("public.x", Effects::DDL)]);
//! assert_eq!(alice.principal(), "alice");
//! assert!(drop.sql()[0].effects().contains(Effects::DDL));
//! ```

pub(crate) mod facts;
pub(crate) mod host;

pub use facts::{chunk, column, result, session, sql, statement, unreadable};
pub use host::{detector, set_now_ms, set_state_failing};
