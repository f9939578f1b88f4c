//! A traffic frame and the decision about it.

use pinecone_fib::{Fate, ForwardingOptions, PortId, Rescue, Snapshot, Transit, Undeliverable};
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{Coordinates, PublicKey, TrafficFields, TrafficLayout, Watermark};

/// The decision about a frame that is routed by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Deliver,
    Send {
        port: PortId,
        watermark: Watermark,
        rescue: Option<Rescue>,
    },
    Drop(Undeliverable),
}

/// Decides about a frame for `destination` that came from `ingress`.
pub(crate) fn forward(
    snapshot: &Snapshot,
    ingress: PortId,
    destination: &PublicKey,
    watermark: &Watermark,
) -> Outcome {
    let nowhere = Coordinates::default();
    let mut frame = Vec::new();
    let fields = TrafficFields {
        extra: 0,
        hop_limit: 0,
        destination: &nowhere,
        source: &nowhere,
        destination_key: *destination,
        source_key: PublicKey::MIN,
        watermark: *watermark,
        payload: b"payload",
    };
    push_traffic(&mut frame, &fields).unwrap();
    let (layout, sequence) = TrafficLayout::parse_with_sequence(&frame).unwrap();
    let transit = Transit {
        ingress,
        layout,
        sequence,
    };
    let (options, mut head) = (ForwardingOptions::default(), Vec::new());
    let (port, rescue) = match snapshot.forward_frame(&mut frame, &transit, options, &mut head) {
        Fate::Deliver => return Outcome::Deliver,
        Fate::Drop(reason) => return Outcome::Drop(reason),
        Fate::Forward {
            egress,
            start,
            rescue,
        } => {
            frame.drain(..start);
            (egress, rescue)
        }
        Fate::Rewritten { egress, rescue } => {
            head.extend_from_slice(layout.payload(&frame));
            frame = head;
            (egress, rescue)
        }
    };
    let layout = TrafficLayout::parse(&frame).unwrap();
    assert_eq!(layout.destination_key(&frame), *destination);
    assert_eq!(layout.payload(&frame), b"payload");
    let watermark = layout.watermark(&frame);
    Outcome::Send {
        port,
        watermark,
        rescue,
    }
}
