//! Finding whole frames in a stream.

use crate::FrameError;
use crate::frame::{FrameHeader, HEADER_LEN};

/// What stands at the start of a stretch of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// A whole frame of this kind and length.
    Frame(FrameHeader),
    /// The beginning of a frame: at least so many more bytes are needed to go on.
    Missing(usize),
}

/// Looks at the start of `stream`. Taking `header.len` bytes off it and asking again yields the
/// next frame.
///
/// # Errors
/// [`FrameError::Magic`] or [`FrameError::Length`], as soon as the bytes show it: the stream
/// cannot be read any further.
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
