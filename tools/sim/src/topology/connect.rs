//! Links that join the parts of a network.

use crate::graph::Graph;
use crate::ids::NodeId;
use crate::random::Random;

/// Adds links until all nodes are joined: one from the lowest node of each component but the first
/// to a random node with a lower number.
pub(super) fn connect(nodes: u32, links: &mut Vec<(NodeId, NodeId)>, random: &mut Random) {
    let components = Graph::new(nodes as usize, links).components();
    for (node, component) in (0..nodes).zip(components).skip(1) {
        if component == node {
            links.push((random.below(u64::from(node)) as NodeId, node));
        }
    }
}
