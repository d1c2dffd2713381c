//! Format 1, which had no chain: how its events are read, so that they can be written anew.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use portcullis_verdict::{
    AnswerRecord, ApprovalEvent, CommandEvent, Effects, Event, Facts, FinishEvent, OpenEvent, SqlStatement, Subject,
};
use serde::Deserialize;

use crate::record::BadValue;

const VERSION: u8 = 1;

#[derive(Deserialize)]
enum EventV1 {
    Open(OpenV1),
    Command(CommandV1),
    Finish(FinishV1),
    Close { session: Arc<str>, reason: String },
    Approval { session: Arc<str>, sequence: u64, approval: Arc<str>, what: String, by: String, reason: String },
}

#[derive(Deserialize)]
struct OpenV1 {
    session: Arc<str>,
    protocol: Cow<'static, str>,
    principal: String,
    groups: Vec<String>,
    credential: Cow<'static, str>,
    target: String,
    client_address: String,
    reason: Option<String>,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct CommandV1 {
    session: Arc<str>,
    sequence: u64,
    kind: Cow<'static, str>,
    phase: Cow<'static, str>,
    text: Arc<str>,
    rewrite: Option<Arc<str>>,
    verbs: Vec<String>,
    effects: Effects,
    outcome: Cow<'static, str>,
    message: Option<String>,
    answers: Vec<AnswerRecord>,
    approval: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct FinishV1 {
    session: Arc<str>,
    sequence: u64,
    tag: String,
    rows: u64,
    bytes: u64,
    masked: u64,
    micros: u64,
    error: Option<String>,
}

/// Translates events in their order: in format 1 only the opening said who it was about.
#[derive(Default)]
pub(crate) struct Translator {
    subjects: HashMap<Arc<str>, Arc<Subject>>,
}

impl Translator {
    /// The events of a block, with their times.
    pub(crate) fn block(&mut self, bytes: &[u8]) -> Result<Vec<(u64, Event)>, BadValue> {
        let (count, mut rest) = match bytes {
            [] | [_] => return Err(BadValue::Empty),
            [VERSION, count, rest @ ..] => (*count, rest),
            [other, ..] => return Err(BadValue::Version(*other)),
        };
        let mut events = Vec::with_capacity(count.into());
        for _ in 0..count {
            let read = postcard::take_from_bytes::<(u64, EventV1)>(rest);
            let ((at_ms, event), left) = read.map_err(|e| BadValue::Malformed(e.to_string()))?;
            events.push((at_ms, self.event(event)));
            rest = left;
        }
        if rest.is_empty() { Ok(events) } else { Err(BadValue::Malformed("bytes follow its end".into())) }
    }

    /// Whom a session was about.
    pub(crate) fn subject(&self, session: &str) -> Arc<Subject> {
        let unknown = || Arc::new(Subject { session: session.into(), ..Subject::default() });
        self.subjects.get(session).cloned().unwrap_or_else(unknown)
    }

    fn event(&mut self, event: EventV1) -> Event {
        match event {
            EventV1::Open(open) => self.open(open),
            EventV1::Command(command) => Event::Command(self.command(command)),
            EventV1::Finish(e) => Event::Finish(FinishEvent {
                subject: self.subject(&e.session),
                sequence: e.sequence,
                tag: e.tag,
                rows: e.rows,
                bytes: e.bytes,
                masked: e.masked,
                masked_by: vec![],
                micros: e.micros,
                error: e.error,
            }),
            EventV1::Close { session, reason } => {
                let subject = self.subject(&session);
                self.subjects.remove(&session);
                Event::Close { subject, reason }
            }
            EventV1::Approval { session, sequence, approval, what, by, reason } => {
                let (subject, what, via) = (self.subject(&session), what.into(), String::new());
                Event::Approval(ApprovalEvent { subject, sequence, approval, what, by, reason, via })
            }
        }
    }

    fn open(&mut self, open: OpenV1) -> Event {
        let subject = Arc::new(Subject {
            session: open.session.clone(),
            principal: open.principal.into(),
            target: open.target.into(),
        });
        if open.refused.is_none() {
            self.subjects.insert(open.session, subject.clone());
        }
        Event::Open(OpenEvent {
            subject,
            protocol: open.protocol,
            groups: open.groups,
            credential: open.credential,
            client_address: open.client_address,
            reason: open.reason,
            refused: open.refused,
        })
    }

    fn command(&self, e: CommandV1) -> CommandEvent {
        // The effects were those of all statements together; each verb stands for a statement.
        let statement =
            |verb| SqlStatement { dialect: "postgres".into(), verb, effects: e.effects, ..SqlStatement::default() };
        let sql = if e.verbs.is_empty() {
            Err("format 1 kept no facts of it".into())
        } else {
            Ok(e.verbs.into_iter().map(statement).collect())
        };
        CommandEvent {
            subject: self.subject(&e.session),
            sequence: e.sequence,
            kind: e.kind,
            phase: e.phase,
            text: e.text,
            rewrite: e.rewrite,
            facts: Arc::new(Facts { fingerprint: String::new(), sql }),
            parameters: vec![],
            reason: None,
            outcome: e.outcome,
            message: e.message,
            answers: e.answers,
            approval: e.approval,
            micros: 0,
        }
    }
}
