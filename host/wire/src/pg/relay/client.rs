//! The client's side: messages are gathered into commands, asked about, and sent.

use std::sync::Arc;

use bytes::{Buf, BytesMut};

use super::names::{Lookup, Portal, Prepared, may_copy};
use super::{Event, Passage, Pending, Phase, Question, Relay, Run, Settled};
use crate::pg::frame::{Fields, Frame, WireError, next, peek, put, put_cstr};
use crate::pg::message::{Fault, put_query};

/// What the client is doing.
#[derive(Debug, Default)]
pub(super) struct Client {
    sequence: u64,
    asked: Option<Asked>,
    /// After a denial in the extended protocol, what comes before the Sync is dropped, as the server does after an error.
    skipping: bool,
    /// The server takes COPY data.
    copying: bool,
    /// Bytes of a CopyData message that pass, or are dropped, without being looked at.
    streaming: usize,
    stream_passes: bool,
    /// A Flush was sent for the command that waits, see [`Relay::awaits_copy`].
    flushed: bool,
}

/// A question without an answer.
#[derive(Debug)]
pub(super) struct Asked {
    sequence: u64,
    text: Arc<str>,
}

impl Client {
    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn take_question(&mut self) -> Option<Asked> {
        self.asked.take()
    }

    pub(super) fn is_skipping(&self) -> bool {
        self.skipping
    }

    pub(super) fn skip_to_sync(&mut self) {
        self.skipping = true;
    }

    pub(super) fn set_copying(&mut self, copying: bool) {
        self.copying = copying;
    }
}

/// Messages that belong together and are held back until they are decided.
#[derive(Debug, Default)]
pub(super) struct Unit {
    bytes: Vec<u8>,
    replies: Vec<Reply>,
    simple: Option<Arc<str>>,
    parse: Option<Parse>,
    portal: Option<(Vec<u8>, Arc<Portal>)>,
    /// The portal is described in it.
    described: bool,
    statement_described: bool,
    executes: bool,
}

#[derive(Debug)]
struct Parse {
    name: Vec<u8>,
    statement: Arc<Prepared>,
    text: Arc<str>,
    /// The parameter types, as they follow the text.
    types: Vec<u8>,
    /// The length of the message, which stands first in the unit.
    length: usize,
}

/// What the server will reply to one message of a unit.
#[derive(Debug)]
enum Reply {
    Bind,
    DescribePortal,
    DescribeStatement,
    Parse,
}

impl Unit {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.is_simple()
    }

    pub(super) fn is_simple(&self) -> bool {
        self.simple.is_some()
    }

    pub(super) fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let mut replies = std::mem::take(&mut self.replies);
        bytes.clear();
        replies.clear();
        *self = Self { bytes, replies, ..Self::default() };
    }

    fn add(&mut self, frame: Frame<'_>, reply: Reply) {
        self.bytes.extend_from_slice(frame.raw);
        self.replies.push(reply);
    }

    fn statement(&self) -> Option<&Arc<Prepared>> {
        self.portal.as_ref().map(|(_, p)| &p.statement).or_else(|| self.parse.as_ref().map(|p| &p.statement))
    }
}

/// What became of a message.
enum Taken {
    Consumed,
    /// Consumed, and here is what the driver has to know.
    Event(Event),
    /// The unit before it has to be decided first; the message stays.
    AfterUnit,
    /// Replies have to come first; the message stays.
    Stall,
}

