use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Coordinates, PublicKey};

use crate::CloseReason;

/// What the driver is to do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a whole frame to a peer.
    Send {
        /// Where to.
        port: PortId,
        /// The frame.
        frame: Vec<u8>,
    },
    /// End a peering. It is gone from every table already; its number stays taken until
    /// [`ControlPlane::closed`](crate::ControlPlane::closed).
    Close {
        /// Which one.
        port: PortId,
        /// Why.
        reason: CloseReason,
    },
    /// Tell subscribers.
    Event(Event),
}

/// A change that subscribers hear of, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peering has begun. Its key is only claimed until it announces itself.
    PeerAdded {
        /// Its number.
        port: PortId,
        /// The peer's key.
        key: PublicKey,
        /// What it runs over.
        link: LinkType,
    },
    /// A peering has ended.
    PeerRemoved {
        /// Its number.
        port: PortId,
        /// The peer's key.
        key: PublicKey,
    },
    /// We follow another parent, or none.
    ParentChanged {
        /// The parent's key; none where we are root ourselves.
        parent: Option<PublicKey>,
    },
    /// The root is another, or has announced itself anew. Where the key differs from the one
    /// before, the [coordinate cache](crate::CoordinateCache) must be emptied.
    RootChanged {
        /// The root's key.
        root: PublicKey,
        /// The root's sequence.
        sequence: u64,
    },
    /// Our place in the tree.
    CoordinatesChanged(Coordinates),
    /// The node below us on the snake.
    DescendingChanged(Option<PublicKey>),
    /// A route to this key was learned.
    RouteAdded(PublicKey),
    /// The route to this key is gone.
    RouteRemoved(PublicKey),
    /// A wakeup broadcast came.
    Broadcast {
        /// Who sent it.
        key: PublicKey,
        /// Unix milliseconds at the sender.
        sequence: u64,
        /// The root that the sender follows.
        root: PublicKey,
        /// That root's sequence.
        root_sequence: u64,
        /// The peering that brought it.
        port: PortId,
    },
}
