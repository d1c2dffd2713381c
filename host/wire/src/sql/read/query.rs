//! SELECT, INSERT, UPDATE, DELETE, MERGE, and what they read from.

use std::collections::{HashMap, HashSet};
use std::mem::take;
use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExprKind, Alias, BoolExprType, CmdType, CommonTableExpr, DeleteStmt, InsertStmt, JoinExpr, LockingClause,
    MergeStmt, Node, OnConflictClause, RangeFunction, RangeVar, ReturningClause, SelectStmt, SetOperation, UpdateStmt,
    WithClause,
};

use super::lineage::{Shape, Sources};
use super::walk::{Origin, Scope, Source, Walker, strings, table};
use crate::sql::Effects;

impl<'a> Walker<'a> {
    /// Runs `visit` where the names that a WITH clause defines are seen.
    fn with(&mut self, with: Option<&'a WithClause>, visit: impl FnOnce(&mut Self)) {
        let Some(with) = with else { return visit(self) };
        let tables = || with.ctes.iter().filter_map(common_table);
        // Without RECURSIVE a query sees only what stands before it: `WITH t AS (SELECT * FROM t) …` reads the relation t.
        let mut all = HashMap::new();
        if with.recursive {
            all.extend(tables().map(|table| (table.ctename.as_str(), Rc::new(Shape::unknown()))));
        }
        self.common.push(all);
        for table in tables() {
            let shape = self.common_shape(table, with.recursive);
            if let Some(names) = self.common.last_mut() {
                names.insert(&table.ctename, Rc::new(shape));
            }
        }
        visit(self);
        self.common.pop();
    }

    fn common_shape(&mut self, table: &'a CommonTableExpr, recursive: bool) -> Shape<'a> {
        if !recursive {
            return self.query(&table.ctequery).renamed(&strings(&table.aliascolnames), self);
        }
        // What it reads of itself, any of its columns may have brought there.
        if let Some(names) = self.common.last_mut() {
            names.insert(&table.ctename, Rc::new(Shape::unordered(Sources::default())));
        }
        let mut shape = None;
        let sources = self.drawn(|w| {
            shape = Some(w.query(&table.ctequery));
            if let Some(cycle) = &table.cycle_clause {
                w.maybe(&cycle.cycle_mark_value);
                w.maybe(&cycle.cycle_mark_default);
            }
        });
        // How often it goes on is for any of them to say.
        self.condition_on(|w| w.draws.all(&sources));
        match shape {
            Some(shape) if shape.is_whole() => Shape::unordered(self.drawn(|w| shape.draw_all(&mut w.draws))),
            _ => Shape::unordered(sources),
        }
    }

    pub(super) fn select(&mut self, select: &'a SelectStmt) {
        self.deeper(|w| w.with(select.with_clause.as_ref(), |w| w.select_body(select)));
    }

    fn select_body(&mut self, select: &'a SelectStmt) {
        if let Some(into) = &select.into_clause {
            self.into(into);
        }
        let mut scope = Scope::default();
        let mut arms = Vec::new();
        for arm in [&select.larg, &select.rarg].into_iter().flatten() {
            self.made = None;
            self.select(arm);
            arms.push(self.made.take().unwrap_or_else(Shape::unknown));
        }
        for item in &select.from_clause {
            self.source_item(item, &mut scope);
        }
        for lock in &select.locking_clause {
            if let Some(NodeEnum::LockingClause(lock)) = &lock.node {
                self.lock_rows(lock, &scope);
            }
        }
        let is_union = !arms.is_empty();
        let mut made = Shape::unknown();
        scope = self.within(scope, |w| made = w.shape(select, arms));
        if is_union {
            // What follows the arms names their columns.
            scope.add(Source::new("", Origin::Query(Rc::new(made.clone()))));
        }
        self.within(scope, |w| {
            w.condition_on(|w| {
                // Rows that are alike are one, or are taken away.
                if is_union && !(select.op() == SetOperation::SetopUnion && select.all) {
                    made.draw_all(&mut w.draws);
                }
                w.ordered(&select.distinct_clause, select, &made, true);
                w.maybe(&select.where_clause);
                w.ordered(&select.group_clause, select, &made, true);
                w.maybe(&select.having_clause);
                w.ordered(&select.sort_clause, select, &made, false);
                w.maybe(&select.limit_offset);
                w.maybe(&select.limit_count);
            });
        });
        self.made = Some(made);
    }

    /// What rows are sorted or grouped by. A bare name that the select list gives to a column of the result is that column in ORDER
    /// BY, and may be in GROUP BY; a number may be any of them, since no fact depends on which number it is.
    fn ordered(&mut self, by: &'a [Node], select: &'a SelectStmt, made: &Shape<'a>, both: bool) {
        if by.is_empty() {
            return;
        }
        let given: HashSet<&str> = select.target_list.iter().filter_map(given_name).collect();
        for item in by {
            if self.draws.is_spent() {
                self.node(item);
                continue;
            }
            match sorted_name(item).filter(|name| given.contains(name)) {
                Some(name) => {
                    made.draw(name, &mut self.draws);
                    if both {
                        self.perhaps(|w| w.node(item));
                    }
                }
                None => {
                    if is_constant(item) {
                        made.draw_all(&mut self.draws);
                    }
                    self.node(item);
                }
            }
        }
    }

    /// FOR UPDATE and its like lock rows as only a writer needs to; a read-only transaction refuses them.
    fn lock_rows(&mut self, lock: &'a LockingClause, scope: &Scope<'a>) {
        self.effects |= Effects::WRITE;
        let name = |node: &'a Node| match &node.node {
            Some(NodeEnum::RangeVar(named)) => Some(named.relname.as_str()),
            _ => None,
        };
        let locked: HashSet<&str> = lock.locked_rels.iter().filter_map(name).collect();
        for source in &scope.sources {
            if locked.is_empty() || locked.contains(source.alias) {
                match &source.origin {
                    Origin::Table(table) => self.table(*table, Effects::WRITE),
                    Origin::Renamed(tables, _) => tables.iter().for_each(|table| self.table(*table, Effects::WRITE)),
                    Origin::Query(_) | Origin::Function(_) => {}
                }
            }
        }
    }

