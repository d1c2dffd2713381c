//! Clients that behave: each asks for what is a function of its question, and looks whether that came.

use std::future::Future;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_postgres::{Client, NoTls, Row, SimpleQueryMessage};

use super::ledger::Ledger;
use super::{PEOPLE, email, masked, note};
use crate::support::Random;
use crate::vandals::{Place, login};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What clients do, on the target with policies and on the one without.
pub(super) const GUARDED: [&str; 14] = [
    "simple",
    "extended",
    "prepared",
    "committed",
    "rolled back",
    "denied",
    "denied in a transaction",
    "pipelined",
    "cancelled",
    "withdrawn",
    "cursor",
    "portal",
    "copied in",
    "large",
];
pub(super) const PLAIN: [&str; 4] = ["copied out", "streamed", "fetched", "aborted copy"];

/// Why something was not done.
pub(super) enum Trouble {
    /// The connection is lost, or there was none to be had, as must be expected when servers are restarted.
    Lost,
    /// What must not be.
    Wrong(String),
}

type Done = Result<(), Trouble>;

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            return if error.is_closed() || error.to_string().starts_with("error communicating with the server") {
                Self::Lost
            } else {
                Self::Wrong(format!("{error:?}"))
            };
        };
        match told.code().code() {
            // The server stops, the gateway cannot reach it or has lost it, or somebody else has all the places.
            "57P01" | "57P02" | "08006" | "53300" => Self::Lost,
            "42501" if told.message().contains("the catalogue cannot be read") => Self::Lost,
            _ => Self::Wrong(format!("{told:?}")),
        }
    }
}

fn wrong(why: impl Into<String>) -> Trouble {
    Trouble::Wrong(why.into())
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Done {
    if holds { Ok(()) } else { Err(wrong(why())) }
}

/// A client that works until it is told to stop.
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) guarded: bool,
    pub(super) ledger: Arc<Ledger>,
    pub(super) random: Random,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) marks: u64,
}

impl Worker {
    pub(super) async fn run(mut self) {
        let target = if self.guarded { "shop" } else { "plain" };
        while !self.stop.load(Ordering::Relaxed) {
            let mut config = login(["alice", "bob"][self.random.below(2) as usize], target);
            config.host("127.0.0.1").port(self.place.gateway);
            match within("a login", async { Ok(config.connect(NoTls).await?) }).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    self.serve(client).await;
                }
                Err(Trouble::Lost) => {
                    self.ledger.done("no session");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(Trouble::Wrong(why)) => return self.ledger.wrong(format!("{}: a login: {why}", self.name)),
            }
        }
    }

    /// Works over one connection, which may get lost.
    async fn serve(&mut self, mut client: Client) {
        let kinds: &[&'static str] = if self.guarded { &GUARDED } else { &PLAIN };
        while !self.stop.load(Ordering::Relaxed) {
            let kind = kinds[self.random.below(kinds.len() as u64) as usize];
            match within(kind, self.act(kind, &mut client)).await {
                Ok(()) => self.ledger.done(kind),
                Err(Trouble::Lost) => return self.ledger.done("lost"),
                Err(Trouble::Wrong(why)) => return self.ledger.wrong(format!("{}: {kind}: {why}", self.name)),
            }
            // A session may be as short as a command.
            if self.random.below(20) == 0 {
                return;
            }
        }
    }

    async fn act(&mut self, kind: &str, client: &mut Client) -> Done {
        let first = self.random.below(PEOPLE - 400) as i32;
        let mark = self.mark();
        match kind {
            "simple" => simple(client, first, &mark).await,
            "extended" => extended(client, first).await,
            "prepared" => prepared(client, first).await,
            "committed" => self.transact(client, mark, "commit").await,
            "rolled back" => self.transact(client, mark, "rollback").await,
            "denied" => denied(client, &mark).await,
            "denied in a transaction" => self.denied_in_transaction(client, mark).await,
            "pipelined" => pipelined(client, first).await,
            "cancelled" => {
                stopped(client, &format!("select pg_sleep(600) /* {mark} */")).await?;
                simple(client, first, &mark).await
            }
            "withdrawn" => {
                stopped(client, &format!("create table \"{mark}\" (id integer)")).await?;
                simple(client, first, &mark).await
            }
            "cursor" => cursor(client, first).await,
            "portal" => portal(client, first).await,
            "fetched" => fetched(client, first, &mark).await,
            "copied in" => self.copy_in(client, mark, true).await,
            "aborted copy" => self.copy_in(client, mark, false).await,
            "copied out" => copied_out(client, first, &mark).await,
            "large" => streamed(client, 2_000, &mark).await,
            _ => streamed(client, 20_000, &mark).await,
        }
    }

    fn mark(&mut self) -> String {
        self.marks += 1;
        format!("{}-{}", self.name, self.marks)
    }

    async fn transact(&mut self, client: &Client, mark: String, end: &str) -> Done {
        let work = async {
            client.batch_execute(&format!("begin /* {mark} */")).await?;
            client.batch_execute(&format!("insert into marks values ('{mark}')")).await?;
            simple(client, self.random.below(PEOPLE - 400) as i32, &mark).await
        };
        let worked = work.await;
        if worked.is_err() || end == "rollback" {
            self.ledger.undone([mark.clone()]);
        }
        worked?;
        client.batch_execute(&format!("{end} /* {mark} */")).await?;
        if end == "commit" {
            self.ledger.promised([mark]);
        }
        Ok(())
    }

    async fn denied_in_transaction(&mut self, client: &Client, mark: String) -> Done {
        self.ledger.undone([mark.clone()]);
        client.batch_execute(&format!("begin /* {mark} */")).await?;
        client.batch_execute(&format!("insert into marks values ('{mark}')")).await?;
        refused(client.batch_execute(&format!("truncate marks /* {mark} */")).await, "42501")?;
        refused(client.batch_execute(&format!("select 1 /* {mark} */")).await, "25P02")?;
        Ok(client.batch_execute(&format!("commit /* {mark} */")).await?)
    }

    async fn copy_in(&mut self, client: &Client, mark: String, whole: bool) -> Done {
        const ROWS: usize = 500;
        let row = |n: usize| format!("{mark}#{n}");
        let sink = client.copy_in::<_, Cursor<Vec<u8>>>(&format!("copy marks from stdin /* {mark} */")).await?;
        let mut sink = Box::pin(sink);
        let sent = async {
            for some in 0..5 {
                let rows: String = (some * 100..(some + 1) * 100).map(|n| row(n) + "\n").collect();
                sink.send(Cursor::new(rows.into_bytes())).await?;
            }
            Ok(())
        };
        let sent: Done = sent.await;
        if !whole || sent.is_err() {
            self.ledger.undone([mark.clone()]);
        }
        sent?;
        if whole {
            let rows = sink.as_mut().finish().await?;
            ensure(rows == ROWS as u64, || format!("{rows} of {ROWS} rows arrived"))?;
            self.ledger.promised((0..ROWS).map(row));
        } else {
            // It tells the server that it fails.
            drop(sink);
            simple_one(client, &mark).await?;
        }
        Ok(())
    }
}

