//! The sliding-window protocol of `pinecone send` and `pinecone recv`: a byte stream over an overlay
//! that may lose, reorder and repeat payloads.
//!
//! Sans I/O: payloads, bytes and the time go in, payloads and bytes come out. It provides reliability
//! and flow control, but neither secrecy nor authentication.

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

/// How long one side continues without hearing from the other.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// The state of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Data is being transferred.
    Open,
    /// Sender: the receiver has confirmed everything. Receiver: everything has arrived, and the sender
    /// knows it or has gone.
    Done,
    /// The stream ended early.
    Failed(Failure),
}

/// The reason why a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing was heard for [`SILENCE`].
    Silence,
    /// The receiver takes another stream at the moment.
    Busy,
    /// The other side gave up.
    Aborted,
}
