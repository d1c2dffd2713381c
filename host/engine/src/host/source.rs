//! What a question does not tell: the time, randomness and the policy's state. Nothing else in the host reads a clock or draws randomness for
//! a guest, so that a decision can be repeated with what was taken down here.

use std::collections::VecDeque;
use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_verdict::Input;
use sha2::{Digest, Sha256};

use super::Host;
use crate::state::Bounds;

/// What a guest gets in place of the world: what was recorded of one question, and what stands in for what was not.
pub(crate) struct Cue {
    now_ms: u64,
    inputs: VecDeque<Input>,
    random: Stream,
    /// Whether something was asked that was not recorded.
    missed: bool,
}

impl Cue {
    /// `seed` is where randomness that was not recorded comes from.
    pub(crate) fn new(now_ms: u64, inputs: Vec<Input>, seed: [u8; 32]) -> Self {
        Self { now_ms, inputs: inputs.into(), random: Stream { seed, drawn: 0 }, missed: false }
    }

    /// The next input if it is what is asked for now.
    fn next<T>(&mut self, wanted: impl FnOnce(&Input) -> Option<T>) -> Option<T> {
        let next = self.inputs.front().and_then(wanted);
        match next {
            Some(_) => drop(self.inputs.pop_front()),
            None => self.missed = true,
        }
        next
    }
}

/// Bytes that look random and are always the same.
struct Stream {
    seed: [u8; 32],
    drawn: u64,
}

impl Stream {
    fn draw(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n.next_multiple_of(32));
        while bytes.len() < n {
            bytes.extend(Sha256::new().chain_update(self.seed).chain_update(self.drawn.to_be_bytes()).finalize());
            self.drawn += 1;
        }
        bytes.truncate(n);
        bytes
    }
}

impl Host {
    /// Milliseconds since the Unix epoch.
    pub(crate) fn clock_ms(&mut self) -> u64 {
        let now = match &mut self.cue {
            None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
            Some(cue) => {
                let recorded = cue.next(|input| if let Input::Clock(now) = input { Some(*now) } else { None });
                recorded.unwrap_or(cue.now_ms)
            }
        };
        self.take_down(|| Input::Clock(now));
        now
    }

    /// So many random bytes. The caller bounds them.
    pub(crate) fn random(&mut self, n: usize) -> std::io::Result<Vec<u8>> {
        let bytes = match &mut self.cue {
            None => {
                let mut bytes = vec![0; n];
                (&self.services.shared.random).read_exact(&mut bytes)?;
                bytes
            }
            Some(cue) => {
                let recorded = cue.next(|input| match input {
                    Input::Random(bytes) if bytes.len() == n => Some(bytes.clone()),
                    _ => None,
                });
                recorded.unwrap_or_else(|| cue.random.draw(n))
            }
        };
        self.take_down(|| Input::Random(bytes.clone()));
        Ok(bytes)
    }

    pub(super) fn state_get(&mut self, key: &str) -> Option<Vec<u8>> {
        let kept = self.services.state.get(key, self.state_ms());
        let recorded = |input: &Input| if let Input::Get(value) = input { Some(value.clone()) } else { None };
        let value = self.recorded(recorded).unwrap_or(kept);
        self.take_down(|| Input::Get(value.clone()));
        value
    }

    pub(super) fn state_put(&mut self, key: &str, value: Vec<u8>, ttl_seconds: u32) -> Result<(), String> {
        let kept = self.services.state.put(key, value, ttl_seconds, self.bounds());
        let recorded = |input: &Input| if let Input::Put(done) = input { Some(done.clone()) } else { None };
        let done = self.recorded(recorded).unwrap_or(kept);
        self.take_down(|| Input::Put(done.clone()));
        done
    }

    pub(super) fn state_increment(&mut self, key: &str, by: i64, ttl_seconds: u32) -> Result<i64, String> {
        let kept = self.services.state.increment(key, by, ttl_seconds, self.bounds());
        let recorded = |input: &Input| if let Input::Increment(sum) = input { Some(sum.clone()) } else { None };
        let sum = self.recorded(recorded).unwrap_or(kept);
        self.take_down(|| Input::Increment(sum.clone()));
        sum
    }

    /// What stands in the record in this place. In a rehearsal a state of its own is kept up beside it, for what is not recorded.
    fn recorded<T>(&mut self, wanted: impl FnOnce(&Input) -> Option<T>) -> Option<T> {
        self.cue.as_mut().and_then(|cue| cue.next(wanted))
    }

    fn take_down(&mut self, input: impl FnOnce() -> Input) {
        self.apart = true;
        if self.question.is_recorded() {
            self.inputs.add(input);
        }
    }

    /// The clock by which entries of the state expire.
    fn state_ms(&self) -> u64 {
        match &self.cue {
            None => (self.services.shared.now)(),
            Some(cue) => cue.now_ms,
        }
    }

    fn bounds(&self) -> Bounds {
        let limits = &self.services.limits;
        Bounds { entries: limits.state_entries, bytes: limits.memory_bytes as usize, now_ms: self.state_ms() }
    }

    /// What the guest got while it answered, in order.
    pub(crate) fn inputs(&mut self) -> Vec<Input> {
        self.inputs.take()
    }

    /// What is given from now on, in place of what the world gives.
    pub(crate) fn cue(&mut self, cue: Cue) {
        self.cue = Some(cue);
    }

    /// Whether something was asked since the last cue that was not recorded.
    pub(crate) fn missed(&self) -> bool {
        self.cue.as_ref().is_some_and(|cue| cue.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cue_gives_in_order_and_notes_what_it_cannot() {
        let mut cue = Cue::new(5, vec![Input::Clock(1), Input::Random(vec![7])], [0; 32]);
        let clock = |input: &Input| if let Input::Clock(now) = input { Some(*now) } else { None };
        assert_eq!((cue.next(clock), cue.missed), (Some(1), false));
        assert_eq!((cue.next(clock), cue.missed), (None, true));
        assert_eq!(cue.inputs.len(), 1, "what is next stays until it is asked for");
    }

    #[test]
    fn a_stream_is_the_same_for_the_same_seed_and_long_enough() {
        let draw = |seed, sizes: &[usize]| {
            let mut stream = Stream { seed: [seed; 32], drawn: 0 };
            sizes.iter().map(|n| stream.draw(*n)).collect::<Vec<_>>()
        };
        let [first, second, none] = draw(1, &[100, 100, 0]).try_into().unwrap();
        assert_eq!((first.len(), none.len()), (100, 0));
        assert_ne!(first, second);
        assert_eq!(draw(1, &[100])[0], first);
        assert_ne!(draw(2, &[100])[0], first);
    }
}
