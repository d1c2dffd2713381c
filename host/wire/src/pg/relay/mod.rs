//! A session after both logins: every command is asked about, every result can be looked at, everything else is relayed.
//!
//! The machine owns no socket and no clock. The driver keeps one buffer of received bytes per side and calls
//! [`Relay::advance`] until it gives no event; what is to be written gathers in [`Relay::to_client`] and [`Relay::to_server`].
//! An event that is a question stops its side until it is answered; the other side goes on:
//!
//! * [`Event::Ask`] stops the client's side until [`Relay::answer`]. Bytes behind the command stay in the buffer.
//! * [`Event::Plan`] stops the server's side until [`Relay::plan`] or [`Relay::refuse`].
//! * [`Event::Rows`] stops the server's side until [`Relay::rows_done`] or [`Relay::refuse`].
//! * [`Event::Oversized`] stops the server's side until [`Relay::refuse`].
//! * [`Event::Words`] stops the server's side until [`Relay::words`].
//!
//! # Commands of the extended protocol
//!
//! The server owes no reply before a Flush or Sync, so Parse, Bind, Describe and Execute that belong together are held back until
//! the Execute, or whatever else ends the group, and asked about once: as [`Phase::Execute`] if the group ends with its
//! Execute, else as [`Phase::Prepare`]. An Execute of a portal that was bound earlier is asked about by itself, each time.
//!
//! # Denials
//!
//! A denied command is replaced by one that is sure to fail, a syntax error, and the server's error by the denial. So the
//! reply comes in its place among pipelined replies, a transaction fails as it would natively, the server skips to the next
//! Sync by itself, and both sides stay in step without a second copy of the server's state.

mod client;
mod names;
mod server;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;

use self::client::{Client, Unit};
use self::names::Names;
pub use self::names::{Parameter, Portal, Prepared};
use super::frame::{WireError, put, put_cstr};
use super::message::{Fault, Shape, TxStatus, put_query};

/// A text that no PostgreSQL grammar accepts; it takes the place of what was denied.
const NEVER_VALID: &str = "portcullis: denied";
/// A statement name for it, so that the client's unnamed statement stays as it was.
const NEVER_NAMED: &[u8] = b"portcullis_denied";

/// The bounds of a session.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest message of a client, in bytes, but for COPY data, which streams.
    pub client_message: usize,
    /// The largest message of a server that is held, in bytes: rows that are looked at, descriptions, errors.
    pub server_message: usize,
    /// Replies that may be outstanding; more commands wait.
    pub pipeline: usize,
    /// Prepared statements of a session, and portals.
    pub prepared: usize,
    /// Bytes of their texts and parameters.
    pub prepared_bytes: usize,
    /// Rows that are looked at in one piece.
    pub batch_rows: usize,
}

/// How far a client has gone with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is parsed, described or bound.
    Prepare,
    /// It is to run.
    Execute,
}

/// A command that waits for its answer.
#[derive(Clone, Debug)]
pub struct Question {
    /// Counts the commands of the session from 1.
    pub sequence: u64,
    /// How far the client has gone.
    pub phase: Phase,
    /// The text that will run.
    pub text: Arc<str>,
    /// Where the server has parsed the text already: what [`Passage::readable`] said then.
    pub parsed: Option<bool>,
    /// The name that the protocol gives to the text, if it gives one.
    pub name: Option<Vec<u8>>,
    /// The portal with the bound parameters, if there is one.
    pub portal: Option<Arc<Portal>>,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// Send it as it came.
    Forward(Passage),
    /// Send this text in its place.
    Rewrite(Arc<str>, Passage),
    /// Do not send it; the client gets this error.
    Deny(Fault),
}

/// How the results of a command pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Each result is asked about before its first row ([`Event::Plan`]).
    pub plan_rows: bool,
    /// Errors and notices are asked about ([`Event::Words`]): they could hold what is hidden in results.
    pub guard_words: bool,
    /// COPY data to the client may pass although results are asked about.
    pub copy_out: bool,
    /// The text can be read as the server reads it now. A statement that is prepared from it stays what it is.
    pub readable: bool,
}

