//! What goes wrong when the policy is asked about results.

use crate::exports::portcullis::policy::rows::{
    Action, BatchResult, Chunk, Command, Edit, Error, Guest, Mask, Patch, Plan, ResultSet, Rule, Session, Spans,
};
use crate::{Policy, behaviour, error, misbehave};

std::thread_local! {
    static PLANNED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn rules(rules: Vec<(u32, Action)>) -> Plan {
    Plan { rules: rules.into_iter().map(|(column, action)| Rule { column, action }).collect(), max_rows: None }
}

fn mask(name: &str, parameters: &[(&str, &str)]) -> Action {
    let parameters = parameters.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Action::Mask(Mask { name: name.into(), parameters })
}

fn spans(rows: &[u32], starts: &[u32], lens: &[u32], fill: u8) -> Edit {
    Edit::Spans(Spans { rows: rows.into(), starts: starts.into(), lens: lens.into(), fill })
}

fn patch(rows: &[u32], nulls: &[u8], ends: &[u32], data: &[u8]) -> Edit {
    Edit::Patch(Patch { rows: rows.into(), nulls: nulls.into(), ends: ends.into(), data: data.into() })
}

impl Guest for Policy {
    fn plan_result(_: &Session, c: &Command, r: &ResultSet) -> Result<Plan, Error> {
        misbehave("plan")?;
        let behaviour = behaviour();
        Ok(match behaviour.as_str() {
            "plan-duplicate" => rules(vec![(0, Action::Inspect), (0, Action::Keep)]),
            "plan-out-of-range" => rules(vec![(99, Action::Keep)]),
            "plan-bad-mask" => rules(vec![(0, mask("blur", &[]))]),
            "plan-bad-count" => rules(vec![(0, mask("keep-last", &[("count", "0")]))]),
            "plan-deny" => rules(vec![(0, Action::Deny("not this column".into()))]),
            "plan-long-deny" => rules(vec![(0, Action::Deny("x".repeat(1025)))]),
            "plan-mask" => rules(vec![(0, mask("keep-last", &[("count", "4")]))]),
            "plan-max-5" => Plan { max_rows: Some(5), ..rules(vec![]) },
            "plan-max-3" => Plan { max_rows: Some(3), ..rules(vec![]) },
            "plan-count" | "plan-count-id" => {
                if behaviour.ends_with("id") {
                    r.id();
                }
                let planned = PLANNED.get() + 1;
                PLANNED.set(planned);
                Plan { max_rows: Some(planned), ..rules(vec![]) }
            }
            "plan-unparsed" => {
                c.sql();
                rules(vec![])
            }
            "plan-by-label" => {
                let hide = |c: &crate::portcullis::policy::facts::Column| c.labels.iter().any(|l| l == "pii");
                let columns = r.columns();
                let masked = columns.iter().enumerate().filter(|(_, c)| hide(c)).map(|(i, _)| i as u32);
                rules(masked.map(|i| (i, mask("redact", &[]))).collect())
            }
            b if b.starts_with("filter-") || b.ends_with("-in-filter") => rules(vec![(0, Action::Inspect)]),
            _ => rules(vec![]),
        })
    }

    fn filter_batch(
        _: &Session,
        _: &Command,
        _: &ResultSet,
        rows: u32,
        chunks: Vec<Chunk>,
    ) -> Result<BatchResult, Error> {
        misbehave("filter")?;
        let behaviour = behaviour();
        if chunks.len() != 1 {
            return Err(error("one column was asked for"));
        }
        let edit = |edit| Ok(BatchResult { edits: vec![edit], drop_rows: vec![], abort: None });
        let all: Vec<u32> = (0..rows).collect();
        match behaviour.as_str() {
            "filter-none" => Ok(BatchResult { edits: vec![], drop_rows: vec![], abort: None }),
            "filter-two" => Ok(BatchResult { edits: vec![Edit::Keep, Edit::Keep], drop_rows: vec![], abort: None }),
            "filter-row" => edit(spans(&[rows], &[0], &[1], b'*')),
            "filter-null" => edit(spans(&[2], &[0], &[0], b'*')),
            "filter-long" => edit(spans(&[0], &[0], &[1000], b'*')),
            "filter-cut" => edit(spans(&[1], &[1], &[1], b'*')),
            "filter-fill" => edit(spans(&[0], &[0], &[1], 7)),
            "filter-unequal" => edit(spans(&[0, 1], &[0], &[1], b'*')),
            "filter-unsorted" => edit(patch(&[1, 0], &[], &[1, 2], b"xy")),
            "filter-ends" => edit(patch(&[0], &[], &[9], b"xy")),
            "filter-patch-row" => edit(patch(&[rows], &[], &[1], b"x")),
            "filter-patch-null" => edit(patch(&[2], &[], &[1], b"x")),
            "filter-patch-nul" => edit(patch(&[0], &[], &[3], b"a\0b")),
            "filter-patch" => edit(patch(&[0, 1], &[0b10], &[3, 3], b"new")),
            "filter-drop-row" => Ok(BatchResult { edits: vec![Edit::Keep], drop_rows: vec![rows], abort: None }),
            "filter-drop" => Ok(BatchResult { edits: vec![Edit::Keep], drop_rows: vec![1], abort: None }),
            "filter-abort" => {
                Ok(BatchResult { edits: vec![Edit::Keep], drop_rows: vec![], abort: Some("enough".into()) })
            }
            "filter-huge" => edit(patch(&all, &[], &vec![2 << 20; all.len()], &vec![b'x'; 2 << 20])),
            "filter-first" => edit(spans(&[0], &[0], &[1], b'#')),
            "filter-seen" => {
                let seen = String::from_utf8_lossy(&chunks[0].data).into_owned();
                Ok(BatchResult { edits: vec![Edit::Keep], drop_rows: vec![], abort: Some(seen) })
            }
            _ => edit(Edit::Keep),
        }
    }
}
