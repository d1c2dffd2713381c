//! Runs every target on mutations of its seeds and on random bytes. The same seed gives the same inputs.
//!
//! `PORTCULLIS_FUZZ_ROUNDS` and `PORTCULLIS_FUZZ_SEED` ask for more inputs, or for others.

use std::panic::catch_unwind;

use portcullis_fuzz::corpus::seeds;
use portcullis_fuzz::{TARGETS, Target};

/// Inputs for each target; a few seconds for all of them without optimisation.
const ROUNDS: u64 = 10_000;
const SEED: u64 = 0x706f_7274;
const MAX_INPUT: usize = 2048;

/// Bytes and words at which decoders go wrong.
const EDGES: [&[u8]; 10] = [
    &[0],
    &[0xff],
    &[0x7f],
    &[0, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff, 0xff],
    &[0x7f, 0xff],
    "é".as_bytes(),
];

/// SplitMix64: a step and two mixings.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.next() as u8).collect()
    }
}

fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..random.below(5) {
        let at = random.below(input.len() + 1);
        let end = (at + random.below(12)).min(input.len());
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 => drop(input.splice(at..end, random.bytes(6))),
            2 => {
                let edge = EDGES[random.below(EDGES.len())];
                input.splice(at..(at + edge.len()).min(input.len()), edge.iter().copied());
            }
            3 => drop(input.drain(at..end)),
            4 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            5 => {
                let other = &corpus[random.below(corpus.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len() + 1)..]);
            }
            _ => input.truncate(at),
        }
    }
    input.truncate(MAX_INPUT);
    input
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a whole number"))
}

/// The first input on which the target fails, in hexadecimal.
fn failure(name: &str, target: Target, seed: u64, rounds: u64) -> Option<String> {
    let corpus = seeds(name);
    assert!(!corpus.is_empty(), "the target {name} has no seeds");
    let mut random = Random(seed);
    for round in 0..rounds {
        let input = match corpus.get(round as usize) {
            Some(seed) => seed.clone(),
            None if round % 8 == 0 => random.bytes(200),
            None => mutated(&mut random, &corpus),
        };
        if catch_unwind(|| target(&input)).is_err() {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            return Some(format!("the target {name} fails with seed {seed:#x} in round {round} on {hex}"));
        }
    }
    None
}

#[test]
fn every_target_holds() {
    let (seed, rounds) = (variable("PORTCULLIS_FUZZ_SEED", SEED), variable("PORTCULLIS_FUZZ_ROUNDS", ROUNDS));
    let failures: Vec<String> = std::thread::scope(|scope| {
        let run = |(name, target): &(&'static str, Target)| {
            let (name, target) = (*name, *target);
            scope.spawn(move || failure(name, target, seed, rounds))
        };
        let running: Vec<_> = TARGETS.iter().map(run).collect();
        running.into_iter().filter_map(|thread| thread.join().expect("the runner itself holds")).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_failing_target_is_reported_with_its_input() {
    fn picky(input: &[u8]) {
        assert!(input.is_empty(), "not empty");
    }
    let report = failure("sql", picky, 1, 10).expect("the seeds are not empty");
    assert!(report.contains("the target sql fails with seed 0x1 in round 0 on 00"), "{report}");
}
