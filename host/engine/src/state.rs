use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const MAX_KEY: usize = 256;
const MAX_VALUE: usize = 65_536;
const MAX_TTL_SECONDS: u32 = 604_800;

/// What an entry costs beyond its key and value, roughly.
const OVERHEAD: usize = 64;

/// The values that a policy keeps beyond its instances.
#[derive(Default)]
pub(crate) struct State(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: HashMap<Box<str>, Entry>,
    bytes: usize,
    /// Nothing expires before this moment, so that a full table is not searched in vain.
    next_expiry_ms: u64,
}

struct Entry {
    value: Value,
    expires_ms: u64,
}

enum Value {
    Bytes(Vec<u8>),
    Counter(i64),
}

/// How much a state may hold, and what time it is.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) now_ms: u64,
}

impl State {
    pub(crate) fn get(&self, key: &str, now_ms: u64) -> Option<Vec<u8>> {
        let table = self.lock();
        let entry = table.entries.get(key).filter(|e| e.expires_ms > now_ms)?;
        Some(match &entry.value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Counter(sum) => sum.to_string().into_bytes(),
        })
    }

    pub(crate) fn put(&self, key: &str, value: Vec<u8>, ttl_seconds: u32, bounds: Bounds) -> Result<(), String> {
        check(key, ttl_seconds)?;
        if value.len() > MAX_VALUE {
            return Err(format!("a value has {} bytes; at most {MAX_VALUE} are allowed", value.len()));
        }
        let entry = Entry { value: Value::Bytes(value), expires_ms: expiry(ttl_seconds, bounds) };
        self.lock().insert(key, entry, bounds)
    }

    pub(crate) fn increment(&self, key: &str, by: i64, ttl_seconds: u32, bounds: Bounds) -> Result<i64, String> {
        check(key, ttl_seconds)?;
        let mut table = self.lock();
        match table.entries.get_mut(key).filter(|e| e.expires_ms > bounds.now_ms).map(|e| &mut e.value) {
            Some(Value::Counter(sum)) => {
                *sum = sum.checked_add(by).ok_or("the counter would overflow")?;
                Ok(*sum)
            }
            Some(Value::Bytes(_)) => Err("the value is not a counter".into()),
            None => {
                let entry = Entry { value: Value::Counter(by), expires_ms: expiry(ttl_seconds, bounds) };
                table.insert(key, entry, bounds).map(|()| by)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, key: &str, entry: Entry, bounds: Bounds) -> Result<(), String> {
        let added = cost(key, &entry);
        let replaced = self.entries.get(key).map(|old| cost(key, old));
        if !self.fits(added, replaced, bounds) {
            self.sweep(bounds.now_ms);
        }
        let replaced = self.entries.get(key).map(|old| cost(key, old));
        if !self.fits(added, replaced, bounds) {
            return Err(format!(
                "the policy's state is full: it may hold {} entries and {} bytes (`state_entries`, `memory_bytes`)",
                bounds.entries, bounds.bytes
            ));
        }
        self.bytes = self.bytes + added - replaced.unwrap_or(0);
        self.next_expiry_ms = self.next_expiry_ms.min(entry.expires_ms);
        self.entries.insert(key.into(), entry);
        Ok(())
    }

    fn fits(&self, added: usize, replaced: Option<usize>, bounds: Bounds) -> bool {
        let count = self.entries.len() + usize::from(replaced.is_none());
        count <= bounds.entries && self.bytes + added - replaced.unwrap_or(0) <= bounds.bytes
    }

    fn sweep(&mut self, now_ms: u64) {
        if now_ms < self.next_expiry_ms {
            return;
        }
        self.entries.retain(|_, entry| entry.expires_ms > now_ms);
        self.bytes = self.entries.iter().map(|(key, entry)| cost(key, entry)).sum();
        self.next_expiry_ms = self.entries.values().map(|e| e.expires_ms).min().unwrap_or(u64::MAX);
    }
}

fn cost(key: &str, entry: &Entry) -> usize {
    let value = match &entry.value {
        Value::Bytes(bytes) => bytes.len(),
        Value::Counter(_) => 8,
    };
    OVERHEAD + key.len() + value
}

fn check(key: &str, ttl_seconds: u32) -> Result<(), String> {
    if key.len() > MAX_KEY {
        return Err(format!("a key has {} bytes; at most {MAX_KEY} are allowed", key.len()));
    }
    if !(1..=MAX_TTL_SECONDS).contains(&ttl_seconds) {
        return Err(format!("a ttl of {ttl_seconds} seconds; 1 to {MAX_TTL_SECONDS} are allowed"));
    }
    Ok(())
}

fn expiry(ttl_seconds: u32, bounds: Bounds) -> u64 {
    bounds.now_ms + u64::from(ttl_seconds) * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now_ms: u64) -> Bounds {
        Bounds { entries: 3, bytes: 1000, now_ms }
    }

    #[test]
    fn a_counter_is_a_window_from_its_first_increment() {
        let state = State::default();
        assert_eq!(state.increment("n", 2, 10, at(0)), Ok(2));
        assert_eq!(state.increment("n", 3, 10, at(9_999)), Ok(5));
        assert_eq!(state.get("n", 9_999).as_deref(), Some(b"5".as_slice()));
        assert_eq!(state.increment("n", 1, 10, at(10_000)), Ok(1));
    }

    #[test]
    fn what_has_expired_makes_room() {
        let state = State::default();
        for key in ["a", "b", "c"] {
            state.put(key, vec![1], if key == "a" { 1 } else { 100 }, at(0)).unwrap();
        }
        assert!(state.put("d", vec![1], 10, at(999)).unwrap_err().contains("3 entries"));
        state.put("b", vec![2], 100, at(999)).unwrap();
        state.put("d", vec![1], 10, at(1000)).unwrap();
        assert_eq!((state.get("a", 1000), state.get("b", 1000)), (None, Some(vec![2])));
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let state = State::default();
        assert!(state.put("a", vec![0; 1000], 1, at(0)).is_err());
        state.put("a", vec![0; 900], 1, at(0)).unwrap();
        assert!(state.put("b", vec![0; 100], 1, at(0)).is_err());
        state.put("a", vec![0; 10], 1, at(0)).unwrap();
        state.put("b", vec![0; 100], 1, at(0)).unwrap();
    }

    #[test]
    fn what_breaks_a_rule_changes_nothing() {
        let state = State::default();
        assert!(state.put(&"k".repeat(257), vec![], 1, at(0)).is_err());
        assert!(state.put("k", vec![0; MAX_VALUE + 1], 1, at(0)).is_err());
        assert!(state.put("k", vec![], 0, at(0)).is_err());
        assert!(state.increment("k", 1, MAX_TTL_SECONDS + 1, at(0)).is_err());
        assert_eq!(state.get("k", 0), None);
        state.put("k", b"v".to_vec(), 1, at(0)).unwrap();
        assert!(state.increment("k", 1, 1, at(0)).is_err());
        state.increment("n", i64::MIN, 1, at(0)).unwrap();
        assert!(state.increment("n", -1, 1, at(0)).is_err());
    }
}
