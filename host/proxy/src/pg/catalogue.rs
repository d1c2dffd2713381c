//! What the gateway knows of a target's relations: it reads them itself, over a connection of its own.

mod known;
mod origins;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use portcullis_verdict::{ColumnRef, SqlStatement};
use portcullis_wire::pg::connect::ConnectError;
use portcullis_wire::pg::message::Field;
use portcullis_wire::pg::types::Make;

pub(crate) use self::known::Known;
pub(crate) use self::origins::{Altered, CHANGES, Labelled};
use self::types::Types;
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
/// Operators whose functions may read anything: those in languages that hold queries.
const OPERATORS: &str = "select distinct o.oprname from pg_catalog.pg_operator o \
     join pg_catalog.pg_proc p on p.oid = o.oprcode join pg_catalog.pg_language l on l.oid = p.prolang \
     where p.oid >= 16384 and l.lanname not in ('internal', 'c')";
/// Types to which, or from which, such functions cast, and domains that such functions check.
const CASTS: &str = "select t.typname from pg_catalog.pg_cast c join pg_catalog.pg_type t on t.oid in (c.castsource, c.casttarget) \
     join pg_catalog.pg_proc p on p.oid = c.castfunc join pg_catalog.pg_language l on l.oid = p.prolang \
     where p.oid >= 16384 and l.lanname not in ('internal', 'c') \
     union select t.typname from pg_catalog.pg_type t join pg_catalog.pg_constraint k on k.contypid = t.oid \
     join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and d.objid = k.oid \
       and d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass \
     join pg_catalog.pg_proc p on p.oid = d.refobjid join pg_catalog.pg_language l on l.oid = p.prolang \
     where p.oid >= 16384 and l.lanname not in ('internal', 'c')";
/// How long the catalogue's connection waits for whoever has locked a relation: a view's definition cannot be had then.
const LOCK_TIMEOUT: &str = "200ms";
/// Which partitions and children belong to which relations.
const PARENTS: &str = "select inhrelid, inhparent from pg_catalog.pg_inherits";
/// From which columns of its own relation each generated column is made.
const GENERATED: &str = "select distinct a.attrelid, a.attnum, d.refobjsubid from pg_catalog.pg_attribute a \
     join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
       and d.refobjid = a.attrelid and d.refobjsubid not in (0, a.attnum) \
     left join pg_catalog.pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum \
     where a.attgenerated <> '' and (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = a.attrelid \
       and d.objsubid = a.attnum or d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and d.objid = f.oid)";
/// The code for a column that does not exist: the server is older than generated columns.
const UNDEFINED_COLUMN: &str = "42703";
/// The definitions of views, with every relation that they name under its schema, since the search path holds none.
const DEFINITIONS: &str = "select c.oid, pg_catalog.pg_get_viewdef(c.oid) from pg_catalog.pg_class c \
     join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
     where c.relkind in ('v','m') and n.nspname not in ('pg_catalog', 'information_schema')";
/// Which columns of other relations each view's definition names; 0 stands for whole rows.
const VIEWS: &str = "select distinct r.ev_class, d.refobjid, d.refobjsubid from pg_catalog.pg_rewrite r \
     join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid \
     where d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid <> r.ev_class";
/// The views whose definition calls functions or operators that are not the server's own: what those read is not known. Those of
/// `information_schema` have dependencies too, but the server's initialisation made them.
const OPAQUE_VIEWS: &str = "select distinct r.ev_class from pg_catalog.pg_rewrite r \
     join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid \
     where d.refclassid in ('pg_catalog.pg_proc'::pg_catalog.regclass, 'pg_catalog.pg_operator'::pg_catalog.regclass) \
     and d.refobjid >= 16384";
/// The names of functions that are not the server's own.
const FUNCTIONS: &str = "select distinct p.proname from pg_catalog.pg_proc p \
     join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname not in ('pg_catalog', 'information_schema')";

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
    types: Types,
    /// Names of functions that may read anything.
    functions: HashSet<String>,
    /// The same of operators, and of types in casts.
    operators: HashSet<String>,
    casts: HashSet<String>,
}

#[derive(Default)]
struct Relation {
    schema: String,
    name: String,
    columns: BTreeMap<i16, String>,
    /// What it is a partition or child of.
    parents: Vec<u32>,
    /// The columns of its partitions and children that have labels, also of those further down.
    labelled_children: Vec<(u32, String)>,
    /// Generated columns, each with a column that it is made from.
    generated: Vec<(i16, i16)>,
    view: Option<View>,
}

