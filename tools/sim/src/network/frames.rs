//! Making and reading traffic frames.

use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{
    Coordinates, FrameHeader, FrameType, PublicKey, TrafficFields, TrafficLayout, Watermark, ping,
};

/// The hop limit of a frame at its origin (protocol section 7).
const HOP_LIMIT: u8 = 10;

/// The origin or the destination of a frame.
pub(super) struct Address<'a> {
    pub(super) key: PublicKey,
    pub(super) coordinates: &'a Coordinates,
}

/// Returns a traffic frame as its origin sends it.
pub(super) fn traffic(source: &Address<'_>, destination: &Address<'_>, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let fields = TrafficFields {
        extra: 0,
        hop_limit: HOP_LIMIT,
        destination: destination.coordinates,
        source: source.coordinates,
        destination_key: destination.key,
        source_key: source.key,
        watermark: Watermark::START,
        payload,
    };
    // A frame that would be too long stays empty, and is lost as malformed.
    let _ = push_traffic(&mut frame, &fields);
    frame
}

/// Returns the type of a frame.
pub(super) fn kind_of(frame: &[u8]) -> FrameType {
    match FrameHeader::decode(frame) {
        Ok(Some(header)) => header.kind,
        _ => FrameType::Unknown(u8::MAX),
    }
}

/// Returns the payload of a traffic frame; empty if it cannot be parsed.
pub(super) fn payload_of(frame: &[u8]) -> &[u8] {
    TrafficLayout::parse(frame).map_or(&[], |layout| layout.payload(frame))
}

/// Returns the number of nodes that forwarded a ping so far.
pub(super) fn hops_of_ping(frame: &[u8]) -> usize {
    let ping = ping::Ping::decode(payload_of(frame));
    ping.map_or(0, |ping| usize::from(ping.hops))
}
