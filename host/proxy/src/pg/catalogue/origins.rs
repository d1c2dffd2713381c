//! From which base columns the columns of a result, and the conditions of a command, may derive.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use portcullis_verdict::{
    self as verdict, Column, ColumnRef, Effects, Lineage, Named, Other, Output, SqlStatement, Statement,
};
use portcullis_wire::pg::message::Field;

use super::{Reading, Relation, View, labels_of};
use crate::pg::facts;

/// Statements whose expressions derive from nothing but the columns that their text names. An EXPLAIN shows how, not what.
const PLAIN_VERBS: [&str; 9] =
    ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "EXPLAIN", "COPY", "CREATE TABLE AS", "CREATE MATERIALIZED VIEW"];
/// Statements whose result is what their text says, column by column.
const READS: [&str; 1] = ["SELECT"];
/// The server's own functions that give back what was put elsewhere before.
const READERS: [&str; 7] = [
    "current_setting",
    "lo_get",
    "loread",
    "pg_logical_slot_get_changes",
    "pg_logical_slot_peek_changes",
    "pg_stat_get_activity",
    "pg_stat_get_backend_activity",
];

/// Views that name each other cannot exist, but a damaged catalogue must not end the gateway.
const MAX_DEPTH: usize = 64;

/// The labels that a configuration gives to columns, by pattern.
pub(crate) type Labels = [(String, Vec<String>)];

/// What a transaction has changed that the catalogue's own connection does not see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Altered {
    #[default]
    Nothing,
    /// Relations of these names.
    Relations(HashSet<String>),
    Anything,
}

impl Altered {
    /// Adds what a statement changes.
    pub(crate) fn add(&mut self, statement: &Statement) {
        for statement in statement.facts.sql.iter().flatten().filter(|s| s.effects.intersects(CHANGES)) {
            let named =
                || statement.relations.iter().filter(|r| r.effects.contains(Effects::DDL)).map(|r| r.name.clone());
            match self {
                // Functions, types and the like have no names here.
                _ if statement.effects.contains(Effects::OPAQUE) || named().next().is_none() => *self = Self::Anything,
                Self::Nothing => *self = Self::Relations(named().collect()),
                Self::Relations(names) => names.extend(named()),
                Self::Anything => {}
            }
        }
        if statement.facts.sql.is_err() {
            *self = Self::Anything;
        }
    }
}

/// What may change relations, or what is made of them.
pub(crate) const CHANGES: Effects = Effects::DDL.union(Effects::OPAQUE);

/// A reading with the labels of its target, as policies know it. Without a reading everything is unknown.
pub(crate) struct Labelled {
    pub(crate) reading: Option<Arc<Reading>>,
    pub(crate) labels: Arc<Labels>,
}

impl std::fmt::Debug for Labelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Labelled").finish_non_exhaustive()
    }
}

impl verdict::Origins for Labelled {
    fn conditions(&self, statement: &Statement) -> Vec<Column> {
        let of = |statement| match &self.reading {
            Some(reading) => reading.conditions(statement, &self.labels),
            None => vec![Column::unknown()],
        };
        statement.facts.sql.iter().flatten().flat_map(of).collect()
    }
}

