//! A network in virtual time: nodes, links, and frames under way.
//!
//! [`Network`] holds the nodes and the medium between them, and lets scheduled events happen in
//! order. Nodes act on the medium, and the medium knows nothing of nodes:
//!
//! ```text
//! network -> traffic, peerings, probe -> nodes -> medium -> links, ping_ledger
//! ```

mod frames;
mod links;
mod medium;
mod nodes;
mod peerings;
mod ping_ledger;
mod probe;
mod traffic;

use std::sync::Arc;

use pinecone_controlplane::{ControlPlane, Status};
use pinecone_fib::{PortId, Snapshot};
use pinecone_wire::PublicKey;

use crate::adversary::Adversary;
use crate::counts::Counts;
use crate::ids::{LinkId, NodeId};
use crate::link::LinkOptions;
use crate::node::{Node, NodeOptions};
use crate::random::{Random, Stream};
use crate::time::{self, Nanos};

use self::medium::{Medium, Scheduled};
use self::nodes::Nodes;

pub use self::medium::Observation;
pub use self::ping_ledger::Ping;
pub use self::probe::{Probe, Way};
pub use crate::link::How;

/// A network in virtual time. The same calls give the same run.
pub struct Network {
    options: Arc<NodeOptions>,
    nodes: Nodes,
    medium: Medium,
    keys: Random,
    probing: Random,
}

/// Nodes.
impl Network {
    /// Returns a network without nodes. `options` are those of the nodes to come.
    #[must_use]
    pub fn new(seed: u64, options: NodeOptions) -> Self {
        Self {
            options: Arc::new(options),
            nodes: Nodes::new(seed),
            medium: Medium::new(seed),
            keys: Random::new(seed, Stream::Keys),
            probing: Random::new(seed, Stream::Measures),
        }
    }

    /// Reserves memory for exactly this many more nodes.
    pub(crate) fn reserve_nodes(&mut self, nodes: usize) {
        self.nodes.reserve(nodes);
    }

    /// Adds a node with a key from the seed. It is down until [`Self::start`].
    pub fn add_node(&mut self) -> NodeId {
        let options = Arc::clone(&self.options);
        self.nodes.add(Node::new(self.keys.bytes(), options))
    }

    /// Adds a node with options of its own.
    pub fn add_node_with(&mut self, options: NodeOptions) -> NodeId {
        let options = Arc::new(options);
        self.nodes.add(Node::new(self.keys.bytes(), options))
    }

    /// Starts a node at `at`, if it is down then. It keeps its key and loses all other state.
    pub fn start(&mut self, node: NodeId, at: Nanos) {
        let at = at.max(self.medium.now);
        self.medium.queue.push(at, Scheduled::Start(node));
    }

    /// Takes a node down.
    pub fn stop(&mut self, node: NodeId, how: How) {
        let Some(stopped) = self.nodes.get_mut(node).filter(|node| node.alive) else {
            return;
        };
        self.medium.changes += 1;
        stopped.alive = false;
        let links = stopped.links.clone();
        let ends: Vec<_> = stopped.peerings().map(|(_, end)| end).collect();
        for end in ends {
            self.nodes.forget(&mut self.medium, end);
        }
        for link in links {
            peerings::interrupt(&mut self.nodes, &mut self.medium, link, how);
        }
    }

    /// Gives a node that is down a new key, so that it starts again as a different node.
    pub fn renew(&mut self, node: NodeId) {
        if self.is_alive(node) {
            return;
        }
        let seed = self.keys.bytes();
        if let Some(node) = self.nodes.get_mut(node) {
            node.renew(seed);
        }
    }

