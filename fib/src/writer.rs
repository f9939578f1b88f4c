//! The writer's side of the tables: the working state, and its publication to readers.

use pinecone_wire::{Coordinates, PublicKey};

use crate::entry::{ExpiredRoute, KeyEntry, SnekEntry};
use crate::index::Found;
use crate::port::PortId;
use crate::publication::{Arc, ArcSwap, Cache};
use crate::snapshot::Snapshot;
use crate::tree::TreeBuilder;

/// The writer of the tables. It has one owner; readers see its changes after [`Self::publish`].
///
/// The cost of a change grows with the logarithm of the table's size. A change copies the nodes that readers may see
/// and never changes them in place, except for the sequence of a route that is refreshed.
#[derive(Debug)]
pub struct FibWriter {
    working: Snapshot,
    /// Set if the working state differs from the published one.
    dirty: bool,
    published: Arc<ArcSwap<Snapshot>>,
    /// Snapshots that readers may still use. They are dropped here, because a drop would delay a reader.
    retired: Vec<Arc<Snapshot>>,
    tree: TreeBuilder,
    /// The most expired routes at any time since their index was last compacted.
    most_expired: usize,
    /// The most known keys at any time since their index was last compacted.
    most_known: usize,
}

/// An index with more keys than this is not compacted: that would hold up the control plane for
/// milliseconds.
const MOST_COMPACTED: usize = 16_384;

/// The published tables, from which each thread gets its own [`FibReader`].
#[derive(Clone, Debug)]
pub struct Fib {
    published: Arc<ArcSwap<Snapshot>>,
}

/// A thread's view of the tables.
#[derive(Clone, Debug)]
pub struct FibReader {
    cache: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
}

impl FibWriter {
    /// Creates the empty tables of the node with the key `own`, which is at the root until told otherwise.
    #[must_use]
    pub fn new(own: PublicKey) -> (Self, Fib) {
        let working = Snapshot {
            own,
            coordinates: Default::default(),
            up: None,
            own_key_port: None,
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
            tree: TreeBuilder::default(),
            most_expired: 0,
            most_known: 0,
        };
        (writer, fib)
    }

    /// Sets the node's own coordinates.
    pub fn set_coordinates(&mut self, coordinates: Coordinates) {
        if *self.working.coordinates != coordinates {
            self.working.coordinates = coordinates.into();
            self.working.tree.trace(&self.working.coordinates);
            self.dirty = true;
        }
    }

    /// Sets the key of the root and the port towards it: the next hop for keys between this node's and
    /// the root's to which no known key is closer. `None` at a node without a parent.
    pub fn set_up(&mut self, up: Option<(PublicKey, PortId)>) {
        self.dirty |= self.working.up != up;
        self.working.up = up;
    }

    /// Sets the port of a peer that has the same key as this node. Frames to which no known key is closer are sent
    /// there; otherwise this node would take them.
    pub fn set_own_key_port(&mut self, port: Option<PortId>) {
        self.dirty |= self.working.own_key_port != port;
        self.working.own_key_port = port;
    }

    /// Sets or removes the port towards a near key: one that a peer has or has announced. A near key
    /// takes precedence over a route to the same key.
    pub fn set_near(&mut self, key: PublicKey, near: Option<PortId>) {
        let entry = self.working.snek.get(&key);
        if entry.and_then(SnekEntry::near) == near {
            return;
        }
        let route = entry.and_then(SnekEntry::route);
        self.set_entry(key, near, route);
        if near.is_some() {
            self.working.near.insert(key, near);
        } else {
            self.working.near.remove(&key);
        }
    }

    /// Sets the coordinates of the peer at `port`, to be used by tree routing. Of several peers at the
    /// same distance from a destination, the one with the lowest `preference` is chosen.
    pub fn set_peer_coordinates(
        &mut self,
        port: PortId,
        coordinates: Coordinates,
        preference: u64,
    ) {
        let table = &mut self.working.tree;
        self.dirty |= self.tree.insert(table, port, coordinates, preference);
    }

    /// Removes the coordinates of the peer at `port`.
    pub fn remove_peer_coordinates(&mut self, port: PortId) {
        self.dirty |= self.tree.remove(&mut self.working.tree, port);
    }

