//! A client's connection that a test can stop, slow down and cut at any byte, beneath whatever driver uses it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It closes its connection.
    Close,
    /// It resets its connection, as the system does for a process that left data unread, or a router that has forgotten it.
    Reset,
    /// It says and takes nothing any more, and its connection stays.
    Silence,
}

/// See the module.
pub(crate) struct Line {
    tcp: TcpStream,
    ends: Arc<Ends>,
}

/// What a test holds of a line.
#[derive(Default)]
pub(crate) struct Ends {
    /// Towards the gateway.
    pub(crate) up: Flow,
    /// Towards the driver.
    pub(crate) down: Flow,
}

/// One direction of a line.
#[derive(Default)]
pub(crate) struct Flow {
    /// The bytes that may still pass, if they are counted, and who waits for more.
    rest: Mutex<(Option<usize>, Option<Waker>)>,
    dry: Notify,
}

impl Line {
    /// Dials the gateway. How the line will be cut has to be known before.
    pub(crate) async fn dial(port: u16, cut: Cut) -> io::Result<(Self, Arc<Ends>)> {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        tcp.set_nodelay(true)?;
        if cut == Cut::Reset {
            tcp.set_zero_linger()?;
        }
        let ends = Arc::<Ends>::default();
        Ok((Self { tcp, ends: ends.clone() }, ends))
    }
}

impl Flow {
    /// Lets no more than so many bytes pass from now on.
    pub(crate) fn limit(&self, bytes: usize) {
        self.rest.lock().unwrap().0 = Some(bytes);
    }

    /// Lets some more pass.
    pub(crate) fn grant(&self, bytes: usize) {
        let mut rest = self.rest.lock().unwrap();
        rest.0 = rest.0.map(|rest| rest + bytes);
        if let Some(waiting) = rest.1.take() {
            waiting.wake();
        }
    }

    /// Waits until the driver wants more than may pass.
    pub(crate) async fn dry(&self) {
        self.dry.notified().await;
    }

    /// How many bytes may pass of so many.
    fn poll_rest(&self, cx: &mut Context<'_>, wanted: usize) -> Poll<usize> {
        let mut rest = self.rest.lock().unwrap();
        match rest.0 {
            Some(0) => {
                rest.1 = Some(cx.waker().clone());
                self.dry.notify_one();
                Poll::Pending
            }
            Some(left) => Poll::Ready(left.min(wanted)),
            None => Poll::Ready(wanted),
        }
    }

    fn spend(&self, bytes: usize) {
        let mut rest = self.rest.lock().unwrap();
        rest.0 = rest.0.map(|rest| rest.saturating_sub(bytes));
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 8192];
        let room = ready!(self.ends.down.poll_rest(cx, buf.remaining().min(bytes.len())));
        let mut part = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut part))?;
        self.ends.down.spend(part.filled().len());
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.ends.up.poll_rest(cx, buf.len()));
        let sent = ready!(Pin::new(&mut self.tcp).poll_write(cx, &buf[..room]))?;
        self.ends.up.spend(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
