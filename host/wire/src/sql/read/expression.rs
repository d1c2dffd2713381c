//! Expressions and the parts of statements that hold them. Every kind of node that a parsed text can have is named in one of
//! the lists below; a statement with any other is opaque.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExprKind, FuncCall, JsonAggConstructor, JsonBehavior, JsonValueExpr, Node, SubLinkType, WindowDef,
};

use super::functions;
use super::lineage::Other;
use super::walk::{Walker, strings};
use crate::sql::Effects;

impl<'a> Walker<'a> {
    pub(super) fn node(&mut self, node: &'a Node) {
        let Some(kind) = &node.node else { return };
        self.deeper(|w| {
            let known = w.expression(kind) || w.question(kind) || w.json(kind) || w.part(kind) || is_leaf(kind);
            if !known {
                w.effects |= Effects::OPAQUE;
            }
        });
    }

    pub(super) fn each(&mut self, nodes: &'a [Node]) {
        nodes.iter().for_each(|node| self.node(node));
    }

    pub(super) fn maybe(&mut self, node: &'a Option<Box<Node>>) {
        if let Some(node) = node {
            self.node(node);
        }
    }

    /// A statement inside another.
    pub(super) fn inner(&mut self, node: &'a Option<Box<Node>>) {
        if let Some(node) = node {
            self.deeper(|w| w.statement(node));
        }
    }

    fn expression(&mut self, kind: &'a NodeEnum) -> bool {
        match kind {
            NodeEnum::ColumnRef(reference) => self.reference(reference),
            NodeEnum::FuncCall(call) => self.call(call),
            NodeEnum::BoolExpr(e) => self.each(&e.args),
            NodeEnum::CoalesceExpr(e) => self.each(&e.args),
            NodeEnum::MinMaxExpr(e) => self.each(&e.args),
            NodeEnum::RowExpr(e) => self.each(&e.args),
            NodeEnum::AArrayExpr(e) => self.each(&e.elements),
            NodeEnum::AIndirection(e) => {
                self.maybe(&e.arg);
                self.indirection(&e.indirection);
            }
            NodeEnum::AIndices(e) => {
                self.maybe(&e.lidx);
                self.maybe(&e.uidx);
            }
            NodeEnum::NullTest(e) => self.maybe(&e.arg),
            NodeEnum::BooleanTest(e) => self.maybe(&e.arg),
            NodeEnum::CollateClause(e) => self.maybe(&e.arg),
            // The modifiers of a type, as in `geometry(Point, 4326)`, look like columns and are none.
            NodeEnum::TypeCast(e) => {
                let names = e.type_name.as_ref().map(|ty| strings(&ty.names)).unwrap_or_default();
                self.other(Other::Type(&names));
                self.maybe(&e.arg);
            }
            NodeEnum::NamedArgExpr(e) => self.maybe(&e.arg),
            NodeEnum::XmlExpr(e) => {
                self.each(&e.named_args);
                self.each(&e.args);
            }
            NodeEnum::XmlSerialize(e) => self.maybe(&e.expr),
            NodeEnum::ResTarget(e) => {
                self.each(&e.indirection);
                self.maybe(&e.val);
            }
            NodeEnum::MultiAssignRef(e) => self.maybe(&e.source),
            NodeEnum::SortBy(e) => {
                self.other(Other::Operator(&strings(&e.use_op)));
                self.maybe(&e.node);
            }
            NodeEnum::WindowDef(e) => self.window(e),
            NodeEnum::GroupingSet(e) => self.each(&e.content),
            NodeEnum::GroupingFunc(e) => self.each(&e.args),
            NodeEnum::MergeWhenClause(e) => {
                self.maybe(&e.condition);
                self.each(&e.target_list);
                self.each(&e.values);
            }
            NodeEnum::List(list) => self.each(&list.items),
            _ => return false,
        }
        true
    }