    /// Removes the coordinates of all peers.
    pub fn clear_peer_coordinates(&mut self) {
        self.dirty |= self.tree.clear(&mut self.working.tree);
    }

    /// Installs the route to `key` by way of `source`, or refreshes it. A refresh, with the same source
    /// and a new sequence, changes one number in place, which readers see without publication.
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

    /// Removes a route. Returns whether there was one.
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

    /// Removes a route that has expired, and keeps it aside for frames that follow it and would be
    /// dropped otherwise: see [`Rescue`](crate::Rescue). Returns whether there was one.
    ///
    /// The caller decides when to [forget](Self::forget_expired) it, which must be no later than the end
    /// of its peering.
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

    /// Forgets an expired route. Returns whether there was one.
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

    /// Returns the entry of the lowest key above `key`, unpublished changes included.
    #[must_use]
    pub fn entry_above(&self, key: &PublicKey) -> Option<KeyEntry> {
        entry(self.working.snek.successor(key, true))
    }

    /// Returns the entry of the highest key below `key`, unpublished changes included.
    #[must_use]
    pub fn entry_below(&self, key: &PublicKey) -> Option<KeyEntry> {
        entry(self.working.snek.predecessor(key))
    }

    /// Publishes the working state to readers. Does nothing if nothing has changed.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.working.snek.prepare();
            let snapshot = Arc::new(self.snapshot().clone());
            self.retired.push(self.published.swap(snapshot));
        }
        self.retired.retain(|old| Arc::strong_count(old) > 1);
    }

    /// Returns the working state, unpublished changes included.
    pub fn snapshot(&mut self) -> &Snapshot {
        let table = &mut self.working.tree;
        self.tree.trace(table, &self.working.coordinates);
        &self.working
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

/// Copies an entry for the control plane.
fn entry(found: Found<'_, SnekEntry>) -> Option<KeyEntry> {
    let (key, entry) = found?;
    Some(KeyEntry {
        key: *key,
        near: entry.near(),
        route: entry.route(),
    })
}

impl Fib {
    /// Creates a reader. Each thread needs its own.
    #[must_use]
    pub fn reader(&self) -> FibReader {
        FibReader {
            cache: Cache::new(Arc::clone(&self.published)),
        }
    }
}

impl FibReader {
    /// Returns the latest published tables. Cheap; call it once for each batch of frames.
    #[inline]
    pub fn load(&mut self) -> &Snapshot {
        self.cache.load()
    }
}

#[cfg(all(test, loom))]
mod model;
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
        let routes = if cfg!(miri) { 500 } else { 10_000 };
        let left = routes / 100;
        for n in 0..routes {
            writer.set_route(key(n), PortId(1), 1);
        }
        writer.publish();
        let most = writer.working.snek.bytes();
        for n in left..routes {
            writer.remove_route(&key(n));
        }
        // A refresh in memory that no reader has seen.
        for n in 0..left {
            writer.set_route(key(n), PortId(1), 2);
        }
        writer.publish();
        assert!(writer.working.snek.bytes() < most / 20);
        assert_eq!(fib.reader().load().route_count(), usize::from(left));
        for n in 0..left {
            let entry = writer.working.snek.get(&key(n));
            assert_eq!(entry.and_then(SnekEntry::route), Some((PortId(1), 2)));
        }
    }

    /// A reader that never loads again pins its one snapshot, not those published later.
    #[test]
    fn an_idle_reader_pins_one_snapshot() {
        let (mut writer, fib) = FibWriter::new(PublicKey::MIN);
        let mut idle = fib.reader();
        assert_eq!(idle.load().route_count(), 0);
        let mut busy = fib.reader();
        const ROUTES: u8 = if cfg!(miri) { 20 } else { 100 };
        for n in 1..=ROUTES {
            writer.set_route(PublicKey([n; 32]), PortId(1), 1);
            writer.publish();
            assert_eq!(busy.load().route_count(), usize::from(n));
            writer.publish();
            assert_eq!(writer.retired.len(), 1, "only the idle reader's");
        }
        assert_eq!(idle.load().route_count(), usize::from(ROUTES));
        writer.publish();
        assert!(writer.retired.is_empty());
    }
}
