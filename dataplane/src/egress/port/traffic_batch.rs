//! The traffic that an iteration sends on a port: frames in the memory that they lie in, and small ones gathered into
//! blocks.

use super::protocol_queue::MAX_PROTOCOL;
use crate::PortId;
use crate::buffer::{GATHER_BELOW, IterationMemory, Place, Segment};
use crate::engine::{MAX_PIECES, Outgoing};
use crate::ingress::Burst;

/// Number of segments at which a batch is full, with room for those that one more burst may add.
const MAX_SEGMENTS: usize = MAX_PIECES - MAX_PROTOCOL - 4;

/// The traffic that an iteration sends on a port.
pub(super) struct TrafficBatch {
    segments: Vec<Segment>,
    frames: u64,
    bytes: usize,
    /// The ingress port of the last frames, and their number.
    source: (PortId, u64),
    /// The ingress ports of the frames before those, in order.
    sources: Vec<(PortId, u64)>,
    /// The gather block that is being filled, and the number of bytes in it.
    block: Option<(u16, usize)>,
    /// True if the last segment ends at the filled end of the block.
    gathering: bool,
}

impl TrafficBatch {
    pub(super) const fn new() -> Self {
        Self {
            segments: Vec::new(),
            frames: 0,
            bytes: 0,
            source: (PortId::LOCAL, 0),
            sources: Vec::new(),
            block: None,
            gathering: false,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    #[inline(always)]
    pub(super) const fn is_full(&self) -> bool {
        self.segments.len() >= MAX_SEGMENTS
    }

    /// Returns the number of frames.
    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Returns the number of bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a burst. The batch must not be full.
    #[inline(always)]
    pub(super) fn push(&mut self, burst: &Burst<'_>, memory: &mut IterationMemory) {
        if self.source.0 != burst.ingress {
            self.change_source(burst.ingress);
        }
        self.source.1 += u64::from(burst.frames);
        self.frames += u64::from(burst.frames);
        self.bytes += burst.head.len() + burst.bytes.len();
        if !burst.head.is_empty() {
            self.gather(burst.head, memory);
        }
        if burst.bytes.len() < GATHER_BELOW {
            return self.gather(burst.bytes, memory);
        }
        let body = Segment::new(burst.place, burst.at, burst.bytes.len());
        match self.segments.last_mut() {
            // Neighbours in the receive buffer stay one piece.
            Some(last) if last.place == body.place && last.end() == body.at as usize => {
                last.len += body.len;
            }
            _ => {
                self.gathering = false;
                self.segments.push(body);
            }
        }
    }

    /// Ends gathering into the current block, which is recycled at the end of its iteration.
    pub(super) const fn leave_block(&mut self) {
        self.block = None;
        self.gathering = false;
    }

    /// Moves the segments to a send.
    pub(super) fn take(&mut self, outgoing: &mut Outgoing) {
        outgoing.segments = std::mem::take(&mut self.segments);
        outgoing.segment_frames = std::mem::take(&mut self.frames);
        outgoing.segment_bytes = std::mem::take(&mut self.bytes);
    }

    /// Returns the ingress port of each frame that was last taken, in order.
    pub(super) fn origins(&self) -> impl Iterator<Item = PortId> + use<> {
        (self.sources.iter().chain([&self.source]))
            .flat_map(|&(port, frames)| std::iter::repeat_n(port, frames as usize))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Forgets the frames that were last taken, and reuses the memory of their segments.
    pub(super) fn recycle(&mut self, mut segments: Vec<Segment>) {
        self.sources.clear();
        self.source.1 = 0;
        segments.clear();
        if self.segments.capacity() == 0 {
            self.segments = segments;
        }
    }

    /// Drops all frames.
    pub(super) fn clear(&mut self) {
        self.segments.clear();
        self.sources.clear();
        self.source.1 = 0;
        self.frames = 0;
        self.bytes = 0;
    }

    fn change_source(&mut self, ingress: PortId) {
        let before = std::mem::replace(&mut self.source, (ingress, 0));
        if before.1 > 0 {
            self.sources.push(before);
        }
    }

    /// Copies bytes next to those copied before, which costs less than another piece.
    #[inline(always)]
    fn gather(&mut self, bytes: &[u8], memory: &mut IterationMemory) {
        if let Some((block, filled)) = &mut self.block
            && self.gathering
            && memory.put(*block, *filled, bytes)
            && let Some(last) = self.segments.last_mut()
        {
            *filled += bytes.len();
            last.len += bytes.len() as u32;
            return;
        }
        self.gather_anew(bytes, memory);
    }

    /// Copies bytes into a segment of their own.
    #[inline(never)]
    fn gather_anew(&mut self, bytes: &[u8], memory: &mut IterationMemory) {
        let place = match self.block {
            Some((block, filled)) if memory.put(block, filled, bytes) => (block, filled),
            _ => {
                let block = memory.new_block();
                if !memory.put(block, 0, bytes) {
                    // A head that is longer than a block.
                    let mut buffer = memory.spare();
                    buffer.extend_from_slice(bytes);
                    let id = memory.own(buffer);
                    let whole = Segment::new(Place::Owned(id), 0, bytes.len());
                    self.segments.push(whole);
                    self.gathering = false;
                    return;
                }
                (block, 0)
            }
        };
        self.block = Some((place.0, place.1 + bytes.len()));
        self.gathering = true;
        let copied = Segment::new(Place::Block(place.0), place.1, bytes.len());
        self.segments.push(copied);
    }
}
