//! `portcullis audit verify`: whether a log is what the gateway wrote.

mod recordings;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use portcullis_store::verify::{Problem, Report, Verifier};
use portcullis_store::{StoreError, verify_file};
use portcullis_verdict::Head;
use serde_json::json;

use super::log::{self, Junk, Line};
use crate::cli::Verify;
use crate::client::Client;
use crate::config::{from_hex, read_file};
use crate::show::{json_lines, safe};

use recordings::{Compared, Recordings};

/// Public keys are in a small file.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// The most lines of a file that are told to be none of an export; more are counted.
const MOST_JUNK: usize = 1000;

/// The most problems that are told in words.
const MOST_TOLD: usize = 20;

pub(super) fn verify(args: &Verify) -> anyhow::Result<ExitCode> {
    let keys = keys(&args.keys)?;
    let mut checked = match (&args.file, &args.store) {
        (Some(file), _) => of_file(file, args, &keys)?,
        (None, Some(store)) => of_store(store, args, &keys)?,
        (None, None) => of_gateway(args, &keys)?,
    };
    if args.allow_unsigned {
        checked.report.problems.retain(|problem| !matches!(problem, Problem::Unsigned { .. }));
    }
    if keys.is_empty() {
        eprintln!("{}", trusting(args));
    }
    let shown = if args.remote.json { checked.json() } else { checked.words() };
    std::io::stdout().write_all(shown.as_bytes())?;
    Ok(if checked.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whose word is taken where no key is given.
fn trusting(args: &Verify) -> &'static str {
    if args.file.is_some() || args.store.is_some() {
        "no key was given, so the one that the log names is trusted: whoever replaced the log may have signed it, too; give `--key`"
    } else {
        "no key was given, so the one that the gateway names is trusted, and with it the gateway; give `--key`"
    }
}

/// Public keys, each in hexadecimal or in a file with one or more.
fn keys(given: &[String]) -> anyhow::Result<Vec<String>> {
    let mut keys = Vec::new();
    for given in given {
        if from_hex(given).is_some() {
            keys.push(given.clone());
            continue;
        }
        let bytes = read_file(Path::new(given), MAX_KEY_BYTES).map_err(|why| anyhow::anyhow!("`--key`: {why}"))?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() || lines.iter().any(|line| from_hex(line).is_none()) {
            bail!(
                "`--key`: {given} does not hold public keys, each 64 hexadecimal digits on a line of its own, as in `audit.pub`"
            );
        }
        keys.extend(lines.into_iter().map(str::to_owned));
    }
    Ok(keys)
}

/// What was found in a log, and in what belongs to it.
#[derive(Default)]
struct Checked {
    report: Report,
    /// The last of the events that the log does not have any more, or 0.
    pruned: u64,
    recordings: Option<Compared>,
    /// What is wrong beside the chain.
    others: Vec<String>,
    /// What may help.
    hints: Vec<&'static str>,
}

/// A log that is checked as it is read.
struct Check {
    verifier: Verifier,
    recordings: Option<Recordings>,
    others: Vec<String>,
    junk: u64,
    /// Whether there was anything that could vouch for events.
    vouched: bool,
}

impl Check {
    /// What other places vouch for is taken at once: it is to be known before the events are.
    fn new(args: &Verify, keys: &[String], origin: Option<&Head>) -> anyhow::Result<Self> {
        let recordings = args.recordings.clone().map(Recordings::new).transpose()?;
        let elsewhere = args.checkpoints.as_deref().map(log::checkpoints).transpose()?;
        let mut verifier = Verifier::new(keys);
        verifier.begins_at(args.after.unwrap_or(0));
        if let Some(head) = origin {
            verifier.checkpoint(&head.origin);
        }
        elsewhere.iter().flatten().for_each(|checkpoint| verifier.checkpoint(checkpoint));
        Ok(Self { verifier, recordings, others: Vec::new(), junk: 0, vouched: origin.is_some() || elsewhere.is_some() })
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Event(event) => {
                self.verifier.event(&event);
                if let Some(recordings) = &mut self.recordings {
                    recordings.note(&event.stored);
                }
            }
            Line::Checkpoint(checkpoint) => {
                self.vouched = true;
                self.verifier.checkpoint(&checkpoint);
            }
        }
    }

    fn junk(&mut self, junk: &Junk) {
        self.junk += 1;
        if self.others.len() < MOST_JUNK {
            self.others.push(format!("{junk}; this is neither an event nor a checkpoint of an export"));
        }
    }

    fn finish(mut self) -> Checked {
        if self.junk > self.others.len() as u64 {
            self.others.push(format!("{} more lines are none of an export", self.junk - self.others.len() as u64));
        }
        let mut checked = Checked::new(self.verifier.finish(), self.recordings);
        checked.others.append(&mut self.others);
        if !self.vouched && checked.is_baseless() {
            // The likeliest of all.
            checked.hints.insert(0, "give the checkpoints with `--checkpoints`");
        }
        checked
    }
}

