//! The control side: the working state, and how it becomes what readers see.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pinecone_wire::{Coordinates, PublicKey, Watermark};

use super::near::NearKeys;
use super::rescue::ExpiredRoute;
use super::snapshot::SnekEntry;
use super::tree::TreeBuilder;
use super::{NextHop, PeerEntry, Snapshot, SnekHop};
use crate::PortId;

/// The control side of the tables. One owner; readers see its changes after [`Self::publish`].
///
/// A change costs what it touches times the logarithm of the table's size, whatever the table
/// holds otherwise; what readers may be looking at is copied, never changed (but for the sequence
/// of a route that is refreshed).
#[derive(Debug)]
pub struct FibWriter {
    working: Snapshot,
    dirty: bool,
    published: Arc<ArcSwap<Snapshot>>,
    /// Published before and perhaps still looked at: dropped here and not by a reader, whom it
    /// would cost a pause.
    retired: Vec<Arc<Snapshot>>,
    peers: BTreeMap<PortId, PeerEntry>,
    parent: Option<PortId>,
    root: (PublicKey, u64),
    near: NearKeys,
    tree: TreeBuilder,
    /// The most expired routes at any time since their index was last compacted.
    most_expired: usize,
    /// The most known keys at any time since their index was last compacted.
    most_known: usize,
}

/// An index with more keys than this is not compacted: that would hold up the control plane for
/// milliseconds.
const MOST_COMPACTED: usize = 16_384;

/// Where readers come from.
#[derive(Clone, Debug)]
pub struct Fib {
    published: Arc<ArcSwap<Snapshot>>,
}

