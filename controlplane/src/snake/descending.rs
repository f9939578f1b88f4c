//! The descending node: the one with the next lower key on the snake.

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;
use pinecone_wire::timing::ROUTE_LIFETIME;

use crate::position::Position;

/// The descending node, as its last bootstrap showed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descending {
    pub(super) key: PublicKey,
    pub(super) source: PortId,
    pub(super) root: (PublicKey, u64),
    pub(super) last_seen: Duration,
}

impl Descending {
    /// Reports whether it was seen within the lifetime of a route, under the current root.
    pub(super) fn is_valid(&self, now: Duration, position: &Position) -> bool {
        now < self.last_seen + ROUTE_LIFETIME && self.root == position.root()
    }
}
