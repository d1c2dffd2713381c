//! SELECT, INSERT, UPDATE, DELETE, MERGE, and what they read from.

use std::collections::HashSet;
use std::mem::take;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExprKind, Alias, BoolExprType, CmdType, CommonTableExpr, DeleteStmt, InsertStmt, JoinExpr, LockingClause,
    MergeStmt, Node, OnConflictClause, RangeFunction, RangeVar, ReturningClause, SelectStmt, UpdateStmt, WithClause,
};

use super::walk::{Origin, Scope, Source, Walker, strings, table};
use crate::sql::Effects;

impl<'a> Walker<'a> {
    /// Runs `visit` where the names that a WITH clause defines are seen.
    fn with(&mut self, with: Option<&'a WithClause>, visit: impl FnOnce(&mut Self)) {
        let Some(with) = with else { return visit(self) };
        let tables = || with.ctes.iter().filter_map(common_table);
        // Without RECURSIVE a query sees only what stands before it: `WITH t AS (SELECT * FROM t) …` reads the relation t.
        let all: HashSet<_> =
            if with.recursive { tables().map(|t| t.ctename.as_str()).collect() } else { HashSet::new() };
        self.common.push(all);
        for table in tables() {
            self.inner(&table.ctequery);
            if let Some(cycle) = &table.cycle_clause {
                self.maybe(&cycle.cycle_mark_value);
                self.maybe(&cycle.cycle_mark_default);
            }
            if let Some(names) = self.common.last_mut() {
                names.insert(&table.ctename);
            }
        }
        visit(self);
        self.common.pop();
    }

    pub(super) fn select(&mut self, select: &'a SelectStmt) {
        self.deeper(|w| w.with(select.with_clause.as_ref(), |w| w.select_body(select)));
    }

    fn select_body(&mut self, select: &'a SelectStmt) {
        if let Some(into) = &select.into_clause {
            self.into(into);
        }
        let mut scope = Scope::default();
        let arms = [&select.larg, &select.rarg];
        for arm in arms.into_iter().flatten() {
            self.select(arm);
        }
        if arms.iter().any(|arm| arm.is_some()) {
            // What follows the arms names their columns.
            scope.add(Source::new("", Origin::Query));
        }
        for item in &select.from_clause {
            self.source_item(item, &mut scope);
        }
        for lock in &select.locking_clause {
            if let Some(NodeEnum::LockingClause(lock)) = &lock.node {
                self.lock_rows(lock, &scope);
            }
        }
        self.within(scope, |w| {
            w.each(&select.distinct_clause);
            w.each(&select.target_list);
            w.maybe(&select.where_clause);
            w.each(&select.group_clause);
            w.maybe(&select.having_clause);
            w.each(&select.window_clause);
            w.each(&select.values_lists);
            w.order_by(select);
            w.maybe(&select.limit_offset);
            w.maybe(&select.limit_count);
        });
    }

