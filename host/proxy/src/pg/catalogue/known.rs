//! The columns of results that a session has had: a statement that runs again has the same ones.

use std::sync::Arc;

use portcullis_verdict::{Column, Facts, Statement};
use portcullis_wire::pg::message::Field;

use super::Reading;
use super::origins::{Altered, Labels};

/// Results that are remembered.
const MOST: usize = 32;

/// Columns by the statement, the reading and the description that they are of. All are held, so that no other comes to be where one was.
#[derive(Default)]
pub(crate) struct Known {
    results: Vec<Result>,
    next: usize,
}

struct Result {
    facts: Arc<Facts>,
    reading: Arc<Reading>,
    shape: Box<[Field]>,
    columns: Arc<[Column]>,
}

impl Known {
    /// The columns of a result, of which the transaction has changed nothing.
    pub(crate) fn of(
        &mut self,
        shape: &[Field],
        statement: &Statement,
        reading: &Arc<Reading>,
        labels: &Labels,
    ) -> Arc<[Column]> {
        let same = |known: &&Result| {
            Arc::ptr_eq(&known.facts, &statement.facts)
                && Arc::ptr_eq(&known.reading, reading)
                && *known.shape == *shape
        };
        if let Some(known) = self.results.iter().find(same) {
            return known.columns.clone();
        }
        let columns: Arc<[Column]> = reading.columns(shape, statement, &Altered::Nothing, labels).into();
        let (facts, reading, shape) = (statement.facts.clone(), reading.clone(), shape.into());
        let known = Result { facts, reading, shape, columns: columns.clone() };
        match self.results.get_mut(self.next) {
            Some(oldest) => *oldest = known,
            None => self.results.push(known),
        }
        self.next = (self.next + 1) % MOST;
        columns
    }
}
