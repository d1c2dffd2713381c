use std::sync::Arc;

use portcullis_verdict::{Appended, AuditReader, AuditSink, Event, StoredEvent};

use super::*;
use crate::chain::SigningKey;
use crate::testing::{Disk, closing, command, eager, finish, key, opening};

/// An export of a log of several blocks and checkpoints, as a reader gets it.
struct Export {
    origin: Checkpoint,
    events: Vec<ChainedEvent>,
    checkpoints: Vec<Checkpoint>,
}

fn export(count: u64) -> Export {
    let (store, _) = Disk::default().store(crate::StoreOptions { checkpoint: std::time::Duration::ZERO, ..eager() });
    for n in 1..=count {
        let event = match n % 4 {
            0 => closing("s"),
            1 => opening("s"),
            2 => command("s", n),
            _ => finish("s", n),
        };
        assert!(matches!(store.append(event), Appended::Done(_)));
        if n % 37 == 0 {
            store.flush().unwrap();
        }
    }
    store.flush().unwrap();
    let origin = store.head().unwrap().origin;
    Export { origin, events: store.export(0, 10_000).unwrap(), checkpoints: store.checkpoints(0, 10_000).unwrap() }
}

impl Export {
    fn verify(&self) -> Report {
        let mut verifier = Verifier::new(&[key().public_hex()]);
        verifier.checkpoint(&self.origin);
        // The newest first, as where checkpoints were sent to: it shows where the log has to end. Each once more behind its event.
        self.checkpoints.iter().rev().take(1).for_each(|checkpoint| verifier.checkpoint(checkpoint));
        for event in &self.events {
            verifier.event(event);
            for checkpoint in self.checkpoints.iter().filter(|c| c.number == event.stored.number) {
                verifier.checkpoint(checkpoint);
            }
        }
        verifier.finish()
    }

    fn problems(&self) -> Vec<Problem> {
        self.verify().problems
    }

    /// What somebody does who can compute hashes but not sign: the chain holds again in itself.
    fn chain_anew(&mut self) {
        let mut hash = from_hex::<32>(&self.origin.hash).unwrap();
        for event in &mut self.events {
            let encoded = postcard::to_stdvec(&(event.stored.at_ms, &event.stored.event)).unwrap();
            hash = chain::next(&hash, event.stored.number, &encoded);
            (event.encoded, event.hash) = (STANDARD.encode(&encoded), chain::hex(&hash));
        }
    }
}

fn retell(event: &mut ChainedEvent) {
    match &mut event.stored.event {
        Event::Command(command) => command.text = Arc::from("select 2"),
        Event::Finish(finish) => finish.rows += 1,
        Event::Close { reason, .. } => reason.push('!'),
        Event::Open(open) => open.client_address.push('1'),
        _ => panic!("no such event here"),
    }
}

fn encode(event: &ChainedEvent) -> String {
    STANDARD.encode(postcard::to_stdvec(&(event.stored.at_ms, &event.stored.event)).unwrap())
}

#[test]
fn a_log_as_it_was_written_holds() {
    let export = export(300);
    let report = export.verify();
    assert_eq!(report.problems, []);
    assert_eq!((report.first, report.last), (1, 300));
    assert_eq!(report.signed_to, export.checkpoints.last().unwrap().number);
    assert!(report.checkpoints as usize > export.checkpoints.len() / 2, "{report:?}");
    assert!(export.events.iter().any(|e| e.hash.len() == 16), "no block has several events");
}

#[test]
fn each_changed_event_is_named() {
    for at in 0..120 {
        let mut export = export(120);
        retell(&mut export.events[at]);
        let number = at as u64 + 1;
        assert_eq!(export.problems(), [Problem::Altered(number)]);
        export.events[at].encoded = encode(&export.events[at]);
        assert_eq!(export.problems()[0], Problem::Changed(number));
    }
}

