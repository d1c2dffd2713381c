//! `portcullis policy replay`: audited commands against a draft.

mod compare;
mod draft;
mod report;
mod results;
mod sessions;
mod source;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use bytes::Bytes;
use portcullis_engine::{Fidelity, Script};
use portcullis_proxy::read_statement;
use portcullis_verdict::{
    Command, CommandEvent, Event, Filter, Input, InputsEvent, Kind, Parameter, Phase, RecordingEvent, StoredEvent,
    Subject,
};

use self::compare::{Basis, Demands, Difference, Said};
use self::draft::Draft;
use self::report::{Change, Report};
use self::results::{Files, Results};
use self::sessions::{Labels, Sessions};
use self::source::Source;
use crate::cli::PolicyReplay;
use crate::client::Client;
use crate::config::read_file;
use crate::time;

/// A command's inputs stand right behind it, with events of other sessions between them at most. So many are waited for.
const WINDOW: u64 = 4096;

/// The most bytes of the texts of commands that wait for their inputs.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// Every so many events it is told how far it has come.
const PROGRESS: u64 = 100_000;

/// Configurations are not larger than this.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Asks a draft what it makes of what was audited. Fails if any decision would have been another.
pub(super) fn replay(args: &PolicyReplay) -> anyhow::Result<ExitCode> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        bail!("nothing lies between: `--from` {} is not before `--to` {}", time::shown(from), time::shown(to));
    }
    let draft = Draft::open(&args.package, args.settings.as_deref())?;
    let labels = args.config.as_deref().map(labels).transpose()?;
    let source = match (&args.export, &args.store) {
        (Some(file), _) => Source::Export(file.clone()),
        (None, Some(store)) => Source::Store(store.clone()),
        (None, None) => Source::Gateway(Client::new(&args.remote.access)?),
    };
    let files = match &args.recordings {
        Some(directory) => Some(Files::directory(directory)?),
        None if args.results => Some(Files::Gateway(Client::new(&args.remote.access)?)),
        None => None,
    };
    let mut replay = Replay::new(args, draft, labels, source.demands()?, files);
    let problem = source.events(&mut |event| replay.event(event))?;
    let report = replay.finish(problem)?;
    let shown = if args.remote.json { report.json()? } else { report.words() };
    std::io::stdout().write_all(shown.as_bytes())?;
    Ok(if report.is_unchanged() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The labels of the targets in a configuration, whatever else may be wrong with it here.
fn labels(path: &Path) -> anyhow::Result<Labels> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default, rename = "target")]
        targets: Vec<Target>,
    }
    #[derive(serde::Deserialize)]
    struct Target {
        name: String,
        #[serde(default)]
        labels: std::collections::BTreeMap<String, String>,
    }
    let bytes = read_file(path, MAX_CONFIG_BYTES).map_err(|why| anyhow::anyhow!("`--config`: {why}"))?;
    let file =
        String::from_utf8(bytes).map_err(anyhow::Error::from).and_then(|text| Ok(toml::from_str::<File>(&text)?));
    let file = file.map_err(|error| error.context(format!("`--config`: {} cannot be read", path.display())))?;
    Ok(file.targets.into_iter().map(|target| (target.name, target.labels)).collect())
}

/// A log on its way through a draft.
struct Replay {
    draft: Draft,
    /// The policy that the draft is held against.
    policy: String,
    chosen: Filter,
    labels: Labels,
    demands: Option<Demands>,
    sessions: Sessions,
    /// What is still to be done, in the order of the log.
    steps: VecDeque<(u64, Step)>,
    waiting_bytes: usize,
    events: u64,
    results: Option<Results>,
    report: Report,
}

/// Something that is done in the order of the log.
enum Step {
    Command(Box<Asked>),
    Finish { session: Arc<str>, sequence: u64, masked: u64 },
    Recorded { session: Arc<str>, file: String },
    Close(Arc<str>),
}

/// A command that was decided then.
struct Asked {
    number: u64,
    at_ms: u64,
    subject: Arc<Subject>,
    sequence: u64,
    phase: Option<Phase>,
    /// The text that the client sent.
    text: Arc<str>,
    /// The text that the policy saw.
    seen: Arc<str>,
    parameters: Vec<String>,
    reason: Option<Arc<str>>,
    basis: Basis,
    then: Said,
    /// It was allowed since people had approved it.
    granted: bool,
    inputs: Option<Vec<Input>>,
}

