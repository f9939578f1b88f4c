//! The second look at a traffic frame that would be dropped on its way along the snake.
//!
//! Paths are set up anew every few seconds, from the highest key down, and meanwhile a node may have
//! lost the route that a node before it still follows. Two rules find such frames a way that the
//! protocol's own lookup does not:
//! - A route that has just expired is followed for a moment more, by the frames that follow it already.
//! - Otherwise the frame is led round: to the next known key towards its destination that another
//!   port leads to.
//!
//! Each makes the watermark better, or follows the path of the bootstrap that the watermark names, so
//! a frame makes progress as it does without them.

use pinecone_wire::{PublicKey, Watermark};

use super::index::below;
use super::snapshot::{Forward, SnekEntry};
use super::{Decision, Snapshot};
use crate::PortId;

/// How many known keys a detour looks at.
const DETOUR_TRIES: usize = 16;

/// Why a traffic frame goes on that the protocol's lookup alone would have dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// It follows a route that has just expired.
    ExpiredRoute,
    /// It goes to another key than the one that the lookup found.
    Detour,
}

/// A route that has just expired.
#[derive(Clone, Debug)]
pub(super) struct ExpiredRoute {
    pub(super) source: PortId,
    pub(super) sequence: u64,
}

impl Default for ExpiredRoute {
    fn default() -> Self {
        Self {
            source: PortId::LOCAL,
            sequence: 0,
        }
    }
}

impl Snapshot {
    /// Looks for another way for a traffic frame that came from `ingress` and would be dropped as
    /// [`Decision::DropBackwards`] or [`Decision::DropWatermark`].
    #[cold]
    #[inline(never)]
    pub(crate) fn rescue<'a>(
        &'a self,
        ingress: PortId,
        destination: &PublicKey,
        watermark: &'a Watermark,
    ) -> Option<(Rescue, Forward<'a>)> {
        let expired = self.expired_way(ingress, watermark);
        if let Some(forward) = expired {
            return Some((Rescue::ExpiredRoute, forward));
        }
        let detour = self.detour(ingress, destination, watermark)?;
        Some((Rescue::Detour, detour))
    }

    /// The way of the expired route that the frame follows, unless the frame has seen a newer one.
    fn expired_way<'a>(&'a self, ingress: PortId, watermark: &'a Watermark) -> Option<Forward<'a>> {
        let route = self.expired.get(&watermark.key)?;
        let usable = route.source != ingress && route.sequence >= watermark.sequence;
        usable.then_some(Forward {
            decision: Decision::Send(route.source),
            key: &watermark.key,
            sequence: route.sequence,
        })
    }

    /// The way to the lowest of the next [`DETOUR_TRIES`] known keys at or above the destination that
    /// a port other than `ingress` leads to, and that makes the watermark better or leads along the path
    /// that the watermark names.
    ///
    /// A watermark that is merely not worse would allow loops. A hop by the tree has the sequence 0, which
    /// is not worse than any other, so a frame could go round between a node that uses a route and one that
    /// uses the tree.
    fn detour<'a>(
        &'a self,
        ingress: PortId,
        destination: &PublicKey,
        watermark: &Watermark,
    ) -> Option<Forward<'a>> {
        let bound = self.traffic_bound(destination);
        let mut found = self.snek.successor(destination, false);
        for _ in 0..DETOUR_TRIES {
            let (key, entry) = found?;
            // Every key from here on is further away than this node itself, or worse.
            if key != destination && !below(key, bound) || below(&watermark.key, key) {
                return None;
            }
            if let Some((port, sequence)) = entry.way_around(ingress, key, watermark) {
                return Some(Forward {
                    decision: Decision::Send(port),
                    key,
                    sequence,
                });
            }
            found = self.snek.successor(key, true);
        }
        None
    }
}

impl SnekEntry {
    /// The port and sequence by which this entry leads to `key` and not to `ingress`.
    fn way_around(
        &self,
        ingress: PortId,
        key: &PublicKey,
        watermark: &Watermark,
    ) -> Option<(PortId, u64)> {
        let near = self.near().map(|port| (port, 0));
        let mut ways = [near, self.route()].into_iter().flatten();
        ways.find(|&(port, sequence)| {
            let new = Watermark {
                key: *key,
                sequence,
            };
            let follows = sequence != 0 && new == *watermark;
            port != ingress && (follows || watermark.is_worse_than(&new))
        })
    }
}
