//! What a node tells those who subscribe.

use pinecone_dataplane::{LinkType, PortId};
use pinecone_wire::{Coordinates, PublicKey};
use tokio::sync::broadcast;

use crate::{NodeError, Traffic};

/// Events that a subscriber may be behind before it misses some.
pub(crate) const BACKLOG: usize = 4096;

/// Something that happened in a node. All subscribers see the same events in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peering is up.
    PeerAdded {
        /// Its port.
        port: PortId,
        /// The peer's key.
        key: PublicKey,
        /// What it runs over.
        link: LinkType,
        /// The peer's address, as text for people.
        remote: String,
    },
    /// A peering is gone.
    PeerRemoved {
        /// The port it had.
        port: PortId,
        /// The peer's key.
        key: PublicKey,
        /// Why, in one line.
        reason: String,
    },
    /// Another parent in the tree, or none: the node is a root.
    ParentChanged {
        /// The parent's key.
        parent: Option<PublicKey>,
    },
    /// Another root, or a new sequence of it.
    RootChanged {
        /// The root's key.
        root: PublicKey,
        /// The root's sequence.
        sequence: u64,
    },
    /// The node has another place in the tree.
    CoordinatesChanged {
        /// The new one.
        coordinates: Coordinates,
    },
    /// Another descending node on the snake, or none.
    DescendingChanged {
        /// Its key.
        descending: Option<PublicKey>,
    },
    /// A SNEK route was installed.
    RouteAdded {
        /// Where it leads.
        key: PublicKey,
    },
    /// A SNEK route expired or was lost with its peering.
    RouteRemoved {
        /// Where it led.
        key: PublicKey,
    },
    /// A wakeup broadcast, seen for the first time.
    BroadcastReceived {
        /// The node that it began at.
        key: PublicKey,
        /// Unix milliseconds at that node.
        sequence: u64,
    },
    /// What each peering moved since the last of these, one a minute.
    Bandwidth {
        /// Every peering that is up, lowest port first.
        peers: Vec<PeerBandwidth>,
    },
    /// The node cannot go on and closes: the last event but for the peerings that go.
    Failed {
        /// Why.
        error: NodeError,
    },
    /// This subscriber was too slow: so many events are not coming.
    Missed {
        /// How many.
        events: u64,
    },
}

/// What one peering moved in a minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerBandwidth {
    /// Its port.
    pub port: PortId,
    /// The peer's key.
    pub key: PublicKey,
    /// Frames and bytes of that minute.
    pub traffic: Traffic,
}

/// A subscription to a node's events. Made by [`Node::events`](crate::Node::events).
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    pub(crate) const fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self(receiver)
    }

    /// The next event; nothing once the node is closed. A subscriber that falls more than 4,096
    /// events behind gets [`Event::Missed`] in place of those it lost.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(events)) => Some(Event::Missed { events }),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
