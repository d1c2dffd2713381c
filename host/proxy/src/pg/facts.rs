//! The facts of statements, read once per text.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_verdict as verdict;
use portcullis_wire::sql;

const SHARDS: usize = 16;
/// Texts that a shard keeps before it forgets the older half, and their bytes. Facts are about as large as their text.
const PER_SHARD: usize = 512;
const PER_SHARD_BYTES: usize = 512 << 10;
/// Longer texts are rarely repeated; they are read each time.
const MAX_CACHED: usize = 16 << 10;

/// Reads facts and remembers them by text. Texts that differ only in whole numbers share an entry.
pub(crate) struct Facts {
    hasher: RandomState,
    shards: Vec<Mutex<Generations>>,
}

/// Two generations of entries: what is used moves to the young one, and the old one is dropped when the young one is full.
#[derive(Default)]
struct Generations {
    young: HashMap<Box<str>, Arc<verdict::Facts>>,
    old: HashMap<Box<str>, Arc<verdict::Facts>>,
    /// The bytes of the young one's texts.
    bytes: usize,
}

impl Default for Facts {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Facts {
    /// The statement with this text, read as a server with default lexical settings would read it.
    pub(crate) fn read(&self, text: &Arc<str>) -> Arc<verdict::Statement> {
        let facts = match cache_key(text) {
            Some(key) => self.cached(&key, text),
            None => Arc::new(read(text)),
        };
        Arc::new(verdict::Statement { kind: verdict::Kind::Sql, text: text.clone(), facts })
    }

    fn cached(&self, key: &str, text: &str) -> Arc<verdict::Facts> {
        let shard = &self.shards[self.hasher.hash_one(key) as usize % SHARDS];
        if let Some(found) = shard.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return found;
        }
        // Read without the lock: two sessions may read the same text at the same time, which harms nobody.
        let facts = Arc::new(read(text));
        // Whether a text can be read may well depend on its numbers.
        if facts.sql.is_err() {
            return facts;
        }
        shard.lock().unwrap_or_else(PoisonError::into_inner).insert(key.into(), facts.clone());
        facts
    }
}

impl Generations {
    fn get(&mut self, key: &str) -> Option<Arc<verdict::Facts>> {
        if let Some(found) = self.young.get(key) {
            return Some(found.clone());
        }
        let (key, found) = self.old.remove_entry(key)?;
        self.insert(key, found.clone());
        Some(found)
    }

    fn insert(&mut self, key: Box<str>, facts: Arc<verdict::Facts>) {
        if self.young.len() >= PER_SHARD / 2 || self.bytes + key.len() > PER_SHARD_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += key.len();
        self.young.insert(key, facts);
    }
}

/// What a text is remembered by: itself, with whole numbers replaced by `0` where that is sure to leave everything else as
/// it is; no fact depends on which number stands somewhere. Texts with quotes, comments or escapes are left alone, since
/// digits in them may be part of names.
fn cache_key(text: &str) -> Option<String> {
    if text.len() > MAX_CACHED {
        return None;
    }
    let bytes = text.as_bytes();
    let plain = bytes.iter().all(|b| b.is_ascii() && !matches!(b, b'\'' | b'"' | b'$' | b'\\' | b'/' | b'-'));
    if !plain {
        return Some(text.to_owned());
    }
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    let mut key = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
        let (digits, after) = number.split_at(end);
        let joined = before.as_bytes().last().or(key.as_bytes().last()).copied().is_some_and(is_word)
            || after.as_bytes().first().copied().is_some_and(is_word);
        key.push_str(before);
        key.push_str(if joined { digits } else { "0" });
        rest = after;
    }
    key.push_str(rest);
    Some(key)
}

/// Reads a text as a server with default lexical settings would.
pub(super) fn read(text: &str) -> verdict::Facts {
    match sql::read(text, sql::Lexing::default()) {
        Ok(facts) => verdict::Facts {
            fingerprint: facts.fingerprint,
            sql: Ok(facts.statements.into_iter().map(statement).collect()),
        },
        Err(unreadable) => verdict::Facts { fingerprint: String::new(), sql: Err(unreadable.to_string()) },
    }
}

