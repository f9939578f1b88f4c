//! Pings and their answers, which travel as the payload of traffic frames (protocol section 9).

use crate::PublicKey;

/// Length of a ping in bytes, without the data after it.
pub const LEN: usize = 8 + 1 + 2 + 64;

const MAGIC: &[u8; 8] = b"pineping";
const HOPS_AT: usize = 9;

/// The direction of a [`Ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingType {
    /// A request, on its way to the destination.
    Ping,
    /// An answer, on its way back to the origin.
    Pong,
}

/// A decoded ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping<'a> {
    /// Its direction.
    pub kind: PingType,
    /// The number of nodes that forwarded it on its way to the destination.
    pub hops: u16,
    /// The node that sent the ping.
    pub origin: PublicKey,
    /// The node that answers it.
    pub destination: PublicKey,
    /// The bytes after the ping, which the answer repeats: filler, or a number that identifies it.
    pub data: &'a [u8],
}

impl<'a> Ping<'a> {
    /// Decodes a payload; `None` if it is no ping.
    #[must_use]
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let (head, data) = payload.split_at_checked(LEN)?;
        let (magic, rest) = head.split_first_chunk()?;
        let [kind, h0, h1, keys @ ..] = rest else {
            return None;
        };
        let kind = match (magic == MAGIC, kind) {
            (true, 0) => PingType::Ping,
            (true, 1) => PingType::Pong,
            _ => return None,
        };
        Some(Self {
            kind,
            hops: u16::from_be_bytes([*h0, *h1]),
            origin: PublicKey::from_prefix(keys)?,
            destination: PublicKey::from_prefix(&keys[32..])?,
            data,
        })
    }

    /// Returns the encoding, [`LEN`] bytes and the data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(LEN + self.data.len());
        out.extend_from_slice(MAGIC);
        out.push(u8::from(self.kind == PingType::Pong));
        out.extend_from_slice(&self.hops.to_be_bytes());
        out.extend_from_slice(self.origin.as_bytes());
        out.extend_from_slice(self.destination.as_bytes());
        out.extend_from_slice(self.data);
        out
    }

    /// Returns the answer to this ping.
    #[must_use]
    pub const fn pong(self) -> Self {
        Self {
            kind: PingType::Pong,
            ..self
        }
    }
}

/// Adds 1 to the hops of a payload that is a ping on its way to the destination. Other payloads do not
/// change.
#[inline]
pub fn count_hop(payload: &mut [u8]) {
    if payload.len() < LEN || !payload.starts_with(MAGIC) || payload[8] != 0 {
        return;
    }
    let hops = u16::from_be_bytes([payload[HOPS_AT], payload[HOPS_AT + 1]]).saturating_add(1);
    payload[HOPS_AT..HOPS_AT + 2].copy_from_slice(&hops.to_be_bytes());
}
