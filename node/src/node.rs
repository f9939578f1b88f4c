use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pinecone_dataplane::{LinkType, PortId};
use pinecone_wire::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::builder::Options;
use crate::{
    Builder, ConnectError, Direction, Events, PacketFilter, Peer, PingError, PingReply, SendError,
    StartError, Status,
};

/// A running node. Clones are handles to the same one; it closes when [`Node::close`] is called
/// or the last handle is dropped.
///
/// The futures of all methods run on any executor.
#[derive(Clone, Debug)]
pub struct Node {}

/// What the node is to know about a stream that it did not connect itself.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    /// What it runs over; of several peerings with one key the faster type is used. Default:
    /// [`LinkType::Remote`].
    pub link: LinkType,
    /// Whether keepalives are sent and a silent peer is taken for dead (protocol section 3). Both
    /// ends must agree. Default: yes.
    pub keepalives: bool,
    /// The other end's address, as text for people. Default: `stream`.
    pub remote: String,
    /// Who connected it, as shown in [`Peer::direction`]. Default: we did.
    pub direction: Direction,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            link: LinkType::Remote,
            keepalives: true,
            remote: "stream".to_owned(),
            direction: Direction::Outbound,
        }
    }
}

impl Node {
    /// Options for a new node.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The node's key: its address.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        todo!()
    }

    /// The addresses that it listens on, in the order they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// Dials `host:port` once and makes a peering of it. For a peer to keep, use
    /// [`Builder::connect`].
    ///
    /// # Errors
    /// [`ConnectError`] if it cannot be reached within 5 s, the handshake fails, or the peering is
    /// refused.
    pub async fn connect(&self, address: &str) -> Result<PortId, ConnectError> {
        let _ = address;
        todo!()
    }

    /// Makes a peering of a connected stream socket: does the handshake, then the workers own it.
    ///
    /// # Errors
    /// [`ConnectError`] if the handshake fails or the peering is refused.
    pub async fn connect_stream(
        &self,
        stream: OwnedFd,
        options: StreamOptions,
    ) -> Result<PortId, ConnectError> {
        let _ = (stream, options);
        todo!()
    }

    /// Makes a peering of any reliable, ordered byte stream, which a task of the node relays.
    /// Slower than [`Self::connect_stream`].
    ///
    /// # Errors
    /// [`ConnectError`] if the handshake fails or the peering is refused.
    pub async fn connect_relayed<S>(
        &self,
        stream: S,
        options: StreamOptions,
    ) -> Result<PortId, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let _ = (stream, options);
        todo!()
    }

    /// The peerings that are up, lowest port first. None once the node is closed.
    pub async fn peers(&self) -> Vec<Peer> {
        todo!()
    }

    /// Closes a peering. False if there is none with that port. A static peer will be dialled
    /// again.
    pub async fn disconnect(&self, port: PortId) -> bool {
        let _ = port;
        todo!()
    }

    /// What the node says about itself; nothing once it is closed.
    pub async fn status(&self) -> Option<Status> {
        todo!()
    }

    /// Subscribes to what happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        todo!()
    }

    /// Sends a payload to a key: as any datagram it may be lost, and its loss is not told. A
    /// payload to our own key comes back by [`Self::recv_from`]. If no node has that very key, the
    /// one with the next higher key gets it.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_to(&self, key: &PublicKey, payload: impl AsRef<[u8]>) -> Result<(), SendError> {
        let _ = (key, payload.as_ref());
        todo!()
    }

    /// The largest payload that [`Self::send_to`] takes where the node is in the tree now.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        todo!()
    }

    /// The next payload for us, with the key that it claims to be from: nothing proves it. Nothing
    /// once the node is closed and all has been read. Callers that wait at the same time take
    /// turns.
    pub async fn recv_from(&self) -> Option<(PublicKey, Bytes)> {
        todo!()
    }

    /// Asks `key` for an answer, with `size` bytes of filler (at least 8 are sent).
    ///
    /// # Errors
    /// [`PingError::Timeout`] if none came in time, else why it could not be sent.
    pub async fn ping(
        &self,
        key: &PublicKey,
        size: usize,
        timeout: Duration,
    ) -> Result<PingReply, PingError> {
        let _ = (key, size, timeout);
        todo!()
    }

    /// Sets or removes the packet filter: it sees every traffic frame that comes in or is sent by
    /// us, and drops those for which it says false. Called on the worker threads, which wait for
    /// it. Must not hold a handle to this node, which would then never close by being dropped.
    pub fn set_packet_filter(&self, filter: Option<Arc<dyn PacketFilter>>) {
        let _ = filter;
        todo!()
    }

    /// Closes all peerings and listeners and waits until every thread of the node has ended.
    pub async fn close(&self) {
        todo!()
    }

    /// As [`Self::close`], for callers outside async code.
    pub fn close_blocking(&self) {
        todo!()
    }

    pub(crate) fn start(options: Options) -> Result<Self, StartError> {
        let _ = options;
        todo!()
    }
}

/// Joins two nodes of one process: a peering of the fastest [link type](LinkType::Pipe), without
/// keepalives. Returns its port in `a` and in `b`.
///
/// # Errors
/// [`ConnectError`] of whichever node refuses; the other one loses the peering.
pub async fn pipe(a: &Node, b: &Node) -> Result<(PortId, PortId), ConnectError> {
    let _ = (a, b);
    todo!()
}
