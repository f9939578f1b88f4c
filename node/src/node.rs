use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use crossbeam::channel::Receiver;
use pinecone_dataplane::{DataPlane, LinkType, PortId};
use pinecone_transports::{Listeners, PeerAddress};
use pinecone_wire::PublicKey;
use pinecone_wire::ping::{self, Ping, PingType};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::command::{Command, CommandSender, PeeringReply, Unclaimed};
use crate::local::{Local, Received};
use crate::runtime::Request;
use crate::{
    ConnectError, Direction, Event, Events, NodeError, PacketFilter, Peer, PingError, PingReply,
    SendError, StaticPeer, Status, StreamOptions,
};

/// Bytes of a ping's data that tell it from others.
const NONCE_LEN: usize = 8;

/// A running node. Clones are handles to the same one; it closes when [`Node::close`] is called
/// or the last handle is dropped.
///
/// The futures of all methods run on any executor.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

/// What the handles share.
pub(crate) struct Inner {
    pub(crate) own: PublicKey,
    pub(crate) listeners: Listeners,
    pub(crate) local: Arc<Local>,
    /// Weak: it goes when the control thread ends, though handles remain.
    pub(crate) dataplane: Weak<DataPlane>,
    pub(crate) control: CommandSender,
    pub(crate) runtime: mpsc::UnboundedSender<Request>,
    pub(crate) inbox: tokio::sync::Mutex<mpsc::Receiver<Received>>,
    pub(crate) events: broadcast::WeakSender<Event>,
    /// Both lose their sender when the control thread, the last one, ends.
    pub(crate) ended: watch::Receiver<()>,
    pub(crate) ended_blocking: Receiver<()>,
    /// Why the node failed, if it did.
    pub(crate) failure: Arc<OnceLock<NodeError>>,
    pub(crate) control_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// The node's key: its address.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.0.own
    }

    /// The addresses that it listens on now, in the order they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.0.listeners.local_addrs()
    }

    /// Dials `host:port` once and makes a peering of it. For a peer to keep, use
    /// [`Builder::connect`](crate::Builder::connect).
    ///
    /// # Cancel safety
    /// Dropping the future ends the attempt: the connection is closed, and no peering is left behind.
    ///
    /// # Errors
    /// [`ConnectError`] if it cannot be looked up or reached in time, the handshake fails, or the peering is
    /// refused.
    pub async fn connect(&self, address: &str) -> Result<PortId, ConnectError> {
        let address: PeerAddress = address.parse()?;
        let peering = self.peering(|reply| Request::Dial { address, reply });
        Ok(peering.await?.claim())
    }

    /// Makes a peering of a connected stream socket: does the handshake, then the workers own it.
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

    /// Makes a peering of any reliable, ordered byte stream, which a task on the node's runtime
    /// thread relays: slower than [`Self::connect_stream`]. A stream that belongs to another
    /// executor works as long as that one does.
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

    /// The peerings that are up, lowest port first. None once the node is closed.
    pub async fn peers(&self) -> Vec<Peer> {
        let peers = self.ask(|reply| Command::Peers { reply }).await;
        peers.unwrap_or_default()
    }

    /// The static peers, in the order they were given. None once the node is closed.
    pub async fn static_peers(&self) -> Vec<StaticPeer> {
        let peers = self.ask(|reply| Command::StaticPeers { reply }).await;
        peers.unwrap_or_default()
    }

    /// Closes a peering and waits until it is closed. False if there is none with that port. A
    /// static peer will be dialled again.
    pub async fn disconnect(&self, port: PortId) -> bool {
        let closed = self.ask(|reply| Command::Disconnect { port, reply }).await;
        closed.unwrap_or(false)
    }

    /// What the node says about itself; nothing once it is closed.
    pub async fn status(&self) -> Option<Status> {
        self.ask(|reply| Command::Status { reply }).await
    }

    /// Subscribes to what happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let events = self.0.events.upgrade();
        Events::new(match events {
            Some(events) => events.subscribe(),
            // Without its sender: ends at once.
            None => broadcast::channel(1).1,
        })
    }

    /// Sends a payload to a key: as any datagram it may be lost, and its loss is not told. A
    /// payload to our own key comes back by [`Self::recv_from`]. If no node has that very key, the
    /// one with the next higher key gets it (unless that is ourselves).
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_to(&self, key: &PublicKey, payload: impl AsRef<[u8]>) -> Result<(), SendError> {
        self.0.local.send_to(key, payload.as_ref())
    }

    /// The largest payload that [`Self::send_to`] takes where the node is in the tree now, to any
    /// destination that is not hundreds of hops away.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.0.local.max_payload()
    }

    /// The next payload for us, with the key that it claims to be from: nothing proves it. Nothing
    /// once the node is closed and all has been read. Callers that wait at the same time take
    /// turns.
    pub async fn recv_from(&self) -> Option<(PublicKey, Bytes)> {
        let mut inbox = self.0.inbox.lock().await;
        let mut ended = self.0.ended.clone();
        let received = tokio::select! {
            biased;
            received = inbox.recv() => received,
            // It never changes: this is the sender's end.
            _ = ended.changed() => inbox.try_recv().ok(),
        };
        if let Some((_, payload)) = &received {
            self.0.local.taken(payload);
        }
        received
    }

    /// Asks `key` for an answer, with `size` bytes of data (at least 8 are sent).
    ///
    /// # Errors
    /// [`PingError::Timeout`] if none came in time, else why it could not be sent.
    pub async fn ping(
        &self,
        key: &PublicKey,
        size: usize,
        timeout: Duration,
    ) -> Result<PingReply, PingError> {
        let local = &self.0.local;
        let max = local.max_payload().saturating_sub(ping::LEN);
        if size > max {
            return Err(SendError::TooLong { len: size, max }.into());
        }
        let mut waiting = local.pings.ask(*key).ok_or(SendError::Busy)?;
        let mut data = waiting.nonce.to_be_bytes().to_vec();
        data.resize(size.max(NONCE_LEN), 0);
        let question = Ping {
            kind: PingType::Ping,
            hops: 0,
            origin: self.0.own,
            destination: *key,
            data: &data,
        };
        let (over, time_over) = oneshot::channel();
        let sleep = Request::Sleep {
            time: timeout,
            over,
        };
        self.0.runtime.send(sleep).map_err(|_| SendError::Closed)?;
        local.send_to(key, &question.encode())?;
        tokio::select! {
            biased;
            Ok(reply) = &mut waiting.reply => Ok(reply),
            told = time_over => Err(match told {
                Ok(()) => PingError::Timeout,
                Err(_) => SendError::Closed.into(),
            }),
        }
    }

    /// Sets or removes the packet filter: it sees every traffic frame that comes in or that we
    /// send to others, and drops those for which it says false. Called on the worker threads,
    /// which wait for it. It must not hold a handle to this node, which would then never close by
    /// being dropped.
    pub fn set_packet_filter(&self, filter: Option<Arc<dyn PacketFilter>>) {
        if let Some(dataplane) = self.0.dataplane.upgrade() {
            dataplane.set_filter(filter);
        }
    }

    /// Closes all peerings and listeners and waits until every thread of the node has ended.
    pub async fn close(&self) {
        self.0.control.send(Command::Close);
        let mut ended = self.0.ended.clone();
        while ended.changed().await.is_ok() {}
        self.0.join();
    }

    /// Waits until the node has closed, by [`Self::close`] or because it could not go on.
    ///
    /// # Errors
    /// [`NodeError`] if it could not go on. [`Event::Failed`] tells subscribers so as well.
    pub async fn closed(&self) -> Result<(), NodeError> {
        let mut ended = self.0.ended.clone();
        while ended.changed().await.is_ok() {}
        match self.0.failure.get() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// As [`Self::close`], for callers outside async code.
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

    /// Asks for a peering. Dropping the future, or what it returns, ends the attempt or the peering.
    async fn peering(
        &self,
        request: impl FnOnce(PeeringReply) -> Request,
    ) -> Result<Unclaimed, ConnectError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.0.runtime.send(request(reply));
        sent.map_err(|_| ConnectError::Closed)?;
        answer.await.unwrap_or(Err(ConnectError::Closed))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        if !self.0.control.send(command(reply)) {
            return None;
        }
        answer.await.ok()
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
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the control thread panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // It does not wait: this may be an executor's thread, or one that the end of the others waits for.
        self.control.send(Command::Close);
    }
}

/// Joins two nodes of one process: a peering of the fastest [link type](LinkType::Pipe), without
/// keepalives. Returns its port in `a` and in `b`.
///
/// # Cancel safety
/// Dropping the future closes whatever of the peering has come up, in both nodes.
///
/// # Errors
/// [`ConnectError`] of whichever node refuses; the other one loses the peering.
pub async fn pipe(a: &Node, b: &Node) -> Result<(PortId, PortId), ConnectError> {
    let (end_a, end_b) = pinecone_transports::pipe().map_err(ConnectError::Pipe)?;
    let options = |other: &Node, direction| StreamOptions {
        link: LinkType::Pipe,
        keepalives: false,
        remote: format!("pipe to {}", other.public_key().short()),
        direction,
    };
    let (of_a, of_b) = tokio::try_join!(
        a.stream_peering(end_a, options(b, Direction::Outbound)),
        b.stream_peering(end_b, options(a, Direction::Inbound)),
    )?;
    Ok((of_a.claim(), of_b.claim()))
}
