//! The engine: what stands between a worker's decisions and the kernel.
//!
//! An engine owns the descriptors and the memory that frames lie in. Once a turn it submits what
//! the worker wants sent, waits, and hands over what has happened since. Sends come in two kinds:
//! *inline* ones take what the socket takes at once and may point into the turn's memory; a *drain*
//! waits until the socket has taken everything, and may only send bytes that it owns.

pub(crate) mod uring;

use crate::buffer::Segment;

/// Most pieces in one send: what one vectored system call takes.
pub(crate) const MAX_PIECES: usize = 1024;

/// What has happened.
pub(crate) enum Event {
    /// Bytes came: in this receive buffer, from its start.
    Received { slot: u32, buffer: u16, len: usize },
    /// No more will come: the peer ended the stream (0), or an error number.
    Ended { slot: u32, error: i32 },
    /// A send is over.
    Sent {
        slot: u32,
        outgoing: Outgoing,
        result: Result<usize, i32>,
    },
    /// Everything of a closed slot is finished, and its descriptor is gone.
    Closed { slot: u32 },
}

/// What one send carries: owned frames first, then segments of the turn.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// Whole frames, the first perhaps sent in part.
    pub(crate) owned: Vec<Box<[u8]>>,
    /// How much of the first owned frame has gone before.
    pub(crate) skip: usize,
    /// Traffic frames where they lie.
    pub(crate) segments: Vec<Segment>,
    /// Frames in `segments`.
    pub(crate) segment_frames: u64,
    /// Bytes in `segments`.
    pub(crate) segment_bytes: usize,
}

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty() && self.segments.is_empty()
    }
}
