//! `portcullis sessions replay` and `export`: recordings, from the gateway or from a file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use portcullis_recording::format::{ClosingReason, Header};
use portcullis_recording::replay::{CastVersion, ExportError, Play, Player, Renderer, asciicast, json_lines};
use portcullis_recording::{ReadError, Reader};
use portcullis_verdict::{Event, LiveSession, RecordLevel, StoredEvent};

use super::output;
use crate::cli::{Access, RecordingFormat, Replay};
use crate::client::{Client, Refusal, segment};
use crate::password::random;
use crate::show::{reasons, safe};
use crate::time;

/// Shows a recording as it happened.
pub(super) fn replay(replay: Replay) -> anyhow::Result<ExitCode> {
    let Opened { file, under_way } = open(&replay.recording, &replay.access)?;
    let Some(mut reader) = begun(file, under_way.as_deref())? else { return Ok(ExitCode::SUCCESS) };
    eprintln!("{}", about(reader.header()));
    let Replay { speed, max_idle, from, search, .. } = replay;
    let mut out = std::io::stdout().lock();
    let cut = play(&mut reader, Play { speed, max_idle, from, search }, &mut out)?;
    let end = End::of(&reader, cut, under_way.as_deref());
    if let End::Whole(how) = &end {
        // It belongs behind what was shown.
        writeln!(out, "{how}")?;
    }
    Ok(end.tell())
}

fn play<R: Read>(reader: &mut Reader<R>, play: Play, out: &mut impl Write) -> anyhow::Result<Option<ReadError>> {
    let (subject, searched) = (&reader.header().subject, play.search.is_some());
    let renderer = Renderer::new(&subject.principal, &subject.target);
    let (mut player, mut cut) = (Player::new(&mut *reader, renderer, play), None);
    for piece in &mut player {
        match piece {
            Ok(piece) => {
                std::thread::sleep(piece.delay);
                out.write_all(&piece.text)?;
                out.flush()?;
            }
            Err(error) => cut = Some(error),
        }
    }
    if !player.found() {
        let (what, entries) =
            (if searched { "entry holds that text" } else { "entry is left to show" }, reader.entries());
        eprintln!("no {what}; the recording has {entries} entries");
    }
    Ok(cut)
}

/// Writes a recording in the form of other programs.
pub(super) fn export(
    recording: &str,
    format: RecordingFormat,
    to: Option<&Path>,
    access: &Access,
) -> anyhow::Result<ExitCode> {
    let mut out = output(to)?;
    let Opened { file, under_way } = open(recording, access)?;
    let Some(mut reader) = begun(file, under_way.as_deref())? else { return Ok(ExitCode::SUCCESS) };
    let written = match format {
        RecordingFormat::Asciicast => asciicast(&mut reader, CastVersion::V3, &mut out),
        RecordingFormat::AsciicastV2 => asciicast(&mut reader, CastVersion::V2, &mut out),
        RecordingFormat::Jsonl => json_lines(&mut reader, &mut out),
    };
    let cut = match written {
        Ok(()) => None,
        Err(ExportError::Read(error)) => Some(error),
        // As it is: the reader of a pipe may have left.
        Err(ExportError::Write(error)) => return Err(error.into()),
    };
    out.flush()?;
    Ok(End::of(&reader, cut, under_way.as_deref()).tell())
}

/// Reads a recording's beginning; none where the session is under way and not even that is written.
fn begun(file: File, under_way: Option<&str>) -> anyhow::Result<Option<Reader<File>>> {
    match (Reader::new(file), under_way) {
        (Err(ReadError::Cut { .. }), Some(session)) => {
            End::UnderWay(session).tell();
            Ok(None)
        }
        (read, _) => Ok(Some(read?)),
    }
}

/// What a recording is of.
fn about(header: &Header) -> String {
    let Header { subject, protocol, medium: _, level, started_ms } = header;
    let level = if *level == RecordLevel::Results { "commands and results" } else { "commands, and no results" };
    let (session, principal, target) = (safe(&subject.session), safe(&subject.principal), safe(&subject.target));
    let (protocol, began) = (safe(protocol), time::shown(*started_ms));
    format!("session {session}: {principal} to {target} over {protocol} from {began}; {level}")
}

