//! Forwarding of a single traffic frame, by the decision that workers use.

use pinecone_fib::{Fate, ForwardingOptions, PortId, Rescue, Snapshot, Transit, Undeliverable};
use pinecone_wire::{FrameError, TrafficLayout};

use crate::loss::Loss;

/// The outcome for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame is delivered at this node.
    Deliver,
    /// The frame is sent out of this port. If it would have been dropped otherwise, the rescue is given.
    Send(PortId, Option<Rescue>),
    /// The frame is dropped.
    Lost(Loss),
}

/// Decides about a frame that arrived at `ingress`, and changes it to the frame that is sent on.
///
/// # Errors
/// The frame cannot be parsed, so its peering must be closed.
pub fn forward(
    tables: &Snapshot,
    ingress: PortId,
    frame: &mut Vec<u8>,
    hop_limiting: bool,
) -> Result<Outcome, FrameError> {
    let (layout, sequence) = TrafficLayout::parse_with_sequence(frame)?;
    let transit = Transit {
        ingress,
        layout,
        sequence,
    };
    let mut head = Vec::new();
    let options = ForwardingOptions { hop_limiting };
    let fate = tables.forward_frame(frame, &transit, options, &mut head);
    Ok(match fate {
        Fate::Deliver => Outcome::Deliver,
        Fate::Forward {
            egress,
            start,
            rescue,
        } => {
            frame.drain(..start);
            Outcome::Send(egress, rescue)
        }
        Fate::Rewritten { egress, rescue } => {
            head.extend_from_slice(frame.get(layout.payload_range()).unwrap_or_default());
            *frame = head;
            Outcome::Send(egress, rescue)
        }
        Fate::Drop(reason) => Outcome::Lost(match reason {
            Undeliverable::NoRoute => Loss::NoRoute,
            Undeliverable::Backwards => Loss::Backwards,
            Undeliverable::Watermark => Loss::Watermark,
            Undeliverable::HopLimit => Loss::HopLimit,
            Undeliverable::TooLong => Loss::TooLong,
        }),
    })
}

#[cfg(test)]
mod tests;
