//! How fast results are recorded into a file, next to `zstd -1` of the same bytes in memory.
//!
//! `cargo run --release -p portcullis-recording --example throughput [MIB] [SESSIONS] [DIRECTORY]`

use std::borrow::Cow;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use portcullis_recording::{Directory, OnLimit, Options, Reader};
use portcullis_verdict::{
    Appended, AuditSink, Credential, Entry, Event, Medium, Principal, Receipt, RecordLevel, Recorder, Recorders,
    RecordingFiles, Session, Target,
};

/// Takes every event and keeps none.
struct NoAudit;

impl AuditSink for NoAudit {
    fn append(&self, _: Event) -> Appended {
        Appended::Done(Receipt::accepted())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mib: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let sessions: usize = arguments.next().map_or(Ok(1), |text| text.parse::<usize>())?.max(1);
    let own = std::env::temp_dir().join(format!("portcullis-throughput-{}", std::process::id()));
    let root = arguments.next().map_or(own, PathBuf::from);

    let batches: Vec<Vec<u8>> = (0..256).map(batch).collect();
    let each = batches.iter().map(Vec::len).sum::<usize>();
    let rounds = ((mib << 20) / each / sessions).max(1);
    let bytes = each * rounds * sessions;

    let options = Options { max_bytes: u64::MAX, on_limit: OnLimit::End, on_failure: OnLimit::End };
    let directory = Directory::open(&root, options, Arc::new(NoAudit), Arc::default())?;
    let began = Instant::now();
    thread::scope(|scope| {
        let work = |number: usize| record(&directory, number, &batches, rounds);
        let threads: Vec<_> = (0..sessions).map(|number| scope.spawn(move || work(number))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a session panicked".to_string())?)
    })?;
    let taken = began.elapsed();
    directory.close();
    let closed = began.elapsed();

    let mut entries = 0;
    let began = Instant::now();
    let file = RecordingFiles::open(&*directory, "session-0")?.ok_or("the recording is missing")?;
    let size = file.metadata()?.len();
    for entry in Reader::new(file)? {
        entry?;
        entries += 1;
    }
    let read = began.elapsed();

    let began = Instant::now();
    let mut press = zstd::stream::write::Encoder::new(Vec::new(), 1)?;
    for batch in batches.iter().cycle().take(batches.len() * rounds) {
        press.write_all(batch)?;
    }
    let plain = press.finish()?.len();
    let compressed = began.elapsed();

    let rate = |bytes: usize, time: std::time::Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    println!("recorded   {bytes} bytes of {sessions} sessions: {:.0} MB/s", rate(bytes, taken));
    println!("durable    {:.0} MB/s", rate(bytes, closed));
    println!("read back  {entries} entries of the first: {:.0} MB/s", rate(bytes / sessions, read));
    println!("zstd -1    {:.0} MB/s in memory, of the first", rate(bytes / sessions, compressed));
    println!("file       {size} bytes, {plain} as one frame");
    std::fs::remove_dir_all(root)?;
    Ok(())
}

fn record(directory: &Directory, number: usize, batches: &[Vec<u8>], rounds: usize) -> Result<(), String> {
    let session = Arc::new(Session {
        id: format!("session-{number}").into(),
        protocol: "postgres",
        principal: Principal { name: "ann".into(), groups: vec![], credential: Credential::Scram },
        target: Arc::new(Target { name: "shop".into(), labels: Default::default() }),
        client_address: ([127, 0, 0, 1], 1).into(),
        reason: None,
    });
    let opened = Recorders::open(directory, &session, RecordLevel::Results, Medium::Results);
    let mut recorder = opened.map_err(|error| error.to_string())?;
    for batch in batches.iter().cycle().take(batches.len() * rounds) {
        recorder.record(Entry::Rows { count: 256, data: Cow::Borrowed(batch) });
        room(&mut *recorder)?;
    }
    Ok(())
}

fn room(recorder: &mut dyn Recorder) -> Result<(), String> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match recorder.poll_room(&mut Context::from_waker(&waker)) {
            Poll::Ready(room) => return room.map(|_| ()).map_err(|error| error.to_string()),
            Poll::Pending => thread::park(),
        }
    }
}

/// 256 rows as an application's table has them.
fn batch(number: u64) -> Vec<u8> {
    let mut data = Vec::new();
    for row in 0..256u64 {
        let id = number * 256 + row;
        let mixed = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let values = [
            id.to_string(),
            format!("Customer {} {}", mixed % 997, mixed >> 50),
            format!("user{}@example.org", mixed >> 40),
            format!("2024-{:02}-{:02} {:02}:{:02}:00+00", mixed % 12 + 1, mixed % 28 + 1, mixed % 24, mixed % 60),
            format!("{}.{:02}", mixed % 100_000, mixed % 100),
        ];
        data.extend_from_slice(&5i16.to_be_bytes());
        for value in values {
            data.extend_from_slice(&(value.len() as i32).to_be_bytes());
            data.extend_from_slice(value.as_bytes());
        }
    }
    data
}