impl Relay {
    pub(super) fn advance_client(&mut self, input: &mut BytesMut) -> Result<Option<Event>, WireError> {
        loop {
            // After a refusal the client waits, but for the Sync that ends the refused batch.
            let refused = self.refusal.cancelling || self.refusal.swallowing && !self.client.skipping;
            if self.client.asked.is_some() || refused || self.pending.len() >= self.limits.pipeline {
                return Ok(None);
            }
            if self.client.streaming > 0 {
                let count = self.client.streaming.min(input.len());
                if count == 0 {
                    return Ok(None);
                }
                if self.client.stream_passes {
                    self.to_server.extend_from_slice(input.get(..count).unwrap_or_default());
                }
                input.advance(count);
                self.client.streaming -= count;
                continue;
            }
            match peek(input)? {
                None => return Ok(None),
                // Nobody waits for the rest of what is no message.
                Some((tag, _)) if !KNOWN.contains(&tag) => return Err(unexpected(tag)),
                // Data has to wait until the server asks for it. Anything else would be taken for data that is wrong, and be lost.
                Some((tag, _)) if !matches!(tag, b'S' | b'H' | b'X') && self.awaits_copy() => return Ok(None),
                // COPY data streams, so that its size needs no bound. What comes outside a COPY is left over from one
                // that failed, and the server would drop it.
                Some((b'd', length)) => {
                    self.client.streaming = length;
                    self.client.stream_passes = self.client.copying;
                    if let (true, Some(run)) = (self.client.copying, self.front_run()) {
                        run.finish.bytes += length as u64;
                    }
                    continue;
                }
                Some(_) => {}
            }
            let Some(frame) = next(input, self.limits.client_message)? else { return Ok(None) };
            match self.take(frame)? {
                Taken::Consumed => input.advance(frame.raw.len()),
                Taken::Event(event) => {
                    input.advance(frame.raw.len());
                    return Ok(Some(event));
                }
                Taken::AfterUnit => return Ok(Some(self.ask())),
                Taken::Stall => return Ok(None),
            }
        }
    }

    /// Whether the command that was sent last may turn out to be a COPY from the client.
    fn awaits_copy(&mut self) -> bool {
        let last = self.pending.iter().rev().find(|p| !matches!(p, Pending::Sync));
        let may_copy = match last {
            Some(Pending::Execute { portal, .. }) => portal.statement.may_copy(),
            Some(Pending::Simple { may_copy, .. }) => *may_copy,
            _ => false,
        };
        let awaits = may_copy && !self.client.copying && !self.client.skipping;
        // The server may keep earlier replies until a Flush or Sync, and the client sends none during a COPY.
        if awaits && !self.client.flushed && !matches!(self.pending.back(), Some(Pending::Sync)) {
            self.client.flushed = true;
            self.flush_server();
        }
        awaits
    }

    fn take(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        if frame.tag == b'X' {
            // What was sent before it is done and answered first, as the server does it.
            if self.settled() == Settled::Later && !self.client.copying {
                return Ok(Taken::Stall);
            }
            self.unit.clear();
            return Ok(Taken::Event(Event::Terminate));
        }
        if self.client.copying {
            return self.take_in_copy(frame);
        }
        if self.client.skipping && frame.tag != b'S' {
            return Ok(Taken::Consumed);
        }
        match frame.tag {
            b'P' => self.take_parse(frame),
            b'B' => self.take_bind(frame),
            b'D' => self.take_describe(frame),
            b'E' => self.take_execute(frame),
            // Left over from a COPY that failed.
            b'c' | b'f' => Ok(Taken::Consumed),
            b'Q' | b'S' | b'H' | b'C' | b'F' if !self.unit.is_empty() => Ok(Taken::AfterUnit),
            b'Q' => Ok(self.take_query(frame)?),
            b'S' => {
                self.client.skipping = false;
                self.pass(frame);
                self.pending.push_back(Pending::Sync);
                Ok(Taken::Consumed)
            }
            b'H' => {
                self.to_server.extend_from_slice(frame.raw);
                Ok(Taken::Consumed)
            }
            b'C' => self.take_close(frame),
            // It runs a function by its OID, of which no fact is known.
            b'F' => {
                let fault =
                    Fault::error("0A000", "the function call sub-protocol is not available through this gateway");
                self.substitute(fault.with_hint("call the function in a SELECT"), true);
                Ok(Taken::Consumed)
            }
            tag => Err(unexpected(tag)),
        }
    }

