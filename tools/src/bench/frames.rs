//! The frames that are sent. They are built once and stamped before each use.
//!
//! Payload: `"pinebnch" || run u32 || flow u32 || sequence u64 || ns since the start u64`, then filler
//! that ends with [`TAIL`]. The sequence [`PROBE`] marks a probe for a route.

use std::ops::Range;

use pinecone_load::{FrameRing, LoadFrame, push_frame};
use pinecone_wire::{BuildError, PublicKey, Watermark};

/// The shortest payload.
pub(crate) const MIN_SIZE: usize = HEAD + TAIL.len();
/// The longest payload: a watermark may grow on the path, and a frame has at most 65,535 bytes.
pub(crate) const MAX_SIZE: usize = 65_000;
/// The sequence of a probe, which is not counted.
pub(crate) const PROBE: u64 = u64::MAX;

const MARK: [u8; 8] = *b"pinebnch";
const TAIL: [u8; 8] = *b"hcnbenip";
const HEAD: usize = 32;
const FILLER: u8 = 0x5a;

/// A stream of frames with its own sequence numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    /// Its number among the flows of all peers.
    pub(crate) id: u32,
    pub(crate) source: PublicKey,
    pub(crate) destination: PublicKey,
}

/// The contents of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) flow: u32,
    pub(crate) sequence: u64,
    /// The time at which it was sent, in ns since the start.
    pub(crate) sent: u64,
}

impl Stamp {
    /// Parses a payload. Returns `None` if it belongs to another run, is damaged, or is not one of the bench.
    #[inline]
    pub(crate) fn read(payload: &[u8], run: u32, size: usize) -> Option<Self> {
        let (head, rest) = payload.split_first_chunk::<HEAD>()?;
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        let whole = payload.len() == size && rest.ends_with(&TAIL);
        (head.starts_with(&MARK) && word(8) == run && whole).then(|| Self {
            flow: word(12),
            sequence: long(16),
            sent: long(24),
        })
    }
}

/// A ring of frames of all flows of a sender, as they are written to the stream.
#[derive(Debug)]
pub(crate) struct Carousel {
    /// As many frames of each flow, in the order of the flows.
    ring: FrameRing,
    frame_len: usize,
    /// Offset of sequence and time in a frame.
    stamp_at: usize,
    flows: usize,
    /// The flow and the sequence of the next frame.
    flow: usize,
    sequence: u64,
}

impl Carousel {
    /// Builds at least `min_bytes` of frames with payloads of `size` bytes.
    ///
    /// # Errors
    /// `size` is too long.
    pub(crate) fn new(
        flows: &[Flow],
        run: u32,
        size: usize,
        min_bytes: usize,
    ) -> Result<Self, BuildError> {
        let frames = flows.iter().map(|flow| frame(flow, run, size));
        let frames = frames.collect::<Result<Vec<_>, _>>()?;
        let mut ring = FrameRing::default();
        loop {
            frames.iter().for_each(|frame| ring.push(frame));
            if ring.is_empty() || ring.byte_len() >= min_bytes {
                break;
            }
        }
        let frame_len = frames.first().map_or(0, Vec::len);
        Ok(Self {
            ring,
            frame_len,
            stamp_at: frame_len.saturating_sub(size) + 16,
            flows: flows.len(),
            flow: 0,
            sequence: 0,
        })
    }

    /// Returns the length of a frame in bytes.
    pub(crate) fn frame_len(&self) -> usize {
        self.frame_len
    }

    /// Stamps the next frames, at most `max` and as many as are contiguous. Returns their slots.
    pub(crate) fn next(&mut self, max: usize, now: u64) -> Range<usize> {
        let slots = self.ring.advance(max, usize::MAX);
        let (stamp_at, flows) = (self.stamp_at, self.flows);
        let (mut flow, mut sequence) = (self.flow, self.sequence);
        self.ring.for_each_mut(slots.clone(), |_, frame| {
            stamp(frame, stamp_at, sequence, now);
            flow += 1;
            if flow == flows {
                flow = 0;
                sequence += 1;
            }
        });
        (self.flow, self.sequence) = (flow, sequence);
        slots
    }

