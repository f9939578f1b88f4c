//! The delivery of traffic to this node.

use pinecone_wire::TrafficLayout;

use crate::PortId;

/// The receiver of traffic for this node. Called on worker threads: it must be quick, and never block.
pub trait Delivery: Send + Sync {
    /// Takes a whole traffic frame that has arrived at `ingress`. Returns false if there is no room for
    /// it: the frame is dropped.
    fn deliver(&self, ingress: PortId, frame: &[u8], layout: &TrafficLayout) -> bool;
}