    /// Walks an item of a FROM list and adds what it stands for to `scope`.
    pub(super) fn source_item(&mut self, item: &'a Node, scope: &mut Scope<'a>) {
        self.deeper(|w| match &item.node {
            Some(NodeEnum::RangeVar(named)) => w.source_relation(named, scope),
            Some(NodeEnum::RangeSubselect(query)) => {
                let mut shape = Shape::unknown();
                if query.lateral {
                    w.beside(scope, |w| shape = w.query(&query.subquery));
                } else {
                    shape = w.query(&query.subquery);
                }
                let shape = shape.renamed(&alias_columns(&query.alias), w);
                scope.add(Source::new(alias(&query.alias), Origin::Query(Rc::new(shape))));
            }
            Some(NodeEnum::RangeFunction(function)) => w.source_function(function, scope),
            Some(NodeEnum::RangeTableFunc(table)) => {
                let given = w.given(scope, |w| w.node(item));
                scope.add(Source::new(alias(&table.alias), Origin::Function(given)));
            }
            Some(NodeEnum::JsonTable(table)) => {
                let given = w.given(scope, |w| w.node(item));
                scope.add(Source::new(alias(&table.alias), Origin::Function(given)));
            }
            Some(NodeEnum::RangeTableSample(sample)) => {
                if let Some(relation) = &sample.relation {
                    w.source_item(relation, scope);
                }
                w.beside(scope, |w| {
                    w.condition_on(|w| {
                        w.each(&sample.args);
                        w.maybe(&sample.repeatable);
                    });
                });
            }
            Some(NodeEnum::JoinExpr(join)) => w.join(join, scope),
            _ => w.node(item),
        });
    }

    /// Runs `visit` where the items before this one are seen.
    fn beside(&mut self, scope: &mut Scope<'a>, visit: impl FnOnce(&mut Self)) {
        *scope = self.within(take(scope), visit);
    }

    /// What `visit` draws from among the items before this one.
    fn given(&mut self, scope: &mut Scope<'a>, visit: impl FnOnce(&mut Self)) -> Rc<Sources> {
        let mut given = Sources::default();
        // How many rows a function gives depends on what it is given.
        self.beside(scope, |w| given = w.drawn(|w| w.condition_on(visit)));
        Rc::new(given)
    }