/// One thread's view of the tables.
#[derive(Clone, Debug)]
pub struct FibReader {
    cache: arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl FibWriter {
    /// Empty tables of the node with key `own`, which is its own root until told otherwise.
    #[must_use]
    pub fn new(own: PublicKey) -> (Self, Fib) {
        let working = Snapshot {
            own,
            coordinates: Arc::default(),
            up: None,
            twin: None,
            snek: Default::default(),
            near: Default::default(),
            routes: 0,
            expired: Default::default(),
            tree: Default::default(),
        };
        let published = Arc::new(ArcSwap::from_pointee(working.clone()));
        let fib = Fib {
            published: Arc::clone(&published),
        };
        let writer = Self {
            working,
            dirty: false,
            published,
            retired: Vec::new(),
            peers: BTreeMap::new(),
            parent: None,
            root: (own, 0),
            near: NearKeys::default(),
            tree: TreeBuilder::default(),
            most_expired: 0,
            most_known: 0,
        };
        (writer, fib)
    }

    /// Adds a live peering, or replaces what is known of it.
    pub fn set_peer(&mut self, port: PortId, peer: PeerEntry) {
        if self.peers.get(&port) == Some(&peer) {
            return;
        }
        let mut touched = Vec::new();
        self.retract(port, &mut touched);
        self.near
            .add(port, &peer, self.parent == Some(port), &mut touched);
        if self.follows_root(&peer) {
            self.tree.add(&mut self.working.tree, port, &peer);
        }
        self.peers.insert(port, peer);
        self.settle(touched);
    }

    /// Takes out a peering and what it announced. Its routes are the caller's to remove.
    pub fn remove_peer(&mut self, port: PortId) {
        let mut touched = Vec::new();
        if self.retract(port, &mut touched) {
            self.settle(touched);
        }
    }

    /// Says which peering leads to the root, if any. The root is the one that this peering
    /// announced; until it has, the node looks keys up as if it had no parent.
    pub fn set_parent(&mut self, parent: Option<PortId>) {
        if self.parent == parent {
            return;
        }
        let mut touched = Vec::new();
        for (port, before, after) in [(self.parent, true, false), (parent, false, true)] {
            if let Some((port, peer)) = port.and_then(|p| Some((p, self.peers.get(&p)?))) {
                self.near.remove(port, peer, before, &mut touched);
                self.near.add(port, peer, after, &mut touched);
            }
        }
        self.parent = parent;
        self.settle(touched);
    }

    /// Sets the root that we follow and our own place below it: tree routing goes by way of the
    /// peers that follow exactly that root and sequence.
    pub fn set_position(&mut self, root: PublicKey, root_sequence: u64, coordinates: Coordinates) {
        if *self.working.coordinates != coordinates {
            self.working.coordinates = Arc::new(coordinates);
            self.working.tree.trace(&self.working.coordinates);
            self.dirty = true;
        }
        let root = (root, root_sequence);
        if std::mem::replace(&mut self.root, root) == root {
            return;
        }
        self.dirty = true;
        self.tree.clear(&mut self.working.tree);
        for (&port, peer) in &self.peers {
            if self.follows_root(peer) {
                self.tree.add(&mut self.working.tree, port, peer);
            }
        }
        self.working.tree.trace(&self.working.coordinates);
    }

    /// Installs the route to `key` by way of the peering `source`, or refreshes it: the same source
    /// with a new sequence changes one number in place, seen at once and without publication.
    pub fn set_route(&mut self, key: PublicKey, source: PortId, sequence: u64) {
        let entry = self.working.snek.get_to_edit(&key);
        if entry.is_some_and(|entry| entry.refresh(source, sequence)) {
            return;
        }
        let fresh = entry.is_none_or(|entry| entry.route().is_none());
        let near = entry.and_then(SnekEntry::near);
        self.working.routes += usize::from(fresh);
        self.set_entry(key, near, Some((source, sequence)));
        if fresh {
            self.forget_expired(&key);
        }
    }

    /// Takes out a route; whether there was one.
    pub fn remove_route(&mut self, key: &PublicKey) -> bool {
        let Some(entry) = self.working.snek.get_to_edit(key) else {
            return false;
        };
        let near = entry.near();
        let present = entry.route().is_some();
        if present {
            self.working.routes -= 1;
            self.set_entry(*key, near, None);
        }
        present
    }

    /// Takes out a route that has expired, and keeps it aside for frames that follow it and would be
    /// dropped otherwise: see [`Rescue`](super::Rescue). It is the caller's to say when
    /// [its time](Self::forget_expired) is over, and must not be kept for longer than its peering
    /// lives.
    pub fn expire_route(&mut self, key: &PublicKey) -> bool {
        let route = self
            .working
            .snek
            .get_to_edit(key)
            .and_then(SnekEntry::route);
        let Some((source, sequence)) = route else {
            return false;
        };
        self.remove_route(key);
        let route = ExpiredRoute { source, sequence };
        let expired = &mut self.working.expired;
        expired.insert(*key, route);
        self.most_expired = self.most_expired.max(expired.len());
        true
    }

    /// Forgets an expired route; whether there was one.
    pub fn forget_expired(&mut self, key: &PublicKey) -> bool {
        let expired = &mut self.working.expired;
        let present = expired.remove(key).is_some();
        self.dirty |= present;
        if 2 * expired.len() < self.most_expired {
            self.most_expired = expired.len();
            expired.compact();
        }
        present
    }

    /// Shows the working state to readers. Does nothing if nothing changed.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.working.snek.prepare();
            let old = self.published.swap(Arc::new(self.working.clone()));
            self.retired.push(old);
        }
        self.retired.retain(|old| Arc::strong_count(old) > 1);
    }

    /// The working state, changes not yet published included.
    pub fn snapshot(&mut self) -> &Snapshot {
        &self.working
    }

    /// SNEK next hop of a bootstrap that is to go by none of the ports `avoided`, whatever its
    /// watermark: towards the lowest known key above the destination that another port leads to, if
    /// possible by a way that, as announced, passes neither this node nor those at the avoided ports.
    /// Looks at `tries` ways, then at as many to the root. Nothing if there is none, or this node is
    /// the next above the destination that it knows.
    #[must_use]
    pub fn snek_around(
        &self,
        destination: &PublicKey,
        avoided: &[PortId],
        tries: usize,
    ) -> Option<SnekHop> {
        let peers = avoided.iter().filter_map(|port| self.peers.get(port));
        let passed: Vec<_> = peers.map(|p| p.key).chain([self.working.own]).collect();
        let apart = |port: &PortId| {
            let peer = self.peers.get(port);
            let announced = peer.and_then(|peer| peer.announcement.as_ref());
            announced.is_none_or(|a| a.signers.iter().all(|(_, key)| !passed.contains(key)))
        };
        let above = self.ways_above(destination).take(tries);
        let root = self.root.0;
        let to_root = self.near.ports(&root).map(|port| (root, port, 0));
        let beyond = *destination >= self.working.own && *destination < root;
        let last = to_root.take(tries).filter(|_| beyond);
        let ways: Vec<_> = above
            .chain(last)
            .filter(|(_, port, _)| !avoided.contains(port))
            .collect();
        // A route was set up by who came that way, whatever is announced there.
        let good = |(_, port, sequence): &&(_, _, u64)| *sequence != 0 || apart(port);
        let (key, port, sequence) = *ways.iter().find(good).or(ways.first())?;
        Some(SnekHop {
            next: NextHop::Port(port),
            watermark: Watermark { key, sequence },
        })
    }

    /// All ways to known keys above `destination`, lowest first, up to this node's own key: key, port
    /// and sequence, which is 0 where the key was announced.
    fn ways_above(
        &self,
        destination: &PublicKey,
    ) -> impl Iterator<Item = (PublicKey, PortId, u64)> {
        let known = &self.working.snek;
        let own = Some(self.working.own).filter(|own| destination < own);
        let keys = std::iter::successors(known.successor(destination, true), |(key, _)| {
            known.successor(key, true)
        });
        keys.take_while(move |(key, _)| own.is_none_or(|own| **key < own))
            .flat_map(|(key, entry)| {
                let near = self.near.ports(key).map(|port| (port, 0));
                let ways = near.chain(entry.route());
                ways.map(|(port, sequence)| (*key, port, sequence))
            })
    }

    fn follows_root(&self, peer: &PeerEntry) -> bool {
        let announced = peer.announcement.as_ref();
        announced.is_some_and(|a| (a.root, a.root_sequence) == self.root)
    }

    /// Takes out all that a peering announced; whether there was such a peering.
    fn retract(&mut self, port: PortId, touched: &mut Vec<PublicKey>) -> bool {
        let Some(peer) = self.peers.remove(&port) else {
            return false;
        };
        self.near
            .remove(port, &peer, self.parent == Some(port), touched);
        if self.follows_root(&peer) {
            self.tree.remove(&mut self.working.tree, port, &peer);
        }
        true
    }

    /// Brings the indexes up to date for the keys whose claims changed.
    fn settle(&mut self, mut touched: Vec<PublicKey>) {
        self.dirty = true;
        touched.sort_unstable();
        touched.dedup();
        for key in touched {
            let near = self.near.port(&key);
            let entry = self.working.snek.get(&key);
            if entry.and_then(SnekEntry::near) != near {
                let route = entry.and_then(SnekEntry::route);
                self.set_entry(key, near, route);
                if near.is_some() {
                    self.working.near.insert(key, near);
                } else {
                    self.working.near.remove(&key);
                }
            }
        }
        let parent = self.parent.and_then(|port| {
            let announcement = self.peers.get(&port)?.announcement.as_ref()?;
            Some((announcement.root, port))
        });
        self.working.up = parent.map(|(root, port)| (root, self.near.port(&root).unwrap_or(port)));
        self.working.twin = self.near.direct(&self.working.own);
        let table = &mut self.working.tree;
        self.tree.trace(table, &self.working.coordinates);
    }

    fn set_entry(&mut self, key: PublicKey, near: Option<PortId>, route: Option<(PortId, u64)>) {
        self.dirty = true;
        let known = &mut self.working.snek;
        match SnekEntry::new(near, route) {
            Some(entry) => known.insert(key, entry),
            None => known.remove(&key),
        };
        self.most_known = self.most_known.max(known.len());
        // After a start or a change of the root there are many more than later.
        if 3 * known.len() < 2 * self.most_known && known.len() <= MOST_COMPACTED {
            self.most_known = known.len();
            known.compact();
        }
    }
}

