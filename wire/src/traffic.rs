//! Traffic frames, which are parsed and patched in place (protocol sections 3 and 7).
//!
//! A [`TrafficLayout`] has the offsets of the fields of one frame. It takes eight bytes and does not
//! borrow the frame. Its methods take the bytes of the frame that it was parsed from. With other bytes,
//! those that read return zeros or empty slices, and those that write may panic.
//!
//! ```
//! use pinecone_wire::traffic::push_traffic;
//! use pinecone_wire::{Coordinates, Patch, PublicKey, TrafficFields, TrafficLayout, Watermark};
//!
//! let mut frame = Vec::new();
//! push_traffic(
//!     &mut frame,
//!     &TrafficFields {
//!         extra: 0,
//!         hop_limit: 10,
//!         destination: &Coordinates::default(),
//!         source: &Coordinates::from(vec![1, 2]),
//!         destination_key: PublicKey([3; 32]),
//!         source_key: PublicKey([4; 32]),
//!         watermark: Watermark { sequence: 1_700_000_000_000, ..Watermark::START },
//!         payload: b"hello",
//!     },
//! )?;
//!
//! // The next node knows a better key, whose sequence is shorter. The frame shrinks at its front.
//! let layout = TrafficLayout::parse(&frame)?;
//! let watermark = Watermark { key: PublicKey([5; 32]), sequence: 0 };
//! let Patch::InPlace { start } = layout.patch_snek(&mut frame, &watermark)? else {
//!     unreachable!("the frame does not grow");
//! };
//! assert_eq!(start, 5);
//! let frame = &frame[start..];
//! let layout = TrafficLayout::parse(frame)?;
//! assert_eq!(layout.watermark(frame), watermark);
//! assert_eq!(layout.payload(frame), b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ops::Range;

use crate::coordinates::CoordinatesView;
use crate::header::{
    FrameType, HEADER_LEN, MAX_FRAME_LEN, frame_len, push_header_with, push_payload_len,
};
use crate::varu64;
use crate::{BuildError, Coordinates, FrameError, PublicKey, Watermark};

const HOP_LIMIT_AT: usize = 7;
const LENGTH_AT: usize = 8;
/// Offset of the destination coordinates, after the header, the payload's length and their own length.
const DESTINATION_AT: usize = HEADER_LEN + 4;

/// The offsets of the fields of one traffic frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficLayout {
    /// End of the destination coordinates.
    destination_end: u16,
    /// End of the source coordinates, which is the offset of the destination key.
    source_end: u16,
    /// Offset of the payload.
    payload_at: u16,
    /// Length of the frame in bytes.
    len: u16,
}

/// The fields of a new traffic frame.
#[derive(Clone, Copy, Debug)]
pub struct TrafficFields<'a> {
    /// A byte without meaning, which is passed on.
    pub extra: u8,
    /// The number of hops that the frame may take. It counts only for nodes with hop limiting.
    pub hop_limit: u8,
    /// The coordinates of the destination. If they are empty, the frame is routed by SNEK.
    pub destination: &'a Coordinates,
    /// The coordinates of the source.
    pub source: &'a Coordinates,
    /// The key of the destination.
    pub destination_key: PublicKey,
    /// The key of the source.
    pub source_key: PublicKey,
    /// The progress so far, which is in the frame only if `destination` is empty.
    pub watermark: Watermark,
    /// The payload.
    pub payload: &'a [u8],
}

/// The result of [`TrafficLayout::patch_snek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// The frame was patched in place. If it became shorter, it begins later.
    InPlace {
        /// Offset of its first byte from where it began.
        start: usize,
    },
    /// The frame grows and is unchanged. [`TrafficLayout::write_snek_head`] writes its new head
    /// elsewhere.
    Grows {
        /// The number of bytes by which it grows.
        by: usize,
    },
}

