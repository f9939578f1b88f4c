use std::ops::Range;

/// Prepared frames that are sent repeatedly, in the order in which they were added.
///
/// Frames lie next to each other, so that many are written at once. Each has a *slot*, its number in that order.
/// [`Self::for_each_mut`] changes frames between two uses.
///
/// ```
/// use pinecone_load::FrameRing;
///
/// let mut ring = FrameRing::default();
/// ring.push(b"one");
/// ring.push(b"two");
/// let slots = ring.advance(10, usize::MAX);
/// assert_eq!(slots, 0..2);
/// ring.for_each_mut(slots.clone(), |_, frame| frame[0] = b'x');
/// assert_eq!(ring.bytes(slots), b"xnexwo");
/// assert_eq!(ring.advance(1, usize::MAX), 0..1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct FrameRing {
    bytes: Vec<u8>,
    /// The end of each frame in `bytes`.
    ends: Vec<usize>,
    /// The slot of the next frame to send.
    next: usize,
}

impl FrameRing {
    /// Creates an empty ring with room for frames of this many bytes in total.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Adds a frame.
    pub fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
    }

    /// Returns the number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Reports whether there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns the length of all frames in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Moves on by at most `max_frames` frames, which have at most `max_bytes` in total or are a single one, and
    /// which do not go past the end of the ring. Returns their slots.
    pub fn advance(&mut self, max_frames: usize, max_bytes: usize) -> Range<usize> {
        let first = self.next;
        let candidates = &self.ends[first..][..max_frames.min(self.len() - first)];
        let limit = self.start(first).saturating_add(max_bytes);
        let fitting = candidates.partition_point(|end| *end <= limit);
        let count = fitting.max(candidates.len().min(1));
        self.next = first + count;
        if self.next == self.len() {
            self.next = 0;
        }
        first..first + count
    }

    /// Passes each of these slots with its frame to `change`.
    ///
    /// # Panics
    /// The ring does not have these slots.
    #[inline]
    pub fn for_each_mut(&mut self, slots: Range<usize>, mut change: impl FnMut(usize, &mut [u8])) {
        let mut start = self.start(slots.start);
        for (slot, end) in slots.clone().zip(&self.ends[slots]) {
            change(slot, &mut self.bytes[start..*end]);
            start = *end;
        }
    }

    /// Returns the bytes of the frames in these slots.
    ///
    /// # Panics
    /// The ring does not have these slots.
    #[must_use]
    pub fn bytes(&self, slots: Range<usize>) -> &[u8] {
        &self.bytes[self.start(slots.start)..self.start(slots.end)]
    }

    /// Returns the offset of the frame in a slot, or the end of all frames for the slot after the last.
    fn start(&self, slot: usize) -> usize {
        slot.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinecone_testing::Random;

    /// Every pass returns all frames in order, within the limits, and changes stay in the changed frame.
    #[test]
    fn frames_come_around_in_order() {
        let mut random = Random::new(3);
        for frames in 1..40 {
            let mut ring = FrameRing::with_capacity(100);
            let mut expected: Vec<Vec<u8>> = Vec::new();
            for n in 0..frames {
                let frame = vec![n as u8; 1 + random.below(50)];
                ring.push(&frame);
                expected.push(frame);
            }
            assert_eq!(ring.len(), frames);
            assert_eq!(ring.byte_len(), expected.concat().len());
            let mut next = 0;
            for pass in 0..200 {
                let (max_frames, max_bytes) = (1 + random.below(9), random.below(150));
                let slots = ring.advance(max_frames, max_bytes);
                assert_eq!(slots.start, next);
                assert!((1..=max_frames).contains(&slots.len()));
                assert!(slots.len() == 1 || ring.bytes(slots.clone()).len() <= max_bytes);
                // No further frame would have fitted.
                if slots.len() < max_frames && slots.end < frames {
                    assert!(ring.bytes(slots.start..slots.end + 1).len() > max_bytes);
                }
                ring.for_each_mut(slots.clone(), |slot, frame| {
                    assert_eq!(frame, expected[slot]);
                    frame[0] = pass;
                    expected[slot][0] = pass;
                });
                assert_eq!(ring.bytes(slots.clone()), expected[slots.clone()].concat());
                next = slots.end % frames;
            }
            assert_eq!(ring.bytes(0..frames), expected.concat());
        }
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let mut ring = FrameRing::default();
        assert!(ring.is_empty());
        assert_eq!(ring.advance(5, 100), 0..0);
        ring.push(b"frame");
        assert_eq!(ring.advance(0, 100), 0..0);
        assert_eq!(ring.advance(1, 0), 0..1);
    }
}
