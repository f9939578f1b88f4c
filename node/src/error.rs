use std::io;

use pinecone_dataplane::{DataPlaneError, WorkerError};
use pinecone_transports::{AddressError, DialError, HandshakeFailed, ListenError};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An option cannot have the value that it was given.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// An address cannot be listened on: malformed, in use, not ours.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The list of static peers cannot be read.
    #[error("static peers: {0}")]
    StaticPeers(#[from] AddressError),
    /// The data plane does not start.
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
    /// A thread cannot be started or pinned, or the system gives no random numbers for a key.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

/// An option whose value is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the option {option} is out of range: {problem}")]
#[non_exhaustive]
pub struct OptionError {
    /// The name of the option's field.
    pub option: String,
    /// The value, and the values that it may have.
    pub problem: String,
}

/// Why a node closed though nobody had asked it to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A worker cannot move frames any more.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Another thread of the node panicked.
    #[error("the {thread} thread panicked")]
    Panicked {
        /// The thread.
        thread: &'static str,
    },
}

/// Why a peering does not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No connection, or no handshake on it.
    #[error("{address}: {source}")]
    Dial {
        /// The address dialled.
        address: String,
        /// What went wrong.
        source: DialError,
    },
    /// No handshake on a stream that was given.
    #[error(transparent)]
    Handshake(#[from] HandshakeFailed),
    /// The node takes no such peering.
    #[error("peering refused: {0}")]
    Refused(#[from] pinecone_controlplane::Refused),
    /// No socket pair to be had for a pipe.
    #[error("cannot make a pipe: {0}")]
    Pipe(io::Error),
    /// The node is closed.
    #[error("the node is closed")]
    Closed,
}

/// Why a payload is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It does not fit a frame.
    #[error("payload of {len} bytes is too long, at most {max} fit now")]
    TooLong {
        /// Its length.
        len: usize,
        /// The largest payload that fits a frame to this destination from where we are now.
        max: usize,
    },
    /// The queue to the workers is full: try again in a moment.
    #[error("the node is too busy to take the payload")]
    Busy,
    /// The node is closed.
    #[error("the node is closed")]
    Closed,
}

/// Why a ping brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// None came in time.
    #[error("no answer in time")]
    Timeout,
    /// The question could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}
