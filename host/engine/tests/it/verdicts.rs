use std::sync::Arc;

use bytes::Bytes;
use portcullis_verdict::{
    ColumnRef, Command, Decide, Effects, Facts, Fault, Kind, Mode, Outcome, Parameter, Phase, Relation, Session,
    SqlStatement, Statement, Target, Verdict, Wants,
};

use crate::bench::{Ask, Bench, TARGET, broken, command, denial, fault, guest, monitor, session};

#[test]
fn answers_that_break_a_rule_are_faults() {
    let cases = [
        ("long-message", "message of 1025"),
        ("nul-message", "NUL"),
        ("nul-rewrite", "NUL"),
        ("rewrite-with-deny", "without `allow`"),
        ("review-with-rewrite", "without `allow`"),
        ("review-without-approval", "without an approval"),
        ("allow-with-approval", "without `review`"),
        ("no-groups", "0 groups"),
        ("many-groups", "33 groups"),
        ("quorum-0", "0 people"),
        ("quorum-17", "17 people"),
        ("ttl-0", "0 seconds"),
        ("ttl-long", "604801 seconds"),
        ("long-reason", "reason of 1025"),
        ("nul-group", "NUL"),
        ("many-findings", "33 findings"),
        ("long-rule", "129 bytes"),
        ("long-finding", "1025 bytes"),
    ];
    let bench = Bench::new();
    for (behaviour, expected) in cases {
        bench.install(vec![broken("p", behaviour)]);
        let fault = bench.judge().fault();
        assert!(matches!(&fault, Fault::BadAnswer(why) if why.contains(expected)), "{behaviour}: {fault}");
    }
}

#[test]
fn a_session_opens_or_does_not() {
    assert_eq!(Bench::broken("allow").judge().open().outcome, Outcome::Allow);
    assert_eq!(denial(&Bench::broken("open-deny").judge().open()), "alice may not open shop");
    for behaviour in ["open-review", "open-rewrite"] {
        assert!(matches!(fault(&Bench::broken(behaviour).judge().open()), Fault::BadAnswer(_)), "{behaviour}");
    }
}

#[test]
fn a_policy_reads_all_facts() {
    let statement = SqlStatement {
        dialect: "postgres".into(),
        verb: "DELETE".into(),
        effects: Effects::READ | Effects::WRITE | Effects::OPAQUE,
        relations: vec![Relation { schema: "s".into(), name: "t".into(), effects: Effects::WRITE }],
        columns_read: vec![ColumnRef { schema: String::new(), relation: "t".into(), name: "c".into() }],
        functions: vec!["pg_sleep".into()],
        has_where: false,
        ..SqlStatement::default()
    };
    let facts = Facts { fingerprint: "abc".into(), sql: Ok(vec![statement]) };
    let statement = Statement { kind: Kind::Sql, text: "délete".into(), facts: Arc::new(facts) };
    let parameters = vec![
        Parameter { value: None, binary: false },
        Parameter { value: Some(Bytes::from_static(b"hi")), binary: true },
    ];
    let command = Arc::new(Command {
        sequence: 1,
        phase: Phase::Prepare,
        statement: Arc::new(statement),
        parameters,
        reason: Some("ticket 7".into()),
        origins: None,
    });
    let expected = "0198c0de-0000-7000-8000-000000000001 postgres alice [\"dev\", \"ops\"] shop Some(\"production\") \
                    192.0.2.7 scram-sha-256 Some(\"ticket 7\")|sql Phase::Prepare délete abc|postgres DELETE \
                    [\"pg_sleep\"] false s.t t.c Effects(READ | WRITE | OPAQUE)|None false|Some([104, 105]) true";
    assert_eq!(denial(&Bench::broken("facts").judge().ask(&command)), expected);
    assert_eq!(denial(&Bench::broken("text-5").judge().ask(&crate::bench::command("abcdé"))), "abcd");
}

#[test]
fn a_rewrite_is_decided_again_by_the_policies_after_it() {
    let bench = Bench::with(vec![broken("r", "rewrite"), broken("p", "deny-text-2")]);
    let ruling = bench.judge().ask(&command("select 1"));
    assert_eq!((denial(&ruling).as_str(), ruling.explanation.len()), ("a 2", 2));
    let bench = Bench::with(vec![broken("p", "deny-text-2"), broken("r", "rewrite")]);
    let ruling = bench.judge().ask(&command("select 1"));
    assert_eq!(ruling.outcome, Outcome::Allow);
    assert_eq!(ruling.rewrite.map(|s| s.text.to_string()).as_deref(), Some("select 2"));
}