/// What the driver has to do next.
#[derive(Debug)]
pub enum Event {
    /// Decide on a command.
    Ask(Question),
    /// A command has ended.
    Finish(Finish),
    /// The server reports a parameter.
    Parameter {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Say what to do with a result whose first row is there.
    Plan(ResultInfo),
    /// The first `bytes` bytes of the server's buffer are `count` whole DataRow messages of the result that was planned
    /// to be edited.
    Rows {
        /// The command.
        sequence: u64,
        /// How many bytes.
        bytes: usize,
        /// How many rows.
        count: usize,
    },
    /// The next row of a result that was planned to be edited is larger than [`Limits::server_message`], so it can only be refused.
    Oversized {
        /// The row's size, in bytes.
        bytes: usize,
    },
    /// The client says goodbye.
    Terminate,
    /// The server has an error or a notice for a command whose results are asked about: say whether its words may pass.
    Words {
        /// The command.
        sequence: u64,
    },
}

/// A result before its first row.
#[derive(Clone, Debug)]
pub struct ResultInfo {
    /// The command that it belongs to.
    pub sequence: u64,
    /// Its columns, with the formats in which the values come.
    pub shape: Shape,
    /// Rows of the same portal that went to the client before, where it is run in pieces.
    pub passed: u64,
}

/// What to do with the rows of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowMode {
    /// Hand them over as [`Event::Rows`].
    Edit,
    /// Pass them as they are.
    Pass,
}

/// What becomes of the words in a server's error or notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// They pass.
    Pass,
    /// They are replaced, whatever they are; the SQLSTATE stays.
    Withhold,
    /// They are replaced where errors of their class hold values of the data.
    WithholdValues,
}

/// See [`Relay::settled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// They are.
    Yes,
    /// They will be when the replies that are under way have come.
    Later,
    /// Not before the client ends its batch, and it waits for an answer first.
    Never,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finish {
    /// The command.
    pub sequence: u64,
    /// The last completion tag, or empty.
    pub tag: String,
    /// Rows that went to the client.
    pub rows: u64,
    /// Bytes of rows and COPY data, in either direction.
    pub bytes: u64,
    /// Cells that were changed on the way.
    pub masked: u64,
    /// The SQLSTATE of the error that ended it.
    pub error: Option<String>,
}

/// Which side broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// The client.
    #[error("the client broke the protocol: {0}")]
    Client(#[source] WireError),
    /// The server.
    #[error("the server broke the protocol: {0}")]
    Server(#[source] WireError),
}

/// The machine. See the module's documentation.
pub struct Relay {
    limits: Limits,
    client: Client,
    unit: Unit,
    names: Names,
    pending: VecDeque<Pending>,
    refusal: Refusal,
    status: TxStatus,
    /// Bytes of a message from the server that pass, or are dropped, without being looked at.
    streaming: usize,
    /// Whether anything was sent that no ReadyForQuery has followed.
    unsettled: bool,
    /// Whether the words about the last command are asked about.
    guards_words: bool,
    /// Whether the words of the error or notice at the front may pass, once that has been asked.
    words: Option<Heard>,
    /// What the server says beside its replies may hold what is hidden in results.
    withholds_asides: bool,
    /// A notice that waits for the end of a streaming message.
    notices: Vec<u8>,
    /// Commands that ended without a reply of their own.
    skipped: VecDeque<Finish>,
    /// Whether the client was told by the server why it leaves.
    server_said_farewell: bool,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
}

/// What becomes of a batch whose result was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Refusal {
    /// Replies are swallowed up to the next ReadyForQuery, since the client has its error already.
    swallowing: bool,
    /// A cancel request is under way: nothing new may start, or it could hit that.
    cancelling: bool,
}