    fn source_relation(&mut self, named: &'a RangeVar, scope: &mut Scope<'a>) {
        let origin = if let Some(shape) = self.common(named) {
            match alias_columns(&named.alias).as_slice() {
                [] => Origin::Query(shape),
                names => Origin::Query(Rc::new(Shape::clone(&shape).renamed(names, self))),
            }
        } else {
            let table = self.relation(named, Effects::READ);
            match &named.alias {
                Some(alias) if !alias.colnames.is_empty() => Origin::Renamed(vec![table], Rc::default()),
                _ => Origin::Table(table),
            }
        };
        scope.add(Source::new(visible_name(named), origin));
    }

    fn source_function(&mut self, function: &'a RangeFunction, scope: &mut Scope<'a>) {
        // What it returns may be rows of any relation.
        self.effects |= Effects::READ;
        let given = self.given(scope, |w| {
            w.each(&function.functions);
            w.each(&function.coldeflist);
        });
        let name = match alias(&function.alias) {
            "" => function.functions.first().and_then(called_name).unwrap_or_default(),
            name => name,
        };
        scope.add(Source::new(name, Origin::Function(given)));
    }

    fn join(&mut self, join: &'a JoinExpr, scope: &mut Scope<'a>) {
        let Some(alias) = &join.alias else { return self.join_sides(join, scope) };
        // Its alias hides the names of what it joins, but they see what stands before it.
        let mut own = Scope::default();
        *scope = self.within(take(scope), |w| w.join_sides(join, &mut own));
        let rest = self.drawn(|w| whole(&own.sources, w));
        let origin = Origin::Renamed(tables(&own.sources).collect(), Rc::new(rest));
        scope.add(Source::new(&alias.aliasname, origin));
    }

    fn join_sides(&mut self, join: &'a JoinExpr, scope: &mut Scope<'a>) {
        let first = scope.sources.len();
        if let Some(left) = &join.larg {
            self.source_item(left, scope);
        }
        let middle = scope.sources.len();
        if let Some(right) = &join.rarg {
            self.source_item(right, scope);
        }
        scope.merged |= join.is_natural || !join.using_clause.is_empty();
        self.condition_on(|w| {
            for (side, side_start) in [(first..middle, first), (middle..scope.sources.len(), middle)] {
                let alone = side.len() == 1;
                let sources = &scope.sources[side];
                for name in strings(&join.using_clause) {
                    match &scope.sources[side_start].origin {
                        Origin::Table(table) if alone => w.column(*table, name),
                        Origin::Renamed(tables, _) if alone => tables.iter().for_each(|table| w.column(*table, "*")),
                        Origin::Query(shape) if alone => shape.draw(name, &mut w.draws),
                        _ => {
                            whole(sources, w);
                            w.column(("", ""), name);
                        }
                    }
                }
                if join.is_natural {
                    // Which columns the two sides share is not in the text.
                    tables(sources).for_each(|table| w.column(table, "*"));
                    whole(sources, w);
                }
            }
            let before = std::mem::replace(&mut scope.first, first);
            w.beside(scope, |w| w.maybe(&join.quals));
            scope.first = before;
        });
        if let Some(alias) = &join.join_using_alias {
            let joined = tables(&scope.sources[first..]).collect();
            let rest = self.drawn(|w| whole(&scope.sources[first..], w));
            scope.add_hidden(&alias.aliasname, Origin::Renamed(joined, Rc::new(rest)));
        }
    }

