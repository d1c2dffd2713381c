//! The facts of a command, each read from the host when the first rule asks for it.

use std::cell::OnceCell;

use portcullis_sdk::{Command, Effects, Relation, SqlStatement};

pub(crate) struct Facts<'a> {
    command: &'a Command,
    text: OnceCell<String>,
    /// None where the host could not read the command.
    pub(crate) statements: Vec<Statement>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(command: &'a Command, parsed: bool) -> Self {
        let statements = if parsed { command.sql() } else { vec![] };
        Self { command, text: OnceCell::new(), statements: statements.into_iter().map(Statement::new).collect() }
    }

    pub(crate) fn text(&self) -> &str {
        self.text.get_or_init(|| self.command.text(u32::MAX))
    }
}

pub(crate) struct Statement {
    host: SqlStatement,
    verb: OnceCell<String>,
    effects: OnceCell<Effects>,
    relations: OnceCell<Vec<Relation>>,
    functions: OnceCell<Vec<String>>,
    has_where: OnceCell<bool>,
}

impl Statement {
    fn new(host: SqlStatement) -> Self {
        Self {
            host,
            verb: OnceCell::new(),
            effects: OnceCell::new(),
            relations: OnceCell::new(),
            functions: OnceCell::new(),
            has_where: OnceCell::new(),
        }
    }

    pub(crate) fn verb(&self) -> &str {
        self.verb.get_or_init(|| self.host.verb())
    }

    pub(crate) fn effects(&self) -> Effects {
        *self.effects.get_or_init(|| self.host.effects())
    }

    pub(crate) fn relations(&self) -> &[Relation] {
        self.relations.get_or_init(|| self.host.relations())
    }

    pub(crate) fn functions(&self) -> &[String] {
        self.functions.get_or_init(|| self.host.functions())
    }

    /// Whether an UPDATE or DELETE in it has no WHERE clause. The host need not be asked about what writes nothing.
    pub(crate) fn lacks_where(&self) -> bool {
        self.effects().contains(Effects::WRITE) && !*self.has_where.get_or_init(|| self.host.has_where())
    }
}
