//! The state of a stream, at either end.

use std::time::Duration;

/// Time that one side continues without hearing from the other.
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
    /// The other side was silent for [`SILENCE`].
    Silence,
    /// The receiver takes another stream at the moment.
    Busy,
    /// The other side gave up.
    Aborted,
}