impl TrafficLayout {
    /// Parses a whole traffic frame, which [`split`](crate::split) has found.
    ///
    /// # Errors
    /// Any [`FrameError`] but [`FrameError::Magic`].
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        Ok(Self::parse_with_sequence(frame)?.0)
    }

    /// Parses a frame as [`Self::parse`] does. Also returns the sequence of the watermark, which is 0 if
    /// there is none.
    ///
    /// # Errors
    /// As [`Self::parse`].
    #[inline]
    pub fn parse_with_sequence(frame: &[u8]) -> Result<(Self, u64), FrameError> {
        let (fields, sequence) = Fields::parse(frame)?;
        let len = fields.payload_at + fields.payload_len;
        if len != frame.len() {
            return Err(match len.checked_sub(frame.len()) {
                Some(_) => truncated(frame, "payload"),
                None => FrameError::Trailing {
                    extra: frame.len() - len,
                },
            });
        }
        Ok((fields.layout(frame)?, sequence))
    }

    /// Parses a frame as [`Self::parse_with_sequence`] does, from `head`: all bytes before the payload. Methods that
    /// take the frame can be given the head as well; the payload is then empty.
    ///
    /// # Errors
    /// As [`Self::parse`]; [`FrameError::Trailing`] also if there are bytes of payload.
    pub fn parse_head(head: &[u8]) -> Result<(Self, u64), FrameError> {
        let (fields, sequence) = Fields::parse(head)?;
        match head.len().checked_sub(fields.payload_at) {
            Some(0) => Ok((fields.layout(head)?, sequence)),
            Some(extra) => Err(FrameError::Trailing { extra }),
            None => Err(truncated(head, "keys")),
        }
    }

    /// Returns the length of the frame in bytes, never 0.
    #[must_use]
    #[inline]
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Reports whether the frame has destination coordinates, and so no watermark.
    #[must_use]
    #[inline]
    pub const fn has_destination(&self) -> bool {
        self.destination_end as usize > DESTINATION_AT
    }

    /// Returns the destination coordinates.
    #[must_use]
    pub fn destination<'a>(&self, frame: &'a [u8]) -> CoordinatesView<'a> {
        let body = frame
            .get(DESTINATION_AT..usize::from(self.destination_end))
            .unwrap_or_default();
        CoordinatesView::from_checked(body)
    }

    /// Returns the source coordinates.
    #[must_use]
    pub fn source<'a>(&self, frame: &'a [u8]) -> CoordinatesView<'a> {
        let body = frame.get(usize::from(self.destination_end) + 2..usize::from(self.source_end));
        CoordinatesView::from_checked(body.unwrap_or_default())
    }

    /// Returns the key of the destination.
    #[must_use]
    #[inline]
    pub fn destination_key(&self, frame: &[u8]) -> PublicKey {
        key_at(frame, usize::from(self.source_end))
    }

    /// Returns the key that the frame claims as its source, without proof.
    #[must_use]
    #[inline]
    pub fn source_key(&self, frame: &[u8]) -> PublicKey {
        key_at(frame, usize::from(self.source_end) + 32)
    }

    /// Returns the watermark, which is [`Watermark::START`] for a frame with destination coordinates.
    #[must_use]
    #[inline]
    pub fn watermark(&self, frame: &[u8]) -> Watermark {
        let at = usize::from(self.source_end) + 96;
        let sequence = frame.get(at..).and_then(|b| varu64::decode(b).ok());
        self.watermark_with(frame, sequence.map_or(0, |(value, _)| value))
    }

    /// Returns the watermark as [`Self::watermark`] does, with a sequence that is known already.
    #[must_use]
    #[inline]
    pub fn watermark_with(&self, frame: &[u8], sequence: u64) -> Watermark {
        if self.has_destination() {
            return Watermark::START;
        }
        Watermark {
            key: key_at(frame, usize::from(self.source_end) + 64),
            sequence,
        }
    }

    /// Returns the range of the payload in the frame.
    #[must_use]
    #[inline]
    pub fn payload_range(&self) -> Range<usize> {
        usize::from(self.payload_at)..self.len()
    }

    /// Returns the payload.
    #[must_use]
    pub fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.payload_range()).unwrap_or_default()
    }

    /// Returns the keys of destination and source, which identify the flow.
    #[must_use]
    #[inline]
    pub fn flow<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let at = usize::from(self.source_end);
        frame.get(at..at + 64).unwrap_or_default()
    }

    /// Returns the change of the length in bytes when the frame is routed on by SNEK with `watermark`.
    ///
    /// # Errors
    /// [`BuildError::TooLong`] if the frame would be longer than 65,535 bytes. It must be dropped.
    #[inline]
    pub fn snek_growth(&self, watermark: &Watermark) -> Result<isize, BuildError> {
        let head = usize::from(self.source_end)
            - (usize::from(self.destination_end) - DESTINATION_AT)
            + 96
            + varu64::len(watermark.sequence);
        let len = head + self.payload_range().len();
        if len > MAX_FRAME_LEN {
            return Err(BuildError::TooLong { len });
        }
        Ok(len as isize - self.len() as isize)
    }

    /// Patches the frame so that it is routed on by SNEK with `watermark`: removes the destination
    /// coordinates and writes the watermark.
    ///
    /// # Errors
    /// [`BuildError::TooLong`] if the frame would be longer than 65,535 bytes. It is unchanged and must
    /// be dropped.
    ///
    /// # Panics
    /// May panic if `frame` is shorter than the one this was parsed from.
    #[inline(always)]
    pub fn patch_snek(&self, frame: &mut [u8], watermark: &Watermark) -> Result<Patch, BuildError> {
        let end = usize::from(self.payload_at);
        let (sequence, n) = varu64::encode(watermark.sequence);
        if end == usize::from(self.source_end) + 96 + n && !self.has_destination() {
            // The usual case: the length does not change.
            write_watermark(&mut frame[end - n - 32..end], watermark, &sequence);
            return Ok(Patch::InPlace { start: 0 });
        }
        self.reshape(frame, watermark)
    }

    #[cold]
    fn reshape(&self, frame: &mut [u8], watermark: &Watermark) -> Result<Patch, BuildError> {
        let growth = self.snek_growth(watermark)?;
        if growth > 0 {
            return Ok(Patch::Grows {
                by: growth as usize,
            });
        }
        let start = growth.unsigned_abs();
        let destination_len = usize::from(self.destination_end) - DESTINATION_AT;
        if start > 0 || destination_len > 0 {
            // The head becomes shorter and moves towards the payload, its last field first.
            let source = usize::from(self.destination_end)..usize::from(self.source_end) + 64;
            let to = start + DESTINATION_AT;
            frame.copy_within(source, to);
            frame.copy_within(..HEADER_LEN + 2, start);
            let frame = &mut frame[start..];
            frame[HEADER_LEN + 2..DESTINATION_AT].fill(0);
            let len = (self.len() - start) as u16;
            frame[LENGTH_AT..HEADER_LEN].copy_from_slice(&len.to_be_bytes());
        }
        let (sequence, n) = varu64::encode(watermark.sequence);
        let end = usize::from(self.payload_at);
        write_watermark(&mut frame[end - n - 32..end], watermark, &sequence);
        Ok(Patch::InPlace { start })
    }

    /// Writes the new head of a frame that grows into `out`: all bytes before the payload of the frame
    /// that is routed on by SNEK with `watermark`. Returns its length.
    ///
    /// # Errors
    /// [`BuildError::TooLong`] if the frame would be longer than 65,535 bytes or the head does not fit
    /// `out`, for which 64 KiB are always enough. `out` is unchanged then.
    ///
    /// # Panics
    /// May panic if `frame` is shorter than the one this was parsed from.
    pub fn write_snek_head(
        &self,
        frame: &[u8],
        watermark: &Watermark,
        out: &mut [u8],
    ) -> Result<usize, BuildError> {
        let len = self
            .len()
            .saturating_add_signed(self.snek_growth(watermark)?);
        let head_len = len - self.payload_range().len();
        let head = out.get_mut(..head_len).ok_or(BuildError::TooLong { len })?;
        let middle = &frame[usize::from(self.destination_end)..usize::from(self.source_end) + 64];
        head[..HEADER_LEN + 2].copy_from_slice(&frame[..HEADER_LEN + 2]);
        head[LENGTH_AT..HEADER_LEN].copy_from_slice(&(len as u16).to_be_bytes());
        head[HEADER_LEN + 2..DESTINATION_AT].fill(0);
        let at = DESTINATION_AT + middle.len();
        head[DESTINATION_AT..at].copy_from_slice(middle);
        head[at..at + 32].copy_from_slice(watermark.key.as_bytes());
        let (sequence, n) = varu64::encode(watermark.sequence);
        head[at + 32..at + 32 + n].copy_from_slice(&sequence[..n]);
        Ok(head_len)
    }
}

