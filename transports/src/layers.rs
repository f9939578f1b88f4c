//! The layers between a TCP connection and the handshake: TLS, and the WebSocket.
//!
//! [`add`] is the only place that knows which scheme has which layers. It runs on a relay thread.

use std::net::{IpAddr, SocketAddr, TcpStream as StdStream};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::handshake::Shared;
use crate::tls::{Application, TlsPeer, TlsStream, TlsTarget};
use crate::websocket::{self, ClosingStream, ConnectOptions};
use crate::{HandshakeFailed, ListenUri, PeerUri, Scheme};

/// A byte stream to a peer, after all layers.
pub(crate) trait Conduit: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Conduit for S {}

/// The side of a connection that this node is, and the URI that says how.
#[derive(Debug)]
pub(crate) enum Role {
    /// This node has dialled.
    Dialler { peer: Arc<PeerUri> },
    /// This node has accepted.
    Listener {
        listener: Arc<ListenUri>,
        /// The address of the remote end.
        remote: SocketAddr,
        /// Gets the address of the client, if a trusted reverse proxy names it.
        client: oneshot::Sender<IpAddr>,
    },
}

impl Role {
    fn scheme(&self) -> Scheme {
        match self {
            Self::Dialler { peer } => peer.scheme,
            Self::Listener { listener, .. } => listener.scheme,
        }
    }
}

/// A connection with its layers.
pub(crate) struct Layered {
    pub(crate) stream: Box<dyn Conduit>,
    /// The TLS connection among the layers, if there is one.
    pub(crate) tls: Option<TlsSession>,
}

/// The properties of a TLS connection that the handshake needs.
#[derive(Clone, Debug)]
pub(crate) struct TlsSession {
    /// The proven identity of the other end.
    pub(crate) peer: TlsPeer,
    /// The [channel binding](TlsStream::channel_binding).
    #[allow(dead_code, reason = "for the proof of the peer's key")]
    pub(crate) binding: [u8; 32],
}

impl Layered {
    /// Returns a stream without TLS.
    pub(crate) fn plain(stream: impl Conduit + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            tls: None,
        }
    }

    /// Returns a stream in which nothing comes between TLS and the peering.
    fn secured<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: TlsStream<S>) -> Self {
        Self {
            tls: Some(TlsSession::of(&stream)),
            stream: Box::new(stream),
        }
    }
}

impl TlsSession {
    fn of<S>(stream: &TlsStream<S>) -> Self {
        Self {
            peer: stream.peer().clone(),
            binding: *stream.channel_binding(),
        }
    }
}

/// Adds the layers of the scheme to a connection. The caller limits the time.
pub(crate) async fn add(
    shared: &Shared,
    socket: StdStream,
    role: Role,
) -> Result<Layered, HandshakeFailed> {
    socket.set_nonblocking(true)?;
    let stream = TcpStream::from_std(socket)?;
    match role.scheme() {
        Scheme::Tcp => Ok(Layered::plain(stream)),
        Scheme::Tls => {
            let stream = secure(shared, Application::Pinecone, stream, &role).await?;
            Ok(Layered::secured(stream))
        }
        Scheme::Ws => Ok(Layered::plain(upgrade(shared, stream, role).await?)),
        Scheme::Wss => {
            let stream = secure(shared, Application::Http, stream, &role).await?;
            let tls = Some(TlsSession::of(&stream));
            let stream = Box::new(upgrade(shared, stream, role).await?);
            Ok(Layered { stream, tls })
        }
    }
}

/// Performs the TLS handshake.
async fn secure<S>(
    shared: &Shared,
    application: Application,
    stream: S,
    role: &Role,
) -> Result<TlsStream<S>, HandshakeFailed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let tls = shared.tls()?;
    let secured = match role {
        Role::Dialler { peer } => {
            let (sni, key) = (peer.sni(), peer.key());
            let target = TlsTarget::new(application, &peer.host.to_string(), sni, key)?;
            tls.connect(&target, stream).await
        }
        Role::Listener { .. } => tls.accept(application, stream).await,
    };
    Ok(secured?)
}

/// Performs the upgrade to a WebSocket.
async fn upgrade<S>(
    shared: &Shared,
    stream: S,
    role: Role,
) -> Result<ClosingStream<S>, HandshakeFailed>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let stream = match role {
        Role::Dialler { peer } => {
            let options = ConnectOptions {
                host: peer.authority(),
                path: peer.path.clone(),
                time_limit: shared.limits.handshake_timeout,
            };
            websocket::connect(stream, &options).await?
        }
        Role::Listener { remote, client, .. } => {
            let options = &shared.upgrades;
            let accepted = websocket::accept(stream, Some(remote.ip()), options).await?;
            if let Some(address) = accepted.client.filter(|client| *client != remote.ip()) {
                // Fails if the connection has just been given up.
                let _ = client.send(address);
            }
            accepted.stream
        }
    };
    Ok(ClosingStream::new(stream))
}
