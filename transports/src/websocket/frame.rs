//! Headers of frames (RFC 6455, section 5.2).

use super::error::Violation;
use super::mask::Mask;

/// Longest message that a peer may send, in bytes: 128 KiB.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// Longest message that is sent, in bytes. Nodes in Go refuse longer ones (protocol section 9).
pub const MAX_SENT_MESSAGE: usize = 32_768;

/// Longest header in bytes.
pub(super) const MAX_HEADER: usize = 14;

/// Longest payload of a control frame in bytes.
pub(super) const MAX_CONTROL: usize = 125;

/// Bits of the first byte.
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;

/// A bit of the second byte.
const MASKED: u8 = 0x80;

/// One side of a connection. Clients mask what they send, and servers do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that dialled.
    Client,
    /// The side that accepted.
    Server,
}

impl Role {
    /// Returns the mask for the next frame that this side sends.
    pub(super) fn new_mask(self) -> Option<Mask> {
        match self {
            Self::Client => Some(rand::random()),
            Self::Server => None,
        }
    }
}

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(first: u8) -> Result<Self, Violation> {
        Ok(match first & 0x0f {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return Err(Violation::Opcode),
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A valid header that was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    pub(super) mask: Option<Mask>,
    /// Length of the payload.
    pub(super) len: u64,
}

impl Header {
    /// Parses the header at the start of `bytes`, for the side `receiver`. Returns it and its length, or nothing if
    /// it is not complete.
    #[inline]
    pub(super) fn parse(bytes: &[u8], receiver: Role) -> Result<Option<(Self, usize)>, Violation> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let (len, shortest, rest) = match second & 0x7f {
            126 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from(u16::from_be_bytes(*len)), 126, rest)
            }
            127 => {
                let Some((len, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*len), 0x1_0000, rest)
            }
            len => (u64::from(len), 0, rest),
        };
        let (mask, rest) = match second & MASKED {
            0 => (None, rest),
            _ => {
                let Some((mask, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (Some(*mask), rest)
            }
        };
        let opcode = Opcode::of(*first)?;
        let is_final = first & FINAL != 0;
        if first & RESERVED != 0 {
            return Err(Violation::ReservedBit);
        }
        match (receiver, mask) {
            (Role::Server, None) => return Err(Violation::Unmasked),
            (Role::Client, Some(_)) => return Err(Violation::Masked),
            _ => {}
        }
        if len < shortest || len >> 63 != 0 {
            return Err(Violation::Length);
        }
        if opcode.is_control() && (!is_final || len > MAX_CONTROL as u64) {
            return Err(Violation::Control);
        }
        let header = Self {
            opcode,
            is_final,
            mask,
            len,
        };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

/// The header of an unfragmented frame to send.
#[derive(Clone, Copy)]
pub(super) struct Head {
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl Head {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; MAX_HEADER],
        len: 0,
    };

    pub(super) fn new(opcode: Opcode, payload_len: usize, mask: Option<Mask>) -> Self {
        let mut head = Self::EMPTY;
        let masked = mask.map_or(0, |_| MASKED);
        head.push([FINAL | opcode as u8]);
        match payload_len {
            len @ ..126 => head.push([masked | len as u8]),
            len @ ..0x1_0000 => {
                head.push([masked | 126]);
                head.push((len as u16).to_be_bytes());
            }
            len => {
                head.push([masked | 127]);
                head.push((len as u64).to_be_bytes());
            }
        }
        if let Some(mask) = mask {
            head.push(mask);
        }
        head
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }
}
