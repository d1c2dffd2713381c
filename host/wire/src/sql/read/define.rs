//! Statements that define objects or say who may use them.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterTableCmd, AlterTableType, CreateStmt, CreateTrigStmt, DropStmt, GrantStmt, IndexStmt, Node, ObjectType,
    PartitionBoundSpec, PublicationTable, RenameStmt, RoleStmtType, RuleStmt, ViewStmt,
};

use super::walk::{Scope, Walker, strings};
use crate::sql::Effects;

const DDL: Effects = Effects::DDL;
const PRIVILEGE: Effects = Effects::PRIVILEGE;
const BOTH: Effects = Effects::DDL.union(Effects::PRIVILEGE);

impl<'a> Walker<'a> {
    pub(super) fn definition(&mut self, kind: &'a NodeEnum) -> Option<String> {
        let (effects, verb) = self
            .of_relation(kind)
            .or_else(|| self.of_object(kind))
            .or_else(|| self.with_expressions(kind).map(|(effects, verb)| (effects, verb.into())))
            .or_else(|| self.of_privileges(kind).map(|(effects, verb)| (effects, verb.into())))
            .or_else(|| plain(kind).map(|(effects, verb)| (effects, verb.into())))?;
        self.effects |= effects;
        Some(verb)
    }

    /// Definitions of relations and of what belongs to one.
    fn of_relation(&mut self, kind: &'a NodeEnum) -> Option<(Effects, String)> {
        let verb = match kind {
            NodeEnum::CreateStmt(create) => {
                self.create_table(create);
                "CREATE TABLE"
            }
            NodeEnum::CreateForeignTableStmt(create) => {
                create.base_stmt.iter().for_each(|base| self.create_table(base));
                self.each(&create.options);
                "CREATE FOREIGN TABLE"
            }
            NodeEnum::IndexStmt(index) => {
                self.create_index(index);
                "CREATE INDEX"
            }
            NodeEnum::ViewStmt(view) => {
                self.create_view(view);
                "CREATE VIEW"
            }
            NodeEnum::CreateTrigStmt(trigger) => {
                self.create_trigger(trigger);
                "CREATE TRIGGER"
            }
            NodeEnum::RuleStmt(rule) => {
                self.create_rule(rule);
                "CREATE RULE"
            }
            NodeEnum::CreateSeqStmt(create) => {
                self.relations_of(create.sequence.as_ref(), DDL);
                self.each(&create.options);
                "CREATE SEQUENCE"
            }
            NodeEnum::AlterSeqStmt(alter) => {
                self.relations_of(alter.sequence.as_ref(), DDL);
                self.each(&alter.options);
                "ALTER SEQUENCE"
            }
            NodeEnum::CompositeTypeStmt(create) => {
                self.each(&create.coldeflist);
                "CREATE TYPE"
            }
            NodeEnum::AlterTableStmt(alter) => {
                self.about(alter.relation.as_ref(), DDL, |w| w.each(&alter.cmds));
                return Some((DDL, format!("ALTER {}", object(alter.objtype()))));
            }
            _ => return None,
        };
        Some((DDL, verb.into()))
    }

    fn create_table(&mut self, create: &'a CreateStmt) {
        self.about(create.relation.as_ref(), DDL, |w| {
            w.each(&create.table_elts);
            w.each(&create.inh_relations);
            w.each(&create.constraints);
            w.each(&create.nnconstraints);
            w.each(&create.options);
            create.partspec.iter().for_each(|partitions| w.each(&partitions.part_params));
            create.partbound.iter().for_each(|bound| w.partition_bound(bound));
        });
    }

    pub(super) fn partition_bound(&mut self, bound: &'a PartitionBoundSpec) {
        self.each(&bound.listdatums);
        self.each(&bound.lowerdatums);
        self.each(&bound.upperdatums);
    }

    fn create_index(&mut self, index: &'a IndexStmt) {
        self.about(index.relation.as_ref(), DDL, |w| {
            w.each(&index.index_params);
            w.each(&index.index_including_params);
            w.each(&index.options);
            w.condition_on(|w| w.maybe(&index.where_clause));
        });
    }

