//! A network in virtual time: nodes, the links between them, and what is under way.

mod frames;
mod mischief;
mod peerings;
mod pings;

use pinecone_controlplane::{ControlPlane, Effect, Event, Now, Status};
use pinecone_wire::{Coordinates, PublicKey};

use crate::adversary::Adversary;
use crate::counts::Counts;
use crate::ids::{LinkId, NodeId};
use crate::link::LinkOptions;
use crate::node::{Node, NodeOptions, PeeringEnd};
use crate::queue::Queue;
use crate::random::{Random, Stream};
use crate::time::{self, Nanos};

use self::peerings::{Link, Peering};

pub use self::frames::{Probe, Way};
pub use self::pings::Ping;

/// How a link or a node goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// The streams close, and both ends know.
    #[default]
    Closed,
    /// Nothing comes any more. Whoever is left finds out when it has heard nothing for 5 s.
    Silent,
}

/// A network in virtual time. The same calls give the same run.
pub struct Network {
    pub(crate) now: Nanos,
    options: NodeOptions,
    queue: Queue<Happening>,
    nodes: Vec<Node>,
    links: Vec<Link>,
    peerings: Vec<Peering>,
    pings: Vec<Ping>,
    counts: Counts,
    keys: Random,
    random: Random,
    probing: Random,
    mischief: Random,
    /// Counts the changes of who is up and linked to whom.
    changes: u64,
}

/// What is to happen.
#[derive(Debug)]
enum Happening {
    /// A frame arrives at this end of a peering.
    Frame { to: PeeringEnd, frame: Vec<u8> },
    /// A node is due.
    Tick(NodeId),
    /// This end of a peering finds out that it is over.
    Close { at: PeeringEnd, timed_out: bool },
    /// A peering over this link is ready.
    Connect(LinkId),
    /// A node starts.
    Start(NodeId),
    /// An adversary is due.
    Mischief(NodeId),
}

impl Network {
    /// A network without nodes.
    #[must_use]
    pub fn new(seed: u64, options: NodeOptions) -> Self {
        Self {
            now: 0,
            options,
            queue: Queue::new(),
            nodes: Vec::new(),
            links: Vec::new(),
            peerings: Vec::new(),
            pings: Vec::new(),
            counts: Counts::default(),
            keys: Random::new(seed, Stream::Keys),
            random: Random::new(seed, Stream::Links),
            probing: Random::new(seed, Stream::Measures),
            mischief: Random::new(seed, Stream::Adversaries),
            changes: 0,
        }
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Makes room for this many nodes more, and for no others.
    pub(crate) fn reserve_nodes(&mut self, nodes: usize) {
        self.nodes.reserve_exact(nodes);
    }

    /// Adds a node with a key from the seed. It is down until [`Self::start`].
    pub fn add_node(&mut self) -> NodeId {
        let seed = self.keys.bytes();
        self.nodes.push(Node::new(seed, &self.options));
        (self.nodes.len() - 1) as NodeId
    }

    /// Starts a node that is down at a time to come, with the key that it had and nothing else.
    pub fn start(&mut self, node: NodeId, at: Nanos) {
        self.queue.push(at.max(self.now), Happening::Start(node));
    }

    /// Takes a node down.
    pub fn stop(&mut self, node: NodeId, how: How) {
        if !self.is_alive(node) {
            return;
        }
        self.changes += 1;
        let Some(stopped) = self.node_mut(node) else {
            return;
        };
        stopped.alive = false;
        let links = stopped.links.clone();
        let ends: Vec<_> = stopped.peerings().map(|(_, end)| end).collect();
        for end in ends {
            self.forget_end(end);
        }
        for link in links {
            self.end_peering(link, how);
        }
    }

    /// Gives a node that is down another key: whoever comes back in its place is somebody else.
    pub fn renew(&mut self, node: NodeId) {
        if self.is_alive(node) {
            return;
        }
        let seed = self.keys.bytes();
        let options = self.options.clone();
        if let Some(node) = self.node_mut(node) {
            node.renew(seed, &options);
        }
    }

    /// How many nodes there are, up or down.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Whether a node is up.
    #[must_use]
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.node(node).is_some_and(|n| n.alive)
    }

    /// The nodes that are up, in order.
    #[must_use]
    pub fn alive(&self) -> Vec<NodeId> {
        let all = 0..self.nodes.len() as NodeId;
        all.filter(|&n| self.is_alive(n)).collect()
    }

    /// A node's key.
    #[must_use]
    pub fn key(&self, node: NodeId) -> PublicKey {
        self.node(node).map(Node::key).unwrap_or_default()
    }

    /// Where a node stands.
    #[must_use]
    pub fn status(&self, node: NodeId) -> Option<Status> {
        self.node(node).map(|n| n.plane.status())
    }

