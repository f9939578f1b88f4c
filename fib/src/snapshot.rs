//! The tables at one moment, and the two lookups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use pinecone_wire::coordinates::CoordinatesView;
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use super::decision::{decide, is_worse};
use super::index::{BATCH, Found, Index, Searches, below};
use super::rescue::ExpiredRoute;
use super::tree::TreeTable;
use super::{Decision, NextHop, SnekHop, SnekKind, SnekQuery, Verdict};
use crate::PortId;

/// The tables at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) own: PublicKey,
    pub(super) coordinates: Arc<Coordinates>,
    /// The root's key and the way there: with a live parent that has announced.
    pub(super) up: Option<(PublicKey, PortId)>,
    /// A peering with a node that claims our own key.
    pub(super) twin: Option<PortId>,
    /// Near keys and routes in one: a lookup is one search.
    pub(super) snek: Index<SnekEntry>,
    /// The near keys alone, for the rare lookup whose watermark rules a route out.
    pub(super) near: Index<Option<PortId>>,
    pub(super) routes: usize,
    /// Routes that expired a moment ago. Only frames that would be dropped are looked up in it.
    pub(super) expired: Index<ExpiredRoute>,
    pub(super) tree: TreeTable,
}

/// What is known of a key: near, a route, or both. A near key goes before the route.
#[derive(Debug)]
pub(super) struct SnekEntry {
    near: PortId,
    source: PortId,
    /// The route's. Changed in place, whoever holds the snapshot.
    sequence: AtomicU64,
}

/// What a port that there cannot be means.
const NO_PORT: PortId = PortId(u32::MAX);

/// What a lookup starts from, and its answer if nothing closer is known.
struct Bound<'a> {
    key: &'a PublicKey,
    next: NextHop,
}

/// The answer of a lookup, its watermark where it lies.
pub(super) struct Hop<'a> {
    pub(super) next: NextHop,
    pub(super) key: &'a PublicKey,
    pub(super) sequence: u64,
}

/// Traffic lookups that wait for memory together: one a destination.
pub struct SnekBatch<'a>(Searches<'a, SnekEntry>);

/// What becomes of a traffic frame, and its new watermark if it goes on.
pub(crate) struct Forward<'a> {
    pub(crate) decision: Decision,
    pub(crate) key: &'a PublicKey,
    pub(crate) sequence: u64,
}

impl Snapshot {
    /// The node's own key.
    #[must_use]
    pub fn own_key(&self) -> PublicKey {
        self.own
    }

    /// The node's own coordinates.
    #[must_use]
    pub fn coordinates(&self) -> &Coordinates {
        &self.coordinates
    }

