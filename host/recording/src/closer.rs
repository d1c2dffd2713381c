use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use portcullis_verdict::{Appended, RecordingEvent, Stats};
use tokio::runtime::Runtime;

use crate::directory::{Desk, Name};

/// So many recordings share one flush of their directory.
const BATCH: usize = 64;

/// What the closer is to do.
pub(crate) enum Task {
    /// A recording's last byte is written.
    Finish(Finished),
    /// An event is on its way into the audit.
    Await(RecordingEvent, Appended),
}

/// A recording whose last byte is written.
pub(crate) struct Finished {
    pub(crate) name: Name,
    pub(crate) file: File,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    pub(crate) sha256: String,
    pub(crate) state: &'static str,
    pub(crate) detail: String,
}

/// Makes finished recordings durable, enters them in the audit and gives them their final names, in this order: whatever is
/// interrupted, the next start finds a file that still waits for its name.
pub(crate) struct Closer {
    pub(crate) desk: Arc<Desk>,
    /// For the futures of the audit.
    pub(crate) runtime: Runtime,
}

impl Closer {
    pub(crate) fn run(self, tasks: &Receiver<Task>) {
        while let Ok(task) = tasks.recv() {
            let batch: Vec<_> = std::iter::once(task).chain(tasks.try_iter().take(BATCH - 1)).collect();
            let mut finished = Vec::new();
            for task in batch {
                match task {
                    Task::Await(event, appended) => {
                        self.settle(&event, appended);
                    }
                    Task::Finish(recording) => finished.push(self.finish(recording)),
                }
            }
            if !finished.is_empty() {
                self.complete(&finished);
            }
        }
    }

    /// Gives recordings their final names. What the audit does not have on disk stays under its name of a part: the next start finds it.
    fn complete(&self, finished: &[(Name, bool)]) {
        let flushed = self.desk.flush();
        let mut directories = BTreeSet::new();
        for (name, entered) in finished {
            let outcome = match &flushed {
                Ok(()) if *entered => name.complete().map_err(|error| error.to_string()),
                Ok(()) => Err("it is not in the audit".into()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = outcome {
                tracing::warn!(session = %name.subject.session, "a recording stays under its name of a part: {error}");
            }
            // The root too: the day may be new in it.
            directories.extend(name.path().ancestors().skip(1).take(2).map(Path::to_owned));
            self.desk.unfinished.fetch_sub(1, Ordering::Relaxed);
        }
        for directory in directories {
            if let Err(error) = sync(&directory) {
                tracing::warn!("the directory of recordings {} cannot be made durable: {error}", directory.display());
            }
        }
    }

    /// Makes a recording durable and enters it in the audit; true if the audit has taken it.
    fn finish(&self, finished: Finished) -> (Name, bool) {
        let Finished { name, file, bytes, entries, sha256, mut state, mut detail } = finished;
        if let Err(error) = file.sync_all() {
            tracing::warn!(session = %name.subject.session, "a recording cannot be made durable: {error}");
            if state == "ended" {
                Stats::bump(&self.desk.stats.recordings_stopped);
                (state, detail) = ("failed", format!("the file cannot be made durable: {error}"));
            }
        }
        let event = name.event(state, bytes, sha256, entries, detail);
        let entered = self.settle(&event, self.desk.append(&event));
        (name, entered)
    }

    /// Waits until the audit has an event; true if it does. Without the audit the log is the last place where a recording's digest can be
    /// kept.
    fn settle(&self, event: &RecordingEvent, appended: Appended) -> bool {
        let outcome = self.runtime.block_on(appended.received());
        if let Err(error) = &outcome {
            let RecordingEvent { subject, state, file, bytes, sha256, entries, detail } = event;
            let session = &subject.session;
            tracing::error!(%session, %state, file, bytes, sha256, entries, detail, "a recording is not in the audit: {error}");
        }
        outcome.is_ok()
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}