/// The offsets of a traffic frame whose length has not been checked.
struct Fields {
    destination_end: usize,
    source_end: usize,
    payload_at: usize,
    payload_len: usize,
}

impl Fields {
    /// Parses all bytes before the payload. Also returns the sequence of the watermark.
    #[inline(always)]
    fn parse(frame: &[u8]) -> Result<(Self, u64), FrameError> {
        let u16_at = |at: usize| -> Option<usize> {
            let bytes = frame.get(at..)?.first_chunk()?;
            Some(usize::from(u16::from_be_bytes(*bytes)))
        };
        let payload_len = u16_at(HEADER_LEN).ok_or_else(|| truncated(frame, "payload length"))?;
        let number = |field| move |_| FrameError::Number { field };
        let coordinates = |at: usize, field| -> Result<usize, FrameError> {
            let end = at + 2 + u16_at(at).ok_or_else(|| truncated(frame, field))?;
            let bytes = frame
                .get(at + 2..end)
                .ok_or_else(|| truncated(frame, field))?;
            CoordinatesView::new(bytes).map_err(number(field))?;
            Ok(end)
        };
        let destination_end = coordinates(HEADER_LEN + 2, "destination coordinates")?;
        let source_end = coordinates(destination_end, "source coordinates")?;
        let mut payload_at = source_end + 64;
        let mut sequence = 0;
        if destination_end == DESTINATION_AT {
            let bytes = frame.get(payload_at + 32..);
            let bytes = bytes.ok_or_else(|| truncated(frame, "watermark"))?;
            let (value, n) = varu64::decode(bytes).map_err(number("watermark sequence"))?;
            payload_at += 32 + n;
            sequence = value;
        }
        let fields = Self {
            destination_end,
            source_end,
            payload_at,
            payload_len,
        };
        Ok((fields, sequence))
    }

