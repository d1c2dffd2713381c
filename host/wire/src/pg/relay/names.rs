//! What the names of prepared statements and portals stand for.
//!
//! The server is the one that knows; this follows its replies. A name that replies under way may change is not used until they
//! have come, so that the text that is decided is the text that runs.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{Limits, Pending};
use crate::pg::frame::{Fields, WireError};
use crate::pg::message::Shape;

/// A prepared statement.
#[derive(Debug, Default)]
pub struct Prepared {
    sent: OnceLock<Sent>,
}

#[derive(Debug)]
struct Sent {
    text: Arc<str>,
    may_copy: bool,
    renames: Renames,
    readable: bool,
}

/// Which names a text may change by itself; see [`Names::completed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Renames {
    statements: bool,
    portals: bool,
}

impl Prepared {
    /// The text that the server has; known from when it was sent.
    pub fn text(&self) -> Option<&Arc<str>> {
        self.sent.get().map(|sent| &sent.text)
    }

    pub(super) fn sent_as(&self, text: Arc<str>, readable: bool) {
        let (may_copy, renames) = (may_copy(&text), renames(&text));
        let _ = self.sent.set(Sent { text, may_copy, renames, readable });
    }

    /// Whether the text could be read when it was sent; `None` before that.
    pub(super) fn readable(&self) -> Option<bool> {
        self.sent.get().map(|sent| sent.readable)
    }

    fn bytes(&self) -> usize {
        self.text().map_or(0, |text| text.len())
    }

    pub(super) fn may_copy(&self) -> bool {
        self.sent.get().is_some_and(|sent| sent.may_copy)
    }

    fn renames(&self) -> Renames {
        self.sent.get().map_or_else(Renames::default, |sent| sent.renames)
    }
}

/// A statement with its parameters, ready to run.
#[derive(Debug)]
pub struct Portal {
    /// What runs.
    pub statement: Arc<Prepared>,
    parameters: Vec<Parameter>,
    /// Its columns in their formats, once the server has described this very portal. A description of the statement would not do:
    /// what its names mean may have changed since.
    pub(super) shape: OnceLock<Shape>,
    /// Rows of it that went to the client and were looked at: it may be run in pieces.
    pub(super) rows: AtomicU64,
}

/// A bound parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The bytes; `None` is NULL.
    pub value: Option<Bytes>,
    /// Whether they are in the type's binary format.
    pub binary: bool,
}

impl Portal {
    /// Reads what follows the names in the body of a Bind.
    pub(super) fn parse(statement: Arc<Prepared>, rest: &[u8]) -> Result<Self, WireError> {
        let bytes = Bytes::copy_from_slice(rest);
        let mut fields = Fields::new(b'B', &bytes);
        let formats = format_codes(&mut fields)?;
        let count = fields.count()?;
        if formats.len() > 1 && formats.len() != count {
            return Err(WireError::Malformed { tag: b'B', what: "format codes and parameters differ in number" });
        }
        let mut parameters = Vec::with_capacity(count.min(rest.len() / 4));
        for i in 0..count {
            let value = fields.value()?.map(|v| bytes.slice_ref(v));
            parameters.push(Parameter { value, binary: nth_format(&formats, i) });
        }
        format_codes(&mut fields)?;
        fields.end()?;
        Ok(Self { statement, parameters, shape: OnceLock::new(), rows: AtomicU64::new(0) })
    }

    fn bytes(&self) -> usize {
        self.parameters.iter().flat_map(|p| &p.value).map(Bytes::len).sum()
    }

    /// The parameters, in order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}

fn format_codes(fields: &mut Fields<'_>) -> Result<Vec<bool>, WireError> {
    let count = fields.count()?;
    let codes = fields.bytes(count * 2)?;
    codes
        .chunks_exact(2)
        .map(|code| match code {
            [0, 0] => Ok(false),
            [0, 1] => Ok(true),
            _ => Err(WireError::Malformed { tag: b'B', what: "a format code is neither 0 nor 1" }),
        })
        .collect()
}

/// No code means text for all, one code stands for all.
fn nth_format(formats: &[bool], index: usize) -> bool {
    match formats {
        [] => false,
        [all] => *all,
        each => each.get(index).copied().unwrap_or(false),
    }
}

/// The names that the server has confirmed.
#[derive(Debug, Default)]
pub(super) struct Names {
    statements: Held<Prepared>,
    portals: Held<Portal>,
}

/// What names stand for, each with its bytes, and the bytes of all.
#[derive(Debug)]
struct Held<T> {
    by_name: HashMap<Vec<u8>, (Arc<T>, usize)>,
    bytes: usize,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), bytes: 0 }
    }
}

impl<T> Held<T> {
    fn get(&self, name: &[u8]) -> Option<&Arc<T>> {
        self.by_name.get(name).map(|(held, _)| held)
    }

    fn insert(&mut self, name: Vec<u8>, held: Arc<T>, bytes: usize) {
        self.remove(&name);
        self.by_name.insert(name, (held, bytes));
        self.bytes += bytes;
    }

