//! What workers tell whoever decides: protocol frames, and ports that closed.

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
    /// A port is closed: its descriptor is shut, its number is free. Exactly one for each port
    /// that was added.
    Closed {
        /// Which.
        port: PortId,
        /// Why.
        reason: CloseReason,
    },
    /// A worker has ended that should not have. Its ports close; it takes no more.
    WorkerFailed(WorkerError),
}

/// Why a worker ended that nobody had told to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A system call without which its engine cannot go on failed.
    #[error("worker {worker} failed: {call}: {}", std::io::Error::from_raw_os_error(*.error))]
    System {
        /// Its number.
        worker: usize,
        /// The call.
        call: &'static str,
        /// The error number.
        error: i32,
    },
    /// It panicked.
    #[error("worker {worker} panicked: {message}")]
    Panicked {
        /// Its number.
        worker: usize,
        /// The panic's message.
        message: Arc<str>,
    },
}

/// Why a port closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// Somebody on this node asked for it, and said why.
    #[error("{0}")]
    Requested(Cow<'static, str>),
    /// The peer ended the stream.
    #[error("peer closed the connection")]
    PeerClosed,
    /// The peer sent nothing for 5 s.
    #[error("peer was silent for 5 s")]
    Dead,
    /// The peer took not one byte of a write for 5 s.
    #[error("the peer took no bytes for 5 s")]
    WriteTimeout,
    /// The peer began a frame and did not go on with it.
    #[error("a frame did not end within 5 s and came at less than 1 KiB/s")]
    SlowFrame,
    /// The peer sent something that is not a frame.
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
    /// Whether the peer does not answer. A connection that is shut down would then wait for it.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(self, Self::Dead | Self::WriteTimeout | Self::SlowFrame)
    }
}

/// A whole protocol frame, copied out of the receive buffer. Holding it counts against what its
/// port may have pending; dropping it frees the place.
#[derive(Debug)]
pub struct ProtocolFrame {
    /// The port that it came from.
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

    /// Takes a place in both budgets, or gives up.
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

/// A bound in bytes on what is pending.
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
