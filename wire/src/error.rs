use crate::PublicKey;

/// The reason why a handshake is refused (protocol section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer has another version of the protocol.
    #[error("peer has protocol version {0}, this node has version 1")]
    Version(u8),
    /// The peer has other capabilities than this node.
    #[error("peer has capabilities {0:#010x}, this node has 0x0000003b")]
    Capabilities(u32),
    /// The signature was not made with the key that the peer claims.
    #[error("handshake signature does not verify")]
    Signature,
}

/// The reason why bytes are not a frame. The peering that sent them is closed (protocol section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame does not begin with `pine`.
    #[error("bad magic {0:02x?}")]
    Magic([u8; 4]),
    /// The length field is below the length of the header.
    #[error("frame length {0} is below the header's 10 bytes")]
    Length(u16),
    /// A field or the payload reaches past the end of the frame.
    #[error("{field} does not fit a frame of {len} bytes")]
    Truncated {
        /// The name of the field.
        field: &'static str,
        /// Length of the frame in bytes.
        len: usize,
    },
    /// A traffic frame is longer than its fields and payload.
    #[error("{extra} bytes left over in a traffic frame")]
    Trailing {
        /// Number of bytes after the payload.
        extra: usize,
    },
    /// A number is not a valid `varu64`.
    #[error("malformed number in {field}")]
    Number {
        /// The name of the field.
        field: &'static str,
    },
}

/// The reason why a frame cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The frame would be longer than 65,535 bytes.
    #[error("frame would have {len} bytes, the most is 65535")]
    TooLong {
        /// Length that the frame would have, in bytes.
        len: usize,
    },
}

/// The reason why a tree announcement is refused, which closes the peering (protocol section 4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncementError {
    /// The payload ends within a field, or a number is not valid.
    #[error("announcement is malformed at byte {at}")]
    Malformed {
        /// Offset of the field in the payload, in bytes.
        at: usize,
    },
    /// The announcement has no entry.
    #[error("announcement has no signature")]
    Empty,
    /// A signature is not valid.
    #[error("signature {index} of the announcement does not verify")]
    Signature {
        /// Index of the entry, which is 0 for the root's.
        index: usize,
    },
    /// The first signer is not the root.
    #[error("first signer of the announcement is not the root")]
    NotRoot,
    /// The last signer is not the peer that sent the announcement.
    #[error("last signer of the announcement is not the peer")]
    NotPeer,
    /// A port number is 0.
    #[error("entry {index} of the announcement has port 0")]
    ZeroPort {
        /// Index of the entry.
        index: usize,
    },
    /// A node signed twice.
    #[error("{signer} signed twice")]
    Loop {
        /// The signer.
        signer: PublicKey,
    },
}

/// The reason why the body of a bootstrap or broadcast is refused (protocol sections 5 and 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignedBodyError {
    /// The body is shorter than its fields.
    #[error("signed body of {len} bytes is too short")]
    TooShort {
        /// Length of the body in bytes.
        len: usize,
    },
    /// A number is not a valid `varu64`.
    #[error("malformed number in signed body")]
    Number,
}
