//! Answers that go on for long: server-sent events and downloads. Their number is bounded, and all end when the gateway stops.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{Extensions, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::io::ReaderStream;

use crate::App;
use crate::access::Caller;
use crate::listener::Line;
use crate::problem::Problem;

/// Streams at a time: half of the connections, so that the rest can always be asked.
const STREAMS: usize = 32;

/// Bytes of a stream that wait for its client.
const BUFFER: usize = 64 << 10;

/// How often a quiet stream of events shows that it is alive, and its token is looked at again.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The streams of the API.
pub(crate) struct Streams {
    slots: Arc<Semaphore>,
    closed: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(STREAMS)), closed: watch::Sender::new(false) }
    }
}

impl Streams {
    /// Ends all streams, and those to come.
    pub(crate) fn close(&self) {
        self.closed.send_replace(true);
    }
}

/// A request's right to answer with a stream.
pub(crate) struct Slot {
    permit: OwnedSemaphorePermit,
    line: Line,
}

impl FromRequestParts<Arc<App>> for Slot {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let full = |_| {
            let detail = format!("{STREAMS} streams are open already, which is the limit; end one, or try again later");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        };
        // Whoever may not come in at all takes no slot.
        Caller::find(app, &parts.headers)?;
        let permit = app.streams.slots.clone().try_acquire_owned().map_err(full)?;
        Ok(Self { permit, line: line(&parts.extensions) })
    }
}

fn line(extensions: &Extensions) -> Line {
    extensions.get::<ConnectInfo<Line>>().map(|ConnectInfo(line)| line.clone()).unwrap_or_default()
}

impl Slot {
    /// A body that is written by a task of its own, which ends with the client or the gateway. It waits while the client is slow.
    pub(crate) fn body<F>(self, app: &App, write: impl FnOnce(DuplexStream) -> F) -> Body
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let Self { permit, line } = self;
        line.outlive();
        let (out, body) = tokio::io::duplex(BUFFER);
        let written = write(out);
        let mut closed = app.streams.closed.subscribe();
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                // The sender is as old as the app, which may be gone only when nothing is served any more.
                _ = closed.wait_for(|closed| *closed) => {}
                done = written => {
                    if let Err(error) = done && error.kind() != io::ErrorKind::BrokenPipe {
                        tracing::warn!(%error, "a stream of the admin API was cut");
                    }
                }
            }
        });
        Body::from_stream(ReaderStream::with_capacity(body, BUFFER))
    }

    /// An answer of server-sent events (WHATWG HTML §9.2).
    pub(crate) fn events<F>(self, app: &Arc<App>, caller: Caller, feed: impl FnOnce(Feed) -> F) -> Response
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let held = app.clone();
        let body = self.body(app, |out| {
            let mut ticks = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            feed(Feed { out, ticks, app: held, caller })
        });
        ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
    }
}

/// Writes server-sent events. They carry no identifiers: a stream begins with how things stand, and cannot be resumed.
pub(crate) struct Feed {
    out: DuplexStream,
    ticks: Interval,
    app: Arc<App>,
    caller: Caller,
}

impl Feed {
    pub(crate) async fn event(&mut self, name: &str, data: &impl Serialize) -> io::Result<()> {
        // JSON has no raw line breaks.
        let data = serde_json::to_string(data)?;
        self.out.write_all(format!("event: {name}\ndata: {data}\n\n").as_bytes()).await
    }

    /// Waits for this, and keeps the stream alive meanwhile; until the caller's token does not count any more.
    pub(crate) async fn wait<T>(&mut self, future: impl Future<Output = T>) -> io::Result<T> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                // A busy stream must not keep its token from being looked at.
                biased;
                _ = self.ticks.tick() => {
                    if !self.app.tokens.hold(&self.caller) {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                    self.out.write_all(b":\n\n").await?;
                }
                done = &mut future => return Ok(done),
            }
        }
    }
}
