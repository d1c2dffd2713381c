use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Column;

/// What kind of command it is; policies subscribe by these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Kind {
    /// A statement, or several in one message, for an SQL database.
    Sql,
}

impl Kind {
    /// The name that a policy's registration uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sql => "sql",
        }
    }
}

/// How far the client has gone with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The server is asked to parse, describe or bind it; nothing of it runs yet. A review verdict lets this pass,
    /// since the command is asked about again when it is to run.
    Prepare,
    /// The command is to run.
    Execute,
}

impl Phase {
    /// The name under which the audit shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Execute => "execute",
        }
    }
}

/// One command of a session: what policies are asked about, and what runs if they allow it.
#[derive(Clone, Debug)]
pub struct Command {
    /// Counts the commands of a session from 1.
    pub sequence: u64,
    /// How far the client has gone with it.
    pub phase: Phase,
    /// Its text and facts, shared by every command with the same text.
    pub statement: Arc<Statement>,
    /// The bound parameters, in order.
    pub parameters: Vec<Parameter>,
    /// The justification that goes with it, if any was given.
    pub reason: Option<Arc<str>>,
    /// Tells what its statement's conditions derive from; `None` where there is no catalogue to ask, or nobody wants to know.
    pub origins: Option<Arc<dyn Origins>>,
}

/// Tells columns by a target's catalogue.
pub trait Origins: Send + Sync + std::fmt::Debug {
    /// What decides which rows the statement finds, in which order and in which groups. One without origins that is `computed`
    /// may be anything.
    fn conditions(&self, statement: &Statement) -> Vec<Column>;
}

impl Command {
    /// The SHA-256, in hexadecimal, of a text and this command's parameters: what an approval is bound to.
    pub fn digest(&self, text: &str) -> String {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(text.as_bytes());
        for parameter in &self.parameters {
            part(&[u8::from(parameter.binary), u8::from(parameter.value.is_some())]);
            part(parameter.value.as_deref().unwrap_or_default());
        }
        crate::text::hex(&hash.finalize())
    }
}

/// A value that the client bound to a placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The bytes on the wire; `None` is SQL's NULL.
    pub value: Option<Bytes>,
    /// Whether the bytes are in the type's binary format instead of text.
    pub binary: bool,
}

impl Parameter {
    /// The value for people: `NULL`, the text, or the binary format's bytes in hexadecimal after `\x`; at most 1000 characters.
    pub fn shown(&self) -> String {
        const MOST: usize = 1000;
        let text = match &self.value {
            None => return "NULL".into(),
            Some(bytes) if self.binary => {
                format!("\\x{}", crate::text::hex(bytes.get(..MOST / 2).unwrap_or(bytes)))
            }
            Some(bytes) => String::from_utf8_lossy(bytes.get(..4 * MOST).unwrap_or(bytes)).into_owned(),
        };
        match text.char_indices().nth(MOST) {
            Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
            None => text,
        }
    }
}

/// A command's text and what the host read in it.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The kind of command.
    pub kind: Kind,
    /// The exact text that will run.
    pub text: Arc<str>,
    /// What the host read in it. Texts that differ only in literals may share it.
    pub facts: Arc<Facts>,
}

/// What the host read in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Stable across literals, white space and letter case; empty when the text could not be read.
    pub fingerprint: String,
    /// The statements in the text, in order; or why the host could not read it.
    #[serde(with = "reading")]
    pub sql: Result<Vec<SqlStatement>, String>,
}