fn of_gateway(args: &Verify, keys: &[String]) -> anyhow::Result<Checked> {
    let client = Client::new(&args.remote.access)?;
    let head: Head = client.get("audit/head")?;
    let trusted = if keys.is_empty() { std::slice::from_ref(&head.public_key) } else { keys };
    let mut check = Check::new(args, trusted, Some(&head))?;
    log::of_gateway(&client, &head, 0, |line| {
        // It was taken before those from elsewhere.
        if !matches!(&line, Line::Checkpoint(checkpoint) if *checkpoint == head.origin) {
            check.take(line);
        }
        Ok(())
    })?;
    let mut checked = check.finish();
    checked.pruned = head.base;
    Ok(checked)
}

fn of_file(file: &Path, args: &Verify, keys: &[String]) -> anyhow::Result<Checked> {
    let mut check = Check::new(args, keys, None)?;
    log::of_file(file, |line| {
        match line {
            Ok(line) => check.take(line),
            Err(junk) if junk.number == 1 => {
                let ocsf = "; this looks like OCSF, which has no signatures: use the form jsonl";
                let hint = if junk.is_ocsf { ocsf } else { "" };
                bail!("{} is no export (`portcullis audit export` makes one){hint}", file.display());
            }
            Err(junk) => check.junk(&junk),
        }
        Ok(())
    })?;
    Ok(check.finish())
}

fn of_store(store: &Path, args: &Verify, keys: &[String]) -> anyhow::Result<Checked> {
    let elsewhere = args.checkpoints.as_deref().map(log::checkpoints).transpose()?;
    let mut recordings = args.recordings.clone().map(Recordings::new).transpose()?;
    let report = verify_file(store, keys, &elsewhere.unwrap_or_default(), |event| {
        if let Some(recordings) = &mut recordings {
            recordings.note(event);
        }
    });
    let report = report.map_err(|error| match error {
        StoreError::InUse { path } => {
            anyhow::anyhow!(
                "the store {} is open in a gateway; leave out `--store` to ask the running gateway",
                path.display()
            )
        }
        error => error.into(),
    })?;
    let mut checked = Checked::new(report, recordings);
    if !checked.is_baseless() {
        checked.pruned = checked.report.first.saturating_sub(1);
    }
    Ok(checked)
}

impl Checked {
    fn new(report: Report, recordings: Option<Recordings>) -> Self {
        let mut checked = Self { report, ..Self::default() };
        if let Some(compared) = recordings.map(Recordings::compare) {
            checked.others.extend(compared.problems.iter().cloned());
            checked.recordings = Some(compared);
        }
        let untrusted = |problem: &Problem| matches!(problem, Problem::Untrusted(..));
        if checked.report.checkpoints > 0 && checked.report.problems.iter().any(untrusted) {
            let hint = "if the gateway's key was changed, give each with `--key`, or `--key audit.pub`, which holds all of them";
            checked.hints.push(hint);
        }
        if checked.report.problems.iter().any(|problem| matches!(problem, Problem::Headless { .. })) {
            checked.hints.push("if this is a part of a log on purpose, say behind which event with `--after`");
        }
        if checked.report.problems.iter().any(|problem| matches!(problem, Problem::Unsigned { .. })) {
            checked.hints.push("if a gateway crashed or still writes there, its next start or checkpoint signs them: `--allow-unsigned`");
        }
        checked
    }

    fn is_good(&self) -> bool {
        self.report.problems.is_empty() && self.report.more == 0 && self.others.is_empty()
    }

    /// Whether the log begins with an event that nothing vouches for.
    fn is_baseless(&self) -> bool {
        self.report.problems.iter().any(|problem| matches!(problem, Problem::Baseless(_)))
    }

