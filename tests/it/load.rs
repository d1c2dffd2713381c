//! An hour of everything at once in a minute or two: traffic of every kind that looks at what it gets, while policies are swapped, the
//! server is restarted, clients storm in and vanish in every state. Afterwards nothing may have gone wrong, been forgotten, or been kept.

mod ledger;
mod traffic;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::{self, Postgres, ROLE, Stop};
use portcullis_tests::process::until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use self::ledger::{Audit, Ledger};
use self::traffic::{GUARDED, PLAIN, Trouble, Worker, streamed};
use crate::chaos::startup;
use crate::evidence::json;
use crate::line::{Cut, Ends, Line};
use crate::support::{Authority, Random, write_private};
use crate::vandals::{Place, State, Trace, login, trusting, vanish, ways};

/// How long it takes, unless `PORTCULLIS_LOAD_SECONDS` says otherwise.
const SECONDS: u64 = 60;
/// A round; what is kept after one must not be more after the next.
const ROUND: u64 = 30;
const WORKERS: usize = 9;
const VANDALS: usize = 3;
/// Clients that come at once.
const STORM: usize = 150;
/// So many of them may be in.
const STORMERS: usize = 20;
/// People in the table.
const PEOPLE: u64 = 10_000;
/// What has to happen by itself when everybody has gone.
const SETTLED: Duration = Duration::from_secs(60);
/// The application's name and the role before each line of the server's log.
const PREFIX: &str = "log_line_prefix = '%a|%u|'\nlog_statement = all\n";

/// A person's address, what policies make of it, and the rest of their row.
fn email(id: i32) -> String {
    format!("u{id}@h{id}.example")
}

fn masked(id: i32) -> [String; 2] {
    [format!("u***@h{id}.example"), "[redacted]".into()]
}

fn note(id: i32) -> String {
    format!("row {id} of people")
}

fn server() -> Postgres {
    let setup = format!(
        "create table people as select n as id, 'u'||n||'@h'||n||'.example' as email, 'row '||n||' of people' as note \
         from generate_series(0, {PEOPLE}) n; alter table people add primary key (id); \
         create table marks (mark text); alter table people owner to {ROLE}; alter table marks owner to {ROLE}"
    );
    let options = postgres::Options { method: "trust", config: PREFIX, setup, ..postgres::Options::default() };
    Postgres::start(&options).unwrap()
}

/// Every number is another set of policies: two of them change, how addresses are hidden and how many rows a result has at most.
fn options(postgres: &Postgres, number: u64) -> Options {
    let mask = if number.is_multiple_of(2) { "email" } else { "redact" };
    // A machine that has more to do than it can must not look like a policy that hangs.
    let patient = "limits = { call_ms = 20000 }\n";
    let hide = "[[policy.settings.rules]]\nname = \"email\"\nlabels = [\"pii.email\"]\nmask = ";
    let most = format!("settings = {{ commands_per_minute = 4000000000, max_rows = {} }}", 500_000 + number);
    let mut options = Options::before(postgres)
        .with("no-destructive-sql", "policies/no-destructive-sql", &format!("{patient}capabilities = [\"clock\"]"))
        .with("review-schema-changes", "policies/review-schema-changes", patient)
        .with("hide-personal-data", "policies/hide-personal-data", &format!("{patient}{hide}\"{mask}\"\n"))
        .with("fair-use", "policies/fair-use", &format!("{patient}capabilities = [\"state\"]\n{most}"));
    options.target =
        "max_sessions = 60\n[target.column_labels]\n\"public.people.email\" = [\"pii\", \"pii.email\"]\n".into();
    options.listener =
        "[postgres.tls]\ncertificate = \"server.crt\"\nkey = \"file:server.key\"\nrequired = false\n".into();
    options.more = format!(
        "[[target]]\nname = \"plain\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"shop\"\nuser = \"{ROLE}\"\n\
         tls = \"disable\"\n\
         [[group]]\nname = \"dba\"\nmax_sessions = {STORMERS}\n\
         [limits]\nlogin_ms = 4000\nidle_s = 3\nwrite_stall_s = 3\n",
        postgres.port
    );
    options
}