    fn take_in_copy(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        match frame.tag {
            b'c' | b'f' => {
                self.client.copying = false;
                self.to_server.extend_from_slice(frame.raw);
                Ok(Taken::Consumed)
            }
            // The server ignores these during a COPY and owes no reply to them.
            b'S' | b'H' => Ok(Taken::Consumed),
            // The server would take the message for the end of the COPY, and never for what it is.
            _ => {
                self.client.copying = false;
                put(&mut self.to_server, b'f', |b| put_cstr(b, b"another message came in place of data"));
                Ok(Taken::Consumed)
            }
        }
    }

    fn take_query(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        let mut fields = Fields::new(frame.tag, frame.body);
        let text = fields.cstr()?;
        fields.end()?;
        let Ok(text) = std::str::from_utf8(text) else {
            self.substitute(not_utf8(), true);
            return Ok(Taken::Consumed);
        };
        self.unit.simple = Some(text.into());
        Ok(Taken::Event(self.ask()))
    }

    fn take_parse(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        if !self.unit.is_empty() {
            return Ok(Taken::AfterUnit);
        }
        let mut fields = Fields::new(frame.tag, frame.body);
        let (name, text, types) = (fields.cstr()?, fields.cstr()?, fields.rest());
        let count = fields.count()?;
        fields.bytes(count * 4)?;
        fields.end()?;
        let Ok(text) = std::str::from_utf8(text) else { return Ok(self.take_wrong(not_utf8())) };
        if name.len() > MAX_NAME {
            return Ok(self.take_wrong(long_name()));
        }
        if let Some(limit) = self.names.full(&self.pending, &self.limits, name, text.len()) {
            return Ok(self.take_wrong(too_many(&limit)));
        }
        let parse = Parse {
            name: name.to_vec(),
            statement: Arc::default(),
            text: text.into(),
            types: types.to_vec(),
            length: frame.raw.len(),
        };
        self.unit.add(frame, Reply::Parse);
        self.unit.parse = Some(parse);
        Ok(Taken::Consumed)
    }

    fn take_bind(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        let mut fields = Fields::new(frame.tag, frame.body);
        let (portal, name) = (fields.cstr()?, fields.cstr()?);
        if portal.len().max(name.len()) > MAX_NAME {
            return Ok(self.take_wrong(long_name()));
        }
        let statement = match &self.unit.parse {
            Some(parse) if parse.name == name && self.unit.portal.is_none() => parse.statement.clone(),
            _ if !self.unit.is_empty() => return Ok(Taken::AfterUnit),
            _ => match self.names.statement(&self.pending, name) {
                Lookup::Found(statement) => statement,
                Lookup::Wait => return Ok(Taken::Stall),
                Lookup::Missing => return Ok(self.take_wrong(unknown("26000", "prepared statement", name))),
            },
        };
        if let Some(limit) = self.names.full(&self.pending, &self.limits, portal, fields.rest().len()) {
            return Ok(self.take_wrong(too_many(&limit)));
        }
        let parsed = Portal::parse(statement, fields.rest())?;
        self.unit.add(frame, Reply::Bind);
        self.unit.portal = Some((portal.to_vec(), Arc::new(parsed)));
        Ok(Taken::Consumed)
    }

    fn take_describe(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        let mut fields = Fields::new(frame.tag, frame.body);
        let (kind, name) = (fields.u8()?, fields.cstr()?);
        fields.end()?;
        if name.len() > MAX_NAME {
            return Ok(self.take_wrong(long_name()));
        }
        let belongs = match (kind, &self.unit.parse, &self.unit.portal) {
            // Twice would let a unit grow without end.
            (b'S', Some(parse), None) => parse.name == name && !self.unit.statement_described,
            (b'P', _, Some((portal, _))) => portal == name && !self.unit.described,
            _ => false,
        };
        if belongs {
            let portal = kind == b'P';
            self.unit.described |= portal;
            self.unit.statement_described |= !portal;
            self.unit.add(frame, if portal { Reply::DescribePortal } else { Reply::DescribeStatement });
            return Ok(Taken::Consumed);
        }
        if !self.unit.is_empty() {
            return Ok(Taken::AfterUnit);
        }
        let portal = match kind {
            b'S' => None,
            b'P' => match self.names.portal(&self.pending, name) {
                Lookup::Wait => return Ok(Taken::Stall),
                Lookup::Found(portal) => Some(portal),
                Lookup::Missing => None,
            },
            _ => {
                return Err(WireError::Malformed {
                    tag: frame.tag,
                    what: "it is about neither a statement nor a portal",
                });
            }
        };
        self.pass(frame);
        self.pending.push_back(Pending::Describe { portal, hidden: false });
        Ok(Taken::Consumed)
    }

