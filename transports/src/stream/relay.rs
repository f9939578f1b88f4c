//! Relaying between a byte stream and a socket pair.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep};

/// Bytes that are copied at a time: the longest frame.
const COPY: usize = 64 * 1024;
/// Time that a stream has to end after the other side has.
const LINGER: Duration = Duration::from_secs(5);
/// Number of copies before other tasks of the thread have their turn.
const COPIES: usize = 16;

thread_local! {
    /// The buffer of all relays of a thread, so that an idle relay has none.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Copies in both directions between `stream` and `end`, one end of a [`pipe`](super::pipe()). Passes an end of file
/// on. Closes both when both have ended or one has failed.
///
/// Once `end` has ended, `stream` has 5 s to take the rest and to end as well: a peer that keeps its connection open must
/// not keep the relay of a peering that is over.
///
/// While nothing moves it holds no memory for bytes, and while one side does not read at most 64 KiB for it.
///
/// # Errors
/// Returns the first failure.
pub async fn relay<S>(mut stream: S, end: OwnedFd) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = std::os::unix::net::UnixStream::from(end);
    end.set_nonblocking(true)?;
    let mut end = UnixStream::from_std(end)?;
    let (mut inbound, mut outbound) = (Direction::default(), Direction::default());
    let mut limit: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        let inbound = inbound.poll(context, &mut stream, &mut end)?;
        let outbound_ended = outbound.poll(context, &mut end, &mut stream)?;
        if let (Poll::Ready(()), Poll::Ready(())) = (inbound, outbound_ended) {
            return Poll::Ready(Ok(()));
        }
        if outbound.state != State::Open {
            let limit = limit.get_or_insert_with(|| Box::pin(sleep(LINGER)));
            ready!(limit.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    })
    .await
}

/// The bytes that go in one direction.
#[derive(Debug, Default)]
struct Direction {
    /// Bytes that were read and could not be written yet.
    rest: Vec<u8>,
    /// The number of these that have been written since.
    written: usize,
    unflushed: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// The reader has ended, and the writer must be told.
    Ended,
    Closed,
}

impl Direction {
    /// Copies until one of the streams is not ready. Returns ready when the end of file has been passed on.
    fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> io::Result<Poll<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        match self.try_poll(context, from, to) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn try_poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..COPIES {
            ready!(self.write_rest(context, to))?;
            match self.state {
                State::Open => {}
                State::Ended => {
                    ready!(Pin::new(&mut *to).poll_shutdown(context))?;
                    self.state = State::Closed;
                    return Poll::Ready(Ok(()));
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
            match self.copy(context, from, to) {
                Poll::Ready(done) => done?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(context))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn write_rest(
        &mut self,
        context: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .rest
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            self.written += ready!(write(context, to, rest))?;
        }
        self.rest = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes what was read. Keeps what cannot be written yet. Pending if nothing can be read.
    fn copy(
        &mut self,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        BUFFER.with(|shared| match shared.try_borrow_mut() {
            Ok(mut buffer) => self.copy_through(&mut buffer, context, from, to),
            // A stream polls another relay of the thread.
            Err(_) => self.copy_through(&mut Vec::new(), context, from, to),
        })
    }

    fn copy_through(
        &mut self,
        buffer: &mut Vec<u8>,
        context: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        buffer.resize(COPY, 0);
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(context, &mut read))?;
        let mut bytes = read.filled();
        if bytes.is_empty() {
            self.state = State::Ended;
        }
        while !bytes.is_empty() {
            match write(context, to, bytes) {
                Poll::Ready(written) => bytes = bytes.get(written?..).unwrap_or_default(),
                Poll::Pending => {
                    self.rest = bytes.to_vec();
                    break;
                }
            }
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Writes some of the bytes, at least one.
fn write(
    context: &mut Context<'_>,
    to: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(to).poll_write(context, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(Ok(written)),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn bytes_are_held_only_while_the_other_side_does_not_read() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(async {
            let (mut from, mut source) = duplex(4 * COPY);
            let (mut to, mut sink) = duplex(1000);
            let mut direction = Direction::default();
            let mut poll = |direction: &mut Direction| {
                let mut context = Context::from_waker(Waker::noop());
                direction.poll(&mut context, &mut from, &mut to).unwrap()
            };
            assert!(poll(&mut direction).is_pending());
            assert_eq!(direction.rest.capacity(), 0);
            let sent: Vec<u8> = (0..3 * COPY).map(|i| (i % 251) as u8).collect();
            source.write_all(&sent).await.unwrap();
            source.shutdown().await.unwrap();
            let mut got = Vec::new();
            let mut some = [0; 700];
            loop {
                let ended = poll(&mut direction).is_ready();
                assert!(direction.rest.capacity() <= COPY);
                if ended {
                    break;
                }
                let n = sink.read(&mut some).await.unwrap();
                got.extend_from_slice(&some[..n]);
            }
            sink.read_to_end(&mut got).await.unwrap();
            assert!(got == sent);
            assert_eq!(direction.rest.capacity(), 0);
        });
    }
}