    fn create_view(&mut self, view: &'a ViewStmt) {
        self.relations_of(view.view.as_ref(), DDL);
        self.inner(&view.query);
        self.each(&view.options);
    }

    fn create_trigger(&mut self, trigger: &'a CreateTrigStmt) {
        self.relations_of(trigger.constrrel.as_ref(), DDL);
        self.about(trigger.relation.as_ref(), DDL, |w| w.condition_on(|w| w.maybe(&trigger.when_clause)));
    }

    /// The commands of a rule count as the statement's own, since others will run them unknowingly.
    fn create_rule(&mut self, rule: &'a RuleStmt) {
        let Some(named) = &rule.relation else { return };
        let table = self.relation(named, DDL);
        self.within(Scope::default(), |w| {
            w.name_rows(&["old", "new"], table);
            w.condition_on(|w| w.maybe(&rule.where_clause));
            w.statements(&rule.actions);
        });
    }

    fn statements(&mut self, nodes: &'a [Node]) {
        for node in nodes {
            self.deeper(|w| match &node.node {
                Some(NodeEnum::List(list)) => w.statements(&list.items),
                Some(_) => _ = w.statement(node),
                None => {}
            });
        }
    }

    pub(super) fn alter_table_command(&mut self, command: &'a AlterTableCmd) {
        use AlterTableType as Type;
        if let Type::AtChangeOwner
        | Type::AtEnableRowSecurity
        | Type::AtDisableRowSecurity
        | Type::AtForceRowSecurity
        | Type::AtNoForceRowSecurity = command.subtype()
        {
            self.effects |= PRIVILEGE;
        }
        self.maybe(&command.def);
    }

    pub(super) fn publication_table(&mut self, table: &'a PublicationTable) {
        self.about(table.relation.as_ref(), DDL, |w| w.maybe(&table.where_clause));
    }

    /// Changes of any kind of object; the kind is part of the verb.
    fn of_object(&mut self, kind: &'a NodeEnum) -> Option<(Effects, String)> {
        let (effects, action, of) = match kind {
            NodeEnum::DropStmt(drop) => {
                self.drop_objects(drop);
                (drop_effects(drop.remove_type()), "DROP", drop.remove_type())
            }
            NodeEnum::RenameStmt(rename) => {
                self.relations_of(rename.relation.as_ref(), DDL);
                let of = renamed(rename);
                (drop_effects(of), "ALTER", of)
            }
            NodeEnum::AlterObjectSchemaStmt(alter) => {
                self.relations_of(alter.relation.as_ref(), DDL);
                (DDL, "ALTER", alter.object_type())
            }
            NodeEnum::AlterOwnerStmt(alter) => {
                self.relations_of(alter.relation.as_ref(), BOTH);
                (BOTH, "ALTER", alter.object_type())
            }
            NodeEnum::AlterObjectDependsStmt(alter) => {
                self.relations_of(alter.relation.as_ref(), DDL);
                (DDL, "ALTER", alter.object_type())
            }
            NodeEnum::AlterTableMoveAllStmt(alter) => (DDL, "ALTER", alter.objtype()),
            NodeEnum::AlterFunctionStmt(alter) => {
                self.each(&alter.actions);
                (DDL, "ALTER", alter.objtype())
            }
            NodeEnum::DefineStmt(define) => {
                self.each(&define.args);
                self.each(&define.definition);
                (DDL, "CREATE", define.kind())
            }
            NodeEnum::CommentStmt(comment) => {
                self.named_object(comment.objtype(), comment.object.as_deref(), DDL);
                return Some((DDL, "COMMENT".into()));
            }
            NodeEnum::SecLabelStmt(label) => {
                self.named_object(label.objtype(), label.object.as_deref(), BOTH);
                return Some((BOTH, "SECURITY LABEL".into()));
            }
            _ => return None,
        };
        Some((effects, format!("{action} {}", object(of))))
    }

    fn drop_objects(&mut self, drop: &'a DropStmt) {
        for node in &drop.objects {
            self.named_object(drop.remove_type(), Some(node), DDL);
        }
    }

