//! A session: one task that moves bytes between the two connections and the machine, and answers the machine's questions.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portcullis_verdict as verdict;
use portcullis_verdict::{
    Column, ColumnPlan, Command, Denial, Effects, Event as AuditEvent, FinishEvent, Kind, NOT_SENT, Permit, Relation,
    ResultSet, RowPlan, Snapshot, SqlStatement, Statement, Stats, Wants,
};
use portcullis_wire::pg::frame::{put, put_cstr};
use portcullis_wire::pg::message::Fault;
use portcullis_wire::pg::relay::{
    Answer, Event, Finish, Passage, Phase, Question, Relay, RelayError, ResultInfo, RowMode, Settled, Words,
};
use portcullis_wire::sql::reason::{self, Setting};
use tokio::time::Interval;

use super::catalogue::{Altered, CHANGES, Catalogue, Known, Labelled, Reading};
use super::end::End;
use super::facts::Facts;
use super::prepared::Prepared;
use super::results::{Editor, Stop};
use super::side::{LARGE_BUFFER, Side, shrink};
use super::startup::MAX_REASON;
use super::transcript::Transcript;
use super::upstream::{self, UpstreamError};
use super::{denied, held};
use crate::config::{Limits, PgTarget};
use crate::io::Stream;
use crate::pipeline::{Decision, Go, Pipeline, Waiting};
use crate::registry::{Control, Place, now_ms};

/// Bytes that may wait for a slow reader before nothing more is read for it.
const HIGH_WATER: usize = 256 << 10;
/// Why a text with a backslash cannot be read in the middle of a batch.
const UNSETTLED: &str = "it has a backslash, and commands before it in the same batch may change how the server reads that; \
     send a Sync before it";
/// What the server gets in place of a justification.
const SET_NOTHING: &str = "SET portcullis.reason = ''";
/// How often stalls are looked for.
const TICK: Duration = Duration::from_secs(1);
/// Quiet ticks after which a session gives back what it can make anew.
const REST: u32 = 5;

/// How long last words may take to leave.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same when somebody wants the session gone.
const KILLED: Duration = Duration::from_millis(300);

/// Work at the server that is under way beside the session.
type Underway<T> = Pin<Box<dyn Future<Output = Result<T, UpstreamError>> + Send>>;

/// What a session shares with others.
pub(crate) struct Shared {
    pub(crate) facts: Arc<Facts>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(crate) target: Arc<PgTarget>,
    pub(crate) limits: Limits,
    pub(crate) hash_key: verdict::mask::HashKey,
    pub(crate) audited: bool,
}

/// See the module.
pub(crate) struct Session {
    shared: Shared,
    pipeline: Pipeline,
    transcript: Transcript,
    place: Place,
    relay: Relay,
    client: Side,
    server: Side,
    cancel_key: Vec<u8>,
    under_way: VecDeque<UnderWay>,
    prepared: Prepared,
    columns: Known,
    /// A question that waits until commands before it have settled how texts are read.
    postponed: Option<Question>,
    waiting: Option<(Arc<Command>, Waiting)>,
    /// About a command of the client, and about a result or words of the server.
    thinking: [Option<Thinking>; 2],
    cancelling: Option<Underway<()>>,
    /// Whether the text of the open question can be read as the server reads it.
    readable: bool,
    /// The justification that goes with the session's commands, unless they bring their own.
    reason: Option<Arc<str>>,
    /// Why the facts of texts cannot be trusted now, if they cannot.
    unreadable: Option<&'static str>,
    results: u64,
    /// Bytes of rows that were edited since others had their turn on this thread.
    edited: usize,
    /// What the open transaction has changed.
    altered: Altered,
    draining: bool,
    tick: Interval,
    /// Ticks since the client last sent, or took, a byte.
    quiet: u32,
    stalled: u32,
}

/// A command that was sent and has not ended.
struct UnderWay {
    command: Arc<Command>,
    /// What was sent: the command's own, or what a policy put in its place.
    statement: Arc<Statement>,
    snapshot: Snapshot,
    /// Policies are asked about its results.
    edits: bool,
    editor: Option<Box<Editor>>,
    /// The policies that mask or inspect its results, so far.
    masked_by: Vec<Arc<str>>,
    started: Instant,
}

/// A decision that needs the catalogue read anew first.
struct Thinking {
    reading: Underway<Arc<Reading>>,
    about: About,
}

enum About {
    Ask(Question),
    Carry(Arc<Command>, Go),
    Plan(ResultInfo),
    Words(u64),
}

enum Woken {
    Io,
    Control(Control),
    Decided(Arc<Command>, Decision),
    Read(Result<Arc<Reading>, UpstreamError>, About),
    Tick,
    End(End),
}

