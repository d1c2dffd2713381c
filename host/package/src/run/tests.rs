use std::path::Path;

use portcullis_verdict::{
    Action, Batch, Chain, Edit, Fault, Kind, Limit, Mask, Mode, Phase, ResultSet, Reuse, RowPlan, Snapshot, Step, Wants,
};

use super::*;

/// Answers by tables: the command's text tells what to say of it, a column's name what to do with it.
struct Fake;

impl Decide for Fake {
    fn judge(&self, session: &Arc<Session>) -> Box<dyn Judge> {
        Box::new(FakeJudge(session.clone()))
    }
}

struct FakeJudge(Arc<Session>);

impl FakeJudge {
    fn answer(&self, command: &Command, grants: &[Grant]) -> Result<Verdict, Fault> {
        Ok(match &*command.statement.text {
            "drop" => Verdict::Deny("DROP is refused here".into()),
            "review" if grants.iter().any(|g| &*g.policy == "p" && g.approvers == ["bob"]) => Verdict::Allow,
            "review" => Verdict::Review(Terms {
                any_of: vec!["dba".into()],
                quorum: 2,
                ttl_seconds: 60,
                reuse: Reuse::SameCommand,
                reason: "needs a look".into(),
            }),
            "rewrite" => Verdict::Rewrite("select 1".into()),
            "fault" => return Err(Fault::Timeout(50)),
            "session" => Verdict::Deny(format!("{:?}", self.0)),
            "bound" => Verdict::Deny(format!("{:?} {:?}", command.parameters, command.phase)),
            _ => Verdict::Allow,
        })
    }
}

impl Judge for FakeJudge {
    fn wants(&mut self, _: Kind) -> Wants {
        Wants { commands: true, rows: true, conditions: false }
    }

    fn edits(&self, _: &Snapshot) -> bool {
        true
    }

    fn open(&mut self) -> Ruling {
        let mut chain = Chain::new(0, Phase::Execute, Snapshot::empty());
        if self.0.principal.name == "mallory" {
            chain.push(Answer {
                policy: "p".into(),
                digest: "00".into(),
                mode: Mode::Enforce,
                verdict: Ok(Verdict::Deny("mallory stays out".into())),
                findings: vec![],
                inputs: vec![],
            });
        }
        chain.conclude()
    }

    fn check(&mut self, command: &Arc<Command>, grants: &[Grant], read: &dyn Fn(&str) -> Arc<Statement>) -> Ruling {
        let mut chain = Chain::new(command.sequence, command.phase, Snapshot::empty());
        let findings = vec![Finding { rule: "looked".into(), message: "at it".into() }];
        let verdict = self.answer(command, grants);
        if &*command.statement.text != "unasked" {
            let answer = Answer {
                policy: "p".into(),
                digest: "00".into(),
                mode: Mode::Enforce,
                verdict,
                findings,
                inputs: vec![],
            };
            if let Step::Rewrite(text) = chain.push(answer) {
                chain.rewritten(read(&text));
            }
        }
        chain.conclude()
    }

    fn plan(&mut self, _: &Snapshot, command: &Arc<Command>, result: &Arc<ResultSet>) -> Result<RowPlan, Denial> {
        let mut plan = RowPlan::default();
        if &*command.statement.text == "limit" {
            plan.limit = Some(Limit { max_rows: 2, policy: "p".into() });
        }
        for (place, column) in result.columns.iter().enumerate() {
            let action = match column.name.as_str() {
                "card" => Action::Mask(Mask::KeepLast(4)),
                "born" => Action::Mask(Mask::DateToYear),
                "number" => Action::Mask(Mask::Constant("many".into())),
                "note" => Action::Inspect,
                "secret" => Action::Deny(format!("no secrets, {}", column.origins.len())),
                _ => Action::Keep,
            };
            let merged = plan.merge(result.columns.len(), place, action, 0, &"p".into());
            merged.map_err(|message| Denial { policy: "p".into(), message })?;
        }
        Ok(plan)
    }