/// Everything that plays, and the books.
struct Scene {
    gateway: Gateway,
    postgres: Postgres,
    place: Place,
    ledger: Arc<Ledger>,
    runtime: Runtime,
    swaps: u64,
    /// What the gateway has open when nothing happens.
    files: usize,
}

impl Scene {
    fn set() -> Self {
        let (postgres, authority, scratch) = (server(), Authority::new(), Scratch::new("load").unwrap());
        let (certificate, key) = authority.issue("localhost", true);
        write_private(&scratch, "server.crt", &certificate);
        write_private(&scratch, "server.key", &key);
        let gateway = Gateway::start_in(scratch, options(&postgres, 0)).unwrap();
        // Everything that is opened once is open.
        assert_eq!(gateway.query("alice", "select email from people where id = 7").unwrap().0, masked(7)[0]);
        let place = Place { gateway: gateway.port, server: postgres.port, tls: trusting(&authority) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let files = fs::read_dir(format!("/proc/{}/fd", gateway.id())).unwrap().count();
        Self { gateway, postgres, place, ledger: Arc::default(), runtime, swaps: 0, files }
    }

    /// A round of everything; gives the memory that is taken behind it, in kB.
    fn play(&mut self, number: u64, length: Duration) -> u64 {
        let stop = Arc::new(AtomicBool::new(false));
        let mut players = self.players(number, &stop);
        let end = Instant::now() + length;
        while Instant::now() < end {
            let next = Instant::now() + Duration::from_secs(1);
            self.change();
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        stop.store(true, Ordering::Relaxed);
        let silent = self.runtime.block_on(async {
            let mut silent = Vec::new();
            while let Some(traces) = tokio::time::timeout(2 * SETTLED, players.join_next()).await.unwrap() {
                silent.extend(traces.unwrap());
            }
            silent
        });
        // Those who are silent are still there.
        self.settle();
        drop(silent);
        let memory = memory(&self.gateway);
        eprintln!("round {number}: {memory} kB; {}", self.ledger.summary());
        memory
    }

    fn players(&self, round: u64, stop: &Arc<AtomicBool>) -> JoinSet<Vec<Trace>> {
        let _inside = self.runtime.enter();
        let mut players = JoinSet::new();
        let random = |n: usize| Random(round * 1000 + n as u64);
        for n in 0..WORKERS {
            let name = format!("w{round}.{n}");
            let (place, ledger, stop) = (self.place.clone(), self.ledger.clone(), stop.clone());
            let worker = Worker { name, place, guarded: n % 3 > 0, ledger, random: random(n), stop, marks: 0 };
            players.spawn(async {
                worker.run().await;
                Vec::new()
            });
        }
        for n in 0..VANDALS {
            let (place, ledger, stop) = (self.place.clone(), self.ledger.clone(), stop.clone());
            players.spawn(vandalise(place, ledger, stop, n));
        }
        let (place, ledger, stopped) = (self.place.clone(), self.ledger.clone(), stop.clone());
        players.spawn(storms(place, ledger, stopped, random(100)));
        let (place, ledger, stopped) = (self.place.clone(), self.ledger.clone(), stop.clone());
        players.spawn(slow_readers(place, ledger, stopped));
        players
    }

    /// Other policies, and now and then a server that is started anew.
    fn change(&mut self) {
        self.swaps += 1;
        let changed = options(&self.postgres, self.swaps);
        self.gateway.configure(|options| *options = changed).unwrap();
        let reload = self.gateway.reload().unwrap();
        assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
        match self.swaps % 14 {
            6 => self.postgres.restart(Stop::Fast).unwrap(),
            13 => self.postgres.restart(Stop::Immediate).unwrap(),
            _ => {}
        }
    }

    /// Waits until nothing is left of anybody.
    fn settle(&self) {
        let Self { gateway, postgres, files, .. } = self;
        until("every session has ended", SETTLED, || {
            let live = json(gateway, &["sessions", "list"])?;
            ensure!(live.is_empty(), "{} are open: {live:#?}", live.len());
            let metrics = gateway.http("/metrics", Some("olga"))?;
            for gauge in ["portcullis_sessions_active", "portcullis_holds_active"] {
                let line = metrics.lines().find(|line| line.starts_with(gauge)).context("it is not there")?;
                ensure!(line.ends_with(" 0"), "{line}");
            }
            let activity = "select pid, application_name, state, query from pg_stat_activity where usename";
            let activity = postgres.sql("shop", &format!("{activity} = '{ROLE}'"))?;
            ensure!(activity.is_empty(), "the server still has:\n{activity}");
            let open = open_files(gateway)?;
            ensure!(open.len() <= *files, "{} files are open, {files} were: {open:#?}", open.len());
            Ok(())
        })
        .unwrap();
    }
}

fn open_files(gateway: &Gateway) -> Result<BTreeSet<String>> {
    let mut open = BTreeSet::new();
    for file in fs::read_dir(format!("/proc/{}/fd", gateway.id()))? {
        let file = file?.path();
        open.insert(format!("{} {:?}", file.display(), fs::read_link(&file)));
    }
    Ok(open)
}

/// What the gateway takes, in kB, without the pages of the store that it keeps: there are more of them the longer the log is, up to a bound.
fn memory(gateway: &Gateway) -> u64 {
    const CACHE: u64 = 64 << 10;
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.id())).unwrap();
    let taken = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let taken: u64 = taken.trim().trim_end_matches(" kB").parse().unwrap();
    taken.saturating_sub(CACHE.min(fs::metadata(gateway.data().join("store.redb")).unwrap().len() >> 10))
}

