use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::testing::{demand, request, reviewer};

fn record() -> Record {
    let given = Given {
        by: "bob".into(),
        reason: "ok".into(),
        at_ms: 7,
        demands: vec![0],
        broken_glass: false,
        via: "api".into(),
    };
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
        used_links: vec![],
    }
}

/// One that waits for two of a group.
fn open() -> Record {
    let demands = vec![demand("p", &["dba"], 2, 60, Reuse::Once), demand("q", &["sec"], 1, 60, Reuse::Once)];
    Record { state: ApprovalState::Open, demands, given: vec![], decided: None, ..record() }
}

fn glass(reason: &str) -> Words {
    Words { reason: reason.into(), break_glass: true, link: None }
}

fn breaker(name: &str) -> Reviewer {
    Reviewer { break_glass: true, ..reviewer(name, &[]) }
}

#[test]
fn breaking_glass_needs_the_right_and_a_justification() {
    let breaks = |who: &Reviewer, why: &str| open().approve(who, &glass(why), 1).map(|r| r.state);
    let why = "prod is down";
    assert_eq!(breaks(&reviewer("bob", &["dba"]), why), Err(ApprovalError::NoBreakGlass("bob".into())));
    for short in ["", "123456789", "  123456789  ", "éééééé"] {
        assert_eq!(breaks(&breaker("carl"), short), Err(ApprovalError::NoJustification(10)), "{short:?}");
    }
    assert_eq!(breaks(&breaker("carl"), " éééééééééé "), Ok(ApprovalState::Approved));
    assert_eq!(breaks(&breaker("ann"), why), Ok(ApprovalState::Approved), "the own request");
}

#[test]
fn the_right_to_break_glass_changes_nothing_until_it_is_used() {
    let says = Words { reason: "prod is down".into(), ..Words::default() };
    assert_eq!(open().approve(&breaker("ann"), &says, 1), Err(ApprovalError::OwnRequest("ann".into())));
    let stranger = ApprovalError::NotAReviewer { reviewer: "carl".into(), groups: "dba or sec".into() };
    assert_eq!(open().approve(&breaker("carl"), &says, 1), Err(stranger.clone()));
    // It is for approving: a request that is not theirs to decide is not theirs to refuse.
    assert_eq!(open().deny(&breaker("carl"), &glass("prod is down")), Err(stranger));
}

#[test]
fn broken_glass_counts_alone_for_every_demand() {
    let broken = open().approve(&breaker("carl"), &glass("prod is down"), 9).unwrap();
    assert_eq!(broken.decided.as_deref(), Some("approved by carl alone, who broke the glass"));
    let approvers: Vec<Vec<String>> = broken.grants().into_iter().map(|g| g.approvers).collect();
    assert_eq!(approvers, [["carl"], ["carl"]]);
    assert!(broken.view().broken_glass && broken.unmet().is_empty());

    // Who has approved is not the second of the quorum, but may break the glass; they are named once.
    let bob = Reviewer { break_glass: true, ..reviewer("bob", &["dba"]) };
    let once = open().approve(&bob, &Words::default(), 8).unwrap();
    assert_eq!(once.approve(&bob, &Words::default(), 9), Err(ApprovalError::Repeated("bob".into())));
    let broken = once.approve(&bob, &glass("nobody is awake"), 9).unwrap();
    assert_eq!((broken.state, broken.view().approvers), (ApprovalState::Approved, vec!["bob".to_owned()]));
    assert_eq!(broken.approvers(0), ["bob"]);
}

#[test]
fn a_link_serves_once_whatever_it_says() {
    let link = |webhook: &str| Words { link: Some(webhook.into()), ..Words::default() };
    let bob = reviewer("bob", &["dba"]);
    let once = open().approve(&bob, &link("bobs-mail"), 8).unwrap();
    assert_eq!((&*once.used_links, &*once.given[0].via), (&["bobs-mail".to_owned()][..], "link bobs-mail"));
    assert_eq!(once.approve(&bob, &link("bobs-mail"), 9), Err(ApprovalError::LinkUsed), "before: approved already");
    assert_eq!(once.deny(&bob, &link("bobs-mail")), Err(ApprovalError::LinkUsed));
    assert_eq!(once.approve(&bob, &link("bobs-chat"), 9), Err(ApprovalError::Repeated("bob".into())));
    let denied = once.deny(&bob, &link("bobs-chat")).unwrap();
    assert_eq!(denied.used_links, ["bobs-mail", "bobs-chat"]);
    // What did not count did not use the link up.
    let refused = open().approve(&reviewer("eve", &[]), &link("eves-mail"), 8);
    assert!(matches!(refused, Err(ApprovalError::NotAReviewer { .. })));
}