/// A reply that the server owes.
#[derive(Debug)]
enum Pending {
    Bind {
        name: Vec<u8>,
        portal: Arc<Portal>,
    },
    Close {
        portal: bool,
        name: Vec<u8>,
    },
    Describe {
        portal: Option<Arc<Portal>>,
        hidden: bool,
    },
    Execute {
        run: Run,
        portal: Arc<Portal>,
    },
    Parse {
        name: Vec<u8>,
        statement: Arc<Prepared>,
    },
    /// Makes an open transaction fail after a result was refused in it.
    Poison,
    Simple {
        run: Run,
        text: Arc<str>,
        may_copy: bool,
        shape: Option<Shape>,
    },
    /// Stands where a denied command stood.
    Substitute {
        fault: Fault,
        simple: bool,
    },
    Sync,
}

/// A question about words, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Asked,
    Answered(Words),
}

/// A command under way.
#[derive(Debug)]
struct Run {
    passage: Passage,
    mode: Mode,
    finish: Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No row of this result has come yet.
    Unplanned,
    /// The driver is thinking about the plan or about rows.
    Waiting,
    Pass,
    Edit,
    /// What comes is swallowed.
    Refuse,
}

impl Run {
    fn new(sequence: u64, passage: Passage) -> Self {
        let finish = Finish { sequence, tag: String::new(), rows: 0, bytes: 0, masked: 0, error: None };
        Self { passage, mode: if passage.plan_rows { Mode::Unplanned } else { Mode::Pass }, finish }
    }
}

