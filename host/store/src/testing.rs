//! What the tests of this crate share: events, a clock, and a disk that fails on demand.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use portcullis_verdict::{
    ApprovalRequest, CommandEvent, Credential, Demand, Effects, Event, Facts, FinishEvent, OpenEvent, Principal, Reuse,
    Reviewer, Session, SqlStatement, Stats, Subject, Target, Terms,
};
use redb::StorageBackend;

use crate::chain::SigningKey;
use crate::file::open_backend;
use crate::store::{Durability, Store, StoreOptions, Surroundings};

thread_local!(static NOW: Cell<u64> = const { Cell::new(1_000_000) });

/// This test's clock; it stands until it is set.
pub(crate) fn now() -> u64 {
    NOW.get()
}

pub(crate) fn set_now(ms: u64) {
    NOW.set(ms);
}

/// A directory that goes with the test.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("portcullis-store-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Storage in memory that outlives the database on it, and that fails and stalls on demand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<(Mutex<DiskState>, Condvar)>);

#[derive(Debug, Default)]
struct DiskState {
    bytes: Vec<u8>,
    /// Changes to go through before `fault` strikes.
    fuse: usize,
    fault: Option<Fault>,
    /// Syncs wait.
    gated: bool,
    /// A sync waits.
    arrived: bool,
    /// Syncs so far.
    syncs: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// One change fails.
    Once,
    /// One change is made and reported as failed.
    Lied,
    /// Every change fails.
    Always,
    /// A change panics.
    Panic,
}

impl Disk {
    /// Lets a fault strike after this many more changes.
    pub(crate) fn fail(&self, fault: Fault, fuse: usize) {
        let mut state = self.0.0.lock().unwrap();
        (state.fault, state.fuse) = (Some(fault), fuse);
    }

    pub(crate) fn heal(&self) -> bool {
        self.0.0.lock().unwrap().fault.take().is_none()
    }

    /// Makes every sync wait.
    pub(crate) fn shut(&self) {
        let mut state = self.0.0.lock().unwrap();
        (state.gated, state.arrived) = (true, false);
    }

    /// Waits until a sync waits.
    pub(crate) fn await_sync(&self) {
        let (state, changed) = &*self.0;
        drop(changed.wait_while(state.lock().unwrap(), |s| !s.arrived).unwrap());
    }

    pub(crate) fn release(&self) {
        self.0.0.lock().unwrap().gated = false;
        self.0.1.notify_all();
    }

    pub(crate) fn syncs(&self) -> usize {
        self.0.0.lock().unwrap().syncs
    }

    /// A copy of what is on the disk, as a crash at this moment would leave it.
    pub(crate) fn snapshot(&self) -> Self {
        let disk = Self::default();
        disk.0.0.lock().unwrap().bytes = self.0.0.lock().unwrap().bytes.clone();
        disk
    }

