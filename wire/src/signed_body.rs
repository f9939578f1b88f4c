//! The payload of bootstraps and wakeup broadcasts (protocol sections 5 and 8).

use crate::varu64;
use crate::{PublicKey, SecretKey, Signature, SignedBodyError, VerifyingKey};

/// Length of the shortest body in bytes: two numbers of one byte, a key and a signature.
pub const MIN_LEN: usize = 1 + 32 + 1 + 64;

/// A signed statement of a node that it follows a root, made at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedBody {
    /// The time at the signer, in Unix milliseconds.
    pub sequence: u64,
    /// The key of the root that the signer follows.
    pub root: PublicKey,
    /// The root's sequence.
    pub root_sequence: u64,
    /// The signature over the fields before it, made with the key that the frame names.
    pub signature: Signature,
}

impl SignedBody {
    /// Decodes the body at the start of `payload`. Returns it with its length in bytes. A node that
    /// passes the body on drops the bytes after it.
    ///
    /// # Errors
    /// See [`SignedBodyError`].
    pub fn decode(payload: &[u8]) -> Result<(Self, usize), SignedBodyError> {
        let short = SignedBodyError::TooShort { len: payload.len() };
        if payload.len() < MIN_LEN {
            return Err(short);
        }
        let number = |bytes: &[u8]| varu64::decode(bytes).map_err(|_| SignedBodyError::Number);
        let (sequence, n) = number(payload)?;
        let rest = &payload[n..];
        let root = PublicKey::from_prefix(rest).ok_or(short)?;
        let rest = &rest[32..];
        let (root_sequence, m) = number(rest)?;
        let signature = Signature::from_prefix(&rest[m..]).ok_or(short)?;
        Ok((
            Self {
                sequence,
                root,
                root_sequence,
                signature,
            },
            n + 32 + m + 64,
        ))
    }

    /// Creates a body signed by `key`.
    #[must_use]
    pub fn sign(key: &SecretKey, sequence: u64, root: PublicKey, root_sequence: u64) -> Self {
        let signature = key.sign(&signed_bytes(sequence, &root, root_sequence));
        Self {
            sequence,
            root,
            root_sequence,
            signature,
        }
    }

    /// Reports whether the signature was made with `key`.
    #[must_use]
    pub fn verify(&self, key: &VerifyingKey) -> bool {
        key.verify(&self.signed_bytes(), &self.signature)
    }

    /// Returns the bytes that the signature covers.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        signed_bytes(self.sequence, &self.root, self.root_sequence)
    }

    /// Returns the encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.signed_bytes();
        out.extend_from_slice(&self.signature.0);
        out
    }
}

fn signed_bytes(sequence: u64, root: &PublicKey, root_sequence: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 * varu64::MAX_LEN + 96);
    varu64::push(&mut out, sequence);
    out.extend_from_slice(root.as_bytes());
    varu64::push(&mut out, root_sequence);
    out
}
