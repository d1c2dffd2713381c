//! Whether a log is what the gateway wrote: the chain from event to event, and the signatures over it.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_verdict::{ChainedEvent, Checkpoint, Event};

use crate::chain::{self, Hash, LogId, from_hex};
use crate::prune::Pruned;
use crate::record::decode_event;

/// The most problems that are kept; more are counted.
const MOST_PROBLEMS: usize = 1000;

/// So many of the last events are known again when they come once more.
const KNOWN_AGAIN: usize = 1 << 16;

/// Checks a log that is handed to it piece by piece: first its origin ([`portcullis_verdict::Head::origin`]) and any checkpoints from
/// elsewhere, then events in order, with a checkpoint before or right behind the event that it is for. What is delivered at least once may
/// come twice: events that have just been checked are passed over when they come again as they were.
pub struct Verifier {
    /// The keys that are trusted; where none was given, that of the first checkpoint.
    trusted: Vec<String>,
    log: Option<LogId>,
    /// What the chain says after `last`; none where it cannot be told.
    hash: Option<Hash>,
    first: u64,
    last: u64,
    /// What the chain says after each of the last events, where it can be told.
    hashes: BTreeMap<u64, Hash>,
    /// What checkpoints say of events that have not come yet.
    ahead: BTreeMap<u64, Hash>,
    checkpoints: u64,
    signed_to: u64,
    /// The event behind which the log may begin without a word about what was before.
    begins_at: u64,
    /// The last event that was removed by the word of one that is there.
    pruned_to: u64,
    problems: Vec<Problem>,
    more: u64,
}

/// What a log says of the chain after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// All of the hash, as at the end of a block.
    Whole(Hash),
    /// Its first bytes.
    Part([u8; 8]),
}

impl Claim {
    fn agrees(&self, hash: &Hash) -> bool {
        match self {
            Self::Whole(claimed) => claimed == hash,
            Self::Part(claimed) => hash.starts_with(claimed),
        }
    }

    fn whole(self) -> Option<Hash> {
        match self {
            Self::Whole(hash) => Some(hash),
            Self::Part(_) => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        from_hex(text).map(Self::Whole).or_else(|| from_hex(text).map(Self::Part))
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The first event that was seen, or 0.
    pub first: u64,
    /// The last event that was seen, or 0.
    pub last: u64,
    /// The last event that a genuine checkpoint vouches for, or 0. Those behind it are chained, and nobody has signed them yet.
    pub signed_to: u64,
    /// Genuine checkpoints that agree with the chain.
    pub checkpoints: u64,
    /// The public keys that are trusted: those that were given, or else that of the first checkpoint.
    pub keys: Vec<String>,
    /// What is wrong, in the order of the log; at most 1000.
    pub problems: Vec<Problem>,
    /// Further problems that are not listed.
    pub more: u64,
}

/// Something that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// What an event shows is not what the chain covers.
    Altered(u64),
    /// The log begins in the middle, and no checkpoint vouches for what came before.
    Baseless(u64),
    /// An event, or its place in the chain, was changed.
    Changed(u64),
    /// Something between two checkpoints was changed so that the chain still holds in itself.
    Contradicted {
        /// The last event that is vouched for before.
        after: u64,
        /// The event that the checkpoint is for.
        checkpoint: u64,
    },
    /// The end was cut off: a checkpoint vouches for an event that is not there.
    Cut {
        /// The last event that is there.
        last: u64,
        /// The event that the checkpoint is for.
        checkpoint: u64,
    },
    /// A checkpoint whose signature does not hold.
    Forged(u64),
    /// The log begins in the middle, and no event in it says that what came before was pruned: it was cut off.
    Headless {
        /// The first event that is there.
        first: u64,
    },
    /// Events are missing: the first and the last of them.
    Missing(u64, u64),
    /// An event does not stand in its place: its number, and the one that was to come.
    Misplaced(u64, u64),
    /// There is neither an event nor a checkpoint.
    Nothing,
    /// A checkpoint of another log.
    OtherLog(u64),
    /// A part of the log cannot be read: the event where it ends, or 0, and why.
    Unreadable(u64, String),
    /// No checkpoint vouches for the end of the log: its checkpoints were taken away, or a crash left it so.
    Unsigned {
        /// The last event that is vouched for.
        after: u64,
        /// The last event that is there.
        last: u64,
    },
    /// A checkpoint by a key that is not the trusted one.
    Untrusted(u64, String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Altered(n) => write!(f, "event {n}: what it shows is not what the chain covers"),
            Self::Baseless(n) => {
                write!(f, "the log begins with event {n}, and no checkpoint vouches for what came before")
            }
            Self::Changed(n) => write!(f, "event {n} was changed, or what stands before it was"),
            Self::Contradicted { after, checkpoint } => write!(
                f,
                "the checkpoint for event {checkpoint} contradicts the chain or another checkpoint: events between {} and {checkpoint} were changed",
                after + 1
            ),
            Self::Cut { last, checkpoint } => write!(
                f,
                "the log ends with event {last}, and a checkpoint vouches for event {checkpoint}: events {} to {checkpoint} were cut off",
                last + 1
            ),
            Self::Forged(n) => write!(f, "the checkpoint for event {n} is forged: its signature does not hold"),
            Self::Headless { first } => write!(
                f,
                "the log begins with event {first}, and nothing in it says that what came before was pruned: events 1 to {} were cut off",
                first - 1
            ),
            Self::Missing(first, last) if first == last => write!(f, "event {first} is missing"),
            Self::Missing(first, last) => write!(f, "events {first} to {last} are missing"),
            Self::Misplaced(n, expected) => write!(f, "event {n} stands where event {expected} belongs"),
            Self::Nothing => write!(f, "there is no log: neither an event nor a checkpoint"),
            Self::OtherLog(n) => write!(f, "the checkpoint for event {n} is of another log"),
            Self::Unreadable(0, why) => write!(f, "the log cannot be read: {why}"),
            Self::Unreadable(n, why) => write!(f, "event {n} or what stands with it cannot be read: {why}"),
            Self::Unsigned { after, last } => {
                write!(f, "no checkpoint vouches for events {} to {last}: anybody may have written them", after + 1)
            }
            Self::Untrusted(n, key) => write!(f, "the checkpoint for event {n} is by another key, {key}"),
        }
    }
}