    /// The node that is up and has the highest key: the one that should be root.
    #[must_use]
    pub fn highest(&self) -> Option<NodeId> {
        let alive = self.alive().into_iter();
        alive.max_by_key(|&n| self.key(n))
    }

    /// What happened so far, keepalives up to now included.
    pub fn counts(&mut self) -> Counts {
        self.count_keepalives();
        self.counts
    }

    /// The pings sent so far, by number.
    #[must_use]
    pub fn pings(&self) -> &[Ping] {
        &self.pings
    }

    /// A number that changes whenever it changes who is up and linked to whom.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How many things are to happen.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// Makes a node an adversary, from now on.
    pub fn set_adversary(&mut self, node: NodeId, adversary: Adversary) {
        let due = adversary.interval();
        if let Some(node) = self.node_mut(node) {
            node.adversary = Some(Box::new(adversary));
        }
        if let Some(interval) = due {
            self.queue
                .push(self.now + interval, Happening::Mischief(node));
        }
    }

    /// Whether a node is an adversary.
    #[must_use]
    pub fn is_adversary(&self, node: NodeId) -> bool {
        self.node(node).is_some_and(|n| n.adversary.is_some())
    }

    /// Lets time pass until `until`.
    pub fn run_until(&mut self, until: Nanos) {
        while let Some((at, what)) = self.queue.pop(until) {
            self.now = at;
            match what {
                Happening::Frame { to, frame } => self.arrive(to, frame),
                Happening::Tick(node) => self.tick(node),
                Happening::Close { at, timed_out } => self.close(at, timed_out),
                Happening::Connect(link) => self.connect(link),
                Happening::Start(node) => self.start_now(node),
                Happening::Mischief(node) => self.mischief(node),
            }
        }
        self.now = self.now.max(until);
    }
}

impl Network {
    fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    fn node_mut(&mut self, node: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(node as usize)
    }

    fn coordinates(&self, node: NodeId) -> Coordinates {
        let status = self.status(node);
        status.map(|status| status.coordinates).unwrap_or_default()
    }

    fn start_now(&mut self, id: NodeId) {
        let options = self.options.clone();
        let Some(node) = self.node_mut(id).filter(|node| !node.alive) else {
            return;
        };
        node.reset(&options);
        node.alive = true;
        let links = node.links.clone();
        self.changes += 1;
        self.with_plane(id, |plane, now| plane.tick(now));
        for link in links {
            self.dial(link, 0);
        }
    }

    fn tick(&mut self, id: NodeId) {
        let at = self.now;
        let Some(node) = self.node_mut(id) else {
            return;
        };
        if !node.alive || node.scheduled != at {
            return;
        }
        node.scheduled = Nanos::MAX;
        let due = node.plane.next_deadline().map(time::nanos);
        if due.is_some_and(|due| due <= at) {
            node.plane.tick(time::now(at));
        }
        self.settle(id);
    }

    /// Does something to a node's control plane and carries out what it wants done.
    fn with_plane<R>(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut ControlPlane, Now) -> R,
    ) -> Option<R> {
        let now = time::now(self.now);
        let result = act(&mut self.node_mut(id)?.plane, now);
        self.settle(id);
        Some(result)
    }

    /// Carries out what a control plane wants done, and looks when it is due next.
    fn settle(&mut self, id: NodeId) {
        while let Some(effect) = self.node_mut(id).and_then(|n| n.plane.poll_effect()) {
            match effect {
                Effect::Send { port, frame } => self.send(id, port, frame),
                Effect::Close { port, .. } => {
                    self.counts.peerings_refused += 1;
                    if let Some(end) = self.node(id).and_then(|n| n.port(port)) {
                        self.close_end(end);
                    }
                }
                Effect::Event(Event::ParentChanged { parent: Some(_) }) => {
                    self.counts.reparentings += 1;
                }
                Effect::Event(Event::RootChanged { sequence: _, root }) => {
                    if let Some(node) = self.node_mut(id)
                        && std::mem::replace(&mut node.root, root) != root
                    {
                        node.clear_cache();
                        self.counts.root_changes += 1;
                    }
                }
                Effect::Event(_) => {}
            }
        }
        let Some(node) = self.node_mut(id).filter(|node| node.alive) else {
            return;
        };
        let due = node.plane.next_deadline().map(time::nanos);
        if let Some(due) = due
            && due < node.scheduled
        {
            node.scheduled = due;
            self.queue.push(due, Happening::Tick(id));
        }
    }

    /// The options of the link that a peering runs over.
    fn link_options(&self, link: LinkId) -> Option<LinkOptions> {
        self.links.get(link as usize).map(|link| link.options)
    }
}