    /// Notes the relation that a list of names stands for, or whose part it names.
    fn named_object(&mut self, of: ObjectType, named: Option<&'a Node>, effects: Effects) {
        use ObjectType as Type;
        let part = match of {
            Type::ObjectTable
            | Type::ObjectView
            | Type::ObjectMatview
            | Type::ObjectForeignTable
            | Type::ObjectSequence
            | Type::ObjectIndex => 0,
            Type::ObjectColumn
            | Type::ObjectTrigger
            | Type::ObjectRule
            | Type::ObjectPolicy
            | Type::ObjectTabconstraint => 1,
            _ => return,
        };
        let Some(NodeEnum::List(list)) = named.and_then(|node| node.node.as_ref()) else { return };
        let names = strings(&list.items);
        match &names[..names.len().saturating_sub(part)] {
            [] => {}
            [name] => self.table(("", name), effects),
            [.., schema, name] => self.table((schema, name), effects),
        }
    }

    /// Definitions with expressions, or with statements of their own.
    fn with_expressions(&mut self, kind: &'a NodeEnum) -> Option<(Effects, &'static str)> {
        let found = match kind {
            NodeEnum::CreateSchemaStmt(create) => {
                self.statements(&create.schema_elts);
                (if create.authrole.is_some() { BOTH } else { DDL }, "CREATE SCHEMA")
            }
            NodeEnum::CreateFunctionStmt(create) => {
                self.each(&create.parameters);
                self.each(&create.options);
                if let Some(body) = &create.sql_body {
                    self.statements(std::slice::from_ref(body));
                }
                (DDL, if create.is_procedure { "CREATE PROCEDURE" } else { "CREATE FUNCTION" })
            }
            NodeEnum::CreateDomainStmt(create) => {
                self.each(&create.constraints);
                (DDL, "CREATE DOMAIN")
            }
            NodeEnum::AlterDomainStmt(alter) => {
                self.maybe(&alter.def);
                (DDL, "ALTER DOMAIN")
            }
            NodeEnum::CreateStatsStmt(create) => {
                self.relations(&create.relations, DDL);
                self.each(&create.exprs);
                (DDL, "CREATE STATISTICS")
            }
            NodeEnum::CreatePolicyStmt(policy) => {
                self.about(policy.table.as_ref(), BOTH, |w| {
                    w.condition_on(|w| w.maybe(&policy.qual));
                    w.condition_on(|w| w.maybe(&policy.with_check));
                });
                (BOTH, "CREATE POLICY")
            }
            NodeEnum::AlterPolicyStmt(policy) => {
                self.about(policy.table.as_ref(), BOTH, |w| {
                    w.condition_on(|w| w.maybe(&policy.qual));
                    w.condition_on(|w| w.maybe(&policy.with_check));
                });
                (BOTH, "ALTER POLICY")
            }
            NodeEnum::CreatePublicationStmt(create) => {
                self.each(&create.pubobjects);
                (BOTH, "CREATE PUBLICATION")
            }
            NodeEnum::AlterPublicationStmt(alter) => {
                self.each(&alter.pubobjects);
                (BOTH, "ALTER PUBLICATION")
            }
            NodeEnum::ImportForeignSchemaStmt(import) => {
                self.relations(&import.table_list, DDL);
                (BOTH, "IMPORT FOREIGN SCHEMA")
            }
            _ => return None,
        };
        Some(found)
    }

    fn of_privileges(&mut self, kind: &'a NodeEnum) -> Option<(Effects, &'static str)> {
        let found = match kind {
            NodeEnum::GrantStmt(grant) => (PRIVILEGE, self.grant(grant)),
            NodeEnum::GrantRoleStmt(grant) => (PRIVILEGE, if grant.is_grant { "GRANT" } else { "REVOKE" }),
            NodeEnum::AlterDefaultPrivilegesStmt(alter) => {
                alter.action.iter().for_each(|grant| _ = self.grant(grant));
                (PRIVILEGE, "ALTER DEFAULT PRIVILEGES")
            }
            NodeEnum::CreateRoleStmt(create) => match create.stmt_type() {
                RoleStmtType::RolestmtUser => (PRIVILEGE, "CREATE USER"),
                RoleStmtType::RolestmtGroup => (PRIVILEGE, "CREATE GROUP"),
                _ => (PRIVILEGE, "CREATE ROLE"),
            },
            NodeEnum::AlterRoleStmt(_) => (PRIVILEGE, "ALTER ROLE"),
            // The settings with which later sessions of the role begin.
            NodeEnum::AlterRoleSetStmt(_) => (PRIVILEGE | Effects::SESSION_STATE, "ALTER ROLE"),
            NodeEnum::DropRoleStmt(_) => (PRIVILEGE, "DROP ROLE"),
            NodeEnum::DropOwnedStmt(_) => (BOTH, "DROP OWNED"),
            NodeEnum::ReassignOwnedStmt(_) => (BOTH, "REASSIGN OWNED"),
            _ => return None,
        };
        Some(found)
    }