    /// How many SNEK routes there are.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes
    }

    /// SNEK next hop (protocol section 6): the lowest known key at or above the destination, or,
    /// for a bootstrap, strictly above it.
    #[must_use]
    pub fn snek(&self, kind: SnekKind, destination: &PublicKey, watermark: &Watermark) -> SnekHop {
        let strict = kind == SnekKind::Bootstrap;
        let found = self.snek.successor(destination, strict);
        self.answer(kind, destination, watermark, found).into()
    }

    /// The highest known key below `key`, near or with a route.
    #[must_use]
    pub fn predecessor(&self, key: &PublicKey) -> Option<PublicKey> {
        let (key, _) = self.snek.predecessor(key)?;
        Some(*key)
    }

    /// SNEK next hop of a bootstrap where the right one will not do: by way of the first of the next
    /// `tries` known keys above the destination to which a port other than `ingress` leads, whatever
    /// its watermark, or else to the root. It may be `ingress` still.
    #[must_use]
    pub fn snek_detour(&self, destination: &PublicKey, ingress: PortId, tries: usize) -> SnekHop {
        let bound = self.bound(false, destination);
        let mut last = destination;
        for _ in 0..tries {
            let Some((key, entry)) = self.snek.successor(last, true) else {
                break;
            };
            if !below(key, bound.key) {
                break;
            }
            let near = entry.near().map(|port| (port, 0));
            let ways = [near, entry.route()];
            let other = ways
                .into_iter()
                .flatten()
                .find(|(port, _)| *port != ingress);
            if let Some((port, sequence)) = other {
                return Hop::through(port, key, sequence).into();
            }
            last = key;
        }
        bound.hop().into()
    }

    /// Traffic lookups of all `queries`, whose misses wait for memory together; the answers are
    /// appended to `out` in the same order.
    pub fn snek_batch(&self, queries: &[SnekQuery], out: &mut Vec<SnekHop>) {
        out.reserve(queries.len());
        for queries in queries.chunks(BATCH) {
            let destinations: ArrayVec<_, BATCH> = queries.iter().map(|q| q.destination).collect();
            let batch = self.find(&destinations);
            for (at, query) in queries.iter().enumerate() {
                let (destination, watermark) = (&query.destination, &query.watermark);
                let found = batch.0.finish(at, destination);
                let hop = self.answer(SnekKind::Traffic, destination, watermark, found);
                out.push(hop.into());
            }
        }
    }

    /// Looks up to [`BATCH`] destinations of traffic up.
    #[inline(always)]
    pub fn find(&self, destinations: &[PublicKey]) -> SnekBatch<'_> {
        SnekBatch(self.snek.search(destinations))
    }

    /// What becomes of a traffic frame that came from `ingress` (protocol sections 6 and 7), whose
    /// `destination` is the one at `at` in `batch` and not this node.
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

    /// What becomes of one traffic frame that came from `ingress` and is routed by its key (protocol
    /// sections 6 and 7). A frame that would be dropped gets a second look: see [`Rescue`](super::Rescue).
    #[must_use]
    pub fn forward_one(
        &self,
        ingress: PortId,
        destination: &PublicKey,
        watermark: &Watermark,
    ) -> Verdict {
        if *destination == self.own {
            return Verdict {
                decision: Decision::Deliver,
                watermark: *watermark,
                rescue: None,
            };
        }
        let found = self.snek.successor(destination, false);
        let mut forward = self.decide(ingress, destination, watermark, found);
        let mut rescue = None;
        if forward.decision.is_drop()
            && let Some((rule, way)) = self.rescue(ingress, destination, watermark)
        {
            (rescue, forward) = (Some(rule), way);
        }
        Verdict {
            decision: forward.decision,
            watermark: Watermark {
                key: *forward.key,
                sequence: forward.sequence,
            },
            rescue,
        }
    }

    /// The decision about a traffic frame for which the search found `found`.
    #[inline(always)]
    fn decide<'a>(
        &'a self,
        ingress: PortId,
        destination: &PublicKey,
        watermark: &'a Watermark,
        found: Found<'a, SnekEntry>,
    ) -> Forward<'a> {
        // The destination itself is known: nothing is closer.
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
        let hop = self.answer(SnekKind::Traffic, destination, watermark, found);
        Forward {
            decision: decide(ingress, watermark, &hop),
            key: hop.key,
            sequence: hop.sequence,
        }
    }

    /// Tree next hop (protocol section 4). `ingress` is the port that the frame came from, which
    /// it is never sent back to.
    #[must_use]
    pub fn tree(&self, ingress: PortId, destination: CoordinatesView<'_>) -> NextHop {
        self.tree.next_hop(&self.coordinates, ingress, destination)
    }

    /// The answer of a SNEK lookup to which the search found `found`.
    fn answer<'a>(
        &'a self,
        kind: SnekKind,
        destination: &PublicKey,
        watermark: &'a Watermark,
        found: Found<'a, SnekEntry>,
    ) -> Hop<'a> {
        let traffic = kind == SnekKind::Traffic;
        if traffic && *destination == self.own {
            return Hop {
                next: NextHop::Local,
                key: &watermark.key,
                sequence: watermark.sequence,
            };
        }
        if let Some((key, entry)) = found
            && (traffic && key == destination || self.is_closer(traffic, destination, key))
        {
            return entry
                .hop(key, watermark)
                .unwrap_or_else(|| self.near_hop(traffic, destination));
        }
        self.bound(traffic, destination).hop()
    }

    /// The answer if no route may be used. A route is ruled out by its watermark, and then every
    /// further one is worse still, but near keys have no watermark to meet.
    #[cold]
    fn near_hop(&self, traffic: bool, destination: &PublicKey) -> Hop<'_> {
        match self.near.successor(destination, !traffic) {
            Some((key, &Some(port)))
                if traffic && key == destination || self.is_closer(traffic, destination, key) =>
            {
                Hop::through(port, key, 0)
            }
            _ => self.bound(traffic, destination).hop(),
        }
    }

    /// Whether `key`, which is not below the destination, is closer to it than the bound.
    #[inline]
    fn is_closer(&self, traffic: bool, destination: &PublicKey, key: &PublicKey) -> bool {
        let bound = self.bound(traffic, destination).key;
        below(key, bound) && below(destination, key)
    }

    /// The key that closer ones to the destination of a traffic frame must be lower than.
    pub(super) fn traffic_bound(&self, destination: &PublicKey) -> &PublicKey {
        self.bound(true, destination).key
    }

    /// Steps 2 and 3: the answer that closer keys must be lower than.
    #[inline]
    fn bound(&self, traffic: bool, destination: &PublicKey) -> Bound<'_> {
        if let Some((root, port)) = &self.up
            && ((!traffic && *destination == self.own)
                || (below(&self.own, destination) && below(destination, root)))
        {
            return Bound {
                key: root,
                next: NextHop::Port(*port),
            };
        }
        let next = match self.twin {
            Some(port) => NextHop::Port(port),
            None if traffic => NextHop::Local,
            None => NextHop::None,
        };
        Bound {
            key: &self.own,
            next,
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

impl<'a> Hop<'a> {
    #[inline(always)]
    fn through(port: PortId, key: &'a PublicKey, sequence: u64) -> Self {
        Self {
            next: NextHop::Port(port),
            key,
            sequence,
        }
    }
}

impl From<Hop<'_>> for SnekHop {
    fn from(hop: Hop<'_>) -> Self {
        Self {
            next: hop.next,
            watermark: Watermark {
                key: *hop.key,
                sequence: hop.sequence,
            },
        }
    }
}

