//! Which columns of relations the columns of a query may derive from, as far as the text tells.
//!
//! The walk meets every reference to a column anyway. Here it is noted for which column of the result, if any, it was met, and what the
//! columns of a query inside another one are made from. Names that only the catalogue can tell apart are noted as what they may be.

use std::collections::BTreeSet;
use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ResTarget, SelectStmt};

use super::walk::{Found, Origin, Table, Walker, strings};
use crate::sql::{Lineage, Named, Output};

/// How many columns and functions may be noted for all columns of all queries of a text of so many bytes. One that needs more, such as
/// one that multiplies wide queries, has no lineage.
fn budget(text: usize) -> usize {
    1024 + 4 * text
}

/// What a value may derive from: columns and functions, by their places in the statement's lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    columns: BTreeSet<u32>,
    functions: BTreeSet<u32>,
    others: BTreeSet<u32>,
    /// Or anything that the statement names.
    anything: bool,
}

impl Sources {
    pub(super) fn anything() -> Self {
        Self { anything: true, ..Self::default() }
    }

    fn add(&mut self, from: &Self) {
        self.columns.extend(&from.columns);
        self.functions.extend(&from.functions);
        self.others.extend(&from.others);
        self.anything |= from.anything;
    }
}

/// What may run a function without naming it.
#[derive(Clone, Copy)]
pub(super) enum Other<'n, 'a> {
    /// An operator, by its name.
    Operator(&'n [&'a str]),
    /// A cast to a type.
    Type(&'n [&'a str]),
}

/// A column of a relation, and whether it must be one: else the name may be that of something that a query in the text made.
type Column<'a> = (Table<'a>, &'a str, bool);

/// Notes what is drawn from while a column of a result, or a condition, is walked.
pub(super) struct Draws<'a> {
    columns: Found<Column<'a>>,
    /// All operators and types of casts in the text, and whether each is an operator.
    others: Found<(bool, &'a str)>,
    /// The expressions that are being walked, the innermost last.
    open: Vec<Sources>,
    conditions: Sources,
    /// How many conditions the walk is inside of.
    conditional: usize,
    /// Whether a name that is read as a column must be one of a relation.
    pub(super) certain: bool,
    budget: usize,
}

impl<'a> Draws<'a> {
    /// For a text of so many bytes.
    pub(super) fn new(text: usize) -> Self {
        Self {
            columns: Found::default(),
            others: Found::default(),
            open: Vec::new(),
            conditions: Sources::default(),
            conditional: 0,
            certain: true,
            budget: budget(text),
        }
    }

    /// Whether anybody wants to know.
    pub(super) fn is_open(&self) -> bool {
        self.budget > 0 && (self.conditional > 0 || !self.open.is_empty())
    }

    pub(super) fn is_spent(&self) -> bool {
        self.budget == 0
    }

    pub(super) fn spend(&mut self, cost: usize) {
        self.budget = self.budget.saturating_sub(cost);
    }

    pub(super) fn column(&mut self, table: Table<'a>, name: &'a str, certain: bool) {
        if self.is_open() {
            let column = self.columns.insert((table, name, certain && self.certain)) as u32;
            self.each(1, |sources| _ = sources.columns.insert(column));
        }
    }

    pub(super) fn function(&mut self, index: usize) {
        if self.is_open() {
            self.each(1, |sources| _ = sources.functions.insert(index as u32));
        }
    }

    fn other(&mut self, is_operator: bool, name: &'a str) {
        let other = self.others.insert((is_operator, name)) as u32;
        if self.is_open() {
            self.each(1, |sources| _ = sources.others.insert(other));
        }
    }

    pub(super) fn all(&mut self, from: &Sources) {
        if self.is_open() {
            let cost = 1 + from.columns.len() + from.functions.len() + from.others.len();
            self.each(cost, |sources| sources.add(from));
        }
    }

    fn each(&mut self, cost: usize, mut note: impl FnMut(&mut Sources)) {
        self.spend(cost);
        self.open.last_mut().into_iter().for_each(&mut note);
        if self.conditional > 0 {
            note(&mut self.conditions);
        }
    }
}

