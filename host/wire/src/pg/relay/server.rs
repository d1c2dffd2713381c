//! The server's side: each reply is matched with the command that it belongs to.

use std::sync::atomic::Ordering;

use bytes::{Buf, BytesMut};

use super::{Event, Finish, Heard, Mode, NEVER_VALID, Pending, Relay, ResultInfo, Words};
use crate::pg::frame::{Fields, Frame, WireError, next, peek, put, put_cstr};
use crate::pg::message::{Shape, TxStatus, field, put_query, row_description, sqlstate};

/// What became of a message.
enum Taken {
    Passed,
    Event(Event),
    Swallowed,
}

impl Relay {
    pub(super) fn advance_server(&mut self, input: &mut BytesMut) -> Result<Option<Event>, WireError> {
        loop {
            if self.streaming > 0 {
                let count = self.streaming.min(input.len());
                if count == 0 {
                    return Ok(None);
                }
                if !self.swallows() {
                    self.to_client.extend_from_slice(input.get(..count).unwrap_or_default());
                }
                input.advance(count);
                self.streaming -= count;
                continue;
            }
            if !self.notices.is_empty() {
                self.to_client.append(&mut self.notices);
            }
            let Some((tag, length)) = peek(input)? else { return Ok(None) };
            match tag {
                b'D' => match self.rows(input, length)? {
                    Rows::Event(event) => return Ok(Some(event)),
                    Rows::NeedMore => return Ok(None),
                    Rows::Passed => continue,
                },
                b'd' => {
                    self.copy_data(length)?;
                    continue;
                }
                _ => {}
            }
            let Some(frame) = next(input, self.limits.server_message)? else { return Ok(None) };
            let raw = frame.raw.len();
            let mut withheld = Vec::new();
            let frame = match self.spoken(frame)? {
                Spoken::Passes => frame,
                Spoken::Ask(event) => return Ok(Some(event)),
                Spoken::Waits => return Ok(None),
                Spoken::Withheld { names } => {
                    withhold(frame, names, &mut withheld);
                    next(&withheld, usize::MAX)?.unwrap_or(frame)
                }
            };
            let taken = self.reply(frame)?;
            if matches!(taken, Taken::Passed) && !self.swallows() {
                self.to_client.extend_from_slice(frame.raw);
            }
            input.advance(raw);
            if let Taken::Event(event) = taken {
                return Ok(Some(event));
            }
        }
    }

    /// After a refusal the client has its error already, and what is left of the batch is not for it.
    fn swallows(&self) -> bool {
        self.refusal.swallowing
    }

    /// Whether an error or a notice passes with the server's words.
    fn spoken(&mut self, frame: Frame<'_>) -> Result<Spoken, WireError> {
        if !matches!(frame.tag, b'E' | b'N') {
            return Ok(Spoken::Passes);
        }
        let words = match (self.words, self.pending.front()) {
            (Some(Heard::Asked), _) => return Ok(Spoken::Waits),
            (Some(Heard::Answered(words)), _) => words,
            (None, _) if is_about_text(frame.body) => Words::Pass,
            (None, Some(Pending::Execute { run, .. } | Pending::Simple { run, .. })) if run.passage.guard_words => {
                self.words = Some(Heard::Asked);
                return Ok(Spoken::Ask(Event::Words { sequence: run.finish.sequence }));
            }
            // What is parsed does not run: no data is at hand yet.
            (None, Some(Pending::Parse { .. })) => Words::Pass,
            // Functions may run when a portal is bound, and deferred constraints speak at the end of a batch.
            (None, Some(_)) if self.guards_words => Words::WithholdValues,
            _ => Words::Pass,
        };
        self.words = None;
        let withheld = match words {
            Words::Pass => false,
            Words::Withhold => true,
            Words::WithholdValues => may_hold_values(frame.body),
        };
        let names = words == Words::WithholdValues && field(frame.body, b'W').is_none();
        Ok(if withheld { Spoken::Withheld { names } } else { Spoken::Passes })
    }

    fn unexpected<T>(&self, tag: u8) -> Result<T, WireError> {
        Err(WireError::Unexpected { tag, state: "from a server at this point of a session" })
    }