    /// Returns the frame of the flow with this index, stamped as a probe.
    pub(crate) fn probe(&mut self, flow: usize, now: u64) -> &[u8] {
        let stamp_at = self.stamp_at;
        self.ring.for_each_mut(flow..flow + 1, |_, frame| {
            stamp(frame, stamp_at, PROBE, now);
        });
        self.bytes(flow..flow + 1)
    }

    /// Returns the bytes of the frames in these slots.
    pub(crate) fn bytes(&self, slots: Range<usize>) -> &[u8] {
        self.ring.bytes(slots)
    }
}

#[inline]
fn stamp(frame: &mut [u8], at: usize, sequence: u64, now: u64) {
    if let Some(place) = frame.get_mut(at..at + 16) {
        place[..8].copy_from_slice(&sequence.to_be_bytes());
        place[8..].copy_from_slice(&now.to_be_bytes());
    }
}

fn frame(flow: &Flow, run: u32, size: usize) -> Result<Vec<u8>, BuildError> {
    let mut payload = Vec::with_capacity(size);
    payload.extend_from_slice(&MARK);
    payload.extend_from_slice(&run.to_be_bytes());
    payload.extend_from_slice(&flow.id.to_be_bytes());
    payload.extend_from_slice(&[0; 16]);
    payload.resize(size.max(MIN_SIZE) - TAIL.len(), FILLER);
    payload.extend_from_slice(&TAIL);
    let fields = LoadFrame {
        destination: flow.destination,
        source: flow.source,
        watermark: Watermark::START,
        payload: &payload,
    };
    let mut frame = Vec::new();
    push_frame(&mut frame, &fields)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinecone_wire::{Split, TrafficLayout, split};

    fn flows(n: u32) -> Vec<Flow> {
        (0..n)
            .map(|id| Flow {
                id: 10 + id,
                source: PublicKey([id as u8; 32]),
                destination: PublicKey([7; 32]),
            })
            .collect()
    }

    #[test]
    fn a_carousel_numbers_every_flow_without_gaps() {
        for (size, n, max) in [(40, 3, 5), (1200, 64, 100), (MAX_SIZE, 1, 9)] {
            let mut carousel = Carousel::new(&flows(n), 99, size, 10_000).unwrap();
            let mut sequences = vec![0; n as usize];
            let mut expected_flow = 0;
            for now in 0..100 {
                let slots = carousel.next(max, now);
                assert!((1..=max).contains(&slots.len()));
                let mut rest = carousel.bytes(slots.clone());
                for _ in slots {
                    let Ok(Split::Frame(header)) = split(rest) else {
                        panic!("no frame");
                    };
                    let (frame, behind) = rest.split_at(usize::from(header.len));
                    rest = behind;
                    let layout = TrafficLayout::parse(frame).unwrap();
                    let found = Stamp::read(layout.payload(frame), 99, size).unwrap();
                    let stamp = Stamp {
                        flow: 10 + expected_flow,
                        sequence: sequences[expected_flow as usize],
                        sent: now,
                    };
                    assert_eq!(found, stamp);
                    assert_eq!(layout.source_key(frame).0, [expected_flow as u8; 32]);
                    sequences[expected_flow as usize] += 1;
                    expected_flow = (expected_flow + 1) % n;
                }
                assert!(rest.is_empty());
            }
        }
    }

    #[test]
    fn other_payloads_are_rejected() {
        let mut carousel = Carousel::new(&flows(2), 1, 100, 0).unwrap();
        let frame = carousel.probe(1, 5).to_vec();
        let payload = &frame[carousel.frame_len() - 100..];
        let stamp = Stamp {
            flow: 11,
            sequence: PROBE,
            sent: 5,
        };
        assert_eq!(Stamp::read(payload, 1, 100), Some(stamp));
        assert_eq!(Stamp::read(payload, 2, 100), None);
        assert_eq!(Stamp::read(payload, 1, 99), None);
        assert_eq!(Stamp::read(&payload[..99], 1, 99), None);
        assert_eq!(Stamp::read(&payload[1..], 1, 99), None);
        assert_eq!(Stamp::read(b"pinebnch", 1, 8), None);
    }
}
