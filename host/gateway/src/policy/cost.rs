//! What calls into a policy cost.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_engine::{Call, Hook, Meter};

/// One call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) hook: Hook,
    pub(super) nanos: u64,
    pub(super) fuel: Option<u64>,
    pub(super) memory_bytes: u64,
    pub(super) failed: bool,
}

/// Hears what every call cost, in order.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Vec<Cost>>>);

impl Ledger {
    /// What an engine tells it by.
    pub(super) fn meter(&self) -> Meter {
        let ledger = self.clone();
        Arc::new(move |call: &Call<'_>| {
            let Call { hook, nanos, fuel, memory_bytes, failed, .. } = *call;
            ledger.calls().push(Cost { hook, nanos, fuel, memory_bytes, failed });
        })
    }

    /// The calls since it was last asked.
    pub(super) fn take(&self) -> Vec<Cost> {
        std::mem::take(&mut self.calls())
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, Vec<Cost>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value that a share of the others does not exceed; 0 of none. The values get sorted.
pub(super) fn quantile(values: &mut [u64], percent: usize) -> u64 {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values.get(last * percent / 100).copied().unwrap_or(0)
}

/// Nanoseconds for people.
pub(super) fn time(nanos: u64) -> String {
    match nanos {
        0..10_000 => format!("{:.1} µs", nanos as f64 / 1e3),
        10_000..10_000_000 => format!("{} µs", nanos / 1000),
        _ => format!("{} ms", nanos / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut values: Vec<u64> = (1..=101).rev().collect();
        assert_eq!((quantile(&mut values, 50), quantile(&mut values, 99)), (51, 100));
        assert_eq!((quantile(&mut [7], 99), quantile(&mut [], 50)), (7, 0));
    }

    #[test]
    fn times_have_three_digits_or_so() {
        assert_eq!([950, 12_345, 25_000_000].map(time), ["0.9 µs", "12 µs", "25 ms"]);
    }
}
