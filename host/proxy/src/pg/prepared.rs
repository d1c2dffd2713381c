//! What SQL's own EXECUTE runs: the statements that the session's PREPARE commands have given names.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_verdict::{Effects, Facts, SqlStatement, Statement};

/// Names that are followed. What is prepared beyond stays unknown, and running it opaque.
const MOST: usize = 1000;
/// Statements that a name may have stood for.
const MOST_OF_ONE: usize = 8;

/// What each name may stand for. A name that failed to be made, or was given away again, is kept all the same: whoever runs it is
/// judged by everything that it may be.
#[derive(Default)]
pub(crate) struct Prepared {
    by_name: HashMap<String, May>,
}

enum May {
    Be(Vec<SqlStatement>),
    /// It was given more often than is followed, or by the protocol.
    BeAnything,
}

impl Prepared {
    /// Notes what a command that is sent may give a name.
    pub(crate) fn sent(&mut self, statement: &Statement) {
        for prepares in statement.facts.sql.iter().flatten().filter(|s| s.verb == "PREPARE") {
            let Some(name) = &prepares.handle else { continue };
            if self.by_name.len() >= MOST && !self.by_name.contains_key(name) {
                continue;
            }
            let may = self.by_name.entry(name.clone()).or_insert_with(|| May::Be(Vec::new()));
            match may {
                May::Be(statements) if statements.contains(prepares) => {}
                May::Be(statements) if statements.len() < MOST_OF_ONE => statements.push(prepares.clone()),
                May::Be(_) => *may = May::BeAnything,
                May::BeAnything => {}
            }
        }
    }

    /// The protocol may give this name to something.
    pub(crate) fn sent_by_protocol(&mut self, name: &[u8]) {
        if let Some(may) = std::str::from_utf8(name).ok().and_then(|name| self.by_name.get_mut(name)) {
            *may = May::BeAnything;
        }
    }

    /// The statement with the facts of what it runs. Where that is not known it stays as it is: opaque.
    pub(crate) fn follow(&self, statement: Arc<Statement>) -> Arc<Statement> {
        let runs = |s: &SqlStatement| s.runs.is_some();
        match &statement.facts.sql {
            Ok(statements) if statements.iter().any(runs) => {}
            _ => return statement,
        }
        let Statement { kind, text, facts } = &*statement;
        let followed = facts.sql.iter().flatten().map(|s| self.followed(s)).collect();
        let facts = Facts { fingerprint: facts.fingerprint.clone(), sql: Ok(followed) };
        Arc::new(Statement { kind: *kind, text: text.clone(), facts: Arc::new(facts) })
    }

    fn followed(&self, statement: &SqlStatement) -> SqlStatement {
        let mut followed = statement.clone();
        let name = statement.handle.as_ref().filter(|_| statement.runs.is_some());
        let Some(May::Be(all)) = name.and_then(|name| self.by_name.get(name)) else { return followed };
        followed.effects = statement.runs.unwrap_or(Effects::OPAQUE);
        for run in all {
            followed.effects |= run.effects;
            followed.has_where &= run.has_where;
            for relation in &run.relations {
                let same =
                    |r: &&mut portcullis_verdict::Relation| (&r.schema, &r.name) == (&relation.schema, &relation.name);
                match followed.relations.iter_mut().find(same) {
                    Some(known) => known.effects |= relation.effects,
                    None => followed.relations.push(relation.clone()),
                }
            }
            let columns = run.columns_read.iter().filter(|c| !statement.columns_read.contains(c));
            followed.columns_read.extend(columns.cloned());
            let functions = run.functions.iter().filter(|f| !statement.functions.contains(f));
            followed.functions.extend(functions.cloned());
        }
        // Its conditions are those of what it runs, which are not written down by index.
        followed.lineage = None;
        followed
    }
}