impl Verifier {
    /// One that trusts these public keys (64 hexadecimal digits each), or if there are none the key of the first checkpoint.
    pub fn new(trusted: &[String]) -> Self {
        Self {
            trusted: trusted.iter().map(|key| key.to_ascii_lowercase()).collect(),
            log: None,
            hash: None,
            first: 0,
            last: 0,
            hashes: BTreeMap::new(),
            ahead: BTreeMap::new(),
            checkpoints: 0,
            signed_to: 0,
            begins_at: 0,
            pruned_to: 0,
            problems: Vec::new(),
            more: 0,
        }
    }

    /// Takes the next event of an export.
    pub fn event(&mut self, event: &ChainedEvent) {
        let number = event.stored.number;
        let (Ok(encoded), Some(claim)) = (STANDARD.decode(&event.encoded), Claim::parse(&event.hash)) else {
            self.misses(number);
            self.hash = None;
            return self.problem(Problem::Unreadable(number, "its encoding or hash is malformed".into()));
        };
        self.see(&event.stored.event);
        // What people read has to be what is covered.
        let covered = decode_event(&encoded);
        if !covered.is_ok_and(|(at_ms, covered)| covered == event.stored.event && at_ms == event.stored.at_ms) {
            self.problem(Problem::Altered(number));
        }
        self.link(number, &encoded, claim);
    }