impl Session {
    pub(crate) fn new(
        shared: Shared,
        pipeline: Pipeline,
        transcript: Transcript,
        place: Place,
        (client, client_input): (Stream, BytesMut),
        mut upstream: upstream::Upstream,
    ) -> Self {
        let relay = Relay::new(portcullis_wire::pg::relay::Limits {
            client_message: shared.limits.client_message_bytes,
            server_message: shared.limits.server_message_bytes,
            pipeline: shared.limits.pipeline,
            prepared: shared.limits.prepared,
            prepared_bytes: shared.limits.prepared_bytes,
            batch_rows: 1024,
        });
        let parameters = std::mem::take(&mut upstream.ready.parameters);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut session = Self {
            shared,
            pipeline,
            transcript,
            place,
            relay,
            client: Side::new(client, client_input),
            server: Side::new(upstream.stream, upstream.input),
            cancel_key: upstream.ready.cancel_key,
            under_way: VecDeque::new(),
            prepared: Prepared::default(),
            columns: Known::default(),
            postponed: None,
            waiting: None,
            thinking: [None, None],
            cancelling: None,
            readable: false,
            reason: None,
            unreadable: None,
            results: 0,
            edited: 0,
            altered: Altered::Nothing,
            draining: false,
            tick,
            quiet: 0,
            stalled: 0,
        };
        session.reason = session.pipeline.session.reason.as_deref().map(Into::into);
        parameters.iter().for_each(|(name, value)| session.parameter(name, value));
        session
    }

    /// Takes a parameter that the server reported, at login or later.
    fn parameter(&mut self, name: &str, value: &str) {
        match (name, value) {
            ("standard_conforming_strings", "on") => self.unreadable = None,
            ("standard_conforming_strings", _) => {
                self.unreadable =
                    Some("standard_conforming_strings is off, so that texts read otherwise than policies would");
            }
            _ => {}
        }
    }

    /// Runs to the end of the session.
    pub(crate) async fn run(mut self) -> End {
        let end = loop {
            if let Err(end) = self.advance() {
                break end;
            }
            if self.draining && self.relay.is_parked() {
                break End::Drained;
            }
            if self.edited > LARGE_BUFFER {
                self.edited = 0;
                tokio::task::yield_now().await;
            }
            match poll_fn(|cx| self.poll(cx)).await {
                Woken::Io => {}
                Woken::Tick => {
                    if let Some(end) = self.ticked() {
                        break end;
                    }
                }
                Woken::Control(Control::Cancel) => self.cancelled(),
                Woken::Control(Control::Drain) => self.draining = true,
                Woken::Control(Control::Kill(by)) => break End::Killed(by),
                Woken::Control(Control::Watch(watchers)) => self.transcript.watch(watchers),
                Woken::Decided(command, decision) => self.conclude(command, decision),
                Woken::Read(reading, about) => self.catalogue_read(reading, about),
                Woken::End(end) => break end,
            }
        };
        self.finish(&end).await;
        end
    }

    /// Lets the machine work on what has come.
    fn advance(&mut self) -> Result<(), End> {
        loop {
            if let Some(question) = self.postponed.take_if(|_| self.relay.settled() != Settled::Later) {
                self.ask(question);
            }
            let Some(event) =
                self.relay.advance(&mut self.client.input, &mut self.server.input).map_err(End::Protocol)?
            else {
                // A ReadyForQuery settles things without an event.
                if self.postponed.is_some() && self.relay.settled() != Settled::Later {
                    continue;
                }
                self.settle_catalogue();
                return Ok(());
            };
            match event {
                Event::Ask(question) => {
                    // Only a backslash reads otherwise under other settings of the server.
                    let sensitive = question.parsed.is_none() && question.text.contains('\\');
                    if sensitive && self.relay.settled() == Settled::Later {
                        self.postponed = Some(question);
                    } else {
                        self.ask(question);
                    }
                }
                Event::Plan(info) => self.plan(info),
                Event::Words { sequence } => self.asked_about_words(sequence),
                Event::Rows { sequence, bytes, .. } => self.rows(sequence, bytes)?,
                Event::Oversized { bytes } => self.refuse(&self.oversized(bytes)),
                Event::Finish(finish) => self.finished(finish),
                Event::Parameter { name, value } if name == "client_encoding" && value != "UTF8" => {
                    return Err(End::Encoding);
                }
                Event::Parameter { name, value } => self.parameter(&name, &value),
                Event::Terminate => return Err(End::ClientLeft),
            }
        }
    }

