//! The encoding of payloads.
//!
//! `"pinestrm" || kind u8 || stream u64 ||` then by kind, all numbers big-endian:
//! - 0 data, 1 last data: `sequence u64 || transmission u64 || bytes`
//! - 2 probe: empty; the receiver answers with an acknowledgement
//! - 3 acknowledgement: `next u64 || window u32 || latest sequence u64 || latest transmission u64
//!   || bitmap`; bit i, from the lowest bit of the first byte, means that piece `next + 1 + i` has
//!   arrived
//! - 4 close: the sender knows that everything has arrived
//! - 5 busy: the receiver takes another stream
//! - 6 abort: the other side has given up the stream

const MAGIC: &[u8; 8] = b"pinestrm";

/// Bytes of a data payload in addition to its data.
pub(crate) const OVERHEAD: usize = 8 + 1 + 8 + 16;
/// The longest bitmap, in bytes.
pub(crate) const MAX_BITMAP: usize = 128;

/// A decoded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    /// Chosen at random by the sender.
    pub(crate) stream: u64,
    pub(crate) kind: Kind<'a>,
}

/// The kind of a payload, with its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Data {
        /// Number of this piece in the stream, from 0.
        sequence: u64,
        /// Number of this transmission. Every retransmission has its own.
        transmission: u64,
        /// True if this is the last piece of the stream.
        last: bool,
        bytes: &'a [u8],
    },
    Probe,
    Ack(Ack<'a>),
    Close,
    Busy,
    Abort,
}

/// An acknowledgement of the pieces that the receiver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack<'a> {
    /// The first piece that has not arrived.
    pub(crate) next: u64,
    /// Number of pieces, from `next` on, that the receiver has room for.
    pub(crate) window: u32,
    /// Sequence and transmission of the piece that arrived last.
    pub(crate) latest: (u64, u64),
    pub(crate) bitmap: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Decodes a payload. Returns `None` if it does not belong to this protocol.
    pub(crate) fn decode(payload: &'a [u8]) -> Option<Self> {
        let mut rest = payload.strip_prefix(MAGIC)?;
        let (&kind, after) = rest.split_first()?;
        rest = after;
        let stream = take_u64(&mut rest)?;
        let kind = match kind {
            0 | 1 => Kind::Data {
                sequence: take_u64(&mut rest)?,
                transmission: take_u64(&mut rest)?,
                last: kind == 1,
                bytes: rest,
            },
            2 => Kind::Probe,
            3 => {
                let next = take_u64(&mut rest)?;
                let (window, after) = rest.split_first_chunk()?;
                rest = after;
                Kind::Ack(Ack {
                    next,
                    window: u32::from_be_bytes(*window),
                    latest: (take_u64(&mut rest)?, take_u64(&mut rest)?),
                    bitmap: rest.get(..rest.len().min(MAX_BITMAP))?,
                })
            }
            4 => Kind::Close,
            5 => Kind::Busy,
            6 => Kind::Abort,
            _ => return None,
        };
        Some(Self { stream, kind })
    }

    /// Encodes the payload.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(match self.kind {
            Kind::Data { bytes, .. } => OVERHEAD + bytes.len(),
            _ => OVERHEAD + 12 + MAX_BITMAP,
        });
        out.extend_from_slice(MAGIC);
        out.push(match self.kind {
            Kind::Data { last, .. } => u8::from(last),
            Kind::Probe => 2,
            Kind::Ack(_) => 3,
            Kind::Close => 4,
            Kind::Busy => 5,
            Kind::Abort => 6,
        });
        out.extend_from_slice(&self.stream.to_be_bytes());
        match self.kind {
            Kind::Data {
                sequence,
                transmission,
                bytes,
                ..
            } => {
                out.extend_from_slice(&sequence.to_be_bytes());
                out.extend_from_slice(&transmission.to_be_bytes());
                out.extend_from_slice(bytes);
            }
            Kind::Ack(ack) => {
                out.extend_from_slice(&ack.next.to_be_bytes());
                out.extend_from_slice(&ack.window.to_be_bytes());
                out.extend_from_slice(&ack.latest.0.to_be_bytes());
                out.extend_from_slice(&ack.latest.1.to_be_bytes());
                out.extend_from_slice(ack.bitmap);
            }
            Kind::Probe | Kind::Close | Kind::Busy | Kind::Abort => {}
        }
        out
    }
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (number, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn encoded_segments_are_decoded(
            stream: u64,
            a: u64,
            b: u64,
            c: u64,
            window: u32,
            bytes in proptest::collection::vec(any::<u8>(), 0..MAX_BITMAP),
            which in 0..7,
        ) {
            let kind = match which {
                0 | 1 => Kind::Data {
                    sequence: a,
                    transmission: b,
                    last: which == 1,
                    bytes: &bytes,
                },
                2 => Kind::Probe,
                3 => Kind::Ack(Ack { next: a, window, latest: (b, c), bitmap: &bytes }),
                4 => Kind::Close,
                5 => Kind::Busy,
                _ => Kind::Abort,
            };
            let segment = Segment { stream, kind };
            let encoded = segment.encode();
            prop_assert_eq!(Segment::decode(&encoded), Some(segment));
        }

        #[test]
        fn anything_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Segment::decode(&bytes);
            let _ = Segment::decode(&[MAGIC.as_slice(), &bytes].concat());
        }
    }

    #[test]
    fn an_empty_data_payload_is_the_overhead() {
        let empty = Segment {
            stream: 1,
            kind: Kind::Data {
                sequence: 0,
                transmission: 0,
                last: true,
                bytes: &[],
            },
        };
        assert_eq!(empty.encode().len(), OVERHEAD);
    }
}