impl Fib {
    /// A reader of its own for each thread.
    #[must_use]
    pub fn reader(&self) -> FibReader {
        FibReader {
            cache: arc_swap::Cache::new(Arc::clone(&self.published)),
        }
    }
}

impl FibReader {
    /// The latest published tables. Cheap; call it once a batch.
    #[inline]
    pub fn load(&mut self) -> &Snapshot {
        self.cache.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_many_routes_is_given_back() {
        let key = |n: u16| {
            let mut key = PublicKey::MIN;
            key.0[..2].copy_from_slice(&n.wrapping_mul(40_503).to_be_bytes());
            key
        };
        let (mut writer, fib) = FibWriter::new(PublicKey::MAX);
        for n in 0..10_000 {
            writer.set_route(key(n), PortId(1), 1);
        }
        writer.publish();
        let most = writer.working.snek.bytes();
        for n in 100..10_000 {
            writer.remove_route(&key(n));
        }
        // Refreshed in memory that no reader has seen.
        for n in 0..100 {
            writer.set_route(key(n), PortId(1), 2);
        }
        writer.publish();
        assert!(writer.working.snek.bytes() < most / 20);
        assert_eq!(fib.reader().load().route_count(), 100);
        for n in 0..100 {
            let entry = writer.working.snek.get(&key(n));
            assert_eq!(entry.and_then(SnekEntry::route), Some((PortId(1), 2)));
        }
    }

    /// A reader that never looks again pins the one snapshot that it has, not those after it.
    #[test]
    fn an_idle_reader_pins_one_snapshot() {
        let (mut writer, fib) = FibWriter::new(PublicKey::MIN);
        let mut idle = fib.reader();
        assert_eq!(idle.load().route_count(), 0);
        let mut busy = fib.reader();
        for n in 1..=100u8 {
            writer.set_route(PublicKey([n; 32]), PortId(1), 1);
            writer.publish();
            assert_eq!(busy.load().route_count(), usize::from(n));
            writer.publish();
            assert_eq!(writer.retired.len(), 1, "only the idle reader's");
        }
        assert_eq!(idle.load().route_count(), 100);
        writer.publish();
        assert!(writer.retired.is_empty());
    }
}