    fn take_execute(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        let mut fields = Fields::new(frame.tag, frame.body);
        let name = fields.cstr()?;
        fields.i32()?;
        fields.end()?;
        if name.len() > MAX_NAME {
            return Ok(self.take_wrong(long_name()));
        }
        match &self.unit.portal {
            Some((portal, _)) if portal == name => {}
            _ if !self.unit.is_empty() => return Ok(Taken::AfterUnit),
            _ => match self.names.portal(&self.pending, name) {
                Lookup::Found(portal) => self.unit.portal = Some((name.to_vec(), portal)),
                Lookup::Wait => return Ok(Taken::Stall),
                Lookup::Missing => return Ok(self.take_wrong(unknown("34000", "portal", name))),
            },
        }
        self.unit.bytes.extend_from_slice(frame.raw);
        self.unit.executes = true;
        Ok(Taken::Event(self.ask()))
    }

    fn take_close(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        let mut fields = Fields::new(frame.tag, frame.body);
        let (kind, name) = (fields.u8()?, fields.cstr()?.to_vec());
        fields.end()?;
        if name.len() > MAX_NAME {
            return Ok(self.take_wrong(long_name()));
        }
        let portal = match kind {
            b'S' => false,
            b'P' => true,
            _ => {
                return Err(WireError::Malformed {
                    tag: frame.tag,
                    what: "it is about neither a statement nor a portal",
                });
            }
        };
        self.pass(frame);
        self.pending.push_back(Pending::Close { portal, name });
        Ok(Taken::Consumed)
    }

    /// Refuses a message of the extended protocol that cannot be decided on.
    fn take_wrong(&mut self, fault: Fault) -> Taken {
        if !self.unit.is_empty() {
            return Taken::AfterUnit;
        }
        self.substitute(fault, false);
        Taken::Consumed
    }

    fn ask(&mut self) -> Event {
        self.client.sequence += 1;
        let sequence = self.client.sequence;
        let unit = &self.unit;
        let text = unit.simple.as_ref().or_else(|| unit.parse.as_ref().map(|p| &p.text));
        let text = text.or_else(|| unit.statement().and_then(|s| s.text())).cloned().unwrap_or_default();
        let phase = if unit.executes || unit.is_simple() { Phase::Execute } else { Phase::Prepare };
        let portal = unit.portal.as_ref().map(|(_, portal)| portal.clone());
        let parsed = unit.statement().and_then(|s| s.readable());
        self.client.asked = Some(Asked { sequence, text: text.clone() });
        self.client.flushed = self.unit.is_simple();
        let name = unit.parse.as_ref().map(|parse| parse.name.clone()).filter(|name| !name.is_empty());
        Event::Ask(Question { sequence, phase, text, parsed, name, portal })
    }

    /// Sends the unit, with another text if a policy rewrote it. Says whether it could.
    pub(super) fn release(&mut self, asked: Asked, rewrite: Option<Arc<str>>, passage: Passage) -> bool {
        let rewrite = rewrite.filter(|text| *text != asked.text);
        if rewrite.is_some() && !self.unit.is_simple() && self.unit.parse.is_none() {
            // The server has the statement already, under its first text.
            let fault = Fault::error("42501", "a policy rewrites this statement, which was prepared before")
                .with_hint("prepare the statement again");
            self.deny(fault);
            return false;
        }
        let text = rewrite.clone().unwrap_or_else(|| asked.text.clone());
        self.guards_words = passage.guard_words;
        self.unsettled = true;
        let run = Run::new(asked.sequence, passage);
        if self.unit.is_simple() {
            put_query(&mut self.to_server, &text);
            let may_copy = may_copy(&text);
            self.pending.push_back(Pending::Simple { run, text, may_copy, shape: None });
            self.unit.clear();
            return true;
        }
        self.release_extended(text, rewrite.is_some(), run);
        true
    }