    pub(crate) fn store(&self, options: StoreOptions) -> (Arc<Store>, Arc<Stats>) {
        let (disk, stats) = (self.clone(), Arc::new(Stats::default()));
        let opener = Box::new(move |_| open_backend(Path::new("disk"), disk.clone()));
        let surroundings = Surroundings { opener, clock: now, pause: Duration::from_millis(5) };
        (Store::open_in(Path::new("disk"), options, key(), stats.clone(), surroundings).unwrap(), stats)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        let error = || Err(io::Error::other("the disk is full"));
        if state.fault.is_some() && state.fuse > 0 {
            state.fuse -= 1;
        } else if let Some(fault) = state.fault {
            match fault {
                Fault::Always => return error(),
                Fault::Lied => change(&mut state.bytes),
                Fault::Once => {}
                Fault::Panic => {
                    drop(state);
                    panic!("the disk panics");
                }
            }
            state.fault = None;
            return error();
        }
        change(&mut state.bytes);
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.0.lock().unwrap();
        let bytes = state.bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|bytes| bytes.resize(len as usize, 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        while state.gated {
            state.arrived = true;
            changed.notify_all();
            state = changed.wait(state).unwrap();
        }
        state.syncs += 1;
        drop(state);
        self.change(|_| {})
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(|bytes| bytes[offset as usize..offset as usize + data.len()].copy_from_slice(data))
    }
}

pub(crate) fn interval() -> StoreOptions {
    StoreOptions::default()
}

/// No event waits, and no checkpoint comes in between: for tests that count commits.
pub(crate) fn eager() -> StoreOptions {
    let checkpoint = Duration::from_secs(3600);
    StoreOptions { durability: Durability::Interval(Duration::ZERO), checkpoint, ..StoreOptions::default() }
}

pub(crate) fn strict() -> StoreOptions {
    StoreOptions { durability: Durability::Strict, ..StoreOptions::default() }
}

/// Polls once.
pub(crate) fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T> + Send>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// The key of all tests.
pub(crate) fn key() -> SigningKey {
    static PEM: LazyLock<String> = LazyLock::new(|| SigningKey::generate().to_pem());
    SigningKey::from_pem(&PEM).unwrap()
}

pub(crate) fn subject(session: &str) -> Arc<Subject> {
    Arc::new(Subject { session: session.into(), principal: "ann".into(), target: "orders".into() })
}

pub(crate) fn opening(session: &str) -> Event {
    Event::Open(OpenEvent {
        subject: subject(session),
        protocol: "postgres".into(),
        groups: vec!["dev".into()],
        credential: "scram-sha-256".into(),
        client_address: "127.0.0.1:5000".into(),
        reason: None,
        refused: None,
    })
}

pub(crate) fn command(session: &str, sequence: u64) -> Event {
    let statement = SqlStatement { verb: "SELECT".into(), effects: Effects::READ, ..SqlStatement::default() };
    let facts = Facts { fingerprint: "f1".into(), sql: Ok(vec![statement]) };
    Event::Command(CommandEvent {
        subject: subject(session),
        sequence,
        kind: "sql".into(),
        phase: "execute".into(),
        text: "select 1".into(),
        rewrite: None,
        facts: Arc::new(facts),
        parameters: vec![],
        reason: None,
        outcome: "allow".into(),
        message: None,
        answers: vec![],
        approval: None,
        micros: 7,
    })
}

pub(crate) fn finish(session: &str, sequence: u64) -> Event {
    Event::Finish(FinishEvent {
        subject: subject(session),
        sequence,
        tag: "SELECT 1".into(),
        rows: 1,
        bytes: 11,
        masked: 0,
        masked_by: vec![],
        micros: 300,
        error: None,
    })
}

pub(crate) fn closing(session: &str) -> Event {
    Event::Close { subject: subject(session), reason: "client left".into() }
}

pub(crate) fn demand(policy: &str, groups: &[&str], quorum: u32, ttl_seconds: u32, reuse: Reuse) -> Demand {
    let any_of = groups.iter().map(|g| (*g).into()).collect();
    Demand { policy: policy.into(), terms: Terms { any_of, quorum, ttl_seconds, reuse, reason: "changes data".into() } }
}

pub(crate) fn request(session: &str, digest: &str, demands: Vec<Demand>) -> ApprovalRequest {
    let principal = Principal { name: "ann".into(), groups: vec!["dba".into()], credential: Credential::Scram };
    let target = Arc::new(Target { name: "orders".into(), labels: Default::default() });
    let client_address = SocketAddr::from(([127, 0, 0, 1], 5000));
    let session = Session { id: session.into(), protocol: "postgres", principal, target, client_address, reason: None };
    ApprovalRequest {
        session: Arc::new(session),
        sequence: 3,
        text: "drop table t".into(),
        digest: digest.into(),
        parameters: vec![],
        demands,
        reason: Some("ticket 7".into()),
    }
}

pub(crate) fn reviewer(name: &str, groups: &[&str]) -> Reviewer {
    Reviewer { name: name.into(), groups: groups.iter().map(|g| (*g).into()).collect(), break_glass: false }
}
