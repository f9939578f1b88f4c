//! The RIB: the announcements of all peers, all routes, and the selection of the best next hops.
//!
//! [`Rib`] keeps the last tree announcement of each peer and the SNEK routes. For each key that peers have announced it
//! selects a port ([`near`], protocol section 6), and for tree routing the peers that follow the node's root (section
//! 4). It programs the FIB with the results, as a routing daemon programs a kernel. Bootstraps are routed by the RIB
//! ([`bootstraps`]).
//!
//! The RIB has no index of its own in which near keys and routes are ordered by key: it reads the FIB's by
//! [`FibWriter::entry_above`], because a second one would take as much memory for each route as the FIB
//! does, and as much time to change.

mod adjacency;
mod bootstrap_hop;
mod bootstraps;
mod expired;
mod near;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use pinecone_fib::{FibWriter, PortId, Snapshot};
use pinecone_wire::timing::ROUTE_LIFETIME;
use pinecone_wire::{Coordinates, PublicKey};

pub(crate) use self::adjacency::{Adjacency, Announced};
pub(crate) use self::bootstrap_hop::BootstrapHop;
use self::expired::ExpiredRoutes;
use self::near::NearKeys;
use self::routes::Routes;
pub(crate) use self::routes::{Room, Route};

/// Minimum time between two batches of routes that expire.
const EXPIRY_BATCH: Duration = Duration::from_millis(10);

/// The RIB of one node: see the [module's documentation](self).
pub(crate) struct Rib {
    own: PublicKey,
    fib: FibWriter,
    /// The values are boxed, as most nodes have far fewer peers than a node of the map has room for.
    adjacencies: BTreeMap<PortId, Box<Adjacency>>,
    near: NearKeys,
    parent: Option<PortId>,
    /// The root that the node follows, and its sequence.
    root: (PublicKey, u64),
    /// The key of the root and the port towards it, where there is a parent.
    up: Option<(PublicKey, PortId)>,
    /// The port of a peer that has the node's own key.
    own_key_port: Option<PortId>,
    routes: Routes,
    /// Expired routes that traffic may still follow.
    expired: ExpiredRoutes,
    /// The time at which routes last expired.
    last_expiry: Option<Duration>,
}

impl Rib {
    /// Creates the RIB of a node without peers, which is its own root.
    pub(crate) fn new(own: PublicKey, fib: FibWriter) -> Self {
        Self {
            own,
            fib,
            adjacencies: BTreeMap::new(),
            near: NearKeys::default(),
            parent: None,
            root: (own, 0),
            up: None,
            own_key_port: None,
            routes: Routes::default(),
            expired: ExpiredRoutes::default(),
            last_expiry: None,
        }
    }

    /// Publishes the changes of the FIB.
    pub(crate) fn publish(&mut self) {
        self.fib.publish();
    }

    /// Returns the FIB's working state, unpublished changes included.
    pub(crate) fn tables(&mut self) -> &Snapshot {
        self.fib.snapshot()
    }
}

/// Announcements.
impl Rib {
    /// Stores the announcement of the peer at `port`. Returns the one before.
    pub(crate) fn announce(&mut self, port: PortId, peer: Adjacency) -> Option<Announced> {
        let mut touched = Vec::new();
        let before = self.retract(port, &mut touched);
        let is_parent = self.parent == Some(port);
        self.near.add(port, &peer, is_parent, &mut touched);
        if peer.announced.root() == self.root {
            program_coordinates(&mut self.fib, port, &peer);
        } else {
            self.fib.remove_peer_coordinates(port);
        }
        self.adjacencies.insert(port, Box::new(peer));
        self.program_near(touched);
        before
    }

    /// Removes what the peer at `port` has announced, but not its routes.
    pub(crate) fn withdraw(&mut self, port: PortId) -> Option<Announced> {
        let mut touched = Vec::new();
        let before = self.retract(port, &mut touched)?;
        self.fib.remove_peer_coordinates(port);
        self.program_near(touched);
        Some(before)
    }

    /// Returns the last announcement of the peer at `port`.
    pub(crate) fn announced(&self, port: PortId) -> Option<&Announced> {
        Some(&self.adjacencies.get(&port)?.announced)
    }

    /// Returns the best peering with the node that has `key`, of those that have announced themselves: the
    /// one on the fastest link, then the one that announced itself first.
    pub(crate) fn peering_with(&self, key: &PublicKey) -> Option<PortId> {
        self.near.direct(key)
    }

    /// Returns all peerings with the node that has `key` that have announced themselves, best first.
    pub(crate) fn peerings_with(&self, key: &PublicKey) -> impl Iterator<Item = PortId> {
        self.near.all_direct(*key)
    }

    /// Sets the peering that leads to the root, if any. The root is the one that this peering has
    /// announced.
    pub(crate) fn set_parent(&mut self, parent: Option<PortId>) {
        if self.parent == parent {
            return;
        }
        let mut touched = Vec::new();
        for (port, before, after) in [(self.parent, true, false), (parent, false, true)] {
            if let Some(port) = port
                && let Some(peer) = self.adjacencies.get(&port)
            {
                self.near.remove(port, peer, before, &mut touched);
                self.near.add(port, peer, after, &mut touched);
            }
        }
        self.parent = parent;
        self.program_near(touched);
    }

