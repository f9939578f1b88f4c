//! Frames: their header, a view of their fields in place, and functions that append those that a node
//! originates (protocol section 3). Traffic frames have [their own module](crate::traffic).

use crate::traffic::TrafficLayout;
use crate::varu64;
use crate::{BuildError, FrameError, PublicKey, Watermark};

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

/// A frame with its fields in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A keepalive.
    Keepalive,
    /// A tree announcement.
    Announcement {
        /// The payload, an [`Announcement`](crate::Announcement).
        payload: &'a [u8],
    },
    /// A bootstrap.
    Bootstrap {
        /// The key of the node that bootstraps.
        key: PublicKey,
        /// The progress so far.
        watermark: Watermark,
        /// The payload, a [`SignedBody`](crate::SignedBody).
        payload: &'a [u8],
    },
    /// A traffic frame. Its layout reads and patches the bytes.
    Traffic(TrafficLayout),
    /// A wakeup broadcast.
    Broadcast {
        /// The key of the node that originated it.
        key: PublicKey,
        /// The payload, a [`SignedBody`](crate::SignedBody).
        payload: &'a [u8],
    },
    /// A type that this version does not know.
    Unknown(u8),
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

impl<'a> Frame<'a> {
    /// Parses a whole frame, which [`split`](crate::split) has found.
    ///
    /// # Errors
    /// Any [`FrameError`]. The peering that sent the frame must be closed.
    pub fn parse(bytes: &'a [u8]) -> Result<(FrameHeader, Self), FrameError> {
        let truncated = |field| FrameError::Truncated {
            field,
            len: bytes.len(),
        };
        let header = FrameHeader::decode(bytes)?.ok_or(truncated("header"))?;
        let bytes = bytes
            .get(..usize::from(header.len))
            .ok_or(truncated("body"))?;
        let frame = match header.kind {
            FrameType::Keepalive => Self::Keepalive,
            FrameType::Unknown(byte) => Self::Unknown(byte),
            FrameType::Traffic => Self::Traffic(TrafficLayout::parse(bytes)?),
            FrameType::Announcement => {
                let mut reader = Reader::new(bytes)?;
                Self::Announcement {
                    payload: reader.payload()?,
                }
            }
            FrameType::Bootstrap => {
                let mut reader = Reader::new(bytes)?;
                let key = reader.key("destination key")?;
                let watermark = Watermark {
                    key: reader.key("watermark key")?,
                    sequence: reader.number("watermark sequence")?,
                };
                Self::Bootstrap {
                    key,
                    watermark,
                    payload: reader.payload()?,
                }
            }
            FrameType::Broadcast => {
                let mut reader = Reader::new(bytes)?;
                let key = reader.key("source key")?;
                Self::Broadcast {
                    key,
                    payload: reader.payload()?,
                }
            }
        };
        Ok((header, frame))
    }
}

/// Appends an announcement frame.
///
/// # Errors
/// [`BuildError::TooLong`]; `out` is unchanged then.
pub fn push_announcement(out: &mut Vec<u8>, payload: &[u8]) -> Result<(), BuildError> {
    push_header(out, FrameType::Announcement, 0, 0, 2 + payload.len())?;
    push_payload_len(out, payload);
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends a bootstrap frame. `extra` and `hop_limit` are 0 at the origin, and other nodes pass them on.
///
/// # Errors
/// [`BuildError::TooLong`]; `out` is unchanged then.
pub fn push_bootstrap(
    out: &mut Vec<u8>,
    (extra, hop_limit): (u8, u8),
    key: &PublicKey,
    watermark: &Watermark,
    payload: &[u8],
) -> Result<(), BuildError> {
    let body = 2 + 64 + varu64::len(watermark.sequence) + payload.len();
    push_header(out, FrameType::Bootstrap, extra, hop_limit, body)?;
    push_payload_len(out, payload);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(watermark.key.as_bytes());
    varu64::push(out, watermark.sequence);
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends a wakeup broadcast frame. `extra` and `hop_limit` are as in [`push_bootstrap`].
///
/// # Errors
/// [`BuildError::TooLong`]; `out` is unchanged then.
pub fn push_broadcast(
    out: &mut Vec<u8>,
    (extra, hop_limit): (u8, u8),
    key: &PublicKey,
    payload: &[u8],
) -> Result<(), BuildError> {
    push_header(
        out,
        FrameType::Broadcast,
        extra,
        hop_limit,
        2 + 32 + payload.len(),
    )?;
    push_payload_len(out, payload);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// Appends the header of a frame with a body of `body` bytes.
pub(crate) fn push_header(
    out: &mut Vec<u8>,
    kind: FrameType,
    extra: u8,
    hop_limit: u8,
    body: usize,
) -> Result<(), BuildError> {
    let len = HEADER_LEN + body;
    let short = u16::try_from(len).map_err(|_| BuildError::TooLong { len })?;
    out.reserve(len);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0, kind.byte(), extra, hop_limit]);
    out.extend_from_slice(&short.to_be_bytes());
    Ok(())
}

/// Appends the length of the payload, which fits because [`push_header`] has checked the frame's length.
pub(crate) fn push_payload_len(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
}

/// Reads the fields of a protocol frame's body one by one.
struct Reader<'a> {
    rest: &'a [u8],
    payload_len: usize,
    len: usize,
}

impl<'a> Reader<'a> {
    fn new(frame: &'a [u8]) -> Result<Self, FrameError> {
        let len = frame.len();
        let body = frame.get(HEADER_LEN..).unwrap_or_default();
        let (payload_len, rest) = body.split_first_chunk().ok_or(FrameError::Truncated {
            field: "payload length",
            len,
        })?;
        Ok(Self {
            rest,
            payload_len: usize::from(u16::from_be_bytes(*payload_len)),
            len,
        })
    }

    fn key(&mut self, field: &'static str) -> Result<PublicKey, FrameError> {
        let (key, rest) = self.rest.split_first_chunk().ok_or(FrameError::Truncated {
            field,
            len: self.len,
        })?;
        self.rest = rest;
        Ok(PublicKey(*key))
    }

    fn number(&mut self, field: &'static str) -> Result<u64, FrameError> {
        let (value, n) = varu64::decode(self.rest).map_err(|_| FrameError::Number { field })?;
        self.rest = &self.rest[n..];
        Ok(value)
    }

    fn payload(&mut self) -> Result<&'a [u8], FrameError> {
        self.rest
            .get(..self.payload_len)
            .ok_or(FrameError::Truncated {
                field: "payload",
                len: self.len,
            })
    }
}
