//! The decision about a frame whose SNEK next hop is known.

use pinecone_wire::{PublicKey, Watermark};

use crate::hop::{Hop, NextHop, SnekHop};
use crate::index::bits::below;
use crate::port::PortId;

/// The decision about a SNEK-routed frame in transit (protocol section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Deliver it to this node: no known node is closer to its destination.
    Deliver,
    /// Drop it: it has no next hop.
    DeadEnd,
    /// Drop it: its next hop is the peering that it came from.
    DropBackwards,
    /// Drop it: it would lose progress.
    DropWatermark,
    /// Write the watermark of the next hop into it and send it out of this port.
    Send(PortId),
}

/// Decides about a frame that came from `ingress` with `watermark`, given its next hop. The
/// watermark also counts for frames to be delivered here: one that has been closer to its
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
pub(crate) fn decide(ingress: PortId, watermark: &Watermark, hop: &Hop<'_>) -> Decision {
    let worse = is_worse(hop.key, hop.sequence, watermark);
    match hop.next {
        NextHop::None => Decision::DeadEnd,
        NextHop::Port(port) if port == ingress => Decision::DropBackwards,
        _ if worse => Decision::DropWatermark,
        NextHop::Local => Decision::Deliver,
        NextHop::Port(port) => Decision::Send(port),
    }
}

/// [`Watermark::is_worse_than`] for a watermark in parts. Fast where the keys are equal or differ in
/// their first bytes.
#[inline(always)]
pub(crate) fn is_worse(key: &PublicKey, sequence: u64, than: &Watermark) -> bool {
    match *key == than.key {
        true => sequence != 0 && sequence < than.sequence,
        false => below(&than.key, key),
    }
}
