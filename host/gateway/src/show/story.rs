//! Events of the audit, told in order.

use std::fmt::Write;

use portcullis_verdict::{
    AnswerRecord, ApprovalEvent, CommandEvent, Effects, Event, Facts, FinishEvent, Input, InputsEvent, Mode, OpenEvent,
    RecordingEvent, Relation, StoredEvent, SystemEvent,
};

use super::{quote, safe, time};

/// What happened in a session.
pub(crate) fn story(events: &[StoredEvent]) -> String {
    let mut out = String::new();
    for stored in events {
        let at = time(stored.at_ms);
        let told = told(&stored.event);
        let mut lines = told.lines();
        let _ = writeln!(out, "{at}  {}", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(out, "{:1$}  {line}", "", at.len());
        }
    }
    out
}

/// Events of any sessions, each with whom it is about.
pub(crate) fn found(events: &[StoredEvent]) -> String {
    let mut out = String::new();
    for stored in events {
        let _ = write!(out, "event {} at {}", stored.number, time(stored.at_ms));
        if let Some(subject) = stored.event.subject() {
            let (principal, target, session) = (&subject.principal, &subject.target, &subject.session);
            let _ = write!(out, ", {} to {}, session {}", safe(principal), safe(target), safe(session));
        }
        out.push('\n');
        for line in told(&stored.event).lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    if out.is_empty() { "no event was found\n".into() } else { out }
}

fn told(event: &Event) -> String {
    match event {
        Event::Open(open) => opened(open),
        Event::Command(command) => commanded(command),
        Event::Finish(finish) => finished(finish),
        Event::Close { reason, .. } => format!("session ended: {}\n", safe(reason)),
        Event::Approval(approval) => approved(approval),
        Event::Recording(recording) => recorded(recording),
        Event::System(system) => happened(system),
        Event::Inputs(inputs) => got(inputs),
    }
}

fn opened(open: &OpenEvent) -> String {
    let OpenEvent { subject, protocol, groups, credential, client_address, reason, refused } = open;
    let groups = if groups.is_empty() { String::new() } else { format!(" ({})", safe(&groups.join(", "))) };
    let verb = if refused.is_some() { "was refused" } else { "opened" };
    let (principal, target, session) = (safe(&subject.principal), safe(&subject.target), safe(&subject.session));
    let mut out = format!("{principal}{groups} {verb} {target} over {}\n", safe(protocol));
    let _ = writeln!(out, "session {session} from {} by {}", safe(client_address), safe(credential));
    if let Some(reason) = reason {
        let _ = writeln!(out, "reason given: {}", safe(reason));
    }
    if let Some(why) = refused {
        let _ = writeln!(out, "why: {}", safe(why));
    }
    out
}

fn commanded(command: &CommandEvent) -> String {
    let outcome = command.outcome.to_uppercase();
    let mut out = format!("#{} {} ({})\n", command.sequence, safe(&outcome), safe(&command.phase));
    quote(&mut out, "", &command.text);
    for (index, parameter) in command.parameters.iter().enumerate() {
        quote(&mut out, &format!("${} = ", index + 1), parameter);
    }
    if let Some(text) = &command.rewrite {
        quote(&mut out, "ran instead: ", text);
    }
    let _ = writeln!(out, "  {}", read_in(&command.facts));
    if let Some(reason) = &command.reason {
        let _ = writeln!(out, "  reason given: {}", safe(reason));
    }
    if let Some(message) = &command.message {
        let _ = writeln!(out, "  why: {}", safe(message));
    }
    for answer in &command.answers {
        answered(&mut out, answer);
    }
    if let Some(approval) = &command.approval {
        let _ = writeln!(out, "  approval {}", safe(approval));
    }
    if !command.answers.is_empty() {
        let _ = writeln!(out, "  the policies took {}", millis(command.micros));
    }
    out
}

fn answered(out: &mut String, answer: &AnswerRecord) {
    let monitor = if answer.mode == Mode::Monitor { " (monitor)" } else { "" };
    let message = if answer.message.is_empty() { String::new() } else { format!(": {}", safe(&answer.message)) };
    let _ = writeln!(out, "  {}{monitor} said {}{message}", safe(&answer.policy), safe(&answer.verdict));
    for finding in &answer.findings {
        let _ = writeln!(out, "    {}: {}", safe(&finding.rule), safe(&finding.message));
    }
}

/// What the host read in a text: what it can effect, and on what.
pub(crate) fn read_in(facts: &Facts) -> String {
    let statements = match &facts.sql {
        Ok(statements) => statements,
        Err(why) => return format!("could not be read: {}", safe(why)),
    };
    let verbs: Vec<&str> = statements.iter().map(|statement| statement.verb.as_str()).collect();
    let relations = statements.iter().flat_map(|statement| &statement.relations).map(relation);
    let relations: Vec<String> = relations.collect();
    let mut parts = vec![safe(&verbs.join("; "))];
    if !facts.effects().is_empty() {
        parts.push(format!("effects: {}", effects(facts.effects())));
    }
    if !relations.is_empty() {
        parts.push(relations.join(", "));
    }
    parts.join(" · ")
}

fn relation(relation: &Relation) -> String {
    let name = match relation.schema.as_str() {
        "" => relation.name.clone(),
        schema => format!("{schema}.{}", relation.name),
    };
    match effects(relation.effects) {
        none if none.is_empty() => safe(&name),
        effects => format!("{} ({effects})", safe(&name)),
    }
}

fn effects(effects: Effects) -> String {
    let names: Vec<String> = effects.iter_names().map(|(name, _)| name.to_lowercase().replace('_', "-")).collect();
    names.join(", ")
}

fn finished(finish: &FinishEvent) -> String {
    let FinishEvent { subject: _, sequence, tag, rows, bytes, masked, masked_by, micros, error } = finish;
    let how = match error {
        Some(error) => format!("failed: {}", safe(error)),
        None => format!("done: {}", safe(tag)),
    };
    // Policies that only looked are named in the event all the same.
    let by = if *masked == 0 || masked_by.is_empty() {
        String::new()
    } else {
        format!(" by {}", safe(&masked_by.join(", ")))
    };
    let (rows, bytes, masked) = (count(*rows, "row"), count(*bytes, "byte"), count(*masked, "masked cell"));
    format!("#{sequence} {how}; {rows}, {bytes}, {masked}{by}, {}\n", millis(*micros))
}

fn approved(event: &ApprovalEvent) -> String {
    let ApprovalEvent { subject: _, sequence, approval, what, by, reason, via } = event;
    let what = if what == "broken-glass" { "BROKEN GLASS".into() } else { safe(what) };
    let by = if by.is_empty() { String::new() } else { format!(" by {}", safe(by)) };
    let via = if via.is_empty() { String::new() } else { format!(" via {}", safe(via)) };
    let reason = if reason.is_empty() { String::new() } else { format!(": {}", safe(reason)) };
    format!("#{sequence} approval {} {what}{by}{via}{reason}\n", safe(approval))
}

fn recorded(event: &RecordingEvent) -> String {
    let RecordingEvent { subject: _, state, file, bytes, sha256, entries, detail } = event;
    let detail = if detail.is_empty() { String::new() } else { format!(": {}", safe(detail)) };
    let mut out = format!("recording {}{detail}\n", safe(state));
    if sha256.is_empty() {
        // It has just begun.
        let _ = writeln!(out, "  {}", safe(file));
    } else {
        let entries = if *entries == 1 { "1 entry".into() } else { format!("{entries} entries") };
        let _ = writeln!(out, "  {}, {entries}, {}", safe(file), count(*bytes, "byte"));
        let _ = writeln!(out, "  sha256 {}", safe(sha256));
    }
    out
}

fn happened(event: &SystemEvent) -> String {
    let SystemEvent { what, by, detail } = event;
    let by = if by.is_empty() { String::new() } else { format!(" by {}", safe(by)) };
    let detail = if detail.is_empty() { String::new() } else { format!(": {}", safe(detail)) };
    format!("gateway: {}{by}{detail}\n", safe(what))
}

fn got(event: &InputsEvent) -> String {
    let InputsEvent { subject: _, sequence, phase, inputs } = event;
    let mut out = format!("#{sequence} was decided on inputs ({})\n", safe(phase));
    for policy in inputs {
        let got: Vec<String> = policy.inputs.iter().map(input).collect();
        let _ = writeln!(out, "  {} got {}", safe(&policy.policy), got.join(", "));
    }
    out
}

/// What it was, without what a policy keeps in its state.
pub(crate) fn input(input: &Input) -> String {
    let bytes = |bytes: &[u8]| count(bytes.len() as u64, "byte");
    match input {
        Input::Clock(ms) => format!("the time {}", time(*ms)),
        Input::Random(random) => format!("{} of randomness", bytes(random)),
        Input::Get(Some(value)) => format!("a value of {}", bytes(value)),
        Input::Get(None) => "no value".into(),
        Input::Put(Ok(())) => "leave to keep a value".into(),
        Input::Increment(Ok(sum)) => format!("the sum {sum}"),
        Input::Put(Err(why)) | Input::Increment(Err(why)) => format!("an error: {}", safe(why)),
        Input::Truncated => "more that was not kept".into(),
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_verdict::{Finding, PolicyInputs, SqlStatement};

    use super::super::tests::subject;
    use super::*;

    fn at(number: u64, event: Event) -> StoredEvent {
        StoredEvent { number, at_ms: 1_700_000_000_000, event }
    }

    fn command() -> CommandEvent {
        let answer = AnswerRecord {
            policy: "no-destructive-sql".into(),
            digest: "ab".into(),
            mode: Mode::Monitor,
            verdict: "deny".into(),
            message: "DELETE without WHERE".into(),
            findings: vec![Finding { rule: "no-where".into(), message: "orders".into() }],
        };
        let relation =
            |schema: &str, name: &str, effects| Relation { schema: schema.into(), name: name.into(), effects };
        let statement = SqlStatement {
            verb: "DELETE".into(),
            effects: Effects::READ | Effects::WRITE,
            relations: vec![relation("public", "orders", Effects::WRITE), relation("", "x\x1b", Effects::READ)],
            ..SqlStatement::default()
        };
        CommandEvent {
            subject: subject("s", "ann", "shop"),
            sequence: 7,
            kind: "sql".into(),
            phase: "execute".into(),
            text: "DELETE\nFROM orders\x1b[0m".into(),
            rewrite: Some("SELECT 1".into()),
            facts: Arc::new(Facts { fingerprint: "f".into(), sql: Ok(vec![statement]) }),
            parameters: vec!["17\x1b".into()],
            reason: Some("ticket 4711".into()),
            outcome: "deny".into(),
            message: Some("not here".into()),
            answers: vec![answer],
            approval: Some("k7wz".into()),
            micros: 1234,
        }
    }

    #[test]
    fn a_story_names_commands_facts_policies_and_masked_cells() {
        let finish = FinishEvent {
            subject: subject("s", "ann", "shop"),
            sequence: 7,
            tag: "SELECT 3".into(),
            rows: 3,
            bytes: 30,
            masked: 2,
            masked_by: vec!["hide".into(), "hash".into()],
            micros: 1500,
            error: None,
        };
        let told = story(&[at(1, Event::Command(command())), at(2, Event::Finish(finish))]);
        let expected = "\
2023-11-14 22:13:20Z  #7 DENY (execute)
                        | DELETE
                        | FROM orders\\u{1b}[0m
                        $1 = | 17\\u{1b}
                        ran instead: | SELECT 1
                        DELETE · effects: read, write · public.orders (write), x\\u{1b} (read)
                        reason given: ticket 4711
                        why: not here
                        no-destructive-sql (monitor) said deny: DELETE without WHERE
                          no-where: orders
                        approval k7wz
                        the policies took 1.2 ms
2023-11-14 22:13:20Z  #7 done: SELECT 3; 3 rows, 30 bytes, 2 masked cells by hide, hash, 1.5 ms
";
        assert_eq!(told, expected);
    }

    #[test]
    fn inputs_are_told_without_what_a_policy_keeps() {
        let inputs = vec![
            Input::Clock(1_700_000_000_000),
            Input::Random(vec![1; 16]),
            Input::Get(Some(b"s".to_vec())),
            Input::Get(None),
            Input::Put(Ok(())),
            Input::Increment(Ok(5)),
            Input::Increment(Err("full\x1b".into())),
            Input::Truncated,
        ];
        let inputs = vec![PolicyInputs { policy: "limit".into(), digest: "d".into(), inputs }];
        let subject = subject("s", "ann", "shop");
        let told = told(&Event::Inputs(InputsEvent { subject, sequence: 7, phase: "execute".into(), inputs }));
        let expected = "#7 was decided on inputs (execute)\n  limit got the time 2023-11-14 22:13:20Z, 16 bytes of randomness, \
                        a value of 1 byte, no value, leave to keep a value, the sum 5, an error: full\\u{1b}, \
                        more that was not kept\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn one_is_not_many_and_nothing_is_not_told() {
        let finish = FinishEvent {
            subject: subject("s", "ann", "shop"),
            sequence: 8,
            tag: "SHOW".into(),
            rows: 1,
            bytes: 1,
            masked: 1,
            masked_by: vec![],
            micros: 0,
            error: None,
        };
        assert_eq!(finished(&finish), "#8 done: SHOW; 1 row, 1 byte, 1 masked cell, 0.0 ms\n");
        let statement = SqlStatement { verb: "SHOW".into(), ..SqlStatement::default() };
        assert_eq!(read_in(&Facts { fingerprint: "f".into(), sql: Ok(vec![statement]) }), "SHOW");
    }

    #[test]
    fn a_command_that_could_not_be_read_says_why() {
        let facts = Arc::new(Facts { fingerprint: String::new(), sql: Err("it nests too deeply".into()) });
        let told = story(&[at(1, Event::Command(CommandEvent { facts, ..command() }))]);
        assert!(told.contains("could not be read: it nests too deeply\n"), "{told}");
    }

    #[test]
    fn what_was_found_tells_whom_each_event_is_about() {
        let approval = |what: &'static str, via: &str| {
            Event::Approval(ApprovalEvent {
                subject: subject("s", "ann\n", "shop"),
                sequence: 7,
                approval: "k7wz".into(),
                what: what.into(),
                by: "bob".into(),
                reason: "nobody else is awake".into(),
                via: via.into(),
            })
        };
        let recording = Event::Recording(RecordingEvent {
            subject: subject("s", "ann", "shop"),
            state: "stopped".into(),
            file: "s.rec".into(),
            bytes: 10,
            sha256: "ab".into(),
            entries: 3,
            detail: "it is as large as it may be".into(),
        });
        let system =
            Event::System(SystemEvent { what: "reload".into(), by: "bob".into(), detail: "generation 2".into() });
        let events = [approval("broken-glass", "api"), approval("approved", "link bob-chat"), recording, system];
        let told = found(&events.map(|event| at(9, event)));
        let expected = "\
event 9 at 2023-11-14 22:13:20Z, ann\\n to shop, session s
  #7 approval k7wz BROKEN GLASS by bob via api: nobody else is awake
event 9 at 2023-11-14 22:13:20Z, ann\\n to shop, session s
  #7 approval k7wz approved by bob via link bob-chat: nobody else is awake
event 9 at 2023-11-14 22:13:20Z, ann to shop, session s
  recording stopped: it is as large as it may be
    s.rec, 3 entries, 10 bytes
    sha256 ab
event 9 at 2023-11-14 22:13:20Z
  gateway: reload by bob: generation 2
";
        assert_eq!(told, expected);
        assert_eq!(found(&[]), "no event was found\n");
    }
}
