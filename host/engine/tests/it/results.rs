use std::sync::Arc;

use portcullis_verdict::{Batch, Chunk, Column, ColumnPlan, Denial, Judge, Limit, Mask, ResultSet, RowPlan, Snapshot};

use crate::bench::{Ask, Bench, broken, command, monitor, unread};

pub(crate) fn result() -> Arc<ResultSet> {
    let column = |name: &str, labels: &[&str]| Column {
        name: name.into(),
        type_name: "text".into(),
        labels: labels.iter().map(ToString::to_string).collect(),
        ..Column::default()
    };
    Arc::new(ResultSet { id: 3, columns: [column("name", &[]), column("mail", &["pii"])].into() })
}

pub(crate) fn batch() -> Batch {
    let mut chunk = Chunk::new(0);
    for value in [Some("alice"), Some("bé"), None, Some("dora")] {
        chunk.push(value.map(str::as_bytes));
    }
    Batch { rows: 4, chunks: vec![chunk], dropped: vec![] }
}

pub(crate) fn texts(batch: &Batch) -> Vec<Option<String>> {
    let text = |row| batch.chunks[0].value(row).map(|v| String::from_utf8_lossy(v).into_owned());
    (0..batch.rows as usize).map(text).collect()
}

fn plan_of(judge: &mut Box<dyn Judge>) -> Result<(Snapshot, RowPlan), Denial> {
    let asked = command("select 1");
    let snapshot = judge.ask(&asked).snapshot;
    judge.plan(&snapshot, &asked, &result()).map(|plan| (snapshot, plan))
}

/// Plans and filters; the batch, or the denial's message.
fn filtered(bench: &Bench) -> Result<Batch, String> {
    let mut judge = bench.judge();
    let (snapshot, plan) = plan_of(&mut judge).map_err(|d| d.message)?;
    let mut rows = batch();
    match judge.filter(&snapshot, &command("select 1"), &result(), &plan, &mut rows) {
        Ok(()) => Ok(rows),
        Err(denial) => {
            assert_eq!(&*denial.policy, "p");
            Err(denial.message)
        }
    }
}

#[test]
fn bad_plans_are_denials() {
    let cases = [
        ("plan-duplicate", "two rules for column 0"),
        ("plan-out-of-range", "column 99"),
        ("plan-bad-mask", "no mask `blur`"),
        ("plan-bad-count", "`count`"),
        ("plan-long-deny", "1025 bytes"),
        ("trap-in-plan", "trapped"),
        ("loop-in-plan", "50 ms"),
        ("error-in-plan", "as told"),
        ("memory-in-plan", "memory"),
    ];
    for (behaviour, expected) in cases {
        let said = plan_of(&mut Bench::broken(behaviour).judge()).unwrap_err();
        assert!(said.message.contains(expected) && &*said.policy == "p", "{behaviour}: {said:?}");
    }
    let said = plan_of(&mut Bench::broken("plan-deny").judge()).unwrap_err();
    assert_eq!((&*said.policy, said.message.as_str()), ("p", "not this column"));
}

#[test]
fn plans_of_a_chain_are_combined() {
    let chain = ["filter-keep", "plan-max-5", "plan-mask", "plan-max-3", "plan-by-label"];
    let policies = chain.iter().enumerate().map(|(i, behaviour)| broken(&format!("p{i}"), behaviour));
    let (_, plan) = plan_of(&mut Bench::with(policies.collect()).judge()).unwrap();
    let expected = [ColumnPlan::Mask(Mask::KeepLast(4), "p2".into()), ColumnPlan::Mask(Mask::Redact, "p4".into())];
    assert_eq!(plan.columns, expected);
    assert_eq!(plan.limit, Some(Limit { max_rows: 3, policy: "p3".into() }));
    let bench = Bench::with(vec![broken("a", "allow"), broken("b", "filter-keep"), broken("c", "filter-keep")]);
    let (_, plan) = plan_of(&mut bench.judge()).unwrap();
    assert_eq!(plan.columns[0], ColumnPlan::Inspect(vec![1, 2]));
}

