//! Properties of whole frames that egress needs. The frames have been checked on ingress, so they are not checked again
//! here.

use pinecone_wire::frame::HEADER_LEN;

use crate::buffer::{IterationMemory, ReceiveBuffers, Segment};

/// Reports whether a whole frame is traffic.
pub(crate) fn is_traffic(frame: &[u8]) -> bool {
    frame.get(5) == Some(&3)
}

/// Reports whether a whole frame is a tree announcement.
pub(crate) fn is_announcement(frame: &[u8]) -> bool {
    frame.get(5) == Some(&1)
}

/// Returns the frames in `piece`, which are adjacent.
pub(crate) fn frames_in(piece: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = piece;
    std::iter::from_fn(move || {
        let len = frame_len(rest)?.clamp(1, rest.len());
        let (frame, behind) = rest.split_at(len);
        rest = behind;
        Some(frame)
    })
}

/// Returns the number of traffic frames in `piece`.
pub(crate) fn traffic_in(piece: &[u8]) -> u64 {
    frames_in(piece).filter(|f| is_traffic(f)).count() as u64
}

/// Returns a hash of both keys, which distinguishes flows.
pub(crate) fn flow_hash(frame: &[u8]) -> u64 {
    let number = |at: usize| {
        frame
            .get(at..at + 8)
            .and_then(|b| b.first_chunk())
            .map_or(0, |b| u64::from_ne_bytes(*b))
    };
    let length = |at: usize| {
        frame
            .get(at..at + 2)
            .map_or(0, |b| usize::from(u16::from_be_bytes([b[0], b[1]])))
    };
    let destination = HEADER_LEN + 4 + length(HEADER_LEN + 2);
    let keys = destination + 2 + length(destination);
    let mixed = number(keys) ^ number(keys + 32).rotate_left(32);
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Returns the length of the frame that `bytes` begin with.
pub(crate) fn frame_len(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(8..HEADER_LEN)?.first_chunk()?;
    Some(usize::from(u16::from_be_bytes(*length)))
}

/// Returns the frames in a list of segments, each as the pieces that it lies in.
pub(crate) fn frames_of<'a>(
    segments: &'a [Segment],
    memory: &'a IterationMemory,
    receive: &'a ReceiveBuffers,
) -> impl Iterator<Item = Vec<&'a [u8]>> {
    let mut pieces = segments.iter().map(|s| memory.bytes(s, receive));
    let mut rest: &[u8] = &[];
    std::iter::from_fn(move || {
        if rest.is_empty() {
            rest = pieces.next()?;
        }
        let mut missing = frame_len(rest)?;
        let mut frame = Vec::with_capacity(2);
        loop {
            let (piece, behind) = rest.split_at(missing.min(rest.len()));
            frame.push(piece);
            rest = behind;
            missing -= piece.len();
            if missing == 0 {
                return Some(frame);
            }
            rest = pieces.next()?;
        }
    })
}
