//! A session between a client and a server that send anything.

use std::collections::BTreeSet;

use bytes::BytesMut;
use portcullis_wire::pg::frame::{Fields, WireError, next, put};
use portcullis_wire::pg::message::Fault;
use portcullis_wire::pg::relay::{Answer, Event, Limits, Passage, Phase, Question, Relay, ResultInfo, RowMode, Words};
use portcullis_wire::pg::rows::{self, Cell};

use crate::chunks;

const LIMITS: Limits = Limits {
    client_message: 4096,
    server_message: 4096,
    pipeline: 20,
    prepared: 4,
    prepared_bytes: 1000,
    batch_rows: 3,
};
/// What stands in the place of a denied command.
const NEVER_VALID: &[u8] = b"portcullis: denied";
const REWRITTEN: &str = "select 'rewritten'";

/// The flags of a chunk. Its bytes are the tag and body of one message, unless they are raw.
pub(crate) mod flag {
    pub(crate) const SERVER: u8 = 1;
    pub(crate) const RAW: u8 = 2;
    pub(crate) const DENY: u8 = 4;
    pub(crate) const REWRITE: u8 = 8;
    pub(crate) const REFUSE: u8 = 16;
    pub(crate) const OPEN: u8 = 32;
    /// What is asked now is answered with the next chunk.
    pub(crate) const HOLD: u8 = 64;
    pub(crate) const NOTICE: u8 = 128;
}

/// What was not permitted does not reach the server, rows that are to be looked at do not reach the client unseen, both sides
/// get whole messages, and nothing goes on for ever.
///
/// If the first byte is odd, some results may pass unseen.
pub(crate) fn relay(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else { return };
    let mut rig = Rig::new(options & 1 == 0);
    for (flags, bytes) in chunks(rest) {
        let input = if flags & flag::SERVER == 0 { &mut rig.from_client } else { &mut rig.from_server };
        match bytes.split_first() {
            Some((tag, body)) if flags & flag::RAW == 0 => {
                let mut message = vec![];
                put(&mut message, *tag, |b| b.extend_from_slice(body));
                input.extend_from_slice(&message);
            }
            _ => input.extend_from_slice(bytes),
        }
        if !rig.settle(flags) {
            return;
        }
    }
}

struct Rig {
    relay: Relay,
    /// Every result is looked at.
    strict: bool,
    from_client: BytesMut,
    from_server: BytesMut,
    held: Option<Question>,
    columns: usize,
    /// What was permitted: texts, and how many times something may run.
    texts: BTreeSet<String>,
    runs: usize,
    under_way: BTreeSet<u64>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// Rows that were written here.
    written: usize,
}

impl Rig {
    fn new(strict: bool) -> Self {
        Self {
            relay: Relay::new(LIMITS),
            strict,
            from_client: BytesMut::new(),
            from_server: BytesMut::new(),
            held: None,
            columns: 0,
            texts: BTreeSet::new(),
            runs: 0,
            under_way: BTreeSet::new(),
            to_server: vec![],
            to_client: vec![],
            written: 0,
        }
    }

    /// Lets the machine go on until it needs more; false if the session has ended.
    fn settle(&mut self, flags: u8) -> bool {
        self.relay.set_cancelling(false);
        if flags & flag::NOTICE != 0 {
            self.relay.notify(&Fault::notice("00000", "still waiting"));
        }
        if let Some(question) = self.held.take() {
            self.answer(&question, flags);
        }
        let most = 100 + self.from_client.len() + self.from_server.len();
        for _ in 0..most {
            let event = self.relay.advance(&mut self.from_client, &mut self.from_server);
            let goes_on = match event {
                Ok(Some(event)) => self.handle(event, flags),
                Ok(None) | Err(_) => {
                    self.check();
                    return event.is_ok();
                }
            };
            self.check();
            if !goes_on {
                return false;
            }
        }
        panic!("the machine gives events without end");
    }

