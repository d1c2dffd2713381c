//! What the file holds, byte by byte: the encodings of events and approval requests.

use std::sync::Arc;

use portcullis_verdict::{ApprovalState, ApprovalView, Demand, Event, Grant, Reuse, StoredEvent};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The first byte of every value in `events` and `approvals`. Any change of the encoded types needs a new one.
const VERSION: u8 = 1;

/// A value that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadValue {
    #[error("it is empty")]
    Empty,
    #[error("it is damaged: {0}")]
    Malformed(String),
    #[error("it has version {0}, and this program reads version {VERSION}")]
    Version(u8),
}

/// An approval request as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) id: Arc<str>,
    pub(crate) state: ApprovalState,
    pub(crate) session: Arc<str>,
    pub(crate) sequence: u64,
    pub(crate) principal: String,
    pub(crate) target: String,
    pub(crate) text: Arc<str>,
    pub(crate) digest: String,
    pub(crate) parameters: Vec<String>,
    pub(crate) demands: Vec<Demand>,
    pub(crate) given: Vec<Given>,
    pub(crate) opened_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) reason: Option<String>,
    pub(crate) decided: Option<String>,
}

/// One person's approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) by: String,
    pub(crate) reason: String,
    pub(crate) at_ms: u64,
    /// The demands that it counts for, by their index.
    pub(crate) demands: Vec<u32>,
}

impl Record {
    /// The people who approved for this demand.
    pub(crate) fn approvers(&self, demand: usize) -> Vec<String> {
        self.given.iter().filter(|g| g.demands.contains(&(demand as u32))).map(|g| g.by.clone()).collect()
    }

    pub(crate) fn is_met(&self, demand: usize) -> bool {
        let quorum = self.demands.get(demand).map_or(1, |d| d.terms.quorum.max(1));
        self.approvers(demand).len() >= quorum as usize
    }

    pub(crate) fn grants(&self) -> Vec<Grant> {
        let grant = |(i, d): (usize, &Demand)| Grant { policy: d.policy.clone(), approvers: self.approvers(i) };
        self.demands.iter().enumerate().map(grant).collect()
    }

    /// Whether a later command may rest on it, as far as its terms go.
    pub(crate) fn is_reusable(&self) -> bool {
        self.state == ApprovalState::Approved && self.demands.iter().any(|d| d.terms.reuse == Reuse::SameCommand)
    }

    /// The grants for these demands, if each is one of its own, on the same terms, and may be reused.
    pub(crate) fn covers(&self, demands: &[Demand]) -> Option<Vec<Grant>> {
        let find = |wanted: &Demand| {
            let at = self.demands.iter().position(|d| d == wanted && d.terms.reuse == Reuse::SameCommand)?;
            Some(Grant { policy: wanted.policy.clone(), approvers: self.approvers(at) })
        };
        demands.iter().map(find).collect()
    }

    pub(crate) fn view(&self) -> ApprovalView {
        ApprovalView {
            id: self.id.to_string(),
            state: self.state,
            session: self.session.to_string(),
            sequence: self.sequence,
            principal: self.principal.clone(),
            target: self.target.clone(),
            text: self.text.to_string(),
            digest: self.digest.clone(),
            parameters: self.parameters.clone(),
            demands: self.demands.clone(),
            approvers: self.given.iter().map(|g| g.by.clone()).collect(),
            opened_ms: self.opened_ms,
            expires_ms: self.expires_ms,
            reason: self.reason.clone(),
            decided: self.decided.clone(),
        }
    }
}

/// Consecutive events, which share one entry of the file: an entry for each would cost several times as much.
#[derive(Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    events: u8,
}

impl Block {
    /// The most events of a block, and the bytes after which it takes no more.
    const EVENTS: u8 = 64;
    const BYTES: usize = 16 << 10;

