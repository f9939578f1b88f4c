//! Reports of workers to the control plane: protocol frames, and ports that closed.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pinecone_wire::FrameError;

use crate::PortId;

/// A message from a worker.
#[derive(Debug)]
pub enum Report {
    /// A protocol frame that a peer sent.
    Frame(ProtocolFrame),
    /// A port is closed: its descriptor is closed, and its number is free. There is exactly one such
    /// report for each port that was added.
    Closed {
        /// The port.
        port: PortId,
        /// The reason.
        reason: CloseReason,
    },
    /// A worker has failed. Its ports close, and it takes no new ones.
    WorkerFailed(WorkerError),
}

/// The reason why a worker failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A system call failed that the engine cannot do without.
    #[error("worker {worker} failed: {call}: {}", std::io::Error::from_raw_os_error(*.error))]
    System {
        /// The number of the worker.
        worker: usize,
        /// The system call.
        call: &'static str,
        /// The error number.
        error: i32,
    },
    /// The worker panicked.
    #[error("worker {worker} panicked: {message}")]
    Panicked {
        /// The number of the worker.
        worker: usize,
        /// The message of the panic.
        message: Arc<str>,
    },
}

/// The reason why a port closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The node closed the port, for this reason.
    #[error("{0}")]
    Requested(Cow<'static, str>),
    /// The peer ended the stream.
    #[error("peer closed the connection")]
    PeerClosed,
    /// The peer sent nothing for 5 s.
    #[error("peer was silent for 5 s")]
    Dead,
    /// The peer took no byte of a write for 5 s.
    #[error("the peer took no bytes for 5 s")]
    WriteTimeout,
    /// The peer began a frame and did not continue it.
    #[error("a frame did not end within 5 s and came at less than 1 KiB/s")]
    SlowFrame,
    /// The peer sent bytes that are not a frame.
    #[error("bad frame: {0}")]
    Frame(#[from] FrameError),
    /// The kernel reported an error.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Io(i32),
    /// The worker that had the port failed.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The node is shutting down.
    #[error("shutting down")]
    Shutdown,
}

impl CloseReason {
    /// Reports whether the peer does not answer. If so, an orderly shutdown of the connection would wait for the peer.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(self, Self::Dead | Self::WriteTimeout | Self::SlowFrame)
    }
}

/// A whole protocol frame, copied out of the receive buffer. It counts against the bounds of its port
/// and of all ports until it is dropped.
#[derive(Debug)]
pub struct ProtocolFrame {
    /// The port that it arrived at.
    pub port: PortId,
    bytes: Box<[u8]>,
    budget: Arc<Budget>,
    total: Arc<Budget>,
}

impl ProtocolFrame {
    /// The frame, header included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies a frame, if both budgets have room for it.
    pub(crate) fn new(
        port: PortId,
        frame: &[u8],
        budget: &Arc<Budget>,
        total: &Arc<Budget>,
    ) -> Option<Self> {
        if !budget.take(frame.len()) {
            return None;
        }
        if !total.take(frame.len()) {
            budget.give(frame.len());
            return None;
        }
        Some(Self {
            port,
            bytes: frame.into(),
            budget: Arc::clone(budget),
            total: Arc::clone(total),
        })
    }
}

impl Drop for ProtocolFrame {
    fn drop(&mut self) {
        self.budget.give(self.bytes.len());
        self.total.give(self.bytes.len());
    }
}

/// A bound on the bytes of pending frames.
#[derive(Debug)]
pub(crate) struct Budget {
    pending: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            pending: AtomicUsize::new(0),
            limit,
        })
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.pending.fetch_add(bytes, Relaxed);
        let fits = before + bytes <= self.limit;
        if !fits {
            self.pending.fetch_sub(bytes, Relaxed);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.pending.fetch_sub(bytes, Relaxed);
    }
}
