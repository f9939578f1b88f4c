//! Regular networks: lines, rings, grids and trees.

use crate::ids::NodeId;

pub(super) fn line(nodes: u32) -> Vec<(NodeId, NodeId)> {
    (1..nodes).map(|n| (n - 1, n)).collect()
}

pub(super) fn ring(nodes: u32) -> Vec<(NodeId, NodeId)> {
    let mut links = line(nodes);
    if nodes > 2 {
        links.push((nodes - 1, 0));
    }
    links
}

pub(super) fn grid(nodes: u32, width: u32) -> Vec<(NodeId, NodeId)> {
    let mut links = Vec::new();
    for n in 0..nodes {
        if n % width > 0 {
            links.push((n - 1, n));
        }
        if n >= width {
            links.push((n - width, n));
        }
    }
    links
}

pub(super) fn tree(nodes: u32, branching: u32) -> Vec<(NodeId, NodeId)> {
    (1..nodes).map(|n| ((n - 1) / branching, n)).collect()
}
