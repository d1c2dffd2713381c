//! What becomes of memory and time as a result grows, and as its reader is slow.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use portcullis_tests::gateway::Gateway;
use portcullis_tests::postgres::{self, Postgres};
use portcullis_tests::process::until;

use super::peers::{Peer, masked, resident_kib, scanned};
use super::raw::Client;
use super::report::{median, name};
use super::{Address, PASSWORD, by_turns, plain};

/// How many rows a result has, and how often it is read: long ones are steady by themselves.
const SIZES: [(usize, usize); 4] = [(10_000, 15), (100_000, 9), (1_000_000, 3), (10_000_000, 1)];
const QUICK_SIZES: [(usize, usize); 4] = [(1_000, 1), (5_000, 1), (10_000, 1), (20_000, 1)];

/// The aim: how many MiB more than the second size the last one may take.
const AIM: f64 = 16.0;

/// The bytes that a slow reader takes in a second.
const SLOW: f64 = 20e6;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A number and a short address, which the server makes one by one. All in the list of columns: in FROM it would make all of them first.
pub(super) fn series(rows: usize) -> String {
    format!("select n as id, 'u' || n || '@x.eu' as email from (select generate_series(1, {rows}) as n) as numbers")
}

/// The section of the page.
pub(super) fn measure(postgres: &Postgres, quick: bool) -> Result<String> {
    let (sizes, pause) = if quick { (QUICK_SIZES, 0.2) } else { (SIZES, 3.0) };
    let mut ways = vec![Way::start(Peer::Direct, None, (postgres.port, postgres::ROLE, postgres::PASSWORD))?];
    for (peer, options) in
        [(Peer::Open, plain(postgres)), (Peer::Masked, masked(postgres)), (Peer::Scanned, scanned(postgres))]
    {
        let gateway = Gateway::start(options)?;
        let address = (gateway.port, "alice", PASSWORD);
        ways.push(Way::start(peer, Some(gateway), address)?);
    }
    let mut table = Vec::new();
    for (rows, times) in sizes {
        println!("==> {} rows", count(rows));
        let all = by_turns(times, ways.len(), |place| ways[place].read(rows))?;
        let of = |place: usize| Taken {
            nanos: median(all.iter().map(|round| round[place].nanos).collect()),
            mib: all.iter().map(|round| round[place].mib).fold(0.0, f64::max),
        };
        table.push((0..ways.len()).map(of).collect::<Vec<Taken>>());
    }
    println!("==> a slow reader");
    let slow = ways.iter().map(|way| way.read_slowly(Duration::from_secs_f64(pause))).collect::<Result<Vec<f64>>>()?;
    Ok(section(&ways, &sizes, &table, &slow))
}

/// A way to the server, and a session on it.
struct Way {
    peer: Peer,
    gateway: Option<Gateway>,
    address: Address,
    /// The gateway's resident memory when it has no session, but has had one.
    idle_kib: f64,
    client: Client,
}

/// What a result takes: time for each row, and MiB above the idle gateway's.
#[derive(Clone, Copy)]
struct Taken {
    nanos: f64,
    mib: f64,
}

impl Way {
    fn start(peer: Peer, gateway: Option<Gateway>, address: Address) -> Result<Self> {
        Client::connect(address)?.discard(&series(1_000), 1_000, |_| Ok(true))?;
        let idle_kib = match &gateway {
            Some(gateway) => {
                until("the session has ended", Duration::from_secs(10), || {
                    let metrics = gateway.http("/metrics", Some("olga"))?;
                    ensure!(metrics.lines().any(|line| line == "portcullis_sessions_active 0"), "not yet");
                    Ok(())
                })?;
                resident_kib(gateway.id())?
            }
            None => 0.0,
        };
        Ok(Self { peer, gateway, address, idle_kib, client: Client::connect(address)? })
    }

    /// Reads a result as fast as it comes.
    fn read(&mut self, rows: usize) -> Result<Taken> {
        let mut memory = Memory::of(self);
        let start = Instant::now();
        self.client.discard(&series(rows), rows, |_| memory.look().map(|()| true))?;
        let taken = start.elapsed();
        Ok(Taken { nanos: taken.as_nanos() as f64 / rows as f64, mib: memory.most_mib()? })
    }

