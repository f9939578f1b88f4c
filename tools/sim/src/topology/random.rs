//! Random networks.

use std::collections::BTreeSet;

use super::connect::connect;
use crate::ids::NodeId;
use crate::random::{MILLION, Random};

/// Returns the links of a network by Barabási and Albert's model.
pub(super) fn scale_free(nodes: u32, links: u32, random: &mut Random) -> Vec<(NodeId, NodeId)> {
    let mut all = Vec::new();
    // Lists every node once for each of its links, so that picking from it prefers nodes with many.
    let mut ends: Vec<NodeId> = vec![0];
    for node in 1..nodes {
        let mut chosen = BTreeSet::new();
        while chosen.len() < links.min(node) as usize {
            chosen.extend(random.pick(&ends));
        }
        for other in chosen {
            all.push((other, node));
            ends.extend([other, node]);
        }
    }
    all
}

/// Returns the links of a network by Watts and Strogatz's model.
pub(super) fn small_world(
    nodes: u32,
    links: u32,
    rewired: f64,
    random: &mut Random,
) -> Vec<(NodeId, NodeId)> {
    let half = links / 2;
    let rate = (rewired * f64::from(MILLION)).round() as u32;
    let sorted = |a: NodeId, b: NodeId| (a.min(b), a.max(b));
    let mut all = BTreeSet::new();
    for step in 1..=half {
        all.extend((0..nodes).map(|node| sorted(node, (node + step) % nodes)));
    }
    for step in 1..=half {
        for node in 0..nodes {
            let link = sorted(node, (node + step) % nodes);
            if !random.happens(rate) {
                continue;
            }
            let other = random.below(u64::from(nodes)) as NodeId;
            if other != node && all.insert(sorted(node, other)) {
                all.remove(&link);
            }
        }
    }
    let mut all: Vec<_> = all.into_iter().collect();
    connect(nodes, &mut all, random);
    all
}