    /// Expressions that ask or compare: what they show may be that, and no value.
    fn question(&mut self, kind: &'a NodeEnum) -> bool {
        match kind {
            // It shows no value, only whether there are rows.
            NodeEnum::SubLink(link) if link.sub_link_type() == SubLinkType::ExistsSublink => {
                self.apart(|w| w.condition_on(|w| w.inner(&link.subselect)));
            }
            NodeEnum::SubLink(link) => {
                self.other(Other::Operator(&strings(&link.oper_name)));
                self.maybe(&link.testexpr);
                self.inner(&link.subselect);
            }
            // Whether it is NULL says whether the two are equal.
            NodeEnum::AExpr(e) if e.kind() == AExprKind::AexprNullif => self.condition_on(|w| {
                w.other(Other::Operator(&strings(&e.name)));
                w.maybe(&e.lexpr);
                w.maybe(&e.rexpr);
            }),
            NodeEnum::AExpr(e) => {
                self.other(Other::Operator(&strings(&e.name)));
                self.maybe(&e.lexpr);
                self.maybe(&e.rexpr);
            }
            NodeEnum::CaseExpr(e) => {
                self.condition_on(|w| w.maybe(&e.arg));
                self.each(&e.args);
                self.maybe(&e.defresult);
            }
            NodeEnum::CaseWhen(e) => {
                self.condition_on(|w| w.maybe(&e.expr));
                self.maybe(&e.result);
            }
            _ => return false,
        }
        true
    }

    /// `(expression).name`, which the server also takes for `name(expression)`: `('/etc/passwd'::text).pg_read_file` reads
    /// the file. The text does not tell the two apart, so each name counts as a function too.
    fn indirection(&mut self, steps: &'a [Node]) {
        for step in steps {
            match &step.node {
                Some(NodeEnum::String(name)) => self.function(&[&name.sval]),
                _ => self.node(step),
            }
        }
    }

    pub(super) fn call(&mut self, call: &'a FuncCall) {
        let name = strings(&call.funcname);
        self.function(&name);
        if name.last().is_some_and(|name| functions::returns_sets(name)) {
            self.condition_on(|w| w.each(&call.args));
        } else {
            self.each(&call.args);
        }
        self.each(&call.agg_order);
        self.condition_on(|w| w.maybe(&call.agg_filter));
        if let Some(window) = &call.over {
            self.window(window);
        }
    }

    fn window(&mut self, window: &'a WindowDef) {
        self.each(&window.partition_clause);
        self.each(&window.order_clause);
        self.maybe(&window.start_offset);
        self.maybe(&window.end_offset);
    }

    fn json(&mut self, kind: &'a NodeEnum) -> bool {
        match kind {
            NodeEnum::JsonValueExpr(e) => self.maybe(&e.raw_expr),
            NodeEnum::JsonIsPredicate(e) => self.maybe(&e.expr),
            NodeEnum::JsonBehavior(e) => self.maybe(&e.expr),
            NodeEnum::JsonArgument(e) => self.json_value(&e.val),
            NodeEnum::JsonFuncExpr(e) => {
                self.json_value(&e.context_item);
                self.maybe(&e.pathspec);
                self.each(&e.passing);
                self.json_behaviors([&e.on_empty, &e.on_error]);
            }
            NodeEnum::JsonTable(e) => {
                self.json_value(&e.context_item);
                if let Some(path) = &e.pathspec {
                    self.maybe(&path.string);
                }
                self.each(&e.passing);
                self.each(&e.columns);
                self.json_behaviors([&e.on_error, &None]);
            }
            NodeEnum::JsonTablePathSpec(e) => self.maybe(&e.string),
            NodeEnum::JsonTableColumn(e) => {
                if let Some(path) = &e.pathspec {
                    self.maybe(&path.string);
                }
                self.each(&e.columns);
                self.json_behaviors([&e.on_empty, &e.on_error]);
            }
            NodeEnum::JsonKeyValue(e) => {
                self.maybe(&e.key);
                self.json_value(&e.value);
            }
            NodeEnum::JsonParseExpr(e) => self.json_value(&e.expr),
            NodeEnum::JsonScalarExpr(e) => self.maybe(&e.expr),
            NodeEnum::JsonSerializeExpr(e) => self.json_value(&e.expr),
            NodeEnum::JsonObjectConstructor(e) => self.each(&e.exprs),
            NodeEnum::JsonArrayConstructor(e) => self.each(&e.exprs),
            NodeEnum::JsonArrayQueryConstructor(e) => self.inner(&e.query),
            NodeEnum::JsonObjectAgg(e) => {
                if let Some(pair) = &e.arg {
                    self.maybe(&pair.key);
                    self.json_value(&pair.value);
                }
                self.json_aggregate(&e.constructor);
            }
            NodeEnum::JsonArrayAgg(e) => {
                self.json_value(&e.arg);
                self.json_aggregate(&e.constructor);
            }
            NodeEnum::RangeTableFunc(e) => {
                self.maybe(&e.docexpr);
                self.maybe(&e.rowexpr);
                self.each(&e.namespaces);
                self.each(&e.columns);
            }
            NodeEnum::RangeTableFuncCol(e) => {
                self.maybe(&e.colexpr);
                self.maybe(&e.coldefexpr);
            }
            _ => return false,
        }
        true
    }

