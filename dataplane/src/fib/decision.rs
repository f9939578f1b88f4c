//! What to do with a frame once its SNEK next hop is known.

use pinecone_wire::Watermark;

use super::{NextHop, SnekHop};
use crate::PortId;

/// What becomes of a SNEK-routed frame in transit (protocol section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Give it to this node: nobody known is closer to its destination.
    Deliver,
    /// It goes no further. A bootstrap is still handled here.
    DeadEnd,
    /// Drop it: its next hop is the peering it came from.
    DropBackwards,
    /// Drop it: it would lose progress.
    DropWatermark,
    /// Write the answer's watermark into it and send it out of this port.
    Send(PortId),
}

/// Decides about a frame that came from `ingress` with `watermark`, given its next hop. The
/// watermark counts for frames to be delivered here, too: one that has been closer to its
/// destination than this node is dropped.
#[must_use]
#[inline]
pub fn forward_decision(ingress: PortId, watermark: &Watermark, hop: &SnekHop) -> Decision {
    match hop.next {
        NextHop::None => Decision::DeadEnd,
        NextHop::Port(port) if port == ingress => Decision::DropBackwards,
        _ if hop.watermark.is_worse_than(watermark) => Decision::DropWatermark,
        NextHop::Local => Decision::Deliver,
        NextHop::Port(port) => Decision::Send(port),
    }
}
