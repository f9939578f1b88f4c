//! A byte stream over an overlay that may lose, reorder and repeat payloads: the sliding window
//! protocol behind `pinecone send` and `pinecone recv`.
//!
//! Sans I/O: payloads, bytes and the time are handed in, payloads and bytes come out. It gives
//! reliability and flow control, no secrecy and no proof of who is at the other end.

mod receiver;
mod rtt;
mod segment;
mod sender;
#[cfg(test)]
mod simulation;

use std::time::Duration;

pub(crate) use receiver::Receiver;
pub(crate) use segment::{Kind, OVERHEAD, Segment};
pub(crate) use sender::Sender;

/// How long one side goes on without a word from the other.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// How a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Bytes flow.
    Open,
    /// The other side has confirmed everything (sender), or everything has arrived and the sender
    /// knows or has gone (receiver).
    Done,
    /// It ended before that.
    Failed(Failure),
}

/// Why a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was heard for [`SILENCE`].
    Silence,
    /// The receiver takes another stream at the moment.
    Busy,
}
