//! A stream that takes leave of a peer that breaks the protocol.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::WebSocketStream;

/// Time that the peer has to read the close frame and to close.
const LIMIT: Duration = Duration::from_secs(1);

/// A [`WebSocketStream`] whose reads fail only after it has been [closed](WebSocketStream::close), so that the reader
/// may drop it at once. Meanwhile nothing is written.
pub(crate) struct ClosingStream<S>(State<S>);

#[expect(clippy::large_enum_variant, reason = "it is nearly always open")]
enum State<S> {
    Open(WebSocketStream<S>),
    /// The peer has caused the error that the future returns.
    Closing(Pin<Box<dyn Future<Output = io::Error>>>),
    /// Closed, with the error until it has been returned.
    Closed(Option<io::Error>),
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> ClosingStream<S> {
    pub(crate) fn new(stream: WebSocketStream<S>) -> Self {
        Self(State::Open(stream))
    }

    /// Starts to close an open stream.
    fn close(&mut self, error: io::Error) {
        if let State::Open(stream) = std::mem::replace(&mut self.0, State::Closed(None)) {
            self.0 = State::Closing(Box::pin(async {
                stream.close(LIMIT).await;
                error
            }));
        }
    }

    /// Returns the state: open, or closed once a stream that is closing has ended.
    fn poll_state(&mut self, cx: &mut Context<'_>) -> Poll<&mut State<S>> {
        if let State::Closing(closing) = &mut self.0 {
            let error = ready!(closing.as_mut().poll(cx));
            self.0 = State::Closed(Some(error));
        }
        Poll::Ready(&mut self.0)
    }

    /// Writes to an open stream.
    fn poll_open<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut WebSocketStream<S>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match ready!(self.poll_state(cx)) {
            State::Open(stream) => poll(Pin::new(stream), cx),
            _ => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> AsyncRead for ClosingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let State::Open(stream) = &mut self.0 {
            match ready!(Pin::new(stream).poll_read(cx, buffer)) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(error) => self.close(error),
            }
        }
        match ready!(self.poll_state(cx)) {
            State::Closed(error) => Poll::Ready(error.take().map_or(Ok(()), Err)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> AsyncWrite for ClosingStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_open(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_open(cx, AsyncWrite::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_open(cx, AsyncWrite::poll_shutdown)
    }
}
