use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portcullis_verdict::Subject;
use tokio::runtime::{Builder, Runtime};

use crate::directory::{Directory, Name, PART, WHOLE, days};
use crate::reader::Reader;

/// A whole recording on disk.
struct Old {
    path: PathBuf,
    day: PathBuf,
    session: String,
    bytes: u64,
    /// When it was last written, that is, ended.
    at: SystemTime,
}

impl Directory {
    /// Deletes whole recordings, the oldest first: those that ended more than `older_than_ms` milliseconds ago, and then as many as it takes
    /// for all recordings together, those under way included, to be no larger than `max_total_bytes`. Tells how many. Each is deleted when
    /// the audit has it, so this is not for a thread that drives futures; without the audit nothing is deleted.
    pub fn prune(&self, older_than_ms: Option<u64>, max_total_bytes: Option<u64>) -> io::Result<usize> {
        let (mut recordings, mut total) = self.recordings()?;
        recordings.sort_unstable_by_key(|recording| recording.at);
        let before = older_than_ms.and_then(|ms| SystemTime::now().checked_sub(Duration::from_millis(ms)));
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let mut pruned = 0;
        for old in &recordings {
            let why = if before.is_some_and(|before| old.at < before) {
                "its time was over"
            } else if max_total_bytes.is_some_and(|most| total > most) {
                "all recordings together were too large"
            } else {
                break;
            };
            self.remove(old, why, &runtime)?;
            total = total.saturating_sub(old.bytes);
            pruned += 1;
        }
        Ok(pruned)
    }

    /// The whole recordings, and the bytes of all.
    fn recordings(&self) -> io::Result<(Vec<Old>, u64)> {
        let (mut found, mut total) = (Vec::new(), 0);
        for day in days(&self.desk.root)? {
            for entry in fs::read_dir(&day)? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| name.ends_with(WHOLE) || name.ends_with(PART)) else {
                    continue;
                };
                let metadata = match entry.metadata() {
                    Ok(metadata) if metadata.is_file() => metadata,
                    Ok(_) => continue,
                    // It has just got its final name, and counts the next time.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                total += metadata.len();
                if let Some(session) = name.strip_suffix(WHOLE) {
                    let (session, path, day) = (session.into(), entry.path(), day.clone());
                    found.push(Old { path, day, session, bytes: metadata.len(), at: metadata.modified()? });
                }
            }
        }
        Ok((found, total))
    }

    fn remove(&self, old: &Old, why: &str, runtime: &Runtime) -> io::Result<()> {
        let header = File::open(&old.path).ok().and_then(|file| Reader::new(file).ok());
        let subject = header.map(|reader| reader.header().subject.clone());
        let unknown = || Subject { session: old.session.as_str().into(), ..Subject::default() };
        let subject = subject.filter(|subject| *subject.session == *old.session).unwrap_or_else(unknown);
        let day = old.day.file_name().and_then(|day| day.to_str()).unwrap_or_default();
        let name = Name::new(&self.desk.root, Arc::new(subject), day);
        let event = name.event("pruned", old.bytes, String::new(), 0, why.into());
        runtime.block_on(self.desk.append(&event).received()).map_err(io::Error::other)?;
        self.desk.flush().map_err(io::Error::other)?;
        fs::remove_file(&old.path)?;
        // It stays while there are others in it.
        let _ = fs::remove_dir(&old.day);
        Ok(())
    }
}
