//! The ping that the simulator and every node of ours answer (protocol section 9).

use crate::PublicKey;

/// Length of a ping payload as we write it; more may follow, and comes back as it went.
pub const LEN: usize = 8 + 1 + 2 + 64;

const MAGIC: &[u8; 8] = b"pineping";
const HOPS_AT: usize = 9;

/// Asked or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingType {
    /// On its way there.
    Ping,
    /// On its way back.
    Pong,
}

/// A decoded ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping<'a> {
    /// Which way it goes.
    pub kind: PingType,
    /// Nodes that forwarded it on the way there.
    pub hops: u16,
    /// Who asked.
    pub origin: PublicKey,
    /// Who is asked.
    pub destination: PublicKey,
    /// What follows: filler, or a number to tell one ping from another.
    pub data: &'a [u8],
}

impl<'a> Ping<'a> {
    /// Reads a ping; nothing if the payload is something else.
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

    /// The encoding.
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

    /// The answer to a ping.
    #[must_use]
    pub const fn pong(self) -> Self {
        Self {
            kind: PingType::Pong,
            ..self
        }
    }
}

/// Adds 1 to the hops of a payload that is a ping on its way there; anything else stays as it is.
#[inline]
pub fn count_hop(payload: &mut [u8]) {
    if payload.len() < LEN || !payload.starts_with(MAGIC) || payload[8] != 0 {
        return;
    }
    let hops = u16::from_be_bytes([payload[HOPS_AT], payload[HOPS_AT + 1]]).saturating_add(1);
    payload[HOPS_AT..HOPS_AT + 2].copy_from_slice(&hops.to_be_bytes());
}