    fn filter(
        &mut self,
        _: &Snapshot,
        command: &Arc<Command>,
        _: &Arc<ResultSet>,
        _: &RowPlan,
        batch: &mut Batch,
    ) -> Result<(), Denial> {
        if &*command.statement.text == "abort" {
            return Err(Denial { policy: "p".into(), message: "enough".into() });
        }
        let column = batch.chunks[0].column;
        let has = |row: &u32, what: &[u8]| batch.chunks[0].value(*row as usize) == Some(what);
        let all = 0..batch.rows;
        let hits: Vec<u32> = all.clone().filter(|row| has(row, b"hide")).collect();
        let drops: Vec<u32> = all.filter(|row| has(row, b"drop")).collect();
        let (starts, lens) = (vec![1; hits.len()], vec![3; hits.len()]);
        let edit = Edit::Spans { rows: hits, starts, lens, fill: b'*' };
        batch.apply(&[column], vec![edit], &drops).map_err(|e| Denial { policy: "p".into(), message: e.0 })
    }

    fn rest(&mut self) {}
}

fn run(text: &str) -> Result<(), String> {
    let cases = crate::case::parse(Path::new("c.toml"), &format!("[[case]]\nname = \"a\"\n{text}"));
    let [case] = &cases.unwrap()[..] else { panic!("not one case") };
    run_case(case, &Fake, "p", &|text| Arc::new(Statement::unread(Kind::Sql, text))).outcome
}

fn passes(text: &str) {
    assert_eq!(run(text), Ok(()), "{text}");
}

fn fails(text: &str, expected: &str) {
    let diff = run(text).unwrap_err();
    assert!(diff.contains(expected), "{text}\nwas to say: {expected}\nbut says: {diff}");
}

#[test]
fn decisions_are_compared() {
    passes("command.sql = \"drop\"\nexpect = { decision = \"deny\", message = \"refused\", findings = [\"looked\"] }");
    passes("command.sql = \"rewrite\"\nexpect = { decision = \"rewrite\", rewrite = \"select 1\" }");
    passes("command.sql = \"x\"\nexpect.decision = \"allow\"");
    fails("command.sql = \"drop\"\nexpect.decision = \"allow\"", "expected decision: allow\n  actual decision: deny\n");
    fails("command.sql = \"drop\"\nexpect.decision = \"allow\"", "it says: DROP is refused here");
    fails("command.sql = \"x\"\nexpect.decision = \"deny\"", "finding: looked: at it");
    fails("command.sql = \"drop\"\nexpect = { decision = \"deny\", message = \"granted\" }", "message with: granted");
    fails("command.sql = \"rewrite\"\nexpect = { decision = \"rewrite\", rewrite = \"2\" }", "rewrite: select 1");
    fails("command.sql = \"x\"\nexpect = { decision = \"allow\", findings = [\"f\"] }", "finding of the rule `f`");
}

#[test]
fn a_fault_and_a_silent_policy_fail_every_case() {
    for decision in ["allow", "deny", "review", "rewrite"] {
        fails(&format!("command.sql = \"fault\"\nexpect.decision = \"{decision}\""), "did not answer within 50 ms");
        fails(&format!("command.sql = \"unasked\"\nexpect.decision = \"{decision}\""), "was not asked");
    }
}

#[test]
fn reviews_are_compared_and_granted() {
    let expect = |terms: &str| {
        let approval = format!("approval = {{ any_of = [\"dba\"], {terms} }}");
        format!("command.sql = \"review\"\nexpect = {{ decision = \"review\", message = \"look\", {approval} }}")
    };
    passes(&expect("quorum = 2, ttl_seconds = 60, reuse = \"same-command\""));
    fails(&expect("quorum = 1"), "expected quorum: 1\n  actual quorum: 2");
    fails(&expect("reuse = \"once\""), "actual reuse: same-command");
    fails(&expect("ttl_seconds = 5"), "actual ttl_seconds: 60");
    passes("command = { sql = \"review\", approvers = [\"bob\"] }\nexpect.decision = \"allow\"");
    fails("command = { sql = \"review\", approvers = [\"eve\"] }\nexpect.decision = \"allow\"", "decision: review");
    passes("command = { sql = \"review\", phase = \"prepare\" }\nexpect.decision = \"review\"");
}

