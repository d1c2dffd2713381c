use std::mem::take;
use std::sync::Arc;

use portcullis_verdict::{
    Action, Batch, Column, ColumnPlan, Command, Denial, Edit, Fault, Limit, Mask, ResultSet, RowPlan, Snapshot,
};

use crate::answer::{self, bad};
use crate::bindings::exports::portcullis::policy::rows as wit;
use crate::canary::Member;
use crate::engine::Installed;
use crate::host::{Question, handle};
use crate::judge::SessionJudge;
use crate::meter::Hook;
use crate::policy::Policy;

/// A policy may hand back so many times what it was given, beyond its limit.
const ANSWER_FACTOR: u64 = 4;

type PolicyChain = Arc<[Member]>;

impl SessionJudge {
    /// The chain that decided a command, which also decides on its rows.
    pub(crate) fn deciding(&self, snapshot: &Snapshot) -> Result<(Arc<Installed>, PolicyChain), Denial> {
        let set = Installed::of(snapshot);
        set.and_then(|set| self.chain_of(&set).map(|chain| (set, chain)))
            .ok_or_else(|| Denial::by_gateway("the policies that decided this command are not known"))
    }

    pub(crate) fn plan_rows(
        &mut self,
        snapshot: &Snapshot,
        command: &Arc<Command>,
        result: &Arc<ResultSet>,
    ) -> Result<RowPlan, Denial> {
        let (set, chain) = self.deciding(snapshot)?;
        let mut combined = RowPlan::default();
        let session = self.session().clone();
        for (place, member) in chain.iter().enumerate().filter(|(_, m)| m.edits(&session.id)) {
            let policy = &member.policy;
            let (facts, columns) = (&command.statement.facts, &result.columns);
            let answer = self.ask(&set, policy, |inner, instance| {
                if policy.pure
                    && let Some(planned) = instance.answers.planned(facts, columns)
                {
                    return Ok(planned);
                }
                let question = Question::result(command, result);
                let plan = instance.edit(&inner.runtime, Hook::Plan, question, 0, |hooks, s| {
                    hooks.call_plan_result(s, handle(), handle(), handle())
                })?;
                let planned = (actions(plan.rules, columns)?, plan.max_rows);
                if policy.pure && !instance.host().apart {
                    instance.answers.keep_planned(facts, columns, &planned);
                }
                Ok(planned)
            });
            let (actions, max_rows) = answer.map_err(|fault| failed(policy, &fault))?;
            for (column, action) in actions {
                // The column is in range, so the only error left is the policy's own refusal.
                combined
                    .merge(result.columns.len(), column, action, place, &policy.name)
                    .map_err(|message| Denial { policy: policy.name.clone(), message })?;
            }
            let smaller = |max: &u64| combined.limit.as_ref().is_none_or(|l| *max < l.max_rows);
            if let Some(max_rows) = max_rows.filter(smaller) {
                combined.limit = Some(Limit { max_rows, policy: policy.name.clone() });
            }
        }
        Ok(combined)
    }

    pub(crate) fn filter_rows(
        &mut self,
        snapshot: &Snapshot,
        command: &Arc<Command>,
        result: &Arc<ResultSet>,
        plan: &RowPlan,
        batch: &mut Batch,
    ) -> Result<(), Denial> {
        let (set, chain) = self.deciding(snapshot)?;
        inspectors_are_known(plan, &chain, &self.session().id)?;
        for (place, Member { policy, .. }) in chain.iter().enumerate() {
            let columns = inspected(plan, place);
            if columns.is_empty() {
                continue;
            }
            if !batch.chunks.iter().map(|c| c.column).filter(|c| columns.contains(c)).eq(columns.iter().copied()) {
                return Err(Denial::by_gateway("the batch does not hold the columns that its plan inspects"));
            }
            let answer = self.ask(&set, policy, |inner, instance| {
                let (chunks, bytes) = lend(batch, &columns);
                let question = Question::values(command, result);
                let rows = batch.rows;
                let answer =
                    instance.edit(&inner.runtime, Hook::Filter, question, bytes * ANSWER_FACTOR, |hooks, s| {
                        hooks.call_filter_batch(s, handle(), handle(), handle(), rows, &chunks)
                    });
                give_back(batch, chunks);
                let wit::BatchResult { edits, drop_rows, abort } = answer?;
                if let Some(message) = abort {
                    answer::message(&message)?;
                    return Ok(Some(message));
                }
                let edits = edits.into_iter().map(edit).collect::<Result<_, _>>()?;
                batch.apply(&columns, edits, &drop_rows).map_err(|e| Fault::BadAnswer(e.0))?;
                Ok(None)
            });
            match answer {
                Ok(None) => {}
                Ok(Some(message)) => return Err(Denial { policy: policy.name.clone(), message }),
                Err(fault) => return Err(failed(policy, &fault)),
            }
        }
        Ok(())
    }
}

