//! One traffic frame that lies alone in a buffer, decided about as workers do.

use pinecone_fib::{Fate, ForwardingOptions, PortId, Rescue, Snapshot, Transit, Undeliverable};
use pinecone_wire::{FrameError, TrafficLayout};

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
