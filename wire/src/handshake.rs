//! The 104 bytes that each side of a new peering writes at once (protocol section 2).

use crate::{HandshakeError, PublicKey, SecretKey, Signature};

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 104;
/// The version of the protocol.
pub const VERSION: u8 = 1;
/// What every deployed node can do.
pub const CAPABILITIES: u32 = 0x0000_003b;

const SIGNED_LEN: usize = 40;

/// What a valid handshake says. It can be replayed: the key is claimed, not proved, until an
/// announcement signed for this very port arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The key that the peer claims.
    pub public_key: PublicKey,
    /// Bytes 1 to 3: zero from the nodes deployed today, and not interpreted.
    pub unused: [u8; 3],
}

/// The bytes that the owner of `key` sends.
#[must_use]
pub fn encode(key: &SecretKey) -> [u8; HANDSHAKE_LEN] {
    let mut out = [0; HANDSHAKE_LEN];
    out[0] = VERSION;
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
        unused: [u0, u1, u2],
    })
}
