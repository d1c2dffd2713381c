use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use portcullis_verdict::{Fault, PolicyState};

/// So many faults in a row hold a policy closed.
const TOLERATED: u32 = 3;

/// How long a policy that is held closed is not asked.
pub(crate) const PAUSE_MS: u64 = 10_000;

/// How a policy fares, over all sessions.
#[derive(Default)]
pub(crate) struct Health {
    calls: AtomicU64,
    faults: AtomicU64,
    in_a_row: AtomicU32,
    /// When the next trial question is due; 0 while the policy serves.
    closed_until: AtomicU64,
    last: Mutex<Option<String>>,
}

impl Health {
    /// Whether the policy may be asked now. Once the pause is over, one question goes through as a trial.
    pub(crate) fn admit(&self, now: impl Fn() -> u64) -> Result<(), Fault> {
        let until = self.closed_until.load(Ordering::Acquire);
        if until == 0 {
            return Ok(());
        }
        let now = now();
        let trial = || self.closed_until.compare_exchange(until, now + PAUSE_MS, Ordering::AcqRel, Ordering::Acquire);
        if now >= until && trial().is_ok() {
            return Ok(());
        }
        Err(Fault::HeldClosed(self.last().unwrap_or_default()))
    }

    /// Takes note of how a question that was admitted went.
    pub(crate) fn settle<T>(&self, outcome: &Result<T, Fault>, now: impl Fn() -> u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(_) => self.recover(),
            Err(fault) => {
                self.faults.fetch_add(1, Ordering::Relaxed);
                self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(fault.to_string());
                match weight(fault) {
                    Weight::Sound => self.recover(),
                    Weight::Neutral => {}
                    Weight::Broken => {
                        let row = self.in_a_row.fetch_add(1, Ordering::AcqRel).saturating_add(1);
                        if row >= TOLERATED {
                            self.closed_until.store(now() + PAUSE_MS, Ordering::Release);
                        }
                    }
                }
            }
        }
    }

    fn recover(&self) {
        if self.in_a_row.load(Ordering::Relaxed) != 0 {
            self.in_a_row.store(0, Ordering::Release);
            self.closed_until.store(0, Ordering::Release);
        }
    }

    pub(crate) fn state(&self) -> PolicyState {
        match self.closed_until.load(Ordering::Acquire) {
            0 => PolicyState::Serving,
            _ => PolicyState::HeldClosed,
        }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    pub(crate) fn last(&self) -> Option<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a fault says about the policy.
enum Weight {
    /// The policy works: it said so itself, or the command is at fault.
    Sound,
    /// The gateway is full; the policy was not even asked.
    Neutral,
    /// The policy is broken.
    Broken,
}

fn weight(fault: &Fault) -> Weight {
    match fault {
        Fault::Error(_) | Fault::Unreadable(_) => Weight::Sound,
        Fault::HeldClosed(_) => Weight::Neutral,
        Fault::Start(why) if why == crate::instance::POOL_IS_FULL => Weight::Neutral,
        _ => Weight::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(health: &Health, now: u64) {
        health.settle::<()>(&Err(Fault::Timeout(1)), || now);
    }

    #[test]
    fn three_faults_in_a_row_hold_closed_and_one_trial_reopens() {
        let health = Health::default();
        fail(&health, 0);
        fail(&health, 0);
        health.settle(&Ok(()), || 0);
        fail(&health, 0);
        fail(&health, 0);
        assert_eq!(health.state(), PolicyState::Serving);
        fail(&health, 5);
        assert_eq!(health.state(), PolicyState::HeldClosed);
        assert!(health.admit(|| PAUSE_MS + 4).is_err());
        assert!(health.admit(|| PAUSE_MS + 5).is_ok());
        assert!(health.admit(|| PAUSE_MS + 5).is_err(), "one trial at a time");
        fail(&health, PAUSE_MS + 6);
        assert!(health.admit(|| PAUSE_MS * 2).is_err(), "a failed trial pauses again");
        assert!(health.admit(|| PAUSE_MS * 2 + 6).is_ok());
        health.settle(&Ok(()), || 0);
        assert_eq!(health.state(), PolicyState::Serving);
        assert_eq!((health.calls(), health.faults()), (8, 6));
    }

    #[test]
    fn what_the_policy_is_not_to_blame_for_does_not_close_it() {
        let health = Health::default();
        for fault in [Fault::Error("e".into()), Fault::Unreadable("u".into())] {
            for _ in 0..5 {
                health.settle::<()>(&Err(fault.clone()), || 0);
            }
        }
        assert_eq!(health.state(), PolicyState::Serving);
    }
}
