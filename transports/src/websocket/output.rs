//! Framing of what is sent.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::frame::{Head, MAX_SENT_MESSAGE, Opcode, Role};
use super::mask;

/// Most payload that one write sends, in bytes: the longest frame of a peering.
const MAX_BATCH: usize = 64 * 1024;

/// Most messages that one write sends.
const MAX_MESSAGES: usize = 16;

thread_local! {
    /// Memory to frame a batch in. It grows to [`MAX_BATCH`] and the headers.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Framed bytes that the stream has not taken yet. It owns memory only while there are any.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    written: usize,
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the number of bytes of heap memory that it owns.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends a control frame.
    pub(super) fn push_control(&mut self, role: Role, opcode: Opcode, payload: &[u8]) {
        push_frame(&mut self.bytes, role, opcode, payload);
    }

    /// Writes all bytes.
    pub(super) fn poll_drain<S>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        while self.written < self.bytes.len() {
            let left = &self.bytes[self.written..];
            let n = ready!(Pin::new(&mut *io).poll_write(cx, left))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
        }
        *self = Self::default();
        Poll::Ready(Ok(()))
    }

    /// Sends the first bytes of `payloads` as messages with one write, and returns their number. What the stream
    /// does not take of a message is kept. Must be empty.
    pub(super) fn poll_send<S>(
        &mut self,
        role: Role,
        io: &mut S,
        cx: &mut Context<'_>,
        payloads: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        debug_assert!(self.is_empty());
        let mut batch = Batch::default();
        for payload in payloads
            .iter()
            .flat_map(|payload| payload.chunks(MAX_SENT_MESSAGE))
        {
            if !batch.add(payload) {
                break;
            }
        }
        if batch.payload == 0 {
            return Poll::Ready(Ok(0));
        }
        match role {
            Role::Server if io.is_write_vectored() => self.poll_send_in_place(io, cx, &batch),
            _ => self.poll_send_copied(role, io, cx, &batch),
        }
    }

    /// Sends unmasked payloads from where they are.
    fn poll_send_in_place<S>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        batch: &Batch<'_>,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        let mut heads = [const { Head::EMPTY }; MAX_MESSAGES];
        for (head, payload) in heads.iter_mut().zip(batch.messages()) {
            *head = Head::new(Opcode::Binary, payload.len(), None);
        }
        let mut slices = [IoSlice::new(&[]); 2 * MAX_MESSAGES];
        let parts = heads
            .iter()
            .zip(batch.messages())
            .flat_map(|(head, payload)| [head.as_bytes(), payload]);
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let slices = &slices[..2 * batch.count];
        let mut taken = ready!(Pin::new(io).poll_write_vectored(cx, slices))?;
        if taken == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let mut sent = 0;
        for (head, payload) in heads.iter().zip(batch.messages()) {
            if taken == 0 {
                break;
            }
            sent += payload.len();
            for part in [head.as_bytes(), payload] {
                let n = part.len().min(taken);
                taken -= n;
                self.bytes.extend_from_slice(&part[n..]);
            }
        }
        Poll::Ready(Ok(sent))
    }

    /// Sends a copy of the payloads.
    fn poll_send_copied<S>(
        &mut self,
        role: Role,
        io: &mut S,
        cx: &mut Context<'_>,
        batch: &Batch<'_>,
    ) -> Poll<io::Result<usize>>
    where
        S: AsyncWrite + Unpin,
    {
        let mut scratch = SCRATCH.take();
        scratch.clear();
        let mut ends = [0; MAX_MESSAGES];
        for (end, payload) in ends.iter_mut().zip(batch.messages()) {
            push_frame(&mut scratch, role, Opcode::Binary, payload);
            *end = scratch.len();
        }
        let result = match Pin::new(io).poll_write(cx, &scratch) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(taken)) => Ok(taken),
            // The first message is kept, so that it need not be masked again.
            Poll::Pending => Ok(0),
            Poll::Ready(Err(error)) => Err(error),
        };
        let result = result.map(|taken| {
            let mut sent = 0;
            for (payload, end) in batch.messages().iter().zip(ends) {
                sent += payload.len();
                if end >= taken {
                    self.bytes.extend_from_slice(&scratch[taken..end]);
                    break;
                }
            }
            sent
        });
        SCRATCH.set(scratch);
        Poll::Ready(result)
    }
}

/// The payloads of the messages of one write.
#[derive(Default)]
struct Batch<'a> {
    messages: [&'a [u8]; MAX_MESSAGES],
    count: usize,
    /// Bytes of payload in all.
    payload: usize,
}

impl<'a> Batch<'a> {
    /// Adds a payload. Reports whether it fitted.
    fn add(&mut self, payload: &'a [u8]) -> bool {
        if self.payload + payload.len() > MAX_BATCH {
            return false;
        }
        let Some(message) = self.messages.get_mut(self.count) else {
            return false;
        };
        if !payload.is_empty() {
            *message = payload;
            self.count += 1;
            self.payload += payload.len();
        }
        true
    }

    fn messages(&self) -> &[&'a [u8]] {
        &self.messages[..self.count]
    }
}

/// Appends an unfragmented frame to `output`.
fn push_frame(output: &mut Vec<u8>, role: Role, opcode: Opcode, payload: &[u8]) {
    let mask = role.new_mask();
    let head = Head::new(opcode, payload.len(), mask);
    output.extend_from_slice(head.as_bytes());
    let start = output.len();
    output.extend_from_slice(payload);
    if let Some(mask) = mask {
        mask::apply(&mut output[start..], mask);
    }
}
