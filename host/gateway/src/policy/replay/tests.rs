use std::sync::Arc;

use portcullis_verdict::{
    Answer, AnswerRecord, CommandEvent, Facts, Fault, Finding, Mode, OpenEvent, Phase, Reuse, Subject, Terms, Verdict,
};

use super::compare::{Basis, Demands, Difference, Said, difference, now, seen, then};
use super::sessions::{Labels, Sessions};
use super::source::Source;

fn subject(session: &str) -> Arc<Subject> {
    Arc::new(Subject { session: session.into(), principal: "ann".into(), target: "shop".into() })
}

fn record(policy: &str, verdict: &'static str, message: &str) -> AnswerRecord {
    let (policy, digest) = (policy.into(), "00".into());
    let message = message.to_owned();
    AnswerRecord { policy, digest, mode: Mode::Enforce, verdict: verdict.into(), message, findings: vec![] }
}

fn event(outcome: &'static str, answers: Vec<AnswerRecord>) -> CommandEvent {
    CommandEvent {
        subject: subject("s"),
        sequence: 7,
        kind: "sql".into(),
        phase: "execute".into(),
        text: "select 1".into(),
        rewrite: None,
        facts: Arc::new(Facts { fingerprint: String::new(), sql: Ok(vec![]) }),
        parameters: vec![],
        reason: None,
        outcome: outcome.into(),
        message: (outcome == "deny").then(|| "no".into()),
        answers,
        approval: None,
        micros: 1,
    }
}

fn says(verdict: Result<Verdict, Fault>) -> Said {
    let (policy, digest) = ("p".into(), "00".into());
    now(&Answer { policy, digest, mode: Mode::Enforce, verdict, findings: vec![], inputs: vec![] })
}

fn terms(quorum: u32, reason: &str) -> Terms {
    let (any_of, reason) = (vec!["dba".to_owned()], reason.to_owned());
    Terms { any_of, quorum, ttl_seconds: 60, reuse: Reuse::Once, reason }
}

fn review(quorum: u32, reason: &str) -> Said {
    says(Ok(Verdict::Review(terms(quorum, reason))))
}

fn deny(message: &str) -> Said {
    says(Ok(Verdict::Deny(message.into())))
}

fn apart(then: &Said, now: &Said) -> Difference {
    difference(then, now, Basis::Policy, Phase::Execute, false)
}

#[test]
fn another_decision_another_text_or_other_terms_are_a_change_and_other_words_are_none() {
    let allow = says(Ok(Verdict::Allow));
    let rewrite = |text: &str| says(Ok(Verdict::Rewrite(text.into())));
    assert_eq!(apart(&allow, &allow), Difference::None);
    assert_eq!(apart(&allow, &deny("a")), Difference::Decision);
    assert_eq!(apart(&deny("a"), &deny("b")), Difference::Words);
    assert_eq!(apart(&rewrite("a"), &rewrite("a")), Difference::None);
    assert_eq!(apart(&rewrite("a"), &rewrite("b")), Difference::Decision);
    assert_eq!(apart(&rewrite("a"), &allow), Difference::Decision);
    assert_eq!(apart(&review(1, "a"), &review(2, "a")), Difference::Decision);
    assert_eq!(apart(&review(1, "a"), &review(1, "b")), Difference::Words);
    assert_eq!(apart(&deny("a"), &says(Err(Fault::Timeout(1)))), Difference::Decision);
    let found = Said { findings: vec![Finding { rule: "r".into(), message: "m".into() }], ..allow.clone() };
    assert_eq!(apart(&allow, &found), Difference::Words);
}

#[test]
fn what_a_policy_said_then_is_taken_before_what_all_decided() {
    let denied = event("deny", vec![record("a", "allow", ""), record("b", "deny", "no")]);
    let (basis, said) = then(&denied, "a", None);
    assert_eq!((basis, &*said.verdict), (Basis::Policy, "allow"));
    let (basis, said) = then(&denied, "c", None);
    assert_eq!((basis, &*said.verdict, said.message.as_deref()), (Basis::Outcome, "deny", Some("no")));
    let rewritten = CommandEvent { rewrite: Some("select 2".into()), ..event("allow", vec![]) };
    let (_, said) = then(&rewritten, "c", None);
    assert_eq!((&*said.verdict, said.rewrite.as_deref()), ("rewrite", Some("select 2")));
}

