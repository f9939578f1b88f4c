//! The 104 bytes that each side of a new peering writes at once (protocol section 2).

use crate::{HandshakeError, PublicKey, SecretKey, Signature};

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 104;
/// The version of the protocol.
pub const VERSION: u8 = 1;
/// What every deployed node can do.
pub const CAPABILITIES: u32 = 0x0000_003b;

const SIGNED_LEN: usize = 40;

/// What a node can do beyond the protocol, and offers to those that can do it as well. Deployed nodes
/// offer nothing and ignore what is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions(pub [u8; 3]);

impl Extensions {
    /// Nothing, as deployed nodes.
    pub const NONE: Self = Self([0; 3]);
    /// It understands notices of broken paths.
    pub const BREAK_NOTICES: Self = Self([0, 0, 1]);

    /// Whether all of `other` is among these.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .all(|(ours, theirs)| ours & theirs == theirs)
    }
}

/// What a valid handshake says. It can be replayed: the key is claimed, not proved, until an
/// announcement signed for this very port arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The key that the peer claims.
    pub public_key: PublicKey,
    /// Bytes 1 to 3.
    pub extensions: Extensions,
}

/// The bytes that the owner of `key` sends, who offers no extensions.
#[must_use]
pub fn encode(key: &SecretKey) -> [u8; HANDSHAKE_LEN] {
    encode_offering(key, Extensions::NONE)
}

/// The bytes that the owner of `key` sends, who offers `extensions`.
#[must_use]
pub fn encode_offering(key: &SecretKey, extensions: Extensions) -> [u8; HANDSHAKE_LEN] {
    let mut out = [0; HANDSHAKE_LEN];
    out[0] = VERSION;
    out[1..4].copy_from_slice(&extensions.0);
    out[4..8].copy_from_slice(&CAPABILITIES.to_be_bytes());
    out[8..40].copy_from_slice(key.public_key().as_bytes());
    let signature = key.sign(&out[..SIGNED_LEN]);
    out[SIGNED_LEN..].copy_from_slice(&signature.0);
    out
}

/// Reads and checks the peer's bytes.
///
/// # Errors
/// In this order: version, capabilities, signature.
pub fn decode(bytes: &[u8; HANDSHAKE_LEN]) -> Result<Handshake, HandshakeError> {
    let [version, u0, u1, u2, c0, c1, c2, c3, ..] = *bytes;
    if version != VERSION {
        return Err(HandshakeError::Version(version));
    }
    let capabilities = u32::from_be_bytes([c0, c1, c2, c3]);
    if capabilities != CAPABILITIES {
        return Err(HandshakeError::Capabilities(capabilities));
    }
    let (signed, signature) = bytes.split_at(SIGNED_LEN);
    let public_key = PublicKey::from_prefix(&signed[8..]).ok_or(HandshakeError::Signature)?;
    let signature = Signature::from_prefix(signature).ok_or(HandshakeError::Signature)?;
    if !public_key.verify(signed, &signature) {
        return Err(HandshakeError::Signature);
    }
    Ok(Handshake {
        public_key,
        extensions: Extensions([u0, u1, u2]),
    })
}
