//! A listener with few connections that live for a short time, so that slow or many callers cannot pile up.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// Connections at a time; others wait in the system's queue.
const CONNECTIONS: usize = 64;

/// A connection serves one request, and is closed after this time from its request's head on whatever it does, unless its answer is a
/// stream. That is closed when its client has taken nothing for so long. A reload that takes longer goes on.
const LIFETIME: Duration = Duration::from_secs(60);

/// The time for a TLS handshake, and again for the head of the request: whoever only holds a connection does not hold it for long.
const OPENING: Duration = Duration::from_secs(10);

pub(crate) struct Bounded {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    slots: Arc<Semaphore>,
}

impl Bounded {
    pub(crate) fn new(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self { listener, tls: tls.map(TlsAcceptor::from), slots: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        // The listener's own implementation waits out the errors that pass, such as too many open files.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // What is sent is small and waited for, and a peer who is gone must not keep the slot. Without either it still works.
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(LIFETIME));
        let line = Line::default();
        let deadline = Box::pin(tokio::time::sleep(OPENING));
        let timed = Timed { stream, deadline, line: line.clone(), _slot: slot };
        let io = match &self.tls {
            // The handshake happens when the connection's own task first reads.
            Some(tls) => Io::Handshake(Box::new(tls.accept(timed))),
            None => Io::Plain(timed),
        };
        (Connection { io, line, head: Head::default() }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A request's handle on the connection that it came over.
#[derive(Clone, Default)]
pub(crate) struct Line(Arc<AtomicBool>);

impl Line {
    /// The answer is a stream: the connection lives as long as its client takes bytes.
    pub(crate) fn outlive(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn outlives(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Line {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().line.clone()
    }
}

pub(crate) struct Connection {
    io: Io,
    line: Line,
    head: Head,
}

/// How much of a request's head has come: it ends with the first empty line behind another.
#[derive(Default)]
struct Head {
    /// There is something in the line that was begun.
    in_line: bool,
    /// There was a line that is not empty: what is before it is skipped (RFC 9112 §2.2).
    begun: bool,
    ended: bool,
}

impl Head {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => {
                    self.ended |= self.begun && !self.in_line;
                    self.in_line = false;
                }
                b'\r' => {}
                _ => (self.in_line, self.begun) = (true, true),
            }
        }
    }
}

enum Io {
    Plain(Timed),
    Handshake(Box<Accept<Timed>>),
    Tls(Box<TlsStream<Timed>>),
    /// The handshake has failed.
    Ended,
}

/// What reads and writes.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl Connection {
    /// The stream, after the handshake if there is one.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Stream>>> {
        if let Io::Handshake(accept) = &mut self.io {
            let shaken = ready!(Pin::new(accept).poll(cx));
            // A handshake that has failed must not be polled again.
            self.io = Io::Ended;
            let mut tls = shaken.inspect_err(|error| {
                tracing::debug!(%error, "a TLS handshake with the admin API has failed");
            })?;
            tls.get_mut().0.extend(OPENING);
            self.io = Io::Tls(Box::new(tls));
        }
        Poll::Ready(match &mut self.io {
            Io::Plain(stream) => Ok(Pin::new(stream)),
            Io::Tls(stream) => Ok(Pin::new(&mut **stream)),
            Io::Handshake(_) | Io::Ended => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    /// The request's head is there: its lifetime begins.
    fn begin(&mut self) {
        match &mut self.io {
            Io::Plain(stream) => stream.extend(LIFETIME),
            Io::Tls(stream) => stream.get_mut().0.extend(LIFETIME),
            Io::Handshake(_) | Io::Ended => {}
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(ready!(self.poll_open(cx))?.poll_read(cx, buf))?;
        if !self.head.ended {
            self.head.take(&buf.filled()[before..]);
            if self.head.ended {
                self.begin();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            // There is nothing to flush.
            Io::Handshake(_) | Io::Ended => Poll::Ready(Ok(())),
            _ => ready!(self.poll_open(cx))?.poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.io {
            // Whoever has not even shaken hands gets no farewell.
            Io::Handshake(_) | Io::Ended => Poll::Ready(Ok(())),
            _ => ready!(self.poll_open(cx))?.poll_shutdown(cx),
        }
    }
}

/// A connection with its deadline and its slot, beneath TLS.
struct Timed {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    line: Line,
    _slot: OwnedSemaphorePermit,
}

impl Timed {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// So much time from now on.
    fn extend(&mut self, time: Duration) {
        self.deadline.as_mut().reset(Instant::now() + time);
    }
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if self.line.outlives() && matches!(written, Poll::Ready(Ok(taken)) if taken > 0) {
            self.extend(LIFETIME);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listener() -> (Bounded, SocketAddr) {
        let listener = Bounded::new(TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), None);
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A connection over which this was sent and read.
    async fn sent(bytes: &[u8]) -> (std::net::TcpStream, Connection) {
        let (mut listener, address) = listener().await;
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(bytes).unwrap();
        let (mut connection, _) = listener.accept().await;
        connection.read_exact(&mut vec![0; bytes.len()]).await.unwrap();
        (client, connection)
    }

    async fn ends_after(connection: &mut Connection) -> u64 {
        let begun = Instant::now();
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_whole_head_is_ended_soon() {
        for bytes in ["", "\r\n\r\n\n", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r"] {
            let (_client, mut connection) = sent(bytes.as_bytes()).await;
            assert_eq!(ends_after(&mut connection).await, OPENING.as_secs(), "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_byte_by_byte_gets_no_more_time() {
        let (mut client, mut connection) = sent(b"GET / HTTP/1.1\r\n").await;
        for second in 0..OPENING.as_secs() {
            client.write_all(b"x").unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), b'x', "{second}");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(ends_after(&mut connection).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_a_lifetime_from_its_head_on() {
        for bytes in ["GET / HTTP/1.1\r\n\r\n", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\nbody", "GET / HTTP/1.1\n\n"] {
            let (_client, mut connection) = sent(bytes.as_bytes()).await;
            assert_eq!(ends_after(&mut connection).await, LIFETIME.as_secs(), "{bytes:?}");
        }
        // In pieces, of which the last come late.
        let (mut client, mut connection) = sent(b"GET / HTTP/1.1\r\nHost: x\r").await;
        tokio::time::advance(OPENING / 2).await;
        for piece in [&b"\n\r"[..], b"\n"] {
            client.write_all(piece).unwrap();
            connection.read_exact(&mut vec![0; piece.len()]).await.unwrap();
        }
        assert_eq!(ends_after(&mut connection).await, LIFETIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_outlives_others_while_its_client_takes_bytes() {
        for (outlives, written) in [(false, 3), (true, 8)] {
            let (_client, mut connection) = sent(b"GET / HTTP/1.1\r\n\r\n").await;
            if outlives {
                connection.line.outlive();
            }
            let mut count = 0;
            for _ in 0..8 {
                tokio::time::advance(LIFETIME / 4).await;
                count += usize::from(connection.write(b"x").await.is_ok());
            }
            assert_eq!(count, written);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_client_takes_nothing_is_ended() {
        let (_client, mut connection) = sent(b"GET / HTTP/1.1\r\n\r\n").await;
        connection.line.outlive();
        // More than the buffers of both systems hold.
        let error = connection.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn connections_are_bounded_in_number() {
        let (mut listener, address) = listener().await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let client = std::net::TcpStream::connect(address).unwrap();
            held.push((client, listener.accept().await.0));
        }
        assert_eq!(listener.slots.available_permits(), 0);
        held.pop();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let _connection = listener.accept().await;
        assert_eq!(listener.slots.available_permits(), 0);
    }
}
