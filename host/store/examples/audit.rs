//! What the audit costs: events per second at either durability, bytes on disk for each, and how fast a log is verified. One line
//! `name value` each.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_store::{Durability, SigningKey, Store, StoreOptions, verify_file};
use portcullis_verdict::{
    AnswerRecord, Appended, AuditSink, ColumnRef, CommandEvent, Effects, Event, Facts, FinishEvent, Mode, OpenEvent,
    Relation, SqlStatement, Subject,
};

/// The commands of a run at interval durability, and of a strict one.
const COMMANDS: u64 = 300_000;
const STRICT: u64 = 20_000;
/// Sessions that wait for a receipt at the same time.
const SESSIONS: u64 = 64;

fn main() {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".into());
    let directory = Path::new(&directory).join(format!("audit-bench-{}", std::process::id()));
    let path = directory.join("store.redb");
    let begin = Instant::now();
    let store = open(&path, Durability::Interval(Duration::from_millis(50)));
    let subject = subject(&store, 0);
    for sequence in 0..COMMANDS {
        for event in pair(&subject, sequence) {
            match store.append(event) {
                Appended::Done(_) => {}
                Appended::Pending(receipt) => drop(block_on(receipt)),
                Appended::Failed(error) => panic!("{error}"),
            }
        }
    }
    store.flush().expect("the disk takes it");
    let events = (2 * COMMANDS + 1) as f64;
    println!("interval_events_per_second {:.0}", events / begin.elapsed().as_secs_f64());
    store.close();
    let bytes = std::fs::metadata(&path).expect("it is there").len();
    println!("bytes_per_event {:.1}", bytes as f64 / events);
    let begin = Instant::now();
    let report = verify_file(&path, &[], &[], |_| {}).expect("it can be read");
    assert!(report.problems.is_empty());
    println!("verified_events_per_second {:.0}", report.last as f64 / begin.elapsed().as_secs_f64());
    std::fs::remove_dir_all(&directory).expect("it can be removed");
    strict(&path);
    std::fs::remove_dir_all(&directory).expect("it can be removed");
}

fn strict(path: &Path) {
    let store = open(path, Durability::Strict);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let store = &store;
            scope.spawn(move || {
                let subject = subject(store, session);
                for sequence in 0..STRICT / SESSIONS {
                    for event in pair(&subject, sequence) {
                        match store.append(event) {
                            Appended::Pending(receipt) => drop(block_on(receipt).expect("the disk takes it")),
                            _ => panic!("a strict store gives receipts later"),
                        }
                    }
                }
            });
        }
    });
    println!("strict_events_per_second {:.0}", (2 * STRICT) as f64 / begin.elapsed().as_secs_f64());
    store.close();
}

fn open(path: &Path, durability: Durability) -> Arc<Store> {
    let options = StoreOptions { durability, ..StoreOptions::default() };
    Store::open(path, options, SigningKey::generate(), Arc::default()).expect("the store opens")
}

fn subject(store: &Store, session: u64) -> Arc<Subject> {
    let session = format!("01928c1e-6f0e-7cc1-8a59-5e3cf1f{session:05}").into();
    let subject = Arc::new(Subject { session, principal: "alice".into(), target: "shop".into() });
    let open = Event::Open(OpenEvent {
        subject: subject.clone(),
        protocol: "postgres".into(),
        groups: vec!["dev".into()],
        credential: "scram-sha-256".into(),
        client_address: "127.0.0.1:50000".into(),
        reason: None,
        refused: None,
    });
    match store.append(open) {
        Appended::Done(_) => {}
        Appended::Pending(receipt) => drop(block_on(receipt)),
        Appended::Failed(error) => panic!("{error}"),
    }
    subject
}

/// A command as a benchmark of short reads sends it, with the answers of three policies, and its end.
fn pair(subject: &Arc<Subject>, sequence: u64) -> [Event; 2] {
    let relation = Relation { schema: String::new(), name: "pgbench_accounts".into(), effects: Effects::READ };
    let column = |name: &str| ColumnRef { schema: String::new(), relation: String::new(), name: name.into() };
    let statement = SqlStatement {
        dialect: "postgres".into(),
        verb: "SELECT".into(),
        effects: Effects::READ,
        relations: vec![relation],
        columns_read: vec![column("abalance"), column("aid")],
        functions: vec![],
        has_where: true,
        ..SqlStatement::default()
    };
    let facts = Facts { fingerprint: "50fde20626009aba".into(), sql: Ok(vec![statement]) };
    let answer = |policy: &str| AnswerRecord {
        policy: policy.into(),
        digest: "3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea".into(),
        mode: Mode::Enforce,
        verdict: "allow".into(),
        message: String::new(),
        findings: vec![],
    };
    let command = Event::Command(CommandEvent {
        subject: subject.clone(),
        sequence,
        kind: "sql".into(),
        phase: "execute".into(),
        text: format!("SELECT abalance FROM pgbench_accounts WHERE aid = {};", sequence * 7919 % 100_000).into(),
        rewrite: None,
        facts: Arc::new(facts),
        parameters: vec![],
        reason: None,
        outcome: "allow".into(),
        message: None,
        answers: vec![answer("no-destructive-sql"), answer("hide-personal-data"), answer("fair-use")],
        approval: None,
        micros: 3,
    });
    let finish = Event::Finish(FinishEvent {
        subject: subject.clone(),
        sequence,
        tag: "SELECT 1".into(),
        rows: 1,
        bytes: 12,
        masked: 0,
        masked_by: vec![],
        micros: 150,
        error: None,
    });
    [command, finish]
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime starts").block_on(future)
}