    fn rows(&mut self, input: &mut BytesMut, length: usize) -> Result<Rows, WireError> {
        let limits = self.limits;
        // The client has its error, and nobody looks at what else the batch gives.
        if self.swallows() && !self.pending.is_empty() {
            self.streaming = length;
            return Ok(Rows::Passed);
        }
        let Some(entry) = self.pending.front_mut() else { return self.unexpected(b'D') };
        let (run, shape, passed): (_, Option<Shape>, _) = match entry {
            Pending::Simple { run, shape, .. } => (run, shape.clone(), 0),
            Pending::Execute { run, portal } if run.mode == Mode::Unplanned => {
                (run, portal.shape.get().cloned(), portal.rows.load(Ordering::Relaxed))
            }
            Pending::Execute { run, .. } => (run, None, 0),
            _ => return self.unexpected(b'D'),
        };
        let sequence = run.finish.sequence;
        match run.mode {
            Mode::Unplanned => {
                run.mode = Mode::Waiting;
                // Without a description nothing protects the rows, so they must not pass.
                let Some(shape) = shape else { return self.unexpected(b'D') };
                Ok(Rows::Event(Event::Plan(ResultInfo { sequence, shape, passed })))
            }
            Mode::Waiting => Ok(Rows::NeedMore),
            Mode::Edit => {
                let (count, bytes) = whole_rows(input, limits.batch_rows)?;
                if count == 0 && length > limits.server_message {
                    run.mode = Mode::Waiting;
                    return Ok(Rows::Event(Event::Oversized { bytes: length }));
                }
                if count == 0 {
                    return Ok(Rows::NeedMore);
                }
                run.mode = Mode::Waiting;
                Ok(Rows::Event(Event::Rows { sequence, bytes, count }))
            }
            Mode::Pass => {
                // All whole rows at once; one that is not whole streams.
                let (count, bytes) = whole_rows(input, usize::MAX)?;
                run.finish.rows += count.max(1) as u64;
                run.finish.bytes += if count == 0 { length } else { bytes } as u64;
                self.streaming = if count == 0 { length } else { bytes };
                Ok(Rows::Passed)
            }
            Mode::Refuse => {
                self.streaming = length;
                Ok(Rows::Passed)
            }
        }
    }

    fn copy_data(&mut self, length: usize) -> Result<(), WireError> {
        match self.front_run() {
            // Without a CopyOutResponse nobody has decided that data may pass.
            Some(run) if run.passage.plan_rows && !run.passage.copy_out => self.unexpected(b'd'),
            Some(run) => {
                run.finish.rows += 1;
                run.finish.bytes += length as u64;
                self.streaming = length;
                Ok(())
            }
            None => self.unexpected(b'd'),
        }
    }

    fn reply(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        match frame.tag {
            b'A' if self.withholds_asides => {
                let mut fields = Fields::new(frame.tag, frame.body);
                let (process, channel) = (fields.bytes(4)?, fields.cstr()?);
                put(&mut self.to_client, frame.tag, |b| {
                    b.extend_from_slice(process);
                    put_cstr(b, channel);
                    put_cstr(b, b"");
                });
                Ok(Taken::Swallowed)
            }
            b'A' | b'N' => Ok(Taken::Passed),
            b'S' => {
                let mut fields = Fields::new(frame.tag, frame.body);
                let (name, value) = (fields.str()?.to_owned(), fields.str()?.to_owned());
                // A parameter is no part of the batch: it passes even after a refusal.
                if self.withholds_asides && name == "application_name" {
                    put(&mut self.to_client, frame.tag, |b| {
                        [name.as_bytes(), b""].into_iter().for_each(|text| put_cstr(b, text))
                    });
                } else {
                    self.to_client.extend_from_slice(frame.raw);
                }
                Ok(Taken::Event(Event::Parameter { name, value }))
            }
            b'E' => self.error(frame),
            b'Z' => self.ready(frame),
            b'1' | b'2' | b'3' => self.named(frame.tag),
            b't' | b'T' | b'n' => self.description(frame),
            b'C' | b'I' | b's' => self.completed(frame),
            b'G' | b'H' | b'c' => self.copy(frame.tag),
            tag => self.unexpected(tag),
        }
    }

    fn named(&mut self, tag: u8) -> Result<Taken, WireError> {
        match (tag, self.pending.pop_front()) {
            (b'1', Some(Pending::Parse { name, statement })) => self.names.parsed(name, statement),
            (b'2', Some(Pending::Bind { name, portal })) => self.names.bound(name, portal),
            (b'3', Some(Pending::Close { portal, name })) => self.names.closed(portal, &name),
            _ => return self.unexpected(tag),
        }
        Ok(Taken::Passed)
    }

