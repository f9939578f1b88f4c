//! Snapshots of the state for operators.

use std::time::Duration;

use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Coordinates, PublicKey};

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node's own key.
    pub key: PublicKey,
    /// The key of the root that the node follows: its own key if it has no parent.
    pub root: PublicKey,
    /// The sequence of that root.
    pub root_sequence: u64,
    /// The node's own sequence as a root.
    pub own_sequence: u64,
    /// The parent's port and key.
    pub parent: Option<(PortId, PublicKey)>,
    /// Set if the node has dropped its parent and waits before it selects another.
    pub waiting: bool,
    /// The node's coordinates in the tree.
    pub coordinates: Coordinates,
    /// The time by which the node's clock is behind the network's, in milliseconds (negative: ahead of it), if the
    /// difference is more than half of [`Config::max_sequence_lead`](crate::Config::max_sequence_lead).
    pub clock_behind_ms: Option<i64>,
    /// The key of the descending node: the one with the next lower key on the snake.
    pub descending: Option<PublicKey>,
    /// The number of live peerings.
    pub peers: usize,
    /// The number of routes.
    pub routes: usize,
}

/// The state of a live peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its port number.
    pub port: PortId,
    /// The peer's key.
    pub key: PublicKey,
    /// The type of its link.
    pub link: LinkType,
    /// The priority of the peering.
    pub priority: u8,
    /// Set if the peering is not used because another one with the same key has a higher priority.
    pub standby: bool,
    /// The time since the peering began.
    pub up: Duration,
    /// The root and sequence that the peer announced last. None before its first announcement.
    pub root: Option<(PublicKey, u64)>,
    /// The peer's coordinates, as it announced them.
    pub coordinates: Option<Coordinates>,
    /// Set if the peer is the parent.
    pub parent: bool,
    /// The number of routes learned from it.
    pub routes: usize,
}