    /// Reads the longest result slowly, for so long, and leaves it in its middle. Gives the MiB above the idle gateway's.
    fn read_slowly(&self, time: Duration) -> Result<f64> {
        let (longest, _) = SIZES[SIZES.len() - 1];
        let (mut memory, mut bytes, start) = (Memory::of(self), 0, Instant::now());
        Client::connect(self.address)?.discard(&series(longest), longest, |read| {
            bytes += read;
            memory.look()?;
            std::thread::sleep(Duration::from_secs_f64(bytes as f64 / SLOW).saturating_sub(start.elapsed()));
            Ok(start.elapsed() < time)
        })?;
        memory.most_mib()
    }
}

/// The most that a gateway's memory is seen to be.
struct Memory {
    process: Option<u32>,
    idle_kib: f64,
    most_kib: f64,
    next: Instant,
}

impl Memory {
    fn of(way: &Way) -> Self {
        let process = way.gateway.as_ref().map(Gateway::id);
        Self { process, idle_kib: way.idle_kib, most_kib: 0.0, next: Instant::now() }
    }

    /// Looks if it is time to.
    fn look(&mut self) -> Result<()> {
        if Instant::now() >= self.next {
            self.look_now()?;
            self.next = Instant::now() + LOOK;
        }
        Ok(())
    }

    fn look_now(&mut self) -> Result<()> {
        self.most_kib = self.most_kib.max(self.process.map_or(Ok(0.0), resident_kib)?);
        Ok(())
    }

    fn most_mib(mut self) -> Result<f64> {
        self.look_now()?;
        Ok((self.most_kib - self.idle_kib) / 1024.0)
    }
}

fn section(ways: &[Way], sizes: &[(usize, usize)], table: &[Vec<Taken>], slow: &[f64]) -> String {
    let times: Vec<String> = sizes.iter().map(|(_, times)| times.to_string()).collect();
    let mut out = format!(
        "## Results that grow\n\nA series of rows of a number and a short address, of which the gateway that masks hides the address, read by a client that throws them away \
         as they come. The time for each row, from the query to the end of its result, and the gateway's resident memory at the most while the result passes, \
         above that of the gateway without a session. By turns, {} times; the median of the times, the greatest of the memory. The slow reader \
         takes {} MB a second for a few seconds of a result of {} rows and then hangs up.\n\n|",
        times.join(", "),
        SLOW / 1e6,
        count(SIZES[SIZES.len() - 1].0)
    );
    for way in ways {
        let _ = write!(out, " | {}", name(way.peer));
    }
    let _ = writeln!(out, " |\n|{}", "---|".repeat(ways.len() + 1));
    for ((rows, _), taken) in sizes.iter().zip(table) {
        let _ = write!(out, "| {} rows |", count(*rows));
        for (way, Taken { nanos, mib }) in ways.iter().zip(taken) {
            let memory = if way.gateway.is_some() { format!(", {mib:.1} MiB") } else { String::new() };
            let _ = write!(out, " {nanos:.0} ns a row{memory} |");
        }
        out.push('\n');
    }
    out += "| slow reader |";
    for (way, mib) in ways.iter().zip(slow) {
        out += &if way.gateway.is_some() { format!(" {mib:.1} MiB |") } else { " – |".to_owned() };
    }
    let _ = write!(
        out,
        "\n\nAim: constant memory; {} rows and the slow reader take at most {AIM} MiB more than {} rows.",
        count(sizes[sizes.len() - 1].0),
        count(sizes[1].0)
    );
    for (place, way) in ways.iter().enumerate().filter(|(_, way)| way.gateway.is_some()) {
        let more = table[table.len() - 1][place].mib.max(slow[place]) - table[1][place].mib;
        let met = if more <= AIM { "met" } else { "**missed**" };
        let _ = write!(out, " {}: {more:+.1} MiB, {met}.", name(way.peer));
    }
    out + "\n\n"
}

/// A round number of rows in short.
pub(super) fn count(rows: usize) -> String {
    if rows.is_multiple_of(1_000_000) { format!("{} M", rows / 1_000_000) } else { format!("{} k", rows / 1_000) }
}