    fn ask(&mut self, question: Question) {
        self.place.commands.fetch_add(1, Ordering::Relaxed);
        let wants = self.pipeline.judge.wants(Kind::Sql);
        match self.shared.catalogue.knows(&[]) {
            _ if !wants.conditions => self.ask_with(question, wants, None),
            Some(reading) => self.ask_with(question, wants, Some(self.labelled(Some(reading)))),
            None => self.think(About::Ask(question)),
        }
    }

    fn labelled(&self, reading: Option<Arc<Reading>>) -> Arc<Labelled> {
        Arc::new(Labelled { reading, labels: self.shared.target.column_labels.clone() })
    }

    fn ask_with(&mut self, question: Question, wants: Wants, origins: Option<Arc<Labelled>>) {
        let text = question.text.clone();
        let unreadable = match question.parsed {
            Some(readable) => (!readable).then_some("it was prepared when it could not be read"),
            None if question.text.contains('\\') && self.relay.settled() != Settled::Yes => Some(UNSETTLED),
            None => self.unreadable,
        };
        self.readable = unreadable.is_none();
        let statement = match unreadable {
            _ if !(wants.commands || wants.rows || self.shared.audited) => {
                Arc::new(Statement::unread(Kind::Sql, &question.text))
            }
            Some(why) => {
                let facts = verdict::Facts { fingerprint: String::new(), sql: Err(why.into()) };
                Arc::new(Statement { kind: Kind::Sql, text: question.text, facts: Arc::new(facts) })
            }
            None => self.prepared.follow(self.shared.facts.read(&question.text)),
        };
        question.name.iter().for_each(|name| self.prepared.sent_by_protocol(name));
        let parameters = question.portal.iter().flat_map(|portal| portal.parameters());
        let command = Arc::new(Command {
            sequence: question.sequence,
            phase: match question.phase {
                Phase::Prepare => verdict::Phase::Prepare,
                Phase::Execute => verdict::Phase::Execute,
            },
            statement,
            parameters: parameters.map(|p| verdict::Parameter { value: p.value.clone(), binary: p.binary }).collect(),
            reason: reason::leading(&text).filter(|r| r.len() <= MAX_REASON).map(Into::into).or(self.reason.clone()),
            origins: origins.map(|origins| origins as Arc<dyn verdict::Origins>),
        });
        let facts = self.shared.facts.clone();
        let decision = self.pipeline.decide(command.clone(), &|text| facts.read(&text.into()));
        self.conclude(command, decision);
    }

    fn conclude(&mut self, command: Arc<Command>, decision: Decision) {
        match decision {
            Decision::Deny(Denial { policy, message }) => self.deny(&command, denied(&policy, &message)),
            Decision::Go(go) => self.go(command, go),
            Decision::Wait(waiting) => {
                if let Some(notice) = waiting.approval().and_then(|hold| held::notice(hold, now_ms())) {
                    self.relay.notify(&notice);
                }
                self.waiting = Some((command, waiting));
            }
        }
    }

    fn go(&mut self, command: Arc<Command>, mut go: Go) {
        let setting = reason::setting(&go.rewrite.as_ref().unwrap_or(&command.statement).text);
        match setting.map(|setting| justified(setting, command.phase)) {
            None => {}
            Some(Err(fault)) => return self.refuse_command(&command, fault),
            Some(Ok(reason)) => {
                self.reason = reason;
                // The server is told nothing of it, and answers all the same.
                go.rewrite = Some(self.shared.facts.read(&SET_NOTHING.into()));
            }
        }
        let wants_rows = self.pipeline.judge.edits(&go.snapshot);
        let statement = go.rewrite.as_ref().unwrap_or(&command.statement);
        if wants_rows && (statement.effects().contains(Effects::COPY_OUT) || carries_away(statement)) {
            match self.shared.catalogue.knows(&[]) {
                Some(reading) => self.carry(command, go, &reading),
                None => self.think(About::Carry(command, go)),
            }
            return;
        }
        self.send(command, go, wants_rows, false);
    }

