use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;

use crossbeam::channel::Receiver;
use pinecone_dataplane::{DataPlane, LinkType, PortId};
use pinecone_transports::tls::{Tls, TlsConfigError};
use pinecone_transports::{Listeners, PeerUri};
use pinecone_wire::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

use crate::command::{Command, CommandSender, PeeringReply, Unclaimed};
use crate::event::Subscribers;
use crate::local::Local;
use crate::runtime::Request;
use crate::{
    Closed, ConnectError, Direction, DisconnectError, Events, NodeError, Peer, Received,
    StaticPeer, Status, StreamOptions,
};

/// A running node. Clones are handles to the same node, which closes when [`Node::close`] is called or
/// the last handle is dropped.
///
/// The futures of all methods run on any executor.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Inner>);

/// The state that all handles share.
pub(crate) struct Inner {
    pub(crate) own: PublicKey,
    pub(crate) listeners: Listeners,
    pub(crate) local: Arc<Local>,
    /// The certificates, if they come from files.
    pub(crate) tls: Option<Tls>,
    /// Weak, as it is dropped when the control thread ends although handles remain.
    pub(crate) dataplane: Weak<DataPlane>,
    pub(crate) control: CommandSender,
    pub(crate) runtime: mpsc::UnboundedSender<Request>,
    pub(crate) inbox: Mutex<mpsc::Receiver<Received>>,
    pub(crate) subscribers: Arc<Subscribers>,
    /// These two lose their sender when the control thread, the last one, ends.
    pub(crate) ended: watch::Receiver<()>,
    pub(crate) ended_blocking: Receiver<()>,
    /// The reason why the node failed, if it did.
    pub(crate) failure: Arc<OnceLock<NodeError>>,
    pub(crate) control_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// Returns the node's key, which is its address.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.0.own
    }

    /// Returns the addresses that the node listens on now, in the order in which they were given: those of
    /// the start, then those of [`Self::listen`].
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.0.listeners.local_addrs()
    }

    /// Dials a peer once, `host:port` or a [URI](crate::Builder::connect), and makes a peering of the connection. Peers that are to be dialled
    /// again when they are lost are given to [`Builder::connect`](crate::Builder::connect) or
    /// [`Self::add_static_peer`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt: the connection is closed, and no peering is left behind.
    ///
    /// # Errors
    /// [`ConnectError`] if the address cannot be resolved or reached in time, the handshake fails, or the
    /// peering is refused.
    pub async fn connect(&self, address: &str) -> Result<PortId, ConnectError> {
        let peer: PeerUri = address.parse()?;
        let peering = self.peering(|reply| Request::Dial { peer, reply });
        Ok(peering.await?.claim())
    }

    /// Makes a peering of a connected stream socket: does the handshake, then hands the socket to a
    /// worker.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt: the socket is closed, and no peering is left behind.
    ///
    /// # Errors
    /// [`ConnectError`] if the handshake fails or the peering is refused; the socket is closed.
    pub async fn connect_stream(
        &self,
        stream: OwnedFd,
        options: StreamOptions,
    ) -> Result<PortId, ConnectError> {
        Ok(self.stream_peering(stream, options).await?.claim())
    }

    /// Makes a peering of any reliable, ordered byte stream. A task on one of the node's
    /// [transport threads](crate::NodeOptions::transport_threads) relays it, which is slower than
    /// [`Self::connect_stream`]. A stream that belongs to another executor
    /// works as long as that executor runs.
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt: the stream is dropped at once, and no peering is left behind.
    ///
    /// # Errors
    /// [`ConnectError`] if the handshake fails or the peering is refused; the stream is dropped.
    pub async fn connect_relayed<S>(
        &self,
        stream: S,
        options: StreamOptions,
    ) -> Result<PortId, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let peering = self.peering(|reply| Request::Relay {
            stream: Box::pin(stream),
            options,
            reply,
        });
        Ok(peering.await?.claim())
    }

    /// Returns the peerings that are up, lowest port first.
    ///
    /// # Errors
    /// [`Closed`] if the node is closed.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the node.
    pub async fn peers(&self) -> Result<Vec<Peer>, Closed> {
        self.ask(|reply| Command::Peers { reply }).await
    }

    /// Returns the static peers, in the order in which they were given or added.
    ///
    /// # Errors
    /// [`Closed`] if the node is closed.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the node.
    pub async fn static_peers(&self) -> Result<Vec<StaticPeer>, Closed> {
        self.ask(|reply| Command::StaticPeers { reply }).await
    }

    /// Closes a peering and waits until it is closed. A static peer will be dialled again.
    ///
    /// # Errors
    /// [`DisconnectError`] if no peering has that port or the node is closed.
    ///
    /// # Cancel safety
    /// If the future is dropped after it was polled, the peering is closed all the same.
    pub async fn disconnect(&self, port: PortId) -> Result<(), DisconnectError> {
        match self
            .ask(|reply| Command::Disconnect { port, reply })
            .await?
        {
            true => Ok(()),
            false => Err(DisconnectError::NoSuchPeering(port)),
        }
    }

    /// Returns the state of the node.
    ///
    /// # Errors
    /// [`Closed`] if the node is closed.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the node.
    pub async fn status(&self) -> Result<Status, Closed> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// Subscribes to events from now on. [`Builder::events`](crate::Builder::events) subscribes to those
    /// of the start as well.
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.subscribers.subscribe()
    }

    /// Reads the files of [`NodeOptions::tls`](crate::NodeOptions::tls) again. Peerings stay as they are; new connections
    /// use what was read. Blocks for the time of the reading.
    ///
    /// # Errors
    /// The files cannot be used. What was read before stays in force, and the error is logged.
    pub fn reload_tls(&self) -> Result<(), TlsConfigError> {
        self.0.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    /// Closes all peerings and listeners and waits until every thread of the node has ended.
    ///
    /// # Cancel safety
    /// If the future is dropped after it was polled, the node closes all the same.
    pub async fn close(&self) {
        self.0.control.send(Command::Close);
        let mut ended = self.0.ended.clone();
        while ended.changed().await.is_ok() {}
        self.0.join();
    }

    /// Waits for the node to end, by [`Self::close`] or by itself because it could not go on.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the node.
    ///
    /// # Errors
    /// [`NodeError`] if it could not go on. Subscribers get [`Event::Failed`](crate::Event::Failed).
    pub async fn closed(&self) -> Result<(), NodeError> {
        let mut ended = self.0.ended.clone();
        while ended.changed().await.is_ok() {}
        match self.0.failure.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Closes the node like [`Self::close`], for callers outside async code.
    pub fn close_blocking(&self) {
        self.0.control.send(Command::Close);
        while self.0.ended_blocking.recv().is_ok() {}
        self.0.join();
    }

    async fn stream_peering(
        &self,
        socket: OwnedFd,
        options: StreamOptions,
    ) -> Result<Unclaimed, ConnectError> {
        self.peering(|reply| Request::Socket {
            socket,
            options,
            reply,
        })
        .await
    }

    /// Asks for a peering. Dropping the future ends the attempt, and dropping its result ends the peering.
    async fn peering(
        &self,
        request: impl FnOnce(PeeringReply) -> Request,
    ) -> Result<Unclaimed, ConnectError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.0.runtime.send(request(reply));
        sent.map_err(|_| self.closed_error())?;
        (answer.await).unwrap_or_else(|_| Err(self.closed_error().into()))
    }

    /// Returns the error for a node that is closed.
    pub(crate) fn closed_error(&self) -> Closed {
        let cause = self.0.failure.get().cloned();
        Closed { cause }
    }

    /// Sends a command to the control and waits for the reply.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Closed> {
        let (reply, answer) = oneshot::channel();
        if !self.0.control.send(command(reply)) {
            return Err(self.closed_error());
        }
        answer.await.map_err(|_| self.closed_error())
    }
}

