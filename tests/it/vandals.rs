//! Clients that vanish: in every state that a connection can be in, and in every way that there is.

use std::any::Any;
use std::future::poll_fn;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use portcullis_tests::gateway::USER_PASSWORD;
use portcullis_tests::postgres::{PASSWORD, ROLE};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::line::{Cut, Ends, Line};
use crate::support::Authority;

/// What a client is at when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// It has sent so many bytes of its login.
    Login(usize),
    /// The same behind a request for TLS.
    Tls(usize),
    Idle,
    InTransaction,
    MidQuery,
    MidResult,
    CopyIn,
    CopyOut,
    /// Its command waits for approval.
    Held,
    /// It has sent so many bytes of a cancel request, over another connection.
    Cancelling(usize),
}

/// Every state; the logins are cut in the startup message, in the handshake of TLS, in each message of SCRAM, and between them.
const STATES: [State; 25] = [
    State::Login(0),
    State::Login(3),
    State::Login(20),
    State::Login(55),
    State::Login(75),
    State::Login(110),
    State::Login(150),
    State::Login(230),
    State::Tls(5),
    State::Tls(8),
    State::Tls(100),
    State::Tls(300),
    State::Tls(400),
    State::Tls(500),
    State::Tls(600),
    State::Idle,
    State::InTransaction,
    State::MidQuery,
    State::MidResult,
    State::CopyIn,
    State::CopyOut,
    State::Held,
    State::Cancelling(0),
    State::Cancelling(9),
    State::Cancelling(16),
];

/// Every state with every way to go in it. Who waits for an answer, or sends data, may be silent for as long as they like.
pub(crate) fn ways() -> impl Iterator<Item = (State, Cut)> {
    let ways = STATES.into_iter().flat_map(|state| [Cut::Close, Cut::Reset, Cut::Silence].map(|cut| (state, cut)));
    let waits = |state| matches!(state, State::MidQuery | State::CopyIn | State::Held | State::Cancelling(_));
    ways.filter(move |(state, cut)| *cut != Cut::Silence || !waits(*state))
}

/// Where vandals find everything.
#[derive(Clone)]
pub(crate) struct Place {
    /// The gateway's port. Its target `shop` has policies, one of which holds changes of the schema; its target `plain` has none.
    pub(crate) gateway: u16,
    /// The server's own.
    pub(crate) server: u16,
    pub(crate) tls: MakeRustlsConnect,
}

/// What a vandal leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// A mark that must not be in the table `marks`.
    pub(crate) undone: Option<String>,
    /// The connection of one who has fallen silent; it closes when this is dropped.
    pub(crate) silent: JoinSet<()>,
}

/// A client on a line.
struct Victim {
    client: Client,
    ends: Arc<Ends>,
    noticed: Arc<Notify>,
}

/// The TLS of a client that trusts this authority.
pub(crate) fn trusting(authority: &Authority) -> MakeRustlsConnect {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    MakeRustlsConnect::new(tls.with_root_certificates(roots).with_no_client_auth())
}

/// How somebody logs in to a target.
pub(crate) fn login(user: &str, target: &str) -> Config {
    let mut config = Config::new();
    config.user(user).password(USER_PASSWORD).dbname(target);
    config
}