#[derive(Default)]
struct View {
    /// The columns that its definition names.
    sources: Vec<(u32, i16)>,
    /// Its definition calls functions that may read anything.
    opaque: bool,
    definition: Option<Box<str>>,
    /// The definition, read when it is first needed.
    read: OnceLock<Option<Box<SqlStatement>>>,
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

    /// The current reading, for a session whose transaction has changed relations: what is newer than this nobody else can see yet.
    pub(crate) fn latest(&self) -> Option<Arc<Reading>> {
        let reading = self.current.load_full();
        reading.at.is_some_and(|at| at.elapsed() < MAX_AGE).then_some(reading)
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
        let parameter = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let parameters = [
            parameter("application_name", "portcullis catalogue"),
            parameter("search_path", "pg_catalog"),
            parameter("lock_timeout", LOCK_TIMEOUT),
        ];
        let mut upstream = upstream::connect(&self.target, &parameters, &self.limits).await?;
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
                && let Some(view) = reading.view(view)
            {
                view.sources.push((source, column as i16));
            }
        }
        for row in upstream::query(&mut upstream, OPAQUE_VIEWS).await? {
            let view = row.first().and_then(|oid| oid.as_ref()?.parse().ok()).and_then(|oid| reading.view(oid));
            view.into_iter().for_each(|view| view.opaque = true);
        }
        for row in upstream::query(&mut upstream, PARENTS).await? {
            let numbers: Vec<u32> = row.iter().flatten().filter_map(|v| v.parse().ok()).collect();
            let [child, parent] = numbers[..] else { continue };
            reading.relations.get_mut(&child).into_iter().for_each(|relation| relation.parents.push(parent));
        }
        reading.tell_parents(&self.target.column_labels);
        let generated = match upstream::query(&mut upstream, GENERATED).await {
            Err(UpstreamError::Login(ConnectError::Refused { code, .. })) if code == UNDEFINED_COLUMN => Vec::new(),
            generated => generated?,
        };
        for row in generated {
            let numbers: Vec<i64> = row.iter().flatten().filter_map(|v| v.parse().ok()).collect();
            let [relation, column, source] = numbers[..] else { continue };
            let relation = u32::try_from(relation).ok().and_then(|oid| reading.relations.get_mut(&oid));
            relation.into_iter().for_each(|relation| relation.generated.push((column as i16, source as i16)));
        }
        let functions = upstream::query(&mut upstream, FUNCTIONS).await?;
        reading.functions = functions.into_iter().flatten().flatten().collect();
        reading.operators = upstream::query(&mut upstream, OPERATORS).await?.into_iter().flatten().flatten().collect();
        reading.casts = upstream::query(&mut upstream, CASTS).await?.into_iter().flatten().flatten().collect();
        upstream::query(&mut upstream, types::TYPES).await?.iter().for_each(|row| reading.types.add(row));
        upstream::query(&mut upstream, types::FIELDS).await?.iter().for_each(|row| reading.types.add_field(row));
        // Last, since a view that is dropped meanwhile, or locked, can make it fail. Without definitions a view's column derives from all that
        // its view names.
        for row in upstream::query(&mut upstream, DEFINITIONS).await.unwrap_or_default() {
            let [Some(oid), Some(definition)] = &row[..] else { continue };
            let view = oid.parse().ok().and_then(|oid| reading.view(oid));
            view.into_iter().for_each(|view| view.definition = Some(definition.as_str().into()));
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

    /// Makes labelled columns of partitions and children known to everything above them.
    fn tell_parents(&mut self, labels: &[(String, Vec<String>)]) {
        let mut told = Vec::new();
        for (oid, relation) in self.relations.iter().filter(|(_, relation)| !relation.parents.is_empty()) {
            let is_labelled = |name: &&String| !labels_of(labels, &[relation.reference(name)]).is_empty();
            let columns: Vec<&String> = relation.columns.values().filter(is_labelled).collect();
            let mut above = if columns.is_empty() { Vec::new() } else { relation.parents.clone() };
            let mut seen = HashSet::new();
            while let Some(parent) = above.pop() {
                if !seen.insert(parent) {
                    continue;
                }
                told.extend(columns.iter().map(|name| (parent, (*oid, (*name).clone()))));
                above.extend(self.relations.get(&parent).iter().flat_map(|parent| &parent.parents));
            }
        }
        for (parent, child) in told {
            self.relations.get_mut(&parent).into_iter().for_each(|parent| parent.labelled_children.push(child.clone()));
        }
    }

    /// How a type is made that is not built in.
    pub(crate) fn make(&self, oid: u32) -> Make<'_> {
        self.types.make(oid)
    }

    fn view(&mut self, oid: u32) -> Option<&mut View> {
        Some(self.relations.get_mut(&oid)?.view.get_or_insert_default())
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