/// A way to vanish in the books.
fn vanishing(state: State, cut: Cut) -> String {
    format!("{state:?} {cut:?}")
}

/// Goes through all ways to vanish, beginning somewhere else than the others; gives the lines of those that have fallen silent.
async fn vandalise(place: Place, ledger: Arc<Ledger>, stop: Arc<AtomicBool>, number: usize) -> Vec<Trace> {
    let mut silent = Vec::new();
    let ways: Vec<_> = ways().collect();
    for (state, cut) in ways.iter().cycle().skip(number * ways.len() / VANDALS) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // The server may have been stopped under it.
        match vanish(&place, *state, *cut).await {
            Ok(mut trace) => {
                ledger.done(vanishing(*state, *cut));
                ledger.undone(trace.undone.take());
                silent.push(trace);
            }
            Err(_) => {
                ledger.done("not vanished");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    silent
}

/// Many come at once, again and again, and half of them never finish their login.
async fn storms(place: Place, ledger: Arc<Ledger>, stop: Arc<AtomicBool>, mut random: Random) -> Vec<Trace> {
    while !stop.load(Ordering::Relaxed) {
        let (mut whole, mut half) = (JoinSet::new(), JoinSet::new());
        for n in 0..STORM / 2 {
            whole.spawn(come_in(place.gateway, ledger.clone()));
            let cut = [Cut::Close, Cut::Reset, Cut::Silence][n % 3];
            half.spawn(stop_halfway(place.gateway, ledger.clone(), random.below(240) as usize, cut));
        }
        let clients = whole.join_all().await;
        let together = clients.iter().flatten().filter(|client| !client.is_closed()).count();
        if together > STORMERS {
            ledger.wrong(format!("{together} of a group of {STORMERS} are in"));
        }
        drop(clients);
        half.join_all().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    Vec::new()
}

async fn come_in(port: u16, ledger: Arc<Ledger>) -> Option<Client> {
    match login("dora", "shop").host("127.0.0.1").port(port).connect(NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            ledger.done("came in");
            return Some(client);
        }
        Err(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => ledger.done("turned away"),
        Err(error) => match Trouble::from(error) {
            Trouble::Lost => ledger.done("no session"),
            Trouble::Wrong(why) => ledger.wrong(format!("in a storm: {why}")),
        },
    }
    None
}

/// Leaves in the middle of a login, or never goes on with it until the gateway has had enough.
async fn stop_halfway(port: u16, ledger: Arc<Ledger>, bytes: usize, cut: Cut) {
    if cut == Cut::Silence {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let message = startup(0, "dora");
        let told = async {
            stream.write_all(&message[..bytes % message.len()]).await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        match tokio::time::timeout(SETTLED, told).await {
            Ok(_) => ledger.done("shown out"),
            Err(_) => ledger.wrong("the gateway keeps a login that does not go on"),
        }
        return;
    }
    let Ok((line, ends)) = Line::dial(port, cut).await else { return };
    ends.up.limit(bytes);
    let config = login("dora", "shop");
    tokio::select! {
        () = ends.up.dry() => ledger.done("left halfway"),
        _ = config.connect_raw(line, NoTls) => {}
    }
}

/// One who reads slowly, but does, and gets everything; and one who takes a byte now and then of a result that has no end.
async fn slow_readers(place: Place, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) -> Vec<Trace> {
    while !stop.load(Ordering::Relaxed) {
        let (steady, crawling) = tokio::join!(read_steadily(place.gateway), crawl(place.gateway));
        for (what, outcome) in [("read steadily", steady), ("crawled", crawling)] {
            match outcome {
                Ok(()) => ledger.done(what),
                Err(Trouble::Lost) => ledger.done("lost"),
                Err(Trouble::Wrong(why)) => ledger.wrong(format!("{what}: {why}")),
            }
        }
    }
    Vec::new()
}

/// Somebody on the target without policies who reads no more than is granted.
async fn sip(port: u16) -> Result<(Client, Arc<Ends>, JoinSet<()>), Trouble> {
    let (line, ends) = Line::dial(port, Cut::Close).await.map_err(|_| Trouble::Lost)?;
    let (client, connection) = login("bob", "plain").connect_raw(line, NoTls).await?;
    ends.down.limit(100_000);
    let mut driver = JoinSet::new();
    driver.spawn(async { drop(connection.await) });
    Ok((client, ends, driver))
}

async fn read_steadily(port: u16) -> Result<(), Trouble> {
    let (client, ends, _driver) = sip(port).await?;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let mut reading = std::pin::pin!(streamed(&client, 25_000, "steadily"));
    loop {
        tokio::select! {
            outcome = &mut reading => return outcome,
            _ = pace.tick() => ends.down.grant(64 << 10),
        }
    }
}

async fn crawl(port: u16) -> Result<(), Trouble> {
    let (client, ends, _driver) = sip(port).await?;
    client.simple_query_raw("select repeat('x', 1000) from generate_series(1, 200000)").await?;
    for _ in 0..500 {
        ends.down.grant(1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[test]
fn nothing_goes_wrong_or_is_kept_under_load_and_faults() {
    let seconds = std::env::var("PORTCULLIS_LOAD_SECONDS").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let rounds = (seconds / ROUND).max(2);
    let mut scene = Scene::set();
    let memory: Vec<u64> = (0..rounds).map(|n| scene.play(n, Duration::from_secs(seconds / rounds))).collect();
    let Scene { gateway, postgres, ledger, .. } = &scene;
    let others = ["came in", "turned away", "left halfway", "shown out", "read steadily", "crawled"];
    let all = GUARDED.iter().chain(&PLAIN).chain(&others).map(|what| (*what).to_owned());
    let all: Vec<String> = all.chain(ways().map(|(state, cut)| vanishing(state, cut))).collect();
    ledger.holds(&all);
    ledger.agrees_with(postgres);
    let audit = Audit::read(gateway);
    audit.is_whole();
    audit.agrees_with(postgres);
    // It goes up and down by a tenth from round to round.
    let most = memory[0] + memory[0] / 5;
    assert!(memory.iter().all(|kilobytes| *kilobytes <= most), "the memory after each round, in kB: {memory:?}");
    let log = gateway.log().unwrap();
    // It cannot while the server is away.
    let errors = log.lines().filter(|line| !line.contains("the catalogue cannot be read"));
    let errors: Vec<&str> = errors.filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
