use std::collections::BTreeMap;

use crate::{Chunk, Column, ColumnRef, Effects, Parameter, Phase, Relation};

/// A principal's connection to a target.
#[derive(Clone, Debug, Default)]
pub struct Session {
    principal: String,
    groups: Vec<String>,
    labels: BTreeMap<String, String>,
    reason: Option<String>,
}

/// A session of this principal, in no group, to the target `app`.
pub fn session(principal: &str) -> Session {
    Session { principal: principal.to_owned(), ..Session::default() }
}

#[allow(missing_docs, reason = "wit/policy.wit documents the methods of the resource")]
impl Session {
    /// Puts the principal in these groups.
    #[must_use]
    pub fn with_groups<const N: usize>(mut self, groups: [&str; N]) -> Self {
        self.groups = groups.map(str::to_owned).to_vec();
        self
    }

    /// Gives the target a label.
    #[must_use]
    pub fn with_label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Gives the session a justification.
    #[must_use]
    pub fn with_reason(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    pub fn id(&self) -> String {
        "0190b8a4-0000-7000-8000-000000000001".to_owned()
    }

    pub fn protocol(&self) -> String {
        "postgres".to_owned()
    }

    pub fn principal(&self) -> String {
        self.principal.clone()
    }

    pub fn groups(&self) -> Vec<String> {
        self.groups.clone()
    }

    pub fn target(&self) -> String {
        "app".to_owned()
    }

    pub fn label(&self, name: &str) -> Option<String> {
        self.labels.get(name).cloned()
    }

    pub fn client_address(&self) -> String {
        "192.0.2.1".to_owned()
    }

    pub fn credential(&self) -> String {
        "scram-sha-256".to_owned()
    }

    pub fn reason(&self) -> Option<String> {
        self.reason.clone()
    }
}

/// One command.
#[derive(Clone, Debug)]
pub struct Command {
    text: String,
    phase: Phase,
    statements: Option<Vec<SqlStatement>>,
    parameters: Vec<Parameter>,
    conditions: Vec<Column>,
}

/// A command that is to run, in which the host read these statements.
pub fn sql<const N: usize>(text: &str, statements: [SqlStatement; N]) -> Command {
    Command { statements: Some(statements.to_vec()), ..unreadable(text) }
}

/// A command that the host could not read. A test that asks it for statements fails.
pub fn unreadable(text: &str) -> Command {
    Command { text: text.to_owned(), phase: Phase::Execute, statements: None, parameters: vec![], conditions: vec![] }
}

#[allow(missing_docs, reason = "wit/policy.wit documents the methods of the resource")]
impl Command {
    /// Makes it one that is only prepared.
    #[must_use]
    pub fn prepared(mut self) -> Self {
        self.phase = Phase::Prepare;
        self
    }

    /// Binds values in text format.
    #[must_use]
    pub fn with_parameters<const N: usize>(mut self, values: [&str; N]) -> Self {
        let parameter = |v: &str| Parameter { value: Some(v.as_bytes().to_vec()), binary: false };
        self.parameters = values.map(parameter).to_vec();
        self
    }

    /// Gives it conditions on these columns.
    #[must_use]
    pub fn with_conditions<const N: usize>(mut self, columns: [Column; N]) -> Self {
        self.conditions = columns.to_vec();
        self
    }

    pub fn kind(&self) -> String {
        "sql".to_owned()
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn text(&self, max_bytes: u32) -> String {
        self.text[..self.text.floor_char_boundary(max_bytes as usize)].to_owned()
    }

    pub fn fingerprint(&self) -> String {
        assert!(self.parsed(), "the policy asks for the fingerprint of a command that was not read");
        self.text.to_lowercase()
    }

    pub fn parsed(&self) -> bool {
        self.statements.is_some()
    }

    pub fn sql(&self) -> Vec<SqlStatement> {
        assert!(self.parsed(), "the policy asks for the statements of a command that was not read");
        self.statements.clone().unwrap_or_default()
    }

    pub fn parameters(&self) -> Vec<Parameter> {
        self.parameters.clone()
    }

    pub fn conditions(&self) -> Vec<Column> {
        assert!(self.parsed(), "the policy asks for the conditions of a command that was not read");
        self.conditions.clone()
    }
}

/// One statement.
#[derive(Clone, Debug)]
pub struct SqlStatement {
    verb: String,
    effects: Effects,
    relations: Vec<Relation>,
    columns: Vec<ColumnRef>,
    functions: Vec<String>,
    has_where: bool,
}

/// A statement with this verb, without effects.
pub fn statement(verb: &str) -> SqlStatement {
    let (effects, verb) = (Effects::empty(), verb.to_owned());
    SqlStatement { verb, effects, relations: vec![], columns: vec![], functions: vec![], has_where: true }
}

#[allow(missing_docs, reason = "wit/policy.wit documents the methods of the resource")]
impl SqlStatement {
    /// Adds effects.
    #[must_use]
    pub fn with_effects(mut self, effects: Effects) -> Self {
        self.effects |= effects;
        self
    }

