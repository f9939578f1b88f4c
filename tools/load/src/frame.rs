use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{BuildError, Coordinates, PublicKey, TrafficFields, Watermark};

/// The hop limit of every frame of a load.
pub const HOP_LIMIT: u8 = 10;

/// A traffic frame that is routed by keys alone.
#[derive(Clone, Copy, Debug)]
pub struct LoadFrame<'a> {
    /// The destination key.
    pub destination: PublicKey,
    /// The source key.
    pub source: PublicKey,
    /// The watermark, [`Watermark::START`] for a frame that no node has forwarded.
    pub watermark: Watermark,
    /// The payload.
    pub payload: &'a [u8],
}

/// Appends a frame to `out`.
///
/// # Errors
/// [`BuildError`] if the payload does not fit a frame.
pub fn push_frame(out: &mut Vec<u8>, frame: &LoadFrame<'_>) -> Result<(), BuildError> {
    let fields = TrafficFields {
        extra: 0,
        hop_limit: HOP_LIMIT,
        destination: &Coordinates::default(),
        source: &Coordinates::default(),
        destination_key: frame.destination,
        source_key: frame.source,
        watermark: frame.watermark,
        payload: frame.payload,
    };
    push_traffic(out, &fields)
}
