//! The outputs of the control plane.

use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Coordinates, PublicKey};

use crate::CloseReason;

/// An instruction to the driver. Effects must be carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame to a peer.
    Send {
        /// The port to send it to.
        port: PortId,
        /// The whole frame.
        frame: Vec<u8>,
    },
    /// End a peering. It is no longer in any table, but its port number stays in use until
    /// [`ControlPlane::closed`](crate::ControlPlane::closed) is called.
    Close {
        /// The port to close.
        port: PortId,
        /// The reason.
        reason: CloseReason,
    },
    /// Report an event to subscribers.
    Event(Event),
}

/// A change that is reported to subscribers once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peering has begun. Its key is only claimed until the first announcement.
    PeerAdded {
        /// Its port number.
        port: PortId,
        /// The peer's key.
        key: PublicKey,
        /// The type of its link.
        link: LinkType,
    },
    /// A peering has ended.
    PeerRemoved {
        /// Its port number.
        port: PortId,
        /// The peer's key.
        key: PublicKey,
    },
    /// The node follows another parent, or none.
    ParentChanged {
        /// The parent's key. None if the node itself is the root.
        parent: Option<PublicKey>,
    },
    /// The root has changed or has announced a new sequence. If its key has changed, the
    /// [coordinate cache](crate::CoordinateCache) must be cleared.
    RootChanged {
        /// The root's key.
        root: PublicKey,
        /// The root's sequence.
        sequence: u64,
    },
    /// The node's coordinates in the tree have changed.
    CoordinatesChanged(Coordinates),
    /// The descending node has changed: the one with the next lower key on the snake.
    DescendingChanged(Option<PublicKey>),
    /// A route to this key was learned.
    RouteAdded(PublicKey),
    /// The route to this key was removed.
    RouteRemoved(PublicKey),
    /// A wakeup broadcast was received.
    Broadcast {
        /// The key of its sender.
        key: PublicKey,
        /// Its sequence: the sender's Unix time in milliseconds.
        sequence: u64,
        /// The key of the root that the sender follows.
        root: PublicKey,
        /// The sequence of that root.
        root_sequence: u64,
        /// The port that it came from.
        port: PortId,
    },
}
