//! The stream of bytes over binary messages.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::coop::unconstrained;

use super::decoder::{Decoder, End};
use super::error::Violation;
use super::frame::{Opcode, Role};
use super::linger::linger;
use super::output::Output;

/// Most reads without payload before other tasks get their turn.
const MAX_EMPTY_READS: usize = 16;

/// The code of a close frame after which nothing is wrong.
const NORMAL_CLOSURE: u16 = 1000;

/// A stream of bytes over the binary messages of an upgraded connection.
///
/// Reading answers pings and close frames, and ignores pongs. It ends after the peer's close frame. If the peer
/// breaks the protocol, reading fails once with a [`Violation`] after the payload before it, having sent the close
/// frame as far as the peer has room for it; [`close`](Self::close) then gives the peer time to read it.
///
/// Each write becomes messages of at most [`MAX_SENT_MESSAGE`](super::MAX_SENT_MESSAGE) bytes, and one write to the
/// inner stream, so callers pass as many frames as they have. Bytes that the inner stream did not take are kept, so
/// callers flush before they wait for anything else. Shutting down sends a close frame.
///
/// Reads go to the caller's buffer directly: it should have room for several frames.
#[derive(Debug)]
pub struct WebSocketStream<S> {
    io: S,
    role: Role,
    decoder: Decoder,
    /// Frames that arrived with the head of the upgrade.
    early: Vec<u8>,
    /// Set when no more payload comes: the next read returns it once.
    end: Option<Result<(), Violation>>,
    output: Output,
    is_close_sent: bool,
    /// The task that waits to write, which waiting reads must not displace.
    writer: Option<Waker>,
}

impl<S> WebSocketStream<S> {
    /// Creates the stream of the side `role` after an upgrade. `early` holds received frames.
    #[must_use]
    pub fn new(io: S, role: Role, early: Vec<u8>) -> Self {
        Self {
            io,
            role,
            decoder: Decoder::new(role),
            early,
            end: None,
            output: Output::default(),
            is_close_sent: false,
            writer: None,
        }
    }

    /// Returns the inner stream.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    #[cfg(test)]
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.io
    }

    /// Returns the number of bytes of heap memory that it owns.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.output.held() + self.early.capacity()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketStream<S> {
    /// Sends what is buffered and a close frame, and discards what the peer still sends until it closes too, within
    /// `limit`. Otherwise the kernel may discard the close frame, since input that nobody read resets a connection.
    pub async fn close(mut self, limit: Duration) {
        let close = async {
            if self.shutdown().await.is_ok() {
                linger(&mut self.io).await;
            }
        };
        // A peer that does not close in time is dropped.
        let _ = tokio::time::timeout(limit, close).await;
    }

    fn send_close(&mut self, code: Option<u16>) {
        if !self.is_close_sent {
            self.is_close_sent = true;
            let code = code.map(u16::to_be_bytes);
            let payload = code.as_ref().map_or(&[][..], |code| &code[..]);
            self.output.push_control(self.role, Opcode::Close, payload);
        }
    }

    /// Writes all frames that are due, but does not flush the inner stream.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.output.poll_drain(&mut self.io, cx))?;
            let Some(ping) = self.decoder.take_ping() else {
                return Poll::Ready(Ok(()));
            };
            if !self.is_close_sent {
                self.output
                    .push_control(self.role, Opcode::Pong, ping.as_bytes());
            }
        }
    }

    /// Flushes everything.
    fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Sends control frames while reading, as far as there is room. Failures show in the next read or write.
    fn reply(&mut self, cx: &mut Context<'_>) {
        if self.output.is_empty() && !self.decoder.has_ping() {
            return;
        }
        let waker = match &self.writer {
            Some(writer) if !writer.will_wake(cx.waker()) => {
                let both = Both(writer.clone(), cx.waker().clone());
                Waker::from(Arc::new(both))
            }
            _ => cx.waker().clone(),
        };
        // A caller that ends with the violation does not come back, so the frame must not wait for the next turn of
        // its task.
        let flush = unconstrained(poll_fn(|cx| self.poll_flush_all(cx)));
        let _ = pin!(flush).poll(&mut Context::from_waker(&waker));
    }

    /// Remembers the task that waits to write.
    fn writing<T>(&mut self, cx: &Context<'_>, poll: Poll<T>) -> Poll<T> {
        match (&poll, &mut self.writer) {
            (Poll::Ready(_), writer) => *writer = None,
            (Poll::Pending, Some(waker)) => waker.clone_from(cx.waker()),
            (Poll::Pending, writer) => *writer = Some(cx.waker().clone()),
        }
        poll
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        payloads: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_close_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_drain(cx))?;
        let (role, io) = (self.role, &mut self.io);
        self.output.poll_send(role, io, cx, payloads)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_close(Some(NORMAL_CLOSURE));
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Receives bytes into `space`. Returns their number, 0 at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.early.is_empty() {
            let mut space = ReadBuf::new(space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut space))?;
            return Poll::Ready(Ok(space.filled().len()));
        }
        let n = self.early.len().min(space.len());
        space[..n].copy_from_slice(&self.early[..n]);
        self.early.drain(..n);
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        Poll::Ready(Ok(n))
    }

    /// Returns the end that the peer caused, once.
    fn finish(&mut self, end: Result<(), Violation>) -> io::Result<()> {
        self.end = Some(Ok(()));
        Ok(end?)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A pong that had no room.
        this.reply(cx);
        if let Some(end) = this.end {
            return Poll::Ready(this.finish(end));
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..MAX_EMPTY_READS {
            let space = buffer.initialize_unfilled();
            let n = ready!(this.poll_receive(cx, space))?;
            if n == 0 {
                if this.decoder.is_mid_message() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                return Poll::Ready(this.finish(Ok(())));
            }
            let decoded = this.decoder.decode(&mut space[..n]);
            this.end = decoded.end.map(|end| match end {
                End::Closed(code) => {
                    this.send_close(code);
                    Ok(())
                }
                End::Violation(violation) => {
                    this.send_close(Some(violation.close_code()));
                    Err(violation)
                }
            });
            this.reply(cx);
            if decoded.payload > 0 {
                buffer.advance(decoded.payload);
                return Poll::Ready(Ok(()));
            }
            if let Some(end) = this.end {
                return Poll::Ready(this.finish(end));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        payload: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(payload)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        payloads: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = this.poll_send(cx, payloads);
        this.writing(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = this.poll_flush_all(cx);
        this.writing(cx, poll)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let poll = this.poll_close(cx);
        this.writing(cx, poll)
    }
}

/// Wakes two tasks.
struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}
