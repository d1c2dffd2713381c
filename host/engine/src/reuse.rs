//! Answers that need not be asked for again.
//!
//! A policy that is pure answers by nothing but what it reads. Where it has read nothing that only this very command has, such as its
//! text, its answer stands for every command of the session with the same facts.

use std::sync::Arc;

use portcullis_verdict::{Action, Column, Facts, Finding, Phase, Verdict};

/// Answers of each kind that an instance keeps.
const MOST: usize = 32;

/// What a policy said of a command.
pub(crate) type Said = (Verdict, Vec<Finding>);

/// What a policy wants of a result: what happens to its columns, and how many rows it may have.
pub(crate) type Planned = (Vec<(usize, Action)>, Option<u64>);

/// The answers of one instance. Facts and columns are compared by where they are; they are held, so that no others come to be there.
#[derive(Default)]
pub(crate) struct Answers {
    said: Kept<(Arc<Facts>, Phase), Said>,
    planned: Kept<(Arc<Facts>, Arc<[Column]>), Planned>,
}

impl Answers {
    pub(crate) fn said(&self, facts: &Arc<Facts>, phase: Phase) -> Option<Said> {
        self.said.find(|(known, at)| Arc::ptr_eq(known, facts) && *at == phase)
    }

    pub(crate) fn keep_said(&mut self, facts: &Arc<Facts>, phase: Phase, said: &Said) {
        self.said.keep((facts.clone(), phase), said.clone());
    }

    pub(crate) fn planned(&self, facts: &Arc<Facts>, columns: &Arc<[Column]>) -> Option<Planned> {
        self.planned.find(|(known, of)| Arc::ptr_eq(known, facts) && Arc::ptr_eq(of, columns))
    }

    pub(crate) fn keep_planned(&mut self, facts: &Arc<Facts>, columns: &Arc<[Column]>, planned: &Planned) {
        self.planned.keep((facts.clone(), columns.clone()), planned.clone());
    }
}

/// The last entries, each in the place of the oldest one.
struct Kept<K, V> {
    entries: Vec<(K, V)>,
    next: usize,
}

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self { entries: Vec::new(), next: 0 }
    }
}

impl<K, V: Clone> Kept<K, V> {
    fn find(&self, fits: impl Fn(&K) -> bool) -> Option<V> {
        self.entries.iter().find(|(key, _)| fits(key)).map(|(_, value)| value.clone())
    }

    fn keep(&mut self, key: K, value: V) {
        match self.entries.get_mut(self.next) {
            Some(oldest) => *oldest = (key, value),
            None => self.entries.push((key, value)),
        }
        self.next = (self.next + 1) % MOST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut kept = Kept::default();
        for i in 0..=MOST {
            kept.keep(i, i * 10);
        }
        assert_eq!(kept.entries.len(), MOST);
        assert_eq!(
            (kept.find(|k| *k == 0), kept.find(|k| *k == 1), kept.find(|k| *k == MOST)),
            (None, Some(10), Some(MOST * 10))
        );
    }
}
