use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, Verifier};
use zeroize::Zeroizing;

/// An Ed25519 public key, which is the address of a node. Keys are ordered as byte strings (protocol
/// section 1).
///
/// Any 32 bytes are an address. Not all are a point of the curve, which matters only where a signature
/// is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PublicKey(pub [u8; 32]);

/// A detached Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// A public key that has been decompressed to check signatures. As this takes microseconds, it is
/// worth caching.
#[derive(Clone, Debug)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

/// An Ed25519 secret key, which is erased from memory when dropped.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

/// The reason why text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is not 64 hexadecimal digits, or 128 for a secret key with its public half.
    #[error("a key is 64 hexadecimal digits; this text of {len} bytes is not")]
    Malformed {
        /// Length of the text in bytes.
        len: usize,
    },
    /// The public half of a 64-byte secret key does not belong to its seed.
    #[error("the public half of the secret key does not belong to its seed")]
    Mismatch,
}

impl PublicKey {
    /// The highest key, which is in the watermark of every frame at its origin.
    pub const MAX: Self = Self([0xff; 32]);
    /// The lowest key.
    pub const MIN: Self = Self([0; 32]);
    /// Length in bytes.
    pub const LEN: usize = 32;

    /// Returns the bytes of the key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the key in the first 32 bytes of `bytes`; `None` if there are fewer.
    #[must_use]
    pub fn from_prefix(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|b| Self(*b))
    }

    /// Decompresses the key; `None` if it is no point of the curve.
    #[must_use]
    pub fn verifying_key(&self) -> Option<VerifyingKey> {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .ok()
            .map(VerifyingKey)
    }

    /// Reports whether this key signed `message`. A cached [`VerifyingKey`] is faster for a key that is
    /// used again.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.verifying_key()
            .is_some_and(|k| k.verify(message, signature))
    }

    /// Reports whether this key signed `message`. Unlike [`Self::verify`], refuses keys of small order, with which
    /// anyone can make signatures that verify, and signatures with an `R` of small order.
    pub(crate) fn verify_strictly(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }

    /// Returns the first eight hexadecimal digits, for logs that name many keys.
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

    /// Returns the signature in the first 64 bytes of `bytes`; `None` if there are fewer.
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
    /// Reports whether this key signed `message`, by the same rules as deployed nodes: the equation
    /// without cofactor, an `S` that is not reduced is refused, keys of small order are accepted.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify(message, &signature).is_ok()
    }

    /// Returns the key as an address.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.to_bytes())
    }
}

impl SecretKey {
    /// Creates the key of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Returns the seed. With it, anyone can act as this node.
    #[must_use]
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Returns the seed as 64 hexadecimal digits, the text that [`Self::from_str`] reads.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.seed()))
    }

    /// Returns the public key, which is the address of the node.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl From<[u8; 32]> for SecretKey {
    /// Returns the key that belongs to a seed.
    fn from(seed: [u8; 32]) -> Self {
        Self::from_seed(&Zeroizing::new(seed))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

/// Parses hexadecimal digits of either case: the 32-byte seed, or the 64 bytes that Go programs store,
/// which are the seed and the public key.
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