    /// COPY data has no columns on the wire, and what is written elsewhere is under no mask there. Such a command passes if no policy
    /// would touch, or mask, any column that the text names.
    fn carry(&mut self, command: Arc<Command>, go: Go, reading: &Reading) {
        let statement = go.rewrite.as_ref().unwrap_or(&command.statement);
        let copy_out = statement.effects().contains(Effects::COPY_OUT);
        let columns = reading.carried_columns(statement, &self.shared.target.column_labels, false);
        let result = self.result_set(columns.into());
        let masks = |plan: &RowPlan| plan.columns.iter().any(|c| matches!(c, ColumnPlan::Mask(..)));
        match self.pipeline.judge.plan(&go.snapshot, &command, &result) {
            Ok(plan) if copy_out && !plan.passes() => {
                let fault = denied("portcullis", "COPY to the client would pass columns that a policy masks or limits");
                self.refuse_command(&command, fault.with_hint("use SELECT, or copy only other columns"));
            }
            Ok(plan) if masks(&plan) => {
                let fault =
                    denied("portcullis", "it would carry columns that a policy masks to where no mask covers them");
                self.refuse_command(&command, fault.with_hint("write without reading masked columns"));
            }
            Ok(_) => self.send(command, go, true, copy_out),
            Err(Denial { policy, message }) => self.refuse_command(&command, denied(&policy, &message)),
        }
    }

    /// Sends a command. The permit is used up here, and nowhere else does a command reach the server.
    fn send(&mut self, command: Arc<Command>, go: Go, edits: bool, copy_out: bool) {
        // A recording needs the columns of every result, and nothing else of what a plan brings.
        let plan_rows = edits || self.transcript.wants_results();
        let passage = Passage { plan_rows, guard_words: edits, copy_out: copy_out || !edits, readable: self.readable };
        let Go { permit, snapshot, rewrite } = go;
        let statement = rewrite.as_ref().unwrap_or(&command.statement).clone();
        let answer = match rewrite {
            Some(statement) => Answer::Rewrite(statement.text.clone(), passage),
            None => Answer::Forward(passage),
        };
        if spend(permit) != command.sequence {
            let message = "a permit was given for another command";
            return self.refuse_command(&command, denied("portcullis", message));
        }
        let (executes, started) = (command.phase == verdict::Phase::Execute, Instant::now());
        // What is hidden from facts may have read anything, and told it in any way.
        if edits && statement.effects().contains(Effects::OPAQUE) {
            self.relay.withhold_asides();
        }
        let sent = self.relay.answer(answer);
        self.prepared.sent(&statement);
        // Its own results, of which there may be several, are under what it changes.
        if executes && statement.effects().intersects(CHANGES) {
            self.altered.add(&statement);
        }
        if executes {
            self.transcribe_command(command.sequence, if sent { &statement.text } else { &command.statement.text });
        }
        if sent && executes {
            let (editor, masked_by) = (None, Vec::new());
            self.under_way.push_back(UnderWay { command, statement, snapshot, edits, editor, masked_by, started });
        } else if executes {
            self.unsent(&command, "the batch that it belongs to has failed");
        }
    }

    fn deny(&mut self, command: &Command, fault: Fault) {
        self.transcribe_command(command.sequence, &command.statement.text);
        self.relay.answer(Answer::Deny(fault));
    }

    /// Refuses a command that was allowed and cannot be sent, and records that it did not run.
    fn refuse_command(&mut self, command: &Command, fault: Fault) {
        let why = fault.message.clone();
        self.deny(command, fault);
        self.unsent(command, &why);
    }

    fn unsent(&self, command: &Command, why: &str) {
        let (sequence, error) = (command.sequence, Some(format!("{NOT_SENT}: {why}")));
        let (tag, masked_by) = (String::new(), Vec::new());
        self.pipeline.record(|subject| {
            let (rows, bytes, masked, micros) = (0, 0, 0, 0);
            AuditEvent::Finish(FinishEvent { subject, sequence, tag, rows, bytes, masked, masked_by, micros, error })
        });
    }

    /// What is on its way to the client goes into the transcript before it is written.
    fn transcribe(&mut self) {
        if !self.transcript.is_on() {
            return;
        }
        let between = !self.relay.is_mid_message();
        if between && let Some(why) = self.transcript.take_stopped() {
            put_warning(self.relay.to_client(), &format!("portcullis: this session is no longer recorded: {why}"));
        }
        self.transcript.see(self.relay.to_client(), between);
    }

    /// A command stands behind what came before it.
    fn transcribe_command(&mut self, sequence: u64, text: &str) {
        if self.transcript.is_on() {
            self.transcribe();
            self.transcript.command(sequence, text);
        }
    }

    fn plan(&mut self, info: ResultInfo) {
        if self.transcript.wants_results() {
            self.transcribe();
            self.transcript.columns(&info.shape);
        }
        if self.running(info.sequence).is_some_and(|running| !running.edits) {
            return self.relay.plan(RowMode::Pass);
        }
        let latest = || self.shared.catalogue.latest().filter(|_| self.altered != Altered::Nothing);
        match self.shared.catalogue.knows(&info.shape).or_else(latest) {
            Some(reading) => self.plan_with(info, &reading),
            None => self.think(About::Plan(info)),
        }
    }

