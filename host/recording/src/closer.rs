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
            let mut directories = BTreeSet::new();
            for task in batch {
                match task {
                    Task::Await(event, appended) => self.settle(&event, appended),
                    Task::Finish(finished) => {
                        let name = self.finish(finished);
                        // The root too: the day may be new in it.
                        directories.extend(name.path().ancestors().skip(1).take(2).map(Path::to_owned));
                        self.desk.unfinished.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
            for directory in directories {
                if let Err(error) = sync(&directory) {
                    tracing::warn!(
                        "the directory of recordings {} cannot be made durable: {error}",
                        directory.display()
                    );
                }
            }
        }
    }

    fn finish(&self, finished: Finished) -> Name {
        let Finished { name, file, bytes, entries, sha256, mut state, mut detail } = finished;
        if let Err(error) = file.sync_all() {
            tracing::warn!(session = %name.subject.session, "a recording cannot be made durable: {error}");
            if state == "ended" {
                Stats::bump(&self.desk.stats.recordings_stopped);
                (state, detail) = ("failed", format!("the file cannot be made durable: {error}"));
            }
        }
        let event = name.event(state, bytes, sha256, entries, detail);
        self.settle(&event, self.desk.append(&event));
        if let Err(error) = name.complete() {
            tracing::warn!(session = %name.subject.session, "a recording stays under its name of a part: {error}");
        }
        name
    }

    /// Waits until the audit has an event. Without the audit the log is the last place where a recording's digest can be kept.
    fn settle(&self, event: &RecordingEvent, appended: Appended) {
        if let Err(error) = self.runtime.block_on(appended.received()) {
            let RecordingEvent { subject, state, file, bytes, sha256, entries, detail } = event;
            let session = &subject.session;
            tracing::error!(%session, %state, file, bytes, sha256, entries, detail, "a recording is not in the audit: {error}");
        }
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}
