use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, Verifier};
use zeroize::Zeroizing;

use crate::KeyError;

/// An Ed25519 public key: a node's address. Ordered as a byte string (protocol section 1).
///
/// Any 32 bytes are an address; only some are points of the curve, which matters when a
/// signature is checked and not before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PublicKey(pub [u8; 32]);

/// A detached Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// A public key made ready for checking signatures. Making one costs microseconds: keep it.
#[derive(Clone, Debug)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

/// An Ed25519 secret key, erased from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl PublicKey {
    /// The highest key there is: the watermark that every SNEK-routed frame starts from.
    pub const MAX: Self = Self([0xff; 32]);
    /// The lowest key there is.
    pub const MIN: Self = Self([0; 32]);
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 32 bytes of `bytes`, or nothing if there are fewer.
    #[must_use]
    pub fn from_prefix(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|b| Self(*b))
    }

    /// Decompresses the key, or nothing if it is no point of the curve.
    #[must_use]
    pub fn verifying_key(&self) -> Option<VerifyingKey> {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .ok()
            .map(VerifyingKey)
    }

    /// Checks one signature. Use a kept [`VerifyingKey`] where the same key returns.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.verifying_key()
            .is_some_and(|k| k.verify(message, signature))
    }

    /// The first eight digits, for logs that name many keys.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(s: &str) -> Result<Self, KeyError> {
        decode_hex(s.trim()).map(Self)
    }
}

impl Signature {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// The first 64 bytes of `bytes`, or nothing if there are fewer.
    #[must_use]
    pub fn from_prefix(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|b| Self(*b))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl VerifyingKey {
    /// Checks a signature exactly as the deployed nodes do: without a cofactor, refusing an `S`
    /// that is not reduced, accepting keys of small order.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify(message, &signature).is_ok()
    }

    /// The key as an address.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.to_bytes())
    }
}

impl SecretKey {
    /// The key that belongs to a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed: whoever has it is this node.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The address that goes with it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

/// Reads the 32-byte seed in hex (capital or small), or the 64 bytes that Go programs store: seed, then public key.
impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(s: &str) -> Result<Self, KeyError> {
        let s = s.trim();
        let Some((seed, public)) = s
            .split_at_checked(64)
            .filter(|(_, public)| !public.is_empty())
        else {
            return Ok(Self::from_seed(&Zeroizing::new(decode_hex(s)?)));
        };
        if s.len() != 128 {
            return Err(KeyError::Malformed { len: s.len() });
        }
        let key = Self::from_seed(&Zeroizing::new(decode_hex(seed)?));
        if key.public_key() != PublicKey(decode_hex(public)?) {
            return Err(KeyError::Mismatch);
        }
        Ok(key)
    }
}

fn decode_hex(s: &str) -> Result<[u8; 32], KeyError> {
    let mut out = [0; 32];
    hex::decode_to_slice(s, &mut out).map_err(|_| KeyError::Malformed { len: s.len() })?;
    Ok(out)
}