    /// Takes a checkpoint, from the log itself or from where checkpoints were sent.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint) {
        let number = checkpoint.number;
        let Some(vouched) = chain::vouched(checkpoint) else { return self.problem(Problem::Forged(number)) };
        let key = checkpoint.key.to_ascii_lowercase();
        if self.trusted.is_empty() {
            self.trusted.push(key.clone());
        }
        if !self.trusted.contains(&key) {
            return self.problem(Problem::Untrusted(number, key));
        }
        if *self.log.get_or_insert(vouched.log) != vouched.log {
            return self.problem(Problem::OtherLog(number));
        }
        if self.first != 0 && number == self.last {
            self.compare(number, vouched.hash);
        } else if self.first == 0 || number > self.last {
            // Whoever has the key can sign another story: what was said first stands, and the two are told.
            let said = *self.ahead.entry(number).or_insert(vouched.hash);
            if said != vouched.hash {
                self.problem(Problem::Contradicted { after: self.signed_to, checkpoint: number });
            }
        }
        // One for an event that has gone by says nothing that a later one would not.
    }

    /// Takes a part of a log, of which the events up to this one are not there.
    pub fn begins_at(&mut self, number: u64) {
        self.begins_at = number;
    }

    /// Notes what an event says about the log itself.
    pub(crate) fn see(&mut self, event: &Event) {
        if let Some(pruned) = Pruned::told_by(event) {
            self.pruned_to = self.pruned_to.max(pruned.last);
        }
    }

    /// A part of the log that cannot be read, at this event.
    pub(crate) fn unreadable(&mut self, number: u64, why: String) {
        self.hash = None;
        self.problem(Problem::Unreadable(number, why));
    }

    /// What was found.
    pub fn finish(mut self) -> Report {
        if self.first == 0 && self.ahead.keys().next_back().is_none_or(|checkpoint| *checkpoint == 0) {
            self.problem(Problem::Nothing);
        }
        let before = self.first.saturating_sub(1);
        if before > self.begins_at && before != self.pruned_to {
            self.problem(Problem::Headless { first: self.first });
        }
        match self.ahead.keys().next_back() {
            Some(&checkpoint) if checkpoint > self.last => {
                self.problem(Problem::Cut { last: self.last, checkpoint });
            }
            _ if self.last > self.signed_to => {
                self.problem(Problem::Unsigned { after: self.signed_to, last: self.last });
            }
            _ => {}
        }
        let Self { first, last, signed_to, checkpoints, trusted, problems, more, .. } = self;
        Report { first, last, signed_to, checkpoints, keys: trusted, problems, more }
    }

    /// Goes on in the chain to an event.
    pub(crate) fn link(&mut self, number: u64, encoded: &[u8], claim: Claim) {
        if self.knows(number, encoded, claim) || !self.misses(number) {
            return;
        }
        self.hash = match self.hash.map(|before| chain::next(&before, number, encoded)) {
            Some(hash) if claim.agrees(&hash) => Some(hash),
            Some(_) => {
                self.problem(Problem::Changed(number));
                claim.whole()
            }
            // What went before cannot be told: its own word is taken, and the next checkpoint agrees with that or does not.
            None => claim.whole(),
        };
        if let Some(vouched) = self.ahead.remove(&number) {
            self.compare(number, vouched);
        }
        if let Some(hash) = self.hash {
            self.hashes.insert(number, hash);
        }
        if self.hashes.len() > KNOWN_AGAIN {
            self.hashes.pop_first();
        }
    }

    /// Whether this very event was there before, in this place.
    fn knows(&self, number: u64, encoded: &[u8], claim: Claim) -> bool {
        let (before, after) = (self.hashes.get(&number.wrapping_sub(1)), self.hashes.get(&number));
        let linked = before.zip(after).filter(|(before, after)| chain::next(before, number, encoded) == **after);
        linked.is_some_and(|(_, after)| claim.agrees(after))
    }

    /// Notes the number of the next event; false where it must not be gone on to.
    fn misses(&mut self, number: u64) -> bool {
        if number == 0 {
            // Events count from 1.
            self.problem(Problem::Misplaced(0, self.last + 1));
            return false;
        } else if self.first == 0 {
            self.first = number;
            self.hash = self.ahead.remove(&(number - 1));
            match self.hash {
                Some(hash) => {
                    (self.checkpoints, self.signed_to) = (1, number - 1);
                    self.hashes.insert(number - 1, hash);
                }
                None => self.problem(Problem::Baseless(number)),
            }
            self.ahead = self.ahead.split_off(&number);
        } else if number <= self.last {
            self.problem(Problem::Misplaced(number, self.last + 1));
            return false;
        } else if number != self.last + 1 {
            self.problem(Problem::Missing(self.last + 1, number - 1));
            self.hash = None;
        }
        self.last = number;
        true
    }

    fn compare(&mut self, number: u64, vouched: Hash) {
        if self.hash.is_some_and(|hash| hash != vouched) {
            self.problem(Problem::Contradicted { after: self.signed_to, checkpoint: number });
        } else if self.hash.is_some() {
            (self.checkpoints, self.signed_to) = (self.checkpoints + 1, number);
        }
        // It was signed by the gateway: what follows is measured by it.
        self.hash = Some(vouched);
    }

    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < MOST_PROBLEMS { self.problems.push(problem) } else { self.more += 1 }
    }
}

#[cfg(test)]
mod tests;
