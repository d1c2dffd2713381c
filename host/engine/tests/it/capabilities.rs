use portcullis_engine::{Capability, PolicyLimits, PolicySpec};
use portcullis_verdict::mask::{HashKey, Mask, ValueType};
use portcullis_verdict::{Fault, Outcome};

use crate::bench::{Ask, Bench, broken, command};

#[test]
fn what_was_granted_works() {
    assert_eq!(Bench::broken("clock").judge().denial(), "true");
    assert_eq!(Bench::broken("random").judge().denial(), "4096 true");
    assert_eq!(Bench::broken("state-bounds").judge().denial(), "true");
    assert_eq!(Bench::broken("detect").judge().denial(), "0:0+11=01:0+19=1");
}

#[test]
fn what_was_not_granted_does_not_load() {
    for missing in Capability::ALL {
        let mut policy = broken("p", "allow");
        policy.capabilities.remove(&missing);
        let expected = format!(
            "policy `p`: it imports `portcullis:policy/{missing}`: grant it with `capabilities = [\"{missing}\"]`"
        );
        assert_eq!(Bench::new().problems(vec![policy]), [expected]);
    }
    let policy = PolicySpec { capabilities: [].into(), ..broken("p", "allow") };
    assert_eq!(Bench::new().problems(vec![policy]).len(), 4);
}

#[test]
fn abuse_of_a_capability_traps() {
    let cases = [
        ("random-huge", "4096"),
        ("detect-bad-ends", "ends"),
        ("detect-unknown", "no such detector"),
        ("crypto-bad-ends", "ends"),
        ("crypto-none", "1 to 32"),
        ("crypto-long", "1 to 32"),
    ];
    for (behaviour, expected) in cases {
        let fault = Bench::broken(behaviour).judge().fault();
        assert!(matches!(&fault, Fault::Trap(why) if why.contains(expected)), "{behaviour}: {fault}");
    }
}

#[test]
fn a_keyed_hash_is_what_the_native_mask_is_made_from() {
    let key = HashKey::new(b"a key for tests");
    let native = Mask::Hash.compile(&ValueType::TEXT, &key).unwrap();
    let macs = [b"a".as_slice(), b"", b"bcd"].map(|value| (value, key.mac(value)));
    for (value, mac) in macs {
        let mut shown = Vec::new();
        assert!(native.apply(value, &mut shown));
        let half: String = mac[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, half.as_bytes());
    }
    let first = |count: usize| macs.iter().flat_map(|(_, mac)| mac[..count].to_vec()).collect::<Vec<u8>>();
    assert_eq!(Bench::broken("crypto").judge().denial(), format!("{:?}", first(32)));
    assert_eq!(Bench::broken("crypto-short").judge().denial(), format!("{:?}", first(5)));
}

#[test]
fn state_is_shared_by_sessions_and_private_to_a_policy() {
    let bench = Bench::with(vec![broken("p", "state-count")]);
    assert_eq!(bench.judge().denial(), "Ok(1)");
    assert_eq!(bench.judge().denial(), "Ok(2)");
    bench.advance(60_000);
    assert_eq!(bench.judge().denial(), "Ok(1)", "the window is over");
    let bench = Bench::with(vec![monitor_count("other"), broken("p", "state-peek")]);
    let mut judge = bench.judge();
    assert_eq!(judge.denial(), "None");
}

fn monitor_count(name: &str) -> PolicySpec {
    crate::bench::monitor(broken(name, "state-count"))
}

#[test]
fn state_is_bounded() {
    let limits = PolicyLimits { state_entries: 10, ..crate::bench::limits("") };
    let bench = Bench::with(vec![PolicySpec { limits, ..broken("p", "state-fill") }]);
    assert!(bench.judge().denial().contains("10 entries"));
}

#[test]
fn a_flood_of_lines_is_only_dropped() {
    for behaviour in ["log", "log-flood"] {
        assert_eq!(Bench::broken(behaviour).judge().ask(&command("select 1")).outcome, Outcome::Allow);
    }
}
