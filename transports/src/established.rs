//! Handshaken streams.

use std::os::fd::OwnedFd;

use pinecone_wire::PublicKey;
use pinecone_wire::handshake::Extensions;

use crate::admission::Place;
use crate::direction::Direction;
use crate::static_peers::StaticPeerId;
use crate::stream::RelayTask;
use crate::uri::Scheme;

/// The kind of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A pipe within the process.
    Pipe,
    /// A connection to another host or process.
    Remote,
}

/// A stream that is ready to carry frames.
#[derive(Debug)]
pub struct Established {
    /// A connected stream socket in blocking mode, with `TCP_NODELAY` set on TCP. Both handshakes are
    /// done, and nothing after them has been read.
    pub stream: OwnedFd,
    /// The key that the peer claims. As handshakes can be replayed, only an announcement that is
    /// signed for this peering proves it.
    pub key: PublicKey,
    /// The extensions of the protocol that the peer offers.
    pub extensions: Extensions,
    /// The address of the peer as dialled or accepted, for display.
    pub remote: String,
    /// The scheme of the URI that was dialled or listened on. `None` for a stream of the application.
    pub scheme: Option<Scheme>,
    /// The kind of the connection.
    pub link: Link,
    /// The side that opened the stream.
    pub direction: Direction,
    /// The priority: of several peerings with the same key, the one with the highest is used.
    pub priority: u8,
    /// Set if the stream was opened for a static peer. The driver must be told when the peering ends,
    /// with [`StaticPeersHandle::ended`](crate::StaticPeersHandle::ended).
    pub static_peer: Option<StaticPeerId>,
    /// The place that the stream takes under the limits on streams that are not peerings yet. Drop it
    /// once the stream is a peering.
    pub place: Place,
    /// The task that relays the stream, if there is one. Dropping it closes the stream.
    pub relay: Option<RelayTask>,
}