#[test]
fn a_changed_time_is_noticed() {
    let mut export = export(50);
    export.events[20].stored.at_ms += 1;
    assert_eq!(export.problems(), [Problem::Altered(21)]);
}

#[test]
fn dropped_and_reordered_events_are_named() {
    let whole = export(120);
    for (drop, problem) in
        [(0..1, Problem::Baseless(2)), (10..11, Problem::Missing(11, 11)), (60..75, Problem::Missing(61, 75))]
    {
        let mut export = Export { events: whole.events.clone(), ..export(0) };
        (export.origin, export.checkpoints) = (whole.origin.clone(), whole.checkpoints.clone());
        export.events.drain(drop);
        assert_eq!(export.problems()[0], problem);
    }
    let mut export =
        Export { events: whole.events.clone(), origin: whole.origin.clone(), checkpoints: whole.checkpoints };
    export.events.swap(40, 41);
    assert!(export.problems().contains(&Problem::Misplaced(41, 43)), "{:?}", export.problems());
    // With the numbers put right, the hashes are not.
    (export.events[40].stored.number, export.events[41].stored.number) = (41, 42);
    assert_eq!(export.problems()[0], Problem::Changed(41));
}

#[test]
fn events_that_come_once_more_are_passed_over_if_they_are_the_same() {
    let mut export = export(120);
    let (again, beginning) = (export.events[50..80].to_vec(), export.events[..3].to_vec());
    export.events.splice(80..80, again);
    export.events.splice(3..3, beginning);
    let report = export.verify();
    assert_eq!((&report.problems[..], report.first, report.last), (&[][..], 1, 120));
    // Something else under a number that was there: what is shown, and what the chain covers.
    let other = export.events[40].clone();
    let again = &mut export.events[90];
    let (number, hash) = (again.stored.number, again.hash.clone());
    assert_eq!(number, 58);
    again.stored.at_ms += 1;
    assert_eq!(export.problems(), [Problem::Altered(number)]);
    export.events[90] = ChainedEvent { stored: StoredEvent { number, ..other.stored }, hash, ..other };
    assert_eq!(export.problems(), [Problem::Misplaced(number, 81)]);
}

#[test]
fn a_cut_end_is_betrayed_by_the_last_checkpoint() {
    let mut export = export(120);
    let signed = export.checkpoints.last().unwrap().number;
    export.events.truncate(77);
    assert_eq!(export.problems(), [Problem::Cut { last: 77, checkpoint: signed }]);
    export.events.clear();
    assert_eq!(export.problems(), [Problem::Cut { last: 0, checkpoint: signed }]);
}

#[test]
fn a_chain_that_was_made_anew_contradicts_its_checkpoints() {
    let mut export = export(120);
    retell(&mut export.events[50]);
    export.chain_anew();
    let next = export.checkpoints.iter().map(|c| c.number).find(|n| *n > 50).unwrap();
    let problems = export.problems();
    assert!(
        matches!(problems[0], Problem::Contradicted { after, checkpoint } if after <= 50 && checkpoint == next),
        "{problems:?}"
    );
}

#[test]
fn checkpoints_are_not_forged_and_not_borrowed() {
    let mut export = export(120);
    let report = export.verify();
    export.checkpoints[0].at_ms += 1;
    assert_eq!(export.problems(), [Problem::Forged(export.checkpoints[0].number)]);
    // Somebody signs a log of their own making with a key of their own.
    let (other, log) = (SigningKey::generate(), from_hex(&export.origin.log).unwrap());
    let hash = from_hex(&export.checkpoints[1].hash).unwrap();
    export.checkpoints[0] = other.checkpoint(&log, export.checkpoints[0].number, 1, &hash);
    let expected = Problem::Untrusted(export.checkpoints[0].number, other.public_hex());
    assert_eq!(export.problems(), [expected]);
    export.checkpoints.remove(0);
    export.checkpoints[0] = key().checkpoint(&[9; 16], export.checkpoints[0].number, 1, &hash);
    assert_eq!(export.problems(), [Problem::OtherLog(export.checkpoints[0].number)]);
    assert_eq!(report.keys, [key().public_hex()]);
}