    fn handle(&mut self, event: Event, flags: u8) -> bool {
        match event {
            Event::Ask(question) if flags & flag::HOLD != 0 => {
                assert!(self.held.replace(question).is_none(), "two questions at once");
            }
            Event::Ask(question) => self.answer(&question, flags),
            Event::Plan(info) => self.plan(&info, flags),
            Event::Rows { bytes, count, .. } => return self.rows(bytes, count, flags),
            Event::Finish(finish) => {
                assert!(self.under_way.remove(&finish.sequence), "command {} was not under way", finish.sequence);
            }
            Event::Oversized { .. } => self.relay.refuse(&Fault::error("54000", "too large")),
            Event::Parameter { .. } => {}
            Event::Terminate => return false,
            Event::Words { .. } if flags & flag::OPEN != 0 => self.relay.words(Words::Pass),
            Event::Words { .. } if flags & flag::REWRITE != 0 => self.relay.words(Words::WithholdValues),
            Event::Words { .. } => self.relay.words(Words::Withhold),
        }
        true
    }

    fn answer(&mut self, question: &Question, flags: u8) {
        assert!(self.relay.is_asking());
        let open = !self.strict && flags & flag::OPEN != 0;
        let passage = Passage { plan_rows: !open, guard_words: !open, copy_out: open, readable: true };
        let text = if flags & flag::REWRITE == 0 { &*question.text } else { REWRITTEN };
        if flags & flag::DENY != 0 {
            self.relay.answer(Answer::Deny(Fault::error("42501", "no")));
            return;
        }
        self.texts.insert(text.to_owned());
        self.under_way.insert(question.sequence);
        self.runs += usize::from(question.phase == Phase::Execute);
        self.relay.answer(match flags & flag::REWRITE {
            0 => Answer::Forward(passage),
            _ => Answer::Rewrite(REWRITTEN.into(), passage),
        });
    }

    fn refuse(&mut self) {
        self.relay.refuse(&Fault::error("42501", "no rows"));
        self.relay.set_cancelling(true);
    }

    fn plan(&mut self, info: &ResultInfo, flags: u8) {
        self.columns = info.shape.len();
        match flags {
            _ if flags & flag::REFUSE != 0 => self.refuse(),
            _ if !self.strict && flags & flag::OPEN != 0 => self.relay.plan(RowMode::Pass),
            _ => self.relay.plan(RowMode::Edit),
        }
    }

    fn rows(&mut self, bytes: usize, count: usize, flags: u8) -> bool {
        let frames = self.from_server[..bytes].to_vec();
        assert_eq!((rows::frames(&frames).count(), rows::frames(&frames).map(<[u8]>::len).sum()), (count, bytes));
        if flags & flag::REFUSE != 0 {
            self.refuse();
            return true;
        }
        let columns: Vec<usize> = (0..self.columns).collect();
        let mut out = vec![];
        for frame in rows::frames(&frames) {
            let null = |_, _: Option<&[u8]>, _: &mut Vec<u8>| Ok::<_, WireError>(Cell::Null);
            if rows::rewrite(frame, columns.len(), &columns, &mut out, null).is_err() {
                return false;
            }
            self.written += 1;
        }
        self.relay.to_client().append(&mut out);
        self.relay.rows_done(&mut self.from_server, bytes, count, 0);
        true
    }

    /// Looks at every whole message that was written.
    fn check(&mut self) {
        self.to_server.append(self.relay.to_server());
        self.to_client.append(self.relay.to_client());
        while let Some(frame) = next(&self.to_server, usize::MAX).expect("the server gets whole messages") {
            let mut fields = Fields::new(frame.tag, frame.body);
            let mut runs = frame.tag == b'E';
            if frame.tag == b'P' {
                fields.cstr().expect("a Parse has a name");
            }
            if matches!(frame.tag, b'P' | b'Q') {
                let text = fields.cstr().expect("a statement has an end");
                let permitted = std::str::from_utf8(text).is_ok_and(|text| self.texts.contains(text));
                assert!(permitted || text == NEVER_VALID, "a text that was not permitted reaches the server");
                runs = frame.tag == b'Q' && text != NEVER_VALID;
            }
            if runs {
                self.runs = self.runs.checked_sub(1).expect("something runs without a permit");
            }
            assert_ne!(frame.tag, b'F', "a function call reaches the server");
            let length = frame.raw.len();
            self.to_server.drain(..length);
        }
        while let Some(frame) = next(&self.to_client, usize::MAX).expect("the client gets whole messages") {
            if frame.tag == b'D' && self.strict {
                self.written = self.written.checked_sub(1).expect("a row reaches the client unseen");
            }
            assert!(frame.tag != b'd' || !self.strict, "COPY data reach the client unseen");
            let length = frame.raw.len();
            self.to_client.drain(..length);
        }
    }
}
