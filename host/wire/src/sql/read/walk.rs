//! The state of a walk through one statement: what was found, and which names mean what where.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{ColumnRef as Reference, Node, RangeVar};

use super::functions;
use super::lineage::{Draws, Shape, Sources};
use crate::sql::{ColumnRef, Effects, Relation, Statement};

/// Deeper trees are not walked. The parser's own limit on its protobuf is lower today.
const MAX_DEPTH: usize = 200;

/// A schema, or empty, and a name.
pub(super) type Table<'a> = (&'a str, &'a str);

/// Where the columns of a source come from.
pub(super) enum Origin<'a> {
    /// A relation with its own column names.
    Table(Table<'a>),
    /// Relations whose columns may go by other names: `t AS x (a, b)`, or an alias of a join, which may hold queries too.
    Renamed(Vec<Table<'a>>, Rc<Sources>),
    /// A query in the same statement: what its columns derive from has been found inside it.
    Query(Rc<Shape<'a>>),
    /// A function, with what it is given.
    Function(Rc<Sources>),
}

/// What a name in a FROM list stands for.
pub(super) struct Source<'a> {
    pub(super) alias: &'a str,
    pub(super) origin: Origin<'a>,
    /// Reached by its alias only, as OLD and NEW are.
    pub(super) hidden: bool,
    starred: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(alias: &'a str, origin: Origin<'a>) -> Self {
        Self { alias, origin, hidden: false, starred: false }
    }
}

/// The sources that one level of a query sees.
#[derive(Default)]
pub(super) struct Scope<'a> {
    pub(super) sources: Vec<Source<'a>>,
    by_alias: HashMap<&'a str, usize>,
    /// Columns of several sources are one, by USING or NATURAL: the order of `*` is not that of the sources.
    pub(super) merged: bool,
    /// Sources before this one are out of sight: ON sees the two sides of its join only.
    pub(super) first: usize,
    /// The visible sources that are no queries.
    candidates: Vec<usize>,
    starred: bool,
}

impl<'a> Scope<'a> {
    pub(super) fn add(&mut self, source: Source<'a>) {
        self.by_alias.insert(source.alias, self.sources.len());
        if !source.hidden && !matches!(source.origin, Origin::Query(_)) {
            self.candidates.push(self.sources.len());
        }
        self.sources.push(source);
    }

    /// Adds what is reached by its alias only, unless something else has that name.
    pub(super) fn add_hidden(&mut self, alias: &'a str, origin: Origin<'a>) {
        if !self.by_alias.contains_key(alias) {
            self.add(Source { hidden: true, ..Source::new(alias, origin) });
        }
    }
}

/// A list without duplicates, in the order in which its items were first seen.
pub(super) struct Found<T> {
    pub(super) items: Vec<T>,
    index: HashMap<T, usize>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self { items: Vec::new(), index: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Found<T> {
    pub(super) fn insert(&mut self, item: T) -> usize {
        *self.index.entry(item).or_insert_with_key(|item| {
            self.items.push(item.clone());
            self.items.len() - 1
        })
    }
}

/// Walks one statement and everything in it.
pub(super) struct Walker<'a> {
    pub(super) effects: Effects,
    pub(super) has_where: bool,
    pub(super) handle: Option<&'a str>,
    /// It runs what a name stands for.
    pub(super) runs: bool,
    /// How many references to columns were met.
    pub(super) references: usize,
    /// What is done to each relation, by its index in `tables`.
    pub(super) done: Vec<Effects>,
    pub(super) tables: Found<Table<'a>>,
    columns: Found<(Table<'a>, &'a str)>,
    functions: Found<Cow<'a, str>>,
    /// Common table expressions, by the level that defines them.
    pub(super) common: Vec<HashMap<&'a str, Rc<Shape<'a>>>>,
    pub(super) scopes: Vec<Scope<'a>>,
    pub(super) draws: Draws<'a>,
    /// The columns of the query that was walked last.
    pub(super) made: Option<Shape<'a>>,
    depth: usize,
    too_deep: bool,
}

impl<'a> Walker<'a> {
    /// The facts of a statement in a text of so many bytes; none if it is nested too deeply.
    pub(super) fn facts(statement: &'a Node, text: usize) -> Option<Statement> {
        let mut walker = Self {
            effects: Effects::empty(),
            has_where: true,
            handle: None,
            runs: false,
            references: 0,
            done: Vec::new(),
            tables: Found::default(),
            columns: Found::default(),
            functions: Found::default(),
            common: Vec::new(),
            scopes: Vec::new(),
            draws: Draws::new(text),
            made: None,
            depth: 0,
            too_deep: false,
        };
        let verb = walker.statement(statement);
        (!walker.too_deep).then(|| walker.finish(verb))
    }