    /// Sets the root that the node follows and its coordinates below that root. The tree routes by way of the peers
    /// that follow exactly that root and sequence.
    pub(crate) fn set_position(&mut self, root: (PublicKey, u64), coordinates: Coordinates) {
        self.fib.set_coordinates(coordinates);
        if std::mem::replace(&mut self.root, root) == root {
            return;
        }
        self.fib.clear_peer_coordinates();
        for (port, peer) in &self.adjacencies {
            if peer.announced.root() == root {
                program_coordinates(&mut self.fib, *port, peer);
            }
        }
    }

    /// Removes what the peer at `port` has announced, except for its coordinates in the FIB.
    fn retract(&mut self, port: PortId, touched: &mut Vec<PublicKey>) -> Option<Announced> {
        let peer = self.adjacencies.remove(&port)?;
        let is_parent = self.parent == Some(port);
        self.near.remove(port, &peer, is_parent, touched);
        Some(peer.announced)
    }

    /// Programs the FIB with the best ports of the keys whose claims have changed.
    fn program_near(&mut self, mut touched: Vec<PublicKey>) {
        touched.sort_unstable();
        touched.dedup();
        for key in touched {
            self.fib.set_near(key, self.near.port(&key));
        }
        self.up = self.parent.and_then(|port| {
            let (root, _) = self.announced(port)?.root();
            Some((root, self.near.port(&root).unwrap_or(port)))
        });
        self.own_key_port = self.near.direct(&self.own);
        self.fib.set_up(self.up);
        self.fib.set_own_key_port(self.own_key_port);
    }
}

/// Routes.
impl Rib {
    /// Returns all routes.
    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Inserts a route or replaces it. Returns the route that its key had before.
    pub(crate) fn insert_route(&mut self, route: Route) -> Option<Route> {
        let before = self.routes.insert(route);
        self.fib.set_route(route.key, route.source, route.sequence);
        before
    }

    /// Removes the route of `key`.
    pub(crate) fn remove_route(&mut self, key: &PublicKey) -> Option<Route> {
        let route = self.routes.remove(key)?;
        self.fib.remove_route(key);
        Some(route)
    }

    /// Removes the least recently seen route if it has expired. Traffic that follows it already may do so
    /// for [a moment](expired) more.
    pub(crate) fn expire_route(&mut self, now: Duration) -> Option<Route> {
        let route = self.routes.oldest()?;
        if route.last_seen + ROUTE_LIFETIME > now {
            return None;
        }
        self.last_expiry = Some(now);
        if let Some(oldest) = self.expired.push(now, route.key, route.source) {
            self.fib.forget_expired(&oldest);
        }
        self.fib.expire_route(&route.key);
        self.routes.remove(&route.key)
    }

    /// Forgets the expired routes that traffic may no longer follow.
    pub(crate) fn forget_expired(&mut self, now: Duration) {
        while let Some(key) = self.expired.pop(now) {
            self.fib.forget_expired(&key);
        }
    }

    /// Forgets the expired routes that lead to `port`, whose number another peering may get soon.
    pub(crate) fn forget_expired_of(&mut self, port: PortId) {
        for key in self.expired.take_port(port) {
            self.fib.forget_expired(&key);
        }
    }

    /// Returns the time at which [`Self::expire_route`] or [`Self::forget_expired`] next has something to do, in
    /// batches.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        let batch = self
            .last_expiry
            .map_or(Duration::ZERO, |last| last + EXPIRY_BATCH);
        let oldest = self.routes.oldest();
        let expiry = oldest.map(|route| (route.last_seen + ROUTE_LIFETIME).max(batch));
        expiry.into_iter().chain(self.expired.next()).min()
    }

    /// Moves the routes that came from `port` to `other`, a peering with the same node.
    pub(crate) fn move_source(&mut self, port: PortId, other: PortId) {
        for key in self.routes.move_source(port, other) {
            if let Some(route) = self.routes.get(&key) {
                self.fib.set_route(key, route.source, route.sequence);
            }
        }
    }

    /// Records that the bootstraps that were forwarded to `port` were forwarded to `other`, or to no port.
    pub(crate) fn move_destination(&mut self, port: PortId, other: Option<PortId>) {
        self.routes.move_destination(port, other);
    }

    /// Records that the last bootstrap of `key` is forwarded to `destination`, after it had come as a correction.
    pub(crate) fn pass_on(&mut self, key: &PublicKey, destination: Option<PortId>) {
        self.routes.pass_on(key, destination);
    }

    /// Records that the bootstraps of `key` were forwarded to no port.
    pub(crate) fn forget_destination(&mut self, key: &PublicKey) {
        self.routes.forget_destination(key);
    }

    /// Records that `key` has been notified that its path is broken.
    pub(crate) fn set_told(&mut self, key: &PublicKey) {
        self.routes.set_told(key);
    }
}

/// Programs the FIB with the coordinates of a peer. The preference is that of protocol section 4: the
/// fastest link, then the earliest announcement.
fn program_coordinates(fib: &mut FibWriter, port: PortId, peer: &Adjacency) {
    /// Arrival numbers stay far below this.
    const ORDERS: u64 = 1 << 56;
    let preference = peer.link as u64 * ORDERS + peer.announced.order.min(ORDERS - 1);
    let coordinates = peer.announced.peer_coordinates.clone();
    fib.set_peer_coordinates(port, coordinates, preference);
}