    /// The relation that a statement writes to. A common table expression of the same name does not hide it.
    fn target(&mut self, named: Option<&'a RangeVar>, returning: Option<&'a ReturningClause>) -> Scope<'a> {
        let mut scope = Scope::default();
        let Some(named) = named else { return scope };
        let read = if returning.is_some() { Effects::READ } else { Effects::empty() };
        let table = self.relation(named, Effects::WRITE | read);
        scope.add(Source::new(visible_name(named), Origin::Table(table)));
        scope
    }

    fn returning(&mut self, named: Option<&'a RangeVar>, returning: Option<&'a ReturningClause>) {
        let (Some(named), Some(returning)) = (named, returning) else { return };
        let option = |node: &'a Node| match &node.node {
            Some(NodeEnum::ReturningOption(option)) => Some(option.value.as_str()),
            _ => None,
        };
        let names: Vec<_> = returning.options.iter().filter_map(option).chain(["old", "new"]).collect();
        self.name_rows(&names, table(named));
        self.each(&returning.exprs);
        // It may be what the statement has just written there.
        self.made = Some(Shape::unknown());
    }

    pub(super) fn insert(&mut self, insert: &'a InsertStmt) {
        self.with(insert.with_clause.as_ref(), |w| {
            let scope = w.target(insert.relation.as_ref(), insert.returning_clause.as_ref());
            w.each(&insert.cols);
            w.inner(&insert.select_stmt);
            w.within(scope, |w| {
                if let Some(conflict) = &insert.on_conflict_clause {
                    w.on_conflict(conflict);
                }
                w.returning(insert.relation.as_ref(), insert.returning_clause.as_ref());
            });
        });
    }

    fn on_conflict(&mut self, conflict: &'a OnConflictClause) {
        let mut excluded = Scope::default();
        // Its columns are those of the rows that the statement itself brings.
        excluded.add_hidden("excluded", Origin::Query(Rc::new(Shape::unknown())));
        self.within(excluded, |w| {
            if let Some(infer) = &conflict.infer {
                w.each(&infer.index_elems);
                w.condition_on(|w| w.maybe(&infer.where_clause));
            }
            w.each(&conflict.target_list);
            w.condition_on(|w| w.maybe(&conflict.where_clause));
        });
    }

    pub(super) fn update(&mut self, update: &'a UpdateStmt) {
        self.with(update.with_clause.as_ref(), |w| {
            let mut scope = w.target(update.relation.as_ref(), update.returning_clause.as_ref());
            update.from_clause.iter().for_each(|item| w.source_item(item, &mut scope));
            w.within(scope, |w| {
                w.each(&update.target_list);
                w.condition(update.where_clause.as_deref());
                w.returning(update.relation.as_ref(), update.returning_clause.as_ref());
            });
        });
    }

    pub(super) fn delete(&mut self, delete: &'a DeleteStmt) {
        self.with(delete.with_clause.as_ref(), |w| {
            let mut scope = w.target(delete.relation.as_ref(), delete.returning_clause.as_ref());
            delete.using_clause.iter().for_each(|item| w.source_item(item, &mut scope));
            w.within(scope, |w| {
                w.condition(delete.where_clause.as_deref());
                w.returning(delete.relation.as_ref(), delete.returning_clause.as_ref());
            });
        });
    }

    pub(super) fn merge(&mut self, merge: &'a MergeStmt) {
        self.with(merge.with_clause.as_ref(), |w| {
            let mut scope = w.target(merge.relation.as_ref(), merge.returning_clause.as_ref());
            if let Some(source) = &merge.source_relation {
                w.source_item(source, &mut scope);
            }
            w.within(scope, |w| {
                // Without a condition of its own an arm changes every row that the join finds.
                if merge.merge_when_clauses.iter().any(changes_all) {
                    w.condition(merge.join_condition.as_deref());
                } else {
                    w.condition_on(|w| w.maybe(&merge.join_condition));
                }
                w.condition_on(|w| w.each(&merge.merge_when_clauses));
                w.returning(merge.relation.as_ref(), merge.returning_clause.as_ref());
            });
        });
    }

    /// The WHERE clause of an UPDATE or DELETE.
    fn condition(&mut self, clause: Option<&'a Node>) {
        let mut selects = false;
        self.condition_on(|w| selects = clause.is_some_and(|clause| w.selects(clause, false)));
        self.has_where &= selects;
    }

    /// Walks a condition; says whether it can tell rows apart. `TRUE`, `1 = 1`, `now() IS NOT NULL`, `id = 7 OR true` and
    /// `id = id` cannot.
    fn selects(&mut self, condition: &'a Node, negated: bool) -> bool {
        match &condition.node {
            Some(NodeEnum::CurrentOfExpr(_)) => true,
            Some(NodeEnum::BoolExpr(operator)) => self.deeper(|w| {
                let negated = negated ^ (operator.boolop() == BoolExprType::NotExpr);
                let parts: Vec<bool> = operator.args.iter().map(|part| w.selects(part, negated)).collect();
                match (operator.boolop(), negated) {
                    (BoolExprType::OrExpr, false) | (BoolExprType::AndExpr, true) => parts.iter().all(|part| *part),
                    _ => parts.contains(&true),
                }
            }),
            _ => {
                let before = self.references;
                self.node(condition);
                self.references > before && !compares_with_itself(condition)
            }
        }
    }
}