    fn running(&mut self, sequence: u64) -> Option<&mut UnderWay> {
        self.under_way.iter_mut().find(|running| running.command.sequence == sequence)
    }

    fn asked_about_words(&mut self, sequence: u64) {
        match self.shared.catalogue.knows(&[]) {
            Some(reading) => self.words(sequence, &reading),
            None => self.think(About::Words(sequence)),
        }
    }

    fn think(&mut self, about: About) {
        let catalogue = self.shared.catalogue.clone();
        let side = usize::from(!matches!(about, About::Ask(_) | About::Carry(..)));
        self.thinking[side] = Some(Thinking { reading: Box::pin(async move { catalogue.refresh().await }), about });
    }

    fn catalogue_read(&mut self, reading: Result<Arc<Reading>, UpstreamError>, about: About) {
        let log = |error: &UpstreamError| {
            tracing::error!(session = %self.pipeline.session.id, %error, "the catalogue cannot be read");
        };
        let fault = || denied("portcullis", "the columns of the result cannot be told: the catalogue cannot be read");
        match (about, reading.inspect_err(log).ok()) {
            (About::Ask(question), reading) => {
                let wants = self.pipeline.judge.wants(Kind::Sql);
                let origins = self.labelled(reading);
                self.ask_with(question, wants, Some(origins));
            }
            (About::Carry(command, go), Some(reading)) => self.carry(command, go, &reading),
            (About::Carry(command, _), None) => self.refuse_command(&command, fault()),
            (About::Plan(info), Some(reading)) => self.plan_with(info, &reading),
            (About::Plan(_), None) => self.refuse(&fault()),
            (About::Words(sequence), Some(reading)) => self.words(sequence, &reading),
            (About::Words(_), None) => self.relay.words(Words::Withhold),
        }
    }

    /// The server's own words about a command may hold values: they pass if no policy would touch any column that could be in them.
    fn words(&mut self, sequence: u64, reading: &Reading) {
        let Some(running) = self.running(sequence) else { return self.relay.words(Words::Withhold) };
        let (command, snapshot, statement) =
            (running.command.clone(), running.snapshot.clone(), running.statement.clone());
        // Constraints that were deferred speak at the end of a transaction, about other commands' rows.
        if statement.effects().contains(Effects::TRANSACTION) {
            return self.relay.words(Words::WithholdValues);
        }
        let columns = reading.carried_columns(&statement, &self.shared.target.column_labels, true);
        let result = self.result_set(columns.into());
        let words = match self.pipeline.judge.plan(&snapshot, &command, &result) {
            Ok(plan) if plan.masks_nothing() => Words::Pass,
            // Words that any function may have chosen can hold anything under any code.
            _ if result.columns.iter().any(|c| c.computed && c.origins.is_empty()) => Words::Withhold,
            _ => Words::WithholdValues,
        };
        self.relay.words(words);
    }

    fn result_set(&mut self, columns: Arc<[Column]>) -> Arc<ResultSet> {
        self.results += 1;
        Arc::new(ResultSet { id: self.results, columns })
    }

    fn plan_with(&mut self, info: ResultInfo, reading: &Arc<Reading>) {
        let Some(at) = self.under_way.iter().position(|u| u.command.sequence == info.sequence) else {
            return self.refuse(&denied("portcullis", "the result belongs to no command"));
        };
        let (command, snapshot) = (self.under_way[at].command.clone(), self.under_way[at].snapshot.clone());
        let statement = &self.under_way[at].statement;
        let labels = &self.shared.target.column_labels;
        let columns = match &self.altered {
            Altered::Nothing => self.columns.of(&info.shape, statement, reading, labels),
            altered => reading.columns(&info.shape, statement, altered, labels).into(),
        };
        let result = self.result_set(columns);
        let plan = match self.pipeline.judge.plan(&snapshot, &command, &result) {
            Ok(plan) if plan.passes() => return self.relay.plan(RowMode::Pass),
            Ok(plan) => plan,
            Err(Denial { policy, message }) => return self.refuse(&denied(&policy, &message)),
        };
        if !plan.masks_nothing() {
            self.relay.withhold_asides();
        }
        self.under_way[at].is_masked_by(&plan);
        let of = (&info.shape[..], info.passed);
        let key = &self.shared.hash_key;
        match Editor::new(command, snapshot, result, plan, of, key, &|oid| reading.make(oid)) {
            Ok(editor) => {
                self.under_way[at].editor = Some(Box::new(editor));
                self.relay.plan(RowMode::Edit);
            }
            Err(fault) => self.refuse(&fault),
        }
    }