    fn finish(mut self, verb: String) -> Statement {
        let lineage = self.lineage(&verb);
        let relation = |((schema, name), effects): (Table<'_>, Effects)| Relation {
            schema: schema.into(),
            name: name.into(),
            effects,
        };
        let column = |((schema, relation), name): (Table<'_>, &str)| ColumnRef {
            schema: schema.into(),
            relation: relation.into(),
            name: name.into(),
        };
        Statement {
            verb,
            effects: if self.runs { self.effects | Effects::OPAQUE } else { self.effects },
            handle: self.handle.map(Into::into),
            runs: self.runs.then_some(self.effects),
            relations: self.tables.items.into_iter().zip(self.done).map(relation).collect(),
            columns_read: self.columns.items.into_iter().map(column).collect(),
            functions: self.functions.items.into_iter().map(Cow::into_owned).collect(),
            has_where: self.has_where,
            lineage,
        }
    }

    /// Runs `visit` one level deeper, unless that is too deep.
    pub(super) fn deeper<T: Default>(&mut self, visit: impl FnOnce(&mut Self) -> T) -> T {
        if self.depth == MAX_DEPTH {
            self.too_deep = true;
            return T::default();
        }
        self.depth += 1;
        let result = visit(self);
        self.depth -= 1;
        result
    }