#[test]
fn a_grant_is_revoked_by_whoever_may_refuse_it() {
    let says = |reason: &str| Words { reason: reason.into(), ..Words::default() };
    let revoked = record().deny(&reviewer("carl", &["dba"]), &says("the wrong table")).unwrap();
    assert_eq!((revoked.state, revoked.is_reusable()), (ApprovalState::Denied, false));
    assert_eq!(revoked.decided.as_deref(), Some("revoked by carl: the wrong table"));
    let unsaid = record().deny(&reviewer("bob", &["dba"]), &says("")).unwrap();
    assert_eq!(unsaid.decided.as_deref(), Some("revoked by bob"), "by who gave it, too");
    let own = record().deny(&reviewer("ann", &["dba"]), &says("")).unwrap_err();
    assert_eq!(own.to_string(), "ann asked for this approval; nobody decides on their own");
    assert!(matches!(record().deny(&reviewer("eve", &[]), &says("")), Err(ApprovalError::NotAReviewer { .. })));
}

#[test]
fn what_broken_glass_granted_is_not_reused() {
    assert!(record().is_reusable());
    let open = Record { state: ApprovalState::Open, given: vec![], ..record() };
    let broken = open.approve(&breaker("carl"), &glass("prod is down"), 9).unwrap();
    assert_eq!((broken.state, broken.is_reusable()), (ApprovalState::Approved, false));
}

#[test]
fn a_command_that_nobody_could_read_is_not_held() {
    let opens = |text: usize, parameters: Vec<String>| {
        let demands = vec![demand("p", &["dba"], 1, 60, Reuse::Once)];
        let request = ApprovalRequest { text: "x".repeat(text).into(), parameters, ..request("s", "d", demands) };
        Record::open("k7".into(), 1, request, 0)
    };
    assert!(opens(COMMAND_BYTES, vec![]).is_ok());
    for (text, parameter) in [(COMMAND_BYTES + 1, 0), (COMMAND_BYTES - 9, 10), (0, COMMAND_BYTES + 1)] {
        let error = opens(text, vec!["x".repeat(parameter)]).unwrap_err();
        assert_eq!(error, ApprovalError::TooLong { bytes: COMMAND_BYTES + 1, most: COMMAND_BYTES });
    }
    let told = opens(COMMAND_BYTES + 1, vec![]).unwrap_err().to_string();
    assert_eq!(told, "a command of 1048577 bytes is too long to be reviewed; the limit is 1048576");
    // Each takes its place in memory, whatever it says.
    let record = opens(7, vec![String::new(); 100]).unwrap();
    assert_eq!((record.command_bytes(), record.weight()), (7, 7 + 100 * 24 + "ticket 7".len()));
}

#[test]
fn what_is_unmet_shrinks_with_each_approval() {
    let policies = |r: &Record| r.unmet().iter().map(|d| d.policy.to_string()).collect::<Vec<_>>();
    let record = open();
    assert_eq!(policies(&record), ["p", "q"]);
    let record = record.approve(&reviewer("bob", &["dba", "sec"]), &Words::default(), 1).unwrap();
    assert_eq!(policies(&record), ["p"]);
}