/// Nothing here takes for ever.
async fn within<T>(what: &str, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let late = |_| Err(wrong(format!("{what} takes more than {} s", PATIENCE.as_secs())));
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(late)
}

/// Whether somebody was refused with this code.
fn refused<T>(outcome: Result<T, tokio_postgres::Error>, code: &str) -> Done {
    match outcome {
        Ok(_) => Err(wrong(format!("it was not refused with {code}"))),
        Err(error) if error.code().is_some_and(|c| c.code() == code) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The people from the first on, in order. One result is by one set of policies: all of its addresses are hidden alike, or none is.
fn people<'a>(rows: impl Iterator<Item = (i32, &'a str, &'a str)>, first: i32, count: i32) -> Done {
    let mut expected = first..first + count;
    let mut hidden = None;
    for (id, address, words) in rows {
        let next = expected.next();
        ensure(next == Some(id), || format!("{id} came for {next:?}"))?;
        ensure(words == note(id), || format!("{words:?} came for {id}"))?;
        let how = masked(id).iter().position(|form| form == address);
        let how = how.or((address == email(id)).then_some(usize::MAX));
        ensure(how.is_some() && how == *hidden.get_or_insert(how), || format!("{address:?} came for {id}"))?;
    }
    ensure(expected.is_empty(), || format!("{expected:?} did not come"))
}

/// The same where nothing may be left unmasked.
fn hidden<'a>(rows: impl Iterator<Item = (i32, &'a str, &'a str)> + Clone, first: i32, count: i32) -> Done {
    people(rows.clone(), first, count)?;
    let clear = rows.into_iter().find(|(id, address, _)| *address == email(*id));
    ensure(clear.is_none(), || format!("{clear:?} is not masked"))
}

fn typed(rows: &[Row]) -> impl Iterator<Item = (i32, &str, &str)> + Clone {
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2)))
}

fn texts(messages: &[SimpleQueryMessage]) -> impl Iterator<Item = (i32, &str, &str)> + Clone {
    messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let text = |i: usize| row.get(i).unwrap_or("NULL");
            Some((text(0).parse().unwrap_or(-1), text(1), text(2)))
        }
        _ => None,
    })
}

async fn simple(client: &Client, first: i32, mark: &str) -> Done {
    let text = "select id, email, note from people where id between";
    let messages = client.simple_query(&format!("{text} {first} and {} order by id /* {mark} */", first + 4)).await?;
    hidden(texts(&messages), first, 5)
}

async fn simple_one(client: &Client, mark: &str) -> Done {
    let messages = client.simple_query(&format!("select 7 /* {mark} */")).await?;
    let seven = |m: &SimpleQueryMessage| matches!(m, SimpleQueryMessage::Row(row) if row.get(0) == Some("7"));
    ensure(messages.iter().any(seven), || format!("{messages:?} came for 7"))
}

async fn extended(client: &Client, first: i32) -> Done {
    let text = "select id, email, note from people where id >= $1 and id < $1 + 7 order by id";
    hidden(typed(&client.query(text, &[&first]).await?), first, 7)
}