    /// Notes what is done to a relation.
    pub(super) fn relation(&mut self, named: &'a RangeVar, effects: Effects) -> Table<'a> {
        let table = table(named);
        self.table(table, effects);
        table
    }

    pub(super) fn table(&mut self, table: Table<'a>, effects: Effects) {
        self.effects |= effects;
        let index = self.tables.insert(table);
        if index == self.done.len() {
            self.done.push(effects);
        } else {
            self.done[index] |= effects;
        }
    }

    pub(super) fn column(&mut self, table: Table<'a>, name: &'a str) {
        self.columns.insert((table, name));
        self.draws.column(table, name, true);
    }

    /// Runs `visit` over names that need not be columns of relations.
    pub(super) fn perhaps(&mut self, visit: impl FnOnce(&mut Self)) {
        let certain = std::mem::replace(&mut self.draws.certain, false);
        visit(self);
        self.draws.certain = certain;
    }

    /// A column that may as well be one that a query in the text made.
    fn perhaps_column(&mut self, table: Table<'a>, name: &'a str) {
        self.columns.insert((table, name));
        self.draws.column(table, name, false);
    }

    /// Notes a call of a function, and what it is known to do.
    pub(super) fn function(&mut self, name: &[&'a str]) {
        let [schema @ .., last] = name else { return };
        let schema = schema.last().copied().unwrap_or_default();
        self.effects |= functions::effects(schema, last);
        let name = if name.len() == 1 { Cow::Borrowed(*last) } else { Cow::Owned(name.join(".")) };
        let index = self.functions.insert(name);
        self.draws.function(index);
    }

    /// Runs `visit` where the names of `scope` are seen, and hands the scope back.
    pub(super) fn within(&mut self, scope: Scope<'a>, visit: impl FnOnce(&mut Self)) -> Scope<'a> {
        self.scopes.push(scope);
        visit(self);
        self.scopes.pop().expect("what was pushed above")
    }

    /// Adds names for the rows of a relation to the innermost level.
    pub(super) fn name_rows(&mut self, names: &[&'a str], table: Table<'a>) {
        if let Some(scope) = self.scopes.last_mut() {
            names.iter().for_each(|name| scope.add_hidden(name, Origin::Table(table)));
        }
    }

    /// The common table expression that a name stands for.
    pub(super) fn common(&self, named: &RangeVar) -> Option<Rc<Shape<'a>>> {
        let mut levels = self.common.iter().rev();
        levels.find_map(|names| names.get(named.relname.as_str()).filter(|_| named.schemaname.is_empty()).cloned())
    }

    pub(super) fn reference(&mut self, reference: &'a Reference) {
        self.references += 1;
        let names = strings(&reference.fields);
        let star = names.len() < reference.fields.len();
        match (names.as_slice(), star) {
            ([], _) => self.every_column(),
            ([alias], true) => self.whole_row(alias),
            ([.., schema, relation], true) => self.column((schema, relation), "*"),
            ([name], false) => {
                // A name that is no column may be the whole row of a relation.
                if self.find(name).is_some() {
                    self.whole_row(name);
                    self.perhaps(|w| w.unqualified(name));
                } else {
                    self.unqualified(name);
                }
            }
            ([alias, name], false) => self.qualified(alias, name),
            ([.., schema, relation, name], false) => {
                self.column((schema, relation), name);
                if self.attribute(name) {
                    self.column((schema, relation), "*");
                }
            }
        }
    }

    /// `alias.name`, which the server also takes for `name(alias)`.
    fn qualified(&mut self, alias: &'a str, name: &'a str) {
        let takes_row = self.attribute(name);
        let Some((scope, source)) = self.find(alias) else {
            self.column(("", alias), name);
            if takes_row {
                self.column(("", alias), "*");
            }
            return;
        };
        match &self.scopes[scope].sources[source].origin {
            Origin::Table(table) => self.column(*table, name),
            Origin::Renamed(..) => self.star(scope, source),
            Origin::Query(shape) => {
                shape.draw(name, &mut self.draws);
                // What is no column may be a function of the row.
                if !shape.gives(name) {
                    if shape.is_closed() {
                        shape.draw_all(&mut self.draws);
                    }
                    self.draws.column(("", ""), name, false);
                }
            }
            Origin::Function(sources) => {
                self.draws.all(&sources.clone());
                self.perhaps_column(("", ""), name);
                self.function(&[name]);
            }
        }
        if takes_row {
            self.star(scope, source);
        }
    }

    /// Notes the name after a dot as a function if it is known as one that does something; says whether it takes rows.
    fn attribute(&mut self, name: &'a str) -> bool {
        let takes_row = functions::takes_rows(name);
        if takes_row || !functions::effects("", name).is_empty() {
            self.function(&[name]);
        }
        takes_row
    }

    /// A column that may belong to any source in sight but for queries, whose columns have been found inside them.
    pub(super) fn unqualified(&mut self, name: &'a str) {
        let certain = !self.draws.is_open() || self.draw_unqualified(name);
        let candidates = self.scopes.iter().enumerate().flat_map(|(scope, level)| {
            level.candidates.iter().filter(|source| **source >= level.first).map(move |source| (scope, *source))
        });
        // Two tell as little as more do.
        let candidates: Vec<_> = candidates.take(2).collect();
        let note = if certain { Self::column } else { Self::perhaps_column };
        match candidates.as_slice() {
            [] if self.scopes.iter().any(|level| level.sources.iter().any(|source| !source.hidden)) => {}
            [(scope, source)] => match &self.scopes[*scope].sources[*source].origin {
                Origin::Table(table) => note(self, *table, name),
                Origin::Renamed(..) => self.star(*scope, *source),
                Origin::Query(_) | Origin::Function(_) => note(self, ("", ""), name),
            },
            _ => note(self, ("", ""), name),
        }
    }

    /// Notes what a name may derive from in queries and functions; says whether it must be a column of a relation otherwise. A query whose
    /// columns have names that the text gives settles it: what has the name beside it would make the name ambiguous, and what is further
    /// out is hidden.
    fn draw_unqualified(&mut self, name: &'a str) -> bool {
        let mut certain = true;
        for scope in (0..self.scopes.len()).rev() {
            let mut settled = false;
            for source in self.scopes[scope].first..self.scopes[scope].sources.len() {
                let found = &self.scopes[scope].sources[source];
                self.draws.spend(1);
                match &found.origin {
                    _ if found.hidden => {}
                    Origin::Query(shape) => {
                        let shape = shape.clone();
                        // A column that USING makes of two is not ambiguous.
                        settled |= shape.gives(name) && !self.scopes[scope].merged;
                        certain &= shape.is_closed();
                        shape.draw(name, &mut self.draws);
                    }
                    Origin::Function(sources) => {
                        certain = false;
                        self.draws.all(&sources.clone());
                    }
                    Origin::Table(_) | Origin::Renamed(..) => {}
                }
                if self.draws.is_spent() {
                    return false;
                }
            }
            if settled {
                return false;
            }
        }
        certain
    }

    pub(super) fn find(&self, alias: &str) -> Option<(usize, usize)> {
        let found = |(scope, level): (usize, &Scope<'a>)| {
            level.by_alias.get(alias).filter(|source| **source >= level.first).map(|source| (scope, *source))
        };
        self.scopes.iter().enumerate().rev().find_map(found)
    }

    fn whole_row(&mut self, alias: &'a str) {
        match self.find(alias) {
            Some((scope, source)) => self.star(scope, source),
            None => self.column(("", alias), "*"),
        }
    }

    /// `*`: all columns of the innermost level.
    fn every_column(&mut self) {
        let Some(scope) = self.scopes.len().checked_sub(1) else { return self.column(("", ""), "*") };
        // Once is enough, unless somebody wants to know what is drawn here.
        if !std::mem::replace(&mut self.scopes[scope].starred, true) || self.draws.is_open() {
            for source in self.scopes[scope].first..self.scopes[scope].sources.len() {
                if !self.scopes[scope].sources[source].hidden {
                    self.star(scope, source);
                }
            }
        }
    }

    /// All columns of a source.
    pub(super) fn star(&mut self, scope: usize, source: usize) {
        let source = &mut self.scopes[scope].sources[source];
        // A text of a megabyte could ask a hundred thousand times for the columns of as many tables.
        if std::mem::replace(&mut source.starred, true) && !self.draws.is_open() {
            return;
        }
        let (columns, draws) = (&mut self.columns, &mut self.draws);
        let mut every = |table: Table<'a>| {
            columns.insert((table, "*"));
            draws.column(table, "*", true);
        };
        match &source.origin {
            Origin::Table(table) => every(*table),
            Origin::Renamed(tables, rest) => {
                tables.iter().for_each(|table| every(*table));
                draws.all(rest);
            }
            Origin::Query(shape) => shape.draw_all(draws),
            Origin::Function(sources) => {
                columns.insert((("", ""), "*"));
                draws.all(sources);
            }
        }
    }
}

pub(super) fn table(named: &RangeVar) -> Table<'_> {
    (&named.schemaname, &named.relname)
}

/// The strings in a list that holds a name.
pub(super) fn strings(nodes: &[Node]) -> Vec<&str> {
    fn string(node: &Node) -> Option<&str> {
        match &node.node {
            Some(NodeEnum::String(string)) => Some(&string.sval),
            _ => None,
        }
    }
    nodes.iter().filter_map(string).collect()
}
