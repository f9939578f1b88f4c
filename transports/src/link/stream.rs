//! The stream of an encrypted link.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pinecone_wire::proof::Binding;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::{self, HEADER_LEN, LONGEST_RECORD, MOST_SENT, Received, Records, TAG_LEN};

/// Length of the buffers of a quiet stream in bytes.
const QUIET_LEN: usize = 1024;
/// Number of uses with [`QUIET_LEN`] bytes or less after which a buffer is shortened to that.
const QUIET_USES: u8 = 16;
/// The most payload of a write: a relay's buffer.
const MOST_WRITTEN: usize = 2 * MOST_SENT;

/// A stream whose bytes are encrypted and authenticated.
///
/// An end of the stream counts only if the peer has announced it: where the connection just ends, reading fails with
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof). A record that was changed, repeated, left out or inserted
/// fails with [`InvalidData`](io::ErrorKind::InvalidData). Announce the end with
/// [`shutdown`](tokio::io::AsyncWriteExt::shutdown). Written bytes may wait until the stream is flushed.
///
/// The buffers hold at most 64 KiB in each direction and 1 KiB on a quiet stream, and once more 64 KiB while a reader
/// takes less than a record at once.
#[derive(Debug)]
pub struct EncryptedStream<S> {
    inner: S,
    records: Records,
    hash: [u8; 32],
    /// Received bytes: records, the last of which may be incomplete.
    received: Buffer,
    /// Payload of a record that the reader has not taken yet.
    opened: Buffer,
    reading: Reading,
    /// Sealed records that the stream has not taken yet.
    sealed: Buffer,
    end_is_sealed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    /// The peer has announced the end.
    Ended,
    Failed(&'static str),
}

impl<S> EncryptedStream<S> {
    pub(super) fn new(inner: S, records: Records, hash: [u8; 32]) -> Self {
        Self {
            inner,
            records,
            hash,
            received: Buffer::default(),
            opened: Buffer::default(),
            reading: Reading::Open,
            sealed: Buffer::default(),
            end_is_sealed: false,
        }
    }

    /// Returns the channel to which a proof is bound.
    #[must_use]
    pub fn binding(&self) -> Binding {
        Binding::Noise(self.hash)
    }

    #[cfg(test)]
    pub(super) fn records(&mut self) -> &mut Records {
        &mut self.records
    }

    #[cfg(test)]
    pub(super) fn buffered(&self) -> usize {
        self.received.bytes.len() + self.opened.bytes.len() + self.sealed.bytes.len()
    }

    /// Opens the records that were received, as long as `out`, which held `before` bytes, has room. Returns the number of
    /// bytes that the next record needs; meaningless if `out` has got some.
    fn open_received(&mut self, out: &mut ReadBuf<'_>, before: usize) -> io::Result<usize> {
        while self.reading == Reading::Open {
            let sealed = match records::split(self.received.filled()) {
                Received::Record(sealed) => sealed,
                Received::Needs(len) => return Ok(len),
                Received::Malformed => return Err(self.failed("an encrypted record is too short")),
            };
            let payload = sealed.len() - TAG_LEN;
            let opened = if out.remaining() >= sealed.len() {
                let room = out.initialize_unfilled_to(sealed.len());
                let opened = self.records.open(sealed, room);
                if opened.is_ok() {
                    out.advance(payload);
                }
                opened
            } else if out.filled().len() == before {
                let opened = self.records.open(sealed, self.opened.room(sealed.len()));
                if opened.is_ok() {
                    self.opened.fill(payload);
                    self.opened.give(out);
                }
                opened
            } else {
                // The reader takes what it has before the next record is opened.
                return Ok(0);
            };
            let used = HEADER_LEN + sealed.len();
            match opened {
                Ok(0) => self.reading = Reading::Ended,
                Ok(_) => self.received.consume(used),
                Err(_) => return Err(self.failed("an encrypted record is not authentic")),
            }
            if out.remaining() == 0 {
                break;
            }
        }
        Ok(0)
    }

