//! What to do with a frame once its SNEK next hop is known.

use pinecone_wire::{PublicKey, Watermark};

use super::index::below;
use super::snapshot::Hop;
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

impl Decision {
    /// Whether the frame is dropped though there are nodes closer to its destination.
    pub(super) const fn is_drop(self) -> bool {
        matches!(self, Self::DropBackwards | Self::DropWatermark)
    }
}

/// Decides about a frame that came from `ingress` with `watermark`, given its next hop. The
/// watermark counts for frames to be delivered here, too: one that has been closer to its
/// destination than this node is dropped.
#[must_use]
#[inline]
pub fn forward_decision(ingress: PortId, watermark: &Watermark, hop: &SnekHop) -> Decision {
    let SnekHop {
        next,
        watermark: new,
    } = hop;
    let hop = Hop {
        next: *next,
        key: &new.key,
        sequence: new.sequence,
    };
    decide(ingress, watermark, &hop)
}

#[inline(always)]
pub(super) fn decide(ingress: PortId, watermark: &Watermark, hop: &Hop<'_>) -> Decision {
    let worse = is_worse(hop.key, hop.sequence, watermark);
    match hop.next {
        NextHop::None => Decision::DeadEnd,
        NextHop::Port(port) if port == ingress => Decision::DropBackwards,
        _ if worse => Decision::DropWatermark,
        NextHop::Local => Decision::Deliver,
        NextHop::Port(port) => Decision::Send(port),
    }
}

/// [`Watermark::is_worse_than`] of a watermark in parts, quick where the keys are equal or differ in
/// their first bytes.
#[inline(always)]
pub(super) fn is_worse(key: &PublicKey, sequence: u64, than: &Watermark) -> bool {
    match *key == than.key {
        true => sequence != 0 && sequence < than.sequence,
        false => below(&than.key, key),
    }
}
