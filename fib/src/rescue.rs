//! The second lookup for a traffic frame that would be dropped on its way along the snake.
//!
//! Paths are set up anew every few seconds, from the highest key down. Meanwhile a node may have lost
//! a route that the node before it still follows. Two rules find a way for such frames where the
//! protocol's own lookup finds none:
//! - Frames that follow a route already may follow it for a short time after it has expired.
//! - Any other frame takes a detour: to the next known key towards its destination that another port
//!   leads to.
//!
//! Each rule improves the watermark, or follows the path of the bootstrap that the watermark names. So a frame makes
//! progress, as it does without these rules.

use pinecone_wire::{PublicKey, Watermark};

use crate::decision::Decision;
use crate::entry::SnekEntry;
use crate::index::bits::below;
use crate::port::PortId;
use crate::snapshot::{Forward, Snapshot};

/// The number of known keys that are considered for a detour.
const DETOUR_TRIES: usize = 16;

/// The rule by which a traffic frame is forwarded that the protocol's lookup alone would have dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// The frame follows a route that has just expired.
    ExpiredRoute,
    /// The frame is forwarded towards another key than the one that the lookup found.
    Detour,
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
        let expired = self.expired_hop(ingress, watermark);
        if let Some(forward) = expired {
            return Some((Rescue::ExpiredRoute, forward));
        }
        let detour = self.detour(ingress, destination, watermark)?;
        Some((Rescue::Detour, detour))
    }

    /// Returns the hop along the expired route that the frame follows, unless the frame has seen a newer
    /// one.
    fn expired_hop<'a>(&'a self, ingress: PortId, watermark: &'a Watermark) -> Option<Forward<'a>> {
        let route = self.expired.get(&watermark.key)?;
        let usable = route.source != ingress && route.sequence >= watermark.sequence;
        usable.then_some(Forward {
            decision: Decision::Send(route.source),
            key: &watermark.key,
            sequence: route.sequence,
        })
    }

    /// Returns the hop towards the lowest of the next [`DETOUR_TRIES`] known keys at or above the
    /// destination that a port other than `ingress` leads to. The hop must improve the watermark or lead
    /// along the path that the watermark names.
    ///
    /// A watermark that is merely not worse would allow loops: a hop to a near key has the sequence 0, which
    /// is not worse than any other, so a frame could circle between a node that uses a route and one that
    /// uses the tree.
    fn detour<'a>(
        &'a self,
        ingress: PortId,
        destination: &PublicKey,
        watermark: &Watermark,
    ) -> Option<Forward<'a>> {
        let bound = self.bound_key(destination);
        let mut found = self.snek.successor(destination, false);
        for _ in 0..DETOUR_TRIES {
            let (key, entry) = found?;
            // Every further key is worse than the watermark, or no closer than this node.
            if key != destination && !below(key, bound) || below(&watermark.key, key) {
                return None;
            }
            if let Some((port, sequence)) = entry.hop_around(ingress, key, watermark) {
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
    /// Returns the port and sequence by which this entry leads to `key` and not to `ingress`.
    fn hop_around(
        &self,
        ingress: PortId,
        key: &PublicKey,
        watermark: &Watermark,
    ) -> Option<(PortId, u64)> {
        let near = self.near().map(|port| (port, 0));
        let mut hops = [near, self.route()].into_iter().flatten();
        hops.find(|&(port, sequence)| {
            let new = Watermark {
                key: *key,
                sequence,
            };
            let follows = sequence != 0 && new == *watermark;
            port != ingress && (follows || watermark.is_worse_than(&new))
        })
    }
}
