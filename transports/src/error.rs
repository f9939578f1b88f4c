//! The errors of this crate.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use pinecone_wire::PublicKey;

use crate::tls::TlsError;
use crate::uri::AddressError;
use crate::websocket::UpgradeError;

/// The reason why listening failed. The text names the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address is malformed.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host does not resolve.
    #[error(
        "cannot listen on {host}: the name does not resolve ({source}); --listen-retry waits for it"
    )]
    Resolve {
        /// The host.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// Another process, or another listener of this process, uses the port.
    #[error("{address} is in use: stop what listens there, or choose another port with --listen")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The network interface that the URI names cannot be listened on, such as one that this host does not have.
    #[error("cannot listen on the interface {interface}: {source}")]
    Interface {
        /// The name of the interface.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
    /// A `wss://` listener has no certificate files, so that no client would accept its certificate.
    #[error(
        "cannot listen on {address}: it needs --tls-cert FILE and --tls-key FILE, or listen on ws:// behind a reverse \
         proxy that has a certificate"
    )]
    NoCertificate {
        /// The URI.
        address: String,
    },
    /// The system refused for any other reason, such as an address that this host does not have.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

/// The reason why a handshake failed (protocol section 2). The stream is closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeFailed {
    /// The peer speaks another version of the protocol.
    #[error("peer has protocol version {0}, this node has version 1")]
    Version(u8),
    /// The peer's capabilities differ from those of this node.
    #[error("peer has capabilities {0:#010x}, this node has 0x0000003b")]
    Capabilities(u32),
    /// The signature does not belong to the claimed key.
    #[error("handshake signature does not verify")]
    Signature,
    /// The peer claims this node's own key: the node dialled itself, another node uses its key, or its handshake was
    /// sent back.
    #[error(
        "the peer has this node's own key: it is this node itself, or another node uses the key"
    )]
    OwnKey,
    /// The peer has another key than the URI demands with `?key=`.
    #[error(transparent)]
    Key(Box<WrongKey>),
    /// The TLS handshake failed, or TLS proved another key than the peer claims.
    #[error(transparent)]
    Tls(Box<TlsError>),
    /// The upgrade to a WebSocket failed.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    /// The handshake was not finished in time.
    #[error("handshake not finished within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The peer closed the stream first.
    #[error("peer closed the stream after {got} of 104 bytes")]
    Eof {
        /// Number of bytes that it had sent.
        got: usize,
    },
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(#[from] io::Error),
}

/// The peer has another key than the URI demands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer has the key {found}, not {expected} as ?key= demands")]
pub struct WrongKey {
    /// The key that the URI names.
    pub expected: PublicKey,
    /// The key that the peer claims.
    pub found: PublicKey,
}

/// The reason why messages of a fixed length were not exchanged.
#[derive(Debug)]
pub(crate) enum SwapError {
    /// The peer closed the stream after `got` bytes of its message.
    Eof { got: usize },
    /// The stream failed.
    Io(io::Error),
}

impl SwapError {
    /// Returns the failure for an I/O error after `got` bytes. A peer that closes the stream before it has read all
    /// bytes resets the connection; that is not a failure of the stream.
    pub(crate) fn from_io(error: io::Error, got: usize) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Eof { got },
            _ => Self::Io(error),
        }
    }
}

impl From<io::Error> for SwapError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<TlsError> for HandshakeFailed {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::WrongKey { expected, found } => {
                Self::Key(Box::new(WrongKey { expected, found }))
            }
            error => Self::Tls(Box::new(error)),
        }
    }
}

impl From<SwapError> for HandshakeFailed {
    fn from(error: SwapError) -> Self {
        match error {
            SwapError::Eof { got } => Self::Eof { got },
            SwapError::Io(error) => Self::Io(error),
        }
    }
}

impl From<pinecone_wire::HandshakeError> for HandshakeFailed {
    fn from(e: pinecone_wire::HandshakeError) -> Self {
        match e {
            pinecone_wire::HandshakeError::Version(v) => Self::Version(v),
            pinecone_wire::HandshakeError::Capabilities(c) => Self::Capabilities(c),
            pinecone_wire::HandshakeError::Signature => Self::Signature,
        }
    }
}

/// The reason why dialling failed. If a name has several addresses, this is the last failure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The host does not resolve.
    #[error("host does not resolve: {0}")]
    Resolve(io::Error),
    /// The host was not looked up within the limit.
    #[error("host not looked up within {} s: check the name servers of this machine", .0.as_secs_f64())]
    LookupTimeout(Duration),
    /// The address did not answer within the limit.
    #[error("no answer from {address} within {} s", .limit.as_secs_f64())]
    Timeout {
        /// The address.
        address: SocketAddr,
        /// The limit.
        limit: Duration,
    },
    /// The network interface that the URI names cannot be used, such as one that this host does not have.
    #[error("cannot use the interface {interface}: {source}")]
    Interface {
        /// The name of the interface.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
    /// The address refused the connection or is unreachable.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The connection was made, but the handshake failed.
    #[error("no handshake with {address}: {source}")]
    Handshake {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: HandshakeFailed,
    },
}

impl DialError {
    /// Reports whether the dialled node has this node's own key: it is this node, or another one that uses its key.
    #[must_use]
    pub fn is_own_key(&self) -> bool {
        matches!(
            self,
            Self::Handshake {
                source: HandshakeFailed::OwnKey,
                ..
            }
        )
    }
}
