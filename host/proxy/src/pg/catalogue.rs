//! What the gateway knows of a target's relations: it reads them itself, over a connection of its own.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use portcullis_verdict::{Column, ColumnRef, Effects, SqlStatement, Statement};
use portcullis_wire::pg::message::Field;
use portcullis_wire::pg::types;

use super::upstream::{self, UpstreamError};
use crate::config::{Limits, PgTarget};

/// How long names may lag behind changes that were made past the gateway.
const MAX_AGE: Duration = Duration::from_secs(60);
/// How long a reading may take; the server may keep it waiting for a lock.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often an unknown relation may cause a new reading.
const MIN_AGE: Duration = Duration::from_millis(200);

/// Every attribute of every relation that a query can name.
const COLUMNS: &str = "select c.oid, n.nspname, c.relname, a.attnum, a.attname from pg_catalog.pg_class c \
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     join pg_catalog.pg_attribute a on a.attrelid = c.oid \
     where c.relkind in ('r','v','m','f','p') and a.attnum <> 0 and not a.attisdropped";
/// Which columns of other relations each view's definition names; 0 stands for whole rows.
const VIEWS: &str = "select distinct r.ev_class, d.refobjid, d.refobjsubid from pg_catalog.pg_rewrite r \
     join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid \
     where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid <> r.ev_class";
/// The views whose definition calls functions or operators that are not the server's own: what those read is not known.
const OPAQUE_VIEWS: &str = "select distinct r.ev_class from pg_catalog.pg_rewrite r \
     join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid \
     where d.refclassid in ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass)";
/// The names of functions that are not the server's own.
const FUNCTIONS: &str = "select distinct p.proname from pg_catalog.pg_proc p \
     join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname not in ('pg_catalog', 'information_schema')";
/// Types that the server's initialisation did not make.
const TYPES: &str =
    "select oid, typname from pg_catalog.pg_type where oid >= 16384 and typtype in ('b','d','e','r','m')";