    /// Sets the time by which a node's calendar clock is ahead, in milliseconds.
    pub fn set_clock_ahead(&mut self, node: NodeId, ms: i64) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.clock_ahead_ms = ms;
        }
    }

    /// Turns a node into an adversary.
    pub fn set_adversary(&mut self, node: NodeId, adversary: Adversary) {
        let interval = adversary.interval();
        if let Some(node) = self.nodes.get_mut(node) {
            node.adversary = Some(Box::new(adversary));
        }
        if let Some(interval) = interval {
            let at = self.medium.now + interval;
            self.medium.queue.push(at, Scheduled::Misbehave(node));
        }
    }

    /// Reports whether a node is an adversary.
    #[must_use]
    pub fn is_adversary(&self, node: NodeId) -> bool {
        self.nodes.is_adversary(node)
    }

    /// Returns the number of nodes, up or down.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Reports whether a node is up.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.nodes.is_alive(node)
    }

    /// Returns the nodes that are up, in ascending order.
    #[must_use]
    pub fn alive(&self) -> Vec<NodeId> {
        let all = 0..self.nodes.len() as NodeId;
        all.filter(|&n| self.is_alive(n)).collect()
    }

    /// Returns the node with the highest key among those that are up, which should become root.
    #[must_use]
    pub fn highest(&self) -> Option<NodeId> {
        let alive = self.alive().into_iter();
        alive.max_by_key(|&n| self.key(n))
    }

    /// Returns a node's key.
    #[must_use]
    pub fn key(&self, node: NodeId) -> PublicKey {
        self.nodes.key(node)
    }

    /// Returns the status of a node's control plane.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Option<Status> {
        self.control_plane(node).map(ControlPlane::status)
    }

    /// Returns a node's control plane.
    #[must_use]
    pub fn control_plane(&self, node: NodeId) -> Option<&ControlPlane> {
        self.nodes.get(node).map(|node| &node.plane)
    }

    /// Returns the tables by which a node forwards traffic.
    pub fn tables(&mut self, node: NodeId) -> Option<&Snapshot> {
        self.nodes.get_mut(node).map(Node::tables)
    }

    /// Returns the node at the other end of the peering at a port, and its port. Returns nothing if
    /// no frame would arrive there.
    #[must_use]
    pub fn peer(&self, node: NodeId, port: PortId) -> Option<(NodeId, PortId)> {
        let end = self.nodes.get(node)?.port(port)?;
        self.medium.links.far_end(end).ok()
    }
}

/// Links.
impl Network {
    /// Adds a link between two nodes. They become peers once both are up.
    pub fn add_link(&mut self, a: NodeId, b: NodeId, options: LinkOptions) -> LinkId {
        let id = self.medium.links.add([a, b], options);
        for node in [a, b] {
            if let Some(node) = self.nodes.get_mut(node) {
                node.links.push(id);
            }
        }
        self.heal(id);
        id
    }

    /// Takes a link down.
    pub fn cut(&mut self, link: LinkId, how: How) {
        peerings::interrupt(&mut self.nodes, &mut self.medium, link, how);
        let changed = self.medium.links.set_up(link, false);
        self.medium.changes += u64::from(changed);
    }

    /// Brings a link up again.
    pub fn heal(&mut self, link: LinkId) {
        let changed = self.medium.links.set_up(link, true);
        self.medium.changes += u64::from(changed);
        self.nodes.dial(&mut self.medium, link, 0);
    }

    /// Replaces the options of a link.
    pub fn set_link(&mut self, link: LinkId, options: LinkOptions) {
        self.medium.links.set_options(link, options);
    }

    /// Returns the number of links, up or down.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.medium.links.len()
    }

    /// Returns the two nodes that a link joins, and whether it is up.
    #[must_use]
    pub fn link(&self, link: LinkId) -> Option<(NodeId, NodeId, bool)> {
        let link = self.medium.links.get(link)?;
        Some((link.ends[0], link.ends[1], link.up))
    }

    /// Returns the options of a link.
    #[must_use]
    pub fn link_options(&self, link: LinkId) -> Option<LinkOptions> {
        self.medium.links.get(link).map(|link| link.options)
    }

    /// Returns all links that end at a node, up or down.
    #[must_use]
    pub fn links_of(&self, node: NodeId) -> &[LinkId] {
        self.nodes.get(node).map_or(&[], |node| &node.links)
    }

    /// Returns the ends of all links that are up between nodes that are up.
    pub fn live_links(&self) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        let links = self.medium.links.iter();
        let live =
            links.filter(|link| link.up && link.ends.iter().all(|&node| self.is_alive(node)));
        live.map(|link| (link.ends[0], link.ends[1]))
    }

    /// Returns a number that changes whenever a node or link goes up or down.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.medium.changes
    }
}