    fn remove(&mut self, name: &[u8]) {
        self.bytes -= self.by_name.remove(name).map_or(0, |(_, bytes)| bytes);
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What a name stands for when everything sent before has been done.
#[derive(Debug)]
pub(super) enum Lookup<T> {
    Found(T),
    Missing,
    /// It depends on replies that are under way.
    Wait,
}

impl Names {
    pub(super) fn statement(&self, pending: &VecDeque<Pending>, name: &[u8]) -> Lookup<Arc<Prepared>> {
        let change = last_change(
            pending,
            |renames| renames.statements,
            |entry| match entry {
                Pending::Parse { name: n, statement } if n == name => Some(Some(statement.clone())),
                Pending::Close { portal: false, name: n } if n == name => Some(None),
                _ => None,
            },
        );
        resolve(change, self.statements.get(name))
    }

    pub(super) fn portal(&self, pending: &VecDeque<Pending>, name: &[u8]) -> Lookup<Arc<Portal>> {
        let change = last_change(
            pending,
            |renames| renames.portals,
            |entry| match entry {
                Pending::Bind { name: n, portal } if n == name => Some(Some(portal.clone())),
                Pending::Close { portal: true, name: n } if n == name => Some(None),
                _ => None,
            },
        );
        resolve(change, self.portals.get(name))
    }

    pub(super) fn parsed(&mut self, name: Vec<u8>, statement: Arc<Prepared>) {
        let bytes = statement.bytes();
        self.statements.insert(name, statement, bytes);
    }

    pub(super) fn bound(&mut self, name: Vec<u8>, portal: Arc<Portal>) {
        let bytes = portal.bytes();
        self.portals.insert(name, portal, bytes);
    }

    pub(super) fn closed(&mut self, portal: bool, name: &[u8]) {
        if portal {
            self.portals.remove(name);
        } else {
            self.statements.remove(name);
        }
    }

    /// A transaction has ended, and its portals with it.
    pub(super) fn transaction_ended(&mut self) {
        self.portals.clear();
    }

    /// A command with this completion tag has run. SQL can change the same names that the protocol does.
    pub(super) fn completed(&mut self, tag: &[u8], text: &str) {
        match tag {
            b"DEALLOCATE" => match deallocated(text) {
                Some(name) => self.statements.remove(name.as_bytes()),
                None => self.statements.clear(),
            },
            b"DEALLOCATE ALL" => self.statements.clear(),
            b"DISCARD ALL" => {
                self.statements.clear();
                self.portals.clear();
            }
            b"DECLARE CURSOR" | b"CLOSE CURSOR" | b"CLOSE CURSOR ALL" => self.portals.clear(),
            _ => {}
        }
    }

    /// Which limit leaves no room for another statement or portal with this many bytes of text or parameters, with what is under way.
    /// One without a name takes the place of the one before it, so only its bytes count.
    pub(super) fn full(
        &self,
        pending: &VecDeque<Pending>,
        limits: &Limits,
        name: &[u8],
        bytes: usize,
    ) -> Option<String> {
        let mut count = self.statements.by_name.len().max(self.portals.by_name.len());
        let mut held = bytes + self.statements.bytes + self.portals.bytes;
        for entry in pending {
            let more = match entry {
                Pending::Parse { statement, .. } => statement.bytes(),
                Pending::Bind { portal, .. } => portal.bytes(),
                _ => continue,
            };
            (count, held) = (count + 1, held + more);
        }
        let Limits { prepared, prepared_bytes, .. } = limits;
        if count >= *prepared && !name.is_empty() {
            return Some(format!("{prepared} prepared statements or portals (limits.prepared)"));
        }
        let message = || format!("{prepared_bytes} bytes of prepared statements and portals (limits.prepared_bytes)");
        (held > *prepared_bytes).then(message)
    }
}

/// The one name in a plain `DEALLOCATE name`; anything less plain gives `None`.
fn deallocated(text: &str) -> Option<String> {
    let words: Vec<&str> = text.trim().trim_end_matches(';').split_ascii_whitespace().collect();
    let name = match words[..] {
        [verb, name] if verb.eq_ignore_ascii_case("deallocate") => name,
        [verb, prepare, name] if verb.eq_ignore_ascii_case("deallocate") && prepare.eq_ignore_ascii_case("prepare") => {
            name
        }
        _ => return None,
    };
    let is_plain = |n: &str| (1..=63).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) {
        Some(quoted) if is_plain(quoted) => Some(quoted.to_owned()),
        None if is_plain(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

enum Change<T> {
    /// By an entry of the same batch: it has happened when a later entry of the batch runs, or the batch is skipped.
    Certain(Option<T>),
    /// By an entry of an earlier batch, which may fail by itself.
    Unknown,
    None,
}

fn last_change<T>(
    pending: &VecDeque<Pending>,
    may_rename: impl Fn(Renames) -> bool,
    matches: impl Fn(&Pending) -> Option<Option<T>>,
) -> Change<T> {
    let mut same_batch = true;
    for entry in pending.iter().rev() {
        match matches(entry) {
            Some(change) if same_batch => return Change::Certain(change),
            Some(_) => return Change::Unknown,
            None => {}
        }
        // A simple command may hold SQL that changes names (see `completed`), and it is a batch by itself.
        match entry {
            Pending::Simple { .. } => return Change::Unknown,
            Pending::Execute { portal, .. } if may_rename(portal.statement.renames()) => {
                return if same_batch { Change::Certain(None) } else { Change::Unknown };
            }
            Pending::Sync => same_batch = false,
            _ => {}
        }
    }
    Change::None
}

/// What a text of at most one statement may change, by its first word. A function that changes names is out of sight.
fn renames(text: &str) -> Renames {
    let text = after_comments(text);
    let starts = |word: &str| text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word));
    let discards = starts("discard");
    Renames { statements: discards || starts("deallocate"), portals: discards || starts("declare") || starts("close") }
}

/// A text from its first word on: behind the space, comments and empty statements that it begins with.
fn after_comments(text: &str) -> &str {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c', ';']);
        rest = if let Some(line) = rest.strip_prefix("--") {
            line.find(['\n', '\r']).map_or("", |end| &line[end..])
        } else if rest.starts_with("/*") {
            after_block(rest)
        } else {
            return rest;
        };
    }
}

/// What follows the comment that a text begins with. Comments of this kind can hold others.
fn after_block(text: &str) -> &str {
    let (mut rest, mut depth) = (text, 0_usize);
    while let Some(at) = rest.find(['/', '*']) {
        rest = &rest[at..];
        (depth, rest) = match (rest.get(..2), depth) {
            (Some("/*"), _) => (depth + 1, &rest[2..]),
            (Some("*/"), 1) => return &rest[2..],
            (Some("*/"), _) => (depth - 1, &rest[2..]),
            _ => (depth, &rest[1..]),
        };
    }
    ""
}

/// Whether a text may hold a COPY. A keyword cannot be written otherwise, and no function can start a COPY with the client.
pub(super) fn may_copy(text: &str) -> bool {
    let text = text.as_bytes();
    let is_copy = |at: usize| text.get(at..at + 4).is_some_and(|word| word.eq_ignore_ascii_case(b"copy"));
    memchr::memchr2_iter(b'c', b'C', text).any(is_copy)
}

fn resolve<T>(change: Change<Arc<T>>, confirmed: Option<&Arc<T>>) -> Lookup<Arc<T>> {
    match (change, confirmed) {
        (Change::Unknown, _) => Lookup::Wait,
        (Change::Certain(Some(found)), _) => Lookup::Found(found),
        (Change::Certain(None), _) | (Change::None, None) => Lookup::Missing,
        (Change::None, Some(found)) => Lookup::Found(found.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_deallocate_names_one() {
        assert_eq!(deallocated("DEALLOCATE Abc;").as_deref(), Some("abc"));
        assert_eq!(deallocated(" deallocate prepare \"Abc\"").as_deref(), Some("Abc"));
        for text in ["DEALLOCATE a; DEALLOCATE b", "deallocate/**/a", "DEALLOCATE", "DEALLOCATE \"a b\"", "x y"] {
            assert_eq!(deallocated(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_word_says_which_names_change() {
        let (none, both) = (Renames::default(), Renames { statements: true, portals: true });
        let (statements, portals) = (Renames { portals: false, ..both }, Renames { statements: false, ..both });
        for (text, expected) in [
            ("Deallocate a", statements),
            ("-- name: Close :exec\nselect 1", none),
            ("-- a\rdeallocate b", statements),
            ("/* discard */ select 1", none),
            ("/* a /* b */ * / */\x0c;declare c cursor for select 1", portals),
            ("/*/**/*/ close c", portals),
            ("/* /* */ close c", none),
            (" ; DISCARD all", both),
            ("-- nothing", none),
            ("--é\nclose é", portals),
            ("", none),
        ] {
            assert_eq!(renames(text), expected, "{text}");
        }
    }

    #[test]
    fn bind_bodies_are_checked() {
        let statement = Arc::new(Prepared::default());
        let body = b"\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x02\0\0\0\x01";
        let portal = Portal::parse(statement.clone(), body).unwrap();
        assert_eq!(portal.parameters()[0], Parameter { value: Some(Bytes::from_static(b"x")), binary: true });
        assert_eq!(portal.parameters()[1], Parameter { value: None, binary: true });
        for cut in 0..body.len() {
            assert!(Portal::parse(statement.clone(), &body[..cut]).is_err(), "{cut}");
        }
        assert!(Portal::parse(statement.clone(), b"\0\x01\0\x02\0\0\0\0").is_err());
        assert!(Portal::parse(statement, b"\0\x02\0\0\0\0\0\x01\xff\xff\xff\xff\0\0").is_err());
    }
}
