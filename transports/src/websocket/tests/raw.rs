//! Frames by hand, and streams whose writes are recorded or limited.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A time limit that is only reached on a failure.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;
pub(super) const FINAL: u8 = 0x80;

pub(super) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Returns a frame with this first byte.
pub(super) fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ ..126 => bytes.push(bit | len as u8),
        len @ ..0x1_0000 => {
            bytes.push(bit | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(bit | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    bytes.extend(mask.iter().flatten());
    bytes.extend(payload.iter().enumerate().map(|(i, b)| b ^ key[i % 4]));
    bytes
}

/// A frame: its first byte, whether it is masked, and its payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) first: u8,
    pub(super) is_masked: bool,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn close_code(&self) -> Option<u16> {
        assert_eq!(self.first, FINAL | CLOSE);
        self.payload
            .first_chunk()
            .map(|code| u16::from_be_bytes(*code))
    }
}

/// Reads one frame, or nothing at the end of the stream.
pub(super) async fn read_frame<S: AsyncRead + Unpin>(io: &mut S) -> Option<Frame> {
    let first = io.read_u8().await.ok()?;
    let second = io.read_u8().await.unwrap();
    let len = match second & 0x7f {
        126 => io.read_u16().await.unwrap().into(),
        127 => io.read_u64().await.unwrap() as usize,
        len => len.into(),
    };
    let mut mask = [0; 4];
    let is_masked = second & 0x80 != 0;
    if is_masked {
        io.read_exact(&mut mask).await.unwrap();
    }
    let mut payload = vec![0; len];
    io.read_exact(&mut payload).await.unwrap();
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[i % 4];
    }
    Some(Frame {
        first,
        is_masked,
        payload,
    })
}

/// Reads all frames up to the end of the stream.
pub(super) async fn read_frames<S: AsyncRead + Unpin>(io: &mut S) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = read_frame(io).await {
        frames.push(frame);
    }
    frames
}

/// A stream that gives prepared bytes to one read each, records writes, and takes a limited number of bytes.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) reads: VecDeque<Vec<u8>>,
    pub(super) writes: Vec<Vec<u8>>,
    /// Bytes that it still takes.
    pub(super) room: usize,
    pub(super) is_vectored: bool,
}

impl Script {
    pub(super) fn written(&self) -> Vec<u8> {
        self.writes.concat()
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(mut next) = self.reads.pop_front() else {
            return Poll::Pending;
        };
        let rest = next.split_off(next.len().min(buffer.remaining()));
        buffer.put_slice(&next);
        if !rest.is_empty() {
            self.reads.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = bytes.len().min(self.room);
        if n == 0 {
            return Poll::Pending;
        }
        self.room -= n;
        self.writes.push(bytes[..n].to_vec());
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        self.poll_write(cx, &bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.is_vectored
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
