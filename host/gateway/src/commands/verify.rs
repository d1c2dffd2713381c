//! `portcullis audit verify`: whether a log is what the gateway wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use portcullis_store::verify::{Report, Verifier};
use portcullis_store::verify_file;
use portcullis_verdict::{Event, Head, RecordingEvent, StoredEvent};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::log::{self, Line};
use crate::cli::Verify;
use crate::client::Client;
use crate::config::{from_hex, read_file};
use crate::show::{json_lines, safe};

/// A public key is in a small file.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// The most lines of a file that are told to be none of an export; more are counted.
const MOST_JUNK: usize = 1000;

pub(super) fn verify(args: &Verify) -> anyhow::Result<ExitCode> {
    let key = args.key.as_deref().map(key).transpose()?;
    let checked = match (&args.file, &args.store) {
        (Some(file), _) => of_file(file, args, key.as_deref())?,
        (None, Some(store)) => of_store(store, args, key.as_deref())?,
        (None, None) => of_gateway(args, key.as_deref())?,
    };
    if key.is_none() {
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

/// A public key in hexadecimal, or in a file.
fn key(given: &str) -> anyhow::Result<String> {
    if from_hex(given).is_some() {
        return Ok(given.to_owned());
    }
    let bytes = read_file(Path::new(given), MAX_KEY_BYTES).map_err(|why| anyhow::anyhow!("`--key`: {why}"))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    match text.trim() {
        key if from_hex(key).is_some() => Ok(key.to_owned()),
        _ => {
            bail!("`--key`: {given} holds no public key of 64 hexadecimal digits, as `portcullis audit key` prints it")
        }
    }
}

/// What was found in a log, and in what belongs to it.
struct Checked {
    report: Report,
    /// What is wrong beside the chain.
    others: Vec<String>,
}

/// A log that is checked as it is read.
struct Check {
    verifier: Verifier,
    recordings: Option<Recordings>,
    others: Vec<String>,
    junk: u64,
}

impl Check {
    fn new(args: &Verify, key: Option<&str>) -> anyhow::Result<Self> {
        let recordings = args.recordings.clone().map(Recordings::new).transpose()?;
        Ok(Self { verifier: Verifier::new(key), recordings, others: Vec::new(), junk: 0 })
    }

    /// Takes what other places vouch for. It is to be known before the events are.
    fn elsewhere(&mut self, args: &Verify) -> anyhow::Result<()> {
        let elsewhere = args.checkpoints.as_deref().map(log::checkpoints).transpose()?;
        elsewhere.iter().flatten().for_each(|checkpoint| self.verifier.checkpoint(checkpoint));
        Ok(())
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Event(event) => {
                self.verifier.event(&event);
                if let Some(recordings) = &mut self.recordings {
                    recordings.note(&event.stored);
                }
            }
            Line::Checkpoint(checkpoint) => self.verifier.checkpoint(&checkpoint),
        }
    }

    fn junk(&mut self, why: String) {
        self.junk += 1;
        if self.others.len() < MOST_JUNK {
            self.others.push(format!("{why}; this is neither an event nor a checkpoint of an export"));
        }
    }

    fn finish(mut self) -> anyhow::Result<Checked> {
        if self.junk > self.others.len() as u64 {
            self.others.push(format!("{} more lines are none of an export", self.junk - self.others.len() as u64));
        }
        if let Some(recordings) = self.recordings {
            self.others.extend(recordings.problems());
        }
        Ok(Checked { report: self.verifier.finish(), others: self.others })
    }
}

fn of_gateway(args: &Verify, key: Option<&str>) -> anyhow::Result<Checked> {
    let client = Client::new(&args.remote.access)?;
    let head: Head = client.get("audit/head")?;
    let mut check = Check::new(args, Some(key.unwrap_or(&head.public_key)))?;
    check.verifier.checkpoint(&head.origin);
    check.elsewhere(args)?;
    log::of_gateway(&client, &head, 0, |line| {
        check.take(line);
        Ok(())
    })?;
    check.finish()
}

fn of_file(file: &Path, args: &Verify, key: Option<&str>) -> anyhow::Result<Checked> {
    let mut check = Check::new(args, key)?;
    check.elsewhere(args)?;
    log::of_file(file, |_, line| {
        match line {
            Ok(line) => check.take(line),
            Err(why) => check.junk(why),
        }
        Ok(())
    })?;
    check.finish()
}

fn of_store(store: &Path, args: &Verify, key: Option<&str>) -> anyhow::Result<Checked> {
    let elsewhere = args.checkpoints.as_deref().map(log::checkpoints).transpose()?;
    let mut recordings = args.recordings.clone().map(Recordings::new).transpose()?;
    let report = verify_file(store, key, &elsewhere.unwrap_or_default(), |event| {
        if let Some(recordings) = &mut recordings {
            recordings.note(event);
        }
    })?;
    Ok(Checked { report, others: recordings.map(Recordings::problems).unwrap_or_default() })
}

impl Checked {
    fn is_good(&self) -> bool {
        self.report.problems.is_empty() && self.report.more == 0 && self.others.is_empty()
    }

    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.report.problems.iter().map(ToString::to_string).collect();
        if self.report.more > 0 {
            problems.push(format!("{} more of the kind are not listed", self.report.more));
        }
        problems.extend(self.others.iter().cloned());
        problems
    }

    fn words(&self) -> String {
        let Report { first, last, signed_to, checkpoints, key, .. } = &self.report;
        let mut out = String::new();
        let mut line = |name: &str, text: String| out.push_str(&format!("{name:<13}{}\n", safe(&text)));
        match first {
            0 => line("events", "none".into()),
            first => line("events", format!("{first} to {last}")),
        }
        line("checkpoints", format!("{checkpoints} hold"));
        line("signed", if *signed_to == 0 { "nothing".into() } else { format!("up to event {signed_to}") });
        if *first != 0 && signed_to < last {
            line(
                "",
                format!("events {} to {last} are chained, and nobody has signed them yet", (signed_to + 1).max(*first)),
            );
        }
        line("key", key.clone().unwrap_or_else(|| "none".into()));
        let problems = self.problems();
        line("problems", if problems.is_empty() { "none".into() } else { problems.len().to_string() });
        problems.iter().for_each(|problem| out.push_str(&format!("  {}\n", safe(problem))));
        out
    }

    fn json(&self) -> String {
        let Report { first, last, signed_to, checkpoints, key, .. } = &self.report;
        let shown = json!({
            "first": first, "last": last, "signed_to": signed_to, "checkpoints": checkpoints, "key": key,
            "problems": self.problems(),
        });
        json_lines(&format!("{shown:#}\n"))
    }
}