/// A column of a query, or all columns of a relation.
#[derive(Clone, Debug)]
enum Made<'a> {
    /// Without a name it may have any.
    Value(Option<&'a str>, Rc<Sources>),
    All(Table<'a>),
}

/// The columns of a query.
#[derive(Clone, Debug)]
pub(super) struct Shape<'a> {
    /// Those that are known, for each arm of a UNION or its like.
    arms: Vec<Vec<Made<'a>>>,
    /// What others may derive from, if there may be others; the places of the known ones are not known then.
    rest: Option<Rc<Sources>>,
}

impl<'a> Shape<'a> {
    pub(super) fn unknown() -> Self {
        Self::unordered(Sources::anything())
    }

    pub(super) fn unordered(rest: Sources) -> Self {
        Self { arms: Vec::new(), rest: Some(Rc::new(rest)) }
    }

    /// Whether the text gives one of the columns this name.
    pub(super) fn gives(&self, name: &str) -> bool {
        matches!(&self.arms[..], [arm] if arm.iter().any(|made| matches!(made, Made::Value(Some(given), _) if *given == name)))
    }

    /// Whether there are no other columns than those that are known.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Whether every name of a column is in the text.
    pub(super) fn is_closed(&self) -> bool {
        let named = |made: &Made<'_>| matches!(made, Made::Value(Some(_), _));
        self.rest.is_none() && matches!(&self.arms[..], [arm] if arm.iter().all(named))
    }

    /// Notes what the columns that may have this name derive from.
    pub(super) fn draw(&self, name: &'a str, draws: &mut Draws<'a>) {
        if !draws.is_open() {
            return;
        }
        let [arm] = &self.arms[..] else { return self.draw_all(draws) };
        for made in arm {
            match made {
                Made::Value(given, from) if given.is_none_or(|given| given == name) => draws.all(from),
                Made::Value(..) => draws.spend(1),
                Made::All(table) => draws.column(*table, name, false),
            }
        }
        self.rest.iter().for_each(|rest| draws.all(rest));
    }

    pub(super) fn draw_all(&self, draws: &mut Draws<'a>) {
        if !draws.is_open() {
            return;
        }
        for made in self.arms.iter().flatten() {
            match made {
                Made::Value(_, from) => draws.all(from),
                Made::All(table) => draws.column(*table, "*", true),
            }
        }
        self.rest.iter().for_each(|rest| draws.all(rest));
    }

    /// The same columns with other names, the first ones first. Where places are not known, any column may have any name.
    pub(super) fn renamed(mut self, names: &[&'a str], walker: &mut Walker<'a>) -> Self {
        if names.is_empty() {
            return self;
        }
        let places = match &mut self.arms[..] {
            [arm] if self.rest.is_none() => arm.get_mut(..names.len()),
            _ => None,
        };
        match places {
            Some(places) if places.iter().all(|made| matches!(made, Made::Value(..))) => {
                for (made, name) in places.iter_mut().zip(names) {
                    if let Made::Value(given, _) = made {
                        *given = Some(name);
                    }
                }
                self
            }
            _ => Self::unordered(walker.drawn(|w| self.draw_all(&mut w.draws))),
        }
    }

    /// What a query is made of whose rows are those of several: column by column, where the text tells how many there are.
    fn union(mut self, other: Self, walker: &mut Walker<'a>) -> Self {
        let values = |shape: &Self| {
            let value = |made: &Made<'_>| matches!(made, Made::Value(..));
            shape.rest.is_none() && matches!(&shape.arms[..], [arm] if arm.iter().all(value))
        };
        if values(&self) && values(&other) && self.arms[0].len() == other.arms[0].len() {
            for (made, beside) in self.arms[0].iter_mut().zip(&other.arms[0]) {
                if let (Made::Value(_, from), Made::Value(_, more)) = (made, beside) {
                    *from = Rc::new(walker.drawn(|w| {
                        w.draws.all(from);
                        w.draws.all(more);
                    }));
                }
            }
        } else {
            self.arms.extend(other.arms);
            self.rest = self.rest.or(other.rest);
        }
        self
    }
}

impl<'a> Walker<'a> {
    /// What `visit` draws from. What is around it draws from that too.
    pub(super) fn drawn(&mut self, visit: impl FnOnce(&mut Self)) -> Sources {
        self.draws.open.push(Sources::default());
        visit(self);
        let drawn = self.draws.open.pop().unwrap_or_default();
        if let Some(around) = self.draws.open.last_mut() {
            around.add(&drawn);
        }
        drawn
    }

