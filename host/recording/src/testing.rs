//! What tests of several modules need.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_verdict::{
    Appended, AuditError, AuditSink, Credential, Entry, Event, Principal, Receipt, RecordedColumn, RecordingEvent,
    Session, Stats, Target,
};

use crate::directory::{Create, Directory, OnLimit, Options};

/// Keeps the events of recordings.
#[derive(Default)]
pub(crate) struct Audit {
    events: Mutex<Vec<RecordingEvent>>,
    pub(crate) fails: AtomicBool,
    /// What it has taken does not become durable.
    pub(crate) lags: AtomicBool,
}

impl AuditSink for Audit {
    fn append(&self, event: Event) -> Appended {
        if self.fails.load(Ordering::Relaxed) {
            return Appended::Failed(AuditError::Write("no disk".into()));
        }
        let Event::Recording(event) = event else { panic!("{event:?}") };
        self.events.lock().unwrap().push(event);
        Appended::Done(Receipt::accepted())
    }

    fn flush(&self) -> Result<(), AuditError> {
        if self.lags.load(Ordering::Relaxed) { Err(AuditError::Write("no disk".into())) } else { Ok(()) }
    }
}

impl Audit {
    pub(crate) fn events(&self) -> Vec<RecordingEvent> {
        self.events.lock().unwrap().clone()
    }

    pub(crate) fn states(&self) -> Vec<String> {
        self.events().into_iter().map(|event| event.state.into_owned()).collect()
    }
}

/// A directory that is gone after the test.
pub(crate) struct Temporary(pub(crate) PathBuf);

impl Temporary {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portcullis-recording-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The files below, but for the lock.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = crate::directory::days(&self.0)
            .unwrap()
            .iter()
            .flat_map(|day| fs::read_dir(day).unwrap().map(|file| file.unwrap().path()))
            .collect();
        files.sort();
        files
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that a directory needs.
pub(crate) struct Setup {
    pub(crate) root: Temporary,
    pub(crate) audit: Arc<Audit>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) options: Options,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let options = Options { max_bytes: 1 << 30, on_limit: OnLimit::End, on_failure: OnLimit::End };
        Self { root: Temporary::new(), audit: Arc::default(), stats: Arc::default(), options }
    }

    pub(crate) fn open(&self) -> Arc<Directory> {
        Directory::open(&self.root.0, self.options.clone(), self.audit.clone(), self.stats.clone()).unwrap()
    }

    pub(crate) fn open_with(
        &self,
        create: impl Fn(&Path) -> io::Result<fs::File> + Send + Sync + 'static,
    ) -> Arc<Directory> {
        let create: Create = Box::new(create);
        let (audit, stats) = (self.audit.clone(), self.stats.clone());
        Directory::open_with(&self.root.0, self.options.clone(), audit, stats, create).unwrap()
    }

    pub(crate) fn stopped(&self) -> u64 {
        self.stats.recordings_stopped.load(Ordering::Relaxed)
    }
}

pub(crate) fn session(id: &str) -> Arc<Session> {
    Arc::new(Session {
        id: id.into(),
        protocol: "postgres",
        principal: Principal { name: "ann".into(), groups: vec![], credential: Credential::Scram },
        target: Arc::new(Target { name: "shop".into(), labels: Default::default() }),
        client_address: ([127, 0, 0, 1], 5).into(),
        reason: None,
    })
}

pub(crate) fn columns(columns: &[(&str, &str)]) -> Entry<'static> {
    let column =
        |(name, of): &(&str, &str)| RecordedColumn { name: (*name).into(), type_name: (*of).into(), binary: false };
    Entry::Columns { columns: columns.iter().map(column).collect() }
}

pub(crate) fn rows(rows: &[&[Option<&str>]]) -> Entry<'static> {
    let mut data = Vec::new();
    for row in rows {
        data.extend_from_slice(&(row.len() as i16).to_be_bytes());
        for value in *row {
            data.extend_from_slice(&value.map_or(-1, |value| value.len() as i32).to_be_bytes());
            data.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
    }
    Entry::Rows { count: rows.len() as u32, data: Cow::Owned(data) }
}