    pub(crate) fn add(&mut self, at_ms: u64, event: &Event) -> Result<(), postcard::Error> {
        if self.events == 0 {
            self.bytes.clear();
            self.bytes.extend([VERSION, 0]);
        }
        self.bytes = postcard::to_extend(&(at_ms, event), std::mem::take(&mut self.bytes))?;
        self.events += 1;
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.events >= Self::EVENTS || self.bytes.len() >= Self::BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Its encoding, with the number of its events after the version; the next event starts another block.
    pub(crate) fn seal(&mut self) -> &[u8] {
        if let Some(count) = self.bytes.get_mut(1) {
            *count = std::mem::take(&mut self.events);
        }
        &self.bytes
    }
}

/// The events of the block whose last event has this number.
pub(crate) fn decode_block(last: u64, bytes: &[u8]) -> Result<Vec<StoredEvent>, BadValue> {
    let (count, mut rest) = body(bytes)?.split_first().ok_or(BadValue::Empty)?;
    let first =
        (last + 1).checked_sub((*count).into()).ok_or_else(|| BadValue::Malformed("it has too many events".into()))?;
    let mut events = Vec::with_capacity((*count).into());
    for number in first..=last {
        let ((at_ms, event), left) = postcard::take_from_bytes(rest).map_err(|e| BadValue::Malformed(e.to_string()))?;
        events.push(StoredEvent { number, at_ms, event });
        rest = left;
    }
    ended(rest)?;
    Ok(events)
}

pub(crate) fn encode_approval(record: &Record) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_extend(record, vec![VERSION])
}