fn failed(policy: &Policy, fault: &Fault) -> Denial {
    Denial { policy: policy.name.clone(), message: format!("the policy {fault}; results are refused while it does") }
}

/// Checks the rules of a plan.
fn actions(rules: Vec<wit::Rule>, columns: &[Column]) -> Result<Vec<(usize, Action)>, Fault> {
    let mut seen = vec![false; columns.len()];
    let mut actions = Vec::with_capacity(rules.len().min(columns.len()));
    for wit::Rule { column, action } in rules {
        let column = column as usize;
        match seen.get_mut(column) {
            None => return bad(format!("a rule for column {column} of a result with {} columns", columns.len())),
            Some(seen) if *seen => return bad(format!("two rules for column {column}")),
            Some(seen) => *seen = true,
        }
        let action = match action {
            wit::Action::Keep => continue,
            wit::Action::Mask(mask) => {
                let parsed = Mask::parse(&mask.name, &mask.parameters);
                Action::Mask(parsed.map_err(|why| Fault::BadAnswer(answer::cut(&why)))?)
            }
            wit::Action::Inspect => Action::Inspect,
            wit::Action::Deny(message) => {
                answer::message(&message)?;
                Action::Deny(message)
            }
        };
        actions.push((column, action));
    }
    Ok(actions)
}

/// The columns that the policy at this place inspects.
fn inspected(plan: &RowPlan, place: usize) -> Vec<u32> {
    let inspects = |plan: &ColumnPlan| matches!(plan, ColumnPlan::Inspect(places) if places.contains(&place));
    plan.columns.iter().enumerate().filter(|(_, p)| inspects(p)).map(|(column, _)| column as u32).collect()
}

/// A plan that names a policy beyond the chain would leave a column uninspected.
fn inspectors_are_known(plan: &RowPlan, chain: &[Member], session: &str) -> Result<(), Denial> {
    let known = |place: &usize| chain.get(*place).is_some_and(|m| m.edits(session));
    let fits = |plan: &ColumnPlan| match plan {
        ColumnPlan::Inspect(places) => places.iter().all(known),
        ColumnPlan::Keep | ColumnPlan::Mask(..) => true,
    };
    if plan.columns.iter().all(fits) {
        return Ok(());
    }
    Err(Denial::by_gateway("the plan of this result names a policy that did not make it"))
}

/// Takes the columns' values out of the batch, so that they are not copied on their way into the guest.
fn lend(batch: &mut Batch, columns: &[u32]) -> (Vec<wit::Chunk>, u64) {
    let mut bytes = 0;
    let mut chunks = Vec::with_capacity(columns.len());
    for chunk in batch.chunks.iter_mut().filter(|c| columns.contains(&c.column)) {
        bytes += (chunk.data.len() + chunk.ends.len() * 4 + chunk.nulls.len()) as u64;
        chunks.push(wit::Chunk {
            column: chunk.column,
            nulls: take(&mut chunk.nulls),
            ends: take(&mut chunk.ends),
            data: take(&mut chunk.data),
        });
    }
    (chunks, bytes)
}

fn give_back(batch: &mut Batch, chunks: Vec<wit::Chunk>) {
    for lent in chunks {
        if let Some(chunk) = batch.chunks.iter_mut().find(|c| c.column == lent.column) {
            (chunk.nulls, chunk.ends, chunk.data) = (lent.nulls, lent.ends, lent.data);
        }
    }
}

fn edit(edit: wit::Edit) -> Result<Edit, Fault> {
    match edit {
        wit::Edit::Keep => Ok(Edit::Keep),
        wit::Edit::Spans(wit::Spans { rows, starts, lens, fill }) => Ok(Edit::Spans { rows, starts, lens, fill }),
        // No type's text form holds a NUL.
        wit::Edit::Patch(patch) if memchr::memchr(0, &patch.data).is_some() => bad("a patch with a NUL"),
        wit::Edit::Patch(wit::Patch { rows, nulls, ends, data }) => Ok(Edit::Patch { rows, nulls, ends, data }),
    }
}
