//! The host's functions. What they remember belongs to the thread, and so to one test.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

type Needle = (&'static str, &'static str, u8);

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
    static STATE_FAILS: Cell<bool> = const { Cell::new(false) };
    static STATE: RefCell<HashMap<String, Entry>> = RefCell::default();
    static NEEDLES: RefCell<Vec<Needle>> = const { RefCell::new(vec![]) };
}

#[derive(Clone)]
struct Entry {
    value: Vec<u8>,
    expires_ms: u64,
}

/// Sets the time.
pub fn set_now_ms(now: u64) {
    NOW_MS.set(now);
}

/// Makes every change of the state fail, or work again.
pub fn set_state_failing(fails: bool) {
    STATE_FAILS.set(fails);
}

/// Makes a detector find this text, with this score, and no other.
pub fn detector(name: &'static str, finds: &'static str, score: u8) {
    NEEDLES.with_borrow_mut(|all| {
        all.retain(|(n, ..)| *n != name);
        all.push((name, finds, score));
    });
}

fn live(key: &str) -> Option<Entry> {
    STATE.with_borrow(|s| s.get(key).filter(|e| e.expires_ms > NOW_MS.get()).cloned())
}

fn store(key: &str, value: Vec<u8>, expires_ms: u64) -> Result<(), String> {
    if STATE_FAILS.get() {
        return Err("the state is full".to_owned());
    }
    STATE.with_borrow_mut(|s| s.insert(key.to_owned(), Entry { value, expires_ms }));
    Ok(())
}

/// Lines for the gateway's log: they go nowhere.
pub mod log {
    /// How important a line is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs, reason = "the names say it")]
    pub enum Level {
        Trace,
        Debug,
        Info,
        Warn,
        Error,
    }

    /// Writes a line.
    pub fn write(_level: Level, _message: &str) {}
}

/// The time that the test has set.
pub mod clock {
    /// The time in milliseconds since the Unix epoch.
    pub fn now_ms() -> u64 {
        super::NOW_MS.get()
    }
}

/// Bytes that are the same in each run.
pub mod random {
    /// `n` bytes.
    pub fn bytes(n: u32) -> Vec<u8> {
        (0..n).map(|i| i as u8).collect()
    }
}

/// Values that the test's thread keeps.
pub mod state {
    use super::{Entry, NOW_MS, live, store};

    fn expiry(ttl_seconds: u32) -> u64 {
        NOW_MS.get() + u64::from(ttl_seconds) * 1000
    }

    /// The value of a key.
    pub fn get(key: &str) -> Option<Vec<u8>> {
        live(key).map(|e| e.value)
    }

    /// Sets the value of a key.
    pub fn put(key: &str, value: &[u8], ttl_seconds: u32) -> Result<(), String> {
        store(key, value.to_vec(), expiry(ttl_seconds))
    }

    /// Adds to a counter.
    pub fn increment(key: &str, by: i64, ttl_seconds: u32) -> Result<i64, String> {
        let (value, expires_ms) = match live(key) {
            Some(Entry { value, expires_ms }) => (value, expires_ms),
            None => (vec![0; 8], expiry(ttl_seconds)),
        };
        let count: [u8; 8] = value.try_into().map_err(|_| "the value is not a counter")?;
        let sum = i64::from_le_bytes(count).checked_add(by).ok_or("the counter overflows")?;
        store(key, sum.to_le_bytes().to_vec(), expires_ms)?;
        Ok(sum)
    }
}

/// Detectors that find what the test has told them.
pub mod detect {
    /// A place in a value that looks like what a detector looks for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs, reason = "wit/policy.wit documents the record")]
    pub struct Hit {
        pub value: u32,
        pub start: u32,
        pub len: u32,
        pub detector: u32,
        pub score: u8,
    }

    /// The names of the detectors.
    pub fn names() -> Vec<String> {
        ["email", "card", "ssn", "iban", "phone", "secret"].map(str::to_owned).to_vec()
    }

    /// Scans values that lie one after another.
    pub fn scan(detectors: &[String], ends: &[u32], data: &[u8]) -> Vec<Hit> {
        let needles = super::NEEDLES.with_borrow(Clone::clone);
        let mut hits = vec![];
        let mut from = 0;
        for (value, end) in ends.iter().enumerate() {
            let bytes = &data[from as usize..*end as usize];
            from = *end;
            for (name, text, score) in &needles {
                let Some(detector) = detectors.iter().position(|d| d == name) else { continue };
                let found = bytes.windows(text.len()).enumerate().filter(|(_, w)| *w == text.as_bytes());
                hits.extend(found.map(|(start, _)| Hit {
                    value: value as u32,
                    start: start as u32,
                    len: text.len() as u32,
                    detector: detector as u32,
                    score: *score,
                }));
            }
        }
        hits.sort_by_key(|h| (h.value, h.start));
        hits
    }
}

/// Keyed hashes that are none: equal values stay equal, and that is all.
pub mod crypto {
    use std::hash::{DefaultHasher, Hash, Hasher};

    /// `out_len` bytes for each value.
    pub fn hmac_each(ends: &[u32], data: &[u8], out_len: u32) -> Vec<u8> {
        let mut out = vec![];
        let mut from = 0;
        for end in ends {
            let mut hasher = DefaultHasher::new();
            data[from as usize..*end as usize].hash(&mut hasher);
            from = *end;
            out.extend(hasher.finish().to_le_bytes().iter().cycle().take(out_len as usize));
        }
        out
    }
}