    fn json_value(&mut self, value: &'a Option<Box<JsonValueExpr>>) {
        if let Some(value) = value {
            self.maybe(&value.raw_expr);
        }
    }

    fn json_behaviors(&mut self, behaviors: [&'a Option<Box<JsonBehavior>>; 2]) {
        for behavior in behaviors.into_iter().flatten() {
            self.maybe(&behavior.expr);
        }
    }

    fn json_aggregate(&mut self, aggregate: &'a Option<Box<JsonAggConstructor>>) {
        if let Some(aggregate) = aggregate {
            self.maybe(&aggregate.agg_filter);
            self.each(&aggregate.agg_order);
            if let Some(window) = &aggregate.over {
                self.window(window);
            }
        }
    }

    /// The parts of definitions that hold expressions or relations.
    fn part(&mut self, kind: &'a NodeEnum) -> bool {
        match kind {
            // Outside a FROM list a relation is named to be changed or attached.
            NodeEnum::RangeVar(named) => _ = self.relation(named, Effects::DDL),
            NodeEnum::DefElem(e) => self.maybe(&e.arg),
            NodeEnum::ColumnDef(e) => {
                self.maybe(&e.raw_default);
                self.each(&e.constraints);
                self.each(&e.fdwoptions);
            }
            NodeEnum::Constraint(e) => {
                self.condition_on(|w| w.maybe(&e.raw_expr));
                self.each(&e.exclusions);
                self.each(&e.options);
                self.condition_on(|w| w.maybe(&e.where_clause));
                if let Some(referenced) = &e.pktable {
                    self.relation(referenced, Effects::DDL);
                }
            }
            NodeEnum::TableLikeClause(e) => {
                if let Some(like) = &e.relation {
                    self.relation(like, Effects::READ);
                }
            }
            NodeEnum::IndexElem(e) => {
                self.condition_on(|w| w.maybe(&e.expr));
                self.each(&e.opclassopts);
            }
            NodeEnum::StatsElem(e) => self.maybe(&e.expr),
            NodeEnum::PartitionSpec(e) => self.each(&e.part_params),
            NodeEnum::PartitionElem(e) => self.maybe(&e.expr),
            NodeEnum::PartitionBoundSpec(e) => self.partition_bound(e),
            NodeEnum::PartitionRangeDatum(e) => self.maybe(&e.value),
            NodeEnum::PartitionCmd(e) => {
                if let Some(partition) = &e.name {
                    self.relation(partition, Effects::DDL);
                }
                if let Some(bound) = &e.bound {
                    self.partition_bound(bound);
                }
            }
            NodeEnum::FunctionParameter(e) => self.maybe(&e.defexpr),
            NodeEnum::VariableSetStmt(e) => self.each(&e.args),
            NodeEnum::AlterTableCmd(e) => self.alter_table_command(e),
            NodeEnum::VacuumRelation(e) => {
                if let Some(relation) = &e.relation {
                    self.relation(relation, Effects::READ);
                }
            }
            NodeEnum::PublicationObjSpec(e) => {
                if let Some(table) = &e.pubtable {
                    self.publication_table(table);
                }
            }
            _ => return false,
        }
        true
    }
}

/// What holds neither expressions nor relations. The modifiers of a type and the columns of a privilege are constants.
fn is_leaf(kind: &NodeEnum) -> bool {
    matches!(
        kind,
        NodeEnum::AConst(_)
            | NodeEnum::AStar(_)
            | NodeEnum::AccessPriv(_)
            | NodeEnum::AtalterConstraint(_)
            | NodeEnum::BitString(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::CreateOpClassItem(_)
            | NodeEnum::CurrentOfExpr(_)
            | NodeEnum::Float(_)
            | NodeEnum::Integer(_)
            | NodeEnum::JsonFormat(_)
            | NodeEnum::JsonOutput(_)
            | NodeEnum::JsonReturning(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::ObjectWithArgs(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::ReplicaIdentityStmt(_)
            | NodeEnum::RoleSpec(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::String(_)
            | NodeEnum::TriggerTransition(_)
            | NodeEnum::TypeName(_)
    )
}