fn statement(from: sql::Statement) -> verdict::SqlStatement {
    let relation = |r: sql::Relation| verdict::Relation { schema: r.schema, name: r.name, effects: effects(r.effects) };
    let column = |c: sql::ColumnRef| verdict::ColumnRef { schema: c.schema, relation: c.relation, name: c.name };
    verdict::SqlStatement {
        dialect: "postgres".into(),
        verb: from.verb,
        effects: effects(from.effects),
        relations: from.relations.into_iter().map(relation).collect(),
        columns_read: from.columns_read.into_iter().map(column).collect(),
        functions: from.functions,
        has_where: from.has_where,
        handle: from.handle,
        runs: from.runs.map(effects),
        lineage: from.lineage.map(lineage),
    }
}

fn lineage(from: sql::Lineage) -> verdict::Lineage {
    let named = |n: sql::Named| verdict::Named {
        column: verdict::ColumnRef { schema: n.schema, relation: n.relation, name: n.name },
        certain: n.certain,
    };
    let output = |o: sql::Output| match o {
        sql::Output::Value { columns, functions, others } => verdict::Output::Value { columns, functions, others },
        sql::Output::All(relation) => verdict::Output::All(relation),
        sql::Output::Anything => verdict::Output::Anything,
    };
    let other = |o: sql::Other| match o {
        sql::Other::Operator(name) => verdict::Other::Operator(name),
        sql::Other::Type(name) => verdict::Other::Type(name),
    };
    verdict::Lineage {
        others: from.others.into_iter().map(other).collect(),
        columns: from.columns.into_iter().map(named).collect(),
        outputs: from.outputs.into_iter().map(|arm| arm.into_iter().map(output).collect()).collect(),
        conditions: output(from.conditions),
    }
}

/// Both sides define the same bits; a test holds them to it.
fn effects(from: sql::Effects) -> verdict::Effects {
    verdict::Effects::from_bits_truncate(from.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_replaced() {
        let key = |text: &str| cache_key(text).unwrap();
        assert_eq!(key("select a1 from t2 where id = 345 and x<7"), "select a1 from t2 where id = 0 and x<0");
        for text in ["select 1.5", "select 1e5", "select 0x1F", "select t.1", "select '12'", "select \"1\"", "x -- 1"] {
            assert_eq!(key(text), text, "{text}");
        }
        assert_eq!(key("(1)+12"), "(0)+0");
        assert_eq!(key("select 12a 3"), "select 12a 0");
        assert!(cache_key(&"x".repeat(MAX_CACHED + 1)).is_none());
    }

    #[test]
    fn the_effects_of_both_vocabularies_have_the_same_bits() {
        let names = |flags: Vec<(&'static str, u16)>| flags;
        let ours = verdict::Effects::all().iter_names().map(|(n, f)| (n, f.bits())).collect();
        let theirs = sql::Effects::all().iter_names().map(|(n, f)| (n, f.bits())).collect();
        assert_eq!(names(ours), names(theirs));
    }

    #[test]
    fn a_text_is_read_once_and_numbers_share_it() {
        let facts = Facts::default();
        let first = facts.read(&"select * from t where id = 1".into());
        let second = facts.read(&"select * from t where id = 22".into());
        assert!(Arc::ptr_eq(&first.facts, &second.facts));
        assert_eq!(&*second.text, "select * from t where id = 22");
    }

    #[test]
    fn the_cache_stays_bounded() {
        let mut generations = Generations::default();
        let entry = Arc::new(verdict::Facts { fingerprint: String::new(), sql: Ok(vec![]) });
        for i in 0..10 * PER_SHARD {
            generations.insert(i.to_string().into(), entry.clone());
            assert!(generations.get("0").is_some(), "what is used stays");
        }
        assert!(generations.young.len() + generations.old.len() <= PER_SHARD);
        for i in 0..PER_SHARD {
            generations.insert(format!("{i:>MAX_CACHED$}").into(), entry.clone());
        }
        let bytes = |texts: &HashMap<Box<str>, _>| texts.keys().map(|text| text.len()).sum::<usize>();
        assert!(bytes(&generations.young) + bytes(&generations.old) <= PER_SHARD_BYTES);
    }
}