    fn rows(&mut self, sequence: u64, bytes: usize) -> Result<(), End> {
        let running = self.under_way.iter_mut().find(|running| running.command.sequence == sequence);
        let Some(editor) = running.and_then(|u| u.editor.as_mut()) else {
            self.refuse(&denied("portcullis", "the rows belong to no command"));
            return Ok(());
        };
        let frames = self.server.input.get(..bytes).unwrap_or_default();
        let edited = editor.edit(self.pipeline.judge.as_mut(), frames, self.relay.to_client());
        let (edited, stop) = match edited {
            Ok(edited) => (edited, None),
            Err((edited, stop)) => (edited, Some(stop)),
        };
        self.edited += bytes;
        self.pipeline.stats.cells_masked.fetch_add(edited.masked, Ordering::Relaxed);
        self.relay.rows_done(&mut self.server.input, bytes, edited.kept, edited.masked);
        match stop {
            None => Ok(()),
            Some(Stop::Refuse(fault)) => {
                self.refuse(&fault);
                Ok(())
            }
            Some(Stop::Broken(error)) => Err(End::Protocol(RelayError::Server(error))),
        }
    }

    fn oversized(&self, bytes: usize) -> Fault {
        let limit = self.shared.limits.server_message_bytes;
        let what = format!("a row of {bytes} bytes exceeds the limit of {limit} for rows that a policy looks at");
        Fault::error("54000", what).with_hint("select less, or raise limits.server_message_bytes")
    }

    /// Refuses the rest of a result, and asks the server not to compute it.
    fn refuse(&mut self, fault: &Fault) {
        Stats::bump(&self.pipeline.stats.results_refused);
        self.relay.refuse(fault);
        self.relay.set_cancelling(true);
        // One that is under way is for this very command, since nothing new has started behind it.
        if self.cancelling.is_none() {
            self.cancel_upstream();
        }
    }

    fn cancel_upstream(&mut self) {
        let (target, key) = (self.shared.target.as_ref().clone(), self.cancel_key.clone());
        self.cancelling = Some(Box::pin(upstream::cancel(target, key, self.shared.limits.clone())));
    }

    fn finished(&mut self, finish: Finish) {
        let Some(at) = self.under_way.iter().position(|u| u.command.sequence == finish.sequence) else { return };
        let Some(done) = self.under_way.remove(at) else { return };
        self.pipeline.stats.rows.fetch_add(finish.rows, Ordering::Relaxed);
        if self.transcript.is_on() {
            self.transcribe();
            self.transcript.end(finish.sequence, &finish.tag);
        }
        self.pipeline.record(|subject| {
            AuditEvent::Finish(FinishEvent {
                subject,
                sequence: finish.sequence,
                tag: finish.tag,
                rows: finish.rows,
                bytes: finish.bytes,
                masked: finish.masked,
                masked_by: done.masked_by,
                micros: done.started.elapsed().as_micros() as u64,
                error: finish.error,
            })
        });
    }

    /// Uncommitted changes are not seen by the catalogue's own connection, so the end of their transaction outdates it too.
    fn settle_catalogue(&mut self) {
        if self.altered != Altered::Nothing && self.relay.is_parked() {
            self.shared.catalogue.outdate();
            self.altered = Altered::Nothing;
        }
    }

    /// The client, over another connection, asks to cancel what is under way.
    fn cancelled(&mut self) {
        if let Some((command, waiting)) = self.waiting.take_if(|(_, waiting)| waiting.approval().is_some()) {
            let fault = Fault::error("57014", "canceling statement due to user request");
            let fault = fault.with_detail(waiting.approval().map_or("", held::after_cancel));
            self.pipeline.give_up(waiting);
            self.deny(&command, fault);
        } else if self.cancelling.is_none() && !self.relay.is_idle() {
            // Nothing new may start before the server has taken the request, or it could hit that.
            self.relay.set_cancelling(true);
            self.cancel_upstream();
        }
    }

    fn ticked(&mut self) -> Option<End> {
        let over = |ticks: u32, limit: Duration| TICK * ticks > limit;
        self.quiet = if self.relay.is_idle() { self.quiet + 1 } else { 0 };
        self.stalled = if self.relay.to_client().is_empty() { 0 } else { self.stalled + 1 };
        self.client.shrink();
        self.server.shrink();
        shrink(self.relay.to_client());
        shrink(self.relay.to_server());
        if self.quiet == REST {
            self.pipeline.judge.rest();
            self.columns = Known::default();
        }
        if over(self.stalled, self.shared.limits.write_stall) {
            return Some(End::Stalled);
        }
        self.shared.limits.idle.filter(|limit| over(self.quiet, *limit)).map(|_| End::Idle)
    }