    /// A bare name in ORDER BY that the select list gives to a column of the result is that column.
    fn order_by(&mut self, select: &'a SelectStmt) {
        let given: HashSet<&str> = select.target_list.iter().filter_map(given_name).collect();
        for item in &select.sort_clause {
            if !sorted_name(item).is_some_and(|name| given.contains(name)) {
                self.node(item);
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
                    Origin::Renamed(tables) => tables.iter().for_each(|table| self.table(*table, Effects::WRITE)),
                    Origin::Query | Origin::Function => {}
                }
            }
        }
    }

    /// Walks an item of a FROM list and adds what it stands for to `scope`.
    pub(super) fn source_item(&mut self, item: &'a Node, scope: &mut Scope<'a>) {
        self.deeper(|w| match &item.node {
            Some(NodeEnum::RangeVar(named)) => w.source_relation(named, scope),
            Some(NodeEnum::RangeSubselect(query)) => {
                if query.lateral {
                    w.beside(scope, |w| w.inner(&query.subquery));
                } else {
                    w.inner(&query.subquery);
                }
                scope.add(Source::new(alias(&query.alias), Origin::Query));
            }
            Some(NodeEnum::RangeFunction(function)) => w.source_function(function, scope),
            Some(NodeEnum::RangeTableFunc(table)) => {
                w.beside(scope, |w| w.node(item));
                scope.add(Source::new(alias(&table.alias), Origin::Function));
            }
            Some(NodeEnum::JsonTable(table)) => {
                w.beside(scope, |w| w.node(item));
                scope.add(Source::new(alias(&table.alias), Origin::Function));
            }
            Some(NodeEnum::RangeTableSample(sample)) => {
                if let Some(relation) = &sample.relation {
                    w.source_item(relation, scope);
                }
                w.beside(scope, |w| {
                    w.each(&sample.args);
                    w.maybe(&sample.repeatable);
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

    fn source_relation(&mut self, named: &'a RangeVar, scope: &mut Scope<'a>) {
        let origin = if self.is_common(named) {
            Origin::Query
        } else {
            let table = self.relation(named, Effects::READ);
            match &named.alias {
                Some(alias) if !alias.colnames.is_empty() => Origin::Renamed(vec![table]),
                _ => Origin::Table(table),
            }
        };
        scope.add(Source::new(visible_name(named), origin));
    }

    fn source_function(&mut self, function: &'a RangeFunction, scope: &mut Scope<'a>) {
        // What it returns may be rows of any relation.
        self.effects |= Effects::READ;
        self.beside(scope, |w| {
            w.each(&function.functions);
            w.each(&function.coldeflist);
        });
        let name = match alias(&function.alias) {
            "" => function.functions.first().and_then(called_name).unwrap_or_default(),
            name => name,
        };
        scope.add(Source::new(name, Origin::Function));
    }

    fn join(&mut self, join: &'a JoinExpr, scope: &mut Scope<'a>) {
        let first = scope.sources.len();
        if let Some(left) = &join.larg {
            self.source_item(left, scope);
        }
        let middle = scope.sources.len();
        if let Some(right) = &join.rarg {
            self.source_item(right, scope);
        }
        for (side, side_start) in [(first..middle, first), (middle..scope.sources.len(), middle)] {
            let alone = side.len() == 1;
            let sources = &scope.sources[side];
            for name in strings(&join.using_clause) {
                match &scope.sources[side_start].origin {
                    Origin::Table(table) if alone => self.column(*table, name),
                    Origin::Renamed(tables) if alone => tables.iter().for_each(|table| self.column(*table, "*")),
                    Origin::Query if alone => {}
                    _ => self.column(("", ""), name),
                }
            }
            if join.is_natural {
                // Which columns the two sides share is not in the text.
                tables(sources).for_each(|table| self.column(table, "*"));
            }
        }
        self.beside(scope, |w| w.maybe(&join.quals));
        for alias in [&join.alias, &join.join_using_alias].into_iter().flatten() {
            let joined = tables(&scope.sources[first..]).collect();
            scope.add_hidden(&alias.aliasname, Origin::Renamed(joined));
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
        excluded.add_hidden("excluded", Origin::Query);
        self.within(excluded, |w| {
            if let Some(infer) = &conflict.infer {
                w.each(&infer.index_elems);
                w.maybe(&infer.where_clause);
            }
            w.each(&conflict.target_list);
            w.maybe(&conflict.where_clause);
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
                    w.maybe(&merge.join_condition);
                }
                w.each(&merge.merge_when_clauses);
                w.returning(merge.relation.as_ref(), merge.returning_clause.as_ref());
            });
        });
    }

    /// The WHERE clause of an UPDATE or DELETE.
    fn condition(&mut self, clause: Option<&'a Node>) {
        let selects = clause.is_some_and(|clause| self.selects(clause, false));
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
        Origin::Renamed(tables) => tables.iter().copied(),
        Origin::Query | Origin::Function => [].iter().copied(),
    })
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

fn sorted_name(item: &Node) -> Option<&str> {
    let Some(NodeEnum::SortBy(sort)) = &item.node else { return None };
    let Some(NodeEnum::ColumnRef(reference)) = &sort.node.as_ref()?.node else { return None };
    match strings(&reference.fields).as_slice() {
        [name] if reference.fields.len() == 1 => Some(name),
        _ => None,
    }
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
