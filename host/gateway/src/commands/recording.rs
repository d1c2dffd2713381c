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
use portcullis_verdict::RecordLevel;

use super::output;
use crate::cli::{Access, RecordingFormat, Replay};
use crate::client::{Client, segment};
use crate::password::random;
use crate::show::{reasons, safe};
use crate::time;

/// Shows a recording as it happened.
pub(super) fn replay(replay: Replay) -> anyhow::Result<ExitCode> {
    let mut reader = Reader::new(open(&replay.recording, &replay.access)?)?;
    eprintln!("{}", about(reader.header()));
    let Replay { speed, max_idle, from, search, .. } = replay;
    let cut = play(&mut reader, Play { speed, max_idle, from, search }, &mut std::io::stdout().lock())?;
    Ok(ended(&reader, cut))
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
    let mut reader = Reader::new(open(recording, access)?)?;
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
    Ok(ended(&reader, cut))
}

/// What a recording is of.
fn about(header: &Header) -> String {
    let Header { subject, protocol, medium: _, level, started_ms } = header;
    let level = if *level == RecordLevel::Results { "commands and results" } else { "commands, and no results" };
    let (session, principal, target) = (safe(&subject.session), safe(&subject.principal), safe(&subject.target));
    let (protocol, began) = (safe(protocol), time::shown(*started_ms));
    format!("session {session}: {principal} to {target} over {protocol} from {began}; {level}")
}

/// Tells how a recording ended. One that is not whole is a failure, although all of it was shown.
fn ended<R: Read>(reader: &Reader<R>, cut: Option<ReadError>) -> ExitCode {
    let (whole, told) = match (reader.closing().map(|closing| closing.reason), cut) {
        (_, Some(error @ ReadError::Cut { .. })) => {
            (false, format!("{error}: it is still under way, or a crash or a full disk has cut it"))
        }
        (_, Some(error)) => (false, reasons(&error.into())),
        (Some(ClosingReason::Session), None) => (true, "the session ended here".into()),
        (Some(ClosingReason::Shutdown), None) => (true, "the gateway stopped here".into()),
        (Some(ClosingReason::Limit), None) => {
            (false, "the recording reached its limit here; `sessions show` tells how the session went on".into())
        }
        (None, None) => (false, "the recording has no end".into()),
    };
    eprintln!("{}{}", if whole { "" } else { "NOT WHOLE: " }, safe(&told));
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The file of a recording: the one with this name, or else that of this session, from the gateway.
fn open(recording: &str, access: &Access) -> anyhow::Result<File> {
    let path = Path::new(recording);
    if path.exists() {
        return File::open(path).with_context(|| format!("{} cannot be read", path.display()));
    }
    let Ok(id) = segment(recording) else {
        bail!("`{}` is neither a file nor the identifier of a session", safe(recording));
    };
    let client = Client::new(access)?;
    // A replay takes as long as the session did; the gateway is not kept waiting for that.
    let mut file = temporary().context("no temporary file can be made for the recording")?;
    client.download(&format!("sessions/{id}/recording"), &mut file)?;
    file.rewind()?;
    Ok(file)
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
        let error = open("./nowhere.recording", &access).unwrap_err().to_string();
        assert!(error.contains("neither a file nor the identifier"), "{error}");
    }
}