    /// Adds a relation, `schema.name` or `name`, and its effects.
    #[must_use]
    pub fn with_relation(mut self, name: &str, effects: Effects) -> Self {
        let (schema, name) = name.split_once('.').unwrap_or(("", name));
        self.relations.push(Relation { schema: schema.to_owned(), name: name.to_owned(), effects });
        self.with_effects(effects)
    }

    /// Adds a column that it reads.
    #[must_use]
    pub fn with_column(mut self, name: &str) -> Self {
        self.columns.push(column_ref(name));
        self
    }

    /// Adds a function that it calls.
    #[must_use]
    pub fn with_function(mut self, name: &str) -> Self {
        self.functions.push(name.to_owned());
        self
    }

    /// Takes its WHERE clause away.
    #[must_use]
    pub fn without_where(mut self) -> Self {
        self.has_where = false;
        self
    }

    pub fn dialect(&self) -> String {
        "postgres".to_owned()
    }

    pub fn verb(&self) -> String {
        self.verb.clone()
    }

    pub fn effects(&self) -> Effects {
        self.effects
    }

    pub fn relations(&self) -> Vec<Relation> {
        self.relations.clone()
    }

    pub fn columns_read(&self) -> Vec<ColumnRef> {
        self.columns.clone()
    }

    pub fn functions(&self) -> Vec<String> {
        self.functions.clone()
    }

    pub fn has_where(&self) -> bool {
        self.has_where
    }
}

/// A result before its first row.
#[derive(Clone, Debug)]
pub struct ResultSet {
    columns: Vec<Column>,
}

/// A result with these columns.
pub fn result<const N: usize>(columns: [Column; N]) -> ResultSet {
    ResultSet { columns: columns.to_vec() }
}

#[allow(missing_docs, reason = "wit/policy.wit documents the methods of the resource")]
impl ResultSet {
    pub fn id(&self) -> u64 {
        1
    }

    pub fn columns(&self) -> Vec<Column> {
        self.columns.clone()
    }
}

/// A column of a result: a plain copy of its origin, `schema.relation.column`, unless that is empty.
pub fn column(name: &str, type_name: &str, origin: &str) -> Column {
    let origins = if origin.is_empty() { vec![] } else { vec![column_ref(origin)] };
    Column { name: name.to_owned(), type_name: type_name.to_owned(), computed: false, origins, labels: vec![] }
}

impl Column {
    /// Makes it one that is computed from its origins; without any, from what the host does not know.
    #[must_use]
    pub fn computed<const N: usize>(mut self, more_origins: [&str; N]) -> Self {
        self.computed = true;
        self.origins.extend(more_origins.map(column_ref));
        self
    }

    /// Gives it labels.
    #[must_use]
    pub fn with_labels<const N: usize>(mut self, labels: [&str; N]) -> Self {
        self.labels = labels.map(str::to_owned).to_vec();
        self
    }
}

fn column_ref(name: &str) -> ColumnRef {
    let mut parts = name.rsplitn(3, '.').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    let (name, relation, schema) = (next(), next(), next());
    ColumnRef { schema, relation, name }
}

/// An inspected column of a batch.
pub fn chunk<const N: usize>(column: u32, values: [Option<&str>; N]) -> Chunk {
    let mut chunk = Chunk { column, nulls: vec![0; N.div_ceil(8)], ends: vec![], data: vec![] };
    for (row, value) in values.iter().enumerate() {
        match value {
            Some(text) => chunk.data.extend_from_slice(text.as_bytes()),
            None => chunk.nulls[row / 8] |= 1 << (row % 8),
        }
        chunk.ends.push(chunk.data.len() as u32);
    }
    chunk
}
