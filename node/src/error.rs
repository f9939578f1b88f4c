use std::io;
use std::net::SocketAddr;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listening address cannot be read or resolved.
    #[error("cannot listen on {address}: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A port cannot be listened on: it is in use, or not ours to take.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The list of static peers cannot be read.
    #[error("{0}")]
    StaticPeers(String),
    /// The data plane does not start.
    #[error("cannot start the data plane: {0}")]
    DataPlane(String),
    /// A thread cannot be started or pinned, or the system gives no random numbers for a key.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a peering does not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address, the connection or the handshake failed.
    #[error("{0}")]
    Transport(String),
    /// The node takes no such peering: its own key, or a limit.
    #[error("peering refused: {0}")]
    Refused(String),
    /// The stream cannot be used.
    #[error("stream cannot be used: {0}")]
    Stream(#[from] io::Error),
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
