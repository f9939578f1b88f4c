use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pinecone_wire::{Coordinates, PublicKey};

use super::{PeerEntry, Snapshot};
use crate::PortId;

/// The control side of the tables. One owner; readers see its changes after [`Self::publish`].
#[derive(Debug)]
pub struct FibWriter {
    working: Snapshot,
    dirty: bool,
    published: Arc<ArcSwap<Snapshot>>,
}

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
            peers: BTreeMap::new(),
            parent: None,
            position: (own, 0, Coordinates::default()),
            routes: BTreeMap::new(),
        };
        let published = Arc::new(ArcSwap::from_pointee(working.clone()));
        let fib = Fib {
            published: Arc::clone(&published),
        };
        let writer = Self {
            working,
            dirty: false,
            published,
        };
        (writer, fib)
    }

    /// Adds or replaces a live peering.
    pub fn set_peer(&mut self, port: PortId, peer: PeerEntry) {
        self.dirty = true;
        self.working.peers.insert(port, peer);
    }

    /// Takes out a peering and what it announced. Its routes are the caller's to remove.
    pub fn remove_peer(&mut self, port: PortId) {
        self.dirty = true;
        self.working.peers.remove(&port);
    }

    /// Says which peering leads to the root, if any; its announcement gives the root.
    pub fn set_parent(&mut self, parent: Option<PortId>) {
        self.dirty = true;
        self.working.parent = parent;
    }

    /// Sets the root that we follow and our own place below it.
    pub fn set_position(&mut self, root: PublicKey, root_sequence: u64, coordinates: Coordinates) {
        self.dirty = true;
        self.working.position = (root, root_sequence, coordinates);
    }

    /// Installs a route, or refreshes it: the same source with a new sequence needs no publication.
    pub fn set_route(&mut self, key: PublicKey, source: PortId, sequence: u64) {
        self.dirty = true;
        self.working.routes.insert(key, (source, sequence));
    }

    /// Takes out a route; whether there was one.
    pub fn remove_route(&mut self, key: &PublicKey) -> bool {
        self.dirty = true;
        self.working.routes.remove(key).is_some()
    }

    /// Shows the working state to readers. Does nothing if nothing changed.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.published.store(Arc::new(self.working.clone()));
        }
    }

    /// The working state, changes not yet published included.
    pub fn snapshot(&mut self) -> &Snapshot {
        &self.working
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
