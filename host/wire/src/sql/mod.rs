//! Facts of SQL statements, read with the grammar of the PostgreSQL server.

#[cfg(feature = "native")]
mod read;
#[cfg(feature = "native")]
pub mod reason;
#[cfg(test)]
#[cfg(feature = "native")]
mod tests;

#[cfg(feature = "native")]
pub use read::read;

/// The longest text that is read, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// The most tokens of a text that is read. Each can take 2 KB of memory while the text is read.
pub const MAX_TOKENS: usize = 100_000;

/// The most that the squares of the lengths of a text's runs of operator characters, such as `/*/*/*`, may add up to. The scanner looks at a
/// run anew from each token in it.
pub const MAX_RUNS: usize = 50_000_000;

/// The settings of the session that change how the server splits a text into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lexing {
    /// Whether a backslash in `'…'` is an ordinary character.
    pub standard_conforming_strings: bool,
    /// Whether `\'` is accepted as a quote in an escape string. The default `safe_encoding` accepts it, since clients of the
    /// gateway speak UTF-8.
    pub backslash_quote: bool,
}

impl Default for Lexing {
    fn default() -> Self {
        Self { standard_conforming_strings: true, backslash_quote: true }
    }
}

/// Why a text could not be read: the class of the problem, without any part of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// What a text does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The same for texts that differ only in literals, white space, comments or letter case; in hexadecimal.
    pub fingerprint: String,
    /// Its statements, in order.
    pub statements: Vec<Statement>,
}

bitflags::bitflags! {
    /// What running a statement may do.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Effects: u16 {
        /// Reads rows of a relation.
        const READ = 1;
        /// Inserts, updates, deletes, merges or truncates rows, or locks them as only a writer needs to.
        const WRITE = 1 << 1;
        /// Creates, alters or drops objects.
        const DDL = 1 << 2;
        /// Changes who may do what.
        const PRIVILEGE = 1 << 3;
        /// Changes how later statements of the session are read or run.
        const SESSION_STATE = 1 << 4;
        /// Begins, ends or marks a transaction.
        const TRANSACTION = 1 << 5;
        /// Takes a stream of rows from the client.
        const COPY_IN = 1 << 6;
        /// Sends a stream of rows to the client.
        const COPY_OUT = 1 << 7;
        /// Reads or writes files, or runs programs, on the server.
        const SERVER_FILE = 1 << 8;
        /// Runs text that is not in the statement: it may do anything.
        const OPAQUE = 1 << 9;
    }
}

/// What one statement does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The leading verb in upper case, such as `SELECT`, `DROP TABLE` or `CREATE INDEX`.
    pub verb: String,
    /// The union of what it and its parts may do.
    pub effects: Effects,
    /// The relations it names, each once, with the union of what is done to it.
    pub relations: Vec<Relation>,
    /// The columns it reads, each once, as far as the text tells.
    pub columns_read: Vec<ColumnRef>,
    /// The functions it calls, each once, in lower case as the server folds them, with their schema where the text gives one.
    pub functions: Vec<String>,
    /// False when an UPDATE or DELETE anywhere in it has no WHERE clause, or one that is a constant.
    pub has_where: bool,
    /// The name that a PREPARE gives, an EXECUTE runs, and DECLARE and FETCH have in common.
    pub handle: Option<String>,
    /// For a statement that runs a prepared one: what it may do beside that. Its `effects` are [`Effects::OPAQUE`], since the text does
    /// not tell what the other one does.
    pub runs: Option<Effects>,
    /// What the columns of its result and its conditions derive from; `None` where that takes more than is kept.
    pub lineage: Option<Lineage>,
}

/// What the columns of a result, and the conditions of a statement, may derive from, as far as its text tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The columns that the rest refers to by their index.
    pub columns: Vec<Named>,
    /// Every operator and every type of a cast in the statement: either may run a function without naming it.
    pub others: Vec<Other>,
    /// The columns of the result in order, for each arm of a UNION or its like; none where their order is not known, or if there is
    /// no result. For DECLARE and PREPARE those of the query inside.
    pub outputs: Vec<Vec<Output>>,
    /// What decides which rows there are, in which order and in which groups.
    pub conditions: Output,
}

/// A column that a text names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The schema, or empty where the text gives none.
    pub schema: String,
    /// The relation; empty where it may be any that the statement names.
    pub relation: String,
    /// The name; `*` for all columns.
    pub name: String,
    /// Whether it must be a column of a relation. Otherwise the name may be that of something else in the text.
    pub certain: bool,
}

/// What may run a function without naming it; each by its name without a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Other {
    /// An operator.
    Operator(String),
    /// A type that something is cast to.
    Type(String),
}

/// What a value may derive from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// These columns, and what these functions of the statement give, by their indexes.
    Value {
        /// Of [`Lineage::columns`].
        columns: Vec<u32>,
        /// Of [`Statement::functions`].
        functions: Vec<u32>,
        /// Of [`Lineage::others`].
        others: Vec<u32>,
    },
    /// All columns of a relation in their order, by its index in [`Statement::relations`].
    All(u32),
    /// Anything that the statement names.
    Anything,
}

impl Default for Output {
    fn default() -> Self {
        Self::Value { columns: Vec::new(), functions: Vec::new(), others: Vec::new() }
    }
}

/// A relation that a statement names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    /// The schema, or empty where the text gives none.
    pub schema: String,
    /// The name as the server folds it.
    pub name: String,
    /// What the statement does to it.
    pub effects: Effects,
}

/// A column of a relation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ColumnRef {
    /// The schema, or empty where the text does not tell.
    pub schema: String,
    /// The relation, or empty where the text does not tell.
    pub relation: String,
    /// The name; `*` for all columns.
    pub name: String,
}