/// Statements whose expressions derive from nothing but the columns that their text names. An EXPLAIN shows how, not what.
const PLAIN_VERBS: [&str; 7] = ["SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "EXPLAIN", "COPY"];
/// The server's own functions that give back what was put elsewhere before.
const READERS: [&str; 5] =
    ["current_setting", "lo_get", "loread", "pg_logical_slot_get_changes", "pg_logical_slot_peek_changes"];

/// The catalogue of one target, shared by its sessions.
pub(crate) struct Catalogue {
    target: PgTarget,
    limits: Limits,
    current: ArcSwap<Reading>,
    /// Counts the changes that passed through the gateway, over all configurations.
    changes: Arc<AtomicU64>,
    reading: tokio::sync::Mutex<()>,
    labels_checked: Once,
}

/// The relations as they were at one time.
#[derive(Default)]
pub(crate) struct Reading {
    at: Option<Instant>,
    /// The changes that had passed when it began.
    changes: u64,
    relations: HashMap<u32, Relation>,
    by_name: HashMap<String, Vec<u32>>,
    types: HashMap<u32, String>,
    /// Names of functions that may read anything.
    functions: HashSet<String>,
}

#[derive(Default)]
struct Relation {
    schema: String,
    name: String,
    columns: HashMap<i16, String>,
    /// For a view: the columns that its definition names.
    sources: Vec<(u32, i16)>,
    /// Its definition calls functions that may read anything.
    opaque: bool,
}

impl Catalogue {
    /// With the count of changes of the catalogue before it, if there was one: open sessions go on counting in that.
    pub(crate) fn new(target: PgTarget, limits: Limits, before: Option<&Self>) -> Self {
        let changes = before.map_or_else(Arc::default, |before| before.changes.clone());
        let (current, reading) = (ArcSwap::default(), tokio::sync::Mutex::new(()));
        Self { target, limits, current, changes, reading, labels_checked: Once::new() }
    }

    /// A command may have changed relations: the next result waits for a new reading.
    pub(crate) fn outdate(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The current reading, if it can tell the columns of this result.
    pub(crate) fn knows(&self, shape: &[Field]) -> Option<Arc<Reading>> {
        let reading = self.current.load_full();
        let unchanged = reading.changes == self.changes.load(Ordering::Acquire);
        let fresh = unchanged && reading.at.is_some_and(|at| at.elapsed() < MAX_AGE);
        let known = |f: &Field| f.table == 0 || reading.relations.contains_key(&f.table);
        (fresh && shape.iter().all(known)).then_some(reading)
    }

    /// Reads the relations anew, unless that was done just now.
    pub(crate) async fn refresh(&self) -> Result<Arc<Reading>, UpstreamError> {
        let _one_at_a_time = self.reading.lock().await;
        let current = self.current.load_full();
        let recent = current.at.is_some_and(|at| at.elapsed() < MIN_AGE);
        if recent && current.changes == self.changes.load(Ordering::Acquire) {
            return Ok(current);
        }
        let reading = tokio::time::timeout(PATIENCE, self.read()).await;
        let reading = Arc::new(reading.unwrap_or(Err(UpstreamError::Timeout(PATIENCE)))?);
        self.current.store(reading.clone());
        self.labels_checked.call_once(|| {
            for (pattern, _) in self.target.column_labels.iter().filter(|(pattern, _)| !reading.has(pattern)) {
                let target = self.target.target.name.as_str();
                tracing::warn!(target, column = pattern, "a label fits no column of the target's database");
            }
        });
        Ok(reading)
    }

    async fn read(&self) -> Result<Reading, UpstreamError> {
        let name = ("application_name".to_owned(), "portcullis catalogue".to_owned());
        let mut upstream = upstream::connect(&self.target, &[name], &self.limits).await?;
        let (at, changes) = (Some(Instant::now()), self.changes.load(Ordering::Acquire));
        let mut reading = Reading { at, changes, ..Reading::default() };
        for row in upstream::query(&mut upstream, COLUMNS).await? {
            let [Some(oid), Some(schema), Some(name), Some(number), Some(column)] = &row[..] else { continue };
            let (Ok(oid), Ok(number)) = (oid.parse(), number.parse()) else { continue };
            let relation = reading.relations.entry(oid).or_insert_with(|| {
                reading.by_name.entry(name.clone()).or_default().push(oid);
                Relation { schema: schema.clone(), name: name.clone(), ..Relation::default() }
            });
            relation.columns.insert(number, column.clone());
        }
        for row in upstream::query(&mut upstream, VIEWS).await? {
            let numbers: Vec<u32> = row.iter().flatten().filter_map(|v| v.parse().ok()).collect();
            if let [view, source, column] = numbers[..]
                && let Some(view) = reading.relations.get_mut(&view)
            {
                view.sources.push((source, column as i16));
            }
        }
        for row in upstream::query(&mut upstream, OPAQUE_VIEWS).await? {
            let view =
                row.first().and_then(|oid| oid.as_ref()?.parse().ok()).and_then(|oid| reading.relations.get_mut(&oid));
            view.into_iter().for_each(|view| view.opaque = true);
        }
        let functions = upstream::query(&mut upstream, FUNCTIONS).await?;
        reading.functions = functions.into_iter().flatten().flatten().collect();
        for row in upstream::query(&mut upstream, TYPES).await? {
            if let [Some(oid), Some(name)] = &row[..] {
                reading.types.extend(oid.parse().ok().map(|oid| (oid, name.clone())));
            }
        }
        Ok(reading)
    }
}

impl Reading {
    /// Whether a pattern fits any column.
    fn has(&self, pattern: &str) -> bool {
        let fits = |relation: &Relation| {
            relation.columns.values().any(|name| {
                let (schema, relation, name) = (relation.schema.clone(), relation.name.clone(), name.clone());
                matches(pattern, &ColumnRef { schema, relation, name })
            })
        };
        self.relations.values().any(fits)
    }

    /// The columns of a result, with the base columns that each may derive from.
    pub(crate) fn columns(
        &self,
        shape: &[Field],
        statement: &Statement,
        labels: &[(String, Vec<String>)],
    ) -> Vec<Column> {
        let mut named = None;
        let writes = statement.effects().contains(Effects::WRITE);
        shape
            .iter()
            .map(|field| {
                let mut named = || named.get_or_insert_with(|| self.named_columns(statement, false)).clone();
                let origins = match (field.table, field.attribute) {
                    // An expression: it can derive from no other columns than those that the text names.
                    (0, _) => named(),
                    (table, number) => match self.origins(table, number) {
                        // What a statement returns of a row that it wrote is what it wrote there.
                        Some(own) if writes => named().map(|named| &own | &named),
                        own => own,
                    },
                };
                let plain = field.table != 0 && origins.as_ref().is_some_and(|o| o.len() == 1);
                let computed = !(plain || origins.as_ref().is_some_and(BTreeSet::is_empty));
                let origins: Vec<ColumnRef> = origins.unwrap_or_default().into_iter().collect();
                let labels = labels_of(labels, &origins);
                Column {
                    name: field.name.clone(),
                    type_name: self.type_name(field.type_oid),
                    computed,
                    origins,
                    labels,
                }
            })
            .collect()
    }

    /// The columns whose values a statement may bring to the client by other ways than a result, each by itself. With `whole_rows`
    /// that is every column of the relations that it names, else those that it names.
    pub(crate) fn carried_columns(
        &self,
        statement: &Statement,
        labels: &[(String, Vec<String>)],
        whole_rows: bool,
    ) -> Vec<Column> {
        let unknown =
            || vec![Column { name: "?".into(), type_name: "text".into(), computed: true, ..Column::default() }];
        let Some(named) = self.named_columns(statement, whole_rows) else { return unknown() };
        let column = |origin: ColumnRef| Column {
            name: origin.name.clone(),
            type_name: "text".into(),
            computed: false,
            labels: labels_of(labels, std::slice::from_ref(&origin)),
            origins: vec![origin],
        };
        named.into_iter().map(column).collect()
    }

    fn type_name(&self, oid: u32) -> String {
        let builtin = types::name(oid).map(str::to_owned);
        builtin.or_else(|| self.types.get(&oid).cloned()).unwrap_or_else(|| format!("oid {oid}"))
    }

    /// The column itself, and if it is a view's, every base column that the view's definition names. `None` is unknown.
    fn origins(&self, table: u32, number: i16) -> Option<BTreeSet<ColumnRef>> {
        let mut found = BTreeSet::new();
        self.add_origins(table, number, &mut found, 0).then_some(found)
    }

    fn add_origins(&self, table: u32, number: i16, found: &mut BTreeSet<ColumnRef>, depth: usize) -> bool {
        let Some(relation) = self.relations.get(&table) else { return false };
        let reference = |name: &str| ColumnRef {
            schema: relation.schema.clone(),
            relation: relation.name.clone(),
            name: name.to_owned(),
        };
        match relation.columns.get(&number) {
            Some(name) => drop(found.insert(reference(name))),
            // A whole row.
            None if number == 0 => found.extend(relation.columns.values().map(|name| reference(name))),
            None => return false,
        }
        // Views that name each other cannot exist, but a damaged catalogue must not end the gateway.
        !relation.opaque
            && depth < 64
            && relation.sources.iter().all(|(t, n)| self.add_origins(*t, *n, found, depth + 1))
    }

    /// Every base column that a statement's text names, whatever relation of it the name belongs to, or every column of its relations.
    /// `None` is unknown.
    fn named_columns(&self, statement: &Statement, whole_rows: bool) -> Option<BTreeSet<ColumnRef>> {
        let statements = statement.facts.sql.as_ref().ok()?;
        let is_foreign = |name: &String| {
            let (schema, name) = name.rsplit_once('.').unwrap_or(("", name));
            READERS.contains(&name) || schema != "pg_catalog" && self.functions.contains(name)
        };
        // What a cursor, a setting or a function of somebody's reads is not in the text.
        let is_unknown = |s: &SqlStatement| {
            // The name of a setting of the server's own has no dot.
            let shows = s.verb == "SHOW" && !statement.text.contains('.');
            // What begins or ends a transaction has no result.
            let silent = s.effects == Effects::TRANSACTION;
            let plain =
                (shows || silent || PLAIN_VERBS.contains(&s.verb.as_str())) && !s.effects.contains(Effects::OPAQUE);
            !plain || s.functions.iter().any(is_foreign)
        };
        if statements.iter().any(is_unknown) {
            return None;
        }
        let mut found = BTreeSet::new();
        for relation in statements.iter().flat_map(|s| &s.relations) {
            let oids = self.by_name.get(&relation.name)?;
            let fits = |oid: &&u32| {
                relation.schema.is_empty() || self.relations.get(oid).is_some_and(|r| r.schema == relation.schema)
            };
            // One of the name in another schema says nothing about this one.
            oids.iter().find(fits)?;
            for oid in oids.iter().filter(fits) {
                let known = self.relations.get(oid)?;
                for (number, name) in &known.columns {
                    let is_named = |c: &ColumnRef| c.name == "*" || c.name == *name;
                    if (whole_rows || statements.iter().flat_map(|s| &s.columns_read).any(is_named))
                        && !self.add_origins(*oid, *number, &mut found, 0)
                    {
                        return None;
                    }
                }
            }
        }
        Some(found)
    }
}

/// The labels that the configuration gives any of these columns.
fn labels_of(labels: &[(String, Vec<String>)], origins: &[ColumnRef]) -> Vec<String> {
    let fits = |(pattern, _): &&(String, Vec<String>)| origins.iter().any(|o| matches(pattern, o));
    let mut found: Vec<String> = labels.iter().filter(fits).flat_map(|(_, labels)| labels).cloned().collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a pattern `schema.relation.column`, where a part may be `*`, fits a column.
fn matches(pattern: &str, column: &ColumnRef) -> bool {
    let mut parts = pattern.splitn(3, '.');
    [&column.schema, &column.relation, &column.name]
        .into_iter()
        .all(|name| parts.next().is_some_and(|part| part == "*" || part == name))
}
