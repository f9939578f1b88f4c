//! The state that the steps of a run share.

use std::collections::BTreeMap;

use crate::ids::{LinkId, NodeId};
use crate::network::Network;
use crate::queue::Queue;
use crate::random::{Random, Stream};
use crate::scenario::{Action, NodeRef, Scenario};
use crate::time::Nanos;
use crate::topology::{Layout, Place};

use super::step::Step;

/// The network of a run and the steps to come.
pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) layout: Layout,
    pub(super) network: Network,
    pub(super) steps: Queue<Step>,
    /// Draws the properties of links.
    pub(super) links: Random,
    /// Draws nodes and links for events.
    pub(super) events: Random,
    /// Draws the nodes that ping each other.
    pub(super) pings: Random,
    /// Draws the movements of nodes.
    pub(super) mobility: Random,
    /// The positions of nodes that move.
    pub(super) places: Vec<Place>,
    /// The links between nodes, up or down, by the lower and the higher node.
    pub(super) pairs: BTreeMap<(NodeId, NodeId), LinkId>,
}

impl<'a> World<'a> {
    /// Returns the network at its start.
    pub(super) fn new(scenario: &'a Scenario, layout: Layout) -> Self {
        let seed = scenario.seed;
        let random = |stream| Random::new(seed, stream);
        let mut world = Self {
            scenario,
            network: Network::new(seed, scenario.node_options()),
            steps: Queue::new(),
            links: random(Stream::Links),
            events: random(Stream::Events),
            pings: random(Stream::Pings),
            mobility: random(Stream::Mobility),
            places: layout.places.clone(),
            pairs: BTreeMap::new(),
            layout,
        };
        let mut starts = random(Stream::Starts);
        world.network.reserve_nodes(world.layout.nodes as usize);
        for _ in 0..world.layout.nodes {
            let node = world.network.add_node();
            let at = starts.below(scenario.network.start_within.max(1));
            world.network.start(node, at);
        }
        for (a, b) in world.layout.links.clone() {
            world.add_link(a, b);
        }
        world
    }

    pub(super) fn now(&self) -> Nanos {
        self.network.now()
    }

    /// Returns the action of an event.
    pub(super) fn action(&self, number: usize) -> Option<&'a Action> {
        let event = self.scenario.event.get(number);
        event.map(|event| &event.action)
    }

    /// Adds a link with random properties.
    pub(super) fn add_link(&mut self, a: NodeId, b: NodeId) -> LinkId {
        let options = self.scenario.link.draw(&mut self.links);
        let link = self.network.add_link(a, b, options);
        self.pairs.insert((a.min(b), a.max(b)), link);
        link
    }

    /// Returns the node that a scenario means.
    pub(super) fn resolve(&mut self, node: &NodeRef) -> Result<NodeId, String> {
        let found = match node {
            NodeRef::Number(number) => Some(*number),
            NodeRef::Name(name) => {
                let mut nodes = self.network.alive();
                if nodes.is_empty() {
                    // No node has started yet.
                    nodes = (0..self.network.node_count() as NodeId).collect();
                }
                let links = |&node: &NodeId| self.network.links_of(node).len();
                match name.as_str() {
                    "root" => nodes.into_iter().max_by_key(|&n| self.network.key(n)),
                    // Of nodes with equally many links, the first.
                    "hub" => nodes.into_iter().rev().max_by_key(links),
                    "random" => self.events.pick(&nodes).copied(),
                    name => {
                        let mut names = self.layout.names.iter();
                        names.position(|known| known == name).map(|at| at as NodeId)
                    }
                }
            }
        };
        found
            .filter(|&node| (node as usize) < self.network.node_count())
            .ok_or_else(|| format!("there is no node {node:?}"))
    }
}