impl SnekEntry {
    /// The entry of a key that is near, on a route, or both; nothing if neither.
    pub(super) fn new(near: Option<PortId>, route: Option<(PortId, u64)>) -> Option<Self> {
        (near.is_some() || route.is_some()).then(|| {
            let (source, sequence) = route.unwrap_or((NO_PORT, 0));
            Self {
                near: near.unwrap_or(NO_PORT),
                source,
                sequence: AtomicU64::new(sequence),
            }
        })
    }

    /// The way to `key`, whose entry this is, unless it is a route whose watermark is worse than
    /// the frame's.
    #[inline(always)]
    fn hop<'a>(&self, key: &'a PublicKey, watermark: &Watermark) -> Option<Hop<'a>> {
        if self.near != NO_PORT {
            return Some(Hop::through(self.near, key, 0));
        }
        let sequence = self.sequence.load(Ordering::Relaxed);
        (!is_worse(key, sequence, watermark)).then(|| Hop::through(self.source, key, sequence))
    }

    pub(super) fn near(&self) -> Option<PortId> {
        (self.near != NO_PORT).then_some(self.near)
    }

    /// The route's source and sequence.
    pub(super) fn route(&self) -> Option<(PortId, u64)> {
        let sequence = self.sequence.load(Ordering::Relaxed);
        (self.source != NO_PORT).then_some((self.source, sequence))
    }

    /// Sets the sequence in place if there is a route by way of `source`; whether there is.
    pub(super) fn refresh(&self, source: PortId, sequence: u64) -> bool {
        let same = self.source == source;
        if same {
            self.sequence.store(sequence, Ordering::Relaxed);
        }
        same
    }
}

impl Default for SnekEntry {
    fn default() -> Self {
        Self {
            near: NO_PORT,
            source: NO_PORT,
            sequence: AtomicU64::new(0),
        }
    }
}

impl Clone for SnekEntry {
    fn clone(&self) -> Self {
        Self {
            near: self.near,
            source: self.source,
            sequence: AtomicU64::new(self.sequence.load(Ordering::Relaxed)),
        }
    }
}
