//! One side of a session: a connection and its buffers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use crate::io::Stream;

const SMALL_BUFFER: usize = 4 << 10;
/// What one read takes at most of a stream of much data.
pub(super) const LARGE_BUFFER: usize = 64 << 10;

/// A connection, with what came of it and what was written to it.
pub(super) struct Side {
    pub(super) stream: Stream,
    pub(super) input: BytesMut,
    /// How much of the machine's output was written.
    pub(super) sent: usize,
    flushed: bool,
}

impl Side {
    pub(super) fn new(stream: Stream, input: BytesMut) -> Self {
        Self { stream, input, sent: 0, flushed: true }
    }

    /// Writes what it can of `out`, and clears it when all is written.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
        while self.sent < out.len() {
            match Pin::new(&mut self.stream).poll_write(cx, out.get(self.sent..).unwrap_or_default()) {
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => (self.sent, self.flushed) = (self.sent + count, false),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if !out.is_empty() && self.sent == out.len() {
            out.clear();
            self.sent = 0;
        }
        if !self.flushed
            && let Poll::Ready(result) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            self.flushed = true;
            return result;
        }
        Ok(())
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        if self.input.capacity() - self.input.len() < SMALL_BUFFER / 4 {
            // Full: a stream of much data, for which larger reads are cheaper.
            self.input.reserve(if self.input.is_empty() { SMALL_BUFFER } else { LARGE_BUFFER });
        }
        poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input)
    }

    /// Gives back the memory of a burst.
    pub(super) fn shrink(&mut self) {
        if self.input.is_empty() && self.input.capacity() > SMALL_BUFFER {
            self.input = BytesMut::new();
        }
    }
}

/// Gives back the memory of a burst.
pub(super) fn shrink(out: &mut Vec<u8>) {
    if out.is_empty() && out.capacity() > LARGE_BUFFER {
        *out = Vec::new();
    }
}
