//! The tables at one moment, and their two lookups.

use std::sync::Arc;

use arrayvec::ArrayVec;
use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use crate::decision::{Decision, decide};
use crate::entry::{ExpiredRoute, SnekEntry};
use crate::hop::{Hop, NextHop, SnekHop};
use crate::index::bits::below;
use crate::index::search::{BATCH, Searches};
use crate::index::{Found, Index};
use crate::port::PortId;
use crate::tree::TreeTable;

/// The tables at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) own: PublicKey,
    pub(crate) coordinates: Arc<Coordinates>,
    /// The root's key and the port towards it, at a node with a parent.
    pub(crate) up: Option<(PublicKey, PortId)>,
    /// The port of a peer with the node's own key.
    pub(crate) own_key_port: Option<PortId>,
    /// Near keys and routes in one index, so that a lookup is one search.
    pub(crate) snek: Index<SnekEntry>,
    /// The near keys alone, for the rare lookup whose watermark rules out a route.
    pub(crate) near: Index<Option<PortId>>,
    pub(crate) routes: usize,
    /// Routes that expired a moment ago. Only frames that would be dropped are looked up here.
    pub(crate) expired: Index<ExpiredRoute>,
    pub(crate) tree: TreeTable,
}

/// The result of a lookup that finds no closer key, and the key that closer ones must be below.
struct Bound<'a> {
    key: &'a PublicKey,
    next: NextHop,
}

/// A traffic lookup of [`Snapshot::snek_batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnekQuery {
    /// The frame's destination key.
    pub destination: PublicKey,
    /// The frame's watermark.
    pub watermark: Watermark,
}

/// Traffic lookups whose cache misses overlap, one for each destination.
pub struct SnekBatch<'a>(Searches<'a, SnekEntry>);

/// The decision about a traffic frame, and its new watermark if it is forwarded.
pub(crate) struct Forward<'a> {
    pub(crate) decision: Decision,
    pub(crate) key: &'a PublicKey,
    pub(crate) sequence: u64,
}

impl Snapshot {
    /// Returns the node's own key.
    #[must_use]
    pub fn own_key(&self) -> PublicKey {
        self.own
    }

    /// Returns the node's own coordinates.
    #[must_use]
    pub fn coordinates(&self) -> &Coordinates {
        &self.coordinates
    }

    /// Returns the number of SNEK routes.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes
    }

    /// Returns the SNEK next hop of a traffic frame: towards the lowest known key at or above its
    /// destination (protocol section 6).
    #[must_use]
    pub fn snek(&self, destination: &PublicKey, watermark: &Watermark) -> SnekHop {
        let found = self.snek.successor(destination, false);
        self.answer(destination, watermark, found).into()
    }

    /// Looks up all `queries`, with overlapping cache misses, and appends the results to `out` in the
    /// same order.
    pub fn snek_batch(&self, queries: &[SnekQuery], out: &mut Vec<SnekHop>) {
        out.reserve(queries.len());
        for queries in queries.chunks(BATCH) {
            let destinations: ArrayVec<_, BATCH> = queries.iter().map(|q| q.destination).collect();
            let batch = self.find(&destinations);
            for (at, query) in queries.iter().enumerate() {
                let (destination, watermark) = (&query.destination, &query.watermark);
                let found = batch.0.finish(at, destination);
                out.push(self.answer(destination, watermark, found).into());
            }
        }
    }

    /// Looks up as many as [`BATCH`] destinations of traffic frames.
    #[inline(always)]
    pub fn find(&self, destinations: &[PublicKey]) -> SnekBatch<'_> {
        SnekBatch(self.snek.search(destinations))
    }

    /// Decides about a traffic frame that came from `ingress` (protocol sections 6 and 7). Its
    /// `destination` is the one at `at` in `batch`, and not this node.
    #[inline(always)]
    pub(crate) fn forward_key<'a>(
        &'a self,
        batch: &SnekBatch<'a>,
        at: usize,
        ingress: PortId,
        destination: &PublicKey,
        watermark: &'a Watermark,
    ) -> Forward<'a> {
        self.decide(
            ingress,
            destination,
            watermark,
            batch.0.finish(at, destination),
        )
    }

    /// Decides about a traffic frame for which the search found `found`.
    #[inline(always)]
    fn decide<'a>(
        &'a self,
        ingress: PortId,
        destination: &PublicKey,
        watermark: &'a Watermark,
        found: Found<'a, SnekEntry>,
    ) -> Forward<'a> {
        // No key is closer than the destination itself.
        if let Some((key, entry)) = found
            && key == destination
            && let Some(hop) = entry.hop(key, watermark)
        {
            let decision = decide(ingress, watermark, &hop);
            return Forward {
                decision,
                key,
                sequence: hop.sequence,
            };
        }
        let hop = self.answer(destination, watermark, found);
        Forward {
            decision: decide(ingress, watermark, &hop),
            key: hop.key,
            sequence: hop.sequence,
        }
    }

    /// Returns the tree next hop of a frame that came from `ingress` (protocol section 4), which is never
    /// `ingress` itself.
    #[must_use]
    pub fn tree(&self, ingress: PortId, destination: CoordinatesView<'_>) -> NextHop {
        self.tree.next_hop(&self.coordinates, ingress, destination)
    }

    /// Returns the result of a SNEK lookup for which the search found `found`.
    fn answer<'a>(
        &'a self,
        destination: &PublicKey,
        watermark: &'a Watermark,
        found: Found<'a, SnekEntry>,
    ) -> Hop<'a> {
        if *destination == self.own {
            return Hop {
                next: NextHop::Local,
                key: &watermark.key,
                sequence: watermark.sequence,
            };
        }
        if let Some((key, entry)) = found
            && (key == destination || self.is_closer(destination, key))
        {
            return entry
                .hop(key, watermark)
                .unwrap_or_else(|| self.near_hop(destination));
        }
        self.bound(destination).hop()
    }

    /// Returns the result of a lookup that may use no route. Once a watermark rules out a route, it also rules out
    /// every further route, but no watermark rules out a near key.
    #[cold]
    fn near_hop(&self, destination: &PublicKey) -> Hop<'_> {
        match self.near.successor(destination, false) {
            Some((key, &Some(port))) if key == destination || self.is_closer(destination, key) => {
                Hop::through(port, key, 0)
            }
            _ => self.bound(destination).hop(),
        }
    }

    /// Reports whether `key`, which is not below the destination, is closer to it than the bound.
    #[inline]
    fn is_closer(&self, destination: &PublicKey, key: &PublicKey) -> bool {
        below(key, self.bound_key(destination)) && below(destination, key)
    }

    /// Returns the key that keys closer to the destination must be below.
    #[inline]
    pub(crate) fn bound_key(&self, destination: &PublicKey) -> &PublicKey {
        self.bound(destination).key
    }

    /// Returns the result that closer keys must improve on (protocol section 6, steps 2 and 3).
    #[inline]
    fn bound(&self, destination: &PublicKey) -> Bound<'_> {
        if let Some((root, port)) = &self.up
            && below(&self.own, destination)
            && below(destination, root)
        {
            return Bound {
                key: root,
                next: NextHop::Port(*port),
            };
        }
        Bound {
            key: &self.own,
            next: self.own_key_port.map_or(NextHop::Local, NextHop::Port),
        }
    }
}

impl<'a> Bound<'a> {
    fn hop(&self) -> Hop<'a> {
        Hop {
            next: self.next,
            key: self.key,
            sequence: 0,
        }
    }
}