/// How [`Facts::sql`] is written down: under names that say what it is.
mod reading {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::SqlStatement;

    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Written<'a> {
        Statements(&'a [SqlStatement]),
        Unreadable(&'a str),
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Read {
        Statements(Vec<SqlStatement>),
        Unreadable(String),
    }

    type Sql = Result<Vec<SqlStatement>, String>;

    pub(super) fn serialize<S: Serializer>(sql: &Sql, serializer: S) -> Result<S::Ok, S::Error> {
        match sql {
            Ok(statements) => Written::Statements(statements),
            Err(why) => Written::Unreadable(why),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sql, D::Error> {
        Ok(match Read::deserialize(deserializer)? {
            Read::Statements(statements) => Ok(statements),
            Read::Unreadable(why) => Err(why),
        })
    }
}

impl Statement {
    /// A text that nobody asked the facts of: it runs unread.
    pub fn unread(kind: Kind, text: &str) -> Self {
        let sql = Err("the text was not read".into());
        Self { kind, text: text.into(), facts: Arc::new(Facts { fingerprint: String::new(), sql }) }
    }

    /// The union of the effects of its statements; `OPAQUE` where it could not be read.
    pub fn effects(&self) -> Effects {
        self.facts.effects()
    }

    /// What decides which rows it finds, where there is no catalogue to ask: as the text names it, without labels.
    pub fn conditions(&self) -> Vec<Column> {
        let statements = self.facts.sql.iter().flatten();
        statements.flat_map(SqlStatement::conditions).collect()
    }
}

impl SqlStatement {
    fn conditions(&self) -> Vec<Column> {
        let Some(lineage) = &self.lineage else { return vec![Column::unknown()] };
        let Output::Value { columns, .. } = &lineage.conditions else { return vec![Column::unknown()] };
        let named = columns.iter().filter_map(|index| lineage.columns.get(*index as usize));
        let column = |named: &Named| Column {
            name: named.column.name.clone(),
            type_name: String::new(),
            computed: true,
            origins: vec![named.column.clone()],
            labels: Vec::new(),
        };
        named.map(column).collect()
    }
}

impl Facts {
    /// The union of the effects of its statements; `OPAQUE` where it could not be read.
    pub fn effects(&self) -> Effects {
        match &self.sql {
            Ok(statements) => statements.iter().fold(Effects::empty(), |all, s| all | s.effects),
            Err(_) => Effects::OPAQUE,
        }
    }
}

bitflags::bitflags! {
    /// What running a statement may do.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(transparent)]
    pub struct Effects: u16 {
        /// Reads rows of a relation.
        const READ = 1;
        /// Inserts, updates, deletes, merges or truncates rows.
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
        /// Runs text that the host cannot see: it may do anything.
        const OPAQUE = 1 << 9;
    }
}

/// One statement as the server's own grammar reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlStatement {
    /// The dialect it was read in, such as `postgres`.
    pub dialect: Cow<'static, str>,
    /// The leading verb in upper case, such as `SELECT`, `DROP TABLE` or `CREATE INDEX`.
    pub verb: String,
    /// The union of what it and its parts may do.
    pub effects: Effects,
    /// The relations it names, each with what is done to it.
    pub relations: Vec<Relation>,
    /// The columns it names, as far as the text tells.
    pub columns_read: Vec<ColumnRef>,
    /// The functions it calls, in lower case, with their schema where the text gives one.
    pub functions: Vec<String>,
    /// Whether every UPDATE or DELETE in it has a WHERE clause that is more than a constant; true when it has neither.
    pub has_where: bool,
    /// The name that a PREPARE gives, an EXECUTE runs, and DECLARE and FETCH have in common.
    #[serde(skip)]
    pub handle: Option<String>,
    /// For a statement that runs a prepared one: what it may do beside that.
    #[serde(skip)]
    pub runs: Option<Effects>,
    /// What its result and its conditions derive from. It is not written down: it is of use with the catalogue of the moment only.
    #[serde(skip)]
    pub lineage: Option<Lineage>,
}

/// What the columns of a result, and the conditions of a statement, may derive from, as far as its text tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The columns that the rest refers to by their index.
    pub columns: Vec<Named>,
    /// Every operator and every type of a cast in the statement: either may run a function without naming it.
    pub others: Vec<Other>,
    /// The columns of the result in order, for each arm of a UNION or its like; none where their order is not known.
    pub outputs: Vec<Vec<Output>>,
    /// What decides which rows there are, in which order and in which groups.
    pub conditions: Output,
}

/// A column that a text names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Empty parts are those that the text does not give; the name may be `*`.
    pub column: ColumnRef,
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
        /// Of [`SqlStatement::functions`].
        functions: Vec<u32>,
        /// Of [`Lineage::others`].
        others: Vec<u32>,
    },
    /// All columns of a relation in their order, by its index in [`SqlStatement::relations`].
    All(u32),
    /// Anything that the statement names.
    Anything,
}

impl Default for Output {
    fn default() -> Self {
        Self::Value { columns: Vec::new(), functions: Vec::new(), others: Vec::new() }
    }
}

/// A relation that a statement names. The schema is empty where the text gives none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// The schema, or empty.
    pub schema: String,
    /// The name as the server folds it.
    pub name: String,
    /// What the statement does to it.
    pub effects: Effects,
}

/// A column of a relation. The schema and relation are empty where the text or the catalogue does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ColumnRef {
    /// The schema, or empty.
    pub schema: String,
    /// The relation, or empty.
    pub relation: String,
    /// The column's name; `*` for all columns of the relation.
    pub name: String,
}