fn compares_with_itself(condition: &Node) -> bool {
    let Some(NodeEnum::AExpr(expression)) = &condition.node else { return false };
    let column = |side: &Option<Box<Node>>| match side.as_ref().and_then(|side| side.node.as_ref()) {
        Some(NodeEnum::ColumnRef(reference)) => Some(strings(&reference.fields).join(".")),
        _ => None,
    };
    let left = column(&expression.lexpr);
    expression.kind() == AExprKind::AexprOp && left.is_some() && left == column(&expression.rexpr)
}

fn common_table(node: &Node) -> Option<&CommonTableExpr> {
    match &node.node {
        Some(NodeEnum::CommonTableExpr(table)) => Some(table),
        _ => None,
    }
}

fn alias(alias: &Option<Alias>) -> &str {
    alias.as_ref().map(|alias| alias.aliasname.as_str()).unwrap_or_default()
}

/// The name by which the rest of a statement refers to a relation.
pub(super) fn visible_name(named: &RangeVar) -> &str {
    match alias(&named.alias) {
        "" => &named.relname,
        alias => alias,
    }
}

fn tables<'s, 'a>(sources: &'s [Source<'a>]) -> impl Iterator<Item = (&'a str, &'a str)> + use<'s, 'a> {
    sources.iter().flat_map(|source| match &source.origin {
        Origin::Table(table) => std::slice::from_ref(table).iter().copied(),
        Origin::Renamed(tables, _) => tables.iter().copied(),
        Origin::Query(_) | Origin::Function(_) => [].iter().copied(),
    })
}

/// Notes everything that the columns of these sources may derive from.
fn whole<'a>(sources: &[Source<'a>], walker: &mut Walker<'a>) {
    for source in sources {
        match &source.origin {
            Origin::Table(table) => walker.draws.column(*table, "*", true),
            Origin::Renamed(tables, rest) => {
                tables.iter().for_each(|table| walker.draws.column(*table, "*", true));
                walker.draws.all(rest);
            }
            Origin::Query(shape) => shape.draw_all(&mut walker.draws),
            Origin::Function(given) => walker.draws.all(given),
        }
    }
}

fn alias_columns(alias: &Option<Alias>) -> Vec<&str> {
    alias.as_ref().map(|alias| strings(&alias.colnames)).unwrap_or_default()
}

/// The name of the first function of an item in FROM.
fn called_name(item: &Node) -> Option<&str> {
    match &item.node {
        Some(NodeEnum::List(list)) => list.items.first().and_then(called_name),
        Some(NodeEnum::FuncCall(call)) => strings(&call.funcname).last().copied(),
        _ => None,
    }
}

fn given_name(item: &Node) -> Option<&str> {
    match &item.node {
        Some(NodeEnum::ResTarget(target)) if !target.name.is_empty() => Some(&target.name),
        _ => None,
    }
}

/// What an item of ORDER BY, GROUP BY or DISTINCT ON is, without how it is sorted.
fn sorted(item: &Node) -> Option<&NodeEnum> {
    match item.node.as_ref()? {
        NodeEnum::SortBy(sort) => sort.node.as_ref()?.node.as_ref(),
        other => Some(other),
    }
}

fn sorted_name(item: &Node) -> Option<&str> {
    let NodeEnum::ColumnRef(reference) = sorted(item)? else { return None };
    match strings(&reference.fields).as_slice() {
        [name] if reference.fields.len() == 1 => Some(name),
        _ => None,
    }
}

/// Whether it stands for columns of the result that it does not name. Plain DISTINCT is an item without content.
fn is_constant(item: &Node) -> bool {
    matches!(sorted(item), Some(NodeEnum::AConst(_)) | None)
}

/// Whether an arm of a MERGE updates or deletes whatever row it gets.
fn changes_all(arm: &Node) -> bool {
    match &arm.node {
        Some(NodeEnum::MergeWhenClause(arm)) => {
            arm.condition.is_none() && matches!(arm.command_type(), CmdType::CmdUpdate | CmdType::CmdDelete)
        }
        _ => true,
    }
}