    #[inline(always)]
    fn layout(&self, frame: &[u8]) -> Result<TrafficLayout, FrameError> {
        let len = self.payload_at + self.payload_len;
        // All offsets are at most `len`, which is checked to fit a u16.
        Ok(TrafficLayout {
            destination_end: self.destination_end as u16,
            source_end: self.source_end as u16,
            payload_at: self.payload_at as u16,
            len: u16::try_from(len).map_err(|_| truncated(frame, "payload"))?,
        })
    }
}

/// Returns the hop limit of a whole frame of any type.
#[must_use]
pub fn hop_limit(frame: &[u8]) -> u8 {
    frame.get(HOP_LIMIT_AT).copied().unwrap_or_default()
}

/// Sets the hop limit of a whole frame of any type.
pub fn set_hop_limit(frame: &mut [u8], hop_limit: u8) {
    if let Some(byte) = frame.get_mut(HOP_LIMIT_AT) {
        *byte = hop_limit;
    }
}

/// Appends a traffic frame.
///
/// # Errors
/// [`BuildError::TooLong`] if it would be longer than 65,535 bytes; `out` is unchanged then.
pub fn push_traffic(out: &mut Vec<u8>, fields: &TrafficFields<'_>) -> Result<(), BuildError> {
    push_head(out, fields, fields.payload.len())?;
    out.extend_from_slice(fields.payload);
    Ok(())
}

/// Appends a traffic frame without its payload, which must be sent behind it.
///
/// # Errors
/// As [`push_traffic`].
pub fn push_traffic_head(out: &mut Vec<u8>, fields: &TrafficFields<'_>) -> Result<(), BuildError> {
    push_head(out, fields, 0)
}

/// Appends all bytes before the payload, and reserves room for `behind` bytes more.
fn push_head(
    out: &mut Vec<u8>,
    fields: &TrafficFields<'_>,
    behind: usize,
) -> Result<(), BuildError> {
    let (destination_len, source_len) = (
        fields.destination.encoded_len(),
        fields.source.encoded_len(),
    );
    let watermark_len = if destination_len == 0 {
        32 + varu64::len(fields.watermark.sequence)
    } else {
        0
    };
    let head = 2 + 2 + destination_len + 2 + source_len + 64 + watermark_len;
    let len = frame_len(head + fields.payload.len())?;
    out.reserve(HEADER_LEN + head + behind);
    push_header_with(out, FrameType::Traffic, fields.extra, fields.hop_limit, len);
    push_payload_len(out, fields.payload);
    for (coordinates, len) in [
        (fields.destination, destination_len),
        (fields.source, source_len),
    ] {
        out.extend_from_slice(&(len as u16).to_be_bytes());
        coordinates.push_body(out);
    }
    out.extend_from_slice(fields.destination_key.as_bytes());
    out.extend_from_slice(fields.source_key.as_bytes());
    if destination_len == 0 {
        out.extend_from_slice(fields.watermark.key.as_bytes());
        varu64::push(out, fields.watermark.sequence);
    }
    Ok(())
}

/// Fills `room` with the watermark's key and its sequence, whose encoding is given.
#[inline(always)]
fn write_watermark(room: &mut [u8], watermark: &Watermark, sequence: &[u8; varu64::MAX_LEN]) {
    let (key, rest) = room.split_at_mut(PublicKey::LEN);
    key.copy_from_slice(watermark.key.as_bytes());
    for (to, from) in rest.iter_mut().zip(sequence) {
        *to = *from;
    }
}

#[inline(always)]
fn truncated(frame: &[u8], field: &'static str) -> FrameError {
    FrameError::Truncated {
        field,
        len: frame.len(),
    }
}

#[inline(always)]
fn key_at(frame: &[u8], at: usize) -> PublicKey {
    frame
        .get(at..)
        .and_then(PublicKey::from_prefix)
        .unwrap_or_default()
}