#[test]
fn terms_are_compared_where_they_are_known() {
    let held = event("review", vec![record("p", "review", "why")]);
    let (basis, unknown) = then(&held, "p", None);
    assert_eq!(difference(&unknown, &review(9, "why"), basis, Phase::Execute, false), Difference::None);
    let demands = Demands::from([(("s".into(), 7), vec![("p".into(), terms(1, "why"))])]);
    let (basis, known) = then(&held, "p", Some(&demands));
    assert_eq!(difference(&known, &review(9, "why"), basis, Phase::Execute, false), Difference::Decision);
    assert_eq!(difference(&known, &review(1, "why"), basis, Phase::Execute, false), Difference::None);
}

#[test]
fn a_review_of_what_people_had_approved_is_no_change() {
    let allowed = says(Ok(Verdict::Allow));
    let granted = |now: Said| difference(&allowed, &now, Basis::Policy, Phase::Execute, true);
    assert_eq!(granted(review(1, "a")), Difference::None);
    assert_eq!(granted(deny("a")), Difference::Decision);
    assert_eq!(apart(&allowed, &review(1, "a")), Difference::Decision);
}

#[test]
fn a_review_lets_a_command_be_prepared() {
    let (basis, allowed) = then(&event("allow", vec![]), "p", None);
    assert_eq!(difference(&allowed, &review(1, "a"), basis, Phase::Prepare, false), Difference::None);
    assert_eq!(difference(&allowed, &review(1, "a"), basis, Phase::Execute, false), Difference::Decision);
}

#[test]
fn a_policy_is_asked_about_the_text_that_it_saw() {
    let mut monitored = record("m", "rewrite", "select 9");
    monitored.mode = Mode::Monitor;
    let rewrites = |policy, text| record(policy, "rewrite", text);
    let answers = vec![rewrites("a", "select 2"), monitored, rewrites("b", "select 3"), record("c", "allow", "")];
    let event = event("allow", answers);
    let texts = ["a", "b", "c", "nobody"].map(|policy| seen(&event, policy).to_string());
    assert_eq!(texts, ["select 1", "select 2", "select 3", "select 1"]);
}

fn opening(session: &str) -> OpenEvent {
    OpenEvent {
        subject: subject(session),
        protocol: "postgres".into(),
        groups: vec!["dev".into()],
        credential: "scram-sha-256".into(),
        client_address: "127.0.0.1:5".into(),
        reason: None,
        refused: None,
    }
}

#[test]
fn a_session_is_as_it_was_opened() {
    let labels = Labels::from([("shop".into(), [("env".into(), "production".into())].into())]);
    let mut sessions = Sessions::default();
    sessions.open(&opening("s"), &labels);
    let session = sessions.get("s").unwrap().session.clone().unwrap();
    assert_eq!((&*session.principal.name, session.principal.groups.as_slice()), ("ann", &["dev".to_owned()][..]));
    assert_eq!(session.target.labels["env"], "production");
    for strange in [
        OpenEvent { protocol: "mysql".into(), ..opening("t") },
        OpenEvent { credential: "none".into(), ..opening("t") },
        OpenEvent { client_address: "here".into(), ..opening("t") },
    ] {
        sessions.open(&strange, &labels);
        assert!(sessions.get("t").unwrap().session.is_err());
    }
    sessions.close("s");
    assert!(sessions.get("s").is_none());
}

#[test]
fn what_was_used_least_recently_is_forgotten_first() {
    let mut sessions = Sessions::default();
    let labels = Labels::new();
    sessions.open(&opening("first"), &labels);
    sessions.open(&opening("second"), &labels);
    (0..16_383).for_each(|i| {
        sessions.get("first");
        sessions.open(&opening(&i.to_string()), &labels);
    });
    assert!(sessions.get("first").is_some() && sessions.get("second").is_none());
}

#[test]
fn an_export_for_others_is_refused_with_the_way_out() {
    let file = crate::config::scratch("replayed").join("audit.ocsf");
    std::fs::write(&file, "{\"class_uid\":1}\n").unwrap();
    let error = Source::Export(file.clone()).events(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("--format jsonl"), "{error}");
    std::fs::write(&file, "nonsense\n").unwrap();
    let error = Source::Export(file).events(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn recorded_rows_are_read_back_and_what_does_not_fit_is_none() {
    let row: &[u8] = &[0, 2, 0, 0, 0, 1, b'a', 0xFF, 0xFF, 0xFF, 0xFF];
    let two = [row, row].concat();
    let values = super::results::rows(&two, 2).unwrap();
    assert_eq!(values, [[Some(&b"a"[..]), None], [Some(&b"a"[..]), None]]);
    assert!(super::results::rows(&two, 1).is_none());
    (1..row.len()).for_each(|cut| assert!(super::results::rows(&row[..cut], 2).is_none(), "{cut}"));
    assert!(super::results::rows(&[0, 1, 0xFF, 0xFF, 0xFF, 0xFE], 1).is_none());
}
