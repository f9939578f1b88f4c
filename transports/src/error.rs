use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No port, or none from 1 to 65535 (0 to 65535 to listen on).
    #[error("{0:?} has no valid port: write host:port, [IPv6]:port or :port to listen everywhere")]
    Port(String),
    /// No host before the port.
    #[error("{0:?} has no host: write host:port or [IPv6]:port")]
    Host(String),
    /// An IPv6 address without brackets, or brackets around something else.
    #[error("{0:?} is malformed: write an IPv6 address in brackets, as in [2001:db8::1]:65432")]
    Brackets(String),
    /// A transport that this version cannot dial.
    #[error("{address:?}: {scheme} is not supported yet; give host:port for plain TCP")]
    Unsupported {
        /// The whole address.
        address: String,
        /// The scheme, such as `ws://`.
        scheme: String,
    },
}

/// Why listening failed. The text names the address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The host does not resolve.
    #[error(
        "cannot listen on {host}: the name does not resolve ({source}); --listen-retry waits for it"
    )]
    Resolve {
        /// The host.
        host: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// Another process (or another listener of this one) has the port.
    #[error("{address} is in use: stop what listens there, or choose another port with --listen")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// Any other refusal, such as an address that this host does not have.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Why a handshake did not end in a peering (protocol section 2). The stream is closed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeFailed {
    /// The peer speaks another version of the protocol.
    #[error("peer speaks protocol version {0}, we speak 1")]
    Version(u8),
    /// The peer's capabilities differ from ours.
    #[error("peer has capabilities {0:#010x}, we have 0x0000003b")]
    Capabilities(u32),
    /// The signature is not the claimed key's.
    #[error("handshake signature does not verify")]
    Signature,
    /// The key is our own: we dialled ourselves, another node uses our key, or our handshake was sent
    /// back to us.
    #[error("the other side has our own key: that is this node itself, or a copy of its key")]
    OwnKey,
    /// Not done in time.
    #[error("handshake not finished within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    /// The peer closed the stream first.
    #[error("peer closed the stream after {got} of 104 bytes")]
    Eof {
        /// Bytes it had sent.
        got: usize,
    },
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(#[from] io::Error),
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

/// Why dialling did not end in a peering. Of several addresses of a name, the last failure is told.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The host does not resolve.
    #[error("host does not resolve: {0}")]
    Resolve(io::Error),
    /// The lookup of the host was not answered within the limit.
    #[error("host not looked up within {} s: check this machine's name servers", .0.as_secs_f32())]
    LookupTimeout(Duration),
    /// The address did not answer within the limit.
    #[error("no answer from {address} within {} s", .limit.as_secs_f32())]
    Timeout {
        /// The address.
        address: SocketAddr,
        /// The limit.
        limit: Duration,
    },
    /// The address refused the connection, or cannot be reached.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Connected, but the handshake failed.
    #[error("no handshake with {address}: {source}")]
    Handshake {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: HandshakeFailed,
    },
}

impl DialError {
    /// Whether the address dialled has our own key: it is this node, or another one with its key.
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