    /// Runs `visit` over what the expressions around it show nothing of.
    pub(super) fn apart(&mut self, visit: impl FnOnce(&mut Self)) {
        let open = std::mem::take(&mut self.draws.open);
        visit(self);
        self.draws.open = open;
    }

    /// Notes an operator or a cast. The last part of its name is what it is known by.
    pub(super) fn other(&mut self, other: Other<'_, 'a>) {
        let (is_operator, name) = match other {
            Other::Operator(name) => (true, name.last()),
            Other::Type(name) => (false, name.last()),
        };
        if let Some(name) = name {
            self.draws.other(is_operator, name);
        }
    }

    /// Runs `visit` over what decides which rows there are, in which order and in which groups.
    pub(super) fn condition_on(&mut self, visit: impl FnOnce(&mut Self)) {
        self.draws.conditional += 1;
        visit(self);
        self.draws.conditional -= 1;
    }

    /// Walks a query inside a statement, and hands over its columns.
    pub(super) fn query(&mut self, query: &'a Option<Box<Node>>) -> Shape<'a> {
        self.made = None;
        self.inner(query);
        self.made.take().unwrap_or_else(Shape::unknown)
    }

    /// The columns of a SELECT, whose arms are these if it is a UNION or its like.
    pub(super) fn shape(&mut self, select: &'a SelectStmt, arms: Vec<Shape<'a>>) -> Shape<'a> {
        let mut arms = arms.into_iter();
        if let Some(first) = arms.next() {
            return arms.fold(first, |all, arm| all.union(arm, self));
        }
        if !select.values_lists.is_empty() {
            return self.values(&select.values_lists);
        }
        // What windows with a name sort by is part of each value that they give.
        let windows = self.drawn(|w| w.each(&select.window_clause));
        let mut shape = Shape { arms: vec![Vec::new()], rest: None };
        for item in &select.target_list {
            self.output(item, &windows, &mut shape);
        }
        shape
    }