    fn description(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        match self.pending.front_mut() {
            Some(Pending::Describe { hidden, .. }) if frame.tag == b't' => {
                Ok(if *hidden { Taken::Swallowed } else { Taken::Passed })
            }
            Some(Pending::Describe { portal, hidden }) => {
                if let Some(portal) = portal {
                    let shape = if frame.tag == b'T' { row_description(frame.body)? } else { Shape::from([]) };
                    // Described twice, a portal is still the same.
                    let _ = portal.shape.set(shape);
                }
                let taken = if *hidden { Taken::Swallowed } else { Taken::Passed };
                self.pending.pop_front();
                Ok(taken)
            }
            Some(Pending::Simple { run, shape, .. }) if frame.tag == b'T' => {
                if run.passage.plan_rows && run.mode != Mode::Refuse {
                    *shape = Some(row_description(frame.body)?);
                    run.mode = Mode::Unplanned;
                }
                Ok(Taken::Passed)
            }
            _ => self.unexpected(frame.tag),
        }
    }

    /// A statement has ended, or its portal was suspended.
    fn completed(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        let tag = if frame.tag == b'C' { Fields::new(b'C', frame.body).cstr()? } else { b"" };
        match self.pending.front_mut() {
            Some(Pending::Simple { run, text, .. }) => {
                run.finish.tag = String::from_utf8_lossy(tag).into_owned();
                self.names.completed(tag, text);
                Ok(Taken::Passed)
            }
            Some(Pending::Execute { run, portal }) => {
                run.finish.tag = String::from_utf8_lossy(tag).into_owned();
                self.names.completed(tag, portal.statement.text().map_or("", |t| t));
                let finish = self.finish_front();
                Ok(self.passed_with(frame, finish))
            }
            _ => self.unexpected(frame.tag),
        }
    }

    /// Takes the front command off the queue.
    fn finish_front(&mut self) -> Option<Finish> {
        let (Pending::Execute { run, .. } | Pending::Simple { run, .. }) = self.pending.pop_front()? else {
            return None;
        };
        Some(run.finish)
    }

    fn passed_with(&mut self, frame: Frame<'_>, finish: Option<Finish>) -> Taken {
        if !self.swallows() {
            self.to_client.extend_from_slice(frame.raw);
        }
        finish.map_or(Taken::Swallowed, |finish| Taken::Event(Event::Finish(finish)))
    }

    fn copy(&mut self, tag: u8) -> Result<Taken, WireError> {
        let Some(run) = self.front_run() else { return self.unexpected(tag) };
        // Whether data may pass unseen was decided with the command; a COPY that nobody foresaw must not.
        if tag == b'H' && run.passage.plan_rows && !run.passage.copy_out {
            return self.unexpected(tag);
        }
        if tag == b'G' {
            self.client.set_copying(true);
            // A Sync that the server reads before the data's end is ignored by it. Nothing else was sent behind what may be a COPY.
            self.pending.retain(|p| !matches!(p, Pending::Sync));
            if self.pending.len() > 1 {
                return self.unexpected(tag);
            }
        }
        Ok(Taken::Passed)
    }

    fn error(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        let taken = self.take_error(frame)?;
        // Whoever is told by the server why it leaves is not told again by others that it did.
        let fatal = matches!(field(frame.body, b'V'), Some(b"FATAL" | b"PANIC"));
        self.server_said_farewell |= fatal && !matches!(taken, Taken::Swallowed);
        Ok(taken)
    }

    fn take_error(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        self.client.set_copying(false);
        let code = sqlstate(frame.body).unwrap_or("XX000").to_owned();
        match self.pending.front_mut() {
            Some(Pending::Substitute { fault, .. }) => {
                if !self.refusal.swallowing {
                    fault.put(&mut self.to_client);
                }
                if !self.front_is_simple() {
                    self.drop_batch(&code);
                }
                Ok(Taken::Swallowed)
            }
            Some(Pending::Poison) => Ok(Taken::Swallowed),
            Some(Pending::Simple { run, .. }) => {
                run.finish.error.get_or_insert(code);
                Ok(Taken::Passed)
            }
            // The server skips to the next Sync: what stands before it gets no reply.
            Some(Pending::Execute { run, .. }) => {
                run.finish.error.get_or_insert(code.clone());
                let finish = self.finish_front();
                self.drop_batch(&code);
                Ok(self.passed_with(frame, finish))
            }
            Some(_) => {
                self.drop_batch(&code);
                Ok(Taken::Passed)
            }
            // Nothing is under way: the server is about to close the connection and says why.
            None => Ok(Taken::Passed),
        }
    }

    fn front_is_simple(&self) -> bool {
        matches!(self.pending.front(), Some(Pending::Substitute { simple: true, .. }))
    }