impl From<Inner> for Node {
    fn from(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.0.own)
    }
}

impl Inner {
    fn join(&self) {
        let thread = (self.control_thread.lock())
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // An executor may poll the caller on the control thread, which wakes it just before its end.
        let own = std::thread::current().id();
        let thread = thread.filter(|thread| thread.thread().id() != own);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the control thread panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // This does not wait for the end: it may run on an executor's thread, or on one of the node's own threads.
        self.control.send(Command::Close);
    }
}

/// Joins two nodes of one process: a peering of the fastest [link type](LinkType::Pipe), without
/// keepalives. Returns its port in `a` and in `b`.
///
/// # Cancel safety
/// Dropping the future closes the peering, as far as it has come up, in both nodes.
///
/// # Errors
/// [`ConnectError`] of the node that refuses; the other one loses the peering.
pub async fn pipe(a: &Node, b: &Node) -> Result<(PortId, PortId), ConnectError> {
    let (end_a, end_b) = pinecone_transports::pipe().map_err(ConnectError::Pipe)?;
    let options = |other: &Node, direction| StreamOptions {
        link: LinkType::Pipe,
        keepalives: false,
        remote: format!("pipe to {}", other.public_key().short()),
        direction,
        priority: 0,
    };
    let (of_a, of_b) = tokio::try_join!(
        a.stream_peering(end_a, options(b, Direction::Outbound)),
        b.stream_peering(end_b, options(a, Direction::Inbound)),
    )?;
    Ok((of_a.claim(), of_b.claim()))
}
