//! Traffic frames of local origin.

use bytes::Bytes;
use pinecone_wire::{PublicKey, TrafficLayout};

use crate::buffer::GATHER_BELOW;

/// A traffic frame that this node sends: its bytes, or its head and a reference to its payload.
///
/// Such a payload is sent from the memory that it lies in, unless the frame must wait for its port, is handed over to
/// another worker, or passes a filter. A worker holds the reference until the end of the iteration in which it routes
/// the frame.
#[derive(Clone, Debug)]
pub struct LocalFrame(Repr);

// As small as a vector, since each worker's queue of them is allocated in full.
#[derive(Clone, Debug)]
pub(crate) enum Repr {
    Whole(Vec<u8>),
    Split(Box<SplitFrame>),
}

/// A frame whose payload lies apart.
#[derive(Clone, Debug)]
pub(crate) struct SplitFrame {
    /// All bytes before the payload.
    pub(crate) head: Vec<u8>,
    pub(crate) payload: Bytes,
}

impl LocalFrame {
    /// The length from which on a payload should be passed by reference. Egress copies shorter ones next to other
    /// frames in any case.
    pub const SPLIT_FROM: usize = GATHER_BELOW;

    /// Creates a frame from all bytes before its payload, and the payload.
    #[must_use]
    pub fn split(head: Vec<u8>, payload: Bytes) -> Self {
        Self(Repr::Split(Box::new(SplitFrame { head, payload })))
    }

    /// Returns the length of the frame in bytes.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Repr::Whole(frame) => frame.len(),
            Repr::Split(frame) => frame.head.len() + frame.payload.len(),
        }
    }

    /// Returns the destination key, if the frame is well-formed.
    pub(crate) fn destination_key(&self) -> Option<PublicKey> {
        let (layout, head) = match &self.0 {
            Repr::Whole(frame) => (TrafficLayout::parse(frame).ok()?, frame),
            Repr::Split(frame) => (TrafficLayout::parse_head(&frame.head).ok()?.0, &frame.head),
        };
        Some(layout.destination_key(head))
    }

    pub(crate) fn into_repr(self) -> Repr {
        self.0
    }
}

impl From<Vec<u8>> for LocalFrame {
    /// Takes a whole frame.
    fn from(frame: Vec<u8>) -> Self {
        Self(Repr::Whole(frame))
    }
}

impl SplitFrame {
    /// Copies the frame into one buffer.
    pub(crate) fn join(&self) -> Vec<u8> {
        [&self.head[..], &self.payload].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::LocalFrame;

    #[test]
    fn a_frame_takes_no_more_room_in_a_queue_than_a_vector() {
        assert_eq!(size_of::<LocalFrame>(), size_of::<Vec<u8>>());
    }
}