    /// Writes what can be written, reads what may be read, and sees whether anything else has come.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        if let Poll::Ready(Some(control)) = self.place.poll_control(cx) {
            return Poll::Ready(Woken::Control(control));
        }
        if let Some((command, mut waiting)) = self.waiting.take() {
            let facts = self.shared.facts.clone();
            match self.pipeline.poll(&mut waiting, cx, &|text| facts.read(&text.into())) {
                Poll::Ready(decision) => return Poll::Ready(Woken::Decided(command, decision)),
                Poll::Pending => self.waiting = Some((command, waiting)),
            }
        }
        for slot in &mut self.thinking {
            if let Some(mut thinking) = slot.take() {
                match thinking.reading.as_mut().poll(cx) {
                    Poll::Ready(reading) => return Poll::Ready(Woken::Read(reading, thinking.about)),
                    Poll::Pending => *slot = Some(thinking),
                }
            }
        }
        if let Some(Poll::Ready(outcome)) = self.cancelling.as_mut().map(|c| c.as_mut().poll(cx)) {
            if let Err(error) = outcome {
                tracing::warn!(session = %self.pipeline.session.id, %error, "a cancel request did not reach the server");
            }
            self.cancelling = None;
            self.relay.set_cancelling(false);
            return Poll::Ready(Woken::Io);
        }
        if self.tick.poll_tick(cx).is_ready() {
            return Poll::Ready(Woken::Tick);
        }
        // Last, since a peer that always has something to say must not keep the others waiting.
        match self.poll_io(cx) {
            Err(end) => Poll::Ready(Woken::End(end)),
            Ok(true) => Poll::Ready(Woken::Io),
            Ok(false) => Poll::Pending,
        }
    }

    /// Whether bytes came that the machine has not seen.
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        self.transcribe();
        let before = self.relay.to_client().len() - self.client.sent;
        self.client.poll_write(cx, self.relay.to_client()).map_err(|_| End::ClientLeft)?;
        if self.relay.to_client().is_empty() {
            self.transcript.rewind();
        }
        let client_waits = self.relay.to_client().len() - self.client.sent;
        if client_waits < before {
            self.stalled = 0;
        }
        self.server.poll_write(cx, self.relay.to_server()).map_err(|_| End::ServerLeft)?;
        let server_waits = self.relay.to_server().len() - self.server.sent;
        // What cannot be recorded yet is not read either.
        if self.transcript.poll_room(cx).map_err(|error| End::Recording(error.0))?.is_pending() {
            return Ok(false);
        }
        // Somebody who has to be told, and can be now.
        let mut came = self.transcript.has_stopped() && !self.relay.is_mid_message();
        // Bytes behind a held command are read up to a bound, so that a client that leaves is noticed.
        let ahead = if self.relay.is_asking() { self.shared.limits.hold_bytes } else { usize::MAX };
        if server_waits < HIGH_WATER && self.client.input.len() < ahead.min(self.client_bound()) {
            match self.client.poll_read(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::ClientLeft),
                Poll::Ready(Ok(_)) => (came, self.quiet) = (true, 0),
                Poll::Pending => {}
            }
        }
        if client_waits < HIGH_WATER && self.thinking[1].is_none() {
            match self.server.poll_read(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(End::ServerLeft),
                Poll::Ready(Ok(_)) => came = true,
                Poll::Pending => {}
            }
        }
        Ok(came)
    }

    fn client_bound(&self) -> usize {
        self.shared.limits.client_message_bytes + LARGE_BUFFER
    }

    /// Tells both sides, as far as they listen, and the audit.
    async fn finish(mut self, end: &End) {
        if let Some((_, waiting)) = self.waiting.take() {
            self.pipeline.give_up(waiting);
        }
        if let End::Protocol(_) = end {
            Stats::bump(&self.pipeline.stats.protocol_errors);
        }
        if self.altered != Altered::Nothing {
            self.shared.catalogue.outdate();
        }
        let told = matches!(end, End::ServerLeft) && self.relay.has_said_farewell();
        if let (Some(fault), false, false) = (end.fault(), told, self.relay.is_mid_message()) {
            fault.put(self.relay.to_client());
        }
        self.transcribe();
        // A server that is at work would notice only at the end of it that nobody is there any more.
        let cancel = if self.relay.is_idle() {
            self.relay.to_server().extend_from_slice(b"X\0\0\0\x04");
            None
        } else {
            let (target, key) = (self.shared.target.as_ref().clone(), self.cancel_key.clone());
            Some(upstream::cancel(target, key, self.shared.limits.clone()))
        };
        let id = self.pipeline.session.id.clone();
        let cancel = async move {
            if let Some(cancel) = cancel
                && let Err(error) = cancel.await
            {
                tracing::warn!(session = %id, %error, "a cancel request did not reach the server");
            }
        };
        // Neither waits for the other: the connections are closed whether the server can be reached or not.
        tokio::join!(cancel, self.leave(end));
    }

    /// Says what is to be said, closes both connections, and then the session's records.
    async fn leave(mut self, end: &End) {
        let patience = if matches!(end, End::Killed(_)) { KILLED } else { FAREWELL };
        let last_words = poll_fn(|cx| {
            let client = self.client.poll_write(cx, self.relay.to_client());
            let server = self.server.poll_write(cx, self.relay.to_server());
            let done = |out: &Vec<u8>, result: std::io::Result<()>| result.is_err() || out.is_empty();
            let client = done(self.relay.to_client(), client);
            if client && done(self.relay.to_server(), server) { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = tokio::time::timeout(patience, last_words).await;
        let Self { client, server, transcript, pipeline, place, .. } = self;
        // The server rolls back what was open.
        drop((client, server));
        // The recording ends before the session does.
        drop(transcript);
        pipeline.record(|subject| AuditEvent::Close { subject, reason: end.to_string() });
        drop(place);
    }
}

impl UnderWay {
    /// Some columns of a result are masked or inspected as planned.
    fn is_masked_by(&mut self, plan: &RowPlan) {
        for policy in plan.touching() {
            if !self.masked_by.contains(policy) {
                self.masked_by.push(policy.clone());
            }
        }
    }
}

/// A notice that is more than one.
fn put_warning(out: &mut Vec<u8>, message: &str) {
    put(out, b'N', |b| {
        for (kind, text) in [(b'S', "WARNING"), (b'V', "WARNING"), (b'C', "01000"), (b'M', message)] {
            b.push(kind);
            put_cstr(b, text.as_bytes());
        }
        b.push(0);
    });
}

/// Whether a statement may put what it reads where it can be read again under another name.
fn carries_away(statement: &Statement) -> bool {
    const SINKS: [&str; 12] = [
        "lo_creat",
        "lo_create",
        "lo_from_bytea",
        "lo_import",
        "lo_put",
        "lowrite",
        "pg_create_restore_point",
        "pg_logical_emit_message",
        "pg_notify",
        "set_config",
        "setseed",
        "setval",
    ];
    // Locks by number show in `pg_locks`, slots and origins by name in views of theirs.
    const FAMILIES: [&str; 6] = [
        "pg_advisory_lock",
        "pg_advisory_xact_lock",
        "pg_create_logical_",
        "pg_create_physical_",
        "pg_replication_origin_",
        "pg_try_advisory_",
    ];
    let is_sink = |name: &String| {
        let name = name.rsplit('.').next().unwrap_or(name);
        SINKS.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family))
    };
    let writes = |s: &SqlStatement| {
        let written = || s.relations.iter().filter(|r| r.effects.contains(Effects::WRITE));
        let is_source = |r: &&Relation| r.effects.contains(Effects::READ) || !r.effects.contains(Effects::WRITE);
        let other = |r: &Relation| written().any(|w| (&w.schema, &w.name) != (&r.schema, &r.name));
        // A DELETE by itself puts nothing anywhere.
        s.relations.iter().filter(is_source).any(other) && written().count() > usize::from(s.verb == "DELETE")
    };
    statement.facts.sql.iter().flatten().any(|s| writes(s) || s.functions.iter().any(is_sink))
}

/// The justification that a text sets, if it does so in a way that can be told.
fn justified(setting: Setting, phase: verdict::Phase) -> Result<Option<Arc<str>>, Fault> {
    let refused = |why: &str| Fault::error("0A000", format!("portcullis.reason: {why}"));
    match (setting, phase) {
        (Setting::Unclear, _) => {
            let hint = "send SET portcullis.reason = '…' by itself, with one text";
            Err(refused("it is set among other statements, for a transaction only, or to something else than a text")
                .with_hint(hint))
        }
        // What is prepared is sent to the server, which is to know nothing of it.
        (_, verdict::Phase::Prepare) => Err(refused("it cannot be prepared").with_hint("send it as a simple query")),
        (Setting::To(Some(reason)), _) if reason.len() > MAX_REASON => {
            Err(refused(&format!("it is longer than {MAX_REASON} bytes")))
        }
        (Setting::To(reason), _) => Ok(reason.map(Into::into)),
    }
}

/// Uses up a permit; what is left is the number of the command that it was for.
fn spend(permit: Permit) -> u64 {
    permit.sequence()
}