#[test]
fn the_session_and_the_parameters_reach_the_policy() {
    let session = "session = { principal = \"carol\", groups = [\"dev\"], labels = { env = \"prod\" }, \
                   credential = \"certificate\", reason = \"ticket 7\", client_address = \"192.0.2.9:1\" }";
    for part in ["carol", "dev", "prod", "Certificate", "ticket 7", "192.0.2.9"] {
        let message = format!("expect = {{ decision = \"deny\", message = \"{part}\" }}");
        passes(&format!("{session}\ncommand.sql = \"session\"\n{message}"));
    }
    let command = "command = { sql = \"bound\", phase = \"prepare\", parameters = [\"x\", { null = true }] }";
    passes(&format!("{command}\nexpect = {{ decision = \"deny\", message = 'Some(b\"x\"), binary: false' }}"));
    passes(&format!("{command}\nexpect = {{ decision = \"deny\", message = \"value: None\" }}"));
    passes(&format!("{command}\nexpect = {{ decision = \"deny\", message = \"Prepare\" }}"));
}

const RESULT: &str = "result.columns = [{ name = \"card\" }, { name = \"born\", type = \"date\" }, { name = \"note\" }]\n\
    result.rows = [[\"4111111111111234\", \"1984-05-06\", \"hide\"], [{ null = true }, { null = true }, { null = true }], \
    [\"1\", \"2001-01-02\", \"drop\"], [\"12345\", \"2001-01-02\", \"keep\"]]\n";

#[test]
fn rows_are_masked_edited_and_dropped() {
    let rows = "[[\"************1234\", \"1984-01-01\", \"h***\"], [{ null = true }, { null = true }, { null = true }], \
                [\"*2345\", \"2001-01-01\", \"keep\"]]";
    passes(&format!("command.sql = \"x\"\n{RESULT}expect.rows = {rows}"));
    // The result is that of the text that runs.
    passes(&format!("command.sql = \"rewrite\"\n{RESULT}expect = {{ decision = \"rewrite\", rows = {rows} }}"));
    passes(&format!("command.sql = \"unasked\"\n{RESULT}expect.rows = {rows}"));
    let wrong = rows.replace("*2345", "12345");
    let diff = run(&format!("command.sql = \"x\"\n{RESULT}expect.rows = {wrong}")).unwrap_err();
    let marked: Vec<_> = diff.lines().filter(|line| line.starts_with("  !")).collect();
    assert_eq!(
        marked,
        [
            "  ! \"12345\"            | \"2001-01-01\" | \"keep\"",
            "  ! \"*2345\"            | \"2001-01-01\" | \"keep\""
        ]
    );
    assert!(diff.contains("NULL") && diff.contains("expected, 3 rows:\n    card  "), "{diff}");
}

#[test]
fn refusals_of_results_are_compared() {
    let secret = "result.columns = [{ name = \"secret\", origins = [\"s.t.c\"] }]\n";
    passes(&format!("command.sql = \"x\"\n{secret}expect.refused = \"no secrets, 1\""));
    fails(&format!("command.sql = \"x\"\n{secret}expect.refused = \"other\""), "expected refused with: other");
    fails(&format!("command.sql = \"x\"\n{secret}expect.rows = []"), "the result is refused: no secrets");
    passes(&format!("command.sql = \"abort\"\n{RESULT}expect.refused = \"enough\""));
    fails(&format!("command.sql = \"x\"\n{RESULT}expect.refused = \"enough\""), "actual: 3 rows pass");
    let number = "result = { columns = [{ name = \"number\", type = \"int4\" }], rows = [[\"1\"]] }\n";
    passes(&format!("command.sql = \"x\"\n{number}expect.refused = \"column \\\"number\\\": the constant is not\""));
    fails(&format!("command.sql = \"drop\"\n{RESULT}expect.rows = []"), "expected decision: allow");
}

#[test]
fn the_row_limit_counts_what_the_client_sees() {
    let rows = |notes: &[&str]| notes.iter().map(|n| format!("[\"{n}\"]")).collect::<Vec<_>>().join(", ");
    let result = |notes: &[&str]| {
        format!("command.sql = \"limit\"\nresult = {{ columns = [{{ name = \"note\" }}], rows = [{}] }}\n", rows(notes))
    };
    passes(&format!("{}expect = {{ rows = [[\"a\"], [\"b\"]], max_rows = 2 }}", result(&["a", "drop", "b", "drop"])));
    passes(&format!("{}expect.refused = \"more than 2 rows\"", result(&["a", "b", "c"])));
    fails(&format!("{}expect.max_rows = 3", result(&["a"])), "expected max_rows: 3\n  actual max_rows: 2");
    let many: Vec<&str> = (0..3000).map(|i| if i % 1500 == 7 { "a" } else { "drop" }).collect();
    passes(&format!("{}expect.rows = [[\"a\"], [\"a\"]]", result(&many)));
}