#[test]
fn a_request_outlives_its_client_only_if_every_demand_may_be_reused() {
    let with = |demands| Record { demands, ..record() }.stays_open();
    let (reused, once) = (demand("p", &[], 1, 1, Reuse::SameCommand), demand("q", &[], 1, 1, Reuse::Once));
    assert!(with(vec![reused.clone()]));
    assert!(!with(vec![reused, once]));
    assert!(!with(vec![]));
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// The bytes of version 2. A change here makes files of earlier runs unreadable: it needs a new version, and a reader for all of them.
#[test]
fn the_encoding_stays_as_it_is() {
    let glass = Given {
        by: "eve".into(),
        reason: "prod is down".into(),
        at_ms: 8,
        demands: vec![0],
        broken_glass: true,
        via: "link eve".into(),
    };
    let mut record = Record { reason: Some("ticket 7".into()), used_links: vec!["eve".into()], ..record() };
    record.given.push(glass);
    let bytes = encode_approval(&record).unwrap();
    assert_eq!(hex(&bytes), GOLDEN);
    assert_eq!(decode_approval(&bytes), Ok(record));
}

#[test]
fn requests_of_version_1_are_read() {
    assert_eq!(decode_approval(&unhex(GOLDEN_1)), Ok(record()));
}

const GOLDEN: &str = "0201026b370001730203616e6e066f72646572730c64726f70207461626c652074026431000101700103646261013c010c6368616e67657320646174610203626f62026f6b0701000003617069036576650c70726f6420697320646f776e08010001086c696e6b2065766505e5d40301087469636b65742037010f617070726f76656420627920626f620103657665";
const GOLDEN_1: &str = "0101026b370001730203616e6e066f72646572730c64726f70207461626c652074026431000101700103646261013c010c6368616e67657320646174610103626f62026f6b07010005e5d40300010f617070726f76656420627920626f62";

#[test]
fn another_version_is_named() {
    let mut bytes = encode_approval(&record()).unwrap();
    bytes[0] = 9;
    assert_eq!(decode_approval(&bytes), Err(BadValue::Version(9)));
    assert_eq!(decode_approval(&[]), Err(BadValue::Empty));
}

fn any_record() -> impl Strategy<Value = Record> {
    let given = (".*", ".*", any::<u64>(), vec(any::<u32>(), 0..3), any::<bool>(), ".*").prop_map(
        |(by, reason, at_ms, demands, broken_glass, via)| Given { by, reason, at_ms, demands, broken_glass, via },
    );
    let demands = (".*", vec(".*", 0..3), any::<[u32; 2]>(), any::<bool>());
    let demands = demands.prop_map(|(policy, groups, [quorum, ttl_seconds], reused)| {
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let reuse = if reused { Reuse::SameCommand } else { Reuse::Once };
        demand(&policy, &groups, quorum, ttl_seconds, reuse)
    });
    let state = prop_oneof![
        Just(ApprovalState::Approved),
        Just(ApprovalState::Denied),
        Just(ApprovalState::Expired),
        Just(ApprovalState::Open),
        Just(ApprovalState::Withdrawn)
    ];
    let texts = (".*", ".*", ".*", ".*", ".*", ".*");
    let lists = (vec(".*", 0..3), vec(demands, 0..3), vec(given, 0..3), vec(".*", 0..3));
    (any::<[u64; 4]>(), state, texts, lists, option::of(".*"), option::of(".*")).prop_map(
        |(numbers, state, texts, (parameters, demands, given, used_links), reason, decided)| {
            let ([number, sequence, opened_ms, expires_ms], (id, session, principal, target, text, digest)) =
                (numbers, texts);
            let (id, session, text) = (id.into(), session.into(), text.into());
            Record {
                number,
                id,
                state,
                session,
                sequence,
                principal,
                target,
                text,
                digest,
                parameters,
                demands,
                given,
                opened_ms,
                expires_ms,
                reason,
                decided,
                used_links,
            }
        },
    )
}

proptest! {
    #[test]
    fn requests_come_back(record in any_record()) {
        prop_assert_eq!(decode_approval(&encode_approval(&record).unwrap()), Ok(record));
    }

    #[test]
    fn a_cut_or_longer_value_is_an_error(record in any_record(), cut: prop::sample::Index) {
        let mut bytes = encode_approval(&record).unwrap();
        prop_assert!(decode_approval(&bytes[..cut.index(bytes.len())]).is_err());
        bytes.push(0);
        prop_assert!(matches!(decode_approval(&bytes), Err(BadValue::Malformed(_))));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes: Vec<u8>) {
        let _ = decode_approval(&bytes);
        for version in [v1::VERSION, VERSION] {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let _ = decode_approval(&bytes);
        }
    }
}
