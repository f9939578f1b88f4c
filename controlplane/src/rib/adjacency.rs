use std::time::Duration;

use pinecone_fib::LinkType;
use pinecone_wire::{Announcement, Coordinates, PublicKey};

/// A peer that has announced itself.
pub(crate) struct Adjacency {
    pub(crate) key: PublicKey,
    pub(crate) link: LinkType,
    pub(crate) announced: Announced,
}

/// The last tree announcement of a peer.
pub(crate) struct Announced {
    pub(crate) announcement: Announcement,
    pub(crate) peer_coordinates: Coordinates,
    pub(crate) received: Duration,
    /// Node-wide arrival number.
    pub(crate) order: u64,
    /// Set if it must not be followed: this node's key is among the signers, or there are too many of them.
    pub(crate) unfit: bool,
}

impl Announced {
    /// Returns the root that the peer follows, and that root's sequence.
    pub(crate) fn root(&self) -> (PublicKey, u64) {
        let announcement = &self.announcement;
        (announcement.root(), announcement.root_sequence())
    }
}
