//! Graphs of nodes and links.

use std::collections::VecDeque;

use crate::ids::NodeId;
use crate::network::Network;

/// The distance to a node that no chain of links leads to.
pub const UNREACHABLE: u32 = u32::MAX;

/// An undirected graph over nodes from 0.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The start of each node's neighbours, and the end of the last node's.
    starts: Vec<u32>,
    neighbours: Vec<NodeId>,
}

impl Graph {
    /// Returns the graph with these edges.
    #[must_use]
    pub fn new(nodes: usize, edges: &[(NodeId, NodeId)]) -> Self {
        let mut starts = vec![0u32; nodes + 1];
        let both = || edges.iter().flat_map(|&(a, b)| [(a, b), (b, a)]);
        for (a, _) in both() {
            if let Some(n) = starts.get_mut(a as usize + 1) {
                *n += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut fill = starts.clone();
        let mut neighbours = vec![0; sum as usize];
        for (a, b) in both() {
            if let Some(at) = fill.get_mut(a as usize) {
                if let Some(slot) = neighbours.get_mut(*at as usize) {
                    *slot = b;
                }
                *at += 1;
            }
        }
        Self { starts, neighbours }
    }

    /// Returns the graph of the links that are up.
    #[must_use]
    pub fn of(network: &Network) -> Self {
        let edges: Vec<_> = network.live_links().collect();
        Self::new(network.node_count(), &edges)
    }

    /// Returns the graph without the edges of some nodes.
    #[must_use]
    pub fn without(&self, gone: impl Fn(NodeId) -> bool) -> Self {
        let mut edges = Vec::new();
        for a in 0..self.len() as NodeId {
            let kept = self.neighbours(a).iter().filter(|&&b| a < b && !gone(b));
            if !gone(a) {
                edges.extend(kept.map(|&b| (a, b)));
            }
        }
        Self::new(self.len(), &edges)
    }

    /// Returns the number of nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Reports whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the neighbours of a node.
    #[must_use]
    pub fn neighbours(&self, node: NodeId) -> &[NodeId] {
        let start = |at: usize| self.starts.get(at).map_or(0, |&at| at as usize);
        let range = start(node as usize)..start(node as usize + 1);
        self.neighbours.get(range).unwrap_or_default()
    }

    /// Returns the distance of every node from `from`, in links.
    #[must_use]
    pub fn distances(&self, from: NodeId) -> Vec<u32> {
        let mut distances = vec![UNREACHABLE; self.len()];
        let mut queue = VecDeque::from([from]);
        if let Some(own) = distances.get_mut(from as usize) {
            *own = 0;
        }
        while let Some(at) = queue.pop_front() {
            let next = distances.get(at as usize).map_or(0, |d| d + 1);
            for &node in self.neighbours(at) {
                if let Some(distance) = distances.get_mut(node as usize)
                    && *distance == UNREACHABLE
                {
                    *distance = next;
                    queue.push_back(node);
                }
            }
        }
        distances
    }

    /// Returns the component of each node, as the lowest node in it.
    #[must_use]
    pub fn components(&self) -> Vec<u32> {
        let mut component = vec![UNREACHABLE; self.len()];
        let mut stack = Vec::new();
        for first in 0..self.len() as NodeId {
            if component.get(first as usize) != Some(&UNREACHABLE) {
                continue;
            }
            stack.push(first);
            while let Some(at) = stack.pop() {
                if let Some(slot) = component.get_mut(at as usize)
                    && *slot == UNREACHABLE
                {
                    *slot = first;
                    stack.extend(self.neighbours(at));
                }
            }
        }
        component
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_components() {
        let graph = Graph::new(6, &[(0, 1), (1, 2), (2, 3), (0, 3), (4, 5)]);
        assert_eq!(graph.neighbours(1), [0, 2]);
        assert_eq!(graph.distances(1), [1, 0, 1, 2, UNREACHABLE, UNREACHABLE]);
        assert_eq!(graph.components(), [0, 0, 0, 0, 4, 4]);
        let cut = graph.without(|node| node == 0);
        assert_eq!(
            cut.distances(3),
            [UNREACHABLE, 2, 1, 0, UNREACHABLE, UNREACHABLE]
        );
        assert_eq!(cut.components(), [0, 1, 1, 1, 4, 4]);
    }
}