async fn prepared(client: &Client, first: i32) -> Done {
    let text = "select id, email, note from people where id >= $1 and id < $2 order by id";
    let statement = client.prepare(text).await?;
    for n in 1..5 {
        let rows = client.query(&statement, &[&(first + n), &(first + 3 * n)]).await?;
        hidden(typed(&rows), first + n, 2 * n)?;
    }
    Ok(())
}

async fn denied(client: &Client, mark: &str) -> Done {
    refused(client.batch_execute(&format!("truncate marks /* {mark} */")).await, "42501")?;
    refused(client.execute(&format!("drop table marks /* {mark} */"), &[]).await, "42501")?;
    let copy = format!("copy (select email from people) to stdout /* {mark} */");
    refused(client.copy_out(&copy).await.map(drop), "42501")?;
    simple_one(client, mark).await
}

async fn pipelined(client: &Client, first: i32) -> Done {
    let text = "select id, email, note from people where id >= $1 and id < $1 + 3 order by id";
    let statement = client.prepare(text).await?;
    let ask = async |first: i32| hidden(typed(&client.query(&statement, &[&first]).await?), first, 3);
    let no = async { refused(client.execute("truncate people", &[]).await, "42501") };
    let all = tokio::join!(ask(first), ask(first + 10), no, ask(first + 20), ask(first + 30), ask(first + 40));
    all.0.and(all.1).and(all.2).and(all.3).and(all.4).and(all.5)
}

/// Runs what would not end, and cancels it: as often as it takes, since a request that comes too early cancels nothing.
async fn stopped(client: &Client, text: &str) -> Done {
    let mut running = std::pin::pin!(client.batch_execute(text));
    loop {
        tokio::select! {
            outcome = &mut running => return refused(outcome, "57014"),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        // It may find all connections taken.
        let _ = client.cancel_token().cancel_query(NoTls).await;
    }
}

/// A portal that is run in pieces, each of which is asked about by itself.
async fn portal(client: &mut Client, first: i32) -> Done {
    let transaction = client.transaction().await?;
    let text = "select id, email, note from people where id >= $1 order by id";
    let portal = transaction.bind(text, &[&first]).await?;
    for n in 0..4 {
        let rows = transaction.query_portal(&portal, 60).await?;
        hidden(typed(&rows), first + 60 * n, 60)?;
    }
    Ok(transaction.rollback().await?)
}

async fn cursor(client: &Client, first: i32) -> Done {
    client.batch_execute("begin").await?;
    let outcome = async {
        let text = format!("declare k cursor for select id, email, note from people where id >= {first} order by id");
        client.batch_execute(&text).await?;
        for n in 0..4 {
            let rows = client.query("fetch 50 from k", &[]).await?;
            hidden(typed(&rows), first + 50 * n, 50)?;
        }
        Ok(())
    };
    let outcome: Done = outcome.await;
    if let Err(Trouble::Lost) = outcome {
        return outcome;
    }
    client.batch_execute("rollback").await?;
    outcome
}

async fn fetched(client: &Client, first: i32, mark: &str) -> Done {
    client.batch_execute(&format!("begin /* {mark} */")).await?;
    let text = format!("declare k cursor for select id, email, note from people where id >= {first} order by id");
    client.batch_execute(&text).await?;
    for n in 0..4 {
        let messages = client.simple_query("fetch 90 from k").await?;
        people(texts(&messages), first + 90 * n, 90)?;
    }
    Ok(client.batch_execute(&format!("commit /* {mark} */")).await?)
}

async fn copied_out(client: &Client, first: i32, mark: &str) -> Done {
    let last = first + 300;
    let rows = format!("select id, email, note from people where id >= {first} and id < {last} order by id");
    let mut copy = Box::pin(client.copy_out(&format!("copy ({rows}) to stdout /* {mark} */")).await?);
    let mut bytes = Vec::new();
    while let Some(some) = copy.next().await {
        bytes.extend_from_slice(&some?);
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("what came is not UTF-8"))?;
    let row = |line: &str| -> Option<(i32, String, String)> {
        let mut fields = line.split('\t');
        let (id, address, words) = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
        Some((id, address.to_owned(), words.to_owned()))
    };
    let rows: Vec<_> = text.lines().filter_map(row).collect();
    people(rows.iter().map(|(id, address, words)| (*id, address.as_str(), words.as_str())), first, 300)
}

/// A result of many rows, each of which tells whose it is.
pub(super) async fn streamed(client: &Client, count: i32, mark: &str) -> Done {
    let text = format!("select n, repeat('{mark}', 10) from generate_series(1, {count}) n");
    let rows = client.query_raw::<str, i32, [i32; 0]>(&text, []).await?;
    let mut rows = std::pin::pin!(rows);
    let mut n = 0;
    while let Some(row) = rows.next().await {
        let row = row?;
        n += 1;
        let whole = row.get::<_, i32>(0) == n && row.get::<_, &str>(1) == mark.repeat(10);
        ensure(whole, || format!("row {n} is {:?} {:?}", row.get::<_, i32>(0), row.get::<_, &str>(1)))?;
    }
    ensure(n == count, || format!("{n} of {count} rows came"))
}