    /// What is told in words: checkpoints that are all by another key are one problem, not many.
    fn told(&self) -> Vec<String> {
        let (mut foreign, mut told): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
        let alone = self.is_foreign();
        for problem in &self.report.problems {
            match problem {
                Problem::Untrusted(_, key) if alone => {
                    if !foreign.contains(&key.as_str()) {
                        foreign.push(key);
                    }
                }
                problem => told.push(problem.to_string()),
            }
        }
        if !foreign.is_empty() {
            let (shown, more) = foreign.split_at(foreign.len().min(3));
            let more = if more.is_empty() { String::new() } else { format!(" and {} others", more.len()) };
            told.insert(
                0,
                format!("the checkpoints are by {}{more}: is that the right gateway and key?", shown.join(", ")),
            );
        }
        told.extend(self.others.iter().cloned());
        told
    }

    /// Whether no checkpoint at all is by a key that is trusted.
    fn is_foreign(&self) -> bool {
        let trusted = |problem: &Problem| {
            matches!(
                problem,
                Problem::Contradicted { .. } | Problem::Cut { .. } | Problem::Forged(_) | Problem::OtherLog(_)
            )
        };
        self.report.checkpoints == 0 && !self.report.problems.iter().any(trusted)
    }

    fn words(&self) -> String {
        let Report { first, last, signed_to, checkpoints, keys, more, .. } = &self.report;
        let mut out = String::new();
        let mut line = |name: &str, text: String| out.push_str(&format!("{name:<13}{}\n", safe(&text)));
        match first {
            0 => line("events", "none".into()),
            first => line("events", format!("{first} to {last}")),
        }
        if self.pruned > 0 {
            line("pruned", format!("events 1 to {} were removed", self.pruned));
        }
        line("checkpoints", format!("{checkpoints} hold"));
        line("signed", if *signed_to == 0 { "nothing".into() } else { format!("up to event {signed_to}") });
        if *first != 0 && signed_to < last {
            line(
                "",
                format!("events {} to {last} are chained, and nobody has signed them yet", (signed_to + 1).max(*first)),
            );
        }
        if let Some(Compared { hold, unknown, .. }) = &self.recordings {
            line("recordings", format!("{hold} hold, {unknown} in the directory are unknown to the log"));
        }
        line("key", keys.first().cloned().unwrap_or_else(|| "none".into()));
        keys.iter().skip(1).for_each(|key| line("", key.clone()));
        let told = self.told();
        let all = told.len() as u64 + more;
        line("problems", if all == 0 { "none".into() } else { all.to_string() });
        told.iter().take(MOST_TOLD).for_each(|problem| out.push_str(&format!("  {}\n", safe(problem))));
        if all > MOST_TOLD as u64 {
            out.push_str(&format!("  and {} more\n", all - MOST_TOLD as u64));
        }
        self.hints.iter().for_each(|hint| out.push_str(&format!("{:<13}{hint}\n", "hint")));
        out
    }

