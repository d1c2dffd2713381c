//! Looking at a file of a gateway that does not run, without changing it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use portcullis_verdict::{Checkpoint, StoredEvent};
use redb::{ReadableDatabase, ReadableTable, StorageBackend};

use crate::error::StoreError;
use crate::file::{FORMAT, FileError, check_format, identity, open_backend};
use crate::tables::{CHECKPOINTS, EVENTS, IDENTITY, block, decode_checkpoint};
use crate::verify::{Report, Verifier};

/// Verifies the log in a store's file: with these public keys (64 hexadecimal digits each) if there are any, and against checkpoints that were
/// kept elsewhere. Every event that can be read is shown to `see`. The file is not changed, even if a crash has left it in need of repair.
///
/// # Errors
/// When it cannot be opened at all. What is wrong with the log is in the report.
pub fn verify_file(
    path: &Path,
    keys: &[String],
    elsewhere: &[Checkpoint],
    mut see: impl FnMut(&StoredEvent),
) -> Result<Report, StoreError> {
    let backend = Overlay::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => StoreError::InUse { path: path.into() },
        _ => StoreError::io(path, error),
    })?;
    let mut verifier = Verifier::new(keys);
    // Over a damaged file the database may panic when it is read, and once more when it is dropped.
    let walked = catch_unwind(AssertUnwindSafe(|| {
        let db = open_backend(path, backend)?;
        walk(&db, path, elsewhere, &mut verifier, &mut see)
    }));
    match walked {
        Ok(Ok(())) => {}
        Ok(Err(FileError::Open(error))) => return Err(error),
        Ok(Err(error)) => verifier.unreadable(0, error.to_string()),
        Err(_) => verifier.unreadable(0, "the database could not make sense of it".into()),
    }
    Ok(verifier.finish())
}

fn walk(
    db: &impl ReadableDatabase,
    path: &Path,
    elsewhere: &[Checkpoint],
    verifier: &mut Verifier,
    see: &mut impl FnMut(&StoredEvent),
) -> Result<(), FileError> {
    match check_format(db, path)? {
        Some(FORMAT) => {}
        Some(found) => return Err(StoreError::Old { path: path.into(), found }.into()),
        None => return Err(StoreError::Foreign { path: path.into() }.into()),
    }
    let txn = db.begin_read()?;
    verifier.checkpoint(&identity(&txn.open_table(IDENTITY)?)?.1);
    elsewhere.iter().for_each(|checkpoint| verifier.checkpoint(checkpoint));
    let checkpoints = txn.open_table(CHECKPOINTS)?;
    // The newest first: it vouches for events that may have been cut off.
    if let Some((number, value)) = checkpoints.last()? {
        verifier.checkpoint(&decode_checkpoint(number.value(), value.value())?);
    }
    for entry in txn.open_table(EVENTS)?.iter()? {
        let (last, value) = entry?;
        let last = last.value();
        let unpacked = match block(last, value.value()) {
            Ok(unpacked) => unpacked,
            Err(error) => {
                verifier.unreadable(last, error.to_string());
                continue;
            }
        };
        for encoded in unpacked.encoded() {
            match encoded {
                Ok(encoded) => {
                    verifier.link(encoded.number, encoded.bytes, encoded.claim);
                    match encoded.event() {
                        Ok(event) => {
                            verifier.see(&event.event);
                            see(&event);
                        }
                        Err(error) => verifier.unreadable(encoded.number, error.to_string()),
                    }
                }
                Err(error) => verifier.unreadable(last, error.to_string()),
            }
        }
        if let Some(value) = checkpoints.get(last)? {
            verifier.checkpoint(&decode_checkpoint(last, value.value())?);
        }
    }
    Ok(())
}

/// A file that is only read, and the changes that are made to it, in memory.
#[derive(Debug)]
struct Overlay {
    file: File,
    state: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    /// The length as it would be.
    length: u64,
    /// Bytes of the file that still count.
    original: u64,
    pages: HashMap<u64, Box<[u8; PAGE]>>,
}

const PAGE: usize = 4096;

impl Overlay {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // A gateway that runs holds the file alone.
        file.try_lock_shared().map_err(io::Error::from)?;
        let length = file.metadata()?.len();
        Ok(Self { file, state: Mutex::new(Changes { length, original: length, pages: HashMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn original(&self, page: u64, original: u64) -> io::Result<Box<[u8; PAGE]>> {
        let (mut bytes, start) = (Box::new([0; PAGE]), page * PAGE as u64);
        let there = original.saturating_sub(start).min(PAGE as u64) as usize;
        self.file.read_exact_at(&mut bytes[..there], start)?;
        Ok(bytes)
    }
}

/// The pieces of a range, each within one page: the page, where it begins there, and where in the range.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = (at % PAGE as u64) as usize;
        let count = (PAGE - inside).min(length - done);
        let piece = (at / PAGE as u64, inside, done..done + count);
        done += count;
        (count > 0).then_some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if offset.saturating_add(out.len() as u64) > state.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (page, inside, range) in pieces(offset, out.len()) {
            let count = range.len();
            match state.pages.get(&page) {
                Some(bytes) => out[range].copy_from_slice(&bytes[inside..inside + count]),
                None => out[range].copy_from_slice(&self.original(page, state.original)?[inside..inside + count]),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        state.length = length;
        state.original = state.original.min(length);
        state.pages.retain(|page, _| page * (PAGE as u64) < length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        for (page, inside, range) in pieces(offset, data.len()) {
            let original = state.original;
            let count = range.len();
            let bytes = match state.pages.entry(page) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => entry.insert(self.original(page, original)?),
            };
            bytes[inside..inside + count].copy_from_slice(&data[range]);
        }
        Ok(())
    }
}
