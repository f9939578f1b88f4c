//! Frames: a view of their fields in place, and functions that append those that a node originates (protocol
//! section 3). Traffic frames have [their own module](crate::traffic).

use crate::header::{push_header, push_payload_len};
use crate::traffic::TrafficLayout;
use crate::varu64;
use crate::{BuildError, FrameError, PublicKey, Watermark};

pub use crate::header::{FrameHeader, FrameType, HEADER_LEN, KEEPALIVE, MAGIC, MAX_FRAME_LEN};

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
