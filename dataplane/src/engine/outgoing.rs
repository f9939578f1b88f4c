//! The bytes of one send.

use crate::buffer::{IterationMemory, ReceiveBuffers, Segment};
use crate::frames::{frames_in, is_traffic};

/// The bytes of one send: owned frames first, then segments of the iteration's memory.
#[derive(Default)]
pub(crate) struct Outgoing {
    /// Whole frames, one or several to a piece. The first may have been sent in part.
    pub(crate) owned: Vec<Box<[u8]>>,
    /// The number of bytes of the first owned frame that have been sent before.
    pub(crate) skip: usize,
    /// Traffic frames in the iteration's memory.
    pub(crate) segments: Vec<Segment>,
    /// The number of frames in `segments`.
    pub(crate) segment_frames: u64,
    /// The number of bytes in `segments`.
    pub(crate) segment_bytes: usize,
    /// The frames of a send that has completed in full while the kernel still reads them. The engine
    /// keeps them, and they are no longer in `owned`.
    pub(crate) in_flight: FrameCounts,
}

/// Numbers of frames and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameCounts {
    pub(crate) traffic_frames: u64,
    pub(crate) traffic_bytes: u64,
    pub(crate) protocol_frames: u64,
    pub(crate) protocol_bytes: u64,
}

impl Outgoing {
    /// Reports whether this is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty() && self.segments.is_empty()
    }

    /// Returns the number of bytes of owned frames that are still to be sent.
    pub(super) fn owned_bytes(&self) -> usize {
        self.owned.iter().map(|piece| piece.len()).sum::<usize>() - self.skip
    }

    /// Takes the owned pieces out, all of which have been sent, and counts their frames as in flight.
    pub(super) fn take_in_flight(&mut self) -> Vec<Box<[u8]>> {
        let owned = std::mem::take(&mut self.owned);
        self.skip = 0;
        let counts = &mut self.in_flight;
        for frame in owned.iter().flat_map(|piece| frames_in(piece)) {
            let (frames, bytes) = if is_traffic(frame) {
                (&mut counts.traffic_frames, &mut counts.traffic_bytes)
            } else {
                (&mut counts.protocol_frames, &mut counts.protocol_bytes)
            };
            *frames += 1;
            *bytes += frame.len() as u64;
        }
        owned
    }

    /// Returns the bytes to send, piece by piece.
    pub(super) fn pieces<'a>(
        &'a self,
        (memory, receive): (&'a IterationMemory, &'a ReceiveBuffers),
    ) -> impl Iterator<Item = &'a [u8]> {
        let mut skip = self.skip;
        let owned = self.owned.iter().map(|frame| &frame[..]);
        let segments = self.segments.iter().map(move |s| memory.bytes(s, receive));
        owned
            .chain(segments)
            .map(move |piece| &piece[std::mem::take(&mut skip).min(piece.len())..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames in flight are counted one by one, as a piece may hold several small ones.
    #[test]
    fn frames_in_flight_are_counted_one_by_one() {
        let traffic = *b"pine\0\x03\0\0\0\x0c..";
        let keepalive = pinecone_wire::frame::KEEPALIVE;
        let mut outgoing = Outgoing {
            owned: vec![
                Box::new(keepalive),
                Box::new(traffic),
                traffic.repeat(3).into(),
            ],
            ..Outgoing::default()
        };
        assert_eq!(outgoing.take_in_flight().len(), 3);
        let counts = &outgoing.in_flight;
        assert_eq!((counts.protocol_frames, counts.protocol_bytes), (1, 10));
        assert_eq!((counts.traffic_frames, counts.traffic_bytes), (4, 48));
    }
}
