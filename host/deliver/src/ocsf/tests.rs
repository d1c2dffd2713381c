use std::sync::Arc;

use portcullis_verdict::{Facts, Input, PolicyInputs, SqlStatement};

use super::*;

fn subject() -> Arc<Subject> {
    Arc::new(Subject { session: "s1".into(), principal: "ann".into(), target: "orders".into() })
}

fn mapped(event: Event) -> Value {
    let mapped = ocsf(&StoredEvent { number: 7, at_ms: 1000, event: event.clone() });
    // What every event has.
    assert_eq!(mapped["time"], 1000);
    assert_eq!(mapped["metadata"]["version"], "1.3.0");
    assert_eq!(mapped["metadata"]["product"]["name"], "Portcullis");
    assert_eq!(mapped["metadata"]["uid"], "7");
    assert_eq!(mapped["category_uid"], mapped["class_uid"].as_u64().unwrap() / 1000);
    let type_uid = mapped["class_uid"].as_u64().unwrap() * 100 + mapped["activity_id"].as_u64().unwrap();
    assert_eq!(mapped["type_uid"], type_uid);
    assert!(mapped["severity_id"].is_u64() && mapped["status_id"].is_u64());
    // Nothing is lost.
    assert_eq!(serde_json::from_value::<Event>(mapped["unmapped"]["event"].clone()).unwrap(), event);
    mapped
}

fn opening(refused: Option<&str>, address: &str) -> Event {
    Event::Open(OpenEvent {
        subject: subject(),
        protocol: "postgres".into(),
        groups: vec!["dba".into()],
        credential: "scram-sha-256".into(),
        client_address: address.into(),
        reason: Some("INC-7".into()),
        refused: refused.map(Into::into),
    })
}

fn command(verb: &str, effects: Effects, outcome: &'static str) -> Event {
    let statement = SqlStatement { verb: verb.into(), effects, ..SqlStatement::default() };
    Event::Command(CommandEvent {
        subject: subject(),
        sequence: 3,
        kind: "sql".into(),
        phase: "execute".into(),
        text: "the text".into(),
        rewrite: None,
        facts: Arc::new(Facts { fingerprint: "f".into(), sql: Ok(vec![statement]) }),
        parameters: Vec::new(),
        reason: None,
        outcome: outcome.into(),
        message: (outcome == "deny").then(|| "not today".into()),
        answers: Vec::new(),
        approval: None,
        micros: 5,
    })
}

#[test]
fn an_opened_session_is_a_logon() {
    let logon = mapped(opening(None, "[::ffff:10.0.0.9]:4711"));
    assert_eq!((logon["class_uid"].as_u64(), logon["activity_id"].as_u64()), (Some(3002), Some(1)));
    assert_eq!((logon["status_id"].as_u64(), logon["severity_id"].as_u64()), (Some(1), Some(1)));
    assert_eq!(logon["actor"]["user"]["name"], "ann");
    assert_eq!(logon["user"], json!({ "name": "ann", "groups": [{ "name": "dba" }] }));
    assert_eq!(logon["src_endpoint"], json!({ "ip": "10.0.0.9", "port": 4711, "uid": "s1" }));
    assert_eq!(logon["service"]["name"], "orders");
    assert_eq!(logon["message"], "INC-7");
}

#[test]
fn a_refused_session_is_a_failed_logon() {
    let logon = mapped(opening(Some("no such target"), "somewhere"));
    assert_eq!((logon["status_id"].as_u64(), logon["severity_id"].as_u64()), (Some(2), Some(3)));
    assert_eq!(logon["status_detail"], "no such target");
    assert_eq!(logon["src_endpoint"], json!({ "uid": "s1" }));
}

#[test]
fn a_closed_session_is_a_logoff() {
    let logoff = mapped(Event::Close { subject: subject(), reason: "killed by bob".into() });
    assert_eq!((logoff["class_uid"].as_u64(), logoff["activity_id"].as_u64()), (Some(3002), Some(2)));
    assert_eq!(logoff["status_detail"], "killed by bob");
    assert_eq!(logoff["session"]["uid"], "s1");
}

#[test]
fn a_command_is_an_activity_of_a_datastore_by_its_effects() {
    let (read, write, ddl) = (Effects::READ, Effects::READ | Effects::WRITE, Effects::DDL);
    for (verb, effects, activity) in [
        ("SELECT", read, 1),
        ("UPDATE", write, 2),
        ("INSERT", write, 5),
        ("WITH", write, 5),
        ("COPY", Effects::COPY_IN, 5),
        ("CREATE TABLE", ddl, 6),
        ("DELETE", write, 7),
        ("DROP TABLE", ddl, 7),
        ("ALTER TABLE", ddl, 2),
        ("GRANT", Effects::PRIVILEGE, 99),
        ("DO", Effects::OPAQUE | read, 99),
        ("SET", Effects::SESSION_STATE, 99),
    ] {
        let mapped = mapped(command(verb, effects, "allow"));
        assert_eq!(mapped["class_uid"], 6005, "{verb}");
        assert_eq!(mapped["activity_id"], activity, "{verb}");
        assert_eq!(mapped["status_id"], 1, "{verb}");
    }
    let denied = mapped(command("SELECT", read, "deny"));
    assert_eq!((denied["status_id"].as_u64(), denied["severity_id"].as_u64()), (Some(2), Some(3)));
    assert_eq!(denied["status_detail"], "not today");
    assert_eq!(denied["query_info"], json!({ "uid": "s1/3", "query_string": "the text" }));
    assert_eq!(denied["database"]["name"], "orders");
    assert_eq!(denied["actor"]["user"]["name"], "ann");
    assert_eq!(mapped(command("SELECT", read, "review"))["status_id"], 99);
}

