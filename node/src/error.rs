use std::io;

use pinecone_dataplane::{DataPlaneError, PortId, WorkerError};
use pinecone_transports::tls::TlsConfigError;
use pinecone_transports::{AddressError, DialError, HandshakeFailed, ListenError};

/// The error when a node does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An option has a value that is out of range.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The node cannot listen on an address: it is malformed, in use, or not one of this machine.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// The list of static peers is malformed.
    #[error("static peers: {0}")]
    StaticPeers(#[from] AddressError),
    /// The data plane does not start.
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
    /// A thread cannot be started or pinned, or the system provides no random numbers for a key.
    #[error("cannot {what}: {source}")]
    System {
        /// The operation.
        what: String,
        /// The system's error.
        source: io::Error,
    },
}

/// An option whose value is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the option {option} is out of range: {problem}")]
#[non_exhaustive]
pub struct OptionError {
    /// The name of the option's field.
    pub option: String,
    /// The value, and the values that the option may have.
    pub problem: String,
}

/// The reason why a node closed by itself.
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

/// The node is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closed {
    pub(crate) cause: Option<NodeError>,
}

impl Closed {
    /// Returns the reason why the node closed, if it closed because it could not go on.
    #[must_use]
    pub const fn cause(&self) -> Option<&NodeError> {
        self.cause.as_ref()
    }
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "the node is closed: {cause}"),
            None => f.write_str("the node is closed"),
        }
    }
}

impl std::error::Error for Closed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

/// The error when a peering does not come up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The text is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The address cannot be connected, or the handshake on the connection fails.
    #[error("{address}: {source}")]
    Dial {
        /// The address.
        address: String,
        /// The error of the dial.
        source: DialError,
    },
    /// The handshake on a given stream fails.
    #[error(transparent)]
    Handshake(#[from] HandshakeFailed),
    /// The node refuses the peering.
    #[error("peering refused: {0}")]
    Refused(#[from] pinecone_controlplane::Refused),
    /// The system provides no socket pair for a pipe.
    #[error("cannot make a pipe: {0}")]
    Pipe(io::Error),
    /// The node is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The error when a peering is not closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectError {
    /// The node has no peering on this port.
    #[error("no peering has port {0}")]
    NoSuchPeering(PortId),
    /// The node is closed, and so are all its peerings.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The error when a running node does not listen on a further address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddListenerError {
    /// The address is malformed, in use, or not one of this machine.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The node is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The error when a static peer is not added or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StaticPeerError {
    /// The text is not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The peer to add is a static peer already.
    #[error("{0} is a static peer already")]
    Exists(String),
    /// The peer to remove is not a static peer.
    #[error("{0} is not a static peer")]
    NotFound(String),
    /// The node is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The error when a payload is not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The payload does not fit a frame.
    #[error("payload of {len} bytes is too long, at most {max} fit now")]
    TooLong {
        /// The length of the payload.
        len: usize,
        /// The longest payload that fits a frame to this destination from the node's place in the tree.
        max: usize,
    },
    /// The queue to the first hop is full: [`Node::send_ready`](crate::Node::send_ready) waits for room.
    #[error("the queue to the first hop is full")]
    Full,
    /// The node is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The error when no payload can be received at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// The queue is empty, or another caller is waiting for the next payload.
    #[error("no payload is waiting")]
    Empty,
    /// The node is closed, and all payloads have been received.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The error when a ping is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// The answer did not arrive in time.
    #[error("no answer in time")]
    Timeout,
    /// 65,536 pings are waiting for answers already.
    #[error("too many pings are waiting for answers")]
    TooMany,
    /// The ping could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<Closed> for PingError {
    fn from(closed: Closed) -> Self {
        Self::Send(closed.into())
    }
}
