//! What a data plane does with one traffic frame: the worker's decision, over the same tables and
//! with the same patches, for a frame that lies alone in a buffer.

use pinecone_dataplane::PortId;
use pinecone_dataplane::fib::{Decision, NextHop, Snapshot, SnekKind, forward_decision};
use pinecone_wire::{FrameError, Patch, TrafficLayout, ping, traffic};

use crate::loss::Loss;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Deliver,
    Send(PortId),
    Lost(Loss),
}

/// Decides about `frame`, which came from `ingress`, and writes into it what it is to carry on.
///
/// # Errors
/// The frame cannot be read: its peering must be closed.
pub(crate) fn forward(
    tables: &Snapshot,
    ingress: PortId,
    frame: &mut Vec<u8>,
    hop_limiting: bool,
) -> Result<Outcome, FrameError> {
    let layout = TrafficLayout::parse(frame)?;
    let destination = layout.destination_key(frame);
    if destination == tables.own_key() {
        return Ok(Outcome::Deliver);
    }
    let by_tree = match layout.has_destination() {
        true => tables.tree(ingress, layout.destination(frame)),
        false => NextHop::None,
    };
    let (egress, watermark) = if let NextHop::Port(port) = by_tree {
        (port, None)
    } else {
        let before = layout.watermark(frame);
        let hop = tables.snek(SnekKind::Traffic, &destination, &before);
        // Where coordinates led astray, the way by key may be back.
        let from = match layout.has_destination() {
            true => PortId::LOCAL,
            false => ingress,
        };
        match forward_decision(from, &before, &hop) {
            Decision::Deliver => return Ok(Outcome::Deliver),
            Decision::DeadEnd => return Ok(Outcome::Lost(Loss::NoRoute)),
            Decision::DropBackwards => return Ok(Outcome::Lost(Loss::Backwards)),
            Decision::DropWatermark => return Ok(Outcome::Lost(Loss::Watermark)),
            Decision::Send(port) => (port, Some(hop.watermark)),
        }
    };
    if ingress != PortId::LOCAL {
        if hop_limiting {
            let limit = traffic::hop_limit(frame);
            if limit <= 1 {
                return Ok(Outcome::Lost(Loss::HopLimit));
            }
            traffic::set_hop_limit(frame, limit - 1);
        }
        if let Some(payload) = frame.get_mut(layout.payload_range()) {
            ping::count_hop(payload);
        }
    }
    if let Some(watermark) = watermark {
        match layout.patch_snek(frame, &watermark) {
            Ok(Patch::InPlace { start }) => drop(frame.drain(..start)),
            Ok(Patch::Grows { by }) => {
                let payload = layout.payload_range();
                let mut grown = vec![0; payload.start + by];
                match layout.write_snek_head(frame, &watermark, &mut grown) {
                    Ok(len) => grown.truncate(len),
                    Err(_) => return Ok(Outcome::Lost(Loss::TooLong)),
                }
                grown.extend_from_slice(frame.get(payload).unwrap_or_default());
                *frame = grown;
            }
            Err(_) => return Ok(Outcome::Lost(Loss::TooLong)),
        }
    }
    Ok(Outcome::Send(egress))
}