#[test]
fn a_rewrite_that_cannot_be_read_is_denied_by_who_needs_its_facts() {
    let bench = Bench::with(vec![broken("r", "rewrite"), broken("p", "deny-drop")]);
    let ruling = bench.judge().check(&command("select 1"), &[], &|text| Arc::new(Statement::unread(Kind::Sql, text)));
    assert!(matches!(ruling.explanation[1].verdict, Err(Fault::Unreadable(_))));
    assert!(matches!(ruling.outcome, Outcome::Deny(_)));
}

#[test]
fn who_demanded_a_review_is_told_who_approved() {
    let bench = Bench::broken("review");
    let Outcome::Review(demands) = bench.judge().ask(&command("select 1")).outcome else { panic!("no review") };
    assert_eq!((&*demands[0].policy, demands[0].terms.any_of.as_slice()), ("p", ["dba".to_string()].as_slice()));
    assert_eq!(bench.judge().ask_granted("p").outcome, Outcome::Allow);
    assert!(matches!(bench.judge().ask_granted("another").outcome, Outcome::Review(_)));
    let refused = Bench::broken("approved-deny").judge().ask_granted("p");
    assert_eq!(denial(&refused), "not even with bob and carol");
    for (behaviour, expected) in [("approved-again", "another review"), ("approved-rewrite", "a rewrite")] {
        let fault = fault(&Bench::broken(behaviour).judge().ask_granted("p"));
        assert!(matches!(&fault, Fault::BadAnswer(why) if why.contains(expected)), "{fault}");
    }
}

#[test]
fn monitoring_policies_are_recorded_and_do_not_act() {
    for behaviour in ["deny", "trap-in-check", "rewrite", "review"] {
        let bench = Bench::with(vec![monitor(broken("m", behaviour)), guest("p", "allow")]);
        let ruling = bench.judge().ask(&command("select 1"));
        assert_eq!(ruling.outcome, Outcome::Allow, "{behaviour}");
        assert!(ruling.rewrite.is_none());
        assert_eq!(ruling.explanation.len(), 2);
        assert_eq!(ruling.explanation[0].mode, Mode::Monitor);
        assert_ne!(ruling.explanation[0].verdict, Ok(Verdict::Allow), "{behaviour}");
    }
}

#[test]
fn a_silent_denial_and_an_explained_one() {
    assert_eq!(Bench::broken("deny-silently").judge().denial(), "");
    let ruling = Bench::broken("deny").judge().ask(&command("select 1"));
    assert_eq!(denial(&ruling), "as told");
    assert_eq!(ruling.explanation[0].digest.len(), 64);
}

#[test]
fn nobody_is_asked_what_they_did_not_ask_for() {
    let bench = Bench::new();
    let wants = |bench: &Bench| bench.judge().wants(Kind::Sql);
    bench.install(vec![]);
    assert_eq!(wants(&bench), Wants::default());
    let ruling = bench.judge().ask(&command("drop table t"));
    assert_eq!((ruling.outcome, ruling.explanation.len()), (Outcome::Allow, 0));
    bench.install(vec![guest("p", "allow")]);
    assert_eq!(wants(&bench), Wants { commands: true, rows: false, conditions: false });
    bench.install(vec![broken("p", "register-nothing")]);
    assert_eq!(wants(&bench), Wants { commands: false, rows: true, conditions: false });
    assert_eq!(bench.judge().ask(&command("select 1")).explanation.len(), 0);
    bench.install(vec![monitor(broken("p", "allow"))]);
    assert_eq!(wants(&bench), Wants { commands: true, rows: false, conditions: true });
}

#[test]
fn a_target_that_no_set_names_is_closed() {
    let bench = Bench::new();
    let mut early = bench.judge();
    assert_eq!(early.wants(Kind::Sql), Wants { commands: true, rows: true, conditions: false });
    assert!(denial(&early.open()).contains(TARGET));
    assert!(early.denial().contains("no policies are in force"));
    bench.install(vec![]);
    assert_eq!(early.ask(&command("select 1")).outcome, Outcome::Allow);
    let target = Arc::new(Target { name: "elsewhere".into(), labels: Default::default() });
    let session = Arc::new(Session { target, ..Session::clone(&session()) });
    assert!(bench.engine.judge(&session).denial().contains("elsewhere"));
}