/// Whoever has the key can sign another story. What was sent off the host before stands, wherever the new checkpoints are put.
#[test]
fn a_story_that_was_signed_anew_contradicts_what_was_kept_elsewhere() {
    let whole = export(120);
    let log = from_hex(&whole.origin.log).unwrap();
    for before in [false, true] {
        let mut other = export(0);
        (other.origin, other.events) = (whole.origin.clone(), whole.events.clone());
        retell(&mut other.events[50]);
        other.chain_anew();
        let resigned: Vec<Checkpoint> = whole
            .checkpoints
            .iter()
            .map(|c| {
                let hash = from_hex(&other.events[c.number as usize - 1].hash).unwrap();
                key().checkpoint(&log, c.number, c.at_ms, &hash)
            })
            .collect();
        let mut verifier = Verifier::new(&[key().public_hex()]);
        verifier.checkpoint(&other.origin);
        whole.checkpoints.iter().for_each(|kept| verifier.checkpoint(kept));
        if before {
            resigned.iter().for_each(|checkpoint| verifier.checkpoint(checkpoint));
        }
        for event in &other.events {
            verifier.event(event);
            resigned.iter().filter(|c| c.number == event.stored.number).for_each(|c| verifier.checkpoint(c));
        }
        let problems = verifier.finish().problems;
        assert!(matches!(problems[0], Problem::Contradicted { .. }), "{before}: {problems:?}");
    }
    // So is a log of which the very beginning was signed anew.
    let mut verifier = Verifier::new(&[]);
    verifier.checkpoint(&whole.origin);
    verifier.checkpoint(&key().checkpoint(&log, 0, 1, &[9; 32]));
    assert!(matches!(verifier.finish().problems[..], [Problem::Contradicted { .. }, Problem::Nothing]));
}

/// What no checkpoint vouches for, anybody may have written.
#[test]
fn a_log_whose_checkpoints_were_taken_away_is_no_good_log() {
    let mut export = export(60);
    export.checkpoints.clear();
    export.chain_anew();
    assert_eq!(export.problems(), [Problem::Unsigned { after: 0, last: 60 }]);
    assert_eq!(Verifier::new(&[]).finish().problems, [Problem::Nothing]);
}

/// A checkpoint vouches for what is before it, and does not say that it may be left out.
#[test]
fn a_log_whose_beginning_was_cut_off_is_no_good_log() {
    let whole = export(120);
    let mut cut = export(0);
    cut.origin = whole.checkpoints[0].clone();
    let begin = cut.origin.number as usize;
    (cut.events, cut.checkpoints) = (whole.events[begin..].to_vec(), whole.checkpoints[1..].to_vec());
    assert_eq!(cut.problems(), [Problem::Headless { first: begin as u64 + 1 }]);
    // On purpose it may be.
    let mut verifier = Verifier::new(&[]);
    verifier.begins_at(begin as u64);
    verifier.checkpoint(&cut.origin);
    cut.checkpoints.iter().for_each(|checkpoint| verifier.checkpoint(checkpoint));
    cut.events.iter().for_each(|event| verifier.event(event));
    assert_eq!(verifier.finish().problems, []);
}

#[test]
fn an_event_without_a_number_is_none() {
    let mut export = export(20);
    let mut nought = export.events[3].clone();
    nought.stored.number = 0;
    export.events.insert(0, nought);
    assert_eq!(export.problems(), [Problem::Misplaced(0, 1)]);
}

#[test]
fn junk_is_an_error_with_its_place() {
    let mut export = export(60);
    export.events[30].encoded = "%%%".into();
    assert!(matches!(export.problems()[0], Problem::Unreadable(31, _)));
    export.events[30].encoded = STANDARD.encode("junk");
    assert_eq!(export.problems()[..2], [Problem::Altered(31), Problem::Changed(31)]);
}