impl Asked {
    fn new(number: u64, at_ms: u64, event: &CommandEvent, policy: &str, demands: Option<&Demands>) -> Self {
        let (basis, then) = compare::then(event, policy, demands);
        let phases = [Phase::Prepare, Phase::Execute];
        let known = event.kind == Kind::Sql.as_str();
        Self {
            number,
            at_ms,
            subject: event.subject.clone(),
            sequence: event.sequence,
            phase: phases.into_iter().find(|phase| known && phase.as_str() == event.phase),
            text: event.text.clone(),
            seen: compare::seen(event, policy),
            parameters: event.parameters.clone(),
            reason: event.reason.clone(),
            basis,
            then,
            granted: event.approval.is_some() && event.outcome == "allow",
            inputs: None,
        }
    }

    /// Whether inputs belong to it.
    fn is_of(&self, event: &InputsEvent) -> bool {
        let phase = self.phase.is_some_and(|phase| phase.as_str() == event.phase);
        self.inputs.is_none() && phase && self.sequence == event.sequence && self.subject == event.subject
    }

    fn bytes(&self) -> usize {
        self.text.len() + self.seen.len() + self.parameters.iter().map(String::len).sum::<usize>()
    }
}

impl Replay {
    fn new(
        args: &PolicyReplay,
        draft: Draft,
        labels: Option<Labels>,
        demands: Option<Demands>,
        files: Option<Files>,
    ) -> Self {
        let policy = args.policy.clone().unwrap_or_else(|| draft.name().to_owned());
        let mut report = Report::new(&draft, &policy, args.limit as usize);
        report.knows(labels.is_some(), demands.is_some());
        if files.is_some() && !draft.rows {
            report.note("the draft does not decide on rows, so that no recorded result was run".into());
        }
        let results = files.filter(|_| draft.rows).map(Results::new);
        let (target, principal) = (args.target.clone(), args.principal.clone());
        Self {
            draft,
            policy,
            chosen: Filter { from_ms: args.from, to_ms: args.to, target, principal, ..Filter::default() },
            labels: labels.unwrap_or_default(),
            demands,
            sessions: Sessions::default(),
            steps: VecDeque::new(),
            waiting_bytes: 0,
            events: 0,
            results,
            report,
        }
    }

    /// Takes the next event of the log.
    fn event(&mut self, stored: &StoredEvent) -> anyhow::Result<()> {
        self.events += 1;
        if self.events.is_multiple_of(PROGRESS) {
            eprintln!("{} events read, up to {}", self.events, time::shown(stored.at_ms));
        }
        match &stored.event {
            Event::Open(open) if open.refused.is_none() && self.concerns(&open.subject) => {
                self.sessions.open(open, &self.labels);
            }
            Event::Command(event) if self.chosen.passes(stored) => {
                let asked = Asked::new(stored.number, stored.at_ms, event, &self.policy, self.demands.as_ref());
                self.waiting_bytes += asked.bytes();
                self.later(Step::Command(Box::new(asked)));
            }
            Event::Inputs(event) => self.attach(event),
            Event::Finish(event) if self.results.is_some() && event.rows > 0 && self.chosen.passes(stored) => {
                let (session, sequence) = (event.subject.session.clone(), event.sequence);
                self.later(Step::Finish { session, sequence, masked: event.masked });
            }
            Event::Recording(RecordingEvent { subject, state, file, .. }) if self.results.is_some() => match &**state {
                "started" => self.sessions.recorded(&subject.session),
                "ended" | "stopped" | "failed" | "cut" => {
                    self.later(Step::Recorded { session: subject.session.clone(), file: file.clone() });
                }
                _ => {}
            },
            Event::Close { subject, .. } if self.concerns(subject) => self.later(Step::Close(subject.session.clone())),
            _ => {}
        }
        self.advance(false)
    }

    /// Whether a session's commands are chosen, as far as they are at the right time.
    fn concerns(&self, subject: &Subject) -> bool {
        let Filter { target, principal, .. } = &self.chosen;
        target.as_deref().is_none_or(|target| target == &*subject.target)
            && principal.as_deref().is_none_or(|principal| principal == &*subject.principal)
    }

    fn later(&mut self, step: Step) {
        self.steps.push_back((self.events, step));
    }

    /// What the policy got from its capabilities goes to the command that it belongs to.
    fn attach(&mut self, event: &InputsEvent) {
        let commands = self.steps.iter_mut().rev().filter_map(|(_, step)| match step {
            Step::Command(asked) => Some(asked),
            _ => None,
        });
        if let Some(asked) = commands.into_iter().find(|asked| asked.is_of(event)) {
            let of_policy = event.inputs.iter().find(|inputs| *inputs.policy == *self.policy);
            asked.inputs = Some(of_policy.map(|inputs| inputs.inputs.clone()).unwrap_or_default());
        }
    }