    /// The rows of a VALUES list, column by column.
    fn values(&mut self, rows: &'a [Node]) -> Shape<'a> {
        let mut columns: Vec<Sources> = Vec::new();
        for row in rows {
            let Some(NodeEnum::List(row)) = &row.node else { return Shape::unknown() };
            columns.resize_with(columns.len().max(row.items.len()), Sources::default);
            for (item, column) in row.items.iter().zip(&mut columns) {
                column.add(&self.drawn(|w| w.node(item)));
            }
        }
        let made = columns.into_iter().map(|from| Made::Value(None, Rc::new(from)));
        Shape { arms: vec![made.collect()], rest: None }
    }

    /// An item of a select list.
    fn output(&mut self, item: &'a Node, windows: &Sources, shape: &mut Shape<'a>) {
        let from = self.drawn(|w| {
            w.node(item);
            w.draws.all(windows);
        });
        // What is made of it from here on is not kept.
        if self.draws.is_spent() {
            return;
        }
        let Some(NodeEnum::ResTarget(target)) = &item.node else { return shape.add_rest(from) };
        match target.val.as_ref().and_then(|value| value.node.as_ref()) {
            Some(NodeEnum::ColumnRef(reference)) if strings(&reference.fields).len() < reference.fields.len() => {
                self.starred(&strings(&reference.fields), from, shape);
            }
            // `(row).*` has as many columns as the row.
            Some(NodeEnum::AIndirection(e))
                if e.indirection.iter().any(|step| matches!(step.node, Some(NodeEnum::AStar(_)))) =>
            {
                shape.add_rest(from);
            }
            _ => shape.add(Made::Value(name_of(target), Rc::new(from))),
        }
    }

    /// `*`, `alias.*` or `schema.relation.*`.
    fn starred(&mut self, qualifier: &[&'a str], from: Sources, shape: &mut Shape<'a>) {
        let Some(innermost) = self.scopes.len().checked_sub(1) else { return shape.add_rest(from) };
        match qualifier {
            [] if self.scopes[innermost].merged => shape.add_rest(from),
            [] => {
                for source in 0..self.scopes[innermost].sources.len() {
                    if !self.scopes[innermost].sources[source].hidden {
                        self.expand((innermost, source), shape);
                    }
                }
            }
            [alias] => match self.find(alias) {
                Some(place) => self.expand(place, shape),
                None => shape.add_rest(from),
            },
            [.., schema, relation] => shape.add(Made::All((schema, relation))),
        }
    }

    /// All columns of a source, in their order where that is known.
    fn expand(&mut self, (scope, source): (usize, usize), shape: &mut Shape<'a>) {
        self.draws.spend(1);
        let whole = |w: &mut Self| w.drawn(|w| w.star(scope, source));
        match &self.scopes[scope].sources[source].origin {
            Origin::Table(table) => shape.add(Made::All(*table)),
            Origin::Query(query) => {
                let query = query.clone();
                self.draws.spend(query.arms.iter().map(Vec::len).sum());
                match &query.arms[..] {
                    [arm] if query.rest.is_none() && !self.draws.is_spent() => {
                        arm.iter().for_each(|made| shape.add(made.clone()))
                    }
                    _ => shape.add_rest(whole(self)),
                }
            }
            Origin::Renamed(..) | Origin::Function(_) => shape.add_rest(whole(self)),
        }
    }

    /// What the statement's text tells of its result.
    pub(super) fn lineage(&mut self, verb: &str) -> Option<Lineage> {
        let draws = std::mem::replace(&mut self.draws, Draws::new(0));
        if draws.is_spent() {
            return None;
        }
        let lists = |sources: &Sources| match sources.anything {
            true => Output::Anything,
            false => Output::Value {
                columns: sources.columns.iter().copied().collect(),
                functions: sources.functions.iter().copied().collect(),
                others: sources.others.iter().copied().collect(),
            },
        };
        // Other statements have no result, or one that is made of more than what they name.
        let shape = self.made.take().filter(|_| ["SELECT", "DECLARE", "PREPARE"].contains(&verb));
        let mut outputs = Vec::new();
        if let Some(Shape { arms, rest: None }) = shape {
            for arm in arms {
                let output = |made| match made {
                    Made::Value(_, from) => lists(&from),
                    Made::All(table) => Output::All(self.tables.insert(table) as u32),
                };
                outputs.push(arm.into_iter().map(output).collect());
            }
        }
        let named = |((schema, relation), name, certain): Column<'_>| Named {
            schema: schema.into(),
            relation: relation.into(),
            name: name.into(),
            certain,
        };
        let conditions = lists(&draws.conditions);
        let other = |(is_operator, name): (bool, &str)| match is_operator {
            true => crate::sql::Other::Operator(name.into()),
            false => crate::sql::Other::Type(name.into()),
        };
        Some(Lineage {
            columns: draws.columns.items.into_iter().map(named).collect(),
            others: draws.others.items.into_iter().map(other).collect(),
            outputs,
            conditions,
        })
    }
}

impl<'a> Shape<'a> {
    fn add(&mut self, made: Made<'a>) {
        self.arms.last_mut().into_iter().for_each(|arm| arm.push(made.clone()));
    }

    fn add_rest(&mut self, from: Sources) {
        Rc::make_mut(self.rest.get_or_insert_default()).add(&from);
    }
}

/// The name that a select list gives to a column; none where the server makes one up.
fn name_of(target: &ResTarget) -> Option<&str> {
    if !target.name.is_empty() {
        return Some(&target.name);
    }
    match target.val.as_ref()?.node.as_ref()? {
        NodeEnum::ColumnRef(reference) => strings(&reference.fields).last().copied(),
        _ => None,
    }
}