/// How a recording ends.
#[derive(Debug, PartialEq)]
enum End<'a> {
    Whole(&'static str),
    /// This session is still open.
    UnderWay(&'a str),
    NotWhole(String),
}

impl<'a> End<'a> {
    fn of<R: Read>(reader: &Reader<R>, cut: Option<ReadError>, under_way: Option<&'a str>) -> Self {
        match (reader.closing().map(|closing| closing.reason), cut, under_way) {
            (_, Some(ReadError::Cut { .. }), Some(session)) => Self::UnderWay(session),
            (_, Some(error @ ReadError::Cut { .. }), None) => {
                Self::NotWhole(format!("{error}: it is still under way, or a crash or a full disk has cut it"))
            }
            (_, Some(error), _) => Self::NotWhole(reasons(&error.into())),
            (Some(ClosingReason::Session), None, _) => Self::Whole("the session ended here"),
            (Some(ClosingReason::Shutdown), None, _) => Self::Whole("the gateway stopped here"),
            (Some(ClosingReason::Limit), None, _) => {
                let why = "the recording reached its limit here; `sessions show` tells how the session went on";
                Self::NotWhole(why.into())
            }
            (None, None, _) => Self::NotWhole("the recording has no end".into()),
        }
    }

    /// Tells what is missing. A recording that is not whole is a failure, although all that there is was shown.
    fn tell(&self) -> ExitCode {
        match self {
            Self::Whole(_) => ExitCode::SUCCESS,
            Self::UnderWay(session) => {
                let session = safe(session);
                eprintln!("the session is still under way; `portcullis sessions watch {session}` shows how it goes on");
                ExitCode::SUCCESS
            }
            Self::NotWhole(why) => {
                eprintln!("NOT WHOLE: {}", safe(why));
                ExitCode::FAILURE
            }
        }
    }
}

/// A recording's file.
struct Opened {
    file: File,
    /// The session, if it was still open when the recording was fetched.
    under_way: Option<String>,
}

/// The file of a recording: the one with this name, or else that of this session, from the gateway.
fn open(recording: &str, access: &Access) -> anyhow::Result<Opened> {
    let path = Path::new(recording);
    if path.exists() {
        let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        return Ok(Opened { file, under_way: None });
    }
    let Ok(id) = segment(recording) else {
        bail!("`{}` is neither a file nor the identifier of a session", safe(recording));
    };
    fetch(&Client::new(access)?, id)
}

fn fetch(client: &Client, id: &str) -> anyhow::Result<Opened> {
    // Asked first: a session that ends meanwhile has a recording with an end.
    let mut live = client.items::<LiveSession>("sessions", &[], None, usize::MAX);
    let session = live.find(|session| session.as_ref().map_or(true, |session| session.id == id)).transpose()?;
    // A replay takes as long as the session did; the gateway is not kept waiting for that.
    let mut file = temporary().context("no temporary file can be made for the recording")?;
    client.download(&format!("sessions/{id}/recording"), &mut file).map_err(|error| missing(client, id, error))?;
    file.rewind()?;
    Ok(Opened { file, under_way: session.map(|session| session.id) })
}

/// Why a session has no recording.
fn missing(client: &Client, id: &str, error: anyhow::Error) -> anyhow::Error {
    if error.downcast_ref::<Refusal>().is_none_or(|refusal| refusal.status != 404) {
        return error;
    }
    let kept = [("session", id.to_owned()), ("kind", "recording".to_owned())];
    // The newest is what has become of it.
    match client.items::<StoredEvent>("audit/events", &kept, None, 1).next() {
        Some(Ok(StoredEvent { event: Event::Recording(last), .. })) => {
            let detail = if last.detail.is_empty() { String::new() } else { format!(": {}", last.detail) };
            return anyhow::anyhow!("the recording of this session is not there: it is {}{detail}", last.state);
        }
        Some(Err(error)) => return error,
        _ => {}
    }
    // Says itself that there is no such session.
    match client.items::<StoredEvent>(&format!("sessions/{id}/events"), &[], None, 1).next() {
        Some(Err(error)) => error,
        _ => anyhow::anyhow!(
            "this session was not recorded: set `record = \"results\"` at its target; it holds for new sessions"
        ),
    }
}

/// A file of this process alone, which is gone when it is closed.
fn temporary() -> anyhow::Result<File> {
    let name: String = random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = std::env::temp_dir().join(format!("portcullis-{name}"));
    let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::tests::{answer, scripted};

    #[test]
    fn a_temporary_file_has_no_name_that_others_could_open() {
        use std::os::unix::fs::MetadataExt;
        let mut file = temporary().unwrap();
        file.write_all(b"abc").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), file.metadata().unwrap().nlink()), ("abc", 0));
    }

    #[test]
    fn what_is_no_file_and_no_session_is_refused_without_asking_anybody() {
        let access = Access { admin: "127.0.0.1:1".into(), token_file: None, ca: None };
        let error = open("./nowhere.recording", &access).err().unwrap().to_string();
        assert!(error.contains("neither a file nor the identifier"), "{error}");
    }

    #[test]
    fn a_recording_that_is_not_there_is_told_with_the_reason() {
        let none = || answer("404 Not Found", r#"{"detail":"this session has no recording"}"#);
        let page = |items: &str| answer("200 OK", &format!("{{\"items\":[{items}],\"next\":null}}"));
        let subject = r#""subject":{"session":"s","principal":"p","target":"t"}"#;
        let close = format!(r#"{{"number":1,"at_ms":1,"event":{{"Close":{{{subject},"reason":"r"}}}}}}"#);
        let pruned = format!(
            r#"{{"number":2,"at_ms":1,"event":{{"Recording":{{{subject},"state":"pruned","file":"f","bytes":1,"sha256":"","entries":1,"detail":"its time was over"}}}}}}"#
        );
        let unknown = answer("404 Not Found", r#"{"detail":"there is no such session"}"#);
        for (answers, expected) in [
            (vec![page(""), none(), page(""), unknown], "there is no such session"),
            (vec![page(""), none(), page(""), page(&close)], "this session was not recorded: set `record = "),
            (vec![page(""), none(), page(&pruned)], "is not there: it is pruned: its time was over"),
        ] {
            let (client, server) = scripted(answers);
            let error = fetch(&client, "s").err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
            server.join().unwrap();
        }
    }

    #[test]
    fn a_session_that_is_open_has_no_end_and_that_is_no_failure() {
        let live = r#"{"id":"s","principal":"p","target":"t","protocol":"postgres","client_address":"::1","opened_ms":1,"commands":0}"#;
        let page = answer("200 OK", &format!("{{\"items\":[{live}],\"next\":null}}"));
        let (client, server) = scripted(vec![page, answer("200 OK", "")]);
        let Opened { file, under_way } = fetch(&client, "s").unwrap();
        server.join().unwrap();
        assert_eq!(under_way.as_deref(), Some("s"));
        // Nothing of it is written yet.
        assert!(begun(file.try_clone().unwrap(), Some("s")).unwrap().is_none());
        assert!(begun(file, None).is_err());
    }
}
