//! What a data plane does with one traffic frame: the worker's decision, over the same tables and
//! with the same patches, for a frame that lies alone in a buffer.

use pinecone_fib::PortId;
use pinecone_fib::{Decision, NextHop, Rescue, Snapshot};
use pinecone_wire::{FrameError, Patch, TrafficLayout, ping, traffic};

use crate::loss::Loss;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Deliver,
    /// It goes out of this port, perhaps only thanks to a second look.
    Send(PortId, Option<Rescue>),
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
    let (egress, watermark, rescue) = if let NextHop::Port(port) = by_tree {
        (port, None, None)
    } else {
        let before = layout.watermark(frame);
        // Where coordinates led astray, the way by key may be back.
        let from = match layout.has_destination() {
            true => PortId::LOCAL,
            false => ingress,
        };
        let verdict = tables.forward_one(from, &destination, &before);
        match verdict.decision {
            Decision::Deliver => return Ok(Outcome::Deliver),
            Decision::DeadEnd => return Ok(Outcome::Lost(Loss::NoRoute)),
            Decision::DropBackwards => return Ok(Outcome::Lost(Loss::Backwards)),
            Decision::DropWatermark => return Ok(Outcome::Lost(Loss::Watermark)),
            Decision::Send(port) => (port, Some(verdict.watermark), verdict.rescue),
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
    Ok(Outcome::Send(egress, rescue))
}
