//! The handshake of a peering: 104 bytes that each side sends at once (protocol section 2).

use crate::{HandshakeError, PublicKey, SecretKey, Signature};

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 104;
/// Version of the protocol, which both sides must have.
pub const VERSION: u8 = 1;
/// Capabilities of every deployed node, which both sides must have.
pub const CAPABILITIES: u32 = 0x0000_003b;

const SIGNED_LEN: usize = 40;

/// Extensions of the protocol that a node offers, one in each bit. A peering uses those that both sides
/// offer. Deployed nodes offer none and ignore those of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions(pub [u8; 3]);

impl Extensions {
    /// No extensions, as deployed nodes send.
    pub const NONE: Self = Self([0; 3]);
    /// Notices of broken paths.
    pub const BREAK_NOTICES: Self = Self([0, 0, 1]);
    /// Proofs of the keys after the handshakes ([`proof`](crate::proof)).
    pub const PEERING_PROOF: Self = Self([0, 0, 2]);
    /// Encryption of the stream after the handshakes. Counts only together with [`Self::PEERING_PROOF`].
    pub const ENCRYPTED_LINK: Self = Self([0, 0, 4]);

    /// Reports whether these include all of `other`.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0
            .iter()
            .zip(other.0)
            .all(|(ours, theirs)| ours & theirs == theirs)
    }

    /// Returns these and those of `other`.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        let ([a, b, c], [d, e, f]) = (self.0, other.0);
        Self([a | d, b | e, c | f])
    }
}

/// The content of a valid handshake.
///
/// Anyone can replay a handshake, so its key is only a claim. A [proof](crate::proof) of the key can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The key that the peer claims to own.
    pub public_key: PublicKey,
    /// The extensions that the peer offers: bytes 1 to 3.
    pub extensions: Extensions,
}

/// Returns the handshake of the owner of `key`, without extensions.
#[must_use]
pub fn encode(key: &SecretKey) -> [u8; HANDSHAKE_LEN] {
    encode_offering(key, Extensions::NONE)
}

/// Returns the handshake of the owner of `key`, which offers `extensions`.
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

/// Decodes the peer's handshake and checks its version, capabilities and signature, in this order.
///
/// # Errors
/// The first check that fails.
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
