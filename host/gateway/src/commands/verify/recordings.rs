//! Recordings, compared with what the log says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::bail;
use portcullis_verdict::{Event, RecordingEvent, StoredEvent};
use sha2::{Digest, Sha256};

/// What is at the end of a file's name while its recording is under way.
const PART: &str = ".part";

/// What the log says of recordings, to be compared with the files.
pub(super) struct Recordings {
    dir: PathBuf,
    /// Those that the log names.
    begun: BTreeSet<String>,
    /// By file: the event that tells its SHA-256, and that.
    ended: BTreeMap<String, (u64, String)>,
}

/// What came of it.
pub(super) struct Compared {
    /// Files that are what the log says.
    pub(super) hold: usize,
    /// Files that the log does not name. It may have been pruned earlier than they.
    pub(super) unknown: usize,
    pub(super) problems: Vec<String>,
}

impl Recordings {
    pub(super) fn new(dir: PathBuf) -> anyhow::Result<Self> {
        if !dir.is_dir() {
            bail!("`--recordings` {} is no directory", dir.display());
        }
        Ok(Self { dir, begun: BTreeSet::new(), ended: BTreeMap::new() })
    }

    pub(super) fn note(&mut self, stored: &StoredEvent) {
        let Event::Recording(RecordingEvent { state, file, sha256, .. }) = &stored.event else { return };
        if state == "pruned" {
            self.begun.remove(file);
            self.ended.remove(file);
            return;
        }
        self.begun.insert(file.clone());
        if !sha256.is_empty() {
            self.ended.insert(file.clone(), (stored.number, sha256.clone()));
        }
    }

    pub(super) fn compare(self) -> Compared {
        let (mut problems, all) = (Vec::new(), self.ended.len());
        for (file, (number, sha256)) in &self.ended {
            if let Err(why) = self.check(file, sha256) {
                problems.push(format!("event {number}: the recording {file} {why}"));
            }
        }
        let hold = all - problems.len();
        for file in self.begun.iter().filter(|file| !self.ended.contains_key(*file)) {
            let part = self.dir.join(format!("{file}{PART}"));
            if self.is_inside(file) && !part.exists() && !self.dir.join(file).exists() {
                problems.push(format!("the recording {file} was begun, never ended, and is missing"));
            }
        }
        let unknown = self.unknown().unwrap_or_else(|error| {
            problems.push(format!("the directory {} cannot be read: {error}", self.dir.display()));
            0
        });
        Compared { hold, unknown, problems }
    }

    /// A forged event must not make this program read elsewhere.
    fn is_inside(&self, file: &str) -> bool {
        Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
    }

    fn check(&self, file: &str, sha256: &str) -> Result<(), String> {
        if !self.is_inside(file) {
            return Err("is outside of the directory".into());
        }
        match digest(&self.dir.join(file)) {
            Ok(found) if found == sha256 => Ok(()),
            Ok(found) => Err(format!("was changed: its SHA-256 is {found}, and the log says {sha256}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("is missing".into()),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }

    /// Counts the files, in a directory for each day, that the log does not name.
    fn unknown(&self) -> io::Result<usize> {
        let mut unknown = 0;
        for day in std::fs::read_dir(&self.dir)? {
            let day = day?;
            // Beside the days is the gateway's lock.
            if !day.file_type()?.is_dir() {
                continue;
            }
            for file in std::fs::read_dir(day.path())? {
                let path = Path::new(&day.file_name()).join(file?.file_name());
                let name = path.to_string_lossy();
                unknown += usize::from(!self.begun.contains(name.strip_suffix(PART).unwrap_or(&name)));
            }
        }
        Ok(unknown)
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
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
        for (file, text) in [
            ("day/good", "abc"),
            ("day/changed", "abd"),
            ("day/running.part", "a"),
            ("day/stray", "a"),
            ("day/pruned", "abc"),
        ] {
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
        let Compared { hold, unknown, problems } = recordings.compare();
        assert_eq!((hold, unknown), (1, 2), "one was pruned and is there, and one was never there");
        let expected =
            ["../secret is outside", "/etc/passwd is outside", "day/changed was changed", "day/gone is missing"];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        problems.iter().zip(expected).for_each(|(problem, part)| assert!(problem.contains(part), "{problem}"));
    }
}
