use std::time::Duration;

use pinecone_fib::{LinkType, PortId};
use pinecone_wire::{Coordinates, PublicKey};

/// Where the node stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Our own key.
    pub key: PublicKey,
    /// The root that we follow: ourselves where there is no parent.
    pub root: PublicKey,
    /// That root's sequence.
    pub root_sequence: u64,
    /// The sequence with which we would be root.
    pub own_sequence: u64,
    /// The parent's port and key.
    pub parent: Option<(PortId, PublicKey)>,
    /// Whether a lost parent is being waited out before another is chosen.
    pub waiting: bool,
    /// Our place in the tree.
    pub coordinates: Coordinates,
    /// How far our clock is behind the network's time, in milliseconds (less than 0: ahead of it),
    /// if by more than half of [`Config::max_sequence_lead`](crate::Config::max_sequence_lead).
    pub clock_behind_ms: Option<i64>,
    /// The node below us on the snake.
    pub descending: Option<PublicKey>,
    /// Live peerings.
    pub peers: usize,
    /// Routes known.
    pub routes: usize,
}

/// One live peering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its number.
    pub port: PortId,
    /// The peer's key.
    pub key: PublicKey,
    /// What it runs over.
    pub link: LinkType,
    /// How long it has been up.
    pub up: Duration,
    /// The root and sequence it announced last; none before its first announcement.
    pub root: Option<(PublicKey, u64)>,
    /// Its place in the tree, as it announced it.
    pub coordinates: Option<Coordinates>,
    /// Whether it is our parent.
    pub parent: bool,
    /// Routes learned from it.
    pub routes: usize,
}