impl Relay {
    /// A session whose server is ready.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            client: Client::default(),
            unit: Unit::default(),
            names: Names::default(),
            pending: VecDeque::new(),
            refusal: Refusal::default(),
            status: TxStatus::Idle,
            streaming: 0,
            unsettled: false,
            guards_words: false,
            words: None,
            withholds_asides: false,
            notices: Vec::new(),
            skipped: VecDeque::new(),
            server_said_farewell: false,
            to_client: Vec::new(),
            to_server: Vec::new(),
        }
    }

    /// Does what can be done with the bytes that have come, and gives the next event.
    pub fn advance(&mut self, client: &mut BytesMut, server: &mut BytesMut) -> Result<Option<Event>, RelayError> {
        if let Some(finish) = self.skipped.pop_front() {
            return Ok(Some(Event::Finish(finish)));
        }
        // The server's side goes first: its replies let waiting commands of the client go on.
        if let Some(event) = self.advance_server(server).map_err(RelayError::Server)? {
            return Ok(Some(event));
        }
        self.advance_client(client).map_err(RelayError::Client)
    }

    /// What is to be written to the client. The driver clears what it has written.
    pub fn to_client(&mut self) -> &mut Vec<u8> {
        &mut self.to_client
    }

    /// What is to be written to the server. The driver clears what it has written.
    pub fn to_server(&mut self) -> &mut Vec<u8> {
        &mut self.to_server
    }

    /// Whether no command is under way and none waits.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
            && self.unit.is_empty()
            && !self.client.is_asking()
            && self.refusal == Refusal::default()
    }

    /// Whether a question waits for its answer.
    pub fn is_asking(&self) -> bool {
        self.client.is_asking()
    }

    /// Whether the server's parameters are as it last reported them. It reports changes right before a ReadyForQuery, and nothing may
    /// be under way that changes them. To be asked with a question open, about what was sent before it.
    pub fn settled(&self) -> Settled {
        match self.pending.back() {
            _ if !self.unsettled => Settled::Yes,
            Some(
                Pending::Sync | Pending::Simple { .. } | Pending::Poison | Pending::Substitute { simple: true, .. },
            ) => Settled::Later,
            _ => Settled::Never,
        }
    }

    /// Has the server send the replies that it keeps until a Flush or Sync, so that what waits for them can go on.
    fn flush_server(&mut self) {
        put(&mut self.to_server, b'H', |_| {});
    }

    /// Whether the session is in no transaction and no command is under way: it can be ended without loss.
    pub fn is_parked(&self) -> bool {
        self.is_idle() && !self.unsettled && self.status == TxStatus::Idle
    }

    /// Whether a message to the client has begun and not ended, so that none of ours may be put between.
    pub fn is_mid_message(&self) -> bool {
        self.streaming > 0
    }

    /// Whether the client was told by the server why it leaves.
    pub fn has_said_farewell(&self) -> bool {
        self.server_said_farewell
    }

    /// Sends a notice to the client, now or after the message that is streaming.
    pub fn notify(&mut self, notice: &Fault) {
        let out = if self.streaming > 0 { &mut self.notices } else { &mut self.to_client };
        notice.put(out);
    }

    /// Answers the question that was asked last. Says whether the command was sent.
    pub fn answer(&mut self, answer: Answer) -> bool {
        let Some(asked) = self.client.take_question() else { return false };
        if self.client.is_skipping() {
            // Something before it failed meanwhile, and the server reads nothing until the next Sync.
            self.unit.clear();
            return false;
        }
        match answer {
            Answer::Forward(passage) => self.release(asked, None, passage),
            Answer::Rewrite(text, passage) => self.release(asked, Some(text), passage),
            Answer::Deny(fault) => {
                self.deny(fault);
                false
            }
        }
    }

    fn deny(&mut self, fault: Fault) {
        let simple = self.unit.is_simple();
        self.unit.clear();
        self.substitute(fault, simple);
    }

    /// Puts a command that fails in the place of one that must not run; its error will be this one.
    fn substitute(&mut self, fault: Fault, simple: bool) {
        self.unsettled = true;
        if simple {
            put_query(&mut self.to_server, NEVER_VALID);
        } else {
            put(&mut self.to_server, b'P', |b| {
                put_cstr(b, NEVER_NAMED);
                put_cstr(b, NEVER_VALID.as_bytes());
                b.extend([0, 0]);
            });
            self.client.skip_to_sync();
        }
        self.pending.push_back(Pending::Substitute { fault, simple });
    }

    /// Says what to do with the result of the last [`Event::Plan`].
    pub fn plan(&mut self, mode: RowMode) {
        if let Some(run) = self.front_run() {
            run.mode = match mode {
                RowMode::Edit => Mode::Edit,
                RowMode::Pass => Mode::Pass,
            };
        }
    }

    /// The rows of the last [`Event::Rows`] were written to [`Relay::to_client`], but for those that were dropped.
    pub fn rows_done(&mut self, server: &mut BytesMut, bytes: usize, kept: usize, masked: u64) {
        bytes::Buf::advance(server, bytes);
        if let Some(run) = self.front_run() {
            run.mode = Mode::Edit;
            run.finish.rows += kept as u64;
            run.finish.bytes += bytes as u64;
            run.finish.masked += masked;
        }
        if let Some(Pending::Execute { portal, .. }) = self.pending.front() {
            portal.rows.fetch_add(kept as u64, Ordering::Relaxed);
        }
    }

    /// Answers the last [`Event::Words`].
    pub fn words(&mut self, words: Words) {
        self.words = Some(Heard::Answered(words));
    }

    /// Refuses the result of the last [`Event::Plan`], [`Event::Rows`] or [`Event::Oversized`]: the client gets the error in place of what is left.
    pub fn refuse(&mut self, fault: &Fault) {
        fault.put(&mut self.to_client);
        self.refusal.swallowing = true;
        if let Some(run) = self.front_run() {
            run.mode = Mode::Refuse;
            run.finish.error = Some(fault.code.to_owned());
        }
        let simple = matches!(self.pending.front(), Some(Pending::Simple { .. }));
        if !simple && !self.pending.iter().any(|p| matches!(p, Pending::Sync)) {
            self.client.skip_to_sync();
        }
    }

    /// From now on what the server says beside its replies passes without what a statement can have put there: the payloads of notifications
    /// and the application's name.
    pub fn withhold_asides(&mut self) {
        self.withholds_asides = true;
    }

    /// A cancel request for what the server does now is under way (true), or has been taken or given up (false). In between
    /// nothing new starts, or the request could hit that.
    pub fn set_cancelling(&mut self, cancelling: bool) {
        self.refusal.cancelling = cancelling;
    }

    fn front_run(&mut self) -> Option<&mut Run> {
        match self.pending.front_mut() {
            Some(Pending::Execute { run, .. } | Pending::Simple { run, .. }) => Some(run),
            _ => None,
        }
    }
}