impl Reading {
    /// The columns of a result, with the base columns that each may derive from; unknown where that goes through what the transaction
    /// has altered.
    pub(crate) fn columns(
        &self,
        shape: &[Field],
        statement: &Statement,
        altered: &Altered,
        labels: &Labels,
    ) -> Vec<Column> {
        let (mut named, mut outputs) = (None, None);
        let touched = self.touched(altered);
        let is_touched = |origins: &BTreeSet<ColumnRef>| {
            *altered == Altered::Anything || origins.iter().any(|origin| touched.contains(origin.relation.as_str()))
        };
        let writes = statement.effects().contains(Effects::WRITE);
        let one = |(place, field): (usize, &Field)| {
            let mut named = || named.get_or_insert_with(|| self.named_columns(statement, false)).clone();
            let origins = match (field.table, field.attribute) {
                // An expression, or a column of what the text itself makes.
                (0, _) => {
                    let outputs = outputs.get_or_insert_with(|| self.outputs(statement, shape.len()));
                    match outputs {
                        Some(outputs) => outputs.get(place).cloned().flatten(),
                        // It can derive from no other columns than those that the text names.
                        None => named(),
                    }
                }
                (table, number) => match self.origins(table, number) {
                    // What a statement returns of a row that it wrote is what it wrote there.
                    Some(own) if writes => named().map(|named| &own | &named),
                    own => own,
                },
            };
            let origins = origins.filter(|origins| !is_touched(origins));
            let plain = field.table != 0 && origins.as_ref().is_some_and(|o| o.len() == 1);
            let computed = !(plain || origins.as_ref().is_some_and(BTreeSet::is_empty));
            self.column(field.name.clone(), self.types.name(field.type_oid), computed, origins, labels)
        };
        shape.iter().enumerate().map(one).collect()
    }

    /// What decides which rows a statement finds: a column each.
    fn conditions(&self, statement: &SqlStatement, labels: &Labels) -> Vec<Column> {
        let column = |name: &str, origins: Option<BTreeSet<ColumnRef>>| {
            self.column(name.to_owned(), String::new(), true, origins, labels)
        };
        let Some(lineage) = &statement.lineage else { return vec![Column::unknown()] };
        let Output::Value { columns, functions, others } = &lineage.conditions else { return vec![Column::unknown()] };
        let plain = self.are_plain(statement, functions)
            && self.cast_nothing_own(lineage, others)
            && !statement.effects.contains(Effects::OPAQUE);
        if !(plain && self.knows_relations(statement)) {
            return vec![Column::unknown()];
        }
        let one = |named: &Named| {
            let mut found = BTreeSet::new();
            let known = self.add_named(named, statement, &mut found, 0);
            (!known || !found.is_empty()).then(|| column(&named.column.name, known.then_some(found)))
        };
        columns.iter().filter_map(|index| lineage.columns.get(*index as usize)).filter_map(one).collect()
    }

    /// The columns whose values a statement may bring to the client by other ways than a result, each by itself. With `whole_rows`
    /// that is every column of the relations that it names, else those that it names.
    pub(crate) fn carried_columns(&self, statement: &Statement, labels: &Labels, whole_rows: bool) -> Vec<Column> {
        let text = || "text".to_owned();
        let Some(named) = self.named_columns(statement, whole_rows) else { return vec![Column::unknown()] };
        let column =
            |origin: ColumnRef| self.column(origin.name.clone(), text(), false, Some(BTreeSet::from([origin])), labels);
        named.into_iter().map(column).collect()
    }

    fn column(
        &self,
        name: String,
        type_name: String,
        computed: bool,
        origins: Option<BTreeSet<ColumnRef>>,
        labels: &Labels,
    ) -> Column {
        let origins: Vec<ColumnRef> = origins.unwrap_or_default().into_iter().collect();
        let labels = labels_of(labels, &origins);
        Column { name, type_name, computed, origins, labels }
    }

    /// What each column of a result of so many columns derives from by the text; `None` where that tells of no result with so many.
    fn outputs(&self, statement: &Statement, width: usize) -> Option<Vec<Option<BTreeSet<ColumnRef>>>> {
        let statements = statement.facts.sql.as_ref().ok()?;
        // Of several it is not known whose result this is.
        let mut telling = statements.iter().filter(|s| !is_silent(s));
        let (Some(statement), None) = (telling.next(), telling.next()) else { return None };
        if !READS.contains(&statement.verb.as_str()) || statement.effects.intersects(Effects::OPAQUE | Effects::WRITE) {
            return None;
        }
        let mut outputs = vec![Some(BTreeSet::new()); width];
        self.add_outputs(statement, &mut outputs, 0).then_some(outputs)
    }

