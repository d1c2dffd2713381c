//! Statements: each answers with its verb.

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CopyStmt, CreateTableAsStmt, DefElem, ExplainStmt, IntoClause, Node, ObjectType, RangeVar, TransactionStmtKind,
    VariableSetKind, VariableSetStmt, a_const::Val,
};

use super::lineage::Shape;
use super::walk::{Origin, Scope, Source, Walker, strings};
use crate::sql::Effects;

impl<'a> Walker<'a> {
    /// Walks a statement. One of a kind that is not known is opaque.
    pub(super) fn statement(&mut self, statement: &'a Node) -> String {
        let Some(kind) = &statement.node else { return String::new() };
        let verb = self
            .data(kind)
            .or_else(|| self.carrier(kind))
            .or_else(|| self.session(kind))
            .or_else(|| self.maintenance(kind))
            .map(str::to_owned)
            .or_else(|| self.definition(kind));
        verb.unwrap_or_else(|| {
            self.effects |= Effects::OPAQUE;
            "UNKNOWN".into()
        })
    }

    /// Statements that read or change rows.
    fn data(&mut self, kind: &'a NodeEnum) -> Option<&'static str> {
        let verb = match kind {
            NodeEnum::SelectStmt(select) => {
                self.select(select);
                "SELECT"
            }
            NodeEnum::InsertStmt(insert) => {
                self.insert(insert);
                "INSERT"
            }
            NodeEnum::UpdateStmt(update) => {
                self.update(update);
                "UPDATE"
            }
            NodeEnum::DeleteStmt(delete) => {
                self.delete(delete);
                "DELETE"
            }
            NodeEnum::MergeStmt(merge) => {
                self.merge(merge);
                "MERGE"
            }
            NodeEnum::TruncateStmt(truncate) => {
                self.effects |= Effects::WRITE;
                self.relations(&truncate.relations, Effects::WRITE);
                "TRUNCATE"
            }
            NodeEnum::CopyStmt(copy) => {
                self.copy(copy);
                "COPY"
            }
            NodeEnum::CreateTableAsStmt(create) => self.create_table_as(create),
            NodeEnum::RefreshMatViewStmt(refresh) => {
                if let Some(view) = &refresh.relation {
                    self.relation(view, Effects::WRITE);
                }
                "REFRESH MATERIALIZED VIEW"
            }
            _ => return None,
        };
        Some(verb)
    }

    /// Statements that hold another, or run one that is defined elsewhere.
    fn carrier(&mut self, kind: &'a NodeEnum) -> Option<&'static str> {
        let verb = match kind {
            NodeEnum::ExplainStmt(explain) => {
                self.explain(explain);
                "EXPLAIN"
            }
            NodeEnum::PrepareStmt(prepare) => {
                self.inner(&prepare.query);
                self.handle = Some(&prepare.name);
                "PREPARE"
            }
            NodeEnum::ExecuteStmt(execute) => {
                self.runs = true;
                self.handle = Some(&execute.name);
                self.each(&execute.params);
                "EXECUTE"
            }
            NodeEnum::DeclareCursorStmt(cursor) => {
                self.inner(&cursor.query);
                self.handle = Some(&cursor.portalname);
                "DECLARE"
            }
            // The rows are those of a cursor that an earlier statement declared.
            NodeEnum::FetchStmt(fetch) => {
                self.effects |= Effects::READ;
                self.handle = Some(&fetch.portalname);
                if fetch.ismove { "MOVE" } else { "FETCH" }
            }
            NodeEnum::ClosePortalStmt(_) => "CLOSE",
            NodeEnum::DeallocateStmt(_) => "DEALLOCATE",
            NodeEnum::DoStmt(_) => {
                self.effects |= Effects::OPAQUE;
                "DO"
            }
            NodeEnum::CallStmt(call) => {
                self.effects |= Effects::OPAQUE;
                if let Some(call) = &call.funccall {
                    self.call(call);
                }
                "CALL"
            }
            // The body of an SQL function.
            NodeEnum::ReturnStmt(result) => {
                self.maybe(&result.returnval);
                "RETURN"
            }
            _ => return None,
        };
        Some(verb)
    }

    fn copy(&mut self, copy: &'a CopyStmt) {
        self.effects |= match (copy.is_program || !copy.filename.is_empty(), copy.is_from) {
            (true, _) => Effects::SERVER_FILE,
            (false, true) => Effects::COPY_IN,
            (false, false) => Effects::COPY_OUT,
        };
        self.inner(&copy.query);
        self.each(&copy.options);
        let Some(named) = &copy.relation else { return };
        let mut incoming = Scope::default();
        if copy.is_from {
            self.relation(named, Effects::WRITE);
            incoming.add(Source::new(&named.relname, Origin::Query(Rc::new(Shape::unknown()))));
        } else {
            let table = self.relation(named, Effects::READ);
            match strings(&copy.attlist).as_slice() {
                [] => self.column(table, "*"),
                names => names.iter().for_each(|name| self.column(table, name)),
            }
        }
        // The condition of a COPY FROM looks at the rows that come in.
        self.condition_on(|w| _ = w.within(incoming, |w| w.maybe(&copy.where_clause)));
    }

    pub(super) fn into(&mut self, into: &'a IntoClause) {
        self.effects |= Effects::DDL | Effects::WRITE;
        if let Some(table) = &into.rel {
            self.relation(table, Effects::DDL | Effects::WRITE);
        }
        self.each(&into.options);
    }

    fn create_table_as(&mut self, create: &'a CreateTableAsStmt) -> &'static str {
        if let Some(into) = &create.into {
            self.into(into);
        }
        self.inner(&create.query);
        match create.objtype() {
            ObjectType::ObjectMatview => "CREATE MATERIALIZED VIEW",
            _ => "CREATE TABLE AS",
        }
    }

    /// Without ANALYZE the statement inside is planned and does not run: nothing is written, whatever it says.
    fn explain(&mut self, explain: &'a ExplainStmt) {
        let option = |node: &'a Node| match &node.node {
            Some(NodeEnum::DefElem(option)) => Some(&**option),
            _ => None,
        };
        let runs = explain.options.iter().filter_map(option).any(|o| o.defname == "analyze" && !is_off(o));
        self.inner(&explain.query);
        if runs {
            return;
        }
        self.has_where = true;
        // Functions that it calls may run while it is planned, so what they do stays.
        let planned = |effects: &mut Effects| {
            let kept = *effects - (Effects::WRITE | Effects::DDL);
            *effects = if kept.is_empty() && !effects.is_empty() { Effects::READ } else { kept };
        };
        planned(&mut self.effects);
        self.done.iter_mut().for_each(planned);
    }

    /// Statements about the session and its transactions.
    fn session(&mut self, kind: &'a NodeEnum) -> Option<&'static str> {
        let (effects, verb) = match kind {
            NodeEnum::TransactionStmt(transaction) => (Effects::TRANSACTION, transaction_verb(transaction.kind())),
            NodeEnum::VariableSetStmt(set) => {
                self.each(&set.args);
                set_variable(set)
            }
            // What later statements of the transaction check, and when.
            NodeEnum::ConstraintsSetStmt(_) => (Effects::TRANSACTION, "SET CONSTRAINTS"),
            NodeEnum::VariableShowStmt(_) => (Effects::empty(), "SHOW"),
            NodeEnum::DiscardStmt(_) => (Effects::SESSION_STATE, "DISCARD"),
            NodeEnum::ListenStmt(_) => (Effects::SESSION_STATE, "LISTEN"),
            NodeEnum::UnlistenStmt(_) => (Effects::SESSION_STATE, "UNLISTEN"),
            NodeEnum::NotifyStmt(_) => (Effects::empty(), "NOTIFY"),
            NodeEnum::LoadStmt(_) => (Effects::SERVER_FILE | Effects::OPAQUE, "LOAD"),
            _ => return None,
        };
        self.effects |= effects;
        Some(verb)
    }

    fn maintenance(&mut self, kind: &'a NodeEnum) -> Option<&'static str> {
        // `ROW EXCLUSIVE`, the strongest lock that a read-only transaction may take explicitly.
        const ROW_EXCLUSIVE: i32 = 3;
        let (effects, verb) = match kind {
            NodeEnum::LockStmt(lock) => {
                let effects = if lock.mode > ROW_EXCLUSIVE { Effects::WRITE } else { Effects::READ };
                self.relations(&lock.relations, effects);
                (effects, "LOCK")
            }
            NodeEnum::VacuumStmt(vacuum) => {
                self.each(&vacuum.options);
                self.each(&vacuum.rels);
                if vacuum.is_vacuumcmd { (Effects::DDL, "VACUUM") } else { (Effects::READ, "ANALYZE") }
            }
            NodeEnum::ClusterStmt(cluster) => {
                self.relations_of(cluster.relation.as_ref(), Effects::DDL);
                (Effects::DDL, "CLUSTER")
            }
            NodeEnum::ReindexStmt(reindex) => {
                self.relations_of(reindex.relation.as_ref(), Effects::DDL);
                (Effects::DDL, "REINDEX")
            }
            NodeEnum::CheckPointStmt(_) => (Effects::empty(), "CHECKPOINT"),
            _ => return None,
        };
        self.effects |= effects;
        Some(verb)
    }

    /// The relations in a list.
    pub(super) fn relations(&mut self, nodes: &'a [Node], effects: Effects) {
        for node in nodes {
            match &node.node {
                Some(NodeEnum::RangeVar(named)) => _ = self.relation(named, effects),
                _ => self.node(node),
            }
        }
    }

    pub(super) fn relations_of(&mut self, named: Option<&'a RangeVar>, effects: Effects) {
        if let Some(named) = named {
            self.relation(named, effects);
        }
    }

    /// Runs `visit` where the columns of a relation are seen, also as those of OLD and NEW.
    pub(super) fn about(&mut self, named: Option<&'a RangeVar>, effects: Effects, visit: impl FnOnce(&mut Self)) {
        let mut scope = Scope::default();
        if let Some(named) = named {
            let table = self.relation(named, effects);
            scope.add(Source::new(&named.relname, Origin::Table(table)));
            scope.add_hidden("old", Origin::Table(table));
            scope.add_hidden("new", Origin::Table(table));
        }
        self.within(scope, visit);
    }
}

/// Whether an option is given as `false` or `off`. A number counts as on, even 0: callers may remember facts for texts that
/// differ in whole numbers only, so no fact may depend on one.
fn is_off(option: &DefElem) -> bool {
    match option.arg.as_ref().and_then(|arg| arg.node.as_ref()) {
        Some(NodeEnum::String(text)) => ["false", "off"].iter().any(|off| text.sval.eq_ignore_ascii_case(off)),
        Some(NodeEnum::Boolean(value)) => !value.boolval,
        Some(NodeEnum::AConst(constant)) => matches!(&constant.val, Some(Val::Boolval(value)) if !value.boolval),
        _ => false,
    }
}

fn set_variable(set: &VariableSetStmt) -> (Effects, &'static str) {
    match set.kind() {
        VariableSetKind::VarReset | VariableSetKind::VarResetAll => (Effects::SESSION_STATE, "RESET"),
        // SET TRANSACTION; but SET SESSION CHARACTERISTICS outlives the transaction.
        VariableSetKind::VarSetMulti if set.name.starts_with("TRANSACTION") => (Effects::TRANSACTION, "SET"),
        _ => (Effects::SESSION_STATE, "SET"),
    }
}

fn transaction_verb(kind: TransactionStmtKind) -> &'static str {
    match kind {
        TransactionStmtKind::TransStmtBegin => "BEGIN",
        TransactionStmtKind::TransStmtStart => "START TRANSACTION",
        TransactionStmtKind::TransStmtCommit => "COMMIT",
        TransactionStmtKind::TransStmtRollback => "ROLLBACK",
        TransactionStmtKind::TransStmtSavepoint => "SAVEPOINT",
        TransactionStmtKind::TransStmtRelease => "RELEASE",
        TransactionStmtKind::TransStmtRollbackTo => "ROLLBACK TO",
        TransactionStmtKind::TransStmtPrepare => "PREPARE TRANSACTION",
        TransactionStmtKind::TransStmtCommitPrepared => "COMMIT PREPARED",
        TransactionStmtKind::TransStmtRollbackPrepared => "ROLLBACK PREPARED",
        TransactionStmtKind::Undefined => "UNKNOWN",
    }
}
