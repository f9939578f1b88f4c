use pinecone_wire::{FrameError, FrameHeader, Split, split};

/// Bytes received from a stream, out of which whole frames are taken.
///
/// ```
/// use pinecone_load::FrameBuffer;
/// use pinecone_wire::{FrameError, frame::KEEPALIVE};
///
/// let mut buffer = FrameBuffer::new(100);
/// buffer.extend(&KEEPALIVE);
/// buffer.extend(&KEEPALIVE[..6]);
/// let mut frames = 0;
/// buffer.take_frames(|_, frame| {
///     assert_eq!(frame, KEEPALIVE);
///     frames += 1;
///     Ok::<_, FrameError>(())
/// })?;
/// assert_eq!(frames, 1);
/// assert_eq!(buffer.bytes(), &KEEPALIVE[..6]);
/// # Ok::<(), FrameError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct FrameBuffer {
    /// The received bytes, and then free space.
    space: Vec<u8>,
    filled: usize,
}

impl FrameBuffer {
    /// Creates a buffer with room for this many bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            space: vec![0; capacity],
            filled: 0,
        }
    }

    /// Returns the received bytes: after [`Self::take_frames`] the beginning of a frame, or nothing.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.space[..self.filled]
    }

    /// Returns the free space, into which bytes can be read. It ends early so that the buffer holds at most
    /// `max_bytes`.
    pub fn free_space(&mut self, max_bytes: usize) -> &mut [u8] {
        let end = max_bytes.clamp(self.filled, self.space.len());
        &mut self.space[self.filled..end]
    }

    /// Records that `bytes` bytes have been read into [`Self::free_space`].
    ///
    /// # Panics
    /// There was less space.
    pub fn add(&mut self, bytes: usize) {
        assert!(bytes <= self.space.len() - self.filled, "more than fits");
        self.filled += bytes;
    }

    /// Appends bytes, and enlarges the buffer if necessary.
    pub fn extend(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if end > self.space.len() {
            self.space.resize(end, 0);
        }
        self.space[self.filled..end].copy_from_slice(bytes);
        self.filled = end;
    }

    /// Removes all bytes.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    /// Removes the first `bytes` bytes.
    ///
    /// # Panics
    /// There are fewer bytes.
    pub fn remove(&mut self, bytes: usize) {
        if bytes > 0 {
            self.space.copy_within(bytes..self.filled, 0);
            self.filled -= bytes;
        }
    }

    /// Removes all whole frames, and passes each with its header to `each`.
    ///
    /// # Errors
    /// Returns the error of `each`, or a [`FrameError`] if the bytes are not a frame. The buffer cannot be used
    /// after an error.
    #[inline]
    pub fn take_frames<E: From<FrameError>>(
        &mut self,
        mut each: impl FnMut(FrameHeader, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = self.bytes();
        while let Split::Frame(header) = split(rest)? {
            let (frame, behind) = rest.split_at(usize::from(header.len));
            each(header, frame)?;
            rest = behind;
        }
        let missing = rest.len();
        self.remove(self.filled - missing);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadFrame, push_frame};
    use pinecone_testing::Random;
    use pinecone_wire::{PublicKey, Watermark};

    fn stream(frames: usize, random: &mut Random) -> Vec<Vec<u8>> {
        (0..frames)
            .map(|_| {
                let mut frame = Vec::new();
                let fields = LoadFrame {
                    destination: PublicKey(random.bytes()),
                    source: PublicKey([1; 32]),
                    watermark: Watermark::START,
                    payload: &vec![7; random.below(400)],
                };
                push_frame(&mut frame, &fields).unwrap();
                frame
            })
            .collect()
    }

    /// However the stream is cut, and whichever way the bytes come in, all frames come out.
    #[test]
    fn frames_do_not_depend_on_the_cuts() {
        let mut random = Random::new(5);
        let sent = stream(200, &mut random);
        let bytes = sent.concat();
        for largest in [1, 10, 97, 1000, 100_000] {
            let (mut buffer, mut received) = (FrameBuffer::new(700), Vec::new());
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let n = (1 + random.below(largest)).min(rest.len());
                if random.chance(50) {
                    let space = buffer.free_space(650);
                    assert!(!space.is_empty());
                    let n = n.min(space.len());
                    space[..n].copy_from_slice(&rest[..n]);
                    buffer.add(n);
                    rest = &rest[n..];
                } else {
                    buffer.extend(&rest[..n]);
                    rest = &rest[n..];
                }
                buffer
                    .take_frames(|header, frame| {
                        assert_eq!(usize::from(header.len), frame.len());
                        received.push(frame.to_vec());
                        Ok::<_, FrameError>(())
                    })
                    .unwrap();
            }
            assert_eq!(received, sent);
            assert!(buffer.bytes().is_empty());
        }
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused() {
        let mut buffer = FrameBuffer::default();
        buffer.extend(b"pins pine");
        let result = buffer.take_frames(|_, _| Ok::<_, FrameError>(()));
        assert_eq!(result, Err(FrameError::Magic(*b"pins")));
        buffer.clear();
        assert!(buffer.bytes().is_empty());
    }

    #[test]
    fn the_first_bytes_can_be_removed() {
        let mut buffer = FrameBuffer::new(2);
        buffer.extend(b"abcdef");
        buffer.remove(2);
        assert_eq!(buffer.bytes(), b"cdef");
        assert_eq!(buffer.free_space(5).len(), 1);
        assert_eq!(buffer.free_space(3).len(), 0);
        assert_eq!(buffer.free_space(100).len(), 2);
    }
}