    fn grant(&mut self, grant: &'a GrantStmt) -> &'static str {
        if let ObjectType::ObjectTable | ObjectType::ObjectSequence = grant.objtype() {
            let relation = |node: &'a Node| matches!(node.node, Some(NodeEnum::RangeVar(_))).then_some(node);
            grant
                .objects
                .iter()
                .filter_map(relation)
                .for_each(|node| self.relations(std::slice::from_ref(node), PRIVILEGE));
        }
        if grant.is_grant { "GRANT" } else { "REVOKE" }
    }
}

/// Definitions that hold neither relations nor expressions that run.
fn plain(kind: &NodeEnum) -> Option<(Effects, &'static str)> {
    Some(match kind {
        NodeEnum::CreatedbStmt(_) => (DDL, "CREATE DATABASE"),
        NodeEnum::AlterDatabaseStmt(_) | NodeEnum::AlterDatabaseRefreshCollStmt(_) => (DDL, "ALTER DATABASE"),
        NodeEnum::AlterDatabaseSetStmt(_) => (DDL | Effects::SESSION_STATE, "ALTER DATABASE"),
        NodeEnum::DropdbStmt(_) => (DDL, "DROP DATABASE"),
        // It writes a file of settings, some of which are commands that the server runs.
        NodeEnum::AlterSystemStmt(_) => (BOTH | Effects::SERVER_FILE, "ALTER SYSTEM"),
        // The script of an extension is SQL that runs with the rights of its installer, or of a superuser.
        NodeEnum::CreateExtensionStmt(_) => (BOTH | Effects::OPAQUE, "CREATE EXTENSION"),
        NodeEnum::AlterExtensionStmt(_) => (BOTH | Effects::OPAQUE, "ALTER EXTENSION"),
        NodeEnum::AlterExtensionContentsStmt(_) => (BOTH, "ALTER EXTENSION"),
        NodeEnum::CreateFdwStmt(_) => (BOTH, "CREATE FOREIGN DATA WRAPPER"),
        NodeEnum::AlterFdwStmt(_) => (BOTH, "ALTER FOREIGN DATA WRAPPER"),
        NodeEnum::CreateForeignServerStmt(_) => (BOTH, "CREATE SERVER"),
        NodeEnum::AlterForeignServerStmt(_) => (BOTH, "ALTER SERVER"),
        NodeEnum::CreateUserMappingStmt(_) => (BOTH, "CREATE USER MAPPING"),
        NodeEnum::AlterUserMappingStmt(_) => (BOTH, "ALTER USER MAPPING"),
        NodeEnum::DropUserMappingStmt(_) => (BOTH, "DROP USER MAPPING"),
        NodeEnum::CreateSubscriptionStmt(_) => (BOTH, "CREATE SUBSCRIPTION"),
        NodeEnum::AlterSubscriptionStmt(_) => (BOTH, "ALTER SUBSCRIPTION"),
        NodeEnum::DropSubscriptionStmt(_) => (BOTH, "DROP SUBSCRIPTION"),
        NodeEnum::CreatePlangStmt(_) => (BOTH, "CREATE LANGUAGE"),
        NodeEnum::CreateTableSpaceStmt(_) => (DDL | Effects::SERVER_FILE, "CREATE TABLESPACE"),
        NodeEnum::AlterTableSpaceOptionsStmt(_) => (DDL, "ALTER TABLESPACE"),
        NodeEnum::DropTableSpaceStmt(_) => (DDL | Effects::SERVER_FILE, "DROP TABLESPACE"),
        NodeEnum::CreateEventTrigStmt(_) => (DDL, "CREATE EVENT TRIGGER"),
        NodeEnum::AlterEventTrigStmt(_) => (DDL, "ALTER EVENT TRIGGER"),
        NodeEnum::CreateAmStmt(_) => (DDL, "CREATE ACCESS METHOD"),
        NodeEnum::CreateEnumStmt(_) | NodeEnum::CreateRangeStmt(_) => (DDL, "CREATE TYPE"),
        NodeEnum::AlterEnumStmt(_) | NodeEnum::AlterTypeStmt(_) => (DDL, "ALTER TYPE"),
        NodeEnum::CreateCastStmt(_) => (DDL, "CREATE CAST"),
        NodeEnum::CreateTransformStmt(_) => (DDL, "CREATE TRANSFORM"),
        NodeEnum::CreateConversionStmt(_) => (DDL, "CREATE CONVERSION"),
        NodeEnum::AlterCollationStmt(_) => (DDL, "ALTER COLLATION"),
        NodeEnum::CreateOpClassStmt(_) => (DDL, "CREATE OPERATOR CLASS"),
        NodeEnum::CreateOpFamilyStmt(_) => (DDL, "CREATE OPERATOR FAMILY"),
        NodeEnum::AlterOpFamilyStmt(_) => (DDL, "ALTER OPERATOR FAMILY"),
        NodeEnum::AlterOperatorStmt(_) => (DDL, "ALTER OPERATOR"),
        NodeEnum::AlterStatsStmt(_) => (DDL, "ALTER STATISTICS"),
        NodeEnum::AlterTsdictionaryStmt(_) => (DDL, "ALTER TEXT SEARCH DICTIONARY"),
        NodeEnum::AlterTsconfigurationStmt(_) => (DDL, "ALTER TEXT SEARCH CONFIGURATION"),
        _ => return None,
    })
}

/// What dropping or renaming such an object does.
fn drop_effects(of: ObjectType) -> Effects {
    match of {
        ObjectType::ObjectPolicy
        | ObjectType::ObjectRole
        | ObjectType::ObjectFdw
        | ObjectType::ObjectForeignServer
        | ObjectType::ObjectExtension
        | ObjectType::ObjectLanguage
        | ObjectType::ObjectPublication
        | ObjectType::ObjectSubscription => BOTH,
        _ => DDL,
    }
}

/// The object that a renaming is an ALTER of: columns and constraints are parts of another.
fn renamed(rename: &RenameStmt) -> ObjectType {
    match rename.rename_type() {
        ObjectType::ObjectColumn => rename.relation_type(),
        ObjectType::ObjectTabconstraint => ObjectType::ObjectTable,
        ObjectType::ObjectDomconstraint => ObjectType::ObjectDomain,
        ObjectType::ObjectAttribute => ObjectType::ObjectType,
        other => other,
    }
}

/// The name of a kind of object in SQL.
fn object(of: ObjectType) -> String {
    match of {
        ObjectType::ObjectFdw => "FOREIGN DATA WRAPPER".into(),
        ObjectType::ObjectForeignServer => "SERVER".into(),
        ObjectType::ObjectLargeobject => "LARGE OBJECT".into(),
        ObjectType::ObjectMatview => "MATERIALIZED VIEW".into(),
        ObjectType::ObjectOpclass => "OPERATOR CLASS".into(),
        ObjectType::ObjectOpfamily => "OPERATOR FAMILY".into(),
        ObjectType::ObjectStatisticExt => "STATISTICS".into(),
        ObjectType::ObjectTsconfiguration => "TEXT SEARCH CONFIGURATION".into(),
        ObjectType::ObjectTsdictionary => "TEXT SEARCH DICTIONARY".into(),
        ObjectType::ObjectTsparser => "TEXT SEARCH PARSER".into(),
        ObjectType::ObjectTstemplate => "TEXT SEARCH TEMPLATE".into(),
        other => other.as_str_name().trim_start_matches("OBJECT_").replace('_', " "),
    }
}
