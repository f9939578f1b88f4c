//! Splitting a stream into frames (protocol section 3).

use crate::FrameError;
use crate::header::{FrameHeader, HEADER_LEN};

/// The result of [`split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The stream begins with a whole frame, which has this header.
    Frame(FrameHeader),
    /// The stream ends within a frame. At least this many more bytes are needed, never 0.
    Missing(usize),
}

/// Finds the frame at the start of `stream`. The next frame begins `header.len` bytes later.
///
/// # Errors
/// [`FrameError::Magic`] or [`FrameError::Length`], from the first byte on that is wrong. The rest of
/// the stream cannot be read.
///
/// ```
/// use pinecone_wire::{Frame, Split, frame::KEEPALIVE, split};
///
/// // A whole keepalive and the first six bytes of another.
/// let stream = [&KEEPALIVE[..], &KEEPALIVE[..6]].concat();
/// let mut rest = &stream[..];
/// while let Split::Frame(header) = split(rest)? {
///     let (frame, behind) = rest.split_at(usize::from(header.len));
///     assert_eq!(Frame::parse(frame)?.1, Frame::Keepalive);
///     rest = behind;
/// }
/// assert_eq!(split(rest)?, Split::Missing(4));
/// # Ok::<(), pinecone_wire::FrameError>(())
/// ```
#[inline]
pub fn split(stream: &[u8]) -> Result<Split, FrameError> {
    let Some(header) = FrameHeader::decode(stream)? else {
        return Ok(Split::Missing(HEADER_LEN - stream.len()));
    };
    match usize::from(header.len).checked_sub(stream.len()) {
        Some(missing) if missing > 0 => Ok(Split::Missing(missing)),
        _ => Ok(Split::Frame(header)),
    }
}
