use crate::PublicKey;

/// A key that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not 64 hexadecimal digits (or 128 for a secret key with its public half).
    #[error(
        "a key is 64 hexadecimal digits; this has {len} characters, or others than 0-9 and a-f"
    )]
    Malformed {
        /// Characters found.
        len: usize,
    },
    /// The public half of a 64-byte secret key does not belong to its seed.
    #[error("the public half of the secret key does not belong to its seed")]
    Mismatch,
}

/// Why 104 bytes are not a handshake to accept (protocol section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer speaks another version of the protocol.
    #[error("peer speaks protocol version {0}, we speak 1")]
    Version(u8),
    /// The peer's capabilities differ from ours.
    #[error("peer has capabilities {0:#010x}, we have 0x0000003b")]
    Capabilities(u32),
    /// The signature is not the claimed key's.
    #[error("handshake signature does not verify")]
    Signature,
}

/// Why bytes are not a frame. Each of these ends the peering that sent them (protocol section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame does not begin with `pine`.
    #[error("bad magic {0:02x?}")]
    Magic([u8; 4]),
    /// The length field is below the header's ten bytes.
    #[error("frame length {0} is below the header's 10 bytes")]
    Length(u16),
    /// A field or the payload reaches past the frame's end.
    #[error("{field} does not fit a frame of {len} bytes")]
    Truncated {
        /// The field that does not fit.
        field: &'static str,
        /// The frame's length.
        len: usize,
    },
    /// A traffic frame is longer than its fields and payload.
    #[error("{extra} bytes left over in a traffic frame")]
    Trailing {
        /// Bytes too many.
        extra: usize,
    },
    /// A `varu64` is cut off, over-long or too large.
    #[error("malformed number in {field}")]
    Number {
        /// Where it stands.
        field: &'static str,
    },
}

/// Why a frame cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The whole frame would be longer than 65,535 bytes.
    #[error("frame would be {len} bytes long, at most 65535 fit")]
    TooLong {
        /// Length it would have.
        len: usize,
    },
}

/// Why a tree announcement is refused (protocol section 4). Each ends the peering.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementError {
    /// Shorter than root key and sequence, or a malformed number.
    #[error("announcement is malformed at byte {at}")]
    Malformed {
        /// Offset in the payload.
        at: usize,
    },
    /// No entry at all.
    #[error("announcement has no signature")]
    Empty,
    /// A signature does not verify.
    #[error("signature {index} of the announcement does not verify")]
    Signature {
        /// Which entry, from 0 at the root.
        index: usize,
    },
    /// The first signer is not the root.
    #[error("first signer is not the root")]
    NotRoot,
    /// The last signer is not the peer it came from.
    #[error("last signer is not the peer")]
    NotPeer,
    /// A port number is 0.
    #[error("entry {index} has port 0")]
    ZeroPort {
        /// Which entry.
        index: usize,
    },
    /// A signer occurs twice.
    #[error("{signer} signed twice")]
    Loop {
        /// The signer.
        signer: PublicKey,
    },
}

/// Why the body of a bootstrap or broadcast is refused (protocol sections 5 and 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignedBodyError {
    /// Shorter than its fields.
    #[error("signed body of {len} bytes is too short")]
    TooShort {
        /// Its length.
        len: usize,
    },
    /// A malformed number.
    #[error("malformed number in signed body")]
    Number,
}
