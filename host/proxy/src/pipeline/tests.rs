//! The pipeline between scripted policies, a scripted audit and scripted people.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::task::Waker;

use portcullis_verdict::{
    Answer, ApprovalError, Batch, Chain, Credential, Input, Kind, Mode, Phase, Principal, ResultSet, Reuse, RowPlan,
    Step, Target, Terms, Verdict, Wants,
};
use tokio::sync::oneshot;

use super::*;

/// A policy that asked for something before it answered.
const COUNTER: &str = "counter";

/// What each policy says to one question.
type Answers = Vec<(&'static str, Verdict)>;

struct Script {
    answers: VecDeque<Answers>,
    asked: Arc<Mutex<Vec<Vec<Grant>>>>,
}

impl Judge for Script {
    fn wants(&mut self, _: Kind) -> Wants {
        Wants { commands: true, rows: false, conditions: false }
    }

    fn edits(&self, _: &Snapshot) -> bool {
        false
    }

    fn open(&mut self) -> Ruling {
        Chain::new(0, Phase::Execute, Snapshot::empty()).conclude()
    }

    fn check(&mut self, command: &Arc<Command>, grants: &[Grant], read: &dyn Fn(&str) -> Arc<Statement>) -> Ruling {
        let mut asked = self.asked.lock().unwrap();
        asked.push(grants.to_vec());
        let snapshot = Snapshot::new(asked.len() as u64, Arc::new(()));
        let mut chain = Chain::new(command.sequence, command.phase, snapshot);
        for (policy, verdict) in self.answers.pop_front().expect("this question is scripted") {
            let inputs = if policy == COUNTER { vec![Input::Increment(Ok(5))] } else { vec![] };
            let (policy, digest) = (policy.into(), "00".into());
            let answer = Answer { policy, digest, mode: Mode::Enforce, verdict: Ok(verdict), findings: vec![], inputs };
            if let Step::Rewrite(text) = chain.push(answer) {
                chain.rewritten(read(&text));
            }
        }
        chain.conclude()
    }

    fn plan(&mut self, _: &Snapshot, _: &Arc<Command>, _: &Arc<ResultSet>) -> Result<RowPlan, Denial> {
        Ok(RowPlan::default())
    }

    fn filter(
        &mut self,
        _: &Snapshot,
        _: &Arc<Command>,
        _: &Arc<ResultSet>,
        _: &RowPlan,
        _: &mut Batch,
    ) -> Result<(), Denial> {
        Ok(())
    }

    fn rest(&mut self) {}
}

enum Reply {
    Fails,
    /// When the test says so.
    Later(oneshot::Receiver<()>),
}

/// Takes everything at once where no reply is scripted.
#[derive(Default)]
struct Log {
    replies: Mutex<VecDeque<Reply>>,
    events: Mutex<Vec<CommandEvent>>,
    inputs: Mutex<Vec<InputsEvent>>,
}

impl AuditSink for Log {
    fn append(&self, event: Event) -> Appended {
        match event {
            Event::Command(event) => self.events.lock().unwrap().push(event),
            Event::Inputs(event) => self.inputs.lock().unwrap().push(event),
            other => panic!("only commands are recorded here: {other:?}"),
        }
        match self.replies.lock().unwrap().pop_front() {
            None => Appended::Done(Receipt::accepted()),
            Some(Reply::Fails) => Appended::Failed(AuditError::Write("full".into())),
            Some(Reply::Later(durable)) => Appended::Pending(Box::pin(async {
                durable.await.map(|()| Receipt::accepted()).map_err(|_| AuditError::Write("lost".into()))
            })),
        }
    }
}

/// Nobody is there where no hold is scripted.
#[derive(Default)]
struct Desk {
    holds: Mutex<VecDeque<oneshot::Receiver<ApprovalOutcome>>>,
    requests: Mutex<Vec<ApprovalRequest>>,
}

impl Approvals for Desk {
    fn request(&self, request: ApprovalRequest) -> Result<Hold, ApprovalError> {
        let Some(outcome) = self.holds.lock().unwrap().pop_front() else { return Err(ApprovalError::TooMany(3)) };
        let mut requests = self.requests.lock().unwrap();
        requests.push(request);
        let id = format!("a{}", requests.len()).into();
        let demands = requests.last().map(|request| request.demands.clone()).unwrap_or_default();
        let outcome = Box::pin(async { outcome.await.expect("the people speak") });
        Ok(Hold { id, demands, expires_ms: 60_000, stays_open: false, outcome })
    }
}

struct Rig {
    pipeline: Pipeline,
    asked: Arc<Mutex<Vec<Vec<Grant>>>>,
    log: Arc<Log>,
    desk: Arc<Desk>,
}

/// Reads a text without its facts.
fn read(text: &str) -> Arc<Statement> {
    Arc::new(Statement::unread(Kind::Sql, text))
}

impl Rig {
    fn new(answers: impl IntoIterator<Item = Answers>) -> Self {
        let (asked, log, desk): (Arc<Mutex<_>>, Arc<Log>, Arc<Desk>) = Default::default();
        let judge = Box::new(Script { answers: answers.into_iter().collect(), asked: asked.clone() });
        let principal = Principal { name: "alice".into(), groups: vec![], credential: Credential::Scram };
        let session = Session {
            id: "s".into(),
            protocol: "postgres",
            principal,
            target: Arc::new(Target { name: "shop".into(), labels: BTreeMap::new() }),
            client_address: ([192, 0, 2, 1], 40000).into(),
            reason: None,
        };
        let stats = Arc::new(Stats::default());
        let pipeline = Pipeline::new(Arc::new(session), judge, Some(log.clone()), desk.clone(), stats, false, true);
        Self { pipeline, asked, log, desk }
    }

    fn audit(&self, reply: Reply) {
        self.log.replies.lock().unwrap().push_back(reply);
    }

    /// Somebody is there to decide one request.
    fn people(&self) -> oneshot::Sender<ApprovalOutcome> {
        let (people, outcome) = oneshot::channel();
        self.desk.holds.lock().unwrap().push_back(outcome);
        people
    }

    fn decide(&mut self) -> Decision {
        self.pipeline.decide(Arc::new(Self::command()), &read)
    }

    fn command() -> Command {
        let (sequence, phase) = (7, Phase::Execute);
        Command { sequence, phase, statement: read("select 1"), parameters: vec![], reason: None, origins: None }
    }

    /// A decision that must wait.
    fn waits(&mut self) -> Waiting {
        match self.decide() {
            Decision::Wait(waiting) => waiting,
            other => panic!("it does not wait: {}", show(&other)),
        }
    }

    fn poll(&mut self, waiting: &mut Waiting) -> Poll<Decision> {
        self.pipeline.poll(waiting, &mut Context::from_waker(Waker::noop()), &read)
    }

    fn ready(&mut self, waiting: &mut Waiting) -> Decision {
        match self.poll(waiting) {
            Poll::Ready(decision) => decision,
            Poll::Pending => panic!("it still waits"),
        }
    }

    /// The policies whose demands were granted, each time that the chain was asked.
    fn asked_with(&self) -> Vec<Vec<String>> {
        let policies = |grants: &Vec<Grant>| grants.iter().map(|grant| grant.policy.to_string()).collect();
        self.asked.lock().unwrap().iter().map(policies).collect()
    }

    /// Allowed, denied, held, held now.
    fn counts(&self) -> [u64; 4] {
        let stats = &self.pipeline.stats;
        [&stats.commands_allowed, &stats.commands_denied, &stats.commands_held, &stats.holds_active]
            .map(|counter| counter.load(Ordering::Relaxed))
    }
}

fn show(decision: &Decision) -> String {
    match decision {
        Decision::Go(go) => format!("go {}", go.permit.sequence()),
        Decision::Deny(denial) => format!("{}: {}", denial.policy, denial.message),
        Decision::Wait(waiting) => format!("wait {:?}", waiting.approval().map(|hold| &hold.id)),
    }
}

fn review(policy: &'static str) -> (&'static str, Verdict) {
    let (any_of, reuse) = (vec!["dba".into()], Reuse::Once);
    (policy, Verdict::Review(Terms { any_of, quorum: 1, ttl_seconds: 60, reuse, reason: "r".into() }))
}

fn granted(policy: &str) -> ApprovalOutcome {
    ApprovalOutcome::Granted(vec![Grant { policy: policy.into(), approvers: vec!["bob".into()] }])
}

const UNRECORDED: &str = "portcullis: commands are refused while the audit log cannot be written";

#[test]
fn what_is_allowed_and_recorded_goes() {
    let mut rig = Rig::new([vec![("a", Verdict::Allow)]]);
    let Decision::Go(go) = rig.decide() else { panic!("it does not go") };
    assert_eq!((go.permit.sequence(), go.snapshot.generation(), go.rewrite.is_none()), (7, 1, true));
    assert_eq!(rig.counts(), [1, 0, 0, 0]);
    assert_eq!(rig.log.events.lock().unwrap()[0].outcome, "allow");
}

#[test]
fn a_denial_is_recorded_and_needs_no_receipt() {
    for reply in [None, Some(Reply::Fails)] {
        let mut rig = Rig::new([vec![("a", Verdict::Deny("not today".into()))]]);
        reply.into_iter().for_each(|reply| rig.audit(reply));
        assert_eq!(show(&rig.decide()), "a: not today");
        assert_eq!(rig.counts(), [0, 1, 0, 0]);
        assert_eq!(rig.log.events.lock().unwrap()[0].message.as_deref(), Some("not today"));
    }
}

#[test]
fn what_cannot_be_recorded_is_denied_and_nobody_is_asked() {
    for answers in [vec![], vec![review("a")], vec![("a", Verdict::Rewrite("select 2".into()))]] {
        let mut rig = Rig::new([answers]);
        let _people = rig.people();
        rig.audit(Reply::Fails);
        assert_eq!(show(&rig.decide()), UNRECORDED);
        assert_eq!(rig.counts(), [0, 1, 0, 0]);
        assert!(rig.desk.requests.lock().unwrap().is_empty());
    }
}

#[test]
fn a_command_waits_until_its_record_is_durable() {
    let mut rig = Rig::new([vec![("a", Verdict::Rewrite("select 2".into()))]]);
    let (disk, durable) = oneshot::channel();
    rig.audit(Reply::Later(durable));
    let mut waiting = rig.waits();
    assert!(waiting.approval().is_none() && rig.poll(&mut waiting).is_pending());
    assert_eq!(rig.counts(), [0, 0, 0, 0]);
    disk.send(()).unwrap();
    let Decision::Go(go) = rig.ready(&mut waiting) else { panic!("it does not go") };
    assert_eq!((go.permit.sequence(), go.rewrite.map(|s| s.text.to_string())), (7, Some("select 2".into())));
    assert_eq!(rig.counts(), [1, 0, 0, 0]);
}

#[test]
fn what_a_decision_rests_on_is_recorded_with_it() {
    let mut rig = Rig::new([vec![("a", Verdict::Allow), (COUNTER, Verdict::Allow)]]);
    assert_eq!(show(&rig.decide()), "go 7");
    let recorded = rig.log.inputs.lock().unwrap();
    let [InputsEvent { sequence: 7, phase, inputs, .. }] = recorded.as_slice() else { panic!("{recorded:?}") };
    let [PolicyInputs { policy, digest, inputs }] = inputs.as_slice() else { panic!("{inputs:?}") };
    assert_eq!((&**phase, &**policy, &**digest), ("execute", COUNTER, "00"));
    assert_eq!(inputs, &[Input::Increment(Ok(5))]);
}

#[test]
fn nothing_is_recorded_beside_a_decision_that_rests_on_nothing_or_where_it_is_not_wanted() {
    let mut rig = Rig::new([vec![("a", Verdict::Allow)], vec![(COUNTER, Verdict::Allow)]]);
    assert_eq!(show(&rig.decide()), "go 7");
    rig.pipeline.record_inputs = false;
    assert_eq!(show(&rig.decide()), "go 7");
    assert_eq!((rig.log.events.lock().unwrap().len(), rig.log.inputs.lock().unwrap().len()), (2, 0));
}

#[test]
fn a_command_waits_for_what_its_decision_rests_on_too() {
    for first in [true, false] {
        let mut rig = Rig::new([vec![(COUNTER, Verdict::Allow)]]);
        let (decision, decided) = oneshot::channel();
        let (inputs, kept) = oneshot::channel();
        rig.audit(Reply::Later(decided));
        rig.audit(Reply::Later(kept));
        let mut waiting = rig.waits();
        let [one, other] = if first { [decision, inputs] } else { [inputs, decision] };
        one.send(()).unwrap();
        assert!(rig.poll(&mut waiting).is_pending(), "one of the two is not there yet");
        other.send(()).unwrap();
        assert_eq!(show(&rig.ready(&mut waiting)), "go 7");
    }
    let mut rig = Rig::new([vec![(COUNTER, Verdict::Allow)]]);
    let (disk, durable) = oneshot::channel();
    rig.audit(Reply::Later(durable));
    rig.audit(Reply::Fails);
    assert_eq!(show(&rig.decide()), UNRECORDED);
    assert!(disk.is_closed());
    // What could not be decided on has no inputs.
    let mut rig = Rig::new([vec![(COUNTER, Verdict::Allow)]]);
    rig.audit(Reply::Fails);
    assert_eq!(show(&rig.decide()), UNRECORDED);
    assert!(rig.log.inputs.lock().unwrap().is_empty());
}

#[test]
fn a_record_that_is_lost_on_the_way_to_the_disk_is_a_denial() {
    let mut rig = Rig::new([vec![]]);
    let (disk, durable) = oneshot::channel();
    rig.audit(Reply::Later(durable));
    let mut waiting = rig.waits();
    drop(disk);
    assert_eq!(show(&rig.ready(&mut waiting)), UNRECORDED);
    assert_eq!(rig.counts(), [0, 1, 0, 0]);
}

#[test]
fn a_review_holds_the_exact_text_that_would_run() {
    let mut rig = Rig::new([vec![("a", Verdict::Rewrite("select 2".into())), review("b"), review("c")]]);
    let _people = rig.people();
    let mut waiting = rig.waits();
    assert_eq!(waiting.approval().map(|hold| &*hold.id), Some("a1"));
    assert!(rig.poll(&mut waiting).is_pending());
    assert_eq!(rig.counts(), [0, 0, 1, 1]);
    let requests = rig.desk.requests.lock().unwrap();
    let demands: Vec<&str> = requests[0].demands.iter().map(|demand| &*demand.policy).collect();
    assert_eq!((requests[0].sequence, &*requests[0].text, demands), (7, "select 2", vec!["b", "c"]));
    assert_eq!(requests[0].digest, waiting.command.digest("select 2"));
}

#[test]
fn what_is_granted_is_asked_again_and_then_goes() {
    let mut rig = Rig::new([vec![review("a")], vec![("a", Verdict::Allow)]]);
    let people = rig.people();
    let mut waiting = rig.waits();
    people.send(granted("a")).unwrap();
    let Decision::Go(go) = rig.ready(&mut waiting) else { panic!("it does not go") };
    // The rows belong to the policies that spoke last.
    assert_eq!((go.permit.sequence(), go.snapshot.generation()), (7, 2));
    assert_eq!(rig.counts(), [1, 0, 1, 0]);
    let ApprovalOutcome::Granted(grants) = granted("a") else { unreachable!() };
    assert_eq!(*rig.asked.lock().unwrap(), [vec![], grants]);
    let events = rig.log.events.lock().unwrap();
    let recorded: Vec<_> = events.iter().map(|e| (&*e.outcome, e.approval.as_deref())).collect();
    assert_eq!(recorded, [("review", None), ("allow", Some("a1"))]);
}

#[test]
fn a_grant_is_not_enough() {
    let denied = vec![("b", Verdict::Deny("too late".into()))];
    for (second, reply, expected) in [
        (denied, None, "b: too late"),
        (vec![review("a")], None, "portcullis: the policies ask for the same approval again"),
        (vec![("a", Verdict::Allow)], Some(Reply::Fails), UNRECORDED),
        // Nobody can be asked a second time.
        (vec![review("a"), review("b")], None, "portcullis: 3 approval requests are open already"),
    ] {
        let mut rig = Rig::new([vec![review("a")], second]);
        let people = rig.people();
        let mut waiting = rig.waits();
        reply.into_iter().for_each(|reply| rig.audit(reply));
        people.send(granted("a")).unwrap();
        let decision = show(&rig.ready(&mut waiting));
        assert!(decision.starts_with(expected), "{decision}");
        let [allowed, denied, _, active] = rig.counts();
        assert_eq!((allowed, denied, active), (0, 1, 0));
    }
}

#[test]
fn a_new_demand_after_an_approval_is_held_again() {
    let mut rig = Rig::new([vec![review("a")], vec![review("a"), review("b")], vec![]]);
    let (first, second) = (rig.people(), rig.people());
    let mut waiting = rig.waits();
    first.send(granted("a")).unwrap();
    let Decision::Wait(mut waiting) = rig.ready(&mut waiting) else { panic!("it is not held again") };
    assert_eq!(waiting.approval().map(|hold| &*hold.id), Some("a2"));
    assert!(rig.poll(&mut waiting).is_pending());
    assert_eq!(rig.counts(), [0, 0, 2, 1]);
    second.send(granted("b")).unwrap();
    assert_eq!(show(&rig.ready(&mut waiting)), "go 7");
    assert_eq!(rig.counts(), [1, 0, 2, 0]);
    assert_eq!(rig.asked_with(), [vec![], vec!["a"], vec!["a", "b"]], "or a would demand its own again, and so on");
}

#[test]
fn a_grant_for_another_text_counts_no_more() {
    let rewrite = |text: &str| ("b", Verdict::Rewrite(text.into()));
    let mut rig =
        Rig::new([vec![review("a")], vec![rewrite("select 2"), review("c")], vec![rewrite("select 2"), review("a")]]);
    let (first, second, third) = (rig.people(), rig.people(), rig.people());
    let mut waiting = rig.waits();
    first.send(granted("a")).unwrap();
    let Decision::Wait(mut waiting) = rig.ready(&mut waiting) else { panic!("it is not held again") };
    second.send(granted("c")).unwrap();
    let Decision::Wait(waiting) = rig.ready(&mut waiting) else { panic!("nobody is asked about the new text") };
    assert_eq!(waiting.approval().map(|hold| &*hold.id), Some("a3"));
    assert_eq!(rig.asked_with(), [vec![], vec!["a"], vec!["c"]]);
    drop(third);
}

#[test]
fn a_grant_waits_for_the_disk_too() {
    let mut rig = Rig::new([vec![review("a")], vec![]]);
    let people = rig.people();
    let mut waiting = rig.waits();
    let (disk, durable) = oneshot::channel();
    rig.audit(Reply::Later(durable));
    people.send(granted("a")).unwrap();
    let Decision::Wait(mut waiting) = rig.ready(&mut waiting) else { panic!("it does not wait for the disk") };
    assert_eq!((waiting.approval().is_none(), rig.counts()), (true, [0, 0, 1, 0]));
    disk.send(()).unwrap();
    assert_eq!(show(&rig.ready(&mut waiting)), "go 7");
}

#[test]
fn the_client_gets_the_reviewers_words() {
    let denied = |reason: &str| ApprovalOutcome::Denied { by: "bob".into(), reason: reason.into() };
    for (outcome, expected) in [
        (denied("not on a Friday"), "portcullis: bob denied approval a1: not on a Friday"),
        (denied(""), "portcullis: bob denied approval a1"),
        (ApprovalOutcome::Expired, "portcullis: approval a1 expired before anybody decided"),
    ] {
        let mut rig = Rig::new([vec![review("a")]]);
        let people = rig.people();
        let mut waiting = rig.waits();
        people.send(outcome).unwrap();
        assert_eq!(show(&rig.ready(&mut waiting)), expected);
        assert_eq!(rig.counts(), [0, 1, 1, 0]);
        assert_eq!(rig.asked.lock().unwrap().len(), 1, "a refused command is not asked about again");
    }
}

#[test]
fn a_hold_that_is_given_up_is_withdrawn() {
    let mut rig = Rig::new([vec![review("a")]]);
    let people = rig.people();
    let waiting = rig.waits();
    assert!(!people.is_closed());
    rig.pipeline.give_up(waiting);
    assert!(people.is_closed());
    assert_eq!(rig.counts(), [0, 0, 1, 0]);

    let mut rig = Rig::new([vec![]]);
    let (disk, durable) = oneshot::channel();
    rig.audit(Reply::Later(durable));
    let waiting = rig.waits();
    rig.pipeline.give_up(waiting);
    assert!(disk.is_closed());
    assert_eq!(rig.counts(), [0, 0, 0, 0], "it never was a hold");
}

#[test]
fn a_review_that_nobody_can_decide_is_a_denial() {
    let mut rig = Rig::new([vec![review("a")]]);
    assert!(show(&rig.decide()).starts_with("portcullis: 3 approval requests are open already"));
    let [allowed, denied, _, active] = rig.counts();
    assert_eq!((allowed, denied, active), (0, 1, 0));
}

#[test]
fn the_record_holds_what_was_read_and_bound_parameters_only_where_they_are_asked_for() {
    for (asked_for, expected) in [(false, &[][..]), (true, &["NULL".to_owned(), "alice".to_owned()])] {
        let mut rig = Rig::new([vec![]]);
        rig.pipeline.record_parameters = asked_for;
        let bound = |value: Option<&'static [u8]>| Parameter { value: value.map(Into::into), binary: false };
        let parameters = vec![bound(None), bound(Some(b"alice"))];
        let command = Arc::new(Command { parameters, reason: Some("ticket 7".into()), ..Rig::command() });
        rig.pipeline.decide(command.clone(), &read);
        let events = rig.log.events.lock().unwrap();
        assert_eq!((&*events[0].subject.session, &*events[0].subject.principal), ("s", "alice"));
        assert!(Arc::ptr_eq(&events[0].facts, &command.statement.facts));
        assert_eq!(events[0].reason.as_deref(), Some("ticket 7"));
        assert_eq!(events[0].parameters, expected);
    }
}