/// What the log says of recordings, to be compared with the files.
struct Recordings {
    dir: PathBuf,
    /// By file: the event that tells its SHA-256, and that.
    known: BTreeMap<String, (u64, String)>,
}

impl Recordings {
    fn new(dir: PathBuf) -> anyhow::Result<Self> {
        if !dir.is_dir() {
            bail!("`--recordings` {} is no directory", dir.display());
        }
        Ok(Self { dir, known: BTreeMap::new() })
    }

    fn note(&mut self, stored: &StoredEvent) {
        let Event::Recording(RecordingEvent { state, file, sha256, .. }) = &stored.event else { return };
        if state == "pruned" {
            self.known.remove(file);
        } else if !sha256.is_empty() {
            self.known.insert(file.clone(), (stored.number, sha256.clone()));
        }
    }

    fn problems(self) -> Vec<String> {
        let mut problems = Vec::new();
        for (file, (number, sha256)) in &self.known {
            // A forged event must not make this program read elsewhere.
            if !Path::new(file).components().all(|part| matches!(part, Component::Normal(_))) {
                problems.push(format!("event {number}: the recording {file} is outside of the directory"));
                continue;
            }
            match digest(&self.dir.join(file)) {
                Ok(found) if found == *sha256 => {}
                Ok(found) => problems.push(format!(
                    "event {number}: the recording {file} was changed: its SHA-256 is {found}, and the log says {sha256}"
                )),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    problems.push(format!("event {number}: the recording {file} is missing"));
                }
                Err(error) => problems.push(format!("event {number}: the recording {file} cannot be read: {error}")),
            }
        }
        problems
    }
}

fn digest(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 128 << 10];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    Ok(portcullis_verdict::text::hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(number: u64, state: &'static str, file: &str, sha256: &str) -> StoredEvent {
        let event = Event::Recording(RecordingEvent {
            subject: Default::default(),
            state: state.into(),
            file: file.into(),
            bytes: 3,
            sha256: sha256.into(),
            entries: 1,
            detail: String::new(),
        });
        StoredEvent { number, at_ms: 1, event }
    }

    #[test]
    fn recordings_are_what_the_log_says_they_are() {
        // The SHA-256 of `abc`: FIPS 180-4.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let dir = crate::config::scratch("recordings");
        std::fs::create_dir(dir.join("day")).unwrap();
        for (file, text) in [("day/good", "abc"), ("day/changed", "abd")] {
            std::fs::write(dir.join(file), text).unwrap();
        }
        let mut recordings = Recordings::new(dir).unwrap();
        for event in [
            recording(1, "started", "day/running", ""),
            recording(2, "ended", "day/good", abc),
            recording(3, "stopped", "day/changed", abc),
            recording(4, "ended", "day/gone", abc),
            recording(5, "ended", "day/pruned", abc),
            recording(6, "pruned", "day/pruned", abc),
            recording(7, "ended", "../secret", abc),
            recording(8, "ended", "/etc/passwd", abc),
        ] {
            recordings.note(&event);
        }
        let problems = recordings.problems();
        let expected =
            ["../secret is outside", "/etc/passwd is outside", "day/changed was changed", "day/gone is missing"];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        problems.iter().zip(expected).for_each(|(problem, part)| assert!(problem.contains(part), "{problem}"));
    }

    #[test]
    fn a_key_is_given_in_hexadecimal_or_in_a_file() {
        let hex = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        let path = crate::config::scratch("key").join("audit.pub");
        std::fs::write(&path, format!("{hex}\n")).unwrap();
        assert_eq!(key(hex).unwrap(), hex);
        assert_eq!(key(path.to_str().unwrap()).unwrap(), hex);
        std::fs::write(&path, "-----BEGIN PRIVATE KEY-----").unwrap();
        assert!(key(path.to_str().unwrap()).unwrap_err().to_string().contains("no public key"));
        assert!(key("nowhere").unwrap_err().to_string().contains("no such file"));
    }

    #[test]
    fn what_was_found_is_told_with_every_problem() {
        let report =
            Report { first: 4, last: 9, signed_to: 7, checkpoints: 2, key: Some("k".into()), ..Report::default() };
        let good = Checked { report, others: Vec::new() };
        let expected = "\
events       4 to 9
checkpoints  2 hold
signed       up to event 7
             events 8 to 9 are chained, and nobody has signed them yet
key          k
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
}
