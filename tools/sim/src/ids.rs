//! Numbers that identify nodes and links.

/// The number of a node, from 0, in the order in which nodes were added.
pub type NodeId = u32;

/// The number of a link, from 0, in the order in which links were added.
pub type LinkId = u32;