    fn failed(&mut self, reason: &'static str) -> io::Error {
        self.reading = Reading::Failed(reason);
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }

    /// Seals a record behind those that wait. No payload announces the end.
    fn seal(&mut self, payload: &[u8]) -> io::Result<()> {
        let room = self.sealed.room(HEADER_LEN + payload.len() + TAG_LEN);
        let len = self
            .records
            .seal(payload, room)
            .map_err(|error| io::Error::other(error.to_string()))?;
        self.sealed.fill(len);
        Ok(())
    }
}

impl<S: AsyncWrite + Unpin> EncryptedStream<S> {
    /// Writes the sealed records.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sealed.filled().is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, self.sealed.filled()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sealed.consume(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for EncryptedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !this.opened.filled().is_empty() {
            this.opened.give(out);
            return Poll::Ready(Ok(()));
        }
        if let Reading::Failed(reason) = this.reading {
            return Poll::Ready(Err(this.failed(reason)));
        }
        let before = out.filled().len();
        loop {
            let needed = match this.open_received(out, before) {
                Ok(needed) => needed,
                // The payload before it is authentic. The failure is told at the next read.
                Err(_) if out.filled().len() > before => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            };
            if out.filled().len() > before || this.reading == Reading::Ended {
                return Poll::Ready(Ok(()));
            }
            let room = this.received.room_for_all(needed);
            let mut room = ReadBuf::new(room);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut room))?;
            match room.filled().len() {
                0 => {
                    let reason = "the connection ended without the end of the encrypted stream";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason)));
                }
                got => this.received.fill(got),
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for EncryptedStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        payload: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.end_is_sealed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(this.poll_drain(cx))?;
        let taken = &payload[..payload.len().min(MOST_WRITTEN)];
        for part in taken.chunks(MOST_SENT) {
            this.seal(part)?;
        }
        // Bytes that the stream does not take now wait for the next write or flush.
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.end_is_sealed {
            ready!(this.poll_drain(cx))?;
            this.seal(&[])?;
            this.end_is_sealed = true;
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

/// Bytes between a start and an end. The memory grows with use and shrinks on a quiet stream.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The largest end since the buffer was last empty.
    peak: usize,
    quiet_uses: u8,
}

impl Buffer {
    fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Returns room for `len` more bytes.
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() - self.end < len && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let needed = self.end + len;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        &mut self.bytes[self.end..]
    }

    /// Returns all room behind the filled bytes, so that there is room for `total` bytes in all. Gets room for the
    /// longest record as soon as the bytes do not fit a quiet stream's.
    fn room_for_all(&mut self, total: usize) -> &mut [u8] {
        let filled = self.end - self.start;
        let is_quiet = self.bytes.len() <= QUIET_LEN && self.peak < QUIET_LEN && total <= QUIET_LEN;
        let len = if is_quiet { QUIET_LEN } else { LONGEST_RECORD };
        self.room(len - filled)
    }

    /// Adds `len` bytes of the room to the filled bytes.
    fn fill(&mut self, len: usize) {
        self.end += len;
        self.peak = self.peak.max(self.end);
    }

    /// Removes the first `len` filled bytes.
    fn consume(&mut self, len: usize) {
        self.start += len;
        if self.start < self.end {
            return;
        }
        self.start = 0;
        self.end = 0;
        if self.peak < QUIET_LEN {
            self.quiet_uses = self.quiet_uses.saturating_add(1);
        } else {
            self.quiet_uses = 0;
        }
        self.peak = 0;
        if self.quiet_uses >= QUIET_USES && self.bytes.len() > QUIET_LEN {
            self.bytes = Vec::new();
        }
    }

    /// Moves as many bytes to `out` as fit.
    fn give(&mut self, out: &mut ReadBuf<'_>) {
        let len = (self.end - self.start).min(out.remaining());
        out.put_slice(&self.bytes[self.start..self.start + len]);
        self.consume(len);
    }
}
