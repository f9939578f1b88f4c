//! Traffic frames.

use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{Coordinates, PublicKey, TrafficFields, Watermark};

/// Returns a frame without coordinates.
pub(crate) fn traffic(from: PublicKey, to: PublicKey, payload: &[u8]) -> Vec<u8> {
    let none = Coordinates::default();
    traffic_with(&none, from, &none, to, payload)
}

/// Returns a frame with the coordinates of source and destination.
pub(crate) fn traffic_with(
    source: &Coordinates,
    from: PublicKey,
    destination: &Coordinates,
    to: PublicKey,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    let fields = TrafficFields {
        extra: 0,
        hop_limit: 10,
        destination,
        source,
        destination_key: to,
        source_key: from,
        watermark: Watermark::START,
        payload,
    };
    push_traffic(&mut frame, &fields).unwrap();
    frame
}