    /// Adds to each column what it derives from; false if the text tells of another number of columns.
    fn add_outputs(&self, statement: &SqlStatement, outputs: &mut [Option<BTreeSet<ColumnRef>>], depth: usize) -> bool {
        let Some(lineage) = statement.lineage.as_ref().filter(|lineage| !lineage.outputs.is_empty()) else {
            return false;
        };
        let knows_relations = self.knows_relations(statement);
        for arm in &lineage.outputs {
            let mut places = outputs.iter_mut();
            for output in arm {
                match output {
                    Output::All(relation) => {
                        let Some(columns) = self.all_columns(statement, *relation) else { return false };
                        for (oid, number) in columns {
                            let Some(place) = places.next() else { return false };
                            let known = knows_relations
                                && place.as_mut().is_some_and(|found| self.add_origins(oid, number, found, depth + 1));
                            if !known {
                                *place = None;
                            }
                        }
                    }
                    value => {
                        let Some(place) = places.next() else { return false };
                        let known = knows_relations
                            && place
                                .as_mut()
                                .is_some_and(|found| self.add_output(value, lineage, statement, found, depth));
                        if !known {
                            *place = None;
                        }
                    }
                }
            }
            if places.next().is_some() {
                return false;
            }
        }
        true
    }

    fn add_output(
        &self,
        output: &Output,
        lineage: &Lineage,
        statement: &SqlStatement,
        found: &mut BTreeSet<ColumnRef>,
        depth: usize,
    ) -> bool {
        let Output::Value { columns, functions, others } = output else { return false };
        let mut named = columns.iter().map(|index| lineage.columns.get(*index as usize));
        self.are_plain(statement, functions)
            && self.cast_nothing_own(lineage, others)
            && named.all(|named| named.is_some_and(|named| self.add_named(named, statement, found, depth)))
    }

    /// The columns of `relation.*`, if it can be only one relation.
    fn all_columns(&self, statement: &SqlStatement, relation: u32) -> Option<Vec<(u32, i16)>> {
        let named = statement.relations.get(relation as usize)?;
        let mut oids = self.oids(&named.schema, &named.name);
        let (oid, relation) = oids.next()?;
        if oids.next().is_some() {
            return None;
        }
        Some(relation.columns.keys().filter(|number| **number > 0).map(|number| (oid, *number)).collect())
    }