#[test]
fn a_command_that_could_not_be_read_is_another_activity() {
    let Event::Command(mut event) = command("", Effects::empty(), "deny") else { unreachable!() };
    event.facts = Arc::new(Facts { fingerprint: String::new(), sql: Err("too deep".into()) });
    assert_eq!(mapped(Event::Command(event))["activity_id"], 99);
}

#[test]
fn the_end_of_a_command_belongs_to_it() {
    let finish = |tag: &str, error: Option<&str>| {
        mapped(Event::Finish(FinishEvent {
            subject: subject(),
            sequence: 3,
            tag: tag.into(),
            rows: 2,
            bytes: 99,
            masked: 0,
            masked_by: Vec::new(),
            micros: 4500,
            error: error.map(Into::into),
        }))
    };
    let ended = finish("SELECT 2", None);
    assert_eq!((ended["class_uid"].as_u64(), ended["activity_id"].as_u64()), (Some(6005), Some(1)));
    assert_eq!(ended["duration"], 4);
    let started = mapped(command("SELECT", Effects::READ, "allow"));
    assert_eq!(ended["metadata"]["correlation_uid"], started["metadata"]["correlation_uid"]);
    let failed = finish("", Some("42P01"));
    assert_eq!((failed["activity_id"].as_u64(), failed["status_id"].as_u64()), (Some(99), Some(2)));
    assert_eq!(failed["status_detail"], "42P01");
}

#[test]
fn an_approval_is_a_managed_entity_and_the_reviewer_its_actor() {
    let approval = |what: &'static str, by: &str| {
        mapped(Event::Approval(ApprovalEvent {
            subject: subject(),
            sequence: 3,
            approval: "k7wz".into(),
            what: what.into(),
            by: by.into(),
            reason: "because".into(),
            via: String::new(),
        }))
    };
    for (what, by, activity, status, severity) in [
        ("requested", "", 1, 1, 1),
        ("approved", "bob", 3, 1, 1),
        ("broken-glass", "bob", 3, 1, 3),
        ("denied", "bob", 3, 2, 3),
        ("revoked", "bob", 3, 2, 3),
        ("expired", "", 3, 99, 1),
        ("withdrawn", "", 3, 99, 1),
        ("joined", "", 99, 99, 1),
    ] {
        let mapped = approval(what, by);
        assert_eq!(mapped["class_uid"], 3004, "{what}");
        assert_eq!(mapped["activity_id"], activity, "{what}");
        assert_eq!(
            (mapped["status_id"].as_u64(), mapped["severity_id"].as_u64()),
            (Some(status), Some(severity)),
            "{what}"
        );
        assert_eq!(mapped["actor"]["user"]["name"], if by.is_empty() { "ann" } else { by });
        assert_eq!((&mapped["entity"]["uid"], &mapped["comment"]), (&json!("k7wz"), &json!("because")));
    }
}

#[test]
fn a_recording_and_what_has_no_class_is_a_base_event() {
    let recording = |state: &'static str| {
        mapped(Event::Recording(RecordingEvent {
            subject: subject(),
            state: state.into(),
            file: "f".into(),
            bytes: 1,
            sha256: String::new(),
            entries: 1,
            detail: "the disk is full".into(),
        }))
    };
    assert_eq!(
        (recording("ended")["class_uid"].as_u64(), recording("ended")["status_id"].as_u64()),
        (Some(0), Some(1))
    );
    let failed = recording("failed");
    assert_eq!((failed["status_id"].as_u64(), failed["severity_id"].as_u64()), (Some(2), Some(3)));
    assert_eq!(
        (&failed["message"], &failed["status_detail"]),
        (&json!("recording failed"), &json!("the disk is full"))
    );
}

#[test]
fn inputs_are_a_base_event_that_names_the_policies() {
    let inputs = vec![Input::Get(Some(b"kept".to_vec()))];
    let inputs = vec![PolicyInputs { policy: "limit".into(), digest: "d".into(), inputs }];
    let event = InputsEvent { subject: subject(), sequence: 3, phase: "execute".into(), inputs };
    let mapped = mapped(Event::Inputs(event));
    assert_eq!((mapped["class_uid"].as_u64(), mapped["severity_id"].as_u64()), (Some(0), Some(1)));
    assert_eq!((&mapped["message"], &mapped["status_detail"]), (&json!("policy inputs"), &json!("limit")));
    let finished = FinishEvent {
        subject: subject(),
        sequence: 3,
        tag: String::new(),
        rows: 0,
        bytes: 0,
        masked: 0,
        masked_by: vec![],
        micros: 0,
        error: None,
    };
    let finished = self::mapped(Event::Finish(finished));
    assert_eq!(mapped["metadata"]["correlation_uid"], finished["metadata"]["correlation_uid"]);
}

#[test]
fn the_gateway_starts_and_stops_as_an_application_does() {
    let system = |what: &'static str, by: &str| {
        mapped(Event::System(SystemEvent { what: what.into(), by: by.into(), detail: "d".into() }))
    };
    assert_eq!(
        (system("started", "")["class_uid"].as_u64(), system("started", "")["activity_id"].as_u64()),
        (Some(6002), Some(3))
    );
    assert_eq!(system("stopped", "")["activity_id"], 4);
    let kill = system("kill", "bob");
    assert_eq!((kill["class_uid"].as_u64(), &kill["actor"]["user"]["name"]), (Some(0), &json!("bob")));
    assert_eq!(
        (system("lost", "")["status_id"].as_u64(), system("lost", "")["severity_id"].as_u64()),
        (Some(2), Some(3))
    );
}