    /// Does what needs nothing that may still come, or everything at the end.
    fn advance(&mut self, all: bool) -> anyhow::Result<()> {
        while let Some((since, step)) = self.steps.front() {
            let waits = matches!(step, Step::Command(asked) if asked.inputs.is_none());
            if waits && !all && self.events - since < WINDOW && self.waiting_bytes <= MAX_WAITING_BYTES {
                break;
            }
            if let Some((_, step)) = self.steps.pop_front() {
                self.step(step)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: Step) -> anyhow::Result<()> {
        match step {
            Step::Command(asked) => {
                self.waiting_bytes -= asked.bytes();
                if let Err(why) = self.ask(*asked)? {
                    self.report.not_run(why);
                }
            }
            Step::Finish { session, sequence, masked } => {
                let fits = self.sessions.finish(&session, sequence, masked);
                if let (false, Some(results)) = (fits, &mut self.results) {
                    results.missed("there were too many results at a time");
                }
            }
            Step::Recorded { session, file } => {
                if let (Some(results), Some(known)) = (&mut self.results, self.sessions.get(&session)) {
                    results.run(&mut self.draft, known, &file)?;
                    self.sessions.shown(&session);
                }
            }
            Step::Close(session) => self.sessions.close(&session),
        }
        Ok(())
    }

    /// Asks the draft about a command. It says why it could not, if it could not.
    fn ask(&mut self, asked: Asked) -> anyhow::Result<Result<(), &'static str>> {
        if !self.draft.commands {
            return Ok(Err("the draft does not decide on commands"));
        }
        let Some(phase) = asked.phase else { return Ok(Err("it is of a kind that is not known here")) };
        let id = &asked.subject.session;
        self.sessions.rehearse(id);
        let Some(known) = self.sessions.get(id) else {
            return Ok(Err("the opening of its session is not in the log, or too long ago"));
        };
        let session = match &known.session {
            Ok(session) => session.clone(),
            Err(why) => return Ok(Err(*why)),
        };
        if known.rehearsal.is_none() {
            known.rehearsal = self.draft.rehearse(&session)?;
            self.report.begun_anew += u64::from(known.begun);
            known.begun = true;
        }
        let Some(rehearsal) = &mut known.rehearsal else { return Ok(Err("there are too many targets")) };
        let command = Arc::new(Command {
            sequence: asked.sequence,
            phase,
            statement: read_statement(&asked.seen),
            parameters: asked.parameters.iter().map(|shown| parameter(shown)).collect(),
            reason: asked.reason.clone(),
            origins: None,
        });
        let inputs = asked.inputs.iter().map(|inputs| (self.draft.name().to_owned(), inputs.clone())).collect();
        let script = Script { now_ms: asked.at_ms, inputs };
        let (ruling, fidelity) = rehearsal.check(&command, &[], &read_statement, script);
        let Some(answer) = ruling.explanation.iter().find(|answer| *answer.policy == *self.draft.name()) else {
            return Ok(Err("the draft does not ask for commands of this kind"));
        };
        let granted = asked.granted && known.reviewed == Some(asked.sequence);
        if phase == Phase::Execute && asked.then.verdict == "review" {
            known.reviewed = Some(asked.sequence);
        }
        let now = compare::now(answer);
        let difference = compare::difference(&asked.then, &now, asked.basis, phase, granted);
        self.told(asked, phase, now, difference, fidelity);
        Ok(Ok(()))
    }

    fn told(&mut self, asked: Asked, phase: Phase, now: Said, difference: Difference, fidelity: Fidelity) {
        let approximate = fidelity == Fidelity::Approximate;
        self.report.ran(asked.basis, difference, approximate);
        if difference == Difference::Decision {
            let Asked { number, at_ms, subject, sequence, text, basis, then, .. } = asked;
            let phase = phase.as_str();
            let change =
                Change { number, at_ms, subject, sequence, phase, text, against: basis, then, now, approximate };
            self.report.changed(change);
        }
    }

    /// The log has ended; `problem` says what is wrong with it.
    fn finish(mut self, problem: Option<String>) -> anyhow::Result<Report> {
        self.advance(true)?;
        self.report.events = self.events;
        self.report.results = self.results.map(Results::finish);
        if let Some(problem) = problem {
            self.report.note(problem);
        }
        Ok(self.report)
    }
}

/// A parameter from what the audit shows of it.
fn parameter(shown: &str) -> Parameter {
    let value = (shown != "NULL").then(|| Bytes::copy_from_slice(shown.as_bytes()));
    Parameter { value, binary: false }
}