    fn oids<'a>(&'a self, schema: &'a str, name: &str) -> impl Iterator<Item = (u32, &'a Relation)> {
        let oids = self.by_name.get(name).into_iter().flatten();
        let known = oids.filter_map(|oid| Some((*oid, self.relations.get(oid)?)));
        known.filter(move |(_, relation)| schema.is_empty() || relation.schema == schema)
    }

    fn knows_relations(&self, statement: &SqlStatement) -> bool {
        // One of the name in another schema says nothing about this one.
        let is_known = |named: &verdict::Relation| self.oids(&named.schema, &named.name).next().is_some();
        // What the statement makes is not there yet.
        statement.relations.iter().all(|named| named.effects.contains(Effects::DDL) || is_known(named))
    }

    /// Whether these functions of a statement give nothing but what they are given.
    fn are_plain(&self, statement: &SqlStatement, functions: &[u32]) -> bool {
        let mut named = functions.iter().map(|index| statement.functions.get(*index as usize));
        named.all(|name| name.is_some_and(|name| !self.is_foreign(name)))
    }

    /// Whether these operators and casts give nothing but what they are given.
    fn cast_nothing_own(&self, lineage: &Lineage, others: &[u32]) -> bool {
        let mut named = others.iter().map(|index| lineage.others.get(*index as usize));
        named.all(|other| other.is_some_and(|other| !self.is_own(other)))
    }

    fn is_own(&self, other: &Other) -> bool {
        match other {
            Other::Operator(name) => self.operators.contains(name),
            Other::Type(name) => self.casts.contains(name),
        }
    }

    /// The names of relations that are not what they were, and of those that have their rows.
    fn touched<'a>(&'a self, altered: &'a Altered) -> HashSet<&'a str> {
        let Altered::Relations(names) = altered else { return HashSet::new() };
        let mut touched: HashSet<&str> = names.iter().map(String::as_str).collect();
        let mut above: Vec<u32> = names.iter().flat_map(|name| self.by_name.get(name)).flatten().copied().collect();
        while let Some(relation) = above.pop().and_then(|oid| self.relations.get(&oid)) {
            for parent in &relation.parents {
                if self.relations.get(parent).is_some_and(|parent| touched.insert(&parent.name)) {
                    above.push(*parent);
                }
            }
        }
        touched
    }

    fn is_foreign(&self, name: &str) -> bool {
        let (schema, name) = name.rsplit_once('.').unwrap_or(("", name));
        READERS.contains(&name) || schema != "pg_catalog" && self.functions.contains(name)
    }

    /// Adds the columns that a name in a statement may stand for, and what those derive from; false if that is unknown.
    fn add_named(
        &self,
        named: &Named,
        statement: &SqlStatement,
        found: &mut BTreeSet<ColumnRef>,
        depth: usize,
    ) -> bool {
        let ColumnRef { schema, relation, name } = &named.column;
        let all = statement.relations.iter().map(|r| (r.schema.as_str(), r.name.as_str()));
        let one = (!relation.is_empty()).then_some((schema.as_str(), relation.as_str()));
        let (mut exists, mut missing) = (false, false);
        for (schema, relation) in one.into_iter().chain(all.filter(|_| one.is_none())) {
            for (oid, relation) in self.oids(schema, relation) {
                let mut here = name == "*";
                for number in
                    relation.columns.iter().filter(|(_, column)| name == "*" || *column == name).map(|(n, _)| *n)
                {
                    here = true;
                    if !self.add_origins(oid, number, found, depth + 1) {
                        return false;
                    }
                }
                exists |= here;
                missing |= !here;
            }
        }
        // What is no column may be `row.function`, which the server takes for `function(row)`, or a column that a transaction has just made.
        let is_function = (missing || !exists) && self.functions.contains(name);
        !is_function && (exists || !named.certain)
    }

    /// The column itself, and if it is a view's, the base columns that it derives from. `None` is unknown.
    pub(super) fn origins(&self, table: u32, number: i16) -> Option<BTreeSet<ColumnRef>> {
        let mut found = BTreeSet::new();
        self.add_origins(table, number, &mut found, 0).then_some(found)
    }

    fn add_origins(&self, table: u32, number: i16, found: &mut BTreeSet<ColumnRef>, depth: usize) -> bool {
        let Some(relation) = self.relations.get(&table).filter(|_| depth < MAX_DEPTH) else { return false };
        let Some(name) = relation.columns.get(&number) else {
            // A whole row.
            let mut numbers = relation.columns.keys();
            return number == 0 && numbers.all(|number| self.add_origins(table, *number, found, depth + 1));
        };
        if !found.insert(relation.reference(name)) {
            // What it derives from has been added with it.
            return true;
        }
        self.add_kin(relation, name, found);
        let mut sources = relation.generated.iter().filter(|(made, _)| *made == number);
        if !sources.all(|(_, source)| self.add_origins(table, *source, found, depth + 1)) {
            return false;
        }
        relation.view.as_ref().is_none_or(|view| self.add_view(view, relation, number, found, depth))
    }

    /// Rows of a partition or child are rows of its parents too, and the other way round; of children those that have labels count.
    fn add_kin(&self, relation: &Relation, name: &str, found: &mut BTreeSet<ColumnRef>) {
        for parent in relation.parents.iter().filter_map(|oid| self.relations.get(oid)) {
            if parent.columns.values().any(|column| column == name) && found.insert(parent.reference(name)) {
                self.add_kin(parent, name, found);
            }
        }
        let children = relation.labelled_children.iter().filter(|(_, column)| **column == *name);
        let children = children.filter_map(|(oid, _)| self.relations.get(oid));
        found.extend(children.map(|child| child.reference(name)));
    }

    /// Adds what a column of a view derives from: by the view's definition, or else everything that the definition names.
    fn add_view(
        &self,
        view: &View,
        relation: &Relation,
        number: i16,
        found: &mut BTreeSet<ColumnRef>,
        depth: usize,
    ) -> bool {
        let names_what_is_opaque = |s: &SqlStatement| {
            let own = |lineage: &Lineage| lineage.others.iter().any(|other| self.is_own(other));
            s.functions.iter().any(|name| self.is_foreign(name)) || s.lineage.as_ref().is_some_and(own)
        };
        if let Some(statement) = view.statement().filter(|s| !view.opaque || names_what_is_opaque(s)) {
            let mut outputs = vec![Some(BTreeSet::new()); relation.columns.range(1..).count()];
            if self.add_outputs(statement, &mut outputs, depth + 1) {
                let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
                let output = place.and_then(|place| outputs.get_mut(place)?.take());
                return output.map(|output| found.extend(output)).is_some();
            }
        }
        !view.opaque && view.sources.iter().all(|(t, n)| self.add_origins(*t, *n, found, depth + 1))
    }

    /// Every base column that a statement's text names, whatever relation of it the name belongs to, or every column of its relations.
    /// `None` is unknown.
    fn named_columns(&self, statement: &Statement, whole_rows: bool) -> Option<BTreeSet<ColumnRef>> {
        let statements = statement.facts.sql.as_ref().ok()?;
        // What a cursor, a setting or a function of somebody's reads is not in the text.
        let is_unknown = |s: &SqlStatement| {
            // The name of a setting of the server's own has no dot.
            let shows = s.verb == "SHOW" && !statement.text.contains('.');
            let plain = (shows || is_silent(s) || PLAIN_VERBS.contains(&s.verb.as_str()))
                && !s.effects.contains(Effects::OPAQUE);
            let runs_own =
                s.lineage.as_ref().is_none_or(|lineage| lineage.others.iter().any(|other| self.is_own(other)));
            !plain || runs_own || !self.knows_relations(s) || s.functions.iter().any(|name| self.is_foreign(name))
        };
        if statements.iter().any(is_unknown) {
            return None;
        }
        let mut found = BTreeSet::new();
        for relation in statements.iter().flat_map(|s| &s.relations) {
            for (oid, known) in self.oids(&relation.schema, &relation.name) {
                for (number, name) in &known.columns {
                    let is_named = |c: &ColumnRef| c.name == "*" || c.name == *name;
                    if (whole_rows || statements.iter().flat_map(|s| &s.columns_read).any(is_named))
                        && !self.add_origins(oid, *number, &mut found, 0)
                    {
                        return None;
                    }
                }
            }
        }
        Some(found)
    }
}

/// Whether a statement has no result, and brings no data anywhere: it is about the transaction, the session or a name.
fn is_silent(statement: &SqlStatement) -> bool {
    const VERBS: [&str; 9] = ["CLOSE", "DEALLOCATE", "DISCARD", "LISTEN", "LOCK", "NOTIFY", "RESET", "SET", "UNLISTEN"];
    statement.effects == Effects::TRANSACTION || VERBS.contains(&statement.verb.as_str())
}

impl Relation {
    pub(super) fn reference(&self, name: &str) -> ColumnRef {
        ColumnRef { schema: self.schema.clone(), relation: self.name.clone(), name: name.to_owned() }
    }
}

impl View {
    /// Its definition, as a statement.
    fn statement(&self) -> Option<&SqlStatement> {
        let read = || {
            let facts = facts::read(self.definition.as_deref()?);
            facts.sql.ok()?.pop().map(Box::new)
        };
        self.read.get_or_init(read).as_deref()
    }
}