pub(crate) fn decode_approval(bytes: &[u8]) -> Result<Record, BadValue> {
    decode(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadValue> {
    let (value, rest) = postcard::take_from_bytes(body(bytes)?).map_err(|e| BadValue::Malformed(e.to_string()))?;
    ended(rest)?;
    Ok(value)
}

/// What follows the version.
fn body(bytes: &[u8]) -> Result<&[u8], BadValue> {
    match bytes.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some((other, _)) => Err(BadValue::Version(*other)),
        None => Err(BadValue::Empty),
    }
}

fn ended(rest: &[u8]) -> Result<(), BadValue> {
    if rest.is_empty() { Ok(()) } else { Err(BadValue::Malformed(format!("{} bytes follow its end", rest.len()))) }
}

#[cfg(test)]
mod tests {
    use portcullis_verdict::{AnswerRecord, CommandEvent, Effects, Finding, FinishEvent, Mode, OpenEvent};
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{closing, command, demand, finish, opening};

    fn shared() -> impl Strategy<Value = Arc<str>> {
        ".{0,40}".prop_map(Arc::from)
    }

    fn open_event() -> impl Strategy<Value = Event> {
        let names = (".*", ".*", ".*", ".*", ".*");
        (shared(), names, vec(".*", 0..4), option::of(".*"), option::of(".*")).prop_map(
            |(session, (protocol, principal, credential, target, client_address), groups, reason, refused)| {
                Event::Open(OpenEvent {
                    session,
                    protocol: protocol.into(),
                    principal,
                    groups,
                    credential: credential.into(),
                    target,
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

    fn command_event() -> impl Strategy<Value = Event> {
        let texts = (shared(), option::of(shared()), option::of(shared()));
        let rest = (vec(".*", 0..4), any::<u16>(), vec(answer(), 0..3), option::of(".*"));
        (shared(), any::<u64>(), ".*", ".*", ".*", texts, rest).prop_map(
            |(session, sequence, kind, phase, outcome, (text, rewrite, approval), (verbs, bits, answers, message))| {
                let effects = Effects::from_bits_truncate(bits);
                Event::Command(CommandEvent {
                    session,
                    sequence,
                    kind: kind.into(),
                    phase: phase.into(),
                    text,
                    rewrite,
                    verbs,
                    effects,
                    outcome: outcome.into(),
                    message,
                    answers,
                    approval,
                })
            },
        )
    }

    fn finish_event() -> impl Strategy<Value = Event> {
        (shared(), any::<[u64; 5]>(), ".*", option::of(".*")).prop_map(
            |(session, [sequence, rows, bytes, masked, micros], tag, error)| {
                Event::Finish(FinishEvent { session, sequence, tag, rows, bytes, masked, micros, error })
            },
        )
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let close = (shared(), ".*").prop_map(|(session, reason)| Event::Close { session, reason });
        let approval = (shared(), any::<u64>(), shared(), ".*", ".*", ".*").prop_map(
            |(session, sequence, approval, what, by, reason)| Event::Approval {
                session,
                sequence,
                approval,
                what,
                by,
                reason,
            },
        );
        prop_oneof![open_event(), command_event(), finish_event(), close, approval]
    }

    fn block(events: &[Event]) -> Vec<u8> {
        let mut block = Block::default();
        block.add(1, &closing("of an earlier block")).unwrap();
        block.seal();
        for event in events {
            block.add(300, event).unwrap();
        }
        block.seal().into()
    }

    proptest! {
        #[test]
        fn events_come_back(before in 0..u64::MAX - 9, events in vec(any_event(), 1..8)) {
            let last = before + events.len() as u64;
            let bytes = block(&events);
            let stored = (before + 1..).zip(events).map(|(number, event)| StoredEvent { number, at_ms: 300, event });
            prop_assert_eq!(decode_block(last, &bytes), Ok(stored.collect()));
        }

        #[test]
        fn a_cut_or_longer_value_is_an_error(events in vec(any_event(), 1..4), cut: prop::sample::Index) {
            let mut bytes = block(&events);
            prop_assert!(decode_block(9, &bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(matches!(decode_block(9, &bytes), Err(BadValue::Malformed(_))));
        }

        #[test]
        fn no_bytes_make_it_panic(number in 0..u64::MAX, mut bytes: Vec<u8>) {
            let _ = decode_block(number, &bytes);
            if let Some(version) = bytes.first_mut() {
                *version = VERSION;
            }
            let _ = decode_block(number, &bytes);
            let _ = decode_approval(&bytes);
        }
    }

    #[test]
    fn a_block_is_bounded() {
        let mut block = Block::default();
        let mut events = 0;
        while !block.is_full() {
            block.add(1, &closing("s")).unwrap();
            events += 1;
        }
        assert_eq!((events, block.seal().len() < Block::BYTES, block.is_empty()), (64, true, true));
        block.add(1, &closing(&"s".repeat(Block::BYTES))).unwrap();
        assert!(block.is_full());
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = block(&[closing("s")]);
        bytes[0] = 9;
        let error = decode_block(1, &bytes).unwrap_err();
        assert_eq!(error, BadValue::Version(9));
        assert!(error.to_string().contains("version 9"));
        assert_eq!(decode_block(1, &[]), Err(BadValue::Empty));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The bytes of version 1. A change here makes files of earlier runs unreadable: it needs a new version, and a reader for both.
    #[test]
    fn the_encoding_stays_as_it_is() {
        let approval = Event::Approval {
            session: "s".into(),
            sequence: 2,
            approval: "k7".into(),
            what: "denied".into(),
            by: "bob".into(),
            reason: "no".into(),
        };
        let events = [opening("s"), command("s", 2), finish("s", 2), closing("s"), approval];
        let encoded = events.map(|event| hex(&block(&[event])));
        assert_eq!(encoded, GOLDEN_EVENTS);
        let bytes = encode_approval(&record()).unwrap();
        assert_eq!(hex(&bytes), GOLDEN_APPROVAL);
        assert_eq!(decode_approval(&bytes), Ok(record()));
    }

    const GOLDEN_EVENTS: [&str; 5] = [
        "0101ac0200017308706f73746772657303616e6e01036465760d736372616d2d7368612d323536066f72646572730e3132372e302e302e313a353030300000",
        "0101ac02010173020373716c07657865637574650873656c656374203100010653454c4543540105616c6c6f77000000",
        "0101ac02020173020853454c4543542031010b00ac0200",
        "0101ac020301730b636c69656e74206c656674",
        "0101ac0204017302026b370664656e69656403626f62026e6f",
    ];
    const GOLDEN_APPROVAL: &str = "0101026b370001730203616e6e066f72646572730c64726f70207461626c652074026431000101700103646261013c010c6368616e67657320646174610103626f62026f6b07010005e5d40300010f617070726f76656420627920626f62";

    fn record() -> Record {
        let given = Given { by: "bob".into(), reason: "ok".into(), at_ms: 7, demands: vec![0] };
        Record {
            number: 1,
            id: "k7".into(),
            state: ApprovalState::Approved,
            session: "s".into(),
            sequence: 2,
            principal: "ann".into(),
            target: "orders".into(),
            text: "drop table t".into(),
            digest: "d1".into(),
            parameters: vec![],
            demands: vec![demand("p", &["dba"], 1, 60, Reuse::SameCommand)],
            given: vec![given],
            opened_ms: 5,
            expires_ms: 60_005,
            reason: None,
            decided: Some("approved by bob".into()),
        }
    }

    #[test]
    fn a_grant_covers_the_same_demands_on_the_same_terms() {
        let record = record();
        let same = demand("p", &["dba"], 1, 60, Reuse::SameCommand);
        assert_eq!(record.covers(std::slice::from_ref(&same)).unwrap()[0].approvers, ["bob"]);
        let others = [
            demand("q", &["dba"], 1, 60, Reuse::SameCommand),
            demand("p", &["dba"], 2, 60, Reuse::SameCommand),
            demand("p", &["dba", "dev"], 1, 60, Reuse::SameCommand),
            demand("p", &["dba"], 1, 60, Reuse::Once),
        ];
        for other in others {
            assert_eq!(record.covers(&[same.clone(), other]), None);
        }
    }
}
