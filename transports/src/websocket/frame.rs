//! Headers of frames (RFC 6455, section 5.2), read and written by `tungstenite`.

use std::io::{Cursor, Write};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

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

/// A valid header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) opcode: OpCode,
    pub(super) is_final: bool,
    pub(super) mask: Option<Mask>,
    /// Length of the payload.
    pub(super) len: u64,
}

impl Header {
    /// Parses the header at the start of `bytes`, for the side `receiver`. Returns it and its length, or nothing if
    /// it is not complete.
    pub(super) fn parse(bytes: &[u8], receiver: Role) -> Result<Option<(Self, usize)>, Violation> {
        let mut cursor = Cursor::new(bytes);
        let Ok(parsed) = FrameHeader::parse(&mut cursor) else {
            // Reading from memory does not fail.
            return Err(Violation::Opcode);
        };
        let Some((header, len)) = parsed else {
            return Ok(None);
        };
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::ReservedBit);
        }
        match (receiver, header.mask) {
            (Role::Server, None) => return Err(Violation::Unmasked),
            (Role::Client, Some(_)) => return Err(Violation::Masked),
            _ => {}
        }
        let header_len = header.len(len);
        if cursor.position() != header_len as u64 || len >> 63 != 0 {
            return Err(Violation::Length);
        }
        if matches!(header.opcode, OpCode::Control(_))
            && (!header.is_final || len > MAX_CONTROL as u64)
        {
            return Err(Violation::Control);
        }
        let header = Self {
            opcode: header.opcode,
            is_final: header.is_final,
            mask: header.mask,
            len,
        };
        Ok(Some((header, header_len)))
    }
}

/// Writes the header of an unfragmented frame to `output`, which is memory with room for it.
pub(super) fn push_header(output: &mut impl Write, opcode: OpCode, len: usize, mask: Option<Mask>) {
    let header = FrameHeader {
        is_final: true,
        opcode,
        mask,
        ..FrameHeader::default()
    };
    let formatted = header.format(len as u64, output);
    debug_assert!(formatted.is_ok(), "writing to memory does not fail");
}
