//! What a crash has left is kept as it is, counted, entered in the audit and given its final name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_verdict::Subject;
use portcullis_verdict::text::hex;
use sha2::{Digest, Sha256};

use crate::closer::{Closer, sync};
use crate::directory::{Name, PART, days};
use crate::format::{Closing, ClosingReason};
use crate::reader::Reader;

impl Closer {
    /// Deals with every file that is not whole. One that cannot be dealt with stays for the next start.
    pub(crate) fn salvage(&self) -> io::Result<()> {
        for day in days(&self.desk.root)? {
            for file in parts(&day)? {
                if let Err(error) = self.rescue(&day, &file) {
                    tracing::warn!("the recording {} that was left cannot be dealt with: {error}", file.display());
                }
            }
        }
        Ok(())
    }

    fn rescue(&self, day: &Path, file: &Path) -> io::Result<()> {
        let found = examine(file)?;
        let session = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(PART));
        let day_name = day.file_name().and_then(|name| name.to_str());
        let (Some(session), Some(day_name)) = (session, day_name) else {
            return Err(io::Error::other("its name is not UTF-8"));
        };
        // Under which name it is filed counts, whatever is in it.
        let unknown = || Subject { session: session.into(), ..Subject::default() };
        let subject = found.subject.filter(|subject| &*subject.session == session).unwrap_or_else(unknown);
        let name = Name::new(&self.desk.root, Arc::new(subject), day_name);
        File::open(file)?.sync_all()?;
        let state = found.state;
        let event = name.event(state, found.bytes, found.sha256, found.entries, found.detail);
        tracing::warn!(session, "a recording was left by a process that died: {state} after {} entries", found.entries);
        self.runtime.block_on(self.desk.append(&event).received()).map_err(io::Error::other)?;
        self.desk.flush().map_err(io::Error::other)?;
        name.complete()?;
        sync(day)
    }
}

fn parts(day: &Path) -> io::Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(day)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && entry.file_name().as_encoded_bytes().ends_with(PART.as_bytes()) {
            parts.push(entry.path());
        }
    }
    Ok(parts)
}

/// What is in a file.
struct Found {
    subject: Option<Subject>,
    bytes: u64,
    sha256: String,
    entries: u64,
    /// What the audit says of it.
    state: &'static str,
    /// Why it is not whole, or empty.
    detail: String,
}

fn examine(file: &Path) -> io::Result<Found> {
    let mut input = Hashed { input: File::open(file)?, hash: Sha256::new(), bytes: 0 };
    let (subject, entries, (state, detail)) = match Reader::new(&mut input) {
        Ok(mut reader) => {
            let state = match (reader.by_ref().find_map(Result::err), reader.closing()) {
                (Some(error), _) => ("cut", error.to_string()),
                (None, Some(Closing { reason: ClosingReason::Limit, .. })) => {
                    ("stopped", "the recording had reached its limit".into())
                }
                (None, _) => ("ended", String::new()),
            };
            (Some(reader.header().subject.clone()), reader.entries(), state)
        }
        Err(error) => (None, 0, ("cut", format!("nothing in it can be read: {error}"))),
    };
    // What the reader left unread counts too.
    io::copy(&mut input, &mut io::sink())?;
    Ok(Found { subject, bytes: input.bytes, sha256: hex(&input.hash.finalize()), entries, state, detail })
}

/// Hashes what is read.
struct Hashed {
    input: File,
    hash: Sha256,
    bytes: u64,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.bytes += read as u64;
        Ok(read)
    }
}