    /// Drops what the server will not reply to after an error in the extended protocol.
    fn drop_batch(&mut self, code: &str) {
        let end = self.pending.iter().position(|p| matches!(p, Pending::Sync)).unwrap_or(self.pending.len());
        for entry in self.pending.drain(..end) {
            if let Pending::Execute { mut run, .. } | Pending::Simple { mut run, .. } = entry {
                run.finish.error = Some(code.to_owned());
                self.skipped.push_back(run.finish);
            }
        }
        if self.pending.is_empty() {
            self.client.skip_to_sync();
            if !self.client.is_asking() {
                self.unit.clear();
            }
        }
    }

    fn ready(&mut self, frame: Frame<'_>) -> Result<Taken, WireError> {
        let status = TxStatus::parse(frame.body)?;
        self.client.set_copying(false);
        let finish = match self.pending.front() {
            Some(Pending::Simple { .. }) => self.finish_front(),
            Some(Pending::Sync | Pending::Poison | Pending::Substitute { simple: true, .. }) => {
                self.pending.pop_front();
                None
            }
            _ => return self.unexpected(frame.tag),
        };
        self.status = status;
        self.unsettled = !self.pending.is_empty();
        if status == TxStatus::Idle {
            self.names.transaction_ended();
        }
        if self.refusal.swallowing && status == TxStatus::Open {
            return self.poison(finish);
        }
        self.refusal.swallowing = false;
        Ok(self.passed_with(frame, finish))
    }

    /// The client was told of an error, so its transaction must be a failed one.
    fn poison(&mut self, finish: Option<Finish>) -> Result<Taken, WireError> {
        if !self.pending.is_empty() {
            // Later batches are on their way and would run in the open transaction. Ending the session rolls it back.
            return self.unexpected(b'Z');
        }
        put_query(&mut self.to_server, NEVER_VALID);
        self.pending.push_back(Pending::Poison);
        Ok(finish.map_or(Taken::Swallowed, |f| Taken::Event(Event::Finish(f))))
    }
}

enum Spoken {
    Ask(Event),
    Passes,
    Waits,
    Withheld { names: bool },
}

/// Whether an error is about the statement's own text: it points into it, and no function was at work.
fn is_about_text(body: &[u8]) -> bool {
    let class = sqlstate(body).is_some_and(|code| code.starts_with("42") || code.starts_with("22"));
    class && field(body, b'P').is_some() && field(body, b'W').is_none()
}

/// Whether words like these quote data. Those of a function may, under any code, and the classes that follow do not (PostgreSQL
/// documentation, appendix "Error Codes"): they name objects, states and limits only.
fn may_hold_values(body: &[u8]) -> bool {
    const PLAIN: [&str; 20] = [
        "00", "03", "08", "0A", "0B", "24", "25", "26", "28", "2B", "2D", "34", "3B", "40", "42501", "53", "54", "55",
        "57", "58",
    ];
    let plain = |code: &str| PLAIN.iter().any(|class| code.starts_with(class));
    field(body, b'W').is_some() || !sqlstate(body).is_some_and(plain)
}

/// Appends an error or a notice with its codes and names, and other words.
fn withhold(frame: Frame<'_>, names: bool, out: &mut Vec<u8>) {
    // Severity, SQLSTATE and position in the statement's text; then the names of schema, table, column, type and constraint, which a
    // function may choose freely.
    const KEPT: [u8; 9] = [b'S', b'V', b'C', b'P', b's', b't', b'c', b'd', b'n'];
    let kept = if names { &KEPT[..] } else { &KEPT[..4] };
    put(out, frame.tag, |b| {
        for kind in kept.iter().copied() {
            if let Some(text) = field(frame.body, kind) {
                b.push(kind);
                put_cstr(b, text);
            }
        }
        b.push(b'M');
        put_cstr(b, b"the server's message is withheld, since it may hold values that a policy hides");
        b.push(0);
    });
}

enum Rows {
    Event(Event),
    NeedMore,
    Passed,
}

/// How many whole DataRow messages stand at the front, at most `most`, and their length together.
fn whole_rows(input: &[u8], most: usize) -> Result<(usize, usize), WireError> {
    let (mut count, mut bytes) = (0, 0);
    while count < most {
        match peek(input.get(bytes..).unwrap_or_default())? {
            Some((b'D', length)) if bytes + length <= input.len() => {
                bytes += length;
                count += 1;
            }
            _ => break,
        }
    }
    Ok((count, bytes))
}
