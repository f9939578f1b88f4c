//! The header of every frame (protocol section 3).

use crate::{BuildError, FrameError};

/// Length of the header of every frame in bytes.
pub const HEADER_LEN: usize = 10;
/// Length of the longest frame in bytes, header included.
pub const MAX_FRAME_LEN: usize = u16::MAX as usize;
/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"pine";
/// A keepalive frame.
pub const KEEPALIVE: [u8; HEADER_LEN] = *b"pine\0\0\0\0\0\x0a";

/// The type byte of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameType {
    /// A keepalive, without a body.
    Keepalive,
    /// A tree announcement.
    Announcement,
    /// A bootstrap, which sets up a path by key (protocol section 5).
    Bootstrap,
    /// A traffic frame.
    Traffic,
    /// A wakeup broadcast.
    Broadcast,
    /// A type that this version does not know. Such frames are ignored.
    Unknown(u8),
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The type of the frame.
    pub kind: FrameType,
    /// A byte without meaning, which is passed on.
    pub extra: u8,
    /// The number of hops left. It counts only for nodes with hop limiting.
    pub hop_limit: u8,
    /// Length of the frame in bytes, header included.
    pub len: u16,
}

impl FrameType {
    /// Returns the type with this type byte.
    #[must_use]
    #[inline]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Keepalive,
            1 => Self::Announcement,
            2 => Self::Bootstrap,
            3 => Self::Traffic,
            4 => Self::Broadcast,
            other => Self::Unknown(other),
        }
    }

    /// Returns the type byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Keepalive => 0,
            Self::Announcement => 1,
            Self::Bootstrap => 2,
            Self::Traffic => 3,
            Self::Broadcast => 4,
            Self::Unknown(byte) => byte,
        }
    }
}

impl FrameHeader {
    /// Decodes the header at the start of `bytes`; `None` if they may be the start of one.
    ///
    /// # Errors
    /// [`FrameError::Magic`] or [`FrameError::Length`].
    #[inline]
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some(&[m0, m1, m2, m3, _version, kind, extra, hop_limit, l0, l1]) = bytes.first_chunk()
        else {
            if MAGIC.starts_with(bytes) || bytes.starts_with(&MAGIC) {
                return Ok(None);
            }
            let mut magic = [0; 4];
            magic.iter_mut().zip(bytes).for_each(|(m, b)| *m = *b);
            return Err(FrameError::Magic(magic));
        };
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::Magic([m0, m1, m2, m3]));
        }
        let len = u16::from_be_bytes([l0, l1]);
        if usize::from(len) < HEADER_LEN {
            return Err(FrameError::Length(len));
        }
        Ok(Some(Self {
            kind: FrameType::from_byte(kind),
            extra,
            hop_limit,
            len,
        }))
    }
}

/// Appends the header of a frame with a body of `body` bytes.
pub(crate) fn push_header(
    out: &mut Vec<u8>,
    kind: FrameType,
    extra: u8,
    hop_limit: u8,
    body: usize,
) -> Result<(), BuildError> {
    let len = frame_len(body)?;
    out.reserve(len.into());
    push_header_with(out, kind, extra, hop_limit, len);
    Ok(())
}

/// Returns the length of a frame with a body of `body` bytes.
pub(crate) fn frame_len(body: usize) -> Result<u16, BuildError> {
    let len = HEADER_LEN + body;
    u16::try_from(len).map_err(|_| BuildError::TooLong { len })
}

/// Appends the header of a frame of `len` bytes.
pub(crate) fn push_header_with(
    out: &mut Vec<u8>,
    kind: FrameType,
    extra: u8,
    hop_limit: u8,
    len: u16,
) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0, kind.byte(), extra, hop_limit]);
    out.extend_from_slice(&len.to_be_bytes());
}

/// Appends the length of the payload, which fits because [`frame_len`] has checked the frame's length.
pub(crate) fn push_payload_len(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
}