    fn release_extended(&mut self, text: Arc<str>, rewritten: bool, run: Run) {
        let mut unit = std::mem::take(&mut self.unit);
        let mut rest = 0;
        if let (Some(parse), true) = (&unit.parse, rewritten) {
            put(&mut self.to_server, b'P', |b| {
                put_cstr(b, &parse.name);
                put_cstr(b, text.as_bytes());
                b.extend_from_slice(&parse.types);
            });
            rest = parse.length;
        }
        if let Some(parse) = &unit.parse {
            parse.statement.sent_as(text, run.passage.readable);
        }
        for reply in unit.replies.drain(..) {
            let entry = match (reply, &mut unit.parse, &unit.portal) {
                (Reply::Parse, Some(parse), _) => {
                    Pending::Parse { name: std::mem::take(&mut parse.name), statement: parse.statement.clone() }
                }
                (Reply::Bind, _, Some((name, portal))) => Pending::Bind { name: name.clone(), portal: portal.clone() },
                (Reply::DescribePortal, _, Some((_, portal))) => {
                    Pending::Describe { portal: Some(portal.clone()), hidden: false }
                }
                _ => Pending::Describe { portal: None, hidden: false },
            };
            self.pending.push_back(entry);
        }
        match (&unit.portal, unit.executes) {
            (Some((name, portal)), true) => {
                // The Execute stands last: a tag, a length, the name with its NUL, and the row limit.
                let execute = unit.bytes.len() - (5 + name.len() + 1 + 4);
                self.to_server.extend_from_slice(unit.bytes.get(rest..execute).unwrap_or_default());
                if run.passage.plan_rows && !unit.described && !self.is_described(portal) {
                    put(&mut self.to_server, b'D', |b| {
                        b.push(b'P');
                        put_cstr(b, name);
                    });
                    self.pending.push_back(Pending::Describe { portal: Some(portal.clone()), hidden: true });
                }
                self.to_server.extend_from_slice(unit.bytes.get(execute..).unwrap_or_default());
                self.pending.push_back(Pending::Execute { run, portal: portal.clone() });
            }
            _ => self.to_server.extend_from_slice(unit.bytes.get(rest..).unwrap_or_default()),
        }
        unit.clear();
        self.unit = unit;
    }

    /// Whether the portal's columns are known, or will be when its Execute runs.
    fn is_described(&self, portal: &Arc<Portal>) -> bool {
        let describes =
            |entry: &Pending| matches!(entry, Pending::Describe { portal: Some(p), .. } if Arc::ptr_eq(p, portal));
        portal.shape.get().is_some() || self.pending.iter().any(describes)
    }

    /// Sends a message as it came.
    fn pass(&mut self, frame: Frame<'_>) {
        self.to_server.extend_from_slice(frame.raw);
        self.unsettled = true;
    }
}

/// What a client may send in a session.
const KNOWN: [u8; 13] = *b"BCDEFHPQSXcdf";

fn unexpected(tag: u8) -> WireError {
    WireError::Unexpected { tag, state: "from a client in a session" }
}

/// The server cuts longer names, so that two of them could be the same to it.
const MAX_NAME: usize = 63;

fn long_name() -> Fault {
    Fault::error("42622", format!("names of prepared statements and portals have at most {MAX_NAME} bytes"))
}

fn too_many(limit: &str) -> Fault {
    Fault::error("53400", format!("the session has reached its limit of {limit}"))
        .with_hint("deallocate or close some, or raise the limit")
}

fn not_utf8() -> Fault {
    Fault::error("22021", "the statement is not valid UTF-8").with_hint("set client_encoding to UTF8")
}

fn unknown(code: &'static str, what: &str, name: &[u8]) -> Fault {
    let name = String::from_utf8_lossy(name);
    Fault::error(code, format!("the {what} \"{name}\" is not known to the gateway"))
        .with_hint("prepare, bind and execute through the protocol, or all of it in SQL")
}