    /// The report as it is, with every problem that was kept.
    fn json(&self) -> String {
        let Report { first, last, signed_to, checkpoints, keys, problems, more } = &self.report;
        let problems: Vec<String> =
            problems.iter().map(ToString::to_string).chain(self.others.iter().cloned()).collect();
        let recordings =
            self.recordings.as_ref().map(|Compared { hold, unknown, .. }| json!({ "hold": hold, "unknown": unknown }));
        let shown = json!({
            "first": first, "last": last, "pruned": self.pruned, "signed_to": signed_to, "checkpoints": checkpoints,
            "keys": keys, "recordings": recordings, "problems": problems, "more_problems": more, "hints": self.hints,
        });
        json_lines(&format!("{shown:#}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::checkpoint;
    use super::*;

    const KEY: &str = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

    #[test]
    fn keys_are_given_in_hexadecimal_or_in_files() {
        let path = crate::config::scratch("key").join("audit.pub");
        let other = KEY.replace('1', "2");
        std::fs::write(&path, format!("{KEY}\n{other}\n")).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let read = |given: &str| keys(&[given.to_owned()]);
        assert_eq!(read(KEY).unwrap(), [KEY]);
        assert_eq!(keys(&[path.clone(), KEY.into()]).unwrap(), [KEY, &other, KEY]);
        for junk in ["", "\n", "-----BEGIN PRIVATE KEY-----", &format!("{KEY}\n{KEY} \u{e9}\n")] {
            std::fs::write(&path, junk).unwrap();
            assert!(read(&path).unwrap_err().to_string().contains("does not hold public keys"), "{junk}");
        }
        assert!(read("nowhere").unwrap_err().to_string().contains("no such file"));
    }

    fn args(file: &Path) -> Verify {
        use clap::Parser;
        #[derive(Parser)]
        struct Only {
            #[command(flatten)]
            verify: Verify,
        }
        Only::parse_from([Path::new("verify"), file]).verify
    }

    #[test]
    fn what_is_no_export_is_one_error() {
        let path = crate::config::scratch("no-export").join("audit.jsonl");
        for (text, expected) in [
            ("hello\nworld\n", "audit.jsonl is no export (`portcullis audit export` makes one)"),
            ("{\"class_uid\":3002}\n", "use the form jsonl"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = of_file(&path, &args(&path), &[]).err().unwrap().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
        let line = portcullis_deliver::checkpoint_line(&checkpoint(0));
        std::fs::write(&path, format!("{line}\n{{\n")).unwrap();
        let checked = of_file(&path, &args(&path), &[]).unwrap();
        assert!(
            checked.others[0].starts_with("line 2: EOF while parsing an object; this is neither"),
            "{:?}",
            checked.others
        );
    }

    #[test]
    fn what_was_found_is_told_with_every_problem() {
        let keys = vec!["k".to_owned(), "l".to_owned()];
        let report = Report { first: 4, last: 9, signed_to: 7, checkpoints: 2, keys, ..Report::default() };
        let compared = Compared { hold: 2, unknown: 1, problems: Vec::new() };
        let good = Checked { report, pruned: 3, recordings: Some(compared), ..Checked::default() };
        let expected = "\
events       4 to 9
pruned       events 1 to 3 were removed
checkpoints  2 hold
signed       up to event 7
             events 8 to 9 are chained, and nobody has signed them yet
recordings   2 hold, 1 in the directory are unknown to the log
key          k
             l
problems     none
";
        assert_eq!((good.words().as_str(), good.is_good()), (expected, true));
        let bad = Checked { others: vec!["event 5: the recording \u{202e} is missing".into()], ..good };
        assert!(
            bad.words().ends_with("problems     1\n  event 5: the recording \\u{202e} is missing\n"),
            "{}",
            bad.words()
        );
        assert!(!bad.is_good() && bad.json().contains("the recording \\u202e is missing"), "{}", bad.json());
    }

    #[test]
    fn many_problems_are_counted_and_all_are_in_the_json() {
        let problems = (1..=30).map(Problem::Changed).collect();
        let checked = Checked { report: Report { problems, more: 5, ..Report::default() }, ..Checked::default() };
        let words = checked.words();
        assert!(words.contains("problems     35\n  event 1 ") && words.ends_with("\n  and 15 more\n"), "{words}");
        assert!(!words.contains("event 21 ") && checked.json().contains("event 30 "), "{words}");
    }

    #[test]
    fn checkpoints_that_are_all_by_another_key_are_one_problem() {
        let untrusted = |number| Problem::Untrusted(number, "k".into());
        let report = |checkpoints| {
            let problems = vec![untrusted(0), Problem::Baseless(1), untrusted(5)];
            Checked::new(Report { first: 1, last: 9, checkpoints, problems, ..Report::default() }, None)
        };
        let (foreign, mixed) = (report(0), report(1));
        assert_eq!(foreign.told().len(), 2);
        assert_eq!(foreign.told()[0], "the checkpoints are by k: is that the right gateway and key?");
        assert_eq!(mixed.told().len(), 3);
        assert!(foreign.hints.is_empty() && mixed.words().ends_with("which holds all of them\n"), "{}", mixed.words());
    }

    #[test]
    fn events_without_checkpoints_are_told_where_those_belong() {
        let dir = crate::config::scratch("events-only");
        let (path, elsewhere) = (dir.join("events.jsonl"), dir.join("checkpoints.jsonl"));
        let event = r#"{"type":"event","number":1,"at_ms":1,"event":{"Close":{"subject":{"session":"s","principal":"p","target":"t"},"reason":"r"}},"encoded":"AA==","hash":"00"}"#;
        std::fs::write(&path, event).unwrap();
        let checked = of_file(&path, &args(&path), &[]).unwrap();
        assert!(
            checked.is_baseless()
                && checked.words().contains("\nhint         give the checkpoints with `--checkpoints`\n"),
            "{}",
            checked.words()
        );
        std::fs::write(&elsewhere, portcullis_deliver::checkpoint_line(&checkpoint(0))).unwrap();
        let args = Verify { checkpoints: Some(elsewhere), ..args(&path) };
        assert!(!of_file(&path, &args, &[]).unwrap().hints.iter().any(|hint| hint.contains("`--checkpoints`")));
    }
}
