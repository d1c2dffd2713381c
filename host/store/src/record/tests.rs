use std::sync::Arc;

use portcullis_verdict::{
    AnswerRecord, ApprovalEvent, ColumnRef, CommandEvent, Effects, Facts, Finding, FinishEvent, Input, InputsEvent,
    Mode, OpenEvent, PolicyInputs, RecordingEvent, Relation, SqlStatement, Subject, SystemEvent,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::testing::{closing, command, finish, opening, subject};

fn shared() -> impl Strategy<Value = Arc<str>> {
    ".{0,40}".prop_map(Arc::from)
}

fn any_subject() -> impl Strategy<Value = Arc<Subject>> {
    (shared(), shared(), shared())
        .prop_map(|(session, principal, target)| Arc::new(Subject { session, principal, target }))
}

fn open_event() -> impl Strategy<Value = Event> {
    (any_subject(), (".*", ".*", ".*"), vec(".*", 0..4), option::of(".*"), option::of(".*")).prop_map(
        |(subject, (protocol, credential, client_address), groups, reason, refused)| {
            Event::Open(OpenEvent {
                subject,
                protocol: protocol.into(),
                groups,
                credential: credential.into(),
                client_address,
                reason,
                refused,
            })
        },
    )
}

fn answer() -> impl Strategy<Value = AnswerRecord> {
    let finding = (".*", ".*").prop_map(|(rule, message)| Finding { rule, message });
    let mode = prop_oneof![Just(Mode::Enforce), Just(Mode::Monitor)];
    (shared(), shared(), mode, ".*", ".*", vec(finding, 0..3)).prop_map(
        |(policy, digest, mode, verdict, message, findings)| AnswerRecord {
            policy,
            digest,
            mode,
            verdict: verdict.into(),
            message,
            findings,
        },
    )
}

fn facts() -> impl Strategy<Value = Arc<Facts>> {
    let relation = (".*", ".*", any::<u16>()).prop_map(|(schema, name, bits)| Relation {
        schema,
        name,
        effects: Effects::from_bits_truncate(bits),
    });
    let column = (".*", ".*", ".*").prop_map(|(schema, relation, name)| ColumnRef { schema, relation, name });
    let statement = (".*", any::<u16>(), vec(relation, 0..3), vec(column, 0..3), vec(".*", 0..3), any::<bool>())
        .prop_map(|(verb, bits, relations, columns_read, functions, has_where)| SqlStatement {
            dialect: "postgres".into(),
            verb,
            effects: Effects::from_bits_truncate(bits),
            relations,
            columns_read,
            functions,
            has_where,
            ..SqlStatement::default()
        });
    let sql = prop_oneof![vec(statement, 0..3).prop_map(Ok), ".*".prop_map(Err)];
    (".*", sql).prop_map(|(fingerprint, sql)| Arc::new(Facts { fingerprint, sql }))
}

fn command_event() -> impl Strategy<Value = Event> {
    let texts = (shared(), option::of(shared()), option::of(shared()), option::of(shared()));
    let rest = (facts(), vec(".*", 0..3), vec(answer(), 0..3), option::of(".*"), any::<u64>());
    (any_subject(), any::<u64>(), ".*", ".*", ".*", texts, rest).prop_map(
        |(subject, sequence, kind, phase, outcome, (text, rewrite, approval, reason), rest)| {
            let (facts, parameters, answers, message, micros) = rest;
            Event::Command(CommandEvent {
                subject,
                sequence,
                kind: kind.into(),
                phase: phase.into(),
                text,
                rewrite,
                facts,
                parameters,
                reason,
                outcome: outcome.into(),
                message,
                answers,
                approval,
                micros,
            })
        },
    )
}

fn finish_event() -> impl Strategy<Value = Event> {
    (any_subject(), any::<[u64; 5]>(), ".*", vec(shared(), 0..3), option::of(".*")).prop_map(
        |(subject, [sequence, rows, bytes, masked, micros], tag, masked_by, error)| {
            Event::Finish(FinishEvent { subject, sequence, tag, rows, bytes, masked, masked_by, micros, error })
        },
    )
}

fn other_event() -> impl Strategy<Value = Event> {
    let close = (any_subject(), ".*").prop_map(|(subject, reason)| Event::Close { subject, reason });
    let approval = (any_subject(), any::<u64>(), shared(), ".*", ".*", (".*", ".*")).prop_map(
        |(subject, sequence, approval, what, by, (reason, via))| {
            Event::Approval(ApprovalEvent { subject, sequence, approval, what: what.into(), by, reason, via })
        },
    );
    let recording = (any_subject(), ".*", ".*", any::<[u64; 2]>(), ".*", ".*").prop_map(
        |(subject, state, file, [bytes, entries], sha256, detail)| {
            Event::Recording(RecordingEvent { subject, state: state.into(), file, bytes, sha256, entries, detail })
        },
    );
    let system =
        (".*", ".*", ".*").prop_map(|(what, by, detail)| Event::System(SystemEvent { what: what.into(), by, detail }));
    let inputs = (any_subject(), any::<u64>(), ".*", vec((shared(), shared(), vec(input(), 0..4)), 0..3)).prop_map(
        |(subject, sequence, phase, policies)| {
            let inputs = policies.into_iter().map(|(policy, digest, inputs)| PolicyInputs { policy, digest, inputs });
            Event::Inputs(InputsEvent { subject, sequence, phase: phase.into(), inputs: inputs.collect() })
        },
    );
    prop_oneof![close, approval, recording, system, inputs]
}

fn input() -> impl Strategy<Value = Input> {
    let bytes = || vec(any::<u8>(), 0..9);
    let done = prop_oneof![Just(Ok(())), ".*".prop_map(Err)];
    let sum = prop_oneof![any::<i64>().prop_map(Ok), ".*".prop_map(Err)];
    prop_oneof![
        any::<u64>().prop_map(Input::Clock),
        bytes().prop_map(Input::Random),
        option::of(bytes()).prop_map(Input::Get),
        done.prop_map(Input::Put),
        sum.prop_map(Input::Increment),
        Just(Input::Truncated),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![open_event(), command_event(), finish_event(), other_event()]
}

/// A block that follows another one, with its events from `first` on.
fn block(first: u64, events: &[Event]) -> Vec<u8> {
    let mut block = Block::new();
    block.add(&[0; 32], 1, 1, &closing("of an earlier block")).unwrap();
    block.seal(&[1; 32]).unwrap();
    let mut hash = [7; 32];
    for (number, event) in (first..).zip(events) {
        hash = block.add(&hash, number, 300, event).unwrap();
    }
    block.seal(&hash).unwrap().to_vec()
}

fn read(last: u64, bytes: &[u8]) -> Result<Vec<StoredEvent>, BadValue> {
    unpack(last, bytes)?.events()
}

proptest! {
    #[test]
    fn events_come_back(before in 0..u64::MAX - 9, events in vec(any_event(), 1..8)) {
        let last = before + events.len() as u64;
        let bytes = block(before + 1, &events);
        let stored = (before + 1..).zip(events).map(|(number, event)| StoredEvent { number, at_ms: 300, event });
        prop_assert_eq!(read(last, &bytes), Ok(stored.collect()));
    }

    #[test]
    fn a_cut_value_is_an_error(events in vec(any_event(), 1..4), cut: prop::sample::Index) {
        let bytes = block(1, &events);
        prop_assert!(read(events.len() as u64, &bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(number in 0..u64::MAX, mut bytes: Vec<u8>, junk in 0..4096u32) {
        let _ = read(number, &bytes);
        if let Some(version) = bytes.first_mut() {
            *version = VERSION;
        }
        if let Some(length) = bytes.get_mut(HEADER - 4..HEADER) {
            length.copy_from_slice(&junk.to_be_bytes());
        }
        let _ = read(number, &bytes);
        let _ = decode_event(&bytes);
    }

    #[test]
    fn an_event_reads_the_same_in_json(event in any_event()) {
        let text = serde_json::to_string(&event).unwrap();
        prop_assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }
}

#[test]
fn a_block_is_bounded() {
    let mut block = Block::new();
    let mut events = 0;
    while !block.is_full() {
        block.add(&[0; 32], 1, 1, &closing("s")).unwrap();
        events += 1;
    }
    assert_eq!((events, block.seal(&[0; 32]).unwrap().len() < Block::BYTES, block.is_empty()), (64, true, true));
    block.add(&[0; 32], 1, 1, &closing(&"s".repeat(Block::BYTES))).unwrap();
    assert!(block.is_full());
}

#[test]
fn another_version_is_named() {
    let mut bytes = block(1, &[closing("s")]);
    bytes[0] = 9;
    let error = read(1, &bytes).unwrap_err();
    assert_eq!(error, BadValue::Version(9));
    assert!(error.to_string().contains("version 9"));
    assert_eq!(read(1, &[]), Err(BadValue::Empty));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The bytes of version 2 that the chain covers. A change here makes files of earlier runs unreadable, and their signatures void: it
/// needs a new version, and a reader for both.
#[test]
fn the_encoding_stays_as_it_is() {
    let approval = Event::Approval(ApprovalEvent {
        subject: subject("s"),
        sequence: 2,
        approval: "k7".into(),
        what: "denied".into(),
        by: "bob".into(),
        reason: "no".into(),
        via: "api".into(),
    });
    let recording = Event::Recording(RecordingEvent {
        subject: subject("s"),
        state: "ended".into(),
        file: "f".into(),
        bytes: 300,
        sha256: "ab".into(),
        entries: 3,
        detail: String::new(),
    });
    let system = Event::System(SystemEvent { what: "reload".into(), by: "olga".into(), detail: "d".into() });
    let events =
        [opening("s"), command("s", 2), finish("s", 2), closing("s"), approval, recording, system, golden_inputs()];
    let encoded = events.map(|event| {
        let unpacked = unpack(1, &block(1, &[event])).unwrap();
        hex(unpacked.encoded().next().unwrap().unwrap().bytes)
    });
    assert_eq!(encoded, GOLDEN_EVENTS);
    let header = hex(&block(1, &[closing("s")])[..HEADER + TAG]);
    assert_eq!(header, GOLDEN_HEADER);
}

fn golden_inputs() -> Event {
    let inputs = vec![
        Input::Clock(300),
        Input::Random(vec![0xaa, 0xbb]),
        Input::Get(None),
        Input::Get(Some(vec![0xcc])),
        Input::Put(Ok(())),
        Input::Put(Err("no".into())),
        Input::Increment(Ok(-1)),
        Input::Increment(Err("no".into())),
        Input::Truncated,
    ];
    let inputs = vec![PolicyInputs { policy: "p".into(), digest: "d".into(), inputs }];
    Event::Inputs(InputsEvent { subject: subject("s"), sequence: 2, phase: "execute".into(), inputs })
}

const GOLDEN_EVENTS: [&str; 8] = [
    "ac0200017303616e6e066f726465727308706f73746772657301036465760d736372616d2d7368612d3235360e3132372e302e302e313a353030300000",
    "ac0201017303616e6e066f7264657273020373716c07657865637574650873656c6563742031000266310001000653454c4543540100000000000005616c6c6f7700000007",
    "ac0202017303616e6e066f7264657273020853454c4543542031010b0000ac0200",
    "ac0203017303616e6e066f72646572730b636c69656e74206c656674",
    "ac0204017303616e6e066f726465727302026b370664656e69656403626f62026e6f03617069",
    "ac0205017303616e6e066f726465727305656e6465640166ac020261620300",
    "ac02060672656c6f6164046f6c67610164",
    "ac0207017303616e6e066f726465727302076578656375746501017001640900ac020102aabb0200020101cc03000301026e6f0400010401026e6f05",
];
const GOLDEN_HEADER: &str = "0201000000000000012c000000000000012c7cd7777159d1d7d9190f110db5ea9023b14e34b91760214278f67a8089f61eff000000207cd7777159d1d7d9";