/// Time, traffic and counters.
impl Network {
    /// Returns the virtual time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.medium.now
    }

    /// Lets time pass until `until`.
    ///
    /// # Panics
    /// If a control plane breaks its contract: it asks for a tick in the past, or a tick leaves
    /// something due.
    pub fn run_until(&mut self, until: Nanos) {
        while let Some((at, event)) = self.medium.queue.pop(until) {
            self.medium.now = at;
            let (nodes, medium) = (&mut self.nodes, &mut self.medium);
            match event {
                Scheduled::Frame { to, frame } => traffic::arrive(nodes, medium, to, frame),
                Scheduled::Close { at, timed_out } => peerings::close(nodes, medium, at, timed_out),
                Scheduled::Connect(link) => peerings::connect(nodes, medium, link),
                Scheduled::Misbehave(node) => nodes.misbehave(medium, node),
                Scheduled::Tick(node) => self.tick(node),
                Scheduled::Start(node) => self.start_now(node),
            }
        }
        self.medium.now = self.medium.now.max(until);
    }

    /// Sends a ping. Returns its index in [`Self::pings`].
    pub fn ping(&mut self, from: NodeId, to: NodeId) -> usize {
        traffic::ping(&mut self.nodes, &mut self.medium, from, to)
    }

    /// Returns all pings that were sent so far.
    #[must_use]
    pub fn pings(&self) -> &[Ping] {
        self.medium.pings.all()
    }

    /// Follows a traffic frame from node to node by their tables, without any time passing.
    pub fn probe(&mut self, from: NodeId, to: NodeId, way: Way) -> Probe {
        let (nodes, medium) = (&mut self.nodes, &mut self.medium);
        probe::walk(nodes, medium, &mut self.probing, (from, to), way)
    }

    /// Returns the counters of the whole network, with keepalives counted up to now.
    pub fn counts(&mut self) -> Counts {
        self.medium.count_keepalives();
        self.medium.counts
    }

    /// Returns the number of scheduled events.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.medium.queue.len()
    }

    /// Calls a function for every frame that arrives and for every peering that a node refuses.
    pub fn observe(&mut self, observer: impl FnMut(Nanos, Observation<'_>) + Send + 'static) {
        self.medium.observer = Some(Box::new(observer));
    }

    fn start_now(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id).filter(|node| !node.alive) else {
            return;
        };
        node.reset();
        node.alive = true;
        let links = node.links.clone();
        self.medium.changes += 1;
        self.nodes
            .drive(&mut self.medium, id, |plane, now| plane.tick(now));
        for link in links {
            self.nodes.dial(&mut self.medium, link, 0);
        }
    }

    fn tick(&mut self, id: NodeId) {
        let at = self.medium.now;
        let Some(node) = self.nodes.get_mut(id) else {
            return;
        };
        if !node.alive || node.scheduled != at {
            return;
        }
        node.scheduled = Nanos::MAX;
        let is_due = |plane: &ControlPlane| {
            let due = plane.next_deadline().map(time::nanos);
            due.is_some_and(|due| due <= at)
        };
        if is_due(&node.plane) {
            let now = node.clock(at);
            node.plane.tick(now);
            assert!(
                !is_due(&node.plane),
                "a tick of node {id} left something due"
            );
        }
        self.nodes.perform_effects(&mut self.medium, id);
    }
}
