//! The layout of a network: its nodes and the links between them.

use crate::ids::NodeId;

/// The largest number of nodes in a run. A node takes at least 100 KiB.
pub const MAX_NODES: u64 = 1_000_000;
/// The largest number of links in a run.
pub const MAX_LINKS: u64 = 10_000_000;
/// The longest distance in metres.
pub const MAX_METRES: u32 = 1_000_000;

/// The position of a node, in millimetres.
pub type Place = (i64, i64);

/// A network's layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The number of nodes.
    pub nodes: u32,
    /// The links, each listed once.
    pub links: Vec<(NodeId, NodeId)>,
    /// The nodes' names; empty unless the layout came from a topology file.
    pub names: Vec<String>,
    /// The nodes' positions; empty unless the topology is geometric.
    pub places: Vec<Place>,
}

impl Layout {
    /// Returns a layout without names and positions.
    pub(super) fn unnamed(nodes: u32, links: Vec<(NodeId, NodeId)>) -> Self {
        Self {
            nodes,
            links,
            ..Self::default()
        }
    }

    /// Returns a node's name in the topology file, or else its number.
    pub(crate) fn name(&self, node: NodeId) -> String {
        match self.names.get(node as usize) {
            Some(name) => format!("`{name}`"),
            None => node.to_string(),
        }
    }

    /// Returns a layout of `copies` separate copies of this network.
    #[must_use]
    pub fn repeated(&self, copies: u32) -> Self {
        let mut all = self.clone();
        for copy in 1..copies {
            let offset = copy * self.nodes;
            all.nodes += self.nodes;
            let links = self.links.iter().map(|&(a, b)| (a + offset, b + offset));
            all.links.extend(links);
            let names = self.names.iter().map(|name| format!("{name}-{}", copy + 1));
            all.names.extend(names);
            all.places.extend(&self.places);
        }
        all
    }
}