/// A text that nobody else uses.
fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{what}{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Brings a client into a state and cuts its connection there. An error says that it did not come so far.
pub(crate) async fn vanish(place: &Place, state: State, cut: Cut) -> Result<Trace> {
    let mut trace = Trace::default();
    match state {
        State::Login(bytes) => stop_login(place, bytes, false, cut, &mut trace).await?,
        State::Tls(bytes) => stop_login(place, bytes, true, cut, &mut trace).await?,
        _ => {
            let target = if matches!(state, State::CopyOut) { "plain" } else { "shop" };
            let (victim, mut driver) = Victim::enter(place, target, cut).await?;
            let kept = tokio::select! {
                kept = victim.reach(place, state, cut, &mut trace) => kept?,
                _ = driver.join_next() => bail!("it has lost its connection"),
            };
            if cut == Cut::Silence {
                victim.ends.up.limit(0);
                victim.ends.down.limit(0);
                trace.silent = driver;
            } else {
                drop(driver);
            }
            drop(kept);
        }
    }
    Ok(trace)
}

async fn stop_login(place: &Place, bytes: usize, tls: bool, cut: Cut, trace: &mut Trace) -> Result<()> {
    let (line, ends) = Line::dial(place.gateway, cut).await?;
    ends.up.limit(bytes);
    let mut config = login("alice", "shop");
    let mut make = place.tls.clone();
    let connector = MakeTlsConnect::<Line>::make_tls_connect(&mut make, "localhost")?;
    let mut attempt = JoinSet::new();
    attempt.spawn(async move {
        let came_in = if tls {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            config.connect_raw(line, connector).await.map(drop)
        } else {
            config.connect_raw(line, NoTls).await.map(drop)
        };
        // Only the limit ends this.
        drop(came_in);
    });
    tokio::select! {
        () = ends.up.dry() => {}
        _ = attempt.join_next() => bail!("a login took less than {bytes} bytes, or was refused"),
    }
    if cut == Cut::Silence {
        trace.silent = attempt;
    }
    Ok(())
}

impl Victim {
    /// Logs in. The connection is moved by the task in the set, and ends with it.
    async fn enter(place: &Place, target: &str, cut: Cut) -> Result<(Self, JoinSet<()>)> {
        let (line, ends) = Line::dial(place.gateway, cut).await?;
        let (client, mut connection) = login("alice", target).connect_raw(line, NoTls).await?;
        let noticed = Arc::new(Notify::new());
        let notify = noticed.clone();
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(_) = message {
                    notify.notify_one();
                }
            }
        });
        Ok((Self { client, ends, noticed }, driver))
    }

    /// Does what leads into a state, and returns when it is there: with what would lead out of it when dropped.
    async fn reach(
        &self,
        place: &Place,
        state: State,
        cut: Cut,
        trace: &mut Trace,
    ) -> Result<Option<Box<dyn Any + Send>>> {
        let mark = unique("undone-");
        match state {
            State::Login(_) | State::Tls(_) | State::Idle => {}
            State::InTransaction => {
                self.client.batch_execute("begin").await?;
                self.client.batch_execute(&format!("insert into marks values ('{mark}')")).await?;
                trace.undone = Some(mark);
            }
            State::MidQuery | State::Cancelling(_) => {
                let text = format!("select pg_sleep(600) /* {mark} */");
                self.client.simple_query_raw(&text).await?;
                runs(place, &mark).await?;
                if let State::Cancelling(bytes) = state {
                    self.cancel(place, bytes, cut).await?;
                }
            }
            State::MidResult => {
                self.ends.down.limit(300_000);
                let text = format!("select repeat('x', 1000) /* {mark} */ from generate_series(1, 50000)");
                self.client.simple_query_raw(&text).await?;
                self.ends.down.dry().await;
            }
            State::CopyOut => {
                self.ends.down.limit(1_000_000);
                let text =
                    format!("copy (select repeat('x', 1000) /* {mark} */ from generate_series(1, 90000)) to stdout");
                let mut rows = Box::pin(self.client.copy_out(&text).await?);
                // The driver reads no further than somebody takes.
                while let Some(row) = tokio::select! { row = rows.next() => row, () = self.ends.down.dry() => None } {
                    row?;
                }
            }
            State::CopyIn => {
                let text = format!("copy marks from stdin /* {mark} */");
                let mut rows = Box::pin(self.client.copy_in::<_, Cursor<Vec<u8>>>(&text).await?);
                for n in 0..100 {
                    let row = |n: usize| format!("{mark}#{n}\n");
                    let some: String = (n * 100..(n + 1) * 100).map(row).collect();
                    rows.send(Cursor::new(some.into_bytes())).await?;
                }
                rows.flush().await?;
                trace.undone = Some(mark);
                return Ok(Some(Box::new(rows)));
            }
            State::Held => {
                let text = format!("create table \"{mark}\" (id integer)");
                self.client.simple_query_raw(&text).await?;
                tokio::time::timeout(Duration::from_secs(20), self.noticed.notified())
                    .await
                    .context("it is not held")?;
            }
        }
        Ok(None)
    }

    async fn cancel(&self, place: &Place, bytes: usize, cut: Cut) -> Result<()> {
        let (line, ends) = Line::dial(place.gateway, cut).await?;
        ends.up.limit(bytes);
        let token = self.client.cancel_token();
        tokio::select! {
            () = ends.up.dry() => {}
            // The whole request may have gone out.
            _ = token.cancel_query_raw(line, NoTls) => {}
        }
        Ok(())
    }
}

/// Waits until the server runs a text with this in it.
async fn runs(place: &Place, mark: &str) -> Result<()> {
    let mut config = login(ROLE, "shop");
    config.password(PASSWORD).host("127.0.0.1").port(place.server).application_name("watcher");
    let (watcher, connection) = config.connect(NoTls).await?;
    let _driver = tokio::spawn(connection);
    let running = "select 1 from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and position($1 in query) > 0";
    for _ in 0..500 {
        if !watcher.query(running, &[&mark]).await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("{mark} does not run")
}
