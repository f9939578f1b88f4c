//! The layers between a TCP connection and the handshake: TLS, and the WebSocket.
//!
//! [`add`] is the only place that knows which scheme has which layers. It runs on a relay thread.

use std::net::{IpAddr, SocketAddr, TcpStream as StdStream};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::{HandshakeFailed, ListenUri, PeerUri, Scheme};

/// A byte stream to a peer, after all layers.
pub(crate) trait Conduit: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Conduit for S {}

/// The side of a connection that this node is, and the URI that says how.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// This node has dialled.
    Dialler {
        peer: Arc<PeerUri>,
        /// The address that has answered.
        #[allow(dead_code, reason = "for layers")]
        address: SocketAddr,
    },
    /// This node has accepted.
    Listener {
        listener: Arc<ListenUri>,
        /// The address of the remote end.
        #[allow(dead_code, reason = "for layers")]
        remote: SocketAddr,
    },
}

impl Role {
    pub(crate) fn scheme(&self) -> Scheme {
        match self {
            Self::Dialler { peer, .. } => peer.scheme,
            Self::Listener { listener, .. } => listener.scheme,
        }
    }
}

/// A connection with its layers.
pub(crate) struct Layered {
    pub(crate) stream: Box<dyn Conduit>,
    /// The address of the client, if a trusted reverse proxy has named it.
    pub(crate) client: Option<IpAddr>,
}

/// Adds the layers of the scheme to a connection. The caller limits the time.
pub(crate) async fn add(socket: StdStream, role: &Role) -> Result<Layered, HandshakeFailed> {
    socket.set_nonblocking(true)?;
    let stream = TcpStream::from_std(socket)?;
    let scheme = role.scheme();
    match scheme {
        Scheme::Tcp => Ok(Layered {
            stream: Box::new(stream),
            client: None,
        }),
        Scheme::Tls | Scheme::Ws | Scheme::Wss => Err(HandshakeFailed::Unsupported(scheme)),
    }
}
