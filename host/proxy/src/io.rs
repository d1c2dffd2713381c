//! A connection, with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Sets what every connection has: small messages leave at once, and a peer that is gone without a word is noticed after some minutes
/// of silence, for a command may take as long as it likes to answer.
pub(crate) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10));
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// Sets what a client's connection has beside: whoever takes nothing for so long of what the system holds for them is given up, as they are
/// for what the session holds. Otherwise the system would try for a quarter of an hour to reach one who is gone.
pub(crate) fn bear_with(client: &TcpStream, stall: Duration) {
    // Without it the connection still works.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(client).set_tcp_user_timeout(Some(stall));
}

/// A connection to a client or a server.
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Nothing: its connection was taken for a TLS handshake that did not succeed.
    Closed,
    /// To a server.
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
    /// From a client.
    Server(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Stream {
    /// The certificates that the peer proved to own, its own first.
    pub(crate) fn peer_certificates(&self) -> &[rustls_pki_types::CertificateDer<'static>] {
        match self {
            Self::Server(tls) => tls.get_ref().1.peer_certificates().unwrap_or_default(),
            Self::Plain(_) | Self::Client(_) | Self::Closed => &[],
        }
    }
}

macro_rules! each {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($inner) => $call,
            Stream::Client($inner) => $call,
            Stream::Server($inner) => $call,
            Stream::Closed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