#[test]
fn bad_edits_are_denials() {
    let cases = [
        ("filter-none", "0 edits"),
        ("filter-two", "2 edits"),
        ("filter-row", "row 4"),
        ("filter-null", "NULL"),
        ("filter-long", "1000 bytes"),
        ("filter-cut", "UTF-8"),
        ("filter-fill", "0x07"),
        ("filter-unequal", "2 rows, 1 starts"),
        ("filter-unsorted", "increase"),
        ("filter-ends", "ends"),
        ("filter-patch-row", "row 4"),
        ("filter-patch-null", "NULL"),
        ("filter-patch-nul", "NUL"),
        ("filter-drop-row", "row 4"),
        ("filter-huge", "bytes in one call"),
        ("trap-in-filter", "trapped"),
        ("loop-in-filter", "50 ms"),
        ("error-in-filter", "as told"),
        ("memory-in-filter", "memory"),
        ("overflow-in-filter", "trapped"),
    ];
    let bench = Bench::new();
    for (behaviour, expected) in cases {
        bench.install(vec![broken("p", behaviour)]);
        let said = filtered(&bench).unwrap_err();
        assert!(said.starts_with("the policy ") && said.contains(expected), "{behaviour}: {said}");
    }
    bench.install(vec![broken("p", "filter-abort")]);
    assert_eq!(filtered(&bench).unwrap_err(), "enough");
}

#[test]
fn edits_are_applied_in_the_order_of_the_chain() {
    let rows = filtered(&Bench::broken("filter-first")).unwrap();
    assert_eq!(texts(&rows), [Some("#lice".into()), Some("bé".into()), None, Some("dora".into())]);
    let rows = filtered(&Bench::broken("filter-patch")).unwrap();
    assert_eq!(texts(&rows), [Some("new".into()), None, None, Some("dora".into())]);
    assert!(rows.chunks[0].is_changed(1) && !rows.chunks[0].is_changed(3));
    assert!(filtered(&Bench::broken("filter-drop")).unwrap().is_dropped(1));
    let bench = Bench::with(vec![broken("a", "filter-first"), broken("p", "filter-seen")]);
    assert_eq!(filtered(&bench).unwrap_err(), "#licebédora");
}

#[test]
fn monitoring_policies_do_not_see_rows() {
    let bench = Bench::with(vec![monitor(broken("p", "filter-abort"))]);
    let mut judge = bench.judge();
    assert!(plan_of(&mut judge).unwrap().1.passes());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let bench = Bench::broken("filter-keep");
    let mut judge = bench.judge();
    let (snapshot, plan) = plan_of(&mut judge).unwrap();
    let asked = command("select 1");
    assert!(judge.plan(&Snapshot::empty(), &asked, &result()).is_err(), "a foreign snapshot");
    let mut rows = batch();
    let mut foreign = plan.clone();
    foreign.columns[0] = ColumnPlan::Inspect(vec![9]);
    let said = judge.filter(&snapshot, &asked, &result(), &foreign, &mut rows).unwrap_err();
    assert_eq!(&*said.policy, "portcullis");
    let said = judge.filter(&snapshot, &asked, &result(), &plan, &mut Batch::default()).unwrap_err();
    assert_eq!(&*said.policy, "portcullis");
    judge.filter(&snapshot, &asked, &result(), &plan, &mut rows).unwrap();
}

#[test]
fn facts_of_an_unreadable_command_refuse_its_rows() {
    let bench = Bench::broken("plan-unparsed");
    let mut judge = bench.judge();
    let snapshot = judge.ask(&command("select 1")).snapshot;
    let said = judge.plan(&snapshot, &unread(), &result()).unwrap_err();
    assert!(said.message.contains("could not be read"), "{said:?}");
}
